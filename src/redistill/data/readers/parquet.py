"""Parquet files as dataset hubs lay them out: files for each split, a column for each part of an example."""

import io
import math
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from redistill.errors import RedistillError

Example = dict[str, Any]


def parquet(
    folder: Path,
    *,
    files: dict,
    label: str,
    text: str | None = None,
    text_pair: str | None = None,
    image: str | None = None,
    channels: Literal[1, 3] = 3,
    hidden: float | None = None,
) -> tuple[dict[str, list[Example]], Counter[str]]:
    """Read the source's own splits.

    Args:
        folder: the source's folder.
        files: for each split of the source, its file, or a list of them in order, by their paths in the folder.
        label: column of the label: whole numbers for classes, numbers for scores.
        text: column of the text; either this or `image`.
        text_pair: column of the text that is paired with it.
        image: column of the encoded image (PNG, JPEG), as bytes or as `{bytes, path}`.
        channels: 3 decodes images to RGB, 1 to grey.
        hidden: the number that stands in the label's column where labels are kept secret, such as -1.

    Returns:
        For each split, examples `{"id", "text", "text_pair", "label"}` or `{"id", "image", "label"}` in the order of
        the file; an image is uint8 (C, H, W), a label that is not known None. And how many rows there are.

    Raises:
        RedistillError: a file, a column or a value is missing or not of its kind; says where and what there is.
    """
    if (text is None) == (image is None) or (text_pair is not None and text is None):
        raise RedistillError(
            "reader `parquet`: give the column of the `text` (and of a `text_pair`), or of the `image`"
        )
    columns = {"text": text, "text_pair": text_pair, "image": image, "label": label}
    named = {role: column for role, column in columns.items() if column is not None}
    splits: dict[str, list[Example]] = {}
    for split, paths in files.items():
        splits[split] = []
        for where, row in _rows(folder, paths if isinstance(paths, list) else [paths], list(named.values())):
            example = {"id": f"{split}-{len(splits[split])}"}
            for role, column in named.items():
                example[role] = _value(role, row[column], f"{where}, column `{column}`", channels, hidden)
            splits[split].append(example)
        if not splits[split]:
            raise RedistillError(f"{paths}: holds no rows, so the split `{split}` is empty: give another file")
    return splits, Counter(rows=sum(map(len, splits.values())))


def _rows(folder: Path, paths: list[Any], columns: list[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every row of the files, with the file and the number of the row in it, from 0."""
    for path in paths:
        if not (folder / str(path)).is_file():
            there = ", ".join(sorted(f.relative_to(folder).as_posix() for f in folder.rglob("*.parquet"))) or "none"
            raise RedistillError(f"{path}: the source has no such file; its parquet files: {there}")
        try:
            opened = pq.ParquetFile(folder / str(path))
        except pa.ArrowInvalid as error:
            raise RedistillError(f"{path}: is not a parquet file ({error}): fetch it again") from None
        missing = [column for column in columns if column not in opened.schema_arrow.names]
        if missing:
            there = ", ".join(opened.schema_arrow.names)
            raise RedistillError(
                f"{path}: has no column `{missing[0]}`; it has {there}: name one of these in the reader"
            )
        number = 0
        for batch in opened.iter_batches(batch_size=1024, columns=columns):
            for row in batch.to_pylist():
                yield f"{path}, row {number}", row
                number += 1


def _value(role: str, value: Any, where: str, channels: int, hidden: float | None) -> Any:
    if role == "label":
        return _label(value, where, hidden)
    if role == "image":
        return _pixels(value, where, channels)
    if not isinstance(value, str):
        raise RedistillError(f"{where}: holds {_kind(value)}, not a text: name another column in the reader")
    return value


def _label(value: Any, where: str, hidden: float | None) -> int | float | None:
    if value is None or value == hidden or (isinstance(value, float) and math.isnan(value)):
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise RedistillError(f"{where}: holds {_kind(value)}, not a number: name another column in the reader")
    return value


def _pixels(value: Any, where: str, channels: int) -> np.ndarray:
    from PIL import Image

    encoded = value.get("bytes") if isinstance(value, dict) else value
    if not isinstance(encoded, bytes):
        raise RedistillError(f"{where}: holds {_kind(encoded)} in the place of an image's bytes: name another column")
    try:
        with Image.open(io.BytesIO(encoded)) as opened:
            pixels = np.asarray(opened.convert("L" if channels == 1 else "RGB"))
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise RedistillError(f"{where}: the image cannot be decoded ({error}): fetch the file again") from None
    return np.ascontiguousarray(pixels.reshape(*pixels.shape[:2], channels).transpose(2, 0, 1))


def _kind(value: Any) -> str:
    return "nothing" if value is None else f"a {type(value).__name__}"
