"""Correlation congruence (Peng et al. 2019, arXiv:1904.01802).

Usage::

    correlation: {method: cckd, weight: 0.003, taps: {student: ["fc:input"], teacher: ["fc:input"]}}
"""

import math
from typing import Annotated, Literal

import torch
from annotated_types import Gt
from torch import Tensor, nn

from redistill.distill.directions import unit
from redistill.distill.inputs import Pooled, Shape
from redistill.distill.precision import wide
from redistill.distill.vectors import pooled, width


class Embeddings(nn.Module):
    """A linear layer for each tap of the student and of the teacher, which bring their features to one width."""

    def __init__(self, student: list[int], teacher: list[int], features: int):
        super().__init__()
        self.student = nn.ModuleList(nn.Linear(D, features) for D in student)
        self.teacher = nn.ModuleList(nn.Linear(D, features) for D in teacher)


def build_own(
    student_shapes: list[Shape],
    teacher_shapes: list[Shape],
    examples: int,
    *,
    features: Annotated[int, Gt(0)] = 128,
) -> Embeddings:
    """The layers before the correlation.

    Raises:
        ValueError: an example has more than one vector at a tap.
    """
    return Embeddings([width(shape) for shape in student_shapes], [width(shape) for shape in teacher_shapes], features)


def cckd(
    student_hidden: Pooled,
    teacher_hidden: Pooled,
    own: Embeddings,
    *,
    kernel: Literal["gaussian", "bilinear"] = "gaussian",
    gamma: Annotated[float, Gt(0)] = 0.4,
    order: Annotated[int, Gt(0)] = 2,
) -> Tensor:
    """|C_t - C_s|^2 / B^2, averaged over the pairs of taps.

    C (B, B) is how the embedded examples correlate, under a kernel k: `bilinear`, k(x, y) = x . y; or `gaussian`,
    exp(-gamma |x - y|^2) for x and y of length one, by the terms of its Taylor series up to the order P:
    k(x, y) = exp(-2 gamma) x sum over p from 0 to P of (2 gamma)^p / p! (x . y)^p. Both embeddings are learned, the
    teacher's too. The weight is 0.003 in torchdistill's configuration, beside distillation by logits.

    Args:
        student_hidden: features (B, D), one a tap.
        teacher_hidden: as many; their D may be others.
        own: the embeddings.
        kernel: how two examples correlate.
        gamma: of the Gaussian kernel.
        order: P of the Gaussian kernel.

    Deviation: torchdistill takes the root of the squared norm before it divides by B^2, and does not bring the
    embeddings to length one, without which the series is not that of the Gaussian kernel. The numbers of the paper's
    equations were not at hand; the square is in its formula as others quote it.
    """
    terms = []
    pairs = zip(student_hidden, teacher_hidden, own.student, own.teacher, strict=True)
    for student, teacher, of_student, of_teacher in pairs:
        ours, theirs = (
            correlation(wide(embed(pooled(given))), kernel, gamma, order)
            for given, embed in ((student, of_student), (teacher, of_teacher))
        )
        terms.append((theirs - ours).square().mean())
    return torch.stack(terms).mean()


def correlation(embedded: Tensor, kernel: str, gamma: float, order: int) -> Tensor:
    """C (B, B) of embedded examples (B, D)."""
    if kernel == "bilinear":
        return embedded @ embedded.T
    directions = unit(embedded, -1)
    cosines = directions @ directions.T
    terms = [(2 * gamma) ** p / math.factorial(p) * cosines**p for p in range(order + 1)]
    return torch.stack(terms).sum(0) * math.exp(-2 * gamma)
