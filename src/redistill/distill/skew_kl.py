"""Skew divergences, as in DistiLLM (Ko, Kim, Chen and Yun 2024, arXiv:2402.03898).

DistiLLM also decides when to train on texts that the student writes; a classifier writes none, so of DistiLLM this is
the divergence.

Usage::

    divergence: {method: skew_kl, weight: 1, direction: forward, alpha: 0.1}
"""

import math
from typing import Annotated, Literal

import torch
from annotated_types import Gt, Lt
from torch import Tensor

from redistill.distill.distributions import kl, log_probabilities, need_classes

OVER = "examples"


def skew_kl(
    student_logits: Tensor,
    teacher_logits: Tensor,
    *,
    direction: Literal["forward", "reverse"] = "forward",
    alpha: Annotated[float, Gt(0), Lt(1)] = 0.1,
    temperature: Annotated[float, Gt(0)] = 1.0,
    t_squared: bool = True,
) -> Tensor:
    """T^2 times a divergence to a mixture of teacher p and student q, averaged over the batch.

    forward: KL(p, alpha p + (1 - alpha) q)
    reverse: KL(q, alpha q + (1 - alpha) p)

    The mixture is nowhere 0 where the first distribution is not: the divergence is at most -log alpha. As alpha goes to
    0 the two become `kd` and `reverse_kl`.

    Deviation: the authors' forward loss leaves out the teacher's entropy, which has no gradient; here it is the
    divergence, which is 0 where both agree.

    Args:
        student_logits: (B, C), C at least 2.
        teacher_logits: (B, C).
        direction: which of the two comes first.
        alpha: part of the first distribution in the mixture, in (0, 1).
        temperature: T, above 0; the paper has 1.
        t_squared: whether the factor T^2, which keeps the gradient's size, is there.

    Raises:
        ValueError: there is one output.
    """
    need_classes(student_logits, "skew_kl")
    p, q = (log_probabilities(logits, temperature) for logits in (teacher_logits, student_logits))
    first, second = (p, q) if direction == "forward" else (q, p)
    mixture = torch.logaddexp(first + math.log(alpha), second + math.log1p(-alpha))
    divergence = kl(first, mixture).mean()
    return divergence * temperature**2 if t_squared else divergence
