"""Images that are decoded and transformed as they are asked for, with the mask or the boxes that are drawn on them.

A picture's view is a function of a seed alone, so that a run that goes on after a stop, and a student beside its
teacher, see the same one.
"""

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from redistill import registry
from redistill.data.masks import classes_of
from redistill.data.packed import Joined
from redistill.environment import derived_seed
from redistill.errors import RedistillError

if TYPE_CHECKING:
    from PIL.Image import Image

STORED = 0  # the seed of views that teachers' outputs are stored for: the same for every student and seed
Target = dict[str, Tensor]
View = Callable[..., Any]


@dataclass
class Pictures:
    """Images with what is to be said of them, transformed.

    Args:
        ids: what the images are called.
        images: uint8 (n, C, H, W), or encoded files.
        masks: encoded files of classes by pixel, where the task is to tell them.
        boxes: for each image `boxes` (N, 4) as left, top, right, bottom in pixels, `classes` (N,), `crowd` (N,); where
            the task is to find them.
        transforms: components as a resolved config has them.
    """

    ids: list[str]
    images: Tensor | Joined
    channels: int
    transforms: list[dict[str, Any]]
    masks: Joined | None = None
    boxes: Sequence[Target] | None = None
    view: View | None = field(init=False)

    def __post_init__(self) -> None:
        self.view = composed(self.transforms)

    def __len__(self) -> int:
        return len(self.ids)

    def get(self, index: int, seed: int) -> tuple[Tensor, Target]:
        """An image (C, H, W) as float32, and what is drawn on it, in the view that a seed gives."""
        from torchvision import tv_tensors

        image, target = self._decoded(index), dict[str, Tensor]()
        height, width = image.shape[-2:]
        if self.masks is not None:
            mask = _decoded(self.masks[index], self.ids[index], classes_of)[0]
            if mask.shape != image.shape[-2:]:
                raise RedistillError(
                    f"image `{self.ids[index]}` is {height} x {width}, its mask {mask.shape[0]} x {mask.shape[1]}"
                )
            target["mask"] = tv_tensors.Mask(mask)
        if self.boxes is not None:
            drawn = self.boxes[index]
            target = drawn | {
                "boxes": tv_tensors.BoundingBoxes(  # type: ignore[call-overload]
                    drawn["boxes"], format="XYXY", canvas_size=(height, width)
                )
            }
        if self.view is not None:
            image, target = seen(self.view, image, target, seed)
            if self.boxes is not None:
                target = _inside(target)
        if image.dtype == torch.uint8:
            image = image.float() / 255
        return image.as_subclass(Tensor), {name: tensor.as_subclass(Tensor) for name, tensor in target.items()}

    def _decoded(self, index: int) -> Tensor:
        from torchvision import tv_tensors

        if isinstance(self.images, Tensor):
            return tv_tensors.Image(self.images[index])
        return tv_tensors.Image(
            _decoded(self.images[index], self.ids[index], _grey if self.channels == 1 else _colours)
        )


def _inside(target: Target) -> Target:
    """What a view still shows: boxes of at least a pixel by a pixel."""
    sides = target["boxes"][:, 2:] - target["boxes"][:, :2]
    shown = (sides >= 1).all(1)
    return {name: tensor[shown] for name, tensor in target.items()}


def view_seed(seed: int, view: int, name: str) -> int:
    """The seed of a view of an image: the same in whichever split, batch or order the image comes."""
    return derived_seed(seed, f"view {view} of {name}")


def _decoded(encoded: bytes, name: str, values: Callable[["Image"], np.ndarray]) -> Tensor:
    """uint8 (C, H, W) of a PNG or JPEG."""
    from PIL import Image

    try:
        with Image.open(io.BytesIO(encoded)) as opened:
            pixels = values(opened)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise RedistillError(f"image `{name}` cannot be decoded ({error}): fetch it again") from None
    return torch.from_numpy(pixels.reshape(*pixels.shape[:2], -1)).permute(2, 0, 1).contiguous()


def _colours(opened: "Image") -> np.ndarray:
    return np.array(opened.convert("RGB"))


def _grey(opened: "Image") -> np.ndarray:
    return np.array(opened.convert("L"))


def composed(transforms: list[dict[str, Any]]) -> View | None:
    """The transforms of a resolved config, one after the other; None if there are none."""
    if not transforms:
        return None
    from torchvision.transforms import v2

    made = [registry.get("transform", said["method"])(**said["settings"]) for said in transforms]
    composed: View = v2.Compose(made)
    return composed


def seen(view: View, image: Tensor, target: Target, seed: int) -> tuple[Tensor, Target]:
    """An image and its target through transforms, with what they draw at random drawn from a seed. The process' own
    generator is left as it was.
    """
    before = torch.default_generator.get_state()
    torch.default_generator.manual_seed(seed)
    try:
        seen: tuple[Tensor, Target] = view(image, target)
    finally:
        torch.default_generator.set_state(before)
    return seen
