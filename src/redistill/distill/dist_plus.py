"""DIST with relations within feature maps, DIST+ (Huang, You, Wang, Qian and Xu 2025, TPAMI, doi
10.1109/TPAMI.2025.3554235).

The article could not be read: what is here follows its abstract (the loss of DIST extended from logits to features) and
torchdistill 1.1.5, with one sign turned (see the function). The article's other part, a teacher that is acclimated to
the student before, is a way to make a teacher and no loss.

torchdistill's example on ImageNet has weight 2, beta 2, gamma 2 and the last layer of both models.

Usage::

    hard: {method: hard, weight: 1}
    relations: {method: dist_plus, weight: 2, taps: {student: [layer3], teacher: [layer3]}}
"""

from typing import Annotated

import torch
from annotated_types import Ge, Gt
from torch import Tensor

from redistill.distill.distributions import correlation, need_classes
from redistill.distill.inputs import FeatureMaps
from redistill.distill.precision import wide


def dist_plus(
    student_logits: Tensor,
    teacher_logits: Tensor,
    student_hidden: FeatureMaps,
    teacher_hidden: FeatureMaps,
    *,
    beta: Annotated[float, Ge(0)] = 1.0,
    gamma: Annotated[float, Ge(0)] = 1.0,
    channel: Annotated[float, Ge(0)] = 1.0,
    spatial: Annotated[float, Ge(0)] = 1.0,
    temperature: Annotated[float, Gt(0)] = 1.0,
) -> Tensor:
    """T^2 (beta L_inter + gamma L_intra) + channel L_channel + spatial L_spatial, with Pearson's correlation r.

    L_inter = 1 - mean over examples of r(student's row of probabilities, teacher's row)
    L_intra = 1 - mean over classes of r(student's column of probabilities, teacher's column)
    L_channel = 1 - mean over examples and positions of r over the channels
    L_spatial = 1 - mean over positions of r over the examples, of the maps summed over the channels

    The last two are averaged over the pairs of taps. What does not vary has the correlation 0.

    Deviation: torchdistill's term for the channels is the correlation itself, which training would make -1; here it is
    1 minus the correlation, as in all other terms. The article was not at hand to say which it has.

    Args:
        student_logits: (B, C), C at least 2.
        teacher_logits: (B, C).
        student_hidden: tensors (B, C', H, W), one a tap.
        teacher_hidden: as many tensors of the same shapes.
        beta: weight of the relation between classes.
        gamma: weight of the relation between examples.
        channel: weight of the relation between channels.
        spatial: weight of the relation of positions between examples.
        temperature: T, above 0.

    Raises:
        ValueError: there is one output, or the tensors of a pair differ in shape.
    """
    need_classes(student_logits, "dist_plus")
    student, teacher = ((wide(logits) / temperature).softmax(-1) for logits in (student_logits, teacher_logits))
    inter = 1 - correlation(student, teacher, 1).mean()
    intra = 1 - correlation(student, teacher, 0).mean()
    terms = [
        channel * (1 - correlation(ours, theirs, 1).mean())
        + spatial * (1 - correlation(ours.sum(1), theirs.sum(1), 0).mean())
        for ours, theirs in _pairs(student_hidden, teacher_hidden)
    ]
    return (beta * inter + gamma * intra) * temperature**2 + torch.stack(terms).mean()


def _pairs(student_hidden: FeatureMaps, teacher_hidden: FeatureMaps) -> list[tuple[Tensor, Tensor]]:
    for student, teacher in zip(student_hidden, teacher_hidden, strict=True):
        if student.shape != teacher.shape:
            shapes = f"{tuple(student.shape)} of the student and {tuple(teacher.shape)} of the teacher"
            raise ValueError(f"`dist_plus` correlates maps of one shape, and {shapes} differ: tap layers that agree")
    return [(wide(s), wide(t)) for s, t in zip(student_hidden, teacher_hidden, strict=True)]
