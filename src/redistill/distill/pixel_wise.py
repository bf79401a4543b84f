"""Structured KD: pixel-wise distillation for segmentation (Liu et al. 2019, arXiv:1903.04197).

Of the paper's three terms this is the first and `pairwise` the second; the third, which needs a discriminator that is
trained against the student (holistic distillation), is left out.

Usage::

    pixels:
      method: pixel_wise
      weight: 10.0
      taps: {student: [classifier], teacher: [classifier]}
    pairs:
      method: pairwise
      weight: 1.0
      taps: {student: [backbone.layer4], teacher: [backbone.layer4]}
"""

import torch
from torch import Tensor

from redistill.distill.inputs import FeatureMaps
from redistill.distill.pairs import same_shape
from redistill.distill.precision import wide

OVER = "examples"


def pixel_wise(student_hidden: FeatureMaps, teacher_hidden: FeatureMaps) -> Tensor:
    """KL(teacher, student) of the classes of each pixel, averaged over pixels and the batch, added up over the pairs.

    The authors weigh it 10.

    Deviation: the authors' code has the cross-entropy with the teacher's soft targets, which is larger by a constant,
    and adds up the examples of a device; here they are averaged.

    Args:
        student_hidden: maps of logits (B, C, H, W), one a tap.
        teacher_hidden: as many maps of the same shapes.

    Raises:
        ValueError: the maps of a pair differ in shape.
    """
    terms = []
    for student, teacher in zip(student_hidden, teacher_hidden, strict=True):
        same_shape(student, teacher)
        ours, theirs = (wide(maps).log_softmax(1) for maps in (student, teacher))
        terms.append((theirs.exp() * (theirs - ours)).sum(1).mean())
    return torch.stack(terms).sum()
