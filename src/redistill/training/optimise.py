"""AdamW (Loshchilov and Hutter 2019, arXiv:1711.05101) with a linear warm-up and a linear decay."""

from typing import Any

import torch
from torch import nn
from torch.optim.lr_scheduler import LambdaLR

from redistill.errors import RedistillError


def freeze(model: nn.Module, paths: list[str]) -> None:
    """Train everything but the named modules.

    Raises:
        RedistillError: the model has no module of that path.
    """
    model.requires_grad_(True)
    modules = dict(model.named_modules())
    for path in paths:
        if path not in modules:
            top = ", ".join(f"`{name}`" for name in modules if name and name.count(".") < 2)
            raise RedistillError(f"the student has no module `{path}` to freeze; there are {top} and what is in them")
        modules[path].requires_grad_(False)


def optimiser(model: nn.Module, stage: dict[str, Any], steps: int) -> tuple[torch.optim.AdamW, LambdaLR]:
    """The stage's optimiser and schedule. Biases and the weights of norms are not decayed."""
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    groups = [
        {"params": [p for p in trained if p.ndim > 1], "weight_decay": stage["weight_decay"]},
        {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0},
    ]
    adamw = torch.optim.AdamW(groups, lr=stage["learning_rate"], fused=True)
    warm = round(steps * stage["warmup"])

    def rate(step: int) -> float:
        if step < warm:
            return (step + 1) / warm
        return (steps - step) / max(steps - warm, 1)

    return adamw, LambdaLR(adamw, rate)
