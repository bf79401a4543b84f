"""Total variation, as in f-distill (Wen, Li, Du and Mou 2023, arXiv:2307.15190).

f-distill bounds the divergence of whole texts by the sum over steps of that of the next word, on texts that both models
write. A classifier takes one step, so its divergence is exact.

Usage::

    divergence: {method: total_variation, weight: 1}
"""

from torch import Tensor

from redistill.distill.distributions import need_classes

OVER = "examples"


def total_variation(student_logits: Tensor, teacher_logits: Tensor) -> Tensor:
    """1/2 sum_k |p_k - q_k|, averaged over the batch: in [0, 1], and the same in both directions.

    Args:
        student_logits: (B, C), C at least 2.
        teacher_logits: (B, C).

    Raises:
        ValueError: there is one output.
    """
    need_classes(student_logits, "total_variation")
    return (teacher_logits.softmax(-1) - student_logits.softmax(-1)).abs().sum(-1).mean() / 2
