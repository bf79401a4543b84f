"""Normalised knowledge distillation, NKD (Yang, Zeng, Li, Zhang, Yuan and Li 2023, arXiv:2303.13005).

The defaults are those of the authors' code; to teach ResNet-18 by ResNet-34 on CIFAR-100 they take gamma 3.5 and
temperature 3.

Usage::

    hard: {method: hard, weight: 1}
    normalised: {method: nkd, weight: 1, gamma: 1.5, temperature: 1}
"""

from typing import Annotated

from annotated_types import Ge, Gt
from torch import Tensor

from redistill.distill.distributions import log_probabilities, need_classes, others

OVER = "labels"


def nkd(
    student_logits: Tensor,
    teacher_logits: Tensor,
    labels: Tensor,
    *,
    gamma: Annotated[float, Ge(0)] = 1.5,
    temperature: Annotated[float, Gt(0)] = 1.0,
) -> Tensor:
    """-p log q - gamma T^2 sum over the other classes of P log Q, averaged over the examples that have a label.

    p and q are what teacher and student give the label, at temperature 1. P and Q are their distributions over the
    other classes alone, at temperature T, each brought to sum 1. It is a cross-entropy: a student that agrees with the
    teacher still has the teacher's entropy to pay. Zero when no example has a label. The paper adds it to the
    cross-entropy on the labels, with weight 1.

    Deviation: one version of the authors' file leaves the label among the other classes (its mask is 1 everywhere);
    this follows the paper and their later file.

    Args:
        student_logits: (B, C), C at least 2.
        teacher_logits: (B, C).
        labels: (B,) int64, -1 where there is none.
        gamma: weight of the other classes' part.
        temperature: T of the other classes' part, above 0.

    Raises:
        ValueError: there is one output.
    """
    need_classes(student_logits, "nkd")
    valid = labels >= 0
    student, teacher, labels = student_logits[valid], teacher_logits[valid], labels[valid]
    p, q = (log_probabilities(logits).gather(-1, labels.unsqueeze(-1)).squeeze(-1) for logits in (teacher, student))
    P, Q = (log_probabilities(others(logits, labels), temperature) for logits in (teacher, student))
    terms = p.exp() * q + gamma * temperature**2 * (P.exp() * Q).sum(-1)
    return -terms.sum() / valid.sum().clamp(min=1)
