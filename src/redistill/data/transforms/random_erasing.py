"""Blank a rectangle of an image (Zhong et al. 2020, arXiv:1708.04896)."""

from typing import Annotated

from annotated_types import Ge, Le
from torchvision.transforms import v2


def random_erasing(*, p: Annotated[float, Ge(0), Le(1)] = 0.5) -> v2.Transform:
    """With probability `p`, a rectangle of 2 to 33 percent of the area; not for images with boxes or masks."""
    return v2.RandomErasing(p)
