"""Distillation from a stronger teacher, DIST (Huang, You, Wang, Qian and Xu 2022, arXiv:2205.10536).

The settings below are those of torchdistill's example on ImageNet.

Usage::

    hard: {method: hard, weight: 1}
    relations: {method: dist, weight: 2, beta: 1, gamma: 1, temperature: 1}
"""

from typing import Annotated

from annotated_types import Ge, Gt
from torch import Tensor

from redistill.distill.distributions import correlation, need_classes
from redistill.distill.precision import wide


def dist(
    student_logits: Tensor,
    teacher_logits: Tensor,
    *,
    beta: Annotated[float, Ge(0)] = 1.0,
    gamma: Annotated[float, Ge(0)] = 1.0,
    temperature: Annotated[float, Gt(0)] = 1.0,
) -> Tensor:
    """T^2 (beta L_inter + gamma L_intra), with Pearson's correlation r and the probabilities Y at temperature T.

    L_inter = 1 - mean over examples of r(student's row of Y, teacher's row)
    L_intra = 1 - mean over classes of r(student's column of Y, teacher's column)

    So L_inter compares the classes within an example, and L_intra the examples within a class. A row or column that
    does not vary, such as the columns of a batch of one, has the correlation 0.

    Deviation: the authors' code adds 1e-8 to the product of the norms, and torchdistill raises each norm to at least
    1e-8; here what varies by no more than rounding has the correlation 0 and no gradient, and nothing else is changed.
    The factor T^2 is torchdistill's; the authors' published code has no temperature.

    Args:
        student_logits: (B, C), C at least 2.
        teacher_logits: (B, C).
        beta: weight of the relation between classes.
        gamma: weight of the relation between examples.
        temperature: T, above 0.

    Raises:
        ValueError: there is one output.
    """
    need_classes(student_logits, "dist")
    student, teacher = ((wide(logits) / temperature).softmax(-1) for logits in (student_logits, teacher_logits))
    inter = 1 - correlation(student, teacher, 1).mean()
    intra = 1 - correlation(student, teacher, 0).mean()
    return (beta * inter + gamma * intra) * temperature**2
