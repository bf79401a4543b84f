"""CWD: channel-wise knowledge distillation for dense prediction (Shu et al. 2021, arXiv:2011.13256).

Usage::

    channels:
      method: channel_wise
      weight: 3.0    # of maps of logits; 50 of feature maps
      temperature: 4.0
      taps: {student: [classifier], teacher: [classifier]}
"""

from typing import Annotated

import torch
from annotated_types import Gt
from torch import Tensor, nn

from redistill.distill.inputs import FeatureMaps, Shape
from redistill.distill.pairs import same_size
from redistill.distill.precision import wide
from redistill.distill.projections import one_by_one

OVER = "examples"


def channel_wise(
    student_hidden: FeatureMaps,
    teacher_hidden: FeatureMaps,
    own: nn.ModuleList,
    *,
    temperature: Annotated[float, Gt(0)] = 4.0,
) -> Tensor:
    """T^2 / C x the sum over channels of KL(teacher, student), averaged over the batch, added up over the pairs.

    Each channel of a map is a distribution over positions: the softmax of its activations divided by T.

    Args:
        student_hidden: feature maps or maps of logits (B, C_s, H, W), one a tap.
        teacher_hidden: as many maps (B, C_t, H, W).
        own: for each pair, a 1 x 1 convolution to the teacher's channels where the student has not as many.
        temperature: T, above 0.

    Raises:
        ValueError: the maps of a pair differ in height or width.
    """
    terms = []
    for student, teacher, align in zip(student_hidden, teacher_hidden, own, strict=True):
        same_size(student, teacher)
        ours, theirs = ((wide(maps).flatten(2) / temperature).log_softmax(-1) for maps in (align(student), teacher))
        terms.append((theirs.exp() * (theirs - ours)).sum(-1).mean())
    return torch.stack(terms).sum() * temperature**2


def build_own(student_shapes: list[Shape], teacher_shapes: list[Shape], examples: int) -> nn.ModuleList:
    """A 1 x 1 convolution for each pair whose channels are not as many; nothing for the others."""
    return nn.ModuleList(map(one_by_one, student_shapes, teacher_shapes))
