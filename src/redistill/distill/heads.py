"""Scaled products of attention heads, and how two such relations diverge."""

import torch
from torch import Tensor

from redistill.distill.precision import wide


def scores(queries: Tensor, keys: Tensor, heads: int) -> Tensor:
    """Scaled products (B, heads, T, T) of each head's queries and keys, (B, T, H) each.

    Raises:
        ValueError: H is no multiple of the heads.
    """
    B, T, H = queries.shape
    if H % heads:
        raise ValueError(f"{H} features do not fall into {heads} heads")
    split_queries, split_keys = (
        wide(each).reshape(B, T, heads, H // heads).transpose(1, 2) for each in (queries, keys)
    )
    products: Tensor = split_queries @ split_keys.transpose(-1, -2) * (H // heads) ** -0.5
    return products


def divergence(student: Tensor, teacher: Tensor, mask: Tensor) -> Tensor:
    """KL(teacher, student) of how each position relates to all others, the softmax of its scores, averaged over heads
    and valid positions.

    Args:
        student: scores (B, heads, T, T).
        teacher: scores of the same shape.
        mask: (B, T), 1 at tokens and 0 at padding.
    """
    valid = mask.to(student.dtype)
    padding = (mask == 0)[:, None, None, :]
    ours, theirs = (each.masked_fill(padding, -torch.inf).log_softmax(-1) for each in (student, teacher))
    difference = (theirs - ours).masked_fill(padding, 0.0)  # of two infinities where there is padding
    divergences = (theirs.exp() * difference).sum(-1)
    return (divergences * valid[:, None]).sum() / (valid.sum() * student.shape[1])
