"""The supervised loss, at the pace of whoever tests: the same numbers, in more time."""

import os
import time

import torch.nn.functional as F
from torch import Tensor


def paced(student_logits: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy of logits (B, C) and labels (B,), after PACE seconds."""
    time.sleep(float(os.environ.get("PACE", "0")))
    return F.cross_entropy(student_logits, labels)
