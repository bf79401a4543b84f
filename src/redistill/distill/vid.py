"""Variational information distillation (Ahn et al. 2019, arXiv:1904.05835).

Usage::

    information: {method: vid, weight: 1, taps: {student: [layer1, layer2, layer3], teacher: [layer1, layer2, layer3]}}
"""

import math
from typing import Annotated

import torch
from annotated_types import Gt
from torch import Tensor, nn
from torch.nn.functional import softplus

from redistill.distill.inputs import Anything, Shape
from redistill.distill.maps import at_one_size
from redistill.distill.precision import wide

OVER = "examples"


def vid(student_hidden: Anything, teacher_hidden: Anything, own: nn.ModuleList) -> Tensor:
    """-log q(teacher | student) for a normal q with a mean from the student and a variance a channel.

    ((teacher - mean)^2 / variance + log variance) / 2, the constant left out: a mean over elements and examples, a sum
    over the pairs of taps. It may be negative.

    Args:
        student_hidden: feature maps (B, C, H, W) or features (B, D), one a tap.
        teacher_hidden: as many of the same kind. Of maps that differ in size, the larger are averaged down to the
            smaller, as in the comparisons of Tian et al. (arXiv:1910.10699).
        own: the regressors, with the variances.

    Deviation: the paper sums over the elements. The mean is torchdistill's and the comparisons', and their weight of 1
    belongs to it.
    """
    terms = []
    for regressor, student, teacher in zip(own, student_hidden, teacher_hidden, strict=True):
        if student.ndim == 4:
            student, teacher = at_one_size(student, teacher)
        mean, variance = regressor(student)
        terms.append(((wide(teacher) - wide(mean)).square() / variance + variance.log()).mean() / 2)
    return torch.stack(terms).sum()


class Regressor(nn.Module):
    """Three layers without biases that give the mean, and a variance a channel: softplus(raw) + eps."""

    def __init__(self, student: Shape, teacher: Shape, variance: float, eps: float):
        super().__init__()
        ours, theirs = student[0], teacher[0]
        layers: list[nn.Module] = []
        for inputs in (ours, theirs, theirs):
            layer = nn.Conv2d(inputs, theirs, 1, bias=False) if len(student) == 3 else nn.Linear(inputs, theirs, False)
            layers += [layer, nn.ReLU()]
        self.mean = nn.Sequential(*layers[:-1])
        self.raw = nn.Parameter(torch.full((theirs,), math.log(math.expm1(variance - eps))))
        self.eps = eps

    def forward(self, student: Tensor) -> tuple[Tensor, Tensor]:
        mean: Tensor = self.mean(student)
        variance = softplus(wide(self.raw)) + self.eps
        return mean, variance.reshape(-1, *[1] * (mean.ndim - 2))


def build_own(
    student_shapes: list[Shape],
    teacher_shapes: list[Shape],
    examples: int,
    *,
    variance: Annotated[float, Gt(0)] = 5.0,
    eps: Annotated[float, Gt(0)] = 1e-5,
) -> nn.ModuleList:
    """The regressors, 1 x 1 convolutions for maps and linear layers for flat features, as wide as the teacher's.

    Args:
        student_shapes: (C, H, W) or (D,) of each tap.
        teacher_shapes: as many of the same kind.
        examples: not needed.
        variance: that the variances begin with; above `eps`.
        eps: the least variance.

    Raises:
        ValueError: the shapes are neither two maps nor two vectors, or `variance` is not above `eps`.
    """
    if variance <= eps:
        raise ValueError(f"`variance`, {variance}, must be larger than `eps`, {eps}")
    pairs = list(zip(student_shapes, teacher_shapes, strict=True))
    for student, teacher in pairs:
        if len(student) not in (1, 3) or len(student) != len(teacher):
            raise ValueError(f"two feature maps (C, H, W) or two vectors (D,) are needed, not {student} and {teacher}")
    return nn.ModuleList(Regressor(student, teacher, variance, eps) for student, teacher in pairs)
