"""Any segmenter of torchvision, at random weights."""

from typing import Any

from torch import nn

from redistill.errors import RedistillError
from redistill.models.libraries import of_torchvision


def segmenter(num_outputs: int, *, name: str, aux: bool = False) -> nn.Module:
    """A segmenter of torchvision by its name there, such as `deeplabv3_resnet50` or `lraspp_mobilenet_v3_large`,
    without pretrained weights.

    Takes (B, 3, H, W), gives a mapping with `out`, (B, num_outputs, H, W). `aux` is a second head upon the layer before
    the last, as torchvision's own weights have it; its logits are `aux`, and tapped as `aux_classifier` they are those
    before they are enlarged.

    Raises:
        RedistillError: torchvision has no such segmenter, or none with a second head.
    """
    from torchvision import models

    settings: dict[str, Any] = {"weights": None, "weights_backbone": None, "num_classes": num_outputs}
    if not name.startswith("lraspp"):
        settings["aux_loss"] = aux
    elif aux:
        raise RedistillError(f"`{name}` has one head: leave `aux` out")
    return of_torchvision(models.segmentation, "segmenter", name, settings)
