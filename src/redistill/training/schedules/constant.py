"""The peak rate throughout, after a linear rise if one is wanted."""

from typing import Annotated

from annotated_types import Ge, Le


def constant(step: int, steps: int, *, warmup: Annotated[float, Ge(0), Le(1)] = 0.0) -> float:
    """The factor at a step, counted from 0. `warmup` is the share of the steps with a rising rate."""
    warm = round(steps * warmup)
    return (step + 1) / warm if step < warm else 1.0
