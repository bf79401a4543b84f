"""KD-SVD: how layers' principal directions relate (Lee, Kim and Song 2018, arXiv:1807.06819).

Usage::

    directions:
      method: kdsvd
      weight: 1.0
      taps: {student: [layer1, layer2, layer3], teacher: [layer1, layer2, layer3]}
"""

from itertools import pairwise as neighbours
from typing import Annotated

import torch
from annotated_types import Gt
from torch import Tensor

from redistill.distill.directions import unit
from redistill.distill.inputs import FeatureMaps
from redistill.distill.precision import wide

OVER = "examples"

CLOSE = 1e-5  # squared singular values whose difference is this small beside the largest are one


def kdsvd(student_hidden: FeatureMaps, teacher_hidden: FeatureMaps, *, k: Annotated[int, Gt(0)] = 1) -> Tensor:
    """(R of the student - R of the teacher)^2, summed over all entries, averaged over the batch, added up over
    neighbouring layers.

    A feature map is a matrix of positions by channels, and has the right singular vectors v_1, v_2, ... (C each). R
    tells how those of a layer, a, and of the next, b, relate: R_cdi = exp(-(a_i[c] - b_i[d])^2 / 8), i = 1 to k. Before
    that, the student's vectors are brought in line with the teacher's: of its first k + 1 each v_i of the teacher gets
    the one whose direction is nearest, with its sign. Vectors of both are scaled by the teacher's singular value, of
    which the first k together have the length 1.

    Deviation: the authors' code halves the sum, multiplies it by sqrt(k) and adds up the examples; the versions in
    PyTorch that others made of it do not, and neither do we. They choose among k + 3 vectors. What sign a library gives
    to a singular vector is an accident, which R sees: here the entry of each of the teacher's that is largest in size
    is positive. The gradient is that of the vectors in use alone, so that it is finite where later singular values are
    zero or equal; between two that are equal there is none.

    Args:
        student_hidden: feature maps (B, C, H, W) of two layers or more, in order.
        teacher_hidden: as many maps with the same C; H and W may be others.
        k: how many vectors of each map are compared.

    Raises:
        ValueError: there is only one layer, channels differ, or a map of the teacher has fewer than k directions.
    """
    if len(student_hidden) < 2:
        raise ValueError("neighbouring layers are related: two taps are needed on each side, and there is one")
    ours, theirs = [], []
    for student, teacher in zip(student_hidden, teacher_hidden, strict=True):
        if student.shape[1] != teacher.shape[1]:
            raise ValueError(f"{student.shape[1]} channels of the student and {teacher.shape[1]} of the teacher differ")
        vectors, values = _right_singular(teacher, k)
        vectors, sizes = _positive(vectors), unit(values, -1)
        candidates, _ = _right_singular(student, min(k + 1, *_matrix(student).shape[1:]))
        ours.append(_nearest(candidates, vectors) * sizes[:, None])
        theirs.append(vectors * sizes[:, None])
    terms = [
        (_relation(*layers) - _relation(*taught)).square().sum((1, 2, 3)).mean()
        for layers, taught in zip(neighbours(ours), neighbours(theirs), strict=True)
    ]
    return torch.stack(terms).sum()


def _matrix(maps: Tensor) -> Tensor:
    """Positions by channels, (B, H W, C)."""
    return wide(maps).flatten(2).transpose(1, 2)


def _right_singular(maps: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The first k right singular vectors (B, C, k), and the singular values (B, k).

    The vectors have the gradient that first-order perturbation gives them, and the values have none.
    """
    matrix = _matrix(maps)
    if k > min(matrix.shape[1:]):
        raise ValueError(f"a map of {matrix.shape[1]} positions and {matrix.shape[2]} channels has no {k} directions")
    with torch.no_grad():
        _, values, rows = torch.linalg.svd(matrix, full_matrices=False)
        every, first = rows.transpose(1, 2), rows[:, :k].transpose(1, 2)
        squares = values.square()
        smallest = CLOSE * squares[:, :1, None] + torch.finfo(squares.dtype).tiny
        between = _inverse(squares[:, None, :k] - squares[:, :, None], smallest)  # (B, all, k)
        beyond = _inverse(squares[:, None, :k], smallest)  # to what is orthogonal to all
    change = matrix.transpose(1, 2) @ (matrix @ first)
    change = change - change.detach()  # zero, with a gradient
    within = every.transpose(1, 2) @ change
    return first + every @ (between * within) + beyond * (change - every @ within), values[:, :k]


def _inverse(differences: Tensor, smallest: Tensor) -> Tensor:
    """1 / x, and 0 where x is as good as zero."""
    equal = differences.abs() <= smallest
    return differences.masked_fill(equal, 1.0).reciprocal().masked_fill(equal, 0.0)


def _positive(vectors: Tensor) -> Tensor:
    """Vectors (B, C, k) with signs such that the entry that is largest in size is positive."""
    largest = vectors.gather(1, vectors.abs().argmax(1, keepdim=True))
    return vectors * torch.where(largest < 0, -1.0, 1.0).to(vectors)


def _nearest(candidates: Tensor, vectors: Tensor) -> Tensor:
    """For each of the vectors (B, C, k) that of the candidates whose direction is nearest, with its sign."""
    with torch.no_grad():
        cosines = vectors.transpose(1, 2) @ candidates
        best = cosines.abs().argmax(-1, keepdim=True)
        signs = torch.where(cosines.gather(-1, best) < 0, -1.0, 1.0).to(vectors)
    chosen = candidates.gather(2, best.transpose(1, 2).expand(-1, candidates.shape[1], -1))
    return chosen * signs.transpose(1, 2)


def _relation(first: Tensor, second: Tensor) -> Tensor:
    """R (B, C_1, C_2, k) of the vectors of a layer and the next, (B, C_1, k) and (B, C_2, k)."""
    return torch.exp((first[:, :, None] - second[:, None]).square() / -8)
