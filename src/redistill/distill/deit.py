"""Distillation through a token of its own, as DeiT does (Touvron, Cord, Douze, Massa, Sablayrolles and Jegou
2020, arXiv:2012.12877).

The tap is the layer that gives the logits of the distillation token. With `targets: soft` the paper has temperature 3
and the weights 0.9 and 0.1.

Usage::

    hard: {method: hard, weight: 0.5}
    token: {method: deit, weight: 0.5, taps: {student: [distillation_head]}}
"""

from typing import Annotated, Literal

import torch.nn.functional as F
from annotated_types import Gt
from torch import Tensor

from redistill.distill.distributions import kl, log_probabilities, need_classes
from redistill.distill.inputs import Pooled

OVER = "examples"


def deit(
    student_hidden: Pooled,
    teacher_logits: Tensor,
    *,
    targets: Literal["hard", "soft"] = "hard",
    temperature: Annotated[float, Gt(0)] = 3.0,
) -> Tensor:
    """Cross-entropy of the distillation token's logits on the teacher's decision, averaged over the batch.

    hard (equation 3): -log softmax(student)[argmax teacher]
    soft (equation 2): T^2 x KL(teacher, student) at temperature T

    The paper weighs this and the class token's cross-entropy on the labels by 1/2 each. At test time it averages the
    probabilities of both tokens, which is the model's part.

    Deviation: the authors' code divides the soft term by the number of classes too; here it is averaged over the batch
    alone, as KD's is.

    Args:
        student_hidden: one tensor (B, C), the logits of the student's distillation token; C at least 2.
        teacher_logits: (B, C).
        targets: the teacher's decision, or its distribution.
        temperature: T of the soft targets, above 0.

    Raises:
        ValueError: there is not one tap, its shape is not that of the teacher's logits, or there is one output.
    """
    if len(student_hidden) != 1:
        raise ValueError(f"`deit` takes one tap, the student's distillation head, and there are {len(student_hidden)}")
    need_classes(teacher_logits, "deit")
    student = student_hidden[0]
    if student.shape != teacher_logits.shape:
        shapes = f"{tuple(student.shape)} at the student's tap and {tuple(teacher_logits.shape)} of the teacher"
        raise ValueError(f"`deit` needs logits over the same classes, and has {shapes}")
    if targets == "hard":
        return F.cross_entropy(student, teacher_logits.argmax(-1))
    p, q = log_probabilities(teacher_logits, temperature), log_probabilities(student, temperature)
    return kl(p, q).mean() * temperature**2
