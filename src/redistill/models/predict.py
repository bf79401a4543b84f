"""Run a model over examples, and keep what it said about each as parquet."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import nn

from redistill.data.examples import Examples, ordered_batches
from redistill.data.pictures import STORED
from redistill.evaluation.metrics import decided
from redistill.models.load import logits_of
from redistill.progress import track


def logits_over(model: nn.Module, data: Examples, batch_size: int, device: str, view: int = 0) -> np.ndarray:
    """Logits (n, C) float32 of every example, in the order of `data`; of images that are drawn at random, of this view.
    The model is left in eval mode.
    """
    model.eval()
    batches = ordered_batches(data.lengths, batch_size)
    logits: np.ndarray | None = None
    with torch.inference_mode():
        for indices in track(batches, len(batches), "predicting"):
            batch = data.batch(indices, device, data.seeds(indices, STORED, view))
            values = logits_of(model, batch).float().cpu().numpy()
            if logits is None:
                logits = np.empty((len(data), values.shape[1]), dtype=np.float32)
            logits[indices] = values
    assert logits is not None
    return logits


def write_predictions(file: Path, data: Examples, logits: np.ndarray) -> None:
    """Columns id, split, label, prediction (class index, or score) and logits."""
    columns = {
        "id": pa.array(data.ids),
        "split": pa.array(data.splits),
        "label": pa.array(data.labels.numpy()),
        "prediction": pa.array(decided(logits)),
        "logits": pa.array(list(logits), pa.list_(pa.float32())),
    }
    pq.write_table(pa.table(columns), file)
