"""A data set as a run sees it: tensors of inputs and labels, and batches of examples of like length."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import torch
from torch import Tensor

from redistill.data.masks import VOID
from redistill.data.packed import Files, Joined
from redistill.data.pictures import Pictures, Target, view_seed
from redistill.errors import RedistillError

NO_CLASS = -1  # the label of an example that has none; NaN in a regression


@dataclass
class Examples:
    """Examples of one or several splits, in the order of the files.

    ids (n,), labels (n,) int64 or float32, lengths (n,) in tokens (1 for images), and either images (n, C, H, W),
    float32 or uint8, or pictures, which are decoded and transformed as they are asked for, or the token arrays of
    `redistill.data.tokenise`, with the segment of each token for text pairs.
    """

    ids: list[str]
    splits: list[str]
    labels: Tensor
    lengths: np.ndarray
    images: Tensor | None = None
    pictures: Pictures | None = None
    tokens: list[np.ndarray] | None = None
    types: list[np.ndarray] | None = None
    workers: int = 0  # processes that decode and transform images ahead, where they come in order

    def __len__(self) -> int:
        return len(self.ids)

    def batch(self, indices: np.ndarray, device: str = "cpu", seeds: Sequence[int] | None = None) -> dict[str, Any]:
        """Inputs, labels and indices of these examples; texts padded to the longest of them, uint8 images in [0, 1].

        Of segmentation, the labels are masks (B, H, W). Of detection, images are a list, and `targets` are their boxes.

        Args:
            seeds: of the views of pictures, where these are drawn at random.
        """
        index = torch.from_numpy(indices)
        batch: dict[str, Any] = {"index": index, "labels": self.labels[index]}
        if self.pictures is not None:
            views = [
                self.pictures.get(int(i), seed) for i, seed in zip(indices, seeds or [0] * len(indices), strict=True)
            ]
            batch |= _together(views, self.pictures, indices)
        elif self.images is not None:
            images = self.images[index]
            batch["image"] = images.float() / 255 if images.dtype == torch.uint8 else images
        if self.tokens is not None:
            batch["input_ids"] = self._padded(self.tokens, indices)
            positions = torch.arange(batch["input_ids"].shape[1])
            batch["attention_mask"] = (positions < torch.from_numpy(self.lengths[indices])[:, None]).long()
        if self.types is not None:
            batch["token_type_ids"] = self._padded(self.types, indices)
        return {name: on(value, device) for name, value in batch.items()}

    def seeds(self, indices: np.ndarray, seed: int, view: int) -> list[int] | None:
        """Seeds of a view of each of these examples; None where examples have one view."""
        if self.pictures is None:
            return None
        return [view_seed(seed, view, self.ids[i]) for i in indices]

    def _padded(self, rows: list[np.ndarray], indices: np.ndarray) -> Tensor:
        padded = torch.zeros(len(indices), int(self.lengths[indices].max()), dtype=torch.long)
        for row, i in enumerate(indices):
            padded[row, : self.lengths[i]] = torch.from_numpy(rows[i].astype(np.int64))
        return padded


def _together(views: list[tuple[Tensor, Target]], pictures: Pictures, indices: np.ndarray) -> dict[str, Any]:
    """What a batch has of pictures. Those whose boxes are looked for keep their own sizes."""
    images, targets = [image for image, _ in views], [target for _, target in views]
    if pictures.boxes is not None:
        return {"image": images, "targets": targets}
    sizes = {tuple(image.shape): i for i, image in enumerate(images)}
    if len(sizes) > 1:
        (one, i), (other, j) = list(sizes.items())[:2]
        raise RedistillError(
            f"`{pictures.ids[indices[i]]}` and `{pictures.ids[indices[j]]}` of one batch are seen as {list(one)} and "
            f"{list(other)}: end the `transforms` with one that gives images the same size, such as `centre_crop`, or "
            "take batches of one image"
        )
    masks = {"labels": _classes(torch.stack([target["mask"] for target in targets]))} if pictures.masks else {}
    return {"image": torch.stack(images), **masks}


def _classes(mask: Tensor) -> Tensor:
    """Classes by pixel, int64; void is no class."""
    classes = mask.long()
    return classes.masked_fill(classes == VOID, NO_CLASS)


def on(value: Any, device: str) -> Any:
    """A tensor, or what tensors are in, on a device."""
    if isinstance(value, Tensor):
        return value.to(device)
    if isinstance(value, dict):
        return {name: on(one, device) for name, one in value.items()}
    return [on(one, device) for one in value]


def load(
    task: dict[str, Any], inputs: dict[str, Path], splits: list[str], transforms: list[dict[str, Any]] | None = None,
    workers: int = 0,
) -> Examples:  # fmt: skip
    """Read splits of a prepared task, one after the other.

    Args:
        transforms: how images are seen, as a resolved config has it.
        workers: processes that make images ahead.
    """
    tables = {split: pq.read_table(inputs["dataset"] / f"{split}.parquet") for split in splits}
    ids = [i for table in tables.values() for i in table["id"].to_pylist()]
    where = [split for split, table in tables.items() for _ in range(table.num_rows)]
    labels = _labels(task, tables)
    if task["input"] == "image":
        found = _images(task, inputs["dataset"], tables, ids, where, labels, transforms or [])
        found.workers = workers
        return found
    tokens = [text for split in splits for text in _texts(inputs["tokens"], split, "tokens")]
    lengths = np.array([len(text) for text in tokens], dtype=np.int64)
    paired = [(inputs["tokens"] / f"{split}.types.npy").is_file() for split in splits]
    types = [text for split in splits for text in _texts(inputs["tokens"], split, "types")] if all(paired) else None
    return Examples(ids, where, labels, lengths, tokens=tokens, types=types)


def _labels(task: dict[str, Any], tables: dict[str, pa.Table]) -> Tensor:
    labels = [label for table in tables.values() for label in table["label"].to_pylist()]
    if task["type"] in ("regression", "unlabelled"):
        nan = float("nan")
        return torch.tensor([nan if label is None else label for label in labels], dtype=torch.float32)
    return torch.tensor([NO_CLASS if label is None else label for label in labels], dtype=torch.int64)


def _images(
    task: dict[str, Any], folder: Path, tables: dict[str, pa.Table], ids: list[str], where: list[str], labels: Tensor,
    transforms: list[dict[str, Any]],
) -> Examples:  # fmt: skip
    ones = np.ones(len(ids), dtype=np.int64)
    if (folder / f"{where[0]}.images").is_file():
        images: Tensor | Joined = Joined([Files.of(folder, split, "images") for split in tables])
    else:
        chunks = [chunk for table in tables.values() for chunk in table["image"].chunks]
        pixels = np.concatenate([chunk.flatten().to_numpy() for chunk in chunks])
        images = torch.from_numpy(pixels).reshape(-1, *task["image_shape"])
        if not transforms:
            return Examples(ids, where, labels, ones, images=images)
    masked, boxed = task["type"] == "segmentation", task["type"] == "detection"
    masks = Joined([Files.of(folder, split, "masks") for split in tables]) if masked else None
    boxes = Boxes([*tables.values()]) if boxed else None
    pictures = Pictures(ids, images, task["image_shape"][0], transforms, masks, boxes)
    return Examples(ids, where, labels, ones, pictures=pictures)


class Boxes(Sequence[Target]):
    """What is drawn on each image: `boxes` (N, 4) in pixels, `classes` (N,), and which of them are a `crowd` (N,). All
    lie together, and become tensors as they are asked for.
    """

    def __init__(self, tables: list[pa.Table]):
        columns = [[table[name].combine_chunks() for table in tables] for name in ("boxes", "classes", "crowd")]
        boxes, classes, crowds = ([_flat(part) for part in parts] for parts in columns)
        self.boxes = np.concatenate(boxes).astype(np.float32).reshape(-1, 4)
        self.classes, self.crowd = np.concatenate(classes).astype(np.int64), np.concatenate(crowds).astype(np.bool_)
        counts = [pc.list_value_length(part).to_numpy(zero_copy_only=False) for part in columns[1]]
        self.starts = np.cumsum(np.concatenate([[0], *counts]), dtype=np.int64)

    def __len__(self) -> int:
        return len(self.starts) - 1

    def __getitem__(self, index: Any) -> Any:
        begin, end = self.starts[index], self.starts[index + 1]
        parts: dict[str, np.ndarray] = {"boxes": self.boxes, "classes": self.classes, "crowd": self.crowd}
        return {name: torch.from_numpy(part[begin:end].copy()) for name, part in parts.items()}


def _flat(drawn: pa.Array) -> np.ndarray:
    """The numbers in lists of lists, one after the other."""
    while pa.types.is_list(drawn.type):
        drawn = drawn.flatten()
    numbers: np.ndarray = drawn.to_numpy(zero_copy_only=False)
    return numbers


def _texts(folder: Path, split: str, what: str) -> list[np.ndarray]:
    """Token ids of each text, or their types: views into one memory-mapped array."""
    flat = np.load(folder / f"{split}.{what}.npy", mmap_mode="r")
    starts = np.load(folder / f"{split}.starts.npy")
    return [flat[begin:end] for begin, end in pairwise(starts)]


def ordered_batches(lengths: np.ndarray, size: int) -> list[np.ndarray]:
    """Every example once, short ones first: for evaluation, where order does not matter."""
    order = np.argsort(lengths, kind="stable")
    return [order[i : i + size] for i in range(0, len(order), size)]
