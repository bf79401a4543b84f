"""Prime-aware adaptive distillation on embeddings, PAD-L2 (Zhang et al. 2020, arXiv:2008.01458).

In torchdistill's recipe the student first learns by the labels and the plain squared distance (`feature_mse`), in a
stage of its own.

Usage::

    embedding: {method: pad, weight: 1, taps: {student: [pool], teacher: [pool]}}
"""

from typing import Annotated

import torch
from annotated_types import Gt
from torch import Tensor, nn

from redistill.distill.connectors import BatchNorm
from redistill.distill.inputs import Anything, Shape
from redistill.distill.pairs import same_shape
from redistill.distill.precision import wide

OVER = "examples"


def pad(
    student_hidden: Anything, teacher_hidden: Anything, own: nn.ModuleList, *, eps: Annotated[float, Gt(0)] = 1e-6
) -> Tensor:
    """(teacher - student)^2 / (eps + variance) + log variance: a mean over features, examples and pairs of taps.

    The variance is one a feature and example, estimated from the student's embedding: examples that are hard to follow
    get a large one, and count less. It may be negative.

    Args:
        student_hidden: embeddings (B, ...), flattened, one a tap.
        teacher_hidden: as many of the same shapes.
        own: the estimators of the logarithm of the variance.
        eps: keeps the first part finite.

    Raises:
        ValueError: the embeddings of a pair differ in shape.

    Deviation: the mean over features is torchdistill's, which takes it from code that the authors gave it. The formula
    is torchdistill's; the paper's own text was not at hand.
    """
    terms = []
    for estimator, student, teacher in zip(own, student_hidden, teacher_hidden, strict=True):
        same_shape(student, teacher)
        log_variance = wide(estimator(student))
        squares = (wide(teacher) - wide(student)).square().flatten(1)
        terms.append((squares / (eps + log_variance.exp()) + log_variance).mean())
    return torch.stack(terms).mean()


def build_own(student_shapes: list[Shape], teacher_shapes: list[Shape], examples: int) -> nn.ModuleList:
    """The estimators: a linear layer and batch norm, as many outputs as inputs.

    Args:
        student_shapes: of the embeddings.
        teacher_shapes: the same.
        examples: not needed.

    Raises:
        ValueError: student and teacher differ in shape.
    """
    estimators = []
    for student, teacher in zip(student_shapes, teacher_shapes, strict=True):
        if student != teacher:
            raise ValueError(f"{student} of the student and {teacher} of the teacher differ: tap a module such as "
                             "`linear` that brings the student's embedding to the teacher's shape")  # fmt: skip
        width = torch.Size(student).numel()
        estimators.append(nn.Sequential(nn.Flatten(), nn.Linear(width, width), BatchNorm(width)))
    return nn.ModuleList(estimators)
