"""Features matched by mean squared error, as FitNets' hints are (Romero et al. 2015, arXiv:1412.6550)."""

import torch
from torch import Tensor

OVER = "examples"


def feature_mse(student_hidden: list[Tensor], teacher_hidden: list[Tensor]) -> Tensor:
    """Mean squared difference over all elements, averaged over the pairs of taps.

    Args:
        student_hidden: tensors of any shape (B, ...), one a tap.
        teacher_hidden: as many tensors of the same shapes.

    Raises:
        ValueError: the tensors of a pair differ in shape.
    """
    terms = []
    for student, teacher in zip(student_hidden, teacher_hidden, strict=True):
        if student.shape != teacher.shape:
            raise ValueError(f"{tuple(student.shape)} of the student and {tuple(teacher.shape)} of the teacher differ")
        terms.append((student - teacher).square().mean())
    return torch.stack(terms).mean()
