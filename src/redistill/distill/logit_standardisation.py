"""Logit standardisation (Sun, Ren, Li, Wang and Cao 2024, arXiv:2403.01427).

The settings below are those of torchdistill's example on ImageNet. The weight is larger than KD's, since standardised
logits are small.

Usage::

    hard: {method: hard, weight: 0.5}
    standardised: {method: logit_standardisation, weight: 9, temperature: 2}
"""

from typing import Annotated

from annotated_types import Gt
from torch import Tensor

from redistill.distill.distributions import kl, log_probabilities, need_classes, standardised
from redistill.distill.precision import wide

OVER = "examples"


def logit_standardisation(
    student_logits: Tensor,
    teacher_logits: Tensor,
    *,
    temperature: Annotated[float, Gt(0)] = 2.0,
    t_squared: bool = True,
) -> Tensor:
    """T^2 x KL(teacher, student) at the base temperature T, of each example's logits brought to mean 0 and deviation 1.

    Z(z) = (z - mean(z)) / std(z), with the deviation of C - 1 degrees of freedom, as in the authors' code. So only the
    order and the relative distances of the logits count, not their size. Averaged over the batch.

    Deviation: the authors' code adds 1e-7 to the deviation; here logits that differ by rounding alone become 0 and have
    no gradient, and nothing else is changed.

    Args:
        student_logits: (B, C), C at least 2.
        teacher_logits: (B, C).
        temperature: T, above 0.
        t_squared: whether the factor T^2 is there.

    Raises:
        ValueError: there is one output.
    """
    need_classes(student_logits, "logit_standardisation")
    size = (student_logits.shape[-1] - 1) ** 0.5  # the length of a vector of deviation 1
    p, q = (
        log_probabilities(standardised(wide(logits), -1) * size, temperature)
        for logits in (teacher_logits, student_logits)
    )
    divergence = kl(p, q).mean()
    return divergence * temperature**2 if t_squared else divergence
