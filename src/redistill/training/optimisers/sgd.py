"""Stochastic gradient descent with momentum (Sutskever et al. 2013, ICML)."""

from typing import Annotated, Any

from annotated_types import Ge, Lt
from torch.distributed.tensor import DTensor
from torch.optim import SGD


def sgd(groups: list[dict[str, Any]], *, momentum: Annotated[float, Ge(0), Lt(1)] = 0.0, nesterov: bool = False) -> SGD:
    """Weight decay as part of the gradient; each group has its params, lr and weight_decay."""
    shared = any(isinstance(weight, DTensor) for group in groups for weight in group["params"])
    return SGD(groups, momentum=momentum, nesterov=nesterov, fused=not shared)  # torch has no fused step for shares
