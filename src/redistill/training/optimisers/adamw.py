"""AdamW (Loshchilov and Hutter 2019, arXiv:1711.05101)."""

from typing import Annotated, Any

from annotated_types import Ge, Gt, Lt
from torch.optim import AdamW


def adamw(
    groups: list[dict[str, Any]], *, beta1: Annotated[float, Ge(0), Lt(1)] = 0.9,
    beta2: Annotated[float, Ge(0), Lt(1)] = 0.999, epsilon: Annotated[float, Gt(0)] = 1e-8,
) -> AdamW:  # fmt: skip
    """Weight decay apart from the gradient; each group has its params, lr and weight_decay."""
    return AdamW(groups, betas=(beta1, beta2), eps=epsilon, fused=True)
