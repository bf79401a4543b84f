"""SSDLite upon the stages of any classifier.

Liu et al. 2016, arXiv:1512.02325, with the depthwise heads of Sandler et al. 2018, arXiv:1801.04381.
"""

from functools import partial
from typing import Annotated, Any, Literal

from annotated_types import Ge, Gt
from torch import Tensor, nn

from redistill.errors import RedistillError
from redistill.models.libraries import refuse_unknown
from redistill.models.stages import Stages, stages

_STRIDES = {"0": 16, "1": 32}
_NORM = partial(nn.BatchNorm2d, eps=0.001, momentum=0.03)  # as torchvision's SSDLite has them


def ssdlite(
    num_outputs: int,
    image_shape: tuple[int, int, int],
    *,
    backbone: str,
    library: Literal["timm", "torchvision"] = "timm",
    maps: list[str] | None = None,
    sides: list[int] | None = None,
    extras: Annotated[int, Ge(0)] = 4,
    width: Annotated[int, Gt(7)] = 512,
    min_scale: Annotated[float, Gt(0)] = 0.2,
    max_scale: Annotated[float, Gt(0)] = 0.95,
    mean: list[float] | None = None,
    std: list[float] | None = None,
    options: dict | None = None,
) -> nn.Module:
    """SSD with depthwise heads upon the maps of a classifier of timm or torchvision, such as `tf_efficientnet_lite0` or
    `mobilenetv2_035`, for `num_outputs` classes beside the background.

    Called as torchvision's detectors are: a list of images (C, H, W) in [0, 1], which are brought to a height and a
    width, `sides` (those of the task's `image_shape` if not given), and normalised by `mean` and `std` (0.5 of each
    channel if not given).

    `maps` are modules of the classifier, by default the last of stride 16 and the last of stride 32. `extras` further
    maps follow, each of half the sides; the first has `width` channels, the next two a half of it, others a quarter.
    `min_scale` and `max_scale` are those of the smallest and the largest default box, in parts of the image. `options`
    go to torchvision's SSD, such as `{score_thresh: 0.01, nms_thresh: 0.45}`.

    Taps: `backbone.body.blocks.2` and so on, by the classifier's own names; `backbone.extra.0`; `head`.

    Raises:
        RedistillError: there is no such classifier, it has no such maps, `sides` are not two, or SSD does not take the
            options.
    """
    from torchvision.models.detection.anchor_utils import DefaultBoxGenerator
    from torchvision.models.detection.ssd import SSD
    from torchvision.models.detection.ssdlite import SSDLiteHead

    if sides is not None and (len(sides) != 2 or min(sides) < 1):
        raise RedistillError(f"ssdlite: `sides` are a height and a width in pixels, not {sides}")
    channels, (height, breadth) = image_shape[0], sides or image_shape[1:]
    pyramid = Pyramid(stages(library, backbone, image_shape, maps, _STRIDES), extras, width)
    boxes = DefaultBoxGenerator([[2, 3] for _ in pyramid.out_channels], min_ratio=min_scale, max_ratio=max_scale)
    classes = num_outputs + 1
    head = SSDLiteHead(pyramid.out_channels, boxes.num_anchors_per_location(), classes, _NORM)
    settings: dict[str, Any] = {"image_mean": mean or [0.5] * channels, "image_std": std or [0.5] * channels}
    refuse_unknown(SSD, "torchvision's SSD", options or {})
    try:
        return SSD(pyramid, boxes, (breadth, height), classes, head=head, **settings, **(options or {}))
    except TypeError as error:
        raise RedistillError(f"torchvision's SSD does not take these settings: {error}") from error


class Pyramid(nn.Module):
    """The stages of a classifier, `body`, and smaller maps after them, `extra`."""

    def __init__(self, body: Stages, extras: int, width: int):
        super().__init__()
        self.body = body
        self.out_channels = [*body.channels]
        self.extra = nn.ModuleList()
        for outputs in [width, width // 2, width // 2, *[width // 4] * extras][:extras]:
            self.extra.append(_halved(self.out_channels[-1], outputs))
            self.out_channels.append(outputs)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        maps = self.body(x)
        x = next(reversed(maps.values()))
        for i, block in enumerate(self.extra):
            x = block(x)
            maps[f"extra {i}"] = x
        return maps


def _halved(inputs: int, outputs: int) -> nn.Sequential:
    """Half the sides, by a 1 x 1, a depthwise 3 x 3 and a 1 x 1 convolution, drawn as torchvision's SSDLite does."""
    from torchvision.ops.misc import Conv2dNormActivation

    layer = partial(Conv2dNormActivation, norm_layer=_NORM, activation_layer=nn.ReLU6)
    middle = outputs // 2
    block = nn.Sequential(
        layer(inputs, middle, 1), layer(middle, middle, 3, 2, groups=middle), layer(middle, outputs, 1)
    )
    for module in block.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.normal_(module.weight, std=0.03)
    return block
