"""Knowledge translation and adaptation (He et al. 2019, arXiv:1903.04688): the adaptation.

An autoencoder (module `paraphraser`) is first trained on the teacher alone, by `reconstruction`. Then the student
learns towards its latent features, with the autoencoder frozen. `ktaad_affinity` is the method's other half.

Usage::

    adaptation: {method: ktaad, weight: 50, taps: {student: [layer3], teacher: [modules.paraphraser.encoder]}}
    affinity: {method: ktaad_affinity, weight: 1, taps: {student: [layer3], teacher: [modules.paraphraser.encoder]}}

with, at the experiment's top::

    modules:
      paraphraser: {method: paraphraser, of: teacher, input: layer3}
"""

from typing import Literal

import torch
from torch import Tensor, nn

from redistill.distill.connectors import BatchNorm
from redistill.distill.directions import unit
from redistill.distill.inputs import FeatureMaps, Shape
from redistill.distill.maps import of_one_size
from redistill.distill.precision import wide

OVER = "examples"


def ktaad(
    student_hidden: FeatureMaps,
    teacher_hidden: FeatureMaps,
    own: nn.ModuleList,
    *,
    p: Literal[1, 2] = 1,
    q: Literal[1, 2] = 2,
) -> Tensor:
    """|| E / ||E||_q - A / ||A||_q ||_p of the teacher's latent features E and the student's adapted ones A.

    Both are flattened; a mean over examples and pairs of taps.

    Args:
        student_hidden: feature maps (B, C, H, W), one a tap.
        teacher_hidden: as many latent maps of the same H and W.
        own: the adapters.
        p: the order of the norm of the difference.
        q: the order of the norm that features are divided by.

    Deviation: for p = 1 the norm is divided by the number of elements, and features are normalised over the whole map
    of an example, as in torchdistill, whose weight of 50 belongs to that; the paper's own text was not at hand.
    """
    terms = []
    for adapter, given, latent in zip(own, student_hidden, teacher_hidden, strict=True):
        student, teacher = (_divided(wide(maps).flatten(1), q) for maps in (adapter(given), latent))
        difference = student - teacher
        terms.append(difference.abs().mean() if p == 1 else torch.linalg.vector_norm(difference, dim=1).mean())
    return torch.stack(terms).mean()


def _divided(vectors: Tensor, q: int) -> Tensor:
    """Vectors (B, N) of norm 1; zeros stay zeros."""
    if q == 2:
        return unit(vectors, -1)
    norms = vectors.abs().sum(-1, keepdim=True)
    return vectors / norms.masked_fill(norms == 0, 1.0)


def build_own(student_shapes: list[Shape], teacher_shapes: list[Shape], examples: int) -> nn.ModuleList:
    """The adapters: a 3 x 3 convolution, batch norm and ReLU.

    Args:
        student_shapes: (C, H, W) of each tap.
        teacher_shapes: as many, of the same H and W.
        examples: not needed.

    Raises:
        ValueError: a tap gives no feature maps, or those of a pair differ in rows or columns.
    """
    return nn.ModuleList(
        nn.Sequential(nn.Conv2d(ours, theirs, 3, padding=1), BatchNorm(theirs), nn.ReLU())
        for ours, theirs in of_one_size(student_shapes, teacher_shapes)
    )
