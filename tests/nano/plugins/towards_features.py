"""A student's logits, drawn towards features of its teacher."""

from torch import Tensor


def towards_features(student_logits: Tensor, teacher_hidden: list[Tensor], *, power: float = 2.0) -> Tensor:
    """Mean difference, raised to a power."""
    return (student_logits - teacher_hidden[0]).abs().pow(power).mean()
