"""Published numbers, configs/references/*.yaml: they stand beside recorded ones, or are to be reproduced."""

from typing import Literal

from pydantic import Field, PositiveFloat

from redistill.config.schema.values import Name, OfficialSplit, Strict, Word


class Reference(Strict):
    """A published row of scores, as its authors gave it."""

    label: str = Field(description="Who published what")
    scores: dict[str, float] = Field(min_length=1, description="Scores in percent by column")
    correlation: str | None = Field(None, description="What STS-B's number is, as far as it was said")
    source: str | None = Field(None, description="Where it was published, if not where the file says")
    metrics: dict[str, Word] = Field(default={}, description="Metrics by column, where they are not the file's")


class References(Strict):
    """Published scores on one set of tests."""

    columns: dict[str, str] = Field(min_length=1, description="Columns, with the metric of the published number")
    rows: dict[Word, Reference] = Field(min_length=1, description="Rows by name")
    source: str | None = Field(None, description="Where the rows were published")
    split: OfficialSplit | None = Field(None, description="Split that the numbers are of; without, nothing is judged")
    examples: Literal["same", "others"] | None = Field(
        None,
        description="Whether the numbers are of the very examples that the study has; if not given, they are where its "
        "split is the whole of its source's",
    )
    tasks: dict[str, Name] = Field(default={}, description="The task that each column is of")
    metrics: dict[str, Word] = Field(
        default={},
        description="Each column's metric by its name here, such as `matthews`; none where it was not said which",
    )
    margins: dict[str, PositiveFloat] = Field(
        default={}, description="Points by column within which a number is reproduced; 1.0 if neither says"
    )
