"""Attention transfer (Zagoruyko and Komodakis 2017, arXiv:1612.03928).

Usage::

    attention: {method: at, weight: 1000, taps: {student: [layer1, layer2, layer3], teacher: [layer1, layer2, layer3]}}
"""

from typing import Annotated, Literal

import torch
from annotated_types import Gt
from torch import Tensor

from redistill.distill.directions import unit
from redistill.distill.inputs import FeatureMaps
from redistill.distill.maps import at_one_size
from redistill.distill.precision import wide

OVER = "examples"


def at(
    student_hidden: FeatureMaps,
    teacher_hidden: FeatureMaps,
    *,
    mode: Literal["code", "paper"] = "code",
    power: Annotated[float, Gt(0)] = 2.0,
) -> Tensor:
    """Distance of the normalised attention maps, summed over the pairs of taps (equation 2, without beta / 2).

    An attention map is the mean over channels of |features|^power, as a vector Q of H x W numbers, divided by its
    length. `paper`: ||Q_S - Q_T||_2, averaged over the examples. `code`: the mean over examples and positions of
    (Q_S - Q_T)^2, as in the authors' code.

    The paper sets beta to 1000 divided by the elements of the map and the batch size, which is what `code` has with a
    weight of 1000 (its factor 1/2 aside).

    Args:
        student_hidden: feature maps (B, C, H, W), one a tap.
        teacher_hidden: as many, whose C may be another.
        mode: the formula.
        power: p of the sum of absolute values to the power of p.

    Deviation: the paper interpolates maps that differ in size, without saying how. Here the larger attention map is
    averaged down to the smaller. torchdistill knows p = 2 alone, and stops where the sizes differ.
    """
    terms = []
    for student_maps, teacher_maps in zip(student_hidden, teacher_hidden, strict=True):
        # the mean, for which the paper has the sum: once normalised they are equal, and it is less likely to overflow
        attention = [wide(maps).abs().pow(power).mean(1, keepdim=True) for maps in (student_maps, teacher_maps)]
        student, teacher = (unit(maps.flatten(1), -1) for maps in at_one_size(*attention))
        if mode == "paper":
            terms.append(torch.linalg.vector_norm(student - teacher, dim=1).mean())
        else:
            terms.append((student - teacher).square().mean())
    return torch.stack(terms).sum()
