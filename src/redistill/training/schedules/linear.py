"""A linear rise, then a linear fall to zero, as BERT is fine-tuned (Devlin et al. 2019, arXiv:1810.04805)."""

from typing import Annotated

from annotated_types import Ge, Le


def linear(step: int, steps: int, *, warmup: Annotated[float, Ge(0), Le(1)] = 0.1) -> float:
    """The factor at a step, counted from 0. `warmup` is the share of the steps with a rising rate."""
    warm = round(steps * warmup)
    return (step + 1) / warm if step < warm else (steps - step) / max(steps - warm, 1)
