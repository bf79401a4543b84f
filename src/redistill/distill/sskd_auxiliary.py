"""The first stage of SSKD, which trains the teacher's head (Xu, Liu, Li and Loy 2020, arXiv:2006.07114).

The stage needs `rotations: true`, and trains nothing but the head: `trained: [loss.views]`. See `sskd` for the second.

Usage::

    views: {method: sskd_auxiliary, weight: 1, taps: {teacher: ["fc:input"]}}
"""

import torch.nn.functional as F
from torch import Tensor, nn

from redistill.distill.inputs import Pooled, Shape
from redistill.distill.rotations import projection, similarities, sources
from redistill.distill.vectors import width


def build_own(student_shapes: list[Shape], teacher_shapes: list[Shape], examples: int) -> nn.ModuleDict:
    """The teacher's head, of the names that it has in `sskd`.

    Raises:
        ValueError: there is not one tap of the teacher, or an example has more than one vector there.
    """
    if len(teacher_shapes) != 1:
        raise ValueError("give one tap of the teacher")
    return nn.ModuleDict({"teacher": projection(width(teacher_shapes[0]))})


def sskd_auxiliary(teacher_hidden: Pooled, own: nn.ModuleDict, views: int) -> Tensor:
    """Cross-entropy of which image each rotation is of, averaged over the rotations.

    The scores are the cosines of a rotation and each of the batch's images as they are, between projections of their
    features.

    Args:
        teacher_hidden: features (views N, D) of one tap, the views of each image one after another.
        own: the teacher's head.
        views: of an image.

    Raises:
        ValueError: the batch is not made of views of images.

    Deviation: the cosines are not divided by a temperature, as in the authors' code and in torchdistill.
    """
    scores = similarities(teacher_hidden[0], own["teacher"], views)
    return F.cross_entropy(scores, sources(scores.shape[1], views, scores.device))
