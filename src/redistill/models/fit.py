"""Fit a baseline on a task's train split and keep its predictions on dev; needs no torch."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from redistill import registry
from redistill.models import floors
from redistill.provenance.store import pretty


def fit(config: dict[str, Any], inputs: dict[str, Path], work: Path) -> dict[str, Any]:
    """Write predictions.parquet, on dev and on select where the task has it, and resolved.json.

    With an input `dev`, the dev split of that other data set is predicted instead of the task's own.
    """
    splits = [split for split in ("dev", "select") if (inputs["dataset"] / f"{split}.parquet").is_file()]
    from_where = {"dev": inputs["dev"]} if "dev" in inputs else dict.fromkeys(splits, inputs["dataset"])
    columns = _columns(config, inputs["dataset"], from_where)
    pq.write_table(pa.table(columns), work / "predictions.parquet")
    (work / "resolved.json").write_text(pretty(config), encoding="utf-8")
    return {"examples": pq.read_metadata(inputs["dataset"] / "train.parquet").num_rows}


def _columns(config: dict[str, Any], dataset: Path, from_where: dict[str, Path]) -> dict[str, pa.Array]:
    """Predictions on every split, from the folder that each is in."""
    if config["task"]["type"] in ("segmentation", "detection"):
        return floors.predicted(config, dataset, from_where)
    needed = _needed(config["baseline"]["method"])
    train = _read(dataset, "train", needed)
    unseen = {split: _read(folder, split, needed) for split, folder in from_where.items()}
    classes = len(config["task"]["labels"]) if config["task"]["type"] == "classification" else 0
    joined = {key: [value for one in unseen.values() for value in one[key]] for key in unseen["dev"]}
    logits = _fitted(config["baseline"], train, joined, classes)
    return {
        "id": pa.array(joined["id"]),
        "split": pa.array([split for split, one in unseen.items() for _ in one["id"]]),
        "label": pa.array(joined["label"]),
        "prediction": pa.array(logits.argmax(1) if classes else logits[:, 0]),
        "logits": pa.array(list(logits.astype(np.float32)), pa.list_(pa.float32())),
    }


def _needed(method: str) -> set[str]:
    """The columns that a baseline looks at: the pixels of many images are large, and most ask for none."""
    inputs = registry.signature("baseline", method).inputs
    texts = {"text", "text_pair"} if "texts" in inputs else set()
    return {"id", "label", *texts, *(["image"] if "images" in inputs else [])}


def _read(folder: Path, split: str, needed: set[str]) -> dict[str, list[Any]]:
    file = pq.ParquetFile(folder / f"{split}.parquet")
    there = [name for name in file.schema_arrow.names if name in needed]
    columns: dict[str, list[Any]] = file.read(columns=there).to_pydict()
    return columns


def _fitted(said: dict[str, Any], train: dict[str, Any], unseen: dict[str, Any], classes: int) -> np.ndarray:
    """Call a baseline with what it asks for by name; the labels of what is unseen are not offered."""
    offered = {
        "texts": _texts(train), "images": train.get("image"), "labels": train["label"], "unseen_texts": _texts(unseen),
        "unseen_images": unseen.get("image"), "num_unseen": len(unseen["id"]), "num_classes": classes,
    }  # fmt: skip
    inputs = registry.signature("baseline", said["method"]).inputs
    logits: np.ndarray = registry.get("baseline", said["method"])(
        *(offered[name] for name in inputs), **said["settings"]
    )
    return logits


def _texts(columns: dict[str, Any]) -> list[str] | None:
    if "text_pair" in columns:
        return [f"{first} {second}" for first, second in zip(columns["text"], columns["text_pair"], strict=True)]
    return columns.get("text")
