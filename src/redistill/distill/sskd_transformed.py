"""What SSKD learns from rotated images (Xu, Liu, Li and Loy 2020, arXiv:2006.07114).

The stage needs `rotations: true`. See `sskd` for the other terms.

Usage::

    transformed: {method: sskd_transformed, weight: 2.7, temperature: 4, ratio: 1, taps: {teacher: [fc]}}
"""

from typing import Annotated

from annotated_types import Ge, Gt, Le
from torch import Tensor

from redistill.distill.inputs import Pooled
from redistill.distill.rotations import apart, divergence, ranks, trusted


def sskd_transformed(
    student_logits: Tensor,
    teacher_hidden: Pooled,
    labels: Tensor,
    views: int,
    *,
    temperature: Annotated[float, Gt(0)] = 4.0,
    ratio: Annotated[float, Ge(0), Le(1)] = 1.0,
) -> Tensor:
    """T^2 x KL(teacher, student) of the classes of rotated images, averaged over those that are learnt from.

    A rotation is learnt from if the teacher gives it its image's class, or is among the given share of the others in
    which that class' rank is best; one whose image has no label counts as right. The authors' weight is 2.7.

    Args:
        student_logits: (views N, C), the views of each image one after another.
        teacher_hidden: the teacher's logits (views N, C), tapped where they come out: stored ones are of images as they
            are.
        labels: (views N,) int64, -1 where there is none; those of the images as they are count.
        views: of an image.
        temperature: T.
        ratio: share of the rotations that the teacher gets wrong that are learnt from, rounded down.

    Raises:
        ValueError: the batch is not made of views of images, or there are no classes.

    Deviation: where ranks are equal, torchdistill and the authors' code leave it to the sort which ones are among the
    share; here the first ones are.
    """
    if labels.is_floating_point():
        raise ValueError("rotated images are learnt from by their classes, and these labels are scores")
    known = apart(labels, views)[0].repeat_interleave(views - 1)
    ours, theirs = (apart(logits, views)[1] for logits in (student_logits, teacher_hidden[0]))
    wrong = ranks(theirs, known.clamp(min=0)).masked_fill(known < 0, 0)
    return divergence(ours, theirs, trusted(wrong, ratio), temperature)
