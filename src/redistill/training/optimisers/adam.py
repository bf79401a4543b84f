"""Adam (Kingma and Ba 2015, arXiv:1412.6980)."""

from typing import Annotated, Any

from annotated_types import Ge, Gt, Lt
from torch.optim import Adam


def adam(
    groups: list[dict[str, Any]], *, beta1: Annotated[float, Ge(0), Lt(1)] = 0.9,
    beta2: Annotated[float, Ge(0), Lt(1)] = 0.999, epsilon: Annotated[float, Gt(0)] = 1e-8,
) -> Adam:  # fmt: skip
    """Weight decay as part of the gradient; each group has its params, lr and weight_decay."""
    return Adam(groups, betas=(beta1, beta2), eps=epsilon, fused=True)
