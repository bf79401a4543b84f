"""MGD: masked generative distillation (Yang et al. 2022, arXiv:2205.01529).

Usage::

    generated:
      method: mgd
      weight: 7.0e-5
      taps: {student: [layer3], teacher: [layer3]}
"""

from typing import Annotated, Literal

import torch
from annotated_types import Ge, Lt
from torch import Tensor, nn

from redistill.distill.inputs import FeatureMaps, Shape
from redistill.distill.pairs import same_size
from redistill.distill.precision import wide
from redistill.distill.projections import one_by_one

OVER = "examples"


def mgd(
    student_hidden: FeatureMaps,
    teacher_hidden: FeatureMaps,
    own: nn.ModuleList,
    generator: torch.Generator,
    *,
    ratio: Annotated[float, Ge(0), Lt(1)] = 0.15,
    masked: Literal["channels", "pixels"] = "channels",
) -> Tensor:
    """|| G(M x align(F_s)) - F_t ||^2, summed over channels and positions, averaged over the batch, added up over the
    pairs.

    M is 0 with the probability `ratio`, and 1 otherwise; G is two 3 x 3 convolutions with a ReLU between them.

    The defaults are those of the authors' classifiers, whose weight is 7e-5: whole channels are masked, and 0.15 of
    them. For segmentation they mask pixels, 0.75 of them, with the weight 2e-5.

    Args:
        student_hidden: feature maps (B, C_s, H, W), one a tap.
        teacher_hidden: as many maps (B, C_t, H, W).
        own: for each pair, a `Block`.
        generator: where the masks come from.
        ratio: what share is masked.
        masked: whether a number is drawn for each channel of an image, or for each of its pixels.

    Raises:
        ValueError: the maps of a pair differ in height or width.
    """
    terms = []
    for student, teacher, block in zip(student_hidden, teacher_hidden, own, strict=True):
        same_size(student, teacher)
        B, C, H, W = teacher.shape
        drawn = torch.rand((B, C, 1, 1) if masked == "channels" else (B, 1, H, W), generator=generator)
        made = block(student, (drawn >= ratio).to(student))
        terms.append((wide(made) - wide(teacher)).square().sum() / B)
    return torch.stack(terms).sum()


class Block(nn.Module):
    """What makes a teacher's map of a student's that is masked."""

    def __init__(self, student: Shape, teacher: Shape):
        super().__init__()
        channels = teacher[0]
        self.align = one_by_one(student, teacher)
        self.generate = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1), nn.ReLU(), nn.Conv2d(channels, channels, 3, padding=1)
        )

    def forward(self, student: Tensor, mask: Tensor) -> Tensor:
        made: Tensor = self.generate(self.align(student) * mask)
        return made


def build_own(student_shapes: list[Shape], teacher_shapes: list[Shape], examples: int) -> nn.ModuleList:
    """A block for each pair; a 1 x 1 convolution comes first where the channels are not as many."""
    return nn.ModuleList(map(Block, student_shapes, teacher_shapes))
