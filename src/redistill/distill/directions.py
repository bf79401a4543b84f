"""Vectors without their length."""

from torch import Tensor


def unit(tensor: Tensor, dim: int) -> Tensor:
    """x / ||x||_2 along a dimension. A zero vector has no direction: it stays zero, and so is its gradient."""
    squares = tensor.square().sum(dim, keepdim=True)
    zero = squares == 0
    return tensor * squares.masked_fill(zero, 1.0).rsqrt().masked_fill(zero, 0.0)
