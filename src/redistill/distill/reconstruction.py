"""What an autoencoder on the teacher gives back, as a paraphraser is trained (Kim et al. 2018, arXiv:1802.04977)."""

from torch import Tensor

OVER = "examples"


def reconstruction(teacher_hidden: list[Tensor]) -> Tensor:
    """Mean squared difference between what was given back, the first tap, and the features, the second.

    Args:
        teacher_hidden: two tensors of one shape (B, ...).

    Raises:
        ValueError: there are not two, or their shapes differ.
    """
    if [t.shape for t in teacher_hidden[1:]] != [teacher_hidden[0].shape]:
        shapes = ", ".join(str(tuple(t.shape)) for t in teacher_hidden)
        raise ValueError(f"two taps of one shape are needed, the reconstruction and the features, not {shapes}")
    return (teacher_hidden[0] - teacher_hidden[1]).square().mean()
