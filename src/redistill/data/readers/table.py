"""A table of a user's own, as spreadsheets write it: a line an example, in columns that are named in the first line."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from redistill.errors import RedistillError, nearest

Example = dict[str, Any]
SEPARATORS = {".csv": ",", ".tsv": "\t"}


def table(
    folder: Path,
    labels: list[str],
    task_type: str,
    *,
    label: str,
    text: str,
    text_pair: str | None = None,
    file: str | None = None,
    files: dict | None = None,
) -> tuple[list[Example] | dict[str, list[Example]], dict[str, Any]]:
    """Read one table, which is then split; or one for each split.

    Args:
        folder: the source's folder.
        labels: the task's labels, as the table writes them; of a regression there are none.
        task_type: a task that is `unlabelled` needs no labels in the table.
        label: column of the label, or of the score.
        text: column of the text.
        text_pair: column of the text that is paired with it.
        file: the table, `.csv` or `.tsv`; either this or `files`.
        files: for each split of the source, its table, such as `{train: train.csv, dev: dev.csv}`.

    Returns:
        Examples `{"id", "text", "text_pair", "label"}` in the order of the lines, by split with `files`; a label that
        is not filled in is None. Counted: rows, and rows that were left out because they are there twice.

    Raises:
        RedistillError: a table, a column or a value is missing or not of its kind; says where, and what there is.
    """
    if (file is None) == (files is None):
        raise RedistillError("reader `table`: give a `file`, which is split here, or `files`, one for each split")
    columns = {"text": text, "label": label} | ({"text_pair": text_pair} if text_pair else {})
    known = {word: index for index, word in enumerate(labels)}
    counts = Counter[str]()
    found = {
        split: list(_examples(folder, str(path), "" if file else f"{split}-", columns, known, task_type, counts))
        for split, path in (files or {"": file}).items()
    }
    counts["rows"] = sum(map(len, found.values())) + counts["there twice"]
    return found[""] if file else found, dict(counts)


def _examples(
    folder: Path, path: str, before: str, columns: dict[str, str], known: dict[str, int], task_type: str,
    counts: Counter[str],
) -> Iterator[Example]:  # fmt: skip
    seen = set[tuple[str, ...]]()
    for number, row in _rows(folder, path, columns, task_type):
        where = f"{path}, row {number}"
        texts: dict[str, Any] = {role: row[columns[role]].strip() for role in ("text", "text_pair") if role in columns}
        for role, value in texts.items():
            if not value:
                raise RedistillError(f"{where}: has nothing in `{columns[role]}`: fill it in, or take the row out")
        if tuple(texts.values()) in seen:  # it would be in two splits
            counts["there twice"] += 1
            continue
        seen.add(tuple(texts.values()))
        said = row.get(columns["label"], "").strip()
        found = _label(said, known, task_type, f"{where}, `{columns['label']}`")
        yield {"id": f"{before}{number}", "label": found} | texts


def _rows(folder: Path, path: str, columns: dict[str, str], task_type: str) -> Iterator[tuple[int, dict[str, str]]]:
    """The rows of a table with their numbers, from 1; every value is a text."""
    import pandas as pd

    separator = SEPARATORS.get(Path(path).suffix.lower())
    if separator is None:
        raise RedistillError(f"{path}: is to end in {' or '.join(SEPARATORS)}, which says what is between columns")
    try:
        frame = pd.read_csv(folder / path, sep=separator, dtype=str, keep_default_na=False, encoding="utf-8-sig")
    except FileNotFoundError:
        raise RedistillError(f"{path}: the source has no such file") from None
    except (OSError, ValueError) as error:  # pandas' own are among them
        raise RedistillError(f"{path}: cannot be read as a table: {' '.join(str(error).split())}") from None
    needed = [name for role, name in columns.items() if role != "label" or task_type != "unlabelled"]
    missing = [name for name in needed if name not in frame.columns]
    if missing:
        raise RedistillError(f"{path}: has no column `{missing[0]}`; {nearest(missing[0], frame.columns)}")
    if frame.empty:
        raise RedistillError(f"{path}: has no rows")
    yield from enumerate(frame.to_dict("records"), 1)  # type: ignore[misc]


def _label(said: str, known: dict[str, int], task_type: str, where: str) -> int | float | None:
    if not said or task_type == "unlabelled":
        return None
    if task_type == "classification":
        if said not in known:
            raise RedistillError(f"{where}: `{said}` is no label of the task; {nearest(said, known)}")
        return known[said]
    try:
        return float(said)
    except ValueError:
        raise RedistillError(f"{where}: `{said[:40]}` is no number, and the task is a {task_type}") from None
