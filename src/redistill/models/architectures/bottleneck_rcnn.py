"""Faster and Mask R-CNN that can be cut in two: Matsubara and Levorato 2021, ICPR 2020, arXiv:2007.15818."""

from typing import Annotated, Literal

from annotated_types import Ge
from torch import nn

from redistill.errors import RedistillError
from redistill.models.bottleneck import for_layer1
from redistill.models.detectors import freeze_norms
from redistill.models.libraries import refuse_unknown

_SMALL = ("resnet18", "resnet34")


def bottleneck_rcnn(
    num_outputs: int,
    *,
    backbone: Literal["resnet18", "resnet34", "resnet50", "resnet101", "resnet152"] = "resnet50",
    masks: bool = False,
    channels: Annotated[int, Ge(0)] = 3,
    norm_eps: Annotated[float, Ge(0)] = 1e-5,
    options: dict | None = None,
) -> nn.Module:
    """Faster R-CNN, or with `masks` Mask R-CNN, upon a ResNet with a feature pyramid, whose `layer1` is an encoder and
    a decoder with `channels` between them; with 0 channels it is the ResNet's own.

    Called as torchvision's detectors are. The ResNet's norms keep the statistics and scales that they start with, those
    of encoder and decoder learn. `options` go to the detector, such as `{min_size: 480}`.

    Taps: `backbone.body.layer1` (B, 256, H/4, W/4), as in the detector without it, upon ResNet-18 and 34 (B, 64, H/4,
    W/4); `backbone.body.layer1.encoder`, what is sent; `backbone.body.layer2` and on.

    Raises:
        RedistillError: the detector does not take the options.
    """
    from torchvision.models.detection import FasterRCNN, MaskRCNN
    from torchvision.models.detection.backbone_utils import resnet_fpn_backbone

    pyramid = resnet_fpn_backbone(backbone_name=backbone, weights=None, norm_layer=nn.BatchNorm2d, trainable_layers=5)
    body = pyramid.get_submodule("body")
    freeze_norms(body, norm_eps)
    if channels:
        body["layer1"] = for_layer1(channels, 64 if backbone in _SMALL else 256)  # type: ignore[operator]
    kind = MaskRCNN if masks else FasterRCNN
    refuse_unknown(kind, f"torchvision's {kind.__name__}", options or {})
    try:
        return kind(pyramid, num_outputs + 1, **(options or {}))
    except (TypeError, ValueError) as error:
        raise RedistillError(f"torchvision's {kind.__name__} does not take these settings: {error}") from error
