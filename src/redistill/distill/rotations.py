"""What the terms of SSKD share: batches in which the views of an image follow one another, the image as it is first."""

import torch
from torch import Tensor, nn

from redistill.distill.directions import unit
from redistill.distill.precision import wide
from redistill.distill.vectors import pooled


def apart(tensor: Tensor, views: int) -> tuple[Tensor, Tensor]:
    """Rows (N, ...) of the images as they are, and ((views - 1) N, ...) of their rotations.

    Raises:
        ValueError: the batch is not made of views of images.
    """
    if views < 2 or len(tensor) % views:
        raise ValueError(f"a batch of {len(tensor)} is not made of images and their rotations: set `rotations: true`")
    rows = torch.arange(len(tensor), device=tensor.device) % views
    return tensor[rows == 0], tensor[rows != 0]


def projection(features: int) -> nn.Sequential:
    """The head in whose space an image and its rotations are compared: two linear layers."""
    return nn.Sequential(nn.Linear(features, features), nn.ReLU(), nn.Linear(features, features))


def similarities(features: Tensor, head: nn.Module, views: int) -> Tensor:
    """Cosines ((views - 1) N, N) of each rotation and each image as it is, of features (views N, D)."""
    images, rotated = apart(unit(wide(head(pooled(features))), -1), views)
    return rotated @ images.T


def sources(images: int, views: int, device: torch.device) -> Tensor:
    """Which image each rotation is of, ((views - 1) N,)."""
    return torch.arange(images, device=device).repeat_interleave(views - 1)


def ranks(scores: Tensor, wanted: Tensor) -> Tensor:
    """How many of a row's scores (R, C) are above that of the `wanted` column (R,)."""
    return (scores > scores.gather(1, wanted[:, None])).sum(1)


def trusted(found: Tensor, ratio: float) -> Tensor:
    """Which rows are learnt from, by the ranks (R,) that the teacher gives what is true: all where it is right (0),
    and of the others the share with the best ranks, rounded down; among equal ranks, those that come first.
    """
    right = (found == 0).sum()
    keep = right + ((len(found) - right).double() * ratio).floor()
    return found.argsort(stable=True).argsort() < keep


def divergence(student: Tensor, teacher: Tensor, rows: Tensor, temperature: float) -> Tensor:
    """T^2 x KL(teacher, student) at temperature T of scores (R, C), averaged over the chosen rows (R,); 0 of none."""
    ours, theirs = ((wide(scores) / temperature).log_softmax(-1) for scores in (student, teacher))
    each = (theirs.exp() * (theirs - ours)).sum(-1)
    return (each * rows).sum() / rows.sum().clamp(min=1) * temperature**2
