"""Learned maps from the student's channels to the teacher's, where they are not as many."""

from torch import nn

from redistill.distill.inputs import Shape


def one_by_one(student: Shape, teacher: Shape) -> nn.Module:
    """A 1 x 1 convolution from (C_s, H, W) to C_t channels; nothing where they are the same."""
    return nn.Identity() if student[0] == teacher[0] else nn.Conv2d(student[0], teacher[0], 1)
