"""Published numbers that stand beside recorded ones: the rows of configs/references/*.yaml."""

from pydantic import Field

from redistill.config.schema.values import Strict, Word


class Reference(Strict):
    """A published row of scores, as its authors gave it."""

    label: str = Field(description="Who published what")
    scores: dict[str, float] = Field(min_length=1, description="Scores in percent by column")
    correlation: str | None = Field(None, description="What STS-B's number is, as far as it was said")


class References(Strict):
    """Published scores on one set of tests."""

    columns: dict[str, str] = Field(min_length=1, description="Columns, with the metric of the published number")
    rows: dict[Word, Reference] = Field(min_length=1, description="Rows by name")
