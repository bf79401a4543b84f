"""Cut a square out of an image, which may be padded first (He et al. 2016, section 4.2, for CIFAR)."""

from typing import Annotated

from annotated_types import Ge, Gt
from torchvision.transforms import v2
from torchvision.tv_tensors import Image, Mask

from redistill.data.masks import VOID


def random_crop(*, size: Annotated[int, Gt(0)], padding: Annotated[int, Ge(0)] = 0) -> v2.Transform:
    """A square of `size` at random, of the image with `padding` zeros on every side; what is smaller than the square is
    padded as far as is needed. A mask is padded with void.
    """
    fill = {Image: 0, Mask: VOID}
    return v2.RandomCrop(size, padding=padding or None, pad_if_needed=True, fill=fill)
