"""Cut a part out of an image and scale it to a square (Szegedy et al. 2015, section 6)."""

from typing import Annotated

from annotated_types import Gt, Le
from torchvision.transforms import v2


def random_resized_crop(
    *,
    size: Annotated[int, Gt(0)],
    smallest: Annotated[float, Gt(0), Le(1)] = 0.08,
    narrowest: Annotated[float, Gt(0), Le(1)] = 0.75,
) -> v2.Transform:
    """A part of at least `smallest` of the area, whose sides are to each other as `narrowest` or nearer to equal, as a
    square of `size`.
    """
    return v2.RandomResizedCrop(size, scale=(smallest, 1.0), ratio=(narrowest, 1 / narrowest), antialias=True)
