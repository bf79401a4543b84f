"""Hidden states matched by mean squared error, as TinyBERT's layers are (Jiao et al. 2020, arXiv:1909.10351)."""

import torch
from torch import Tensor


def hidden_mse(student_hidden: list[Tensor], teacher_hidden: list[Tensor], mask: Tensor) -> Tensor:
    """Mean squared difference over valid positions and features, averaged over the pairs of taps.

    Args:
        student_hidden: tensors (B, T, H), one a tap.
        teacher_hidden: as many tensors of the same shapes.
        mask: (B, T), 1 at tokens and 0 at padding.

    Raises:
        ValueError: the tensors of a pair differ in shape.
    """
    for student, teacher in zip(student_hidden, teacher_hidden, strict=True):
        if student.shape != teacher.shape:
            raise ValueError(f"{tuple(student.shape)} of the student and {tuple(teacher.shape)} of the teacher differ")
    weights = mask.unsqueeze(-1).to(student_hidden[0].dtype)
    terms = [
        ((student - teacher).square() * weights).sum() / (weights.sum() * student.shape[-1])
        for student, teacher in zip(student_hidden, teacher_hidden, strict=True)
    ]
    return torch.stack(terms).mean()
