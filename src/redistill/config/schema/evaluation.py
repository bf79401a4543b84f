"""Evaluation: which checkpoint a run ends with."""

from typing import Literal

from pydantic import Field, PositiveInt

from redistill.config.schema.stage import Transform
from redistill.config.schema.values import Strict


class Evaluation(Strict):
    """Which checkpoint is evaluated, and how."""

    checkpoint: Literal["last", "best"] = Field(
        "last", description="`best`: of each stage, the epoch that is best by `metrics` on `split`"
    )
    split: Literal["select", "dev"] = Field(
        "select", description="What `best` is chosen on. `dev` is for following a publication; the table then says so"
    )
    metrics: list[str] | None = Field(
        None, min_length=1, description="Metrics whose sum `best` is chosen by; the task's metric if not given"
    )
    transforms: list[Transform] = Field(default=[], description="How images are seen; nothing that is drawn at random")
    batch_size: PositiveInt = Field(64, description="Examples in a batch of evaluation")
