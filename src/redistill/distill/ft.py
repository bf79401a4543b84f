"""Factor transfer (Kim, Park and Kwak 2018, arXiv:1802.04977).

A paraphraser is first trained on the teacher alone (loss `reconstruction`). Then the student and its translator learn
towards the factors, with the paraphraser frozen.

Usage::

    factors:
      method: ft
      weight: 500
      taps: {student: [modules.translator], teacher: [modules.paraphraser.encoder]}

with, at the experiment's top::

    modules:
      paraphraser: {method: paraphraser, of: teacher, input: layer3}
      translator: {method: paraphraser, input: layer3, like: layer3, decode: false}
"""

from typing import Literal

import torch
from torch import Tensor

from redistill.distill.directions import unit
from redistill.distill.inputs import Anything
from redistill.distill.pairs import same_shape
from redistill.distill.precision import wide

OVER = "examples"


def ft(student_hidden: Anything, teacher_hidden: Anything, *, p: Literal[1, 2] = 1) -> Tensor:
    """|| F_T / ||F_T||_2 - F_S / ||F_S||_2 ||_p of the factors, flattened; a mean over examples and pairs of taps.

    Args:
        student_hidden: the translator's factors (B, ...), one a tap.
        teacher_hidden: the paraphraser's, of the same shapes.
        p: the order of the norm.

    Raises:
        ValueError: the factors of a pair differ in shape.

    Deviation: for p = 1 the norm is divided by the number of elements, as the authors' code and torchdistill do it;
    the weight of 500 (CIFAR-10; torchdistill has 1000 for ImageNet) belongs to that.
    """
    terms = []
    for student, teacher in zip(student_hidden, teacher_hidden, strict=True):
        same_shape(student, teacher)
        ours, theirs = (unit(wide(factors).flatten(1), -1) for factors in (student, teacher))
        difference = theirs - ours
        terms.append(difference.abs().mean() if p == 1 else torch.linalg.vector_norm(difference, dim=1).mean())
    return torch.stack(terms).mean()
