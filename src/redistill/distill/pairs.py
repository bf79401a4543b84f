"""What a pair of taps must have in common."""

from torch import Tensor


def same_shape(student: Tensor, teacher: Tensor) -> None:
    """Let no two tensors pass that would be broadcast.

    Raises:
        ValueError: their shapes differ.
    """
    if student.shape != teacher.shape:
        raise ValueError(f"{tuple(student.shape)} of the student and {tuple(teacher.shape)} of the teacher differ")


def same_size(student: Tensor, teacher: Tensor) -> None:
    """Let no two feature maps (B, C, H, W) pass whose positions are not the same; their channels may differ.

    Raises:
        ValueError: their heights or widths differ.
    """
    if student.shape[2:] != teacher.shape[2:]:
        raise ValueError(
            f"{tuple(student.shape)} of the student and {tuple(teacher.shape)} of the teacher differ in size"
        )
