"""TinyBERT: attention before the softmax (Jiao et al. 2020, arXiv:1909.10351, equation 7).

Usage::

    attention:
      method: tinybert_attention
      weight: 1.0
      heads: 12
      taps:
        student: [bert.encoder.layer.0.attention.self.query, bert.encoder.layer.0.attention.self.key]
        teacher: [bert.encoder.layer.2.attention.self.query, bert.encoder.layer.2.attention.self.key]
"""

from typing import Annotated

import torch
from annotated_types import Gt
from torch import Tensor

from redistill.distill.heads import scores
from redistill.distill.inputs import HiddenStates


def tinybert_attention(
    student_hidden: HiddenStates, teacher_hidden: HiddenStates, mask: Tensor, *, heads: Annotated[int, Gt(0)]
) -> Tensor:
    """Mean squared difference of attention scores before the softmax, over heads and valid pairs of positions, averaged
    over the layers.

    The authors compare Q K^T / sqrt(d) rather than its softmax, because that converges faster and scores higher.

    Deviation: the paper adds up the layers, with the weight 1 for each: that is this term with the number of layers as
    its weight. The authors' code sets pairs with padding to zero and counts them in the mean; here they do not count.

    Args:
        student_hidden: for each layer, its queries and its keys, (B, T, H) each: the outputs of
            `...attention.self.query` and `...attention.self.key`.
        teacher_hidden: as many of the teacher, whose H may be another.
        mask: (B, T), 1 at tokens and 0 at padding.
        heads: attention heads, of both.

    Raises:
        ValueError: queries come without keys, or H is no multiple of the heads.
    """
    if len(student_hidden) % 2:
        raise ValueError("taps are queries and keys in turn, and their number is odd")
    terms = []
    for i in range(0, len(student_hidden), 2):
        student = scores(student_hidden[i], student_hidden[i + 1], heads)
        teacher = scores(teacher_hidden[i], teacher_hidden[i + 1], heads)
        valid = (mask[:, :, None] * mask[:, None, :])[:, None].to(student.dtype)
        terms.append(((student - teacher).square() * valid).sum() / (valid.sum() * heads))
    return torch.stack(terms).mean()
