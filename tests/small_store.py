"""A store that is written by hand: finished things with manifests, and a small set of images that was prepared."""

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from picture_sets import mask_of
from PIL import Image

from redistill.provenance import store

BOXES = pa.list_(pa.list_(pa.float32()))
HEIGHT, WIDTH = 16, 24


def thing(root: Path, area: str, key: str, inputs: dict[str, str], files: dict[str, Any]) -> Path:
    """A finished thing in a store, of files as bytes, as JSON, or as tables."""
    folder = root / "store" / area / key
    folder.mkdir(parents=True)
    for name, content in files.items():
        if isinstance(content, pa.Table):
            pq.write_table(content, folder / name)
        else:
            (folder / name).write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    sealed(folder, {"kind": area, "inputs": inputs})
    return folder


def sealed(folder: Path, parts: dict[str, Any]) -> None:
    """Make a folder a finished thing, of these parts."""
    (folder / "manifest.json").write_text(store.pretty(store.manifest_of(folder, parts)))
    store.finish(folder)


def images(root: Path, kind: str, ids: list[str], key: str = "data1") -> Path:
    """A data set whose `dev` has green images of HEIGHT x WIDTH; all of class 1, or with a box of it."""
    n = len(ids)
    rows: dict[str, Any] = {"id": ids, "label": [1] * n if kind == "classification" else pa.nulls(n, pa.float64())}
    if kind == "detection":
        rows |= {"boxes": pa.array([[[4.0, 4.0, 20.0, 14.0]]] * n, BOXES), "classes": [[1]] * n}
        rows["crowd"] = [[False]] * n
    files: dict[str, Any] = {"dev.parquet": pa.table(rows)}
    green = np.full((HEIGHT, WIDTH, 3), [0, 200, 0], dtype=np.uint8)
    stream = io.BytesIO()
    Image.fromarray(green).save(stream, "PNG")
    files["dev.images"], files["dev.images.starts.npy"] = _together([stream.getvalue()] * n)
    if kind == "segmentation":
        mask = mask_of(np.full((HEIGHT, WIDTH), 1))
        files["dev.masks"], files["dev.masks.starts.npy"] = _together([mask] * n)
    return thing(root, "data", key, {}, files)


def _together(files: list[bytes]) -> tuple[bytes, bytes]:
    stream = io.BytesIO()
    np.save(stream, np.cumsum([0, *map(len, files)]))
    return b"".join(files), stream.getvalue()
