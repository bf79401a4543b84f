"""Models of torchvision by name, with random weights: what is near a wrong name, and settings that are refused."""

import inspect
from difflib import get_close_matches
from types import ModuleType
from typing import Any

import torch
from torch import nn

from redistill.errors import RedistillError

# What the task or the architecture's own settings decide, and what would bring weights from elsewhere.
NOT_OPTIONS = (
    "num_classes", "weights", "weights_backbone", "pretrained", "pretrained_backbone", "progress", "aux_loss",
    "trainable_backbone_layers", "backbone", "self", "kwargs",
)  # fmt: skip


def of_torchvision(
    family: ModuleType, what: str, name: str, settings: dict[str, Any], options: dict[str, Any] | None = None
) -> nn.Module:
    """A model of torchvision by its name there.

    Args:
        family: the part of torchvision that it must be of, such as `torchvision.models.detection`.
        what: what such a model is called in a message.
        settings: what its function is given beside `options`, which are the user's.

    Raises:
        RedistillError: there is no such model in that part, or it does not take the options.
    """
    from torchvision import models

    options = options or {}
    names = models.list_models(module=family)
    if name not in names:
        near = ", ".join(f"`{known}`" for known in get_close_matches(name, names)) or "nothing like it"
        raise RedistillError(f"torchvision has no {what} `{name}`; it has {near}")
    if refused := [f"`{key}`" for key in options if key in NOT_OPTIONS]:
        raise RedistillError(f"torchvision: {', '.join(refused)} cannot be among the options of `{name}`")
    given = {**settings, **options}
    model: nn.Module
    try:
        model = models.get_model(name, **given)
    except NotImplementedError:  # RegNets compute their widths with tensors, which have no values on the device "meta"
        with torch.device("cpu"):
            model = models.get_model(name, **given)
        model.to(torch.get_default_device())
    except TypeError as error:
        raise RedistillError(f"torchvision's `{name}` does not take these settings: {error}") from error
    refuse_unknown(type(model), f"torchvision's `{name}`", options)
    return model


def refuse_unknown(kind: type[nn.Module], what: str, options: dict[str, Any]) -> None:
    """Refuse options that a class does not name: torchvision passes them on to where they are dropped silently.

    Raises:
        RedistillError: with what it knows that is like them.
    """
    known = [name for name in inspect.signature(kind).parameters if name not in NOT_OPTIONS]
    for option in options:
        if option not in known:
            near = ", ".join(f"`{name}`" for name in get_close_matches(option, known)) or ", ".join(known)
            raise RedistillError(f"{what} has no setting `{option}`; it has {near}")
