"""Studies: tables, from experiments, tasks and seeds."""

from typing import Any, Literal

from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt, model_validator

from redistill.config.schema.runtime import Checkpoints, Loading, Runtime
from redistill.config.schema.values import Digest, Name, Seed, Strict, Word

RowName = str
EVERY = "*"


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
    fixed: bool = Field(
        False,
        description="Shown as it is where the table has `choose`, as the teacher of other rows; the table says so",
    )


class Choose(Strict):
    """How each row's grid is decided: one point for each task, by the mean over the seeds."""

    split: Literal["select"] = Field("select", description="What it is decided on; never what is reported")
    trials: PositiveInt = Field(description="Points of every row's grid: the same for all, baselines too")
    seeds: list[Seed] | None = Field(
        None,
        min_length=1,
        description="Seeds that it is decided with; the chosen point is then run anew with the row's own. Else it "
        "is decided with the row's own seeds, and every point is run with all of them",
    )


class Comparison(Strict):
    """Two rows whose difference is tested."""

    row: RowName = Field(description="Row that is compared; `*` for every other row with the same seeds")
    against: RowName = Field(description="Row that it is compared with")
    tasks: list[Name] | None = Field(None, description="Only these columns; all that both have if not given")


class Mean(Strict):
    """A column that is the mean of others, seed by seed, such as GLUE's score."""

    title: str = Field(description="Heading of the column")
    tasks: list[Name | list[Name]] = Field(
        min_length=1,
        description="Columns that count once each; those in a list of their own count as one",
    )


class Claim(Strict):
    """A published row that a row of the table is to reproduce; `redistill verdict` says whether it does."""

    row: RowName = Field(description="Row of this table")
    reference: Name = Field(description="File in configs/references, without .yaml")
    published: Word = Field(description="Row of that file")
    tasks: list[Name] | None = Field(None, min_length=1, description="Only these columns; all that both have if not")
    margin: PositiveFloat | None = Field(
        None, description="Points within which the numbers are reproduced; those of the file if not given"
    )


class Table(Strict):
    """A table: experiments by tasks."""

    title: str = Field(description="Title")
    tasks: list[Name] = Field(min_length=1, description="Columns")
    seeds: list[Seed] = Field(min_length=1, description="Seeds of every row that names none")
    rows: list[Row] = Field(min_length=1, description="Rows, in order")
    order: Literal["written", "best first"] = Field(
        "written", description="Rows as they are written, or by their means in the first column"
    )
    choose: Choose | None = Field(None, description="Decide each row's grid instead of showing every point of it")
    means: dict[Word, Mean] = Field(default={}, description="Columns that are means of other columns, by name")
    marks: dict[Name, str] = Field(
        default={}, description="Columns that a reader must know something of: marked, and said below the table"
    )
    comparisons: list[Comparison] = Field(default=[], description="Differences that are tested, corrected together")
    claims: list[Claim] = Field(default=[], description="Published numbers that rows are to reproduce")


class Plugin(Strict):
    """A component in a file of the user's, imported only with `--trust-plugins`. Its name is the file's."""

    kind: Literal["loss", "architecture", "module", "optimiser", "schedule", "baseline", "reader", "transform"] = Field(
        description="What it is"
    )
    file: str = Field(description="The file, from the project's folder")
    sha256: Digest = Field(description="Digest of the file; another file is refused")


class Place(Strict):
    """Where a folder of the user's is. Its place is in no key; the digests of the files that are taken are."""

    path: str | None = Field(None, description="Its path, from the project's folder")
    variable: str | None = Field(
        None, pattern=r"^[A-Z][A-Z0-9_]*$", description="Environment variable that names it, such as `GLUE_DIR`"
    )

    @model_validator(mode="after")
    def _one_way(self) -> "Place":
        if (self.path is None) == (self.variable is None):
            raise ValueError("give either `path` or `variable`")
        return self


class Submission(Strict):
    """Predictions of one row on GLUE's test sets, as its server takes them."""

    experiment: Name = Field(description="The recipe")
    seed: Seed = Field(0, description="Seed of the runs")
    tasks: list[Name] = Field(min_length=1, description="Tasks with a `test` split: together, a whole submission")
    label: str | None = Field(None, description="The row's name in the table of test scores; the recipe's if not given")
    published: list[Word] = Field(
        default=[], description="Rows of configs/references/glue-test.yaml that stand beside it, marked as published"
    )
    margin: PositiveFloat | None = Field(
        None, description="Points within which those are reproduced; those of the file if not given"
    )


class Stopping(Strict):
    """When no more runs are made, as it was decided before the first one; `redistill plan --seal` puts it down."""

    seeds: PositiveInt | None = Field(None, description="Seeds of a row, of which no more are added")
    rule: str | None = Field(None, description="The rule in words, where it is another")

    @model_validator(mode="after")
    def _said(self) -> "Stopping":
        if self.seeds is None and self.rule is None:
            raise ValueError("say how many `seeds`, or a `rule` in words")
        return self


class Reproduction(Strict):
    """What counts as the same where bytes cannot: on another kind of machine, in a study that is not portable."""

    tolerance: NonNegativeFloat = Field(
        0.01, description="How far a run's metric may be from what was published, on the metric's own scale"
    )


class Tracking(Strict):
    """Where curves and scores of the study's runs are also written. Changes no number and no key."""

    tensorboard: bool = Field(False, description="Event files in `tracking/tensorboard`; needs `redistill[tracking]`")
    mlflow: str | None = Field(
        None, description="A folder of the project, or a tracking URI of MLflow; needs `redistill[tracking]`"
    )


class Study(Strict):
    """Tables, from experiments, tasks and seeds."""

    title: str = Field(description="Title")
    runtime: Runtime = Field(default=Runtime(), description="Constants of the study")
    checkpoints: Checkpoints = Field(default=Checkpoints(), description="How often a run in progress is saved")
    loading: Loading = Field(default=Loading(), description="How images come to a run")
    plugins: dict[Word, Plugin] = Field(default={}, description="Components in files of the user's, by name")
    folders: dict[Word, Place] = Field(
        default={}, description="Folders of the user's that sources are read from instead of being fetched, by name"
    )
    tables: dict[Name, Table] = Field(min_length=1, description="Tables by name")
    submissions: dict[Word, Submission] = Field(default={}, description="Predictions on hidden test sets, by name")
    reproduction: Reproduction = Field(
        default=Reproduction(), description="What `redistill audit --level rerun` takes for the same; changes no key"
    )
    tracking: Tracking = Field(default=Tracking(), description="Where runs are also written: TensorBoard, MLflow")
    stopping: Stopping | None = Field(None, description="When no more runs are made; changes no number and no key")
