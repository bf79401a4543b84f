"""Fit a baseline on a task's train split and keep its predictions on dev; needs no torch."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from redistill import registry
from redistill.provenance.store import pretty


def fit(config: dict[str, Any], inputs: dict[str, Path], work: Path) -> dict[str, Any]:
    """Write predictions.parquet and resolved.json."""
    train, dev = (pq.read_table(inputs["dataset"] / f"{split}.parquet").to_pydict() for split in ("train", "dev"))
    classes = len(config["task"]["labels"]) if config["task"]["type"] == "classification" else 0
    baseline = config["baseline"]
    logits = registry.get("baseline", baseline["method"])(train, dev, classes, **baseline["settings"])
    predictions = logits.argmax(1) if classes else logits[:, 0]
    columns = {
        "id": pa.array(dev["id"]),
        "split": pa.array(["dev"] * len(dev["id"])),
        "label": pa.array(dev["label"]),
        "prediction": pa.array(predictions),
        "logits": pa.array(list(logits.astype(np.float32)), pa.list_(pa.float32())),
    }
    pq.write_table(pa.table(columns), work / "predictions.parquet")
    (work / "resolved.json").write_text(pretty(config), encoding="utf-8")
    return {"examples": len(train["id"])}
