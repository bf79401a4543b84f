"""Several teachers at once, averaged (Hinton, Vinyals and Dean 2015, arXiv:1503.02531; You, Xu, Xu and Tao 2017, KDD).

`best_teacher` takes for each example the teacher that knows it best.

Usage::

    hard: {method: hard, weight: 0.5}
    ensemble: {method: several_teachers, weight: 0.5, temperature: 4}
"""

import math
from typing import Annotated, Literal

import torch
from annotated_types import Gt
from torch import Tensor

from redistill.distill.distributions import kl, log_probabilities

OVER = "examples"


def several_teachers(
    student_logits: Tensor,
    all_teacher_logits: list[Tensor],
    *,
    mean: Literal["logits", "probabilities"] = "logits",
    weights: Annotated[list[float], Gt(0)] | None = None,
    temperature: Annotated[float, Gt(0)] = 1.0,
    t_squared: bool = True,
) -> Tensor:
    """T^2 x KL(mean of the teachers, student) at temperature T, averaged over the batch.

    The mean is of the logits, which is the geometric mean of the distributions (as in TextBrewer), or of the
    probabilities at temperature T, the arithmetic one. With one output (a regression) it is the mean score, and the
    term the mean squared difference from it.

    Args:
        student_logits: (B, C).
        all_teacher_logits: tensors (B, C), one of each teacher in the order of their names.
        mean: of what.
        weights: of the teachers in this order, above 0; they are brought to sum 1. Equal ones if none are given.
        temperature: T, above 0.
        t_squared: whether the factor T^2, which keeps the gradient's size, is there.

    Raises:
        ValueError: there is no teacher, or there are not as many weights as teachers.
    """
    given = weights or [1.0] * len(all_teacher_logits)
    if len(given) != len(all_teacher_logits) or not given:
        raise ValueError(f"`several_teachers` has {len(given)} weights for {len(all_teacher_logits)} teachers")
    shares = [weight / sum(given) for weight in given]
    average = torch.stack([w * logits for w, logits in zip(shares, all_teacher_logits, strict=True)]).sum(0)
    if student_logits.shape[-1] == 1:
        return (student_logits - average).square().mean()
    if mean == "logits":
        p = log_probabilities(average, temperature)
    else:
        logs = [log_probabilities(logits, temperature) for logits in all_teacher_logits]
        parts = [math.log(share) + each for share, each in zip(shares, logs, strict=True)]
        p = torch.stack(parts).logsumexp(0)
    divergence = kl(p, log_probabilities(student_logits, temperature)).mean()
    return divergence * temperature**2 if t_squared else divergence
