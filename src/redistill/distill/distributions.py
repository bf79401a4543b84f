"""Small pieces of the methods that compare distributions over classes."""

import torch
from torch import Tensor


def need_classes(logits: Tensor, method: str) -> None:
    """Refuse a single output, over which there is no distribution.

    Raises:
        ValueError: there is one output, or none.
    """
    if logits.shape[-1] < 2:
        raise ValueError(
            f"`{method}` compares distributions over classes, and there is one output: take `kd` for scores"
        )


def log_probabilities(logits: Tensor, temperature: float | Tensor = 1.0) -> Tensor:
    """Log of the softmax of logits / temperature over the last dimension."""
    return (logits / temperature).log_softmax(-1)


def kl(p: Tensor, q: Tensor) -> Tensor:
    """KL(p, q) = sum_k p_k (log p_k - log q_k) of distributions given as log-probabilities, over the last dimension."""
    return (p.exp() * (p - q)).sum(-1)


def others(logits: Tensor, labels: Tensor) -> Tensor:
    """The logits (B, C - 1) of all classes but each example's label."""
    places = torch.arange(logits.shape[-1] - 1, device=logits.device)
    return logits.gather(-1, places + (places >= labels.unsqueeze(-1)))


def standardised(tensor: Tensor, dim: int) -> Tensor:
    """Brought to mean 0 and length 1 along a dimension; zero, without a gradient, where it varies by rounding alone."""
    differences = tensor - tensor.mean(dim, keepdim=True)
    length, whole = (torch.linalg.vector_norm(each, dim=dim, keepdim=True) for each in (differences, tensor))
    return differences / length.masked_fill(length <= 16 * torch.finfo(tensor.dtype).eps * whole, torch.inf)


def correlation(x: Tensor, y: Tensor, dim: int) -> Tensor:
    """Pearson's correlation along a dimension; zero, without a gradient, where one of the two does not vary."""
    return (standardised(x, dim) * standardised(y, dim)).sum(dim)
