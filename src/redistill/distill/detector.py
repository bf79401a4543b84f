"""The supervised loss of a detector: what its parts say of themselves.

Usage::

    boxes: {method: detector, weight: 1.0}
"""

from torch import Tensor

OVER = "examples"


def detector(student_losses: dict[str, Tensor]) -> Tensor:
    """The sum of the losses that a detector of torchvision gives in training: of the boxes that it proposes, and of
    where and what it says they are (Ren et al. 2015, arXiv:1506.01497, equation 1, for the two stages of Faster R-CNN).

    Args:
        student_losses: single numbers by name.
    """
    total: Tensor = sum(student_losses.values())  # type: ignore[assignment]
    return total
