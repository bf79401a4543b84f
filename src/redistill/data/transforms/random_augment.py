"""Some operations of one strength on each image (RandAugment; Cubuk et al. 2020, arXiv:1909.13719)."""

from typing import Annotated

from annotated_types import Ge, Gt, Le
from torchvision.transforms import v2


def random_augment(
    *, operations: Annotated[int, Gt(0)] = 2, magnitude: Annotated[int, Ge(0), Le(30)] = 9
) -> v2.Transform:
    """`operations` of those of the paper, each of this `magnitude` of 31."""
    return v2.RandAugment(operations, magnitude)
