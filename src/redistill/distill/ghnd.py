"""HND and GHND: head network distillation (Matsubara et al. 2019, doi:10.1145/3349614.3356022; arXiv:2007.15818).

HND compares one layer: the last of a head with a bottleneck, which takes the place of the teacher's first layers. GHND
compares later layers as well, which stay the teacher's.

Usage::

    layers:
      method: ghnd
      weight: 1.0
      taps: {student: [layer1, layer2, layer3], teacher: [layer1, layer2, layer3]}    # HND: the first pair alone
"""

from typing import Literal

import torch
from torch import Tensor

from redistill.distill.inputs import Anything
from redistill.distill.pairs import same_shape
from redistill.distill.precision import wide


def ghnd(student_hidden: Anything, teacher_hidden: Anything, *, over_batch: Literal["sum", "mean"] = "sum") -> Tensor:
    """Sum of squared differences over all elements, added up over the pairs of taps.

    The papers weigh each layer 1. The sum goes over the batch as well, as in the papers and in torchdistill's MSELoss
    with the reduction `sum`: a larger batch has a larger gradient, which Adam does not see and SGD does.

    Args:
        student_hidden: tensors of any shape (B, ...), one a tap.
        teacher_hidden: as many tensors of the same shapes.
        over_batch: whether the examples are added up or averaged; averaged, it does not matter how a batch is cut into
            passes.

    Raises:
        ValueError: the tensors of a pair differ in shape.
    """
    terms = []
    for student, teacher in zip(student_hidden, teacher_hidden, strict=True):
        same_shape(student, teacher)
        total = (wide(student) - wide(teacher)).square().sum()
        terms.append(total if over_batch == "sum" else total / len(student))
    return torch.stack(terms).sum()
