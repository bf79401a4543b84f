"""Half precision holds neither long sums nor small differences: losses are computed in float32 at least."""

import torch
from torch import Tensor


def wide(tensor: Tensor) -> Tensor:
    """The tensor in float32, or as it is where its type is wider."""
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))
