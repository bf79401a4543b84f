"""Reverse divergence, MiniLLM's objective for one step (Gu, Dong, Wei and Huang 2023, arXiv:2306.08543).

MiniLLM minimises KL(student, teacher) of whole texts that the student writes. Its gradient has a part for each single
step and a long part through what follows; the second needs sampling, a mixture with the teacher to sample from, and a
normalisation by length. A classifier takes one step, so the first part is all there is, and the sum over the classes is
exact: this loss.

The weights below are an example: the paper's second term is a language model's loss on other texts.

Usage::

    hard: {method: hard, weight: 0.5}
    reverse: {method: reverse_kl, weight: 0.5}
"""

from typing import Annotated

from annotated_types import Gt
from torch import Tensor

from redistill.distill.distributions import kl, log_probabilities

OVER = "examples"


def reverse_kl(
    student_logits: Tensor,
    teacher_logits: Tensor,
    *,
    temperature: Annotated[float, Gt(0)] = 1.0,
    t_squared: bool = True,
) -> Tensor:
    """T^2 x KL(student, teacher) = T^2 sum_k q_k (log q_k - log p_k), averaged over the batch.

    The student pays for what the teacher finds unlikely, and may leave out some of what the teacher finds likely.
    With one output (a regression) the term is the mean squared difference of the scores, as `kd` has it: between two
    normal distributions of the same variance both directions agree.

    Args:
        student_logits: (B, C).
        teacher_logits: (B, C).
        temperature: T, above 0; the paper has 1.
        t_squared: whether the factor T^2, which keeps the gradient's size, is there.
    """
    if student_logits.shape[-1] == 1:
        return (student_logits - teacher_logits).square().mean()
    p, q = (log_probabilities(logits, temperature) for logits in (teacher_logits, student_logits))
    divergence = kl(q, p).mean()
    return divergence * temperature**2 if t_squared else divergence
