"""Affinity distillation of knowledge translation and adaptation (He et al. 2019, arXiv:1903.04688).

It stands beside `ktaad`, whose text says how the teacher's latent features come about.

Usage::

    affinity: {method: ktaad_affinity, weight: 1, taps: {student: [layer3], teacher: [modules.paraphraser.encoder]}}
"""

import math

import torch
from torch import Tensor, nn
from torch.linalg import vector_norm

from redistill.distill.directions import unit
from redistill.distill.inputs import FeatureMaps, Shape
from redistill.distill.maps import of_one_size
from redistill.distill.precision import wide

OVER = "examples"


def ktaad_affinity(student_hidden: FeatureMaps, teacher_hidden: FeatureMaps, own: nn.ModuleList) -> Tensor:
    """|| s s^T - t t^T ||_F / (H W), summed over channels; a mean over examples and pairs of taps.

    s and t are a channel of the student's adapted and of the teacher's latent features, as vectors of H x W numbers of
    length 1: the matrices hold the affinity of each two positions.

    Args:
        student_hidden: feature maps (B, C, H, W), one a tap.
        teacher_hidden: as many latent maps of the same H and W.
        own: the adapters.

    Deviation: none from torchdistill, whose formula this is; the paper's own text was not at hand. The matrices are
    never built: with a = s - t and b = s + t, the squared norm is (|a|^2 |b|^2 + (a b)^2) / 2.
    """
    terms = []
    for adapter, given, latent in zip(own, student_hidden, teacher_hidden, strict=True):
        student, teacher = (unit(wide(maps).flatten(2), -1) for maps in (adapter(given), latent))
        apart, together = student - teacher, student + teacher
        product = vector_norm(apart, dim=-1) * vector_norm(together, dim=-1)
        # a b is 0 where both have length 1; where one channel is all zeros, it is not
        norms = vector_norm(torch.stack([product, (apart * together).sum(-1)]), dim=0) / math.sqrt(2)
        terms.append(norms.sum(1).mean() / student.shape[-1])
    return torch.stack(terms).mean()


def build_own(student_shapes: list[Shape], teacher_shapes: list[Shape], examples: int) -> nn.ModuleList:
    """The adapters: a 3 x 3 convolution.

    Args:
        student_shapes: (C, H, W) of each tap.
        teacher_shapes: as many, of the same H and W.
        examples: not needed.

    Raises:
        ValueError: a tap gives no feature maps, or those of a pair differ in rows or columns.
    """
    channels = of_one_size(student_shapes, teacher_shapes)
    return nn.ModuleList(nn.Conv2d(ours, theirs, 3, padding=1) for ours, theirs in channels)
