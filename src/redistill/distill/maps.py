"""Sizes of feature maps, the student's and the teacher's."""

import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from redistill.distill.inputs import Shape


def at_one_size(student: Tensor, teacher: Tensor) -> tuple[Tensor, Tensor]:
    """Feature maps (B, C, H, W), the larger brought to the rows and columns of the smaller by averages."""
    size = min(student.shape[2], teacher.shape[2]), min(student.shape[3], teacher.shape[3])
    ours, theirs = (each if each.shape[2:] == size else averaged(each, size) for each in (student, teacher))
    return ours, theirs


def averaged(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """Feature maps (B, C, H, W) brought to some rows and columns, each the mean of those that it overlaps.

    On a GPU it is two products: torch has no gradient of adaptive pooling there that is the same each time.
    """
    return averaged_by_products(maps, size) if maps.is_cuda else adaptive_avg_pool2d(maps, size)


def averaged_by_products(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """As `averaged`, on any device."""
    down, across = (_shares(whole, to).to(maps) for whole, to in zip(maps.shape[2:], size, strict=True))
    return down @ maps @ across.T


def _shares(whole: int, to: int) -> Tensor:
    """How much of each of the first (to, whole) is in each of the last."""
    begins = [i * whole // to for i in range(to)]
    ends = [-(-(i + 1) * whole // to) for i in range(to)]
    shares = torch.zeros(to, whole)
    for row, begin, end in zip(shares, begins, ends, strict=True):
        row[begin:end] = 1 / (end - begin)
    return shares


def of_one_size(student_shapes: list[Shape], teacher_shapes: list[Shape]) -> list[tuple[int, int]]:
    """Channels of each pair of feature maps, (C, H, W) each.

    Raises:
        ValueError: a tap gives no feature maps, or those of a pair differ in rows or columns.
    """
    pairs = list(zip(student_shapes, teacher_shapes, strict=True))
    for student, teacher in pairs:
        if len(student) != 3 or len(teacher) != 3:
            raise ValueError(f"feature maps (C, H, W) are compared, not {student} with {teacher}")
        if student[1:] != teacher[1:]:
            raise ValueError(f"{student} of the student and {teacher} of the teacher differ in rows or columns: "
                             "tap layers whose maps have one size")  # fmt: skip
    return [(student[0], teacher[0]) for student, teacher in pairs]
