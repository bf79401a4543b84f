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
from redistill.models.together import WHOLE, Part
from redistill.progress import track

Batch = dict[str, Any]
BOXES = pa.list_(pa.list_(pa.float32()))


def unseen(config: dict[str, Any], inputs: dict[str, Path], workers: int = 0) -> Examples:
    """What a run is evaluated on: `dev`, which is reported, and `select`, which serves choices, where there is one."""
    splits = [split for split in ("dev", "select") if (inputs["dataset"] / f"{split}.parquet").is_file()]
    return load(config["task"], inputs, splits, config["evaluation"]["transforms"], workers)


def write(model: nn.Module, data: Examples, config: dict[str, Any], work: Path, part: Part = WHOLE) -> None:
    """Write predictions.parquet: what a run's model says of these examples. Of several processes that predict together,
    the first one writes.
    """
    size, device = config["evaluation"]["batch_size"], config["runtime"]["device"]
    table = predictions(model, data, config["task"], size, device, part)
    if part.first:
        pq.write_table(table, work / "predictions.parquet")


def predictions(
    model: nn.Module, data: Examples, task: dict[str, Any], batch_size: int, device: str, part: Part = WHOLE
) -> pa.Table:
    """What a model says of every example, in the order of `data`. The model is left in eval mode.

    Args:
        part: of several processes that predict together, each with the same model; every one is given the whole.
    """
    columns = {"id": pa.array(data.ids), "split": pa.array(data.splits)}
    if task["type"] == "detection":
        return pa.table(columns | _boxes(model, data, batch_size, device, part))
    if task["type"] == "segmentation":
        return pa.table(columns | _masks(model, data, len(task["labels"]), batch_size, device, part))
    logits = complete(logits_over(model, data, batch_size, device, part=part), data, batch_size, part)
    columns |= {
        "label": pa.array(data.labels.numpy()),
        "prediction": pa.array(decided(logits)),
        "logits": pa.array(list(logits), pa.list_(pa.float32())),
    }
    return pa.table(columns)


def rows_of(data: Examples, batch_size: int, part: Part) -> np.ndarray:
    """Indices of the examples that a process passes through."""
    batches = part.mine(ordered_batches(data.lengths, batch_size))
    return np.concatenate([np.empty(0, dtype=np.int64), *batches])


def _batches(
    data: Examples, batch_size: int, device: str, part: Part, view: int = 0
) -> Iterator[tuple[np.ndarray, Batch]]:
    """Every example of a process' part once; of images that are drawn at random, in this view. Batches are those that
    one process would pass through, so that each example is computed as there.
    """
    batches = part.mine(ordered_batches(data.lengths, batch_size))

    def asked() -> Iterator[tuple[np.ndarray, list[int] | None]]:
        for indices in batches:
            yield indices, data.seeds(indices, STORED, view)

    with ahead(data, asked()) as source:
        for indices, seeds in track(asked(), len(batches), "predicting"):
            yield indices, source.batch(indices, device, seeds)


def logits_over(
    model: nn.Module, data: Examples, batch_size: int, device: str, view: int = 0, part: Part = WHOLE
) -> np.ndarray:
    """Logits (n, C) float32 of every example, in the order of `data`; of images that are drawn at random, of this view.
    The model is left in eval mode.

    Args:
        part: of several processes; the rows of the others' examples say nothing, and C is 0 where all are theirs.
    """
    model.eval()
    logits: np.ndarray | None = None
    with torch.inference_mode():
        for indices, batch in _batches(data, batch_size, device, part, view):
            values = logits_of(model, batch).float().cpu().numpy()
            if logits is None:
                logits = np.empty((len(data), values.shape[1]), dtype=np.float32)
            logits[indices] = values
    return np.empty((len(data), 0), dtype=np.float32) if logits is None else logits


def complete(logits: np.ndarray, data: Examples, batch_size: int, part: Part) -> np.ndarray:
    """Logits of every example, where each process has those of its part."""
    if part.of == 1:
        return logits
    rows = rows_of(data, batch_size, part)
    found = part.gathered((rows, logits[rows]))
    whole = np.empty((len(data), max(said.shape[1] for _, said in found)), dtype=np.float32)
    for indices, said in found:
        if len(indices):
            whole[indices] = said
    return whole


def _masks(
    model: nn.Module, data: Examples, classes: int, batch_size: int, device: str, part: Part
) -> dict[str, pa.Array]:
    model.eval()
    images, counts = [b""] * len(data), np.zeros((len(data), classes * classes), dtype=np.int64)
    with torch.inference_mode():
        for indices, batch in _batches(data, batch_size, device, part):
            said = logits_of(model, batch).argmax(1)
            for i, mask, labels in zip(indices, said, batch["labels"], strict=True):
                images[i] = png(mask.cpu().numpy().astype(np.uint8))
                counts[i] = _counted(labels, mask, classes)
    rows = rows_of(data, batch_size, part)
    for indices, masks, counted in part.gathered((rows, [images[i] for i in rows], counts[rows])):
        counts[indices] = counted
        for i, mask in zip(indices, masks, strict=True):
            images[i] = mask
    return {"prediction": pa.array(images, pa.binary()), "counts": pa.array(list(counts), pa.list_(pa.int64()))}


def _counted(labels: Tensor, said: Tensor, classes: int) -> np.ndarray:
    """Pixels by class (row) and by what was said (column), flattened."""
    known = labels != NO_CLASS
    together = labels[known] * classes + said[known]
    counted: np.ndarray = np.bincount(together.cpu().numpy(), minlength=classes * classes)
    return counted


def _boxes(model: nn.Module, data: Examples, batch_size: int, device: str, part: Part) -> dict[str, pa.Array]:
    model.eval()
    names = ("boxes", "classes", "scores", "label_boxes", "label_classes", "label_crowd")
    found: dict[str, list[Any]] = {name: [None] * len(data) for name in names}
    with torch.inference_mode():
        for indices, batch in _batches(data, batch_size, device, part):
            for i, said, target in zip(indices, said_of(model, batch)["detections"], batch["targets"], strict=True):
                values = (said["boxes"], said["labels"] - 1, said["scores"], *(
                    target[name] for name in ("boxes", "classes", "crowd")))  # fmt: skip
                for name, value in zip(names, values, strict=True):
                    found[name][i] = value.tolist()
    rows = rows_of(data, batch_size, part)
    for indices, theirs in part.gathered((rows, {name: [values[i] for i in rows] for name, values in found.items()})):
        for name, column in theirs.items():
            for i, value in zip(indices, column, strict=True):
                found[name][i] = value
    kinds = (BOXES, pa.list_(pa.int64()), pa.list_(pa.float32()), BOXES, pa.list_(pa.int64()), pa.list_(pa.bool_()))
    return {name: pa.array(found[name], kind) for name, kind in zip(names, kinds, strict=True)}
