"""SimKD: the teacher's classifier is used again (Chen et al. 2022, arXiv:2203.14001).

The paper trains the student's encoder and a projector with this term alone, and classifies with the teacher's last
layer on top of them: `predict`. The student's own last layer learns nothing from it.

Usage::

    features:
      method: simkd
      weight: 1.0
      taps: {student: [layer3], teacher: [layer3]}
"""

from typing import Annotated

import torch.nn.functional as F
from annotated_types import Gt
from torch import Tensor, nn

from redistill.distill.connectors import BatchNorm
from redistill.distill.inputs import FeatureMaps, Shape
from redistill.distill.precision import wide

OVER = "examples"


def simkd(student_hidden: FeatureMaps, teacher_hidden: FeatureMaps, own: nn.Module) -> Tensor:
    """Mean squared difference of the projected student's last feature map and the teacher's.

    Where the maps are of two sizes, the larger is averaged down to the smaller. The paper's weight is 1, and there is
    no other term.

    Args:
        student_hidden: the last feature map, (B, C_s, H_s, W_s).
        teacher_hidden: the teacher's, (B, C_t, H_t, W_t): what is averaged over positions before its last layer.
        own: the `Projector`.

    Raises:
        ValueError: there is not one tap on each side.
    """
    if (len(student_hidden), len(teacher_hidden)) != (1, 1):
        raise ValueError(
            "taps are the last feature map of the student and that of the teacher, "
            f"not {len(student_hidden)} and {len(teacher_hidden)} maps"
        )
    ours = own(student_hidden[0])
    theirs = F.adaptive_avg_pool2d(wide(teacher_hidden[0]), ours.shape[2:])
    return (wide(ours) - theirs).square().mean()


def predict(student_hidden: FeatureMaps, own: nn.Module, teacher_head: nn.Module) -> Tensor:
    """The logits (B, C) of a student that was trained so: the teacher's last layer on the projected, averaged map.

    Args:
        student_hidden: the last feature map, (B, C_s, H_s, W_s).
        own: the `Projector`, in eval mode.
        teacher_head: the linear layer that ends the teacher.
    """
    logits: Tensor = teacher_head(own(student_hidden[0]).mean((2, 3)))
    return logits


class Projector(nn.Module):
    """Convolutions of 1 x 1, 3 x 3 and 1 x 1, each with a batch norm and a ReLU; narrower in the middle by `factor`."""

    def __init__(self, student: Shape, teacher: Shape, factor: int):
        super().__init__()
        narrow, out = max(teacher[0] // factor, 1), teacher[0]
        self.size = (min(student[1], teacher[1]), min(student[2], teacher[2]))
        self.layers = nn.Sequential(
            nn.Conv2d(student[0], narrow, 1, bias=False), BatchNorm(narrow), nn.ReLU(),
            nn.Conv2d(narrow, narrow, 3, padding=1, bias=False), BatchNorm(narrow), nn.ReLU(),
            nn.Conv2d(narrow, out, 1, bias=False), BatchNorm(out), nn.ReLU(),
        )  # fmt: skip

    def forward(self, maps: Tensor) -> Tensor:
        projected: Tensor = self.layers(F.adaptive_avg_pool2d(maps, self.size))
        return projected


def build_own(
    student_shapes: list[Shape], teacher_shapes: list[Shape], examples: int, *, factor: Annotated[int, Gt(0)] = 2
) -> nn.Module:
    """The projector.

    Args:
        factor: how many times narrower than the teacher's map the projector is in the middle.

    Raises:
        ValueError: there is not one tap on each side.
    """
    if (len(student_shapes), len(teacher_shapes)) != (1, 1):
        raise ValueError("SimKD compares one pair of taps: the last feature maps")
    return Projector(student_shapes[0], teacher_shapes[0], factor)
