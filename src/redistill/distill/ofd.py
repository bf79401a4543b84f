"""Overhaul of feature distillation (Heo et al. 2019, arXiv:1904.01866).

Taps lie before a ReLU; in a wide ResNet these are norms.

Usage::

    overhaul:
      method: ofd
      weight: 0.001
      taps: {student: [layer2.0.bn1, layer3.0.bn1, bn], teacher: [layer2.0.bn1, layer3.0.bn1, bn]}
"""

from typing import Annotated

import torch
from annotated_types import Gt, Le
from torch import Tensor, nn

from redistill.distill.connectors import connector
from redistill.distill.inputs import FeatureMaps, Shape
from redistill.distill.maps import of_one_size
from redistill.distill.pairs import deeper_weighs_more
from redistill.distill.precision import wide
from redistill.distill.together import added_up

OVER = "examples"


def ofd(
    student_hidden: FeatureMaps,
    teacher_hidden: FeatureMaps,
    own: nn.ModuleList,
    *,
    decay: Annotated[float, Gt(0), Le(1)] = 0.5,
) -> Tensor:
    """Partial squared distance of the student's connector S to the teacher's T behind a margin ReLU.

    T = max(features, m), where m of a channel is the mean of its negative responses. An element costs nothing where
    S <= T <= 0, and (S - T)^2 elsewhere: a sum over elements and a mean over examples. Of several pairs of taps, the
    last weighs 1 and each one before it `decay` times as much as the one behind it, as in the authors' code, which
    weighs the whole 0.001 on CIFAR-100.

    Args:
        student_hidden: feature maps before a ReLU, (B, C, H, W), one a tap, from early to late layers.
        teacher_hidden: as many of the teacher, of the same H and W.
        own: the connectors, with the margins.
        decay: of the weight, from a pair to the one before it.

    Deviation: the margins are the means of the negative responses that were seen so far, this batch's among them, kept
    in `own`. The authors' code computes them from the weights of the batch norm that precedes the ReLU, as if its
    outputs were normal; the mean that is estimated is the same, and a shortcut that is added behind that norm counts.
    """
    terms = []
    for connect, student, teacher in zip(own, student_hidden, teacher_hidden, strict=True):
        student, teacher = connect(student, teacher)
        counts = (student > teacher) | (teacher > 0)
        terms.append(((student - teacher).square() * counts).sum() / len(student))
    return deeper_weighs_more(terms, decay)


class Overhaul(nn.Module):
    """The connector of one pair of taps, and the mean of the teacher's negative responses, channel by channel."""

    mean: Tensor
    seen: Tensor

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.connector = connector(inputs, outputs)
        self.register_buffer("mean", torch.zeros(outputs))
        self.register_buffer("seen", torch.zeros(outputs))

    def forward(self, student: Tensor, teacher: Tensor) -> tuple[Tensor, Tensor]:
        """The student's features in the teacher's channels, and the teacher's behind the margin ReLU."""
        teacher = wide(teacher.detach())
        if self.training:
            self.look(teacher)
        return wide(self.connector(student)), torch.maximum(teacher, wide(self.mean)[:, None, None])

    @torch.no_grad()
    def look(self, teacher: Tensor) -> None:
        """Take the negative responses of a batch, all processes' parts of it, into the means."""
        negative = (-teacher).relu()
        number, total = added_up((negative > 0).sum((0, 2, 3)), -negative.sum((0, 2, 3)))
        mean, seen = wide(self.mean), wide(self.seen) + number
        self.mean.copy_(mean + (total - number * mean) / seen.clamp(min=1))
        self.seen.copy_(seen)


def build_own(student_shapes: list[Shape], teacher_shapes: list[Shape], examples: int) -> nn.ModuleList:
    """A connector for each pair: a 1 x 1 convolution with batch norm, and the margins.

    Args:
        student_shapes: (C, H, W) of each tap.
        teacher_shapes: as many, of the same H and W.
        examples: not needed.

    Raises:
        ValueError: a tap gives no feature maps, or those of a pair differ in rows or columns.
    """
    return nn.ModuleList(Overhaul(ours, theirs) for ours, theirs in of_one_size(student_shapes, teacher_shapes))
