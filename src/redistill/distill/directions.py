"""Vectors without their length."""

import torch
from torch import Tensor


def unit(tensor: Tensor, dim: int) -> Tensor:
    """x / ||x||_2 along a dimension. A zero vector has no direction: it stays zero, and so is its gradient."""
    length = torch.linalg.vector_norm(tensor, dim=dim, keepdim=True)
    return tensor / length.masked_fill(length == 0, torch.inf)
