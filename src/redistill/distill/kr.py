"""Knowledge review (Chen et al. 2021, arXiv:2104.09044).

Taps go from the earliest stage to the deepest. The authors' code takes the teacher's before their last ReLU, where
there is such a tap, and lets the weight grow from 0 over the first 20 of 240 epochs on CIFAR-100.

Usage::

    review:
      method: kr
      weight: {first: 0, last: 1, begin: 0, end: 0.083}
      taps: {student: [layer1, layer2, layer3, pool], teacher: [layer1, layer2, layer3, pool]}
"""

from typing import Annotated

import torch
from annotated_types import Gt
from torch import Tensor, nn
from torch.nn.functional import interpolate, mse_loss

from redistill.distill.connectors import BatchNorm
from redistill.distill.inputs import FeatureMaps, Shape
from redistill.distill.maps import averaged
from redistill.distill.precision import wide

OVER = "examples"


def kr(
    student_hidden: FeatureMaps,
    teacher_hidden: FeatureMaps,
    own: nn.ModuleList,
    *,
    pyramid: Annotated[list[int], Gt(0)] = [4, 2, 1],  # noqa: B006 - read from the syntax tree, never changed
) -> Tensor:
    """Hierarchical context loss of the teacher's stages and the student's fused ones, summed over the stages.

    From the deepest stage to the earliest, attention based fusion joins a stage of the student with what was fused of
    the deeper ones, and gives features of the teacher's shape. Of these the loss is the weighted mean of the mean
    squared difference (weight 1) and of those after average pooling to each size of the pyramid that is smaller than
    the map (weights 1/2, 1/4, 1/8).

    Args:
        student_hidden: feature maps (B, C, H, W), one a stage, from the earliest to the deepest.
        teacher_hidden: as many of the teacher, in the same order.
        own: the fusions, in the order of the taps.
        pyramid: sizes after pooling.

    Deviation: a size of the pyramid counts where it is below both rows and columns; the authors' code and torchdistill
    look at the rows alone. torchdistill has the stages as terms of their own.
    """
    terms, deeper = [], None
    for fusion, student, teacher in reversed(list(zip(own, student_hidden, teacher_hidden, strict=True))):
        given, deeper = fusion(student, deeper)
        terms.append(_hierarchical(wide(given), wide(teacher), pyramid))
    return torch.stack(terms).sum()


def _hierarchical(student: Tensor, teacher: Tensor, pyramid: list[int]) -> Tensor:
    total, weight, weights = mse_loss(student, teacher), 1.0, 1.0
    for size in pyramid:
        if size < min(student.shape[2:]):
            weight /= 2
            weights += weight
            smaller, theirs = (averaged(maps, (size, size)) for maps in (student, teacher))
            total = total + weight * mse_loss(smaller, theirs)
    return total / weights


class Fusion(nn.Module):
    """Attention based fusion of one stage with the deeper ones."""

    def __init__(self, student: Shape, teacher: Shape, middle: int, deepest: bool):
        super().__init__()
        taking = nn.Conv2d(student[0], middle, 1, bias=False)
        giving = nn.Conv2d(middle, teacher[0], 3, padding=1, bias=False)
        for convolution in (taking, giving):
            nn.init.kaiming_uniform_(convolution.weight, a=1)
        self.taken = nn.Sequential(taking, BatchNorm(middle))
        self.given = nn.Sequential(giving, BatchNorm(teacher[0]))
        self.attention = None if deepest else nn.Sequential(nn.Conv2d(2 * middle, 2, 1), nn.Sigmoid())
        self.size = teacher[1:]

    def forward(self, student: Tensor, deeper: Tensor | None) -> tuple[Tensor, Tensor]:
        """Features of the teacher's shape, and what the stage above fuses with its own."""
        fused: Tensor = self.taken(student)
        if self.attention is not None:
            assert deeper is not None
            deeper = interpolate(deeper, student.shape[2:])
            attention = self.attention(torch.cat([fused, deeper], 1))
            fused = fused * attention[:, :1] + deeper * attention[:, 1:]
        if fused.shape[2:] != self.size:
            fused = interpolate(fused, self.size)
        return self.given(fused), fused


def build_own(
    student_shapes: list[Shape], teacher_shapes: list[Shape], examples: int, *, middle: Annotated[int, Gt(0)] = 512
) -> nn.ModuleList:
    """The fusions, in the order of the taps: from the earliest stage to the deepest.

    Args:
        student_shapes: (C, H, W) of each stage.
        teacher_shapes: as many.
        examples: not needed.
        middle: channels of what is fused; as many as the deepest stage has, if these are fewer.

    Raises:
        ValueError: a tap gives no feature maps, or the stages do not come from the earliest to the deepest.
    """
    pairs = list(zip(student_shapes, teacher_shapes, strict=True))
    for student, teacher in pairs:
        if len(student) != 3 or len(teacher) != 3:
            raise ValueError(f"feature maps (C, H, W) are reviewed, not {student} with {teacher}")
    rows = [student[1] for student in student_shapes]
    if rows != sorted(rows, reverse=True):
        raise ValueError(f"taps go from the earliest stage to the deepest; these have {rows} rows")
    middle = min(middle, student_shapes[-1][0])
    last = len(pairs) - 1
    return nn.ModuleList(Fusion(student, teacher, middle, i == last) for i, (student, teacher) in enumerate(pairs))
