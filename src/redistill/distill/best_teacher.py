"""Of several teachers, for each example the one that knows its label best.

There is no one paper of this plain rule; `several_teachers` averages instead, and needs no labels.

Usage::

    hard: {method: hard, weight: 0.5}
    best: {method: best_teacher, weight: 0.5, temperature: 4}
"""

from typing import Annotated

import torch
from annotated_types import Gt
from torch import Tensor

from redistill.distill.distributions import kl, log_probabilities

OVER = "labels"


def best_teacher(
    student_logits: Tensor,
    all_teacher_logits: list[Tensor],
    labels: Tensor,
    *,
    temperature: Annotated[float, Gt(0)] = 1.0,
    t_squared: bool = True,
) -> Tensor:
    """T^2 x KL(teacher, student) at temperature T, the teacher of an example being that of the lowest cross-entropy on
    its label, at temperature 1; the first of them where several are equal.

    Averaged over the examples that have a label; zero when none has. With one output (a regression) the teacher is that
    of the lowest squared error, and the term the squared difference from its score.

    Args:
        student_logits: (B, C).
        all_teacher_logits: tensors (B, C), one of each teacher in the order of their names.
        labels: (B,) int64, -1 where there is none; or float, NaN where there is none.
        temperature: T, above 0.
        t_squared: whether the factor T^2, which keeps the gradient's size, is there.

    Raises:
        ValueError: there is no teacher.
    """
    if not all_teacher_logits:
        raise ValueError("`best_teacher` needs teachers, and there is none")
    valid = ~labels.isnan() if labels.is_floating_point() else labels >= 0
    student, labels = student_logits[valid], labels[valid]
    teachers = torch.stack([logits[valid] for logits in all_teacher_logits], 1)  # (B, teachers, C)
    scores = student.shape[-1] == 1
    if scores:
        errors = (teachers.squeeze(-1) - labels.unsqueeze(-1)).square()
    else:
        errors = -log_probabilities(teachers)[torch.arange(len(labels), device=labels.device), :, labels]
    best = teachers[torch.arange(len(labels), device=labels.device), errors.argmin(-1)]
    if scores:
        terms = (student - best).square().squeeze(-1)
    else:
        terms = kl(log_probabilities(best, temperature), log_probabilities(student, temperature))
        terms = terms * temperature**2 if t_squared else terms
    return terms.sum() / valid.sum().clamp(min=1)
