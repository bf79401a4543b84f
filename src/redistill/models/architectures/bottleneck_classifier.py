"""Classifiers that can be cut in two: Matsubara et al. 2020, IEEE Access 8, doi:10.1109/ACCESS.2020.3039714."""

from collections import OrderedDict
from typing import Annotated, Any, Literal

from annotated_types import Gt
from torch import nn

from redistill.models.architectures.torchvision import torchvision
from redistill.models.bottleneck import Bottleneck, for_head

# Outputs and padding of the decoder's convolutions, whether the encoder is padded, and the stride of the last pooling.
_DENSENET: dict[str, Any] = {"decoded": [(512, 1), (512, 1), (256, 0), (256, 0), (256, 0)], "padded": True, "pooled": 2}
_DECODERS: dict[str, dict[str, Any]] = {
    "densenet169": _DENSENET,
    "densenet201": _DENSENET,
    "inception_v3": {"decoded": [(256, 1), (256, 0), (192, 0)], "padded": False, "pooled": 1},
    "resnet152": {"decoded": [(512, 1), (512, 1), (512, 0), (512, 0)], "padded": True, "pooled": 1},
}
_KEPT = ("layer3", "layer4", "Mixed_", "avgpool", "dropout", "fc")  # of a ResNet or of Inception


def bottleneck_classifier(
    num_outputs: int,
    *,
    name: Literal["densenet169", "densenet201", "inception_v3", "resnet152"],
    channels: Annotated[int, Gt(0)] = 12,
) -> nn.Module:
    """A classifier of torchvision whose first layers are an encoder and a decoder with `channels` between them.

    Takes (B, 3, H, W), 224 x 224 or for `inception_v3` 299 x 299, gives (B, num_outputs). What follows the first layers
    has torchvision's names, and takes over its weights.

    Taps: `bottleneck_layer`, which stands for `features.transition2` of a DenseNet, `layer2` of the ResNet, `maxpool2`
    of Inception; `bottleneck_layer.encoder`, what is sent; then `features.transition3`, `layer3`, `Mixed_5d` and the
    others of the classifier.
    """
    whole = torchvision(num_outputs, name=name)
    rest: OrderedDict[str, nn.Module] = OrderedDict(bottleneck_layer=_bottleneck(name, channels))
    if name.startswith("densenet"):
        kept = ("denseblock3", "transition3", "denseblock4", "norm5")
        rest["features"] = nn.Sequential(OrderedDict((part, whole.get_submodule(f"features.{part}")) for part in kept))
        rest |= OrderedDict(relu=nn.ReLU(), pool=nn.AdaptiveAvgPool2d(1), flatten=nn.Flatten())
        rest["classifier"] = whole.get_submodule("classifier")
        return nn.Sequential(rest)
    for part, module in whole.named_children():
        if part == "fc":
            rest["flatten"] = nn.Flatten()
        if part.startswith(_KEPT):
            rest[part] = module
    return nn.Sequential(rest)


def _bottleneck(name: str, channels: int) -> Bottleneck:
    return for_head(channels, **_DECODERS[name])
