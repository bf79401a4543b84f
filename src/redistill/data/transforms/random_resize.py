"""Scale an image to a size that is drawn."""

from typing import Annotated

from annotated_types import Gt
from torchvision.transforms import v2


def random_resize(*, least: Annotated[int, Gt(0)], most: Annotated[int, Gt(0)]) -> v2.Transform:
    """To a shorter side between `least` and `most`, both possible."""
    return v2.RandomResize(least, most + 1, antialias=True)
