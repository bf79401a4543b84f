"""The size of what a module of the teacher's side gives, as KTAAD holds its factors small (He et al. 2019,
arXiv:1903.04688).

Usage::

    small: {method: norm, weight: 1.0e-7, p: 1, taps: {teacher: [modules.paraphraser.encoder]}}

with, at the experiment's top::

    modules:
      paraphraser: {method: paraphraser, of: teacher, input: layer3}
"""

from typing import Literal

import torch
from torch import Tensor

from redistill.distill.inputs import Anything
from redistill.distill.precision import wide


def norm(teacher_hidden: Anything, *, p: Literal[1, 2] = 1) -> Tensor:
    """The p-norm of all elements of the batch together, added up over the taps.

    It is no mean: a larger batch has a larger norm, as in torchdistill's `RegularizationLoss`, and how a batch is cut
    into passes counts.

    Args:
        teacher_hidden: tensors of any shape (B, ...), one a tap.
        p: the order of the norm.
    """
    return torch.stack([torch.linalg.vector_norm(wide(tensor), ord=p) for tensor in teacher_hidden]).sum()
