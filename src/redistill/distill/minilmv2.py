"""MiniLMv2: relations within queries, keys and values (Wang et al. 2021, arXiv:2012.15828).

Usage::

    relations:
      method: minilmv2
      weight: 1.0
      heads: 48
      taps:
        student: [bert.encoder.layer.5.attention.self.query, bert.encoder.layer.5.attention.self.key,
                  bert.encoder.layer.5.attention.self.value]
        teacher: [bert.encoder.layer.11.attention.self.query, bert.encoder.layer.11.attention.self.key,
                  bert.encoder.layer.11.attention.self.value]
"""

from typing import Annotated

import torch
from annotated_types import Gt
from torch import Tensor

from redistill.distill.heads import divergence, scores
from redistill.distill.inputs import HiddenStates

OVER = "tokens"


def minilmv2(
    student_hidden: HiddenStates, teacher_hidden: HiddenStates, mask: Tensor, *, heads: Annotated[int, Gt(0)]
) -> Tensor:
    """KL(teacher, student) of how each position relates to all others, averaged over heads, valid positions and pairs.

    A relation is softmax(A A^T / sqrt(d)) for each of `heads` parts of A, of width d (equations 4 to 6).

    Deviation: the paper adds up the relations, with weights of their own, and averages over the positions of each text;
    here the relations are averaged, and so are all valid positions of the batch.

    Args:
        student_hidden: tensors A (B, T, H), such as the outputs of a layer's `...attention.self.query`, `.key` and
            `.value`.
        teacher_hidden: as many of the teacher, whose H may be another.
        mask: (B, T), 1 at tokens and 0 at padding.
        heads: relation heads; they need not be the models' attention heads.

    Raises:
        ValueError: H is no multiple of the heads.
    """
    terms = [
        divergence(scores(student, student, heads), scores(teacher, teacher, heads), mask)
        for student, teacher in zip(student_hidden, teacher_hidden, strict=True)
    ]
    return torch.stack(terms).mean()
