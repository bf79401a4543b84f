"""Pairs of taps: what the two must have in common, and how much each pair weighs."""

import torch
from torch import Tensor


def same_shape(student: Tensor, teacher: Tensor) -> None:
    """Let no two tensors pass that would be broadcast.

    Raises:
        ValueError: their shapes differ.
    """
    if student.shape != teacher.shape:
        raise ValueError(f"{tuple(student.shape)} of the student and {tuple(teacher.shape)} of the teacher differ")


def same_size(student: Tensor, teacher: Tensor) -> None:
    """Let no two feature maps (B, C, H, W) pass whose positions are not the same; their channels may differ.

    Raises:
        ValueError: their heights or widths differ.
    """
    if student.shape[2:] != teacher.shape[2:]:
        raise ValueError(
            f"{tuple(student.shape)} of the student and {tuple(teacher.shape)} of the teacher differ in size"
        )


def deeper_weighs_more(terms: list[Tensor], decay: float) -> Tensor:
    """The sum over pairs, from early to late layers: the last weighs 1, and each one before it `decay` times as much as
    the one behind it, as in the code of Heo et al. (arXiv:1811.03233, arXiv:1904.01866).
    """
    return torch.stack([decay ** (len(terms) - 1 - i) * term for i, term in enumerate(terms)]).sum()
