"""A data set as a run sees it: tensors of inputs and labels, and batches of examples of like length."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import torch
from torch import Tensor

NO_CLASS = -1  # the label of an example that has none; NaN in a regression
POOL = 16  # batches that are sorted by length together


@dataclass
class Examples:
    """Examples of one or several splits, in the order of the files.

    ids (n,), labels (n,) int64 or float32, lengths (n,) in tokens (1 for images), and either images (n, 1, H, W) or
    the token arrays of `redistill.data.tokenise`.
    """

    ids: list[str]
    splits: list[str]
    labels: Tensor
    lengths: np.ndarray
    images: Tensor | None = None
    tokens: list[np.ndarray] | None = None

    def __len__(self) -> int:
        return len(self.ids)

    def batch(self, indices: np.ndarray, device: str = "cpu") -> dict[str, Tensor]:
        """Inputs, labels and indices of these examples; texts padded to the longest of them."""
        index = torch.from_numpy(indices)
        batch = {"index": index, "labels": self.labels[index]}
        if self.images is not None:
            batch["image"] = self.images[index]
        if self.tokens is not None:
            width = int(self.lengths[indices].max())
            ids = torch.zeros(len(indices), width, dtype=torch.long)
            for row, i in enumerate(indices):
                ids[row, : self.lengths[i]] = torch.from_numpy(self.tokens[i].astype(np.int64))
            batch["input_ids"] = ids
            positions = torch.arange(width)
            batch["attention_mask"] = (positions < torch.from_numpy(self.lengths[indices])[:, None]).long()
        return {name: tensor.to(device) for name, tensor in batch.items()}


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
        pixels = [image for table in tables.values() for image in table["image"].to_pylist()]
        side = round(len(pixels[0]) ** 0.5)
        images = torch.tensor(pixels, dtype=torch.float32).reshape(-1, 1, side, side)
        return Examples(ids, where, label_tensor, np.ones(len(ids), dtype=np.int64), images=images)
    tokens = [text for split in splits for text in _texts(inputs["tokens"], split)]
    lengths = np.array([len(text) for text in tokens], dtype=np.int64)
    return Examples(ids, where, label_tensor, lengths, tokens=tokens)


def _texts(folder: Path, split: str) -> list[np.ndarray]:
    """Token ids of each text: views into one memory-mapped array."""
    flat = np.load(folder / f"{split}.tokens.npy", mmap_mode="r")
    starts = np.load(folder / f"{split}.starts.npy")
    return [flat[begin:end] for begin, end in pairwise(starts)]


def shuffled_batches(lengths: np.ndarray, size: int, generator: np.random.Generator) -> Iterator[np.ndarray]:
    """Endless batches, epoch after epoch, each example once an epoch; examples of like length come together.

    An epoch is a permutation, cut into stretches of 16 batches; each stretch is sorted by length and cut into batches,
    and the batches of the epoch are shuffled. The last batch of an epoch may be smaller.
    """
    while True:
        order = generator.permutation(len(lengths))
        batches = []
        for begin in range(0, len(order), size * POOL):
            stretch = order[begin : begin + size * POOL]
            stretch = stretch[np.argsort(lengths[stretch], kind="stable")]
            batches += [stretch[i : i + size] for i in range(0, len(stretch), size)]
        for i in generator.permutation(len(batches)):
            yield batches[i]


def ordered_batches(lengths: np.ndarray, size: int) -> list[np.ndarray]:
    """Every example once, short ones first: for evaluation, where order does not matter."""
    order = np.argsort(lengths, kind="stable")
    return [order[i : i + size] for i in range(0, len(order), size)]
