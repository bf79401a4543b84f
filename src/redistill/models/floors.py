"""Baselines of tasks whose labels are drawn on images: what is said of an image unseen. Needs no torch."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from redistill import registry
from redistill.data.masks import VOID, png, read
from redistill.data.packed import Files

Columns = dict[str, pa.Array]
Unseen = dict[str, Path]  # the folder that each split is predicted from
BOXES = pa.list_(pa.list_(pa.float32()))
DRAWN = {"boxes": BOXES, "classes": pa.list_(pa.int64()), "crowd": pa.list_(pa.bool_())}


def predicted(config: dict[str, Any], dataset: Path, unseen: Unseen) -> Columns:
    """Predictions as `redistill.models.predict` lays them out, on every split of `unseen`."""
    dense = {"segmentation": _masks, "detection": _boxes}[config["task"]["type"]]
    columns: dict[str, list[Any]] = {"id": [], "split": []}
    for split, folder in unseen.items():
        ids = pq.read_table(folder / f"{split}.parquet", columns=["id"])["id"].to_pylist()
        columns["id"] += ids
        columns["split"] += [split] * len(ids)
    return {**{name: pa.array(values) for name, values in columns.items()}, **dense(config, dataset, unseen)}


def _masks(config: dict[str, Any], dataset: Path, unseen: Unseen) -> Columns:
    classes, said = len(config["task"]["labels"]), config["baseline"]
    pixels = np.zeros(classes, dtype=np.int64)
    for mask in masks_of(dataset, "train"):
        pixels += _counted(mask, classes)
    everywhere: int = registry.get("baseline", said["method"])(pixels, **said["settings"])
    images, counts = [], []
    for split, folder in unseen.items():
        for mask in masks_of(folder, split):
            together = np.zeros((classes, classes), dtype=np.int64)
            together[:, everywhere] = _counted(mask, classes)
            images.append(png(np.full(mask.shape, everywhere, dtype=np.uint8)))
            counts.append(together.flatten())
    return {"prediction": pa.array(images, pa.binary()), "counts": pa.array(counts, pa.list_(pa.int64()))}


def _boxes(config: dict[str, Any], dataset: Path, unseen: Unseen) -> Columns:
    said, columns = config["baseline"], list(DRAWN)
    drawn = pq.read_table(dataset / "train.parquet", columns=columns).to_pylist()
    tables = [pq.read_table(folder / f"{split}.parquet", columns=columns) for split, folder in unseen.items()]
    there = pa.concat_tables(tables)
    found = registry.get("baseline", said["method"])(drawn, there.num_rows, **said["settings"])
    return {
        "boxes": pa.array([one["boxes"] for one in found], BOXES),
        "classes": pa.array([one["classes"] for one in found], DRAWN["classes"]),
        "scores": pa.array([[1.0] * len(one["classes"]) for one in found], pa.list_(pa.float32())),
        **{f"label_{name}": there[name].combine_chunks().cast(kind) for name, kind in DRAWN.items()},
    }


def masks_of(folder: Path, split: str) -> Iterator[np.ndarray]:
    """The masks (H, W) of a prepared split, in the order of its file."""
    files = Files.of(folder, split, "masks")
    for index in range(len(files)):
        yield read(files[index])


def _counted(mask: np.ndarray, classes: int) -> np.ndarray:
    counted: np.ndarray = np.bincount(mask[mask != VOID], minlength=classes)
    return counted
