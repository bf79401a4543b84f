"""PKD: patient knowledge distillation (Sun et al. 2019, arXiv:1908.09355).

The method's other two terms are `kd` and `hard`. PKD-Skip compares every other layer of a teacher of twelve, PKD-Last
its last ones; in both the last layer is left to the logits.

Usage::

    soft: {method: kd, weight: 0.5, temperature: 10.0}
    hard: {method: hard, weight: 0.5}
    patient:
      method: pkd
      weight: 0.026    # a beta of 100 in the authors' code, which averages over 5 layers and 768 features
      taps:
        student: [bert.encoder.layer.0, bert.encoder.layer.1, bert.encoder.layer.2, bert.encoder.layer.3,
                  bert.encoder.layer.4]
        teacher: [bert.encoder.layer.1, bert.encoder.layer.3, bert.encoder.layer.5, bert.encoder.layer.7,
                  bert.encoder.layer.9]
"""

import torch
from torch import Tensor

from redistill.distill.directions import unit
from redistill.distill.inputs import HiddenStates
from redistill.distill.pairs import same_shape
from redistill.distill.precision import wide

OVER = "examples"


def pkd(student_hidden: HiddenStates, teacher_hidden: HiddenStates) -> Tensor:
    """|| h_s / ||h_s|| - h_t / ||h_t|| ||^2 of the first token's states, averaged over the batch and added up over the
    pairs of taps: the paper's L_PT.

    The first token is [CLS], and never padding. The paper searches the term's weight, beta, among 10, 100, 500 and
    1000.

    Deviation: the paper adds up the examples, and here they are averaged. The authors' code averages over layers and
    features as well, and it is there that beta was searched: divide it by the number of pairs and by H. A state of
    zeros has no direction, and stays zero.

    Args:
        student_hidden: tensors (B, T, H), one a tap.
        teacher_hidden: as many tensors of the same shapes.

    Raises:
        ValueError: the tensors of a pair differ in shape.
    """
    terms = []
    for student, teacher in zip(student_hidden, teacher_hidden, strict=True):
        same_shape(student, teacher)
        ours, theirs = (unit(wide(states[:, 0]), -1) for states in (student, teacher))
        terms.append((ours - theirs).square().sum(-1).mean())
    return torch.stack(terms).sum()
