"""Relations within queries, keys and values matched, as MiniLM does (Wang et al. 2021, MiniLMv2, arXiv:2012.15828)."""

from typing import Annotated

import torch
from annotated_types import Gt
from torch import Tensor

from redistill.distill.attention_mse import scores


def relations(
    student_hidden: list[Tensor], teacher_hidden: list[Tensor], mask: Tensor, *, heads: Annotated[int, Gt(0)]
) -> Tensor:
    """KL(teacher, student) of how each position relates to all others, averaged over heads, valid positions and pairs.

    A relation is softmax(A A^T / sqrt(d)) for each of `heads` parts of A, of width d (equations 4 to 6).

    Args:
        student_hidden: tensors A (B, T, H), such as the outputs of a layer's `...attention.self.query`, `.key` and
            `.value`.
        teacher_hidden: as many of the teacher, whose H may be another.
        mask: (B, T), 1 at tokens and 0 at padding.
        heads: relation heads; they need not be the models' attention heads.

    Raises:
        ValueError: H is no multiple of the heads.
    """
    valid = mask.to(student_hidden[0].dtype)
    padding = (mask == 0)[:, None, None, :]
    terms = []
    for student, teacher in zip(student_hidden, teacher_hidden, strict=True):
        ours, theirs = (
            scores(A, A, heads).masked_fill(padding, -torch.inf).log_softmax(-1) for A in (student, teacher)
        )
        difference = (theirs - ours).masked_fill(padding, 0.0)  # of two infinities where there is padding
        divergence = (theirs.exp() * difference).sum(-1)
        terms.append((divergence * valid[:, None]).sum() / (valid.sum() * heads))
    return torch.stack(terms).mean()
