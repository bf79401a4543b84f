"""Data inside a page: JSON, compressed, as text; and as much of it as the page has room for."""

import base64
import gzip
import json
from collections.abc import Iterator
from typing import Any

from redistill.report.numbers import finite

SHARD = 24  # cells that are unpacked together, when one of them is opened


def as_json(content: Any) -> str:
    return json.dumps(finite(content), ensure_ascii=False, separators=(",", ":"), allow_nan=False)


def packed(content: Any) -> str:
    """Base64 of gzip of JSON: holds no character that means anything to HTML. The same content gives the same text."""
    return base64.b64encode(gzip.compress(as_json(content).encode(), 9, mtime=0)).decode()


def shards(cells: list[Any]) -> Iterator[tuple[str, list[Any]]]:
    """Names of the parts that cells are kept in, and the cells."""
    for start in range(0, len(cells), SHARD):
        yield f"cells-{start // SHARD}", cells[start : start + SHARD]
