"""NST: neuron selectivity transfer (Huang and Wang 2017, arXiv:1707.01219).

Usage::

    selectivity:
      method: nst
      weight: 50.0
      taps: {student: [layer1, layer2, layer3], teacher: [layer1, layer2, layer3]}
"""

from typing import Literal

import torch
from torch import Tensor

from redistill.distill.directions import unit
from redistill.distill.inputs import FeatureMaps
from redistill.distill.maps import at_one_size
from redistill.distill.precision import wide

OVER = "examples"


def nst(
    student_hidden: FeatureMaps,
    teacher_hidden: FeatureMaps,
    *,
    kernel: Literal["polynomial", "linear", "gaussian"] = "polynomial",
) -> Tensor:
    """MMD^2 between the channels of the two, averaged over the batch, added up over the pairs of taps.

    A channel is the vector x of its activations at all positions, of the length 1.
    MMD^2 = mean k(t, t') + mean k(s, s') - 2 mean k(s, t) over all pairs of channels, where the kernel k is x . y,
    (x . y)^2 or exp(-||x - y||^2 / (2 sigma^2)).

    The paper weighs it lambda / 2. Others' versions for CIFAR-100 weigh it 50, with the polynomial.

    Deviation: the paper's sigma^2 is the mean squared distance of the pairs; which pairs was not to be found out. Here
    they are all pairs of the teacher's channels of an image, which training does not change. A channel of zeros has
    no direction, and stays zero. Where the maps are of two sizes, the larger is averaged down to the smaller, as in
    others' versions.

    Args:
        student_hidden: feature maps (B, C_s, H_s, W_s), one a tap.
        teacher_hidden: as many maps (B, C_t, H_t, W_t).
        kernel: k.
    """
    terms = []
    for student, teacher in zip(student_hidden, teacher_hidden, strict=True):
        ours, theirs = (unit(wide(maps).flatten(2), -1) for maps in at_one_size(student, teacher))
        variance = _distances(theirs, theirs).mean((1, 2), keepdim=True)
        among_theirs, among_ours, between = (
            _mean_kernel(x, y, kernel, variance) for x, y in ((theirs, theirs), (ours, ours), (ours, theirs))
        )
        terms.append((among_theirs + among_ours - 2 * between).mean())
    return torch.stack(terms).sum()


def _mean_kernel(x: Tensor, y: Tensor, kernel: str, variance: Tensor) -> Tensor:
    """The mean (B,) of k over all pairs of channels (B, C, N)."""
    if kernel == "gaussian":
        tiny = torch.finfo(variance.dtype).eps  # all of the teacher's channels are alike
        values = torch.exp(_distances(x, y) / (-2 * variance.clamp_min(tiny)))
    else:
        values = (x @ y.transpose(1, 2)).pow(1 if kernel == "linear" else 2)
    return values.mean((1, 2))


def _distances(x: Tensor, y: Tensor) -> Tensor:
    """Squared distances (B, C, C') of all pairs of channels."""
    lengths = x.square().sum(-1)[:, :, None] + y.square().sum(-1)[:, None]
    return lengths - 2 * x @ y.transpose(1, 2)
