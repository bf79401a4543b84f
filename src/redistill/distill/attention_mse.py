"""Attention matched by mean squared error, as TinyBERT's is (Jiao et al. 2020, arXiv:1909.10351, equation 7)."""

from typing import Annotated

import torch
from annotated_types import Gt
from torch import Tensor


def attention_mse(
    student_hidden: list[Tensor], teacher_hidden: list[Tensor], mask: Tensor, *, heads: Annotated[int, Gt(0)]
) -> Tensor:
    """Mean squared difference of attention scores before the softmax, over heads and valid pairs of positions, averaged
    over the layers.

    Args:
        student_hidden: for each layer, its queries and its keys, (B, T, H) each: the outputs of
            `...attention.self.query` and `...attention.self.key`.
        teacher_hidden: as many of the teacher, whose H may be another.
        mask: (B, T), 1 at tokens and 0 at padding.
        heads: attention heads, of both.

    Raises:
        ValueError: queries come without keys, or H is no multiple of the heads.
    """
    if len(student_hidden) % 2:
        raise ValueError("taps are queries and keys in turn, and their number is odd")
    valid = (mask[:, :, None] * mask[:, None, :])[:, None].to(student_hidden[0].dtype)
    terms = []
    for i in range(0, len(student_hidden), 2):
        student = scores(student_hidden[i], student_hidden[i + 1], heads)
        teacher = scores(teacher_hidden[i], teacher_hidden[i + 1], heads)
        terms.append(((student - teacher).square() * valid).sum() / (valid.sum() * heads))
    return torch.stack(terms).mean()


def scores(queries: Tensor, keys: Tensor, heads: int) -> Tensor:
    """Scaled products (B, heads, T, T) of each head's queries and keys, (B, T, H) each."""
    B, T, H = queries.shape
    if H % heads:
        raise ValueError(f"{H} features do not fall into {heads} heads")
    split_queries, split_keys = (each.reshape(B, T, heads, H // heads).transpose(1, 2) for each in (queries, keys))
    return split_queries @ split_keys.transpose(-1, -2) * (H // heads) ** -0.5
