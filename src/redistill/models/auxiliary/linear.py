"""A linear map of the last dimension, such as TinyBERT's between hidden sizes (Jiao et al. 2020, arXiv:1909.10351)."""

from torch import nn


def linear(
    input_shape: tuple[int, ...], like_shape: tuple[int, ...] | None, *, outputs: int | None = None, bias: bool = True
) -> nn.Module:
    """Takes (B, ..., input_shape[-1]), gives (B, ..., outputs), or as many as the tensor that it is `like` has."""
    width = outputs if outputs is not None else (like_shape or input_shape)[-1]
    return nn.Linear(input_shape[-1], width, bias)
