"""Distillation without a teacher, by a virtual one, Tf-KD (Yuan, Tay, Li, Wang and Feng 2020, arXiv:1909.11723).

The paper's other form, self-training, is `kd` with a teacher that is a trained copy of the student.

The weights below are the authors' for ResNet-18 on CIFAR-100: their alpha is 0.1, and their factor 100 undoes the mean
over the 100 classes.

Usage::

    hard: {method: hard, weight: 0.9}
    virtual: {method: tfkd, weight: 0.1, correct_probability: 0.99, temperature: 20}
"""

from typing import Annotated

import torch
from annotated_types import Gt, Lt
from torch import Tensor

from redistill.distill.distributions import kl, log_probabilities, need_classes

OVER = "labels"


def tfkd(
    student_logits: Tensor,
    labels: Tensor,
    *,
    correct_probability: Annotated[float, Gt(0), Lt(1)] = 0.99,
    temperature: Annotated[float, Gt(0)] = 20.0,
    soften_student: bool = False,
) -> Tensor:
    """KL(softmax(d / T), student), averaged over the examples that have a label; zero when none has (equations 8, 9).

    The virtual teacher d is a at the label and (1 - a) / (C - 1) elsewhere. Equation 9 writes the student's
    distribution at temperature T too; the authors' code leaves it at 1, and so does this without `soften_student`.

    Deviation: the authors' code averages over the classes as well, and multiplies by a factor of each experiment; here
    the divergence is summed over the classes.

    Args:
        student_logits: (B, C), C at least 2.
        labels: (B,) int64, -1 where there is none.
        correct_probability: a, in (0, 1).
        temperature: T, which softens the virtual teacher; above 0.
        soften_student: whether T softens the student too.

    Raises:
        ValueError: there is one output.
    """
    need_classes(student_logits, "tfkd")
    valid = labels >= 0
    student = student_logits[valid]
    wrong = (1 - correct_probability) / (student.shape[-1] - 1)
    virtual = torch.full_like(student, wrong).scatter(-1, labels[valid].unsqueeze(-1), correct_probability)
    q = log_probabilities(student, temperature if soften_student else 1.0)
    return kl(log_probabilities(virtual, temperature), q).sum() / valid.sum().clamp(min=1)
