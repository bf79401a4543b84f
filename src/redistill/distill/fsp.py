"""Flow of solution procedure (Yim, Joo, Bae and Kim 2017, CVPR, "A Gift from Knowledge Distillation").

The paper trains the student by this term alone in a first stage, and by the labels alone in a second one. A pair of
taps is the beginning and the end of a part of the network, here of each group of blocks.

Usage::

    flow:
      method: fsp
      weight: 1
      taps:
        student: ["layer1:input", layer1, "layer2.1:input", layer2, "layer3.1:input", layer3]
        teacher: ["layer1:input", layer1, "layer2.1:input", layer2, "layer3.1:input", layer3]
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from redistill.distill.inputs import FeatureMaps
from redistill.distill.precision import wide

OVER = "examples"


def fsp(student_hidden: FeatureMaps, teacher_hidden: FeatureMaps) -> Tensor:
    """Squared Frobenius norm of the difference of the FSP matrices, averaged over the batch, summed over the pairs.

    The matrix of a pair of maps F1 (C1, h, w) and F2 (C2, h, w) of one example is
    G[i, j] = sum over s, t of F1[i, s, t] F2[j, s, t] / (h w); the loss is
    sum over pairs of mean over examples of |G_teacher - G_student|^2. The paper gives every pair the same weight. Maps
    of different sizes are brought to the smaller one by max pooling.

    Args:
        student_hidden: maps (B, C, H, W), a first and a second layer in turn.
        teacher_hidden: as many, of as many channels; their sizes may be others.

    Raises:
        ValueError: a first layer has no second one, or the channels of student and teacher differ.

    Deviation: torchdistill sums the lengths of the difference's columns, which are not squared; here the norm is
    squared, as in the paper.
    """
    if len(student_hidden) % 2 or len(teacher_hidden) % 2:
        raise ValueError("taps are a first and a second layer in turn, and their number is odd")
    terms = []
    for i in range(0, len(student_hidden), 2):
        ours = flow(student_hidden[i], student_hidden[i + 1])
        theirs = flow(teacher_hidden[i], teacher_hidden[i + 1])
        if ours.shape != theirs.shape:
            raise ValueError(
                f"{' and '.join(map(str, ours.shape[1:]))} channels of the student and "
                f"{' and '.join(map(str, theirs.shape[1:]))} of the teacher differ: tap layers of as many channels"
            )
        terms.append((ours - theirs).square().sum((1, 2)).mean())
    return torch.stack(terms).sum()


def flow(first: Tensor, second: Tensor) -> Tensor:
    """FSP matrices (B, C1, C2) of maps (B, C1, H1, W1) and (B, C2, H2, W2)."""
    h, w = (min(a, b) for a, b in zip(first.shape[2:], second.shape[2:], strict=True))
    one, two = (wide(each) for each in (first, second))
    one, two = (each if each.shape[2:] == (h, w) else largest(each, (h, w)) for each in (one, two))
    return one.flatten(2) @ two.flatten(2).transpose(1, 2) / (h * w)


def largest(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """Maps (B, C, H, W) brought to some rows and columns, each the largest of those that it overlaps.

    On a GPU it is done window by window: torch has no gradient of adaptive pooling there that is the same each time.
    """
    return largest_by_windows(maps, size) if maps.is_cuda else F.adaptive_max_pool2d(maps, size)


def largest_by_windows(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """As `largest`, on any device."""
    H, W = maps.shape[2:]
    if H % size[0] == 0 and W % size[1] == 0:
        return F.max_pool2d(maps, (H // size[0], W // size[1]))
    rows, columns = (
        [slice(i * whole // to, -(-(i + 1) * whole // to)) for i in range(to)]
        for whole, to in zip((H, W), size, strict=True)
    )
    found = [torch.stack([maps[:, :, row, column].flatten(2).max(-1).values for column in columns], -1) for row in rows]
    return torch.stack(found, -2)
