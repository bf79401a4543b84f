"""A study on a table of texts, and the recipes of all on texts: a pretrained teacher, students of its layers."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from redistill.errors import RedistillError, nearest
from redistill.new import Said, Wish, sources_of, variable

TEACHER = "minilm"  # the pretrained model that is fine-tuned
MOST_LABELS = 50  # more different values are no classes
MOST_TRAINED = 4000  # examples, so that a first study takes minutes on two cores
SHARES = {"dev": 0.2, "select": 0.1}  # of the examples
MOST = {"dev": 1000, "select": 500}
LEAST_TRAINED, LEAST_UNSEEN = 20, 10
LENGTHS = (32, 64, 128, 256)  # tokens, of which the first that holds most texts is taken
TOKENS_A_WORD, MOST_TEXTS = 1.5, 0.95
FLOORS = ["text/majority", "text/tfidf"]


@dataclass(frozen=True)
class Table:
    """A table with a column of texts and one of labels, or of scores."""

    file: Path
    text: str
    label: str
    pair: str | None = None
    scores: bool = False

    def say(self, root: Path, wish: Wish) -> Said:
        frame = read(self.file)
        for column in filter(None, (self.text, self.label, self.pair)):
            if column not in frame.columns:
                raise RedistillError(f"{self.file}: has no column `{column}`; {nearest(column, frame.columns)}")
        texts = [frame[column] for column in (self.text, self.pair) if column]
        recipes, students = recipes_of(root, wish, length_of(texts))
        source = {
            "kind": "data", "origin": {"type": "folder", "variable": variable(wish.name)},
            "layout": {"folder": wish.name, "splits": {"all": [self.file.name]}},
            "licence": "not said", "citation": f"{self.file.name}, by whoever made this study",
        }  # fmt: skip
        place = Path("data") / wish.name
        return Said(self._task(wish, frame), source, recipes, students, FLOORS, place.as_posix(),
                    {place / self.file.name: self.file})  # fmt: skip

    def _task(self, wish: Wish, frame: Any) -> dict[str, Any]:
        values = [value.strip() for value in frame[self.label]]
        if "" in values:
            raise RedistillError(
                f"{self.file}, row {values.index('') + 1}: has nothing in `{self.label}`: fill it in, or take the row "
                "out"
            )
        reader = {"method": "table", "file": self.file.name, "text": self.text, "label": self.label}
        if self.pair:
            reader["text_pair"] = self.pair
        rows = len(frame.drop_duplicates(subset=[self.text, *([self.pair] if self.pair else [])]))
        return {
            **task_of(wish.name, self.scores, [] if self.scores else self._labels(values)), "reader": reader,
            "splits": splits_of(f"{self.file}: has {rows} different rows", rows),
        }  # fmt: skip

    def _labels(self, values: list[str]) -> list[str]:
        labels = sorted(set(values))
        if len(labels) < 2:
            raise RedistillError(
                f"{self.file}: `{self.label}` has one value in every row: there is nothing to tell apart"
            )
        if len(labels) > MOST_LABELS:
            raise RedistillError(
                f"{self.file}: `{self.label}` has {len(labels)} different values, which are no classes: name another "
                "column, or say --scores if they are numbers to be predicted"
            )
        return labels


def columns_of(file: Path) -> list[str]:
    """The columns of a table.

    Raises:
        RedistillError: it cannot be read as one.
    """
    return list(read(file).columns)


def read(file: Path) -> Any:
    """A table as strings."""
    import pandas as pd

    from redistill.data.readers.table import SEPARATORS

    separator = SEPARATORS.get(file.suffix.lower())
    if separator is None:
        raise RedistillError(f"{file}: a study begins with a table that ends in {' or '.join(SEPARATORS)}")
    try:
        return pd.read_csv(file, sep=separator, dtype=str, keep_default_na=False, encoding="utf-8-sig")
    except FileNotFoundError:
        raise RedistillError(f"{file}: there is no such file") from None
    except (OSError, ValueError) as error:
        raise RedistillError(f"{file}: cannot be read as a table: {' '.join(str(error).split())}") from None


def task_of(name: str, scores: bool, labels: list[str]) -> dict[str, Any]:
    """A task on texts, without reader and splits."""
    return {
        "title": name, "type": "regression" if scores else "classification", "input": "text", "source": name,
        **({} if scores else {"labels": labels}), "metric": "pearson_spearman" if scores else "accuracy",
    }  # fmt: skip


def splits_of(what: str, rows: int) -> dict[str, int]:
    """Sizes of splits that are drawn of so many examples.

    Raises:
        RedistillError: there are too few.
    """
    sizes = {split: min(round(rows * share), MOST[split]) for split, share in SHARES.items()}
    train = min(rows - sum(sizes.values()), MOST_TRAINED)
    if train < LEAST_TRAINED or min(sizes.values()) < LEAST_UNSEEN:
        raise RedistillError(f"{what}; a study needs 100 at least")
    return {"train": train, "select": sizes["select"], "dev": sizes["dev"]}


def length_of(texts: list[Any]) -> int:
    """Tokens that most texts have at most, by their words.

    Args:
        texts: pandas' columns of texts; two of pairs.
    """
    words = sum(column.str.split().str.len() for column in texts)
    tokens = math.ceil(float(words.quantile(MOST_TEXTS)) * TOKENS_A_WORD) + 3  # type: ignore[union-attr]
    return next((length for length in LENGTHS if length >= tokens), LENGTHS[-1])


def recipes_of(root: Path, wish: Wish, length: int) -> tuple[dict[str, dict[str, Any]], list[str]]:
    """The recipes by name: what is shared, the teacher, and each student alone; and the students' names.

    Args:
        length: tokens that texts are cut at.
    """
    teacher, depth = _teacher(root, wish)
    chosen = wish.students or (",".join(map(str, range(1, depth, 2))) or "0",)
    base = {
        "label": "Shared", "student": {"max_length": length, "start": {"source": teacher}},
        "stages": [{
            "data": ["train"], "epochs": 3, "batch_size": 32, "optimiser": {"learning_rate": 1e-4},
            "schedule": {"method": "linear", "warmup": 0.1}, "clip_norm": 1.0,
            "loss": {"hard": {"method": "hard", "weight": 1.0}},
        }],
    }  # fmt: skip
    recipes: dict[str, dict[str, Any]] = {
        "base": base, "teacher": {"extends": "base", "label": "Teacher", "notes": {"start": f"all {depth} layers"}},
    }  # fmt: skip
    for student in chosen:
        layers = _layers(student, depth)
        several = len(chosen) > 1
        name = f"student-{'-'.join(map(str, layers))}" if several else "student"
        recipes[name] = {
            "extends": "base", "label": f"Student of layers {', '.join(map(str, layers))}" if several else "Student",
            "notes": {"start": f"layers {', '.join(map(str, layers))}"}, "set": {"student.start.layers": layers},
        }  # fmt: skip
    return recipes, [name for name in recipes if name.startswith("student")]


def _teacher(root: Path, wish: Wish) -> tuple[str, int]:
    """The teacher's source, and its layers."""
    known = {
        name: said["config"]["num_hidden_layers"] for name, said in sources_of(root, "model").items()
        if "num_hidden_layers" in (said.get("config") or {})
    }  # fmt: skip
    name = wish.teacher or TEACHER
    if name not in known:
        raise RedistillError(
            f"configs/sources.yaml has no pretrained model of texts `{name}`; {nearest(name, known)}. Another one is "
            "added there"
        )
    return name, int(known[name])


def _layers(written: str, depth: int) -> list[int]:
    try:
        layers = [int(part) for part in written.split(",")]
    except ValueError:
        raise RedistillError(
            f"a student of texts is some of the teacher's layers, whole numbers with commas between, such as 1,3,5; "
            f"not `{written}`"
        ) from None
    if any(not 0 <= layer < depth for layer in layers) or len(set(layers)) < len(layers):
        raise RedistillError(f"the teacher has layers 0 to {depth - 1}; a student takes some of these, such as 1,3,5")
    return layers
