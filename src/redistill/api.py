"""Studies in Python, for those who live in notebooks. These names stay as they are.

    import redistill

    study = redistill.load_study("embedded")
    study.table("text")                             # a line a row, a column a column
    study.comparisons("text")
    run = study.run("text/student-kd", task="movie", seed=0)
    run.predictions()
    run.model()

Tables, comparisons and scores are read from results/, so from git alone. What only the store has, predictions, logs and
weights, is verified against the manifests as it is read.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from redistill.config import compose
from redistill.errors import RedistillError, nearest
from redistill.provenance import published, record, store
from redistill.provenance.published import Published, Thing

if TYPE_CHECKING:  # seconds to import, and a study's names need none of them
    from pandas import DataFrame
    from torch.nn import Module
    from transformers import PreTrainedTokenizerBase


def load_study(name: str = "embedded", folder: Path | str | None = None) -> "Study":
    """A study that has been made: its results as they are in the project.

    Args:
        folder: in the project; where Python was started if not given.

    Raises:
        RedistillError: there is no project, or the study has no results; says how they are made.
    """
    root = compose.find_root(Path(folder) if folder is not None else None)
    return Study(published.read(root, compose.name_of("studies", name)))


@dataclass(frozen=True)
class Study:
    """A study's results. Made by `load_study`."""

    results: Published

    def __repr__(self) -> str:
        return f"Study({self.name!r}, tables={self.tables})"

    @property
    def name(self) -> str:
        return self.results.study

    @property
    def tables(self) -> list[str]:
        """Names of the tables."""
        return sorted(self.results.tables)

    @property
    def root(self) -> str:
        """The Merkle root of everything behind the tables, as it stands under each."""
        return self.results.digest

    def table(self, name: str, value: str = "mean") -> "DataFrame":
        """A table as it is published: rows by their names, a column a column.

        Args:
            value: which of a cell's values: `mean`, `std`, `n_seeds`, `low` and `high` (the 95 % interval of the mean),
                `n_examples`, `runs` or `key`. Scores are as they are measured, not times 100. NaN where there is none.

        Raises:
            RedistillError: there is no such table, or no such value.
        """
        import pandas as pd

        content = self._content(name)
        cells = [cell for row in content["rows"] for cell in row["cells"].values() if cell is not None]
        values = set().union(*cells)
        if value not in values:
            raise RedistillError(f"a cell of {name} has no `{value}`; {nearest(value, values)}")
        found = {
            row["name"]: {c["key"]: (row["cells"][c["key"]] or {}).get(value) for c in content["columns"]}
            for row in content["rows"]
        }
        frame = pd.DataFrame.from_dict(found, orient="index", columns=[c["key"] for c in content["columns"]])
        frame.attrs = {"title": content["title"], "root": content["root"], "footer": content["footer"]}
        return frame if value in ("runs", "key") else frame.astype(float)

    def cells(self, name: str) -> "DataFrame":
        """A table's cells, a line each, with the row's label and its notes."""
        import pandas as pd

        content = self._content(name)
        metrics = {column["key"]: column["metric"] for column in content["columns"]}
        return pd.DataFrame([
            {"row": row["name"], "label": row["label"], **row["notes"], "column": key, "metric": metrics[key]} | cell
            for row in content["rows"] for key, cell in row["cells"].items() if cell is not None
        ])  # fmt: skip

    def comparisons(self, name: str) -> "DataFrame":
        """A table's declared differences, with interval, p, p after Holm's correction, and what could be seen."""
        import pandas as pd

        return pd.DataFrame(self._content(name)["comparisons"])

    def runs(self) -> "DataFrame":
        """Every run behind the tables, a line for each of its places: table, experiment, task, seed, score and key."""
        import pandas as pd

        scores = json.loads((self.results.root / "results" / self.name / "metrics.json").read_text(encoding="utf-8"))
        return pd.DataFrame([
            {"table": run.table, "experiment": run.experiment, "task": run.task, "seed": run.seed, "key": run.key,
             "score": _within(scores, run.table, run.experiment, run.task, f"seed {run.seed}")}
            for run in self.results.runs
        ])  # fmt: skip

    def run(self, name: str, task: str | None = None, seed: int | None = None) -> "Run":
        """One run: by its key, or by the name of its row, with task and seed where there are several.

        Raises:
            RedistillError: there is none, or more than one; says which there are.
        """
        from redistill.provenance.keys import KEY
        from redistill.selected import things

        keys = {name} if KEY.fullmatch(name) else things(self.results.root, self.name, [name], task, seed).keys
        found = sorted(key for key in keys or () if key in self.results.things)
        if not found:
            raise RedistillError(f"{self.name} has no run with the key {name}; `runs()` lists them")
        if len(found) > 1:
            there = sorted({f"{r.task} seed {r.seed}" for r in self.results.runs if r.key in found})
            raise RedistillError(f"`{name}` has several runs, say which by task and seed: {', '.join(there)}")
        return Run(self.results, self.results.things[found[0]])

    def _content(self, name: str) -> dict[str, Any]:
        if name not in self.results.tables:
            raise RedistillError(f"{self.name} has no table `{name}`; {nearest(name, self.tables)}")
        file = self.results.root / "results" / self.name / f"{name}.json"
        try:
            content: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
            content["rows"], content["comparisons"]
        except (OSError, ValueError, LookupError, TypeError) as error:
            raise RedistillError(
                f"results/{self.name}/{name}.json cannot be read as a table ({error.__class__.__name__}); "
                f"`redistill publish {self.name}` writes it again"
            ) from None
        return content


