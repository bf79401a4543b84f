"""ICKD: inter-channel correlation (Liu et al. 2021, arXiv:2202.03680).

This is ICKD-C, for classifiers. The variant for segmentation, which cuts maps into a grid, is left out.

Usage::

    correlation:
      method: ickd
      weight: 2.5
      taps: {student: [layer3], teacher: [layer3]}
"""

from typing import Literal

import torch
from torch import Tensor, nn

from redistill.distill.connectors import BatchNorm
from redistill.distill.directions import unit
from redistill.distill.inputs import FeatureMaps, Shape
from redistill.distill.precision import wide

OVER = "examples"


def ickd(student_hidden: FeatureMaps, teacher_hidden: FeatureMaps, own: nn.ModuleList) -> Tensor:
    """|| G_s - G_t ||^2 / C of the channels' correlations, averaged over the batch, added up over the pairs.

    G = F F^T for a map F (C, H W), with rows of the length 1; the student's map goes through a convolution and a batch
    norm before. The authors weigh it 2.5 on CIFAR-100.

    Deviation: the authors' code for ImageNet, and torchdistill's, divide by the batch's size twice: their weight of 500
    for batches of 256 is 1.95 here.

    Args:
        student_hidden: feature maps (B, C_s, H, W), one a tap.
        teacher_hidden: as many maps (B, C_t, H, W), whose H and W may be others.
        own: for each pair, a convolution to the teacher's channels and a batch norm.
    """
    terms = []
    for student, teacher, embed in zip(student_hidden, teacher_hidden, own, strict=True):
        ours, theirs = (_correlations(wide(maps)) for maps in (embed(student), teacher))
        terms.append((ours - theirs).square().sum((1, 2)).mean() / teacher.shape[1])
    return torch.stack(terms).sum()


def _correlations(maps: Tensor) -> Tensor:
    """Of each channel with all others, (B, C, C), in rows of the length 1."""
    channels = maps.flatten(2)
    return unit(channels @ channels.transpose(1, 2), -1)


def build_own(
    student_shapes: list[Shape], teacher_shapes: list[Shape], examples: int, *, kernel: Literal[1, 3] = 1
) -> nn.ModuleList:
    """A convolution and a batch norm for each pair, whether or not the channels are as many.

    Args:
        kernel: of the convolution; the authors' is 1 on CIFAR-100 and 3, as torchdistill's is, on ImageNet.
    """
    return nn.ModuleList(
        nn.Sequential(nn.Conv2d(student[0], teacher[0], kernel, padding=kernel // 2, bias=False), BatchNorm(teacher[0]))
        for student, teacher in zip(student_shapes, teacher_shapes, strict=True)
    )
