"""Decoupled knowledge distillation, DKD (Zhao, Cui, Song, Qiu and Liang 2022, arXiv:2203.08679).

The weight grows over the first 20 of 240 epochs, as in the authors' code. They choose beta for each pair of models.

Usage::

    hard: {method: hard, weight: 1}
    decoupled: {method: dkd, weight: {first: 0, last: 1, end: 0.0833}, alpha: 1, beta: 8, temperature: 4}
"""

from typing import Annotated

import torch
from annotated_types import Ge, Gt
from torch import Tensor

from redistill.distill.distributions import kl, log_probabilities, need_classes, others

OVER = "labels"


def dkd(
    student_logits: Tensor,
    teacher_logits: Tensor,
    labels: Tensor,
    *,
    alpha: Annotated[float, Ge(0)] = 1.0,
    beta: Annotated[float, Ge(0)] = 8.0,
    temperature: Annotated[float, Gt(0)] = 4.0,
) -> Tensor:
    """T^2 (alpha TCKD + beta NCKD), averaged over the examples that have a label; zero when none has.

    TCKD is the divergence KL(teacher, student) of the label against all else, a distribution over two. NCKD is that of
    the distributions over the other classes, each with the label left out and the rest brought to sum 1. Plain KD is
    alpha = 1 with beta = 1 - p, where p is what the teacher gives the label. The paper adds the cross-entropy and this
    with weight 1.

    Deviation: the authors' code takes log(softmax) and hides the label behind a logit 1000 lower; here both are worked
    out in logs from the logits that are left, which is the same number and does not overflow.

    Args:
        student_logits: (B, C), C at least 2.
        teacher_logits: (B, C).
        labels: (B,) int64, -1 where there is none.
        alpha: weight of the label's part.
        beta: weight of the other classes' part.
        temperature: T, above 0.

    Raises:
        ValueError: there is one output.
    """
    need_classes(student_logits, "dkd")
    valid = labels >= 0
    labels = labels[valid]
    student, teacher = (logits[valid] / temperature for logits in (student_logits, teacher_logits))
    target = kl(_target_or_not(teacher, labels), _target_or_not(student, labels))
    rest = kl(*(log_probabilities(others(logits, labels)) for logits in (teacher, student)))
    return (alpha * target + beta * rest).sum() * temperature**2 / valid.sum().clamp(min=1)


def _target_or_not(logits: Tensor, labels: Tensor) -> Tensor:
    """Log-probabilities (B, 2) of the label and of all other classes together."""
    either = torch.cat(
        [logits.gather(-1, labels.unsqueeze(-1)), others(logits, labels).logsumexp(-1, keepdim=True)], -1
    )
    return either.log_softmax(-1)
