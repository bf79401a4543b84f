"""Relational knowledge distillation (Park, Kim, Lu and Cho 2019, arXiv:1904.05068).

Usage::

    relations:
      method: rkd
      weight: 1
      distance_weight: 25
      angle_weight: 50
      taps: {student: ["fc:input"], teacher: ["fc:input"]}
"""

from typing import Annotated

import torch
import torch.nn.functional as F
from annotated_types import Ge
from torch import Tensor

from redistill.distill.directions import unit
from redistill.distill.inputs import Pooled
from redistill.distill.precision import wide
from redistill.distill.vectors import pooled


def rkd(
    student_hidden: Pooled,
    teacher_hidden: Pooled,
    *,
    distance_weight: Annotated[float, Ge(0)] = 25.0,
    angle_weight: Annotated[float, Ge(0)] = 50.0,
) -> Tensor:
    """distance_weight x RKD-D + angle_weight x RKD-A, averaged over the pairs of taps.

    RKD-D is the mean over all i and j of h(d_t[i, j] - d_s[i, j]), where d[i, j] = |x_i - x_j| / mu and mu is the mean
    of the distances that are not zero. RKD-A is the mean over all i, j and k of h(a_t[i, j, k] - a_s[i, j, k]), where a
    is the cosine of the angle at x_j between x_i and x_k. h is Huber's loss: h(u) = u^2 / 2 up to |u| = 1, and
    |u| - 1/2 from there. 25 and 50 are the weights of the authors' script for classification; torchdistill's
    configuration has 1 and 2.

    Args:
        student_hidden: features (B, D), one a tap.
        teacher_hidden: as many; their D may be others.
        distance_weight: of RKD-D.
        angle_weight: of RKD-A, whose cost grows as B^3; at 0 it is not computed.

    Raises:
        ValueError: an example has more than one vector.

    Deviation: the paper sums over pairs and triples of different examples. As in the authors' code and in torchdistill,
    the others are there too, with a difference of zero, and the sums are divided by B^2 and B^3. The authors' script
    for classification first brings all features to length one; here they are taken as they are. torchdistill's
    configuration flattens feature maps; the authors' features are pooled, and so are these.
    """
    terms = []
    for student, teacher in zip(student_hidden, teacher_hidden, strict=True):
        ours, theirs = differences(student), differences(teacher)
        term = distance_weight * F.smooth_l1_loss(distances(ours), distances(theirs))
        if angle_weight:
            term = term + angle_weight * F.smooth_l1_loss(angles(ours), angles(theirs))
        terms.append(term)
    return torch.stack(terms).mean()


def differences(features: Tensor) -> Tensor:
    """x_i - x_j (B, B, D) of features (B, D), at [j, i]."""
    vectors = wide(pooled(features))
    between: Tensor = vectors[None] - vectors[:, None]
    return between


def distances(differences: Tensor) -> Tensor:
    """Lengths (B, B) over the mean of those that are not zero."""
    lengths = torch.linalg.vector_norm(differences, dim=-1)
    mean = lengths.sum() / (lengths > 0).sum().clamp(min=1)
    return lengths / torch.where(mean > 0, mean, 1.0)


def angles(differences: Tensor) -> Tensor:
    """Cosines (B, B, B) of the angles at each example between the directions to each two; 0 where there is none."""
    directions = unit(differences, -1)
    return directions @ directions.transpose(1, 2)
