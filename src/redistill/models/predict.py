"""Run a model over examples, and keep what it said about each as a table.

Every table has the columns id and split. Beside these,

    classes, scores   label, prediction (class index, or score) and logits
    segmentation      prediction, a PNG of classes by pixel; counts, how many pixels of each class (row by row, C x C)
                      it said to be of each; pixels without a class are not counted
    detection         boxes, classes and scores of what was found; label_boxes, label_classes and label_crowd of what
                      is there
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor, nn

from redistill.data.ahead import ahead
from redistill.data.examples import NO_CLASS, Examples, load, ordered_batches
from redistill.data.masks import png
from redistill.data.pictures import STORED
from redistill.evaluation.metrics import decided
from redistill.models.load import logits_of, said_of
from redistill.progress import track

Batch = dict[str, Any]
BOXES = pa.list_(pa.list_(pa.float32()))


def unseen(config: dict[str, Any], inputs: dict[str, Path], workers: int = 0) -> Examples:
    """What a run is evaluated on: `dev`, which is reported, and `select`, which serves choices, where there is one."""
    splits = [split for split in ("dev", "select") if (inputs["dataset"] / f"{split}.parquet").is_file()]
    return load(config["task"], inputs, splits, config["evaluation"]["transforms"], workers)


def write(model: nn.Module, data: Examples, config: dict[str, Any], work: Path) -> None:
    """Write predictions.parquet: what a run's model says of these examples."""
    size, device = config["evaluation"]["batch_size"], config["runtime"]["device"]
    pq.write_table(predictions(model, data, config["task"], size, device), work / "predictions.parquet")


def predictions(model: nn.Module, data: Examples, task: dict[str, Any], batch_size: int, device: str) -> pa.Table:
    """What a model says of every example, in the order of `data`. The model is left in eval mode."""
    columns = {"id": pa.array(data.ids), "split": pa.array(data.splits)}
    if task["type"] == "detection":
        return pa.table(columns | _boxes(model, data, batch_size, device))
    if task["type"] == "segmentation":
        return pa.table(columns | _masks(model, data, len(task["labels"]), batch_size, device))
    logits = logits_over(model, data, batch_size, device)
    columns |= {
        "label": pa.array(data.labels.numpy()),
        "prediction": pa.array(decided(logits)),
        "logits": pa.array(list(logits), pa.list_(pa.float32())),
    }
    return pa.table(columns)


def _batches(data: Examples, batch_size: int, device: str, view: int = 0) -> Iterator[tuple[np.ndarray, Batch]]:
    """Every example once; of images that are drawn at random, in this view."""
    batches = ordered_batches(data.lengths, batch_size)

    def asked() -> Iterator[tuple[np.ndarray, list[int] | None]]:
        for indices in batches:
            yield indices, data.seeds(indices, STORED, view)

    with ahead(data, asked()) as source:
        for indices, seeds in track(asked(), len(batches), "predicting"):
            yield indices, source.batch(indices, device, seeds)


def logits_over(model: nn.Module, data: Examples, batch_size: int, device: str, view: int = 0) -> np.ndarray:
    """Logits (n, C) float32 of every example, in the order of `data`; of images that are drawn at random, of this view.
    The model is left in eval mode.
    """
    model.eval()
    logits: np.ndarray | None = None
    with torch.inference_mode():
        for indices, batch in _batches(data, batch_size, device, view):
            values = logits_of(model, batch).float().cpu().numpy()
            if logits is None:
                logits = np.empty((len(data), values.shape[1]), dtype=np.float32)
            logits[indices] = values
    assert logits is not None
    return logits


def _masks(model: nn.Module, data: Examples, classes: int, batch_size: int, device: str) -> dict[str, pa.Array]:
    model.eval()
    images, counts = [b""] * len(data), np.zeros((len(data), classes * classes), dtype=np.int64)
    with torch.inference_mode():
        for indices, batch in _batches(data, batch_size, device):
            said = logits_of(model, batch).argmax(1)
            for i, mask, labels in zip(indices, said, batch["labels"], strict=True):
                images[i] = png(mask.cpu().numpy().astype(np.uint8))
                counts[i] = _counted(labels, mask, classes)
    return {"prediction": pa.array(images, pa.binary()), "counts": pa.array(list(counts), pa.list_(pa.int64()))}


def _counted(labels: Tensor, said: Tensor, classes: int) -> np.ndarray:
    """Pixels by class (row) and by what was said (column), flattened."""
    known = labels != NO_CLASS
    together = labels[known] * classes + said[known]
    counted: np.ndarray = np.bincount(together.cpu().numpy(), minlength=classes * classes)
    return counted


def _boxes(model: nn.Module, data: Examples, batch_size: int, device: str) -> dict[str, pa.Array]:
    model.eval()
    names = ("boxes", "classes", "scores", "label_boxes", "label_classes", "label_crowd")
    found: dict[str, list[Any]] = {name: [None] * len(data) for name in names}
    with torch.inference_mode():
        for indices, batch in _batches(data, batch_size, device):
            for i, said, target in zip(indices, said_of(model, batch)["detections"], batch["targets"], strict=True):
                values = (said["boxes"], said["labels"] - 1, said["scores"], *(
                    target[name] for name in ("boxes", "classes", "crowd")))  # fmt: skip
                for name, value in zip(names, values, strict=True):
                    found[name][i] = value.tolist()
    kinds = (BOXES, pa.list_(pa.int64()), pa.list_(pa.float32()), BOXES, pa.list_(pa.int64()), pa.list_(pa.bool_()))
    return {name: pa.array(found[name], kind) for name, kind in zip(names, kinds, strict=True)}
