"""TinyBERT: hidden states and embeddings (Jiao et al. 2020, arXiv:1909.10351, equations 8 and 9).

Usage::

    hidden:
      method: tinybert_hidden
      weight: 1.0
      taps:
        student: [bert.embeddings, bert.encoder.layer.0, bert.encoder.layer.1, bert.encoder.layer.2,
                  bert.encoder.layer.3]
        teacher: [bert.embeddings, bert.encoder.layer.2, bert.encoder.layer.5, bert.encoder.layer.8,
                  bert.encoder.layer.11]
"""

import torch
from torch import Tensor, nn

from redistill.distill.inputs import HiddenStates, Shape
from redistill.distill.precision import wide

OVER = "tokens"


def tinybert_hidden(
    student_hidden: HiddenStates, teacher_hidden: HiddenStates, mask: Tensor, own: nn.ModuleDict
) -> Tensor:
    """MSE(H_s W, H_t): mean squared difference over valid positions and features, averaged over the pairs of taps.

    W is learned where the student's states have another width than the teacher's; there is none where they have the
    same. The embedding layer's output is a tap like any other.

    Deviation: the paper adds up the layers, with the weight 1 for each: that is this term with the number of pairs as
    its weight. The paper has one map for hidden states and one for embeddings; the authors' code has one for both, even
    where the widths are the same, and so have we where they differ: give the embeddings a term of their own for a map
    of their own. The authors' mean counts padding; here it does not count.

    Args:
        student_hidden: tensors (B, T, H_s), one a tap.
        teacher_hidden: as many tensors (B, T, H_t).
        mask: (B, T), 1 at tokens and 0 at padding.
        own: the map from each width to each other, by `name_of`.

    Raises:
        ValueError: the texts of a pair differ in length.
    """
    terms = []
    for student, teacher in zip(student_hidden, teacher_hidden, strict=True):
        if student.shape[:2] != teacher.shape[:2]:
            raise ValueError(f"{tuple(student.shape)} of the student and {tuple(teacher.shape)} of the teacher differ")
        if student.shape[-1] != teacher.shape[-1]:
            student = own[name_of(student.shape[-1], teacher.shape[-1])](student)
        weights = mask.unsqueeze(-1).to(wide(student).dtype)
        squares = (wide(student) - wide(teacher)).square()
        terms.append((squares * weights).sum() / (weights.sum() * teacher.shape[-1]))
    return torch.stack(terms).mean()


def build_own(student_shapes: list[Shape], teacher_shapes: list[Shape], examples: int) -> nn.ModuleDict:
    """A linear layer for each pair of widths that differ, with a bias as the authors have it; all taps of these widths
    share it.
    """
    widths = {(ours[-1], theirs[-1]) for ours, theirs in zip(student_shapes, teacher_shapes, strict=True)}
    return nn.ModuleDict({name_of(*pair): nn.Linear(*pair) for pair in sorted(widths) if pair[0] != pair[1]})


def name_of(student: int, teacher: int) -> str:
    """The name of the map from one width to another."""
    return f"{student}-{teacher}"
