"""How far what a model says of an image now is what it said before, where that is a mask or boxes."""

from typing import Any

import torch
from torch import Tensor
from torchvision.ops import box_iou

from redistill.data.masks import read

ENOUGH = 0.98  # pixels, or boxes, that are the same: near a border, or a threshold, the last digit decides
SURE, OVERLAP, APART = 0.3, 0.9, 0.05  # of boxes: the least score that counts, how near two are, and two scores


def shared(said: dict[str, Any], row: dict[str, Any]) -> float:
    """Share of pixels, or of boxes that a model is sure of, that are as predictions have them.

    Args:
        said: of one image, as `redistill.models.load.said_of` gives it.
        row: of the same image, as `redistill.models.predict` keeps it.
    """
    if "detections" in said:
        return _boxes(said["detections"][0], row)
    mask, before = said["logits"][0].argmax(0).numpy(), read(row["prediction"])
    return float((mask == before).mean()) if mask.shape == before.shape else 0.0


def _boxes(now: dict[str, Tensor], row: dict[str, Any]) -> float:
    one = now["boxes"], now["labels"] - 1, now["scores"]
    boxes = torch.tensor(row["boxes"], dtype=torch.float32).reshape(-1, 4)
    other = boxes, torch.tensor(row["classes"], dtype=torch.int64), torch.tensor(row["scores"], dtype=torch.float32)
    found = [_found(*pair) for pair in ((one, other), (other, one))]
    there = sum(len(one) for one in found)
    return float(torch.cat(found).float().mean()) if there else 1.0


def _found(one: tuple[Tensor, ...], other: tuple[Tensor, ...]) -> Tensor:
    """Which of the sure boxes of one side the other has too."""
    sure = one[2] >= SURE
    near = box_iou(one[0][sure], other[0]) >= OVERLAP
    alike = (one[1][sure][:, None] == other[1]) & ((one[2][sure][:, None] - other[2]).abs() <= APART)
    return (near & alike).any(1)
