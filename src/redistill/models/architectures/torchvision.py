"""Any image classifier of torchvision, at random weights."""

from difflib import get_close_matches
from typing import Any

import torch
from torch import nn

from redistill.errors import RedistillError

# In training these two give auxiliary logits as well, and they ask how to initialise.
_PLAIN: dict[str, Any] = {"aux_logits": False, "init_weights": True}
_OPTIONS = {"googlenet": _PLAIN, "inception_v3": _PLAIN}


def torchvision(num_outputs: int, *, name: str) -> nn.Module:
    """A classifier of torchvision by its name there, such as `resnet18`, without pretrained weights.

    Takes (B, 3, H, W) with the sides that the model needs, gives (B, num_outputs).

    Raises:
        RedistillError: torchvision has no classifier of that name.
    """
    from torchvision import models  # the library; this module is redistill.models.architectures.torchvision

    names = models.list_models(module=models)
    if name not in names:
        near = ", ".join(f"`{known}`" for known in get_close_matches(name, names)) or "nothing like it"
        raise RedistillError(f"torchvision has no classifier `{name}`; it has {near}")
    settings = {"num_classes": num_outputs, **_OPTIONS.get(name, {})}
    model: nn.Module
    try:
        model = models.get_model(name, weights=None, **settings)
    except NotImplementedError:  # RegNets compute their widths with tensors, which have no values on the device "meta"
        with torch.device("cpu"):
            model = models.get_model(name, weights=None, **settings)
        model.to(torch.get_default_device())
    return model
