"""FitNets' hints (Romero et al. 2015, arXiv:1412.6550).

The paper trains the student's lower half by the hint alone, in a stage of its own, and then the whole student by
knowledge distillation.

Usage::

    hint: {method: fitnet, weight: 1, relu: true, taps: {student: [layer2], teacher: [layer2]}}
"""

from typing import Literal

import torch
from torch import Tensor, nn

from redistill.distill.connectors import BatchNorm
from redistill.distill.inputs import Anything, Shape
from redistill.distill.pairs import same_shape
from redistill.distill.precision import wide


def fitnet(
    student_hidden: Anything,
    teacher_hidden: Anything,
    mask: Tensor | None,
    own: nn.ModuleList,
    *,
    reduction: Literal["sum", "mean"] = "sum",
) -> Tensor:
    """1/2 ||hint - regressor(guided)||^2 (equation 3), a mean over the examples and over the pairs of taps.

    With `reduction: mean` it is the mean squared difference instead, which the comparisons on CIFAR-100 by Tian et al.
    (arXiv:1910.10699) and torchdistill's `MSELoss` use; there it weighs 100.

    Args:
        student_hidden: guided layers: feature maps (B, C, H, W), hidden states (B, T, H) or features (B, D), one a tap.
        teacher_hidden: as many hints of the same kind.
        mask: (B, T), 1 at tokens and 0 at padding, which does not count; None where the data are no texts.
        own: the regressors.
        reduction: whether squares are summed or averaged over what an example has.

    Raises:
        ValueError: a regressor does not meet its hint's shape.

    Deviation: torchdistill's sample uses `MSELoss` with `reduction: sum`, which is 2 B times this (B is the batch
    size): it has no 1/2, and sums over the batch.
    """
    terms = []
    for regressor, student, teacher in zip(own, student_hidden, teacher_hidden, strict=True):
        made = regressor(student)
        same_shape(made, teacher)
        squares = (wide(made) - wide(teacher)).square()
        counts = torch.ones_like(squares)
        if mask is not None and squares.ndim == 3:
            counts = counts * mask.unsqueeze(-1)
        total = (squares * counts).sum()
        terms.append(total / (2 * len(squares)) if reduction == "sum" else total / counts.sum())
    return torch.stack(terms).mean()


def build_own(
    student_shapes: list[Shape],
    teacher_shapes: list[Shape],
    examples: int,
    *,
    shrink: Literal["kernel", "stride"] = "kernel",
    norm: bool = False,
    relu: bool = False,
) -> nn.ModuleList:
    """The regressors: convolutions between feature maps, linear layers between other features.

    Args:
        student_shapes: of the guided layers.
        teacher_shapes: of the hints.
        examples: not needed.
        shrink: how a convolution meets a smaller hint. `kernel`, the paper's: without padding, so large that the size
            fits (1 x 1 where the sizes are equal). `stride`: 3 x 3 and a stride, with far fewer parameters, where the
            student's rows and columns are multiples of the hint's.
        norm: whether batch norm follows the convolution.
        relu: whether a ReLU ends the regressor; the paper ends it as the hint's layer ends, so true for taps that are
            behind a ReLU.

    Raises:
        ValueError: the shapes of a pair are of different kinds, or the hint's map is larger than the student's.
    """
    pairs = zip(student_shapes, teacher_shapes, strict=True)
    return nn.ModuleList(_regressor(student, teacher, shrink, norm, relu) for student, teacher in pairs)


def _regressor(student: Shape, teacher: Shape, shrink: str, norm: bool, relu: bool) -> nn.Sequential:
    if len(student) != len(teacher):
        raise ValueError(f"the student's {student} and the teacher's {teacher} are features of different kinds")
    layers: list[nn.Module]
    if len(student) == 3:
        layers = [_convolution(student, teacher, shrink), *([BatchNorm(teacher[0])] if norm else [])]
    elif norm:
        raise ValueError(f"`norm` is for feature maps (C, H, W), and the teacher gives {teacher}")
    else:
        layers = [nn.Linear(student[-1], teacher[-1])]
    return nn.Sequential(*layers, *([nn.ReLU()] if relu else []))


def _convolution(student: Shape, teacher: Shape, shrink: str) -> nn.Conv2d:
    """From the student's (C, H, W) to the teacher's."""
    (rows, columns), (fewer_rows, fewer_columns) = student[1:], teacher[1:]
    if rows < fewer_rows or columns < fewer_columns:
        raise ValueError(f"the student's map {student} is smaller than the hint {teacher}: take a later hint, or an "
                         "earlier layer of the student")  # fmt: skip
    if shrink == "kernel" or student[1:] == teacher[1:]:
        return nn.Conv2d(student[0], teacher[0], (rows - fewer_rows + 1, columns - fewer_columns + 1))
    if rows % fewer_rows or columns % fewer_columns:
        raise ValueError(f"no stride leads from {student} to {teacher}: use `shrink: kernel`")
    return nn.Conv2d(student[0], teacher[0], 3, (rows // fewer_rows, columns // fewer_columns), padding=1)
