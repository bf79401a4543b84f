"""Start a study on a table of one's own: what is written is plain configuration, to be read and changed."""

import math
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from redistill import registry
from redistill.config import compose
from redistill.config.check import check
from redistill.errors import ConfigError, RedistillError, nearest, writing

NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,59}")
TEACHER, LAYERS = "minilm", 6  # the pretrained model that is fine-tuned, and how many layers it has
MOST_LABELS = 50  # more different values are no classes
MOST_TRAINED = 4000  # examples, so that a first study takes minutes on two cores
SHARES = {"dev": 0.2, "select": 0.1}  # of the table
MOST = {"dev": 1000, "select": 500}
LENGTHS = (32, 64, 128, 256)  # tokens, of which the first that holds most texts is taken
TOKENS_A_WORD, MOST_TEXTS = 1.5, 0.95
LOGITS = {"student_logits", "teacher_logits", "labels"}  # what a method may look at without being told where


@dataclass(frozen=True)
class Wish:
    """What a study is to be: its name, the table and its columns, and how it is distilled."""

    name: str
    table: Path
    text: str
    label: str
    pair: str | None = None
    scores: bool = False
    layers: tuple[int, ...] = (1, 3, 5)
    methods: tuple[str, ...] = ("kd",)
    seeds: int = 3


def write(root: Path, wish: Wish) -> list[Path]:
    """Write the study, and take it back if `check` finds anything wrong with it; returns the files.

    Raises:
        RedistillError: a name is taken, the table or a column is not there or not of its kind, a method does not fit.
        ConfigError: what was written is wrong; nothing of it is left.
    """
    _check_wish(root, wish)
    files = dict(_files(root, wish))
    sources = root / "configs" / "sources.yaml"
    before = sources.read_text(encoding="utf-8")
    data = root / "data" / wish.name / wish.table.name
    try:
        for file, text in files.items():
            with writing(file):
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text(text, encoding="utf-8")
        with writing(data):
            data.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(wish.table, data)
        with writing(sources):
            sources.write_text(f"{before.rstrip()}\n\n{_source(wish)}", encoding="utf-8")
        check(root, wish.name)
    except (RedistillError, ConfigError):
        _take_back([*files, data])
        sources.write_text(before, encoding="utf-8")
        raise
    return [*files, data, sources]


def _take_back(files: list[Path]) -> None:
    for file in files:
        file.unlink(missing_ok=True)
        if file.parent.is_dir() and not any(file.parent.iterdir()):
            file.parent.rmdir()


def columns_of(table: Path) -> list[str]:
    """The columns of a table.

    Raises:
        RedistillError: it cannot be read as one.
    """
    return list(_read(table).columns)


def _read(table: Path) -> Any:
    import pandas as pd

    from redistill.data.readers.table import SEPARATORS

    separator = SEPARATORS.get(table.suffix.lower())
    if separator is None:
        raise RedistillError(f"{table}: a study begins with a table that ends in {' or '.join(SEPARATORS)}")
    try:
        return pd.read_csv(table, sep=separator, dtype=str, keep_default_na=False, encoding="utf-8-sig")
    except FileNotFoundError:
        raise RedistillError(f"{table}: there is no such file") from None
    except (OSError, ValueError) as error:
        raise RedistillError(f"{table}: cannot be read as a table: {' '.join(str(error).split())}") from None


def _check_wish(root: Path, wish: Wish) -> None:
    if not NAME.fullmatch(wish.name):
        raise RedistillError(
            f"`{wish.name}` is no name: small letters, digits, `.`, `_` and `-`, a letter or digit first"
        )
    taken = [folder for folder in ("studies", "tasks") if (root / "configs" / folder / f"{wish.name}.yaml").exists()]
    taken += ["experiments"] if (root / "configs" / "experiments" / wish.name).exists() else []
    taken += ["sources.yaml"] if wish.name in compose.load(root / "configs" / "sources.yaml", "sources").data else []
    if taken:
        raise RedistillError(f"configs/{taken[0]} has a `{wish.name}` already: take another name")
    if any(not 0 <= layer < LAYERS for layer in wish.layers) or not wish.layers:
        raise RedistillError(f"the teacher has layers 0 to {LAYERS - 1}; a student takes some of these, such as 1,3,5")
    if wish.seeds < 1:
        raise RedistillError("a row needs a seed at least; with five, a difference can be starred")
    for method in wish.methods:
        _check_method(method)


def _check_method(method: str) -> None:
    known = registry.names("loss")
    if method not in known or method == "hard":
        raise RedistillError(f"there is no method `{method}` of distillation; {nearest(method, known)}")
    signature = registry.signature("loss", method)
    required = [name for name, setting in signature.settings.items() if setting.required]
    if not set(signature.inputs) <= LOGITS or "teacher_logits" not in signature.inputs or required:
        raise RedistillError(
            f"`{method}` needs more than its name: `redistill methods {method}` says what. Begin with `kd`, and write "
            "it into the recipe then"
        )


def _files(root: Path, wish: Wish) -> Iterator[tuple[Path, str]]:
    """Every file of the study with its text."""
    frame = _read(wish.table)
    for column in filter(None, (wish.text, wish.label, wish.pair)):
        if column not in frame.columns:
            raise RedistillError(f"{wish.table}: has no column `{column}`; {nearest(column, frame.columns)}")
    configs, name = root / "configs", wish.name
    yield configs / "tasks" / f"{name}.yaml", _task(wish, frame)
    for recipe, text in _recipes(wish, _length(frame, wish)).items():
        yield configs / "experiments" / name / f"{recipe}.yaml", text
    yield configs / "studies" / f"{name}.yaml", _study(wish)


