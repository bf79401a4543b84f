"""Probabilistic knowledge transfer (Passalis and Tefas 2018, arXiv:1803.10837).

Usage::

    probabilities: {method: pkt, weight: 30000, taps: {student: ["fc:input"], teacher: ["fc:input"]}}
"""

import torch
from torch import Tensor

from redistill.distill.directions import unit
from redistill.distill.inputs import Pooled
from redistill.distill.precision import wide
from redistill.distill.vectors import pooled

EPSILON = 1e-7  # the authors' own; two opposite vectors have probability zero


def pkt(student_hidden: Pooled, teacher_hidden: Pooled) -> Tensor:
    """KL(teacher, student) of how likely each example has each other one as its neighbour.

    The kernel is K(a, b) = (cos(a, b) + 1) / 2, the probabilities of a row are p[i, j] = K(x_i, x_j) / sum over k of
    K(x_i, x_k), and the loss is the mean over all i and j of p[i, j] log(p[i, j] / q[i, j]), with p of the teacher and
    q of the student; averaged over the pairs of taps. As a mean over B^2 numbers it is small: the weight is 30000 in
    torchdistill's configuration and in RepDistiller.

    Args:
        student_hidden: features (B, D), one a tap.
        teacher_hidden: as many; their D may be others.

    Raises:
        ValueError: an example has more than one vector.

    Deviation: the paper sums over pairs of different examples. As in the authors' code, and in torchdistill, an example
    counts as its own neighbour, and the sum is divided by B^2.
    """
    terms = []
    for student, teacher in zip(student_hidden, teacher_hidden, strict=True):
        p, q = neighbours(teacher), neighbours(student)
        terms.append((p * ((p + EPSILON) / (q + EPSILON)).log()).mean())
    return torch.stack(terms).mean()


def neighbours(features: Tensor) -> Tensor:
    """Probabilities (B, B), in rows, of features (B, D)."""
    directions = unit(wide(pooled(features)), -1)
    kernel = (directions @ directions.T + 1).clamp(min=0) / 2  # rounding may leave less than -1
    return kernel / kernel.sum(1, keepdim=True)
