"""Studies: tables, from experiments, tasks and seeds."""

from typing import Any, Literal

from pydantic import Field, PositiveInt

from redistill.config.schema.runtime import Checkpoints, Runtime
from redistill.config.schema.values import Digest, Name, Seed, Strict, Word

RowName = str


class Row(Strict):
    """A row of a table."""

    experiment: Name = Field(description="The recipe")
    name: Name | None = Field(None, description="Name of the row where it is not the experiment's; needed with `set`")
    label: str | None = Field(None, description="Label in the place of the recipe's")
    set: dict[str, Any] = Field(
        default={},
        description="Values by their path, laid over the recipe, such as `stages.0.epochs: 5`. `{grid: [1, 2]}` for a "
        "value makes a row of each, or a choice where the table has `choose`",
    )
    tasks: list[Name] | None = Field(None, min_length=1, description="Only these columns; all if not given")
    seeds: list[Seed] | None = Field(None, min_length=1, description="Other seeds than the table's")


class Choose(Strict):
    """How each row's grid is decided: one point for each task, by the mean over the seeds."""

    split: Literal["select"] = Field("select", description="What it is decided on; never what is reported")
    trials: PositiveInt = Field(description="Points of every row's grid: the same for all, baselines too")


class Comparison(Strict):
    """Two rows whose difference is tested."""

    row: RowName = Field(description="Row that is compared")
    against: RowName = Field(description="Row that it is compared with")
    tasks: list[Name] | None = Field(None, description="Only these columns; all that both have if not given")


class Table(Strict):
    """A table: experiments by tasks."""

    title: str = Field(description="Title")
    tasks: list[Name] = Field(min_length=1, description="Columns")
    seeds: list[Seed] = Field(min_length=1, description="Seeds of every row that names none")
    rows: list[Row] = Field(min_length=1, description="Rows, in order")
    choose: Choose | None = Field(None, description="Decide each row's grid instead of showing every point of it")
    comparisons: list[Comparison] = Field(default=[], description="Differences that are tested, corrected together")


class Plugin(Strict):
    """A component in a file of the user's, imported only with `--trust-plugins`. Its name is the file's."""

    kind: Literal["loss", "architecture", "module", "optimiser", "schedule", "baseline", "reader"] = Field(
        description="What it is"
    )
    file: str = Field(description="The file, from the project's folder")
    sha256: Digest = Field(description="Digest of the file; another file is refused")


class Study(Strict):
    """Tables, from experiments, tasks and seeds."""

    title: str = Field(description="Title")
    runtime: Runtime = Field(default=Runtime(), description="Constants of the study")
    checkpoints: Checkpoints = Field(default=Checkpoints(), description="How often a run in progress is saved")
    plugins: dict[Word, Plugin] = Field(default={}, description="Components in files of the user's, by name")
    tables: dict[Name, Table] = Field(min_length=1, description="Tables by name")
