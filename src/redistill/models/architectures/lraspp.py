"""Lite R-ASPP upon the stages of any classifier: Howard et al. 2019, arXiv:1905.02244, section 6.4."""

from typing import Annotated, Literal

from annotated_types import Gt
from torch import nn

from redistill.errors import RedistillError
from redistill.models.stages import stages

_STRIDES = {"low": 8, "high": 16}


def lraspp(
    num_outputs: int,
    image_shape: tuple[int, int, int],
    *,
    backbone: str,
    library: Literal["timm", "torchvision"] = "timm",
    maps: list[str] | None = None,
    width: Annotated[int, Gt(0)] = 128,
) -> nn.Module:
    """A segmenter upon two maps of a classifier of timm or torchvision, such as `tf_efficientnet_lite0` or
    `mobilenetv2_035`.

    Takes (B, C, H, W), gives a mapping with `out`, (B, num_outputs, H, W). `maps` are two modules of the classifier, by
    default the last of stride 8 and the last of stride 16; `width` the channels of the head.

    Taps: `backbone.blocks.2` and so on, by the classifier's own names; `classifier.cbr` (B, width, H/16, W/16);
    `classifier.high_classifier`, (B, num_outputs, H/8, W/8); `classifier`, the logits before they are enlarged.

    Raises:
        RedistillError: there is no such classifier, or it has no two such maps.
    """
    from torchvision.models.segmentation.lraspp import LRASPP

    if maps is not None and len(maps) != 2:
        raise RedistillError(f"lraspp: `maps` are two, the finer one first; these are {len(maps)}")
    body = stages(library, backbone, image_shape, maps, _STRIDES)
    low, high = body.channels
    return LRASPP(body, low, high, num_outputs, inter_channels=width)
