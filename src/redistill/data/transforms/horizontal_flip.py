"""Flip an image from left to right."""

from typing import Annotated

from annotated_types import Ge, Le
from torchvision.transforms import v2


def horizontal_flip(*, p: Annotated[float, Ge(0), Le(1)] = 0.5) -> v2.Transform:
    """With probability `p`."""
    return v2.RandomHorizontalFlip(p)
