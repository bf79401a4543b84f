"""Structured KD: pair-wise similarities for segmentation (Liu et al. 2019, arXiv:1903.04197).

Of the paper's three terms this is the second and `pixel_wise` the first; the third, which needs a discriminator that is
trained against the student (holistic distillation), is left out.

Usage::

    pixels:
      method: pixel_wise
      weight: 10.0
      taps: {student: [classifier], teacher: [classifier]}
    pairs:
      method: pairwise
      weight: 1.0
      taps: {student: [backbone.layer4], teacher: [backbone.layer4]}
"""

from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from annotated_types import Gt, Le
from torch import Tensor

from redistill.distill.directions import unit
from redistill.distill.inputs import FeatureMaps
from redistill.distill.pairs import same_size
from redistill.distill.precision import wide

OVER = "examples"


def pairwise(
    student_hidden: FeatureMaps,
    teacher_hidden: FeatureMaps,
    *,
    scale: Annotated[float, Gt(0), Le(1)] = 0.5,
    pool: Literal["max", "average"] = "max",
) -> Tensor:
    """(a_ij of the student - a_ij of the teacher)^2, averaged over all pairs of nodes i, j of an image and the batch,
    added up over the pairs of taps.

    a_ij = f_i . f_j / (||f_i|| ||f_j||), where f_i is what pooling makes of a patch; patches do not overlap, and have
    `scale` times the height and the width of the map. The authors weigh it 1.

    Deviation: in the authors' code no gradient flows through the norms; here it does. A node of zeros has no direction:
    its similarities are 0. The paper also has graphs in which only near nodes are connected; here, as in the authors'
    code, all are.

    Args:
        student_hidden: feature maps (B, C, H, W), one a tap.
        teacher_hidden: as many maps, whose C may be another.
        scale: of a patch, as a share of the map's height and width; 0.5 makes 2 x 2 nodes.
        pool: what a node has of its patch; the authors' code takes the maximum.

    Raises:
        ValueError: the maps of a pair differ in height or width.
    """
    terms = []
    for student, teacher in zip(student_hidden, teacher_hidden, strict=True):
        same_size(student, teacher)
        ours, theirs = (_similarities(wide(maps), scale, pool) for maps in (student, teacher))
        terms.append((ours - theirs).square().mean())
    return torch.stack(terms).sum()


def _similarities(maps: Tensor, scale: float, pool: str) -> Tensor:
    """Of all pairs of an image's nodes, (B, nodes, nodes)."""
    patch = tuple(max(int(side * scale), 1) for side in maps.shape[2:])
    pooling = F.max_pool2d if pool == "max" else F.avg_pool2d
    nodes = unit(pooling(maps, patch, patch, ceil_mode=True).flatten(2), 1)
    similarities: Tensor = nodes.transpose(1, 2) @ nodes
    return similarities
