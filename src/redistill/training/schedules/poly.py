"""A fall to zero along a power of what is left, as segmenters are trained (Chen et al. 2017, arXiv:1706.05587)."""

from typing import Annotated

from annotated_types import Ge, Gt, Le


def poly(
    step: int, steps: int, *, power: Annotated[float, Gt(0)] = 0.9, warmup: Annotated[float, Ge(0), Le(1)] = 0.0
) -> float:
    """The factor at a step, counted from 0: (1 - share of the steps that are done)^`power`, after a linear rise if one
    is wanted.
    """
    warm = round(steps * warmup)
    if step < warm:
        return (step + 1) / warm
    return float((1 - (step - warm) / max(steps - warm, 1)) ** power)
