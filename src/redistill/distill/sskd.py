"""SSKD, knowledge distillation meets self-supervision (Xu, Liu, Li and Loy 2020, arXiv:2006.07114).

Two stages with `rotations: true`. In the first, `sskd_auxiliary` trains the teacher's head, as a term of the same name.
The second takes that head over, leaves it as it is, `frozen: [loss.views.teacher]`, and trains the student by four
terms.

Usage::

    labels: {method: hard, weight: 0.1}
    distillation: {method: kd, weight: 0.9, temperature: 4}
    transformed: {method: sskd_transformed, weight: 2.7, temperature: 4, ratio: 1, taps: {teacher: [fc]}}
    views:
      method: sskd
      weight: 10
      temperature: 0.5
      ratio: 0.75
      taps: {student: ["fc:input"], teacher: ["fc:input"]}
"""

from typing import Annotated

import torch
from annotated_types import Ge, Gt, Le
from torch import Tensor, nn

from redistill.distill.inputs import Pooled, Shape
from redistill.distill.rotations import divergence, projection, ranks, similarities, sources, trusted
from redistill.distill.vectors import width


def build_own(student_shapes: list[Shape], teacher_shapes: list[Shape], examples: int) -> nn.ModuleDict:
    """The heads of student and teacher.

    Raises:
        ValueError: there is not one tap a side, or an example has more than one vector there.
    """
    if len(student_shapes) != 1 or len(teacher_shapes) != 1:
        raise ValueError("give one tap of the student and one of the teacher")
    return nn.ModuleDict(
        {"student": projection(width(student_shapes[0])), "teacher": projection(width(teacher_shapes[0]))}
    )


def sskd(
    student_hidden: Pooled,
    teacher_hidden: Pooled,
    own: nn.ModuleDict,
    views: int,
    *,
    temperature: Annotated[float, Gt(0)] = 0.5,
    ratio: Annotated[float, Ge(0), Le(1)] = 0.75,
) -> Tensor:
    """T^2 x KL(teacher, student) of which image each rotation is of, averaged over the rotations that are learnt from.

    The distributions are the softmax, at temperature T, of the cosines of a rotation and each of the batch's images as
    they are, between projections of their features. A rotation is learnt from if the teacher finds its image, or is
    among the given share of the others in which the image's rank is best. The authors' weight is 10.

    Args:
        student_hidden: features (views N, D) of one tap, the views of each image one after another.
        teacher_hidden: features of one tap; their D may be another.
        own: the heads; the teacher's is not trained here.
        views: of an image.
        temperature: T.
        ratio: share of the rotations whose image the teacher does not find that are learnt from, rounded down.

    Raises:
        ValueError: the batch is not made of views of images.

    Deviation: where ranks are equal, torchdistill and the authors' code leave it to the sort which ones are among the
    share; here the first ones are.
    """
    with torch.no_grad():
        theirs = similarities(teacher_hidden[0], own["teacher"], views)
        found = ranks(theirs, sources(theirs.shape[1], views, theirs.device))
    ours = similarities(student_hidden[0], own["student"], views)
    return divergence(ours, theirs, trusted(found, ratio), temperature)
