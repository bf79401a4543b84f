"""SRD: a projector, batch norms and a logarithm (Miles and Mikolajczyk 2024, arXiv:2303.11098).

The method's other two terms are `kd` at the temperature 1 and `hard`, weighing 1 each.

Usage::

    hard: {method: hard, weight: 1.0}
    soft: {method: kd, weight: 1.0, temperature: 1.0}
    features:
      method: srd
      weight: 2.0
      taps: {student: ["fc:input"], teacher: ["fc:input"]}
"""

from typing import Annotated

import torch
from annotated_types import Ge
from torch import Tensor, nn

from redistill.distill.inputs import Pooled, Shape
from redistill.distill.pairs import same_shape
from redistill.distill.precision import wide

NORM = 1e-4  # added to the variance, as the authors do
FLOOR = 1e-5  # inside the logarithm


def srd(
    student_hidden: Pooled,
    teacher_hidden: Pooled,
    own: nn.ModuleList,
    *,
    exponent: Annotated[float, Ge(1)] = 4.0,
) -> Tensor:
    """log of the sum of |N(W z_s) - N(z_t)|^exponent over the batch and all features, added up over the pairs.

    N makes the mean of each feature over the batch 0 and its variance 1: a batch norm without parameters. The authors
    weigh it 2.

    Deviation: torchdistill's SRDLoss is the whole method, 2 x this + `kd` at the temperature 1; `kd` is a term of its
    own here. Where both batches are one example or all alike the sum is 0 and has no logarithm: 1e-5 is added, which is
    what the authors' code for transformers adds. The norms keep no running statistics, which nothing would read.

    Args:
        student_hidden: features (B, D_s), one tensor a tap: feature maps averaged over positions, the last layer's
            input.
        teacher_hidden: as many tensors (B, D_t).
        own: for each pair, the projector W: a linear layer.
        exponent: 4 in the authors' code.
    """
    terms = []
    for student, teacher, projector in zip(student_hidden, teacher_hidden, own, strict=True):
        ours = projector(student)
        same_shape(ours, teacher)
        distances = (_normed(wide(ours)) - _normed(wide(teacher))).abs()
        terms.append((distances.pow(exponent).sum() + FLOOR).log())
    return torch.stack(terms).sum()


def _normed(features: Tensor) -> Tensor:
    """Features (B, D), each with the mean 0 and the variance 1 over the batch."""
    centred = features - features.mean(0)
    return centred * (centred.square().mean(0) + NORM).rsqrt()


def build_own(student_shapes: list[Shape], teacher_shapes: list[Shape], examples: int) -> nn.ModuleList:
    """A linear layer for each pair, whether or not the widths are the same."""
    return nn.ModuleList(
        nn.Linear(student[-1], teacher[-1]) for student, teacher in zip(student_shapes, teacher_shapes, strict=True)
    )