@dataclass(frozen=True)
class Run:
    """A run that a study's tables stand on. Made by `Study.run`."""

    results: Published
    thing: Thing

    def __repr__(self) -> str:
        return f"Run({self.thing.title!r}, key={self.key!r})"

    @property
    def key(self) -> str:
        return self.thing.key

    @property
    def config(self) -> dict[str, Any]:
        """What it was trained by, every value written out."""
        config: dict[str, Any] = self.thing.parts["config"]
        return config

    @property
    def folder(self) -> Path:
        """Its folder in the store, with every file verified.

        Raises:
            RedistillError: it is not in the store; says what brings it.
            IntegrityError: a file is not what the published manifest says.
        """
        folder = self.thing.folder(self.results.root)
        if not store.is_done(folder):
            raise RedistillError(f"{self.thing} is not in the store: `redistill pull {self.key}` brings it")
        store.trust(self.results.root, folder)
        return folder

    def record(self) -> dict[str, Any]:
        """How it was made: machine, environment, command, times; see docs/records.md.

        Raises:
            RedistillError: this project has no record of it.
        """
        file = record.place(self.results.root, self.key)
        if not file.is_file():
            raise RedistillError(f"{self.thing} has no record here: `redistill pull {self.key}` brings it")
        return record.read(file)

    def predictions(self, split: str | None = "dev") -> "DataFrame":
        """What it said of every example: id, split, label, prediction, logits; see docs/engine.md for images.

        Args:
            split: `dev`, `select`, or None for both.
        """
        import pandas as pd

        frame = pd.read_parquet(self._file("predictions.parquet"))
        return frame if split is None else frame[frame["split"] == split].reset_index(drop=True)

    def log(self) -> "DataFrame":
        """Its training: stage, step, rate, the loss and each of its terms; choices of a checkpoint where there are."""
        import pandas as pd

        return pd.DataFrame(list(_lines(self._file("log.jsonl"))))

    def predict(self, given: "Path | DataFrame", text: str = "text", pair: str | None = None) -> "DataFrame":
        """What it says of examples of your own; see `redistill.predict.predict`."""
        from redistill.lineage import finished
        from redistill.predict import predict

        return predict(finished(self.results.root, self.key, self.thing.title), given, text, pair)

    def model(self, device: str = "cpu") -> "Module":
        """Its model with trained weights, in eval mode, in float32."""
        from redistill.models.load import load_run

        self._file("model.safetensors")
        return load_run(self.folder, {**self.config["runtime"], "device": device, "portable": False})

    def tokenizer(self) -> "PreTrainedTokenizerBase":
        """What turns texts into its model's inputs, cut where its texts were cut.

        Raises:
            RedistillError: it reads images.
        """
        if self.config["task"]["input"] != "text":
            raise RedistillError(f"{self.thing} reads images, which need no tokenizer")
        from transformers import AutoTokenizer

        longest = self.results.things[self.thing.inputs["tokens"]].parts["config"]["max_length"]
        return AutoTokenizer.from_pretrained(self.folder, local_files_only=True, model_max_length=longest)

    def _file(self, name: str) -> Path:
        if name not in self.thing.files:
            raise RedistillError(f"{self.thing} has no {name}: it has {', '.join(sorted(self.thing.files))}")
        return self.folder / name


def _within(content: Any, *path: str) -> float | None:
    """The value at a path of nested dicts; None where it ends before."""
    for part in path:
        content = content.get(part) if isinstance(content, dict) else None
    return content


def _lines(file: Path) -> Iterator[dict[str, Any]]:
    with file.open(encoding="utf-8") as lines:
        for line in lines:
            yield json.loads(line)
