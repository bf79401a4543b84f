"""A data set as a run sees it: tensors of inputs and labels, and batches of examples of like length."""

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import torch
from torch import Tensor

NO_CLASS = -1  # the label of an example that has none; NaN in a regression


@dataclass
class Examples:
    """Examples of one or several splits, in the order of the files.

    ids (n,), labels (n,) int64 or float32, lengths (n,) in tokens (1 for images), and either images (n, C, H, W),
    float32 or uint8, or the token arrays of `redistill.data.tokenise`, with the segment of each token for text pairs.
    """

    ids: list[str]
    splits: list[str]
    labels: Tensor
    lengths: np.ndarray
    images: Tensor | None = None
    tokens: list[np.ndarray] | None = None
    types: list[np.ndarray] | None = None

    def __len__(self) -> int:
        return len(self.ids)

    def batch(self, indices: np.ndarray, device: str = "cpu") -> dict[str, Tensor]:
        """Inputs, labels and indices of these examples; texts padded to the longest of them, uint8 images in [0, 1]."""
        index = torch.from_numpy(indices)
        batch = {"index": index, "labels": self.labels[index]}
        if self.images is not None:
            images = self.images[index]
            batch["image"] = images.float() / 255 if images.dtype == torch.uint8 else images
        if self.tokens is not None:
            batch["input_ids"] = self._padded(self.tokens, indices)
            positions = torch.arange(batch["input_ids"].shape[1])
            batch["attention_mask"] = (positions < torch.from_numpy(self.lengths[indices])[:, None]).long()
        if self.types is not None:
            batch["token_type_ids"] = self._padded(self.types, indices)
        return {name: tensor.to(device) for name, tensor in batch.items()}

    def _padded(self, rows: list[np.ndarray], indices: np.ndarray) -> Tensor:
        padded = torch.zeros(len(indices), int(self.lengths[indices].max()), dtype=torch.long)
        for row, i in enumerate(indices):
            padded[row, : self.lengths[i]] = torch.from_numpy(rows[i].astype(np.int64))
        return padded


def load(task: dict[str, Any], inputs: dict[str, Path], splits: list[str]) -> Examples:
    """Read splits of a prepared task, one after the other."""
    tables = {split: pq.read_table(inputs["dataset"] / f"{split}.parquet") for split in splits}
    ids = [i for table in tables.values() for i in table["id"].to_pylist()]
    where = [split for split, table in tables.items() for _ in range(table.num_rows)]
    labels = [label for table in tables.values() for label in table["label"].to_pylist()]
    if task["type"] == "classification":
        label_tensor = torch.tensor([NO_CLASS if label is None else label for label in labels], dtype=torch.int64)
    else:
        nan = float("nan")
        label_tensor = torch.tensor([nan if label is None else label for label in labels], dtype=torch.float32)
    if task["input"] == "image":
        chunks = [chunk for table in tables.values() for chunk in table["image"].chunks]
        pixels = np.concatenate([chunk.flatten().to_numpy() for chunk in chunks])
        images = torch.from_numpy(pixels).reshape(-1, *task["image_shape"])
        return Examples(ids, where, label_tensor, np.ones(len(ids), dtype=np.int64), images=images)
    tokens = [text for split in splits for text in _texts(inputs["tokens"], split, "tokens")]
    lengths = np.array([len(text) for text in tokens], dtype=np.int64)
    paired = [(inputs["tokens"] / f"{split}.types.npy").is_file() for split in splits]
    types = [text for split in splits for text in _texts(inputs["tokens"], split, "types")] if all(paired) else None
    return Examples(ids, where, label_tensor, lengths, tokens=tokens, types=types)


def _texts(folder: Path, split: str, what: str) -> list[np.ndarray]:
    """Token ids of each text, or their types: views into one memory-mapped array."""
    flat = np.load(folder / f"{split}.{what}.npy", mmap_mode="r")
    starts = np.load(folder / f"{split}.starts.npy")
    return [flat[begin:end] for begin, end in pairwise(starts)]


def ordered_batches(lengths: np.ndarray, size: int) -> list[np.ndarray]:
    """Every example once, short ones first: for evaluation, where order does not matter."""
    order = np.argsort(lengths, kind="stable")
    return [order[i : i + size] for i in range(0, len(order), size)]
