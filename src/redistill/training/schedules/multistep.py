"""A factor at each milestone, as residual networks are trained (He et al. 2016, arXiv:1512.03385)."""

from typing import Annotated

from annotated_types import Ge, Gt, Le


def multistep(
    step: int, steps: int, *, milestones: Annotated[list[float], Ge(0), Le(1)],
    gamma: Annotated[float, Gt(0)] = 0.1, warmup: Annotated[float, Ge(0), Le(1)] = 0.0,
) -> float:  # fmt: skip
    """The factor at a step, counted from 0: `gamma` for each milestone that is passed.

    Milestones are shares of the steps: 91 of 182 epochs is 0.5.
    """
    warm = round(steps * warmup)
    if step < warm:
        return (step + 1) / warm
    passed: int = sum(step >= round(milestone * steps) for milestone in milestones)
    return float(gamma**passed)
