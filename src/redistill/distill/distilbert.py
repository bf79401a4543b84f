"""DistilBERT: directions of hidden states (Sanh et al. 2019, arXiv:1910.01108).

The method's other two terms are `kd` (the cross-entropy with the teacher's soft targets, up to a constant) and `hard`.

Usage::

    soft: {method: kd, weight: 5.0, temperature: 2.0}
    hard: {method: hard, weight: 2.0}
    cosine:
      method: distilbert
      weight: 1.0
      taps: {student: [bert.encoder.layer.5], teacher: [bert.encoder.layer.11]}
"""

import torch
from torch import Tensor

from redistill.distill.directions import unit
from redistill.distill.inputs import HiddenStates
from redistill.distill.pairs import same_shape
from redistill.distill.precision import wide

OVER = "tokens"


def distilbert(student_hidden: HiddenStates, teacher_hidden: HiddenStates, mask: Tensor) -> Tensor:
    """1 - cos(h_s, h_t), averaged over valid positions, added up over the pairs of taps: the paper's L_cos.

    The authors train a language model with it, on the last layer's states; they weigh it 1 beside 5 for the soft
    targets and 2 for the words that are masked.

    Deviation: a state of zeros has no direction, and its cosine is 0.

    Args:
        student_hidden: tensors (B, T, H), one a tap.
        teacher_hidden: as many tensors of the same shapes.
        mask: (B, T), 1 at tokens and 0 at padding.

    Raises:
        ValueError: the tensors of a pair differ in shape.
    """
    terms = []
    for student, teacher in zip(student_hidden, teacher_hidden, strict=True):
        same_shape(student, teacher)
        cosines = (unit(wide(student), -1) * unit(wide(teacher), -1)).sum(-1)
        weights = mask.to(cosines.dtype)
        terms.append(((1 - cosines) * weights).sum() / weights.sum())
    return torch.stack(terms).sum()