def _task(wish: Wish, frame: Any) -> str:
    values = [value.strip() for value in frame[wish.label]]
    if "" in values:
        raise RedistillError(
            f"{wish.table}, row {values.index('') + 1}: has nothing in `{wish.label}`: fill it in, or take the row out"
        )
    said: dict[str, Any] = {
        "title": wish.name, "type": "regression" if wish.scores else "classification", "input": "text",
        "source": wish.name,
        "reader": {"method": "table", "file": wish.table.name, "text": wish.text, "label": wish.label},
    }  # fmt: skip
    if wish.pair:
        said["reader"]["text_pair"] = wish.pair
    if not wish.scores:
        said["labels"] = _labels(wish, values)
    said["metric"] = "pearson_spearman" if wish.scores else "accuracy"
    said["splits"] = _splits(wish, frame)
    return f"# What the models learn. Splits are drawn from the table, without overlap.\n{_yaml(said)}"


def _labels(wish: Wish, values: list[str]) -> list[str]:
    labels = sorted(set(values))
    if len(labels) < 2:
        raise RedistillError(f"{wish.table}: `{wish.label}` has one value in every row: there is nothing to tell apart")
    if len(labels) > MOST_LABELS:
        raise RedistillError(
            f"{wish.table}: `{wish.label}` has {len(labels)} different values, which are no classes: name another "
            "column, or say --scores if they are numbers to be predicted"
        )
    return labels


def _splits(wish: Wish, frame: Any) -> dict[str, int]:
    texts = [wish.text, *([wish.pair] if wish.pair else [])]
    rows = len(frame.drop_duplicates(subset=texts))
    sizes = {split: min(round(rows * share), MOST[split]) for split, share in SHARES.items()}
    train = min(rows - sum(sizes.values()), MOST_TRAINED)
    if train < 20 or min(sizes.values()) < 10:
        raise RedistillError(f"{wish.table}: has {rows} different rows; a study needs 100 at least")
    return {"train": train, "select": sizes["select"], "dev": sizes["dev"]}


def _length(frame: Any, wish: Wish) -> int:
    """Tokens that most texts have at most, by their words."""
    words = frame[wish.text].str.split().str.len() + (frame[wish.pair].str.split().str.len() if wish.pair else 0)
    tokens = math.ceil(float(words.quantile(MOST_TEXTS)) * TOKENS_A_WORD) + 3
    return next((length for length in LENGTHS if length >= tokens), LENGTHS[-1])


def _recipes(wish: Wish, length: int) -> dict[str, str]:
    """The recipes by name: what is shared, the teacher, the student alone, and one for each method."""
    base = {
        "label": "Shared", "student": {"max_length": length, "start": {"source": TEACHER}},
        "stages": [{
            "data": ["train"], "epochs": 3, "batch_size": 32, "optimiser": {"learning_rate": 1e-4},
            "schedule": {"method": "linear", "warmup": 0.1}, "clip_norm": 1.0,
            "loss": {"hard": {"method": "hard", "weight": 1.0}},
        }],
    }  # fmt: skip
    layers = ", ".join(map(str, wish.layers))
    student = {
        "extends": "base", "label": "Student fine-tuned", "notes": {"start": f"layers {layers}"},
        "student": {"start": {"layers": list(wish.layers)}},
    }  # fmt: skip
    found = {
        "base": f"# What all runs share; the other recipes say what is their own.\n{_yaml(base)}",
        "teacher": _yaml({"extends": "base", "label": "Teacher", "notes": {"start": f"all {LAYERS} layers"}}),
        "student": f"# The twin of the distilled ones: the same start, data and steps, no teacher.\n{_yaml(student)}",
    }
    for method in wish.methods:
        found[f"student-{method}"] = _yaml({
            "extends": "student", "label": f"Student distilled ({method})",
            "teacher": {"experiment": f"{wish.name}/teacher"},
            "set": {"stages.0.loss": {"hard": {"method": "hard", "weight": 0.5},
                                      "soft": {"method": method, "weight": 0.5}}},
        })  # fmt: skip
    return found


def _study(wish: Wish) -> str:
    rows: list[dict[str, Any]] = [
        {"experiment": "text/majority", "seeds": [0]}, {"experiment": "text/tfidf", "seeds": [0]},
        {"experiment": f"{wish.name}/teacher", "seeds": [0]}, {"experiment": f"{wish.name}/student"},
        *({"experiment": f"{wish.name}/student-{method}"} for method in wish.methods),
    ]  # fmt: skip
    said = {
        "title": wish.name,
        "runtime": {"precision": "float32", "device": "cpu", "threads": 1},
        "folders": {wish.name: {"path": f"data/{wish.name}"}},
        "tables": {"main": {
            "title": wish.name, "tasks": [wish.name], "seeds": list(range(wish.seeds)), "rows": rows,
            "comparisons": [{"row": f"{wish.name}/student-{method}", "against": f"{wish.name}/student"}
                            for method in wish.methods],
        }},
    }  # fmt: skip
    return f"# snakemake --cores all --config study={wish.name}\n{_yaml(said)}"


def _source(wish: Wish) -> str:
    said = {wish.name: {
        "kind": "data", "origin": {"type": "folder", "variable": f"{_variable(wish.name)}_DIR"},
        "layout": {"folder": wish.name, "splits": {"all": [wish.table.name]}},
        "licence": "not said", "citation": f"{wish.table.name}, by whoever made this study",
    }}  # fmt: skip
    return _yaml(said)


def _variable(name: str) -> str:
    letters = "".join(letter if letter.isalnum() else "_" for letter in name.upper())
    return letters if letters[0].isalpha() else f"DATA_{letters}"


def _yaml(value: dict[str, Any]) -> str:
    return yaml.safe_dump(value, sort_keys=False, allow_unicode=True, width=110, default_flow_style=None)
