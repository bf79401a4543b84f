"""Distillation of activation boundaries (Heo et al. 2019, arXiv:1811.03233).

The student starts from this loss alone, in a stage of its own, and then learns the task. Taps lie before a ReLU; in a
wide ResNet these are norms.

Usage::

    boundaries:
      method: dab
      weight: 0.003
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

OVER = "examples"


def dab(
    student_hidden: FeatureMaps,
    teacher_hidden: FeatureMaps,
    own: nn.ModuleList,
    *,
    margin: Annotated[float, Gt(0)] = 1.0,
    decay: Annotated[float, Gt(0), Le(1)] = 0.5,
) -> Tensor:
    """Squared hinge of the student's neurons at the teacher's activation boundaries.

    A neuron r of the connector costs max(0, margin - r)^2 where the teacher's is active (above 0) and
    max(0, margin + r)^2 where it is not: a sum over neurons and a mean over examples. Of several pairs of taps, the
    last weighs 1 and each one before it `decay` times as much as the one behind it.

    The authors' code weighs it 0.003 for wide ResNets on CIFAR-10.

    Args:
        student_hidden: feature maps before a ReLU, (B, C, H, W), one a tap, from early to late layers.
        teacher_hidden: as many of the teacher, of the same H and W.
        own: the connectors.
        margin: how far on the right side of the boundary a neuron is free.
        decay: of the weight, from a pair to the one before it.

    Deviation: torchdistill weighs all pairs by 1, or by weights of their own (`decay: 1` is the former). The decay is
    the authors' code's.
    """
    terms = []
    for connect, student, teacher in zip(own, student_hidden, teacher_hidden, strict=True):
        side = torch.where(wide(teacher) > 0, 1.0, -1.0)
        terms.append((margin - side * wide(connect(student))).relu().square().sum() / len(student))
    return deeper_weighs_more(terms, decay)


def build_own(student_shapes: list[Shape], teacher_shapes: list[Shape], examples: int) -> nn.ModuleList:
    """The connectors: a 1 x 1 convolution with batch norm, or nothing where the shapes are equal, as the authors' code.

    Args:
        student_shapes: (C, H, W) of each tap.
        teacher_shapes: as many, of the same H and W.
        examples: not needed.

    Raises:
        ValueError: a tap gives no feature maps, or those of a pair differ in rows or columns.
    """
    channels = of_one_size(student_shapes, teacher_shapes)
    return nn.ModuleList(nn.Identity() if ours == theirs else connector(ours, theirs) for ours, theirs in channels)
