"""Streamlined knowledge distillation, SKD (Jeong, Lee and Choi 2026, CVPR).

The article was not read itself: its equations are those that torchdistill 1.1.5 gives, and `follow: code` is the
authors' own code (HyunJunSik/StreamLined, Distiller/SKD.py).

The weights below are those of the authors' code.

Usage::

    hard: {method: hard, weight: 0.1}
    streamlined: {method: skd, weight: 0.9, follow: code, temperature: 4, tikhonov: 0.1}
"""

from typing import Annotated, Literal

import torch
from annotated_types import Ge, Gt
from torch import Tensor

from redistill.distill.directions import unit
from redistill.distill.distributions import kl, log_probabilities, need_classes
from redistill.distill.precision import wide


def skd(
    student_logits: Tensor,
    teacher_logits: Tensor,
    *,
    instance: Annotated[float, Ge(0)] = 1.0,
    direction: Annotated[float, Ge(0)] = 1.0,
    temperature: Annotated[float, Gt(0)] = 4.0,
    tikhonov: Annotated[float, Gt(0)] = 0.1,
    follow: Literal["paper", "code"] = "paper",
) -> Tensor:
    """instance L_INS + direction L_DIR.

    L_INS = KL(teacher, student) at temperature T, averaged over the batch (equation 1)
    L_DIR = mean over i of sqrt(D_i^T (S + tikhonov I)^-1 D_i) (equations 3 to 8)

    D (B, B) is the student's Gram matrix minus the teacher's, of logits of length 1, D_i its rows, and S the covariance
    of the rows (B - 1 degrees of freedom; 0 for a batch of one, where D is 0). Gradients flow through S too.

    With `follow: code`, as the authors train: L_INS has the factor T^2, and counts only the examples whose largest
    teacher probability is at most the batch's median, still divided by B; the Gram matrices are divided by C; and L_DIR
    is multiplied by the share of classes whose summed teacher probability is at most the median of these sums.

    Deviation: where D_i is 0 the root has no gradient; torchdistill's is not a number there.

    Args:
        student_logits: (B, C), C at least 2.
        teacher_logits: (B, C).
        instance: weight of L_INS.
        direction: weight of L_DIR.
        temperature: T of L_INS, above 0.
        tikhonov: what is added to the diagonal of the covariance, above 0.
        follow: the paper's equations, or the authors' code.

    Raises:
        ValueError: there is one output.
    """
    need_classes(student_logits, "skd")
    student, teacher = wide(student_logits), wide(teacher_logits)
    divergence = kl(log_probabilities(teacher, temperature), log_probabilities(student, temperature))
    if follow == "paper":
        return instance * divergence.mean() + direction * _directions(student, teacher, 1, tikhonov)
    probabilities = teacher.softmax(-1)
    unsure = _lower_half(probabilities.amax(-1))
    rare = _lower_half(probabilities.sum(0))
    instances = (divergence * unsure).mean() * temperature**2
    return instance * instances + direction * rare.mean() * _directions(student, teacher, student.shape[-1], tikhonov)


def _directions(student: Tensor, teacher: Tensor, divisor: int, tikhonov: float) -> Tensor:
    """Mean Mahalanobis length of the rows of the difference of the Gram matrices."""
    student, teacher = unit(student, -1), unit(teacher, -1)
    difference = (student @ student.T - teacher @ teacher.T) / divisor
    B = len(difference)
    centred = difference - difference.mean(0, keepdim=True)
    covariance = centred.T @ centred / max(B - 1, 1)
    factor = torch.linalg.cholesky(covariance + tikhonov * torch.eye(B, dtype=student.dtype, device=student.device))
    squares = torch.linalg.solve_triangular(factor, difference.T, upper=False).square().sum(0)
    zero = squares == 0
    return squares.masked_fill(zero, 1.0).sqrt().masked_fill(zero, 0.0).mean()


def _lower_half(values: Tensor) -> Tensor:
    """1 where a value is at most the median, 0 elsewhere."""
    return (values <= values.quantile(0.5)).to(values.dtype)
