"""MiniLM: attention and the relations of values, of the last layer (Wang et al. 2020, arXiv:2002.10957).

Usage::

    attention:
      method: minilm
      weight: 1.0
      heads: 12
      taps:
        student: [bert.encoder.layer.5.attention.self.query, bert.encoder.layer.5.attention.self.key,
                  bert.encoder.layer.5.attention.self.value]
        teacher: [bert.encoder.layer.11.attention.self.query, bert.encoder.layer.11.attention.self.key,
                  bert.encoder.layer.11.attention.self.value]
"""

from typing import Annotated

from annotated_types import Gt
from torch import Tensor

from redistill.distill.heads import divergence, scores
from redistill.distill.inputs import HiddenStates

OVER = "tokens"


def minilm(
    student_hidden: HiddenStates, teacher_hidden: HiddenStates, mask: Tensor, *, heads: Annotated[int, Gt(0)]
) -> Tensor:
    """KL(teacher, student) of the attention, plus that of the relations of values; each averaged over heads and valid
    positions.

    Attention is softmax(Q K^T / sqrt(d)), a relation of values softmax(V V^T / sqrt(d)), for each head of width d. The
    paper gives both terms the weight 1.

    Deviation: the paper averages over the positions of each text, here all valid positions of the batch are averaged.

    Args:
        student_hidden: a layer's queries, keys and values, (B, T, H) each: the outputs of `...attention.self.query`,
            `.key` and `.value`; in the paper, of the last layer.
        teacher_hidden: the same of the teacher, whose H may be another.
        mask: (B, T), 1 at tokens and 0 at padding.
        heads: attention heads, of both.

    Raises:
        ValueError: there are not three taps on each side, or H is no multiple of the heads.
    """
    if (len(student_hidden), len(teacher_hidden)) != (3, 3):
        raise ValueError(
            "taps are the queries, the keys and the values of one layer of the student and of one of the teacher, "
            f"not {len(student_hidden)} and {len(teacher_hidden)} tensors"
        )
    (queries, keys, values), (their_queries, their_keys, their_values) = student_hidden, teacher_hidden
    attention = divergence(scores(queries, keys, heads), scores(their_queries, their_keys, heads), mask)
    relations = divergence(scores(values, values, heads), scores(their_values, their_values, heads), mask)
    return attention + relations
