"""The supervised loss: cross-entropy on classes, squared error on scores."""

import torch.nn.functional as F
from torch import Tensor

OVER = "labels"


def hard(student_logits: Tensor, labels: Tensor) -> Tensor:
    """Average over the examples that have a label; zero when none has.

    Args:
        student_logits: (B, C); C = 1 for a regression.
        labels: (B,) int64, -1 where there is none; or float, NaN where there is none.
    """
    if labels.is_floating_point():
        valid = ~labels.isnan()
        errors = (student_logits.squeeze(-1)[valid] - labels[valid]).square()
    else:
        valid = labels >= 0
        errors = F.cross_entropy(student_logits[valid], labels[valid], reduction="none")
    return errors.sum() / valid.sum().clamp(min=1)
