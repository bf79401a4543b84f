"""Cut the middle out of an image."""

from typing import Annotated

from annotated_types import Gt
from torchvision.transforms import v2


def centre_crop(*, size: Annotated[int, Gt(0)]) -> v2.Transform:
    """A square of `size`."""
    return v2.CenterCrop(size)
