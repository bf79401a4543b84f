"""Any image classifier of torchvision, at random weights."""

from typing import Any

from torch import nn

from redistill.models.libraries import of_torchvision

# In training these two give auxiliary logits as well, and they ask how to initialise.
_PLAIN: dict[str, Any] = {"aux_logits": False, "init_weights": True}
_SETTINGS = {"googlenet": _PLAIN, "inception_v3": _PLAIN}


def torchvision(num_outputs: int, *, name: str, options: dict | None = None) -> nn.Module:
    """A classifier of torchvision by its name there, such as `resnet18`, without pretrained weights.

    Takes (B, 3, H, W) with the sides that the model needs, gives (B, num_outputs). `options` go to the model, such as
    `{transform_input: true}` for the weights of `inception_v3`, which ask for other means than the rest.

    Raises:
        RedistillError: torchvision has no classifier of that name, or it does not take the options.
    """
    from torchvision import models  # the library; this module is redistill.models.architectures.torchvision

    settings = {"weights": None, "num_classes": num_outputs, **_SETTINGS.get(name, {})}
    return of_torchvision(models, "classifier", name, settings, options)
