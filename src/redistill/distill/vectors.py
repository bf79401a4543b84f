"""Features of which each example has one vector."""

from torch import Tensor

from redistill.distill.inputs import Shape


def pooled(features: Tensor) -> Tensor:
    """(B, D), of features (B, D) or (B, D, 1, 1) as pooling leaves them.

    Raises:
        ValueError: an example has more than one vector.
    """
    return features.reshape(len(features), width(tuple(features.shape[1:])))


def width(shape: Shape) -> int:
    """D of a tap's shape, without the batch.

    Raises:
        ValueError: an example has more than one vector there.
    """
    if not shape or any(side != 1 for side in shape[1:]):
        raise ValueError(f"each example must have one vector, and a tap gives {shape}: tap what is pooled")
    return shape[0]
