"""A study on a data set of texts on the Hugging Face hub: its parquet files, pinned at today's commit."""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from redistill.errors import RedistillError, nearest
from redistill.new import Said, Wish
from redistill.new.texts import FLOORS, MOST, MOST_TRAINED, length_of, recipes_of, task_of
from redistill.provenance.store import sha256_file

SHARD = re.compile(r"(?:(?P<folder>.+)/)?(?P<split>\w+)-\d{5}-of-\d{5}(?:-\w+)?\.parquet")
UNSEEN = ("validation", "test")  # splits that are reported on, the first that is there


@dataclass(frozen=True)
class OfHub:
    """A data set of the hub, as OWNER/NAME or OWNER/NAME/FOLDER, with columns of texts and labels.

    Args:
        labels: names of the classes in the order of their numbers, where the files do not say them.
    """

    name: str
    text: str
    label: str
    pair: str | None = None
    scores: bool = False
    labels: tuple[str, ...] = ()

    def say(self, root: Path, wish: Wish) -> Said:
        repository, folder = _parted(self.name)
        commit, files = _files_of(repository, folder)
        unseen = next((split for split in UNSEEN if split in files), None)
        if "train" not in files or unseen is None:
            raise RedistillError(
                f"{self.name}: has the splits {', '.join(sorted(files))}, and `train` with `validation` or `test` is "
                "needed: save a table of your own from it, and say --from-csv"
            )
        used = {"train": files["train"], unseen: files[unseen]}
        here = {file: _fetched(repository, commit, file) for one in used.values() for file in one}
        rows, labels = self._looked_at({split: [here[file] for file in one] for split, one in used.items()})
        texts = _column(here[used["train"][0]], [c for c in (self.text, self.pair) if c])
        recipes, students = recipes_of(root, wish, length_of(texts))
        reader = {"method": "parquet", "files": {split: one if len(one) > 1 else one[0] for split, one in used.items()},
                  "text": self.text, "label": self.label}  # fmt: skip
        if self.pair:
            reader["text_pair"] = self.pair
        task = {
            **task_of(wish.name, self.scores, labels), "reader": reader,
            "splits": {"official": {"train": "train", "dev": unseen}, "rows": rows,
                       "select": min(rows["train"] // 10, MOST["select"]),
                       "at_most": {"train": min(rows["train"] * 9 // 10, MOST_TRAINED),
                                   "dev": min(rows[unseen], MOST["dev"])}},
        }  # fmt: skip
        source = {
            "kind": "data",
            "origin": {"type": "hub", "repository": repository, "form": "dataset", "revision": commit,
                       "files": list(here)},
            "files": {file: sha256_file(place) for file, place in here.items()},
            "licence": "not said", "citation": f"{repository}, on the Hugging Face hub",
        }  # fmt: skip
        return Said(task, source, recipes, students, FLOORS)

    def _looked_at(self, files: dict[str, list[Path]]) -> tuple[dict[str, int], list[str]]:
        """Rows of each split, and names of the classes."""
        import pyarrow.parquet as pq

        opened = {split: [pq.ParquetFile(file) for file in one] for split, one in files.items()}
        schema = opened["train"][0].schema_arrow
        for column in filter(None, (self.text, self.label, self.pair)):
            if column not in schema.names:
                raise RedistillError(f"{self.name}: has no column `{column}`; {nearest(column, schema.names)}")
        rows = {split: sum(file.metadata.num_rows for file in one) for split, one in opened.items()}
        if self.scores:
            return rows, []
        if not str(schema.field(self.label).type).startswith(("int", "uint")):
            raise RedistillError(
                f"{self.name}: `{self.label}` holds no numbers of classes: save a table from it and say --from-csv, or "
                "say --scores if it holds scores"
            )
        labels = list(self.labels) or _class_names(schema, self.label)
        if not labels:
            raise RedistillError(
                f"{self.name}: the files do not say what the numbers in `{self.label}` mean: name the classes in their "
                "order, such as --labels negative,positive"
            )
        return rows, labels


def _parted(name: str) -> tuple[str, str | None]:
    parts = name.strip("/").split("/")
    if not 2 <= len(parts) <= 3 or not all(parts):
        raise RedistillError(f"`{name}` is no data set of the hub: give it as OWNER/NAME, or OWNER/NAME/FOLDER")
    return "/".join(parts[:2]), parts[2] if len(parts) == 3 else None


def _files_of(repository: str, folder: str | None) -> tuple[str, dict[str, list[str]]]:
    """The newest commit, and its parquet files by split."""
    from huggingface_hub import HfApi
    from huggingface_hub import errors as hub

    try:
        info = HfApi().dataset_info(repository)
    except hub.RepositoryNotFoundError:
        raise RedistillError(f"{repository}: the hub has no such data set, or asks for a log-in") from None
    except (hub.HTTPError, hub.OfflineModeIsEnabled, hub.HFValidationError, OSError) as error:
        raise RedistillError(_no_answer(repository, error)) from None
    found: dict[str, dict[str, list[str]]] = {}
    for file in sorted(one.rfilename for one in info.siblings or []):
        if shard := SHARD.fullmatch(file):
            found.setdefault(shard["folder"] or "", {}).setdefault(shard["split"], []).append(file)
    if folder is None and len(found) == 1:
        folder = next(iter(found))
    if not found or info.sha is None:
        raise RedistillError(f"{repository}: has no files like train-00000-of-00001.parquet: save a table of your own "
                             "from it, and say --from-csv")  # fmt: skip
    if folder not in found:
        said = "name one of its folders" if folder is None else f"has no folder `{folder}`"
        raise RedistillError(f"{repository}: {said}: {', '.join(f'{repository}/{one}' for one in sorted(found))}")
    return str(info.sha), found[folder]


def _fetched(repository: str, commit: str, file: str) -> Path:
    from huggingface_hub import errors as hub
    from huggingface_hub import hf_hub_download

    try:
        return Path(hf_hub_download(repository, file, revision=commit, repo_type="dataset"))
    except (hub.HTTPError, hub.OfflineModeIsEnabled, OSError) as error:
        raise RedistillError(_no_answer(repository, error)) from None


def _no_answer(repository: str, error: Exception) -> str:
    return (
        f"{repository}: the hub did not answer ({type(error).__name__}): try again, or begin from a file of your own "
        "with --from-csv or --from-images"
    )


def _class_names(schema: Any, column: str) -> list[str]:
    """What the `datasets` library noted of a column of classes."""
    try:
        features = json.loads(schema.metadata[b"huggingface"])["info"]["features"]
        return [str(name) for name in features[column]["names"]]
    except (KeyError, TypeError, ValueError):
        return []


def columns_of(name: str) -> list[str]:
    """The columns of a data set of the hub.

    Raises:
        RedistillError: there is none, or the hub does not answer.
    """
    import pyarrow.parquet as pq

    repository, folder = _parted(name)
    commit, files = _files_of(repository, folder)
    first = next(iter(files.values()))[0]
    return list(pq.ParquetFile(_fetched(repository, commit, first)).schema_arrow.names)


def _column(file: Path, columns: list[str]) -> list[Any]:
    import pyarrow.parquet as pq

    frame = pq.read_table(file, columns=columns).to_pandas()
    return [frame[column].fillna("").astype(str) for column in columns]
