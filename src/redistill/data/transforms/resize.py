"""Scale an image."""

from typing import Annotated

from annotated_types import Gt
from torchvision.transforms import v2


def resize(
    *,
    size: Annotated[int, Gt(0)],
    width: Annotated[int, Gt(0)] | None = None,
    longest: Annotated[int, Gt(0)] | None = None,
) -> v2.Transform:
    """To a shorter side of `size`, or to `size` x `width` if that is given. Where `longest` is given, the longer side
    is no longer than that.
    """
    return v2.Resize([size] if width is None else [size, width], max_size=longest, antialias=True)
