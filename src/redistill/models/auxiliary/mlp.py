"""Two linear layers with a ReLU between, on flat features: a projection head (Chen et al. 2020, arXiv:2002.05709)."""

import math

from torch import nn


def mlp(
    input_shape: tuple[int, ...], like_shape: tuple[int, ...] | None, *, hidden: int = 128, outputs: int | None = None
) -> nn.Module:
    """Takes (B, ...), flattened, gives (B, outputs)."""
    width = outputs if outputs is not None else math.prod(like_shape or input_shape)
    return nn.Sequential(nn.Flatten(), nn.Linear(math.prod(input_shape), hidden), nn.ReLU(), nn.Linear(hidden, width))
