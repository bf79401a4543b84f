"""One operation of random strength on each image (TrivialAugment; Müller and Hutter 2021, arXiv:2103.10158)."""

from torchvision.transforms import v2


def trivial_augment() -> v2.Transform:
    """The wide space of operations of the paper."""
    return v2.TrivialAugmentWide()
