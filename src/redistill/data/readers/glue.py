"""GLUE (Wang et al. 2019) as its authors give it out, or as parquet of the hub; both give the same rows.

The official files are lines of columns between tabs, in which a quotation mark is a letter like any other.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from redistill.data.readers.parquet import parquet
from redistill.errors import RedistillError

Example = dict[str, Any]

_INFERENCE = ("entailment", "not_entailment")
_BINARY = ("0", "1")


@dataclass(frozen=True)
class _Layout:
    """Where a task's examples stand: columns of the official files, and of the hub's where they have other names."""

    folder: str
    texts: tuple[str, ...]
    label: str
    labels: tuple[str, ...] | None  # as the files write them, in the order of their indices; None for a score
    hub_texts: tuple[str, ...] | None = None
    files: tuple[tuple[str, str], ...] = (("train", "train"), ("validation", "dev"), ("test", "test"))


TASKS = {
    "cola": _Layout("CoLA", ("sentence",), "label", _BINARY),
    "sst2": _Layout("SST-2", ("sentence",), "label", _BINARY),
    "mrpc": _Layout("MRPC", ("#1 String", "#2 String"), "Quality", _BINARY, ("sentence1", "sentence2")),
    "stsb": _Layout("STS-B", ("sentence1", "sentence2"), "score", None),
    "qqp": _Layout("QQP", ("question1", "question2"), "is_duplicate", _BINARY),
    "mnli": _Layout(
        "MNLI", ("sentence1", "sentence2"), "gold_label", ("entailment", "neutral", "contradiction"),
        ("premise", "hypothesis"),
        (("train", "train"), ("validation_matched", "dev_matched"), ("validation_mismatched", "dev_mismatched"),
         ("test_matched", "test_matched"), ("test_mismatched", "test_mismatched")),
    ),
    "qnli": _Layout("QNLI", ("question", "sentence"), "label", _INFERENCE),
    "rte": _Layout("RTE", ("sentence1", "sentence2"), "label", _INFERENCE),
    "wnli": _Layout("WNLI", ("sentence1", "sentence2"), "label", _BINARY),
    "ax": _Layout(
        "AX", ("sentence1", "sentence2"), "label", ("entailment", "neutral", "contradiction"),
        ("premise", "hypothesis"), (("test", "diagnostic"),),
    ),
}  # fmt: skip
_COLA = ["source", "label", "mark", "sentence"]  # whose train and dev files have no heading


def glue(
    folder: Path, *, task: Literal["cola", "sst2", "mrpc", "stsb", "qqp", "mnli", "qnli", "rte", "wnli", "ax"]
) -> tuple[dict[str, list[Example]], Counter[str]]:
    """Read the splits of a task whose files are there.

    Args:
        folder: the source's folder: `CoLA/train.tsv` and so on, or `cola/train-00000-of-00001.parquet` and so on.
        task: which of GLUE's data sets.

    Returns:
        For each split, by its name on the hub, examples `{"id", "text", "text_pair", "label"}` in the order of the
        file. The label of a test example is None. And how many rows there are.

    Raises:
        RedistillError: a file is not laid out as the official one; names file, line and what was expected.
    """
    layout = TASKS[task]
    found = _from_hub(folder, task, layout)
    counts = Counter[str]()
    for split, name in layout.files:
        rows = None if split in found else _official(folder, name, layout, counts)
        if rows is not None:
            found[split] = [{"id": f"{split}-{i}", **row} for i, row in enumerate(rows)]
    if not found:
        raise RedistillError(f"the source holds no file of GLUE's {layout.folder}: name its files in its `layout`")
    counts["rows"] = sum(map(len, found.values()))
    return found, +counts


def _from_hub(folder: Path, task: str, layout: _Layout) -> dict[str, list[Example]]:
    texts = layout.hub_texts or layout.texts
    paths = {split: f"{task}/{split}-00000-of-00001.parquet" for split, _ in layout.files}
    files = {split: path for split, path in paths.items() if (folder / path).is_file()}
    if not files:
        return {}
    pair = texts[1] if len(texts) == 2 else None
    found, _ = parquet(folder, files=files, text=texts[0], text_pair=pair, label="label", hidden=-1)
    for split in found:
        if split.startswith("test"):  # MRPC's come with labels
            found[split] = [example | {"label": None} for example in found[split]]
    return found


def _official(folder: Path, name: str, layout: _Layout, counts: Counter[str]) -> list[Example] | None:
    """The examples of one split, or None where the folder does not have it."""
    file = folder / layout.folder / f"{name}.tsv"
    if name == "diagnostic" and not file.is_file():
        file = folder / "diagnostic" / file.name  # where the official download puts it
    if file.is_file():
        lines = _lines(file)
        columns = _COLA if layout.folder == "CoLA" and name != "test" else next(lines)[1]
        return list(_examples(file, lines, columns, layout, name.startswith(("test", "diagnostic")), counts))
    if layout.folder == "MRPC":
        return _paraphrases(folder / layout.folder, name, layout, counts)
    return None


def _paraphrases(folder: Path, name: str, layout: _Layout, counts: Counter[str]) -> list[Example] | None:
    """MRPC as its own authors give it out: dev is cut from train by pairs of ids."""
    file = folder / f"msr_paraphrase_{'test' if name == 'test' else 'train'}.txt"
    pairs = folder / "dev_ids.tsv"
    if not file.is_file() or (name != "test" and not pairs.is_file()):
        return None
    lines = _lines(file)
    columns = next(lines)[1]
    if name != "test":
        of_dev = {tuple(fields) for _, fields in _lines(pairs)}
        ids = columns.index("#1 ID")
        lines = (line for line in lines if (tuple(line[1][ids : ids + 2]) in of_dev) == (name == "dev"))
    return list(_examples(file, lines, columns, layout, name == "test", counts))


def _lines(file: Path) -> Iterator[tuple[int, list[str]]]:
    """Numbers and fields of the lines. Only a line feed ends a line: texts hold other characters that could."""
    try:
        text = file.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise RedistillError(f"{file.name}: byte {error.start} is not UTF-8: take the official file") from None
    for number, line in enumerate(text.removesuffix("\n").split("\n"), 1):
        yield number, line.removesuffix("\r").split("\t")


def _examples(
    file: Path, lines: Iterator[tuple[int, list[str]]], columns: list[str], layout: _Layout, hidden: bool,
    counts: Counter[str],
) -> Iterator[Example]:  # fmt: skip
    wanted = [*layout.texts, *([] if hidden else [layout.label])]
    if missing := [column for column in wanted if column not in columns]:
        raise RedistillError(
            f"{layout.folder}/{file.name}: has no column `{missing[0]}`, only {', '.join(columns)}: take the official "
            "file"
        )
    places = [columns.index(column) for column in wanted]
    for number, fields in lines:
        where = f"{layout.folder}/{file.name}, line {number}"
        if layout.folder == "QQP" and len(fields) < len(columns):  # three lines of train
            counts["broken lines, left out as the hub does"] += 1
            continue
        if len(fields) <= max(places):
            raise RedistillError(f"{where}: has {len(fields)} columns, not {len(columns)}: take the official file")
        values = [fields[place] for place in places]
        example: Example = dict(zip(("text", "text_pair"), values[: len(layout.texts)], strict=False))
        yield example | {"label": None if hidden else _label(values[-1], layout, where)}


def _label(written: str, layout: _Layout, where: str) -> int | float:
    if layout.labels is None:
        try:
            return float(np.float32(written))  # as the hub keeps it
        except ValueError:
            raise RedistillError(f"{where}: the score `{written}` is not a number: take the official file") from None
    if written not in layout.labels:
        known = ", ".join(layout.labels)
        raise RedistillError(f"{where}: the label `{written}` is none of {known}: take the official file")
    return layout.labels.index(written)
