"""Generalised Jensen-Shannon divergence, as in GKD (Agarwal et al. 2023, arXiv:2306.13649).

GKD also trains on texts that the student writes; a classifier writes none, so of GKD this is the divergence.

The paper tries beta 0.1, 0.5 and 0.9.

Usage::

    divergence: {method: jensen_shannon, weight: 1, beta: 0.5}
"""

import math
from typing import Annotated

import torch
from annotated_types import Gt, Lt
from torch import Tensor

from redistill.distill.distributions import kl, log_probabilities, need_classes

OVER = "examples"


def jensen_shannon(
    student_logits: Tensor,
    teacher_logits: Tensor,
    *,
    beta: Annotated[float, Gt(0), Lt(1)] = 0.5,
    temperature: Annotated[float, Gt(0)] = 1.0,
    t_squared: bool = True,
) -> Tensor:
    """T^2 (beta KL(p, m) + (1 - beta) KL(q, m)), m = beta p + (1 - beta) q, averaged over the batch.

    p is the teacher's distribution, q the student's. Divided by beta it becomes KL(p, q) as beta goes to 0, and divided
    by 1 - beta it becomes KL(q, p) as beta goes to 1. Without T^2 it is at most log 2.

    Args:
        student_logits: (B, C), C at least 2.
        teacher_logits: (B, C).
        beta: the teacher's part in the mixture, in (0, 1).
        temperature: T, above 0; the paper has 1.
        t_squared: whether the factor T^2, which keeps the gradient's size, is there.

    Raises:
        ValueError: there is one output.
    """
    need_classes(student_logits, "jensen_shannon")
    p, q = (log_probabilities(logits, temperature) for logits in (teacher_logits, student_logits))
    m = torch.logaddexp(p + math.log(beta), q + math.log1p(-beta))
    divergence = (beta * kl(p, m) + (1 - beta) * kl(q, m)).mean()
    return divergence * temperature**2 if t_squared else divergence
