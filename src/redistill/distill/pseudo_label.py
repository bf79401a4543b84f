"""Pseudo-labels: the teacher's decision stands in where a label is missing (Lee 2013, ICML workshop)."""

import torch.nn.functional as F
from torch import Tensor

OVER = "examples"


def pseudo_label(student_logits: Tensor, teacher_logits: Tensor, labels: Tensor) -> Tensor:
    """The supervised loss, averaged over the batch, with the teacher's hard decision for each example without a label.

    Args:
        student_logits: (B, C); C = 1 for a regression.
        teacher_logits: (B, C).
        labels: (B,) int64, -1 where there is none; or float, NaN where there is none.
    """
    if labels.is_floating_point():
        targets = labels.where(~labels.isnan(), teacher_logits.squeeze(-1))
        return (student_logits.squeeze(-1) - targets).square().mean()
    classes = labels.where(labels >= 0, teacher_logits.argmax(-1))
    return F.cross_entropy(student_logits, classes)
