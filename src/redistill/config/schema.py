"""What a source, a task, an experiment and a study may say. Every key is described; unknown keys are refused."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]*(/[a-z0-9][a-z0-9._-]*)*$", max_length=120)]
Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Seed = Annotated[int, Field(ge=0, lt=2**32)]
Split = Literal["train", "select", "dev", "transfer"]


class Strict(BaseModel):
    """Refuses keys that it does not know and values of another type."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


# --- sources ---------------------------------------------------------------------------------------------------------


class PyPI(Strict):
    """A file of a release on the package index, fetched by pip and never installed."""

    type: Literal["pypi"]
    package: str = Field(description="Name of the distribution")
    version: str = Field(description="Exact version")
    form: Literal["wheel", "sdist"] = Field(description="Which file of the release")
    sha256: Digest = Field(description="Digest of that file, checked before anything in it is read")


class Installed(Strict):
    """A file that an installed distribution ships."""

    type: Literal["installed"]
    package: str = Field(description="Name of the installed distribution")
    file: str = Field(description="Path of the file below site-packages")
    sha256: Digest = Field(description="Digest of that file")


class Source(Strict):
    """Where a data set or a pretrained model comes from."""

    kind: Literal["data", "model"] = Field(description="What it is")
    origin: PyPI | Installed = Field(discriminator="type", description="Where it is fetched from")
    inner: str | None = Field(None, description="An archive inside the fetched file that holds the files")
    inner_sha256: Digest | None = Field(None, description="Digest of that archive")
    folder: str = Field("", description="Folder inside the archive that the files are taken from")
    files: dict[str, Digest] = Field(default={}, description="The files to keep, with their digests")
    licence: str = Field(description="Licence, as its authors state it")
    citation: str = Field(description="What to cite")
    note: str = Field("", description="What a reader of a table should know about it")


# --- tasks -----------------------------------------------------------------------------------------------------------


class Pool(Strict):
    """A task made of other tasks' inputs, without their labels."""

    tasks: list[Name] = Field(min_length=1, description="Tasks whose inputs are pooled")
    splits: list[Split] = Field(min_length=1, description="Splits taken of each; they become `transfer`")


class Splits(Strict):
    """How many examples go where, without overlap. With classes, each split has the classes' own proportions."""

    train: NonNegativeInt = Field(description="Labelled examples to train on")
    select: NonNegativeInt = Field(description="Labelled examples that serve every choice")
    dev: PositiveInt = Field(description="Labelled examples that are only reported on")
    transfer: NonNegativeInt = Field(0, description="Examples whose labels are taken away")


class Task(Strict):
    """What is predicted from what, from which data, and how it is measured."""

    title: str = Field(description="Heading of the task's column")
    type: Literal["classification", "regression", "unlabelled"] = Field(description="Kind of label")
    input: Literal["text", "image"] = Field(description="Kind of input")
    source: Name | None = Field(None, description="Source of the data")
    reader: Name | None = Field(None, description="Component that reads the source's files")
    options: dict[str, Any] = Field(default={}, description="Settings of the reader")
    labels: list[str] = Field(default=[], description="Class names in the order of their indices")
    metric: str | None = Field(None, description="The number in the table")
    splits: Splits | None = Field(None, description="Sizes of the splits")
    split_seed: Seed = Field(0, description="Seed of the split")
    pool: Pool | None = Field(None, description="Other tasks whose inputs make this one")


# --- experiments -----------------------------------------------------------------------------------------------------


class Baseline(Strict):
    """A model that is fitted rather than trained: the floor of a table."""

    method: Name = Field(description="A baseline by name")
    settings: dict[str, Any] = Field(default={}, description="Settings of the baseline")


class Teacher(Strict):
    """Who teaches: the run of another experiment on the same task, or a pretrained model as it is."""

    experiment: Name | None = Field(None, description="Experiment whose run teaches")
    seed: Seed = Field(0, description="Seed of that run")
    source: Name | None = Field(None, description="Pretrained model that teaches without having been fine-tuned")


class Start(Strict):
    """Where a student's weights come from."""

    source: Name | None = Field(None, description="Pretrained model")
    experiment: Name | None = Field(None, description="Experiment whose run is continued, with a new head")
    task: Name | None = Field(None, description="Task of that run, when it is another one")
    seed: Seed = Field(0, description="Seed of that run")
    layers: list[NonNegativeInt] | None = Field(None, description="Layers taken, counted from 0; all if not given")


class Student(Strict):
    """The model that is trained."""

    architecture: Name | None = Field(None, description="A registered architecture; not needed with a pretrained start")
    settings: dict[str, Any] = Field(default={}, description="Settings of the architecture")
    start: Start | None = Field(None, description="Where the weights come from; random if not given")
    max_length: PositiveInt = Field(128, description="Tokens of a text; longer ones are cut and counted")


class Taps(Strict):
    """Modules whose outputs a loss compares, pair by pair."""

    student: list[str] = Field(min_length=1, description="Paths in the student, such as `encoder.layer.0`")
    teacher: list[str] = Field(min_length=1, description="Paths in the teacher")


class Term(Strict):
    """One named term of a stage's loss."""

    method: Name = Field(description="A loss by name")
    weight: float = Field(description="Its weight in the sum")
    settings: dict[str, Any] = Field(default={}, description="Settings of the loss")
    taps: Taps | None = Field(None, description="What it compares inside the models")


class Stage(Strict):
    """One stage of training."""

    data: list[Split] = Field(min_length=1, description="Splits that are trained on, together")
    epochs: PositiveInt | None = Field(None, description="Passes over the data; either this or `steps`")
    steps: PositiveInt | None = Field(None, description="Optimiser steps; either this or `epochs`")
    batch_size: PositiveInt = Field(description="Examples in a batch")
    learning_rate: PositiveFloat = Field(description="Peak learning rate of AdamW")
    weight_decay: Annotated[float, Field(ge=0)] = Field(0.01, description="Weight decay; none for biases and norms")
    warmup: Annotated[float, Field(ge=0, le=1)] = Field(0.1, description="Share of the steps with a rising rate")
    clip_norm: PositiveFloat = Field(1.0, description="Largest norm of the gradient")
    frozen: list[str] = Field(default=[], description="Modules of the student that are not trained")
    loss: dict[Name, Term] = Field(min_length=1, description="Named terms; their weighted sum is minimised")

    @model_validator(mode="after")
    def _one_length(self) -> "Stage":
        if (self.epochs is None) == (self.steps is None):
            raise ValueError("give either `epochs` or `steps`")
        return self


class Evaluation(Strict):
    """Which checkpoint is evaluated, and how."""

    checkpoint: Literal["last", "best"] = Field(
        "last", description="`best`: the epoch that is best on `select` by the task's metric"
    )
    batch_size: PositiveInt = Field(64, description="Examples in a batch of evaluation")


class Experiment(Strict):
    """One recipe: who teaches, who learns, in which stages. Holds no seed, no task and no code."""

    label: str = Field(description="The row's name in a table")
    notes: dict[str, str] = Field(default={}, description="What distinguishes the row, shown beside it")
    baseline: Baseline | None = Field(None, description="A fitted model; then nothing else is given")
    teacher: Teacher | None = Field(None, description="Who teaches, where a loss needs a teacher")
    student: Student | None = Field(None, description="The model that is trained")
    stages: list[Stage] = Field(default=[], description="Stages of training, in order")
    evaluation: Evaluation = Field(default=Evaluation(), description="How the result is evaluated")


# --- studies ---------------------------------------------------------------------------------------------------------


class Runtime(Strict):
    """Constants of a study, part of the keys of its runs and teacher outputs: a machine never chooses them."""

    precision: Literal["float32"] = Field("float32", description="Type of weights and arithmetic")
    device: Literal["cpu", "cuda"] = Field("cpu", description="Where models run")
    threads: PositiveInt = Field(1, description="Threads of one run")
    portable: bool = Field(False, description="Pin instruction sets, so that every processor gives the same bytes")


class Row(Strict):
    """A row of a table."""

    experiment: Name = Field(description="The recipe")
    tasks: list[Name] | None = Field(None, description="Only these columns; all if not given")
    seeds: list[Seed] | None = Field(None, min_length=1, description="Other seeds than the table's")


class Comparison(Strict):
    """Two rows whose difference is tested."""

    row: Name = Field(description="Experiment that is compared")
    against: Name = Field(description="Experiment that it is compared with")
    tasks: list[Name] | None = Field(None, description="Only these columns; all that both have if not given")


class Table(Strict):
    """A table: experiments by tasks."""

    title: str = Field(description="Title")
    tasks: list[Name] = Field(min_length=1, description="Columns")
    seeds: list[Seed] = Field(min_length=1, description="Seeds of every row that names none")
    rows: list[Row] = Field(min_length=1, description="Rows, in order")
    comparisons: list[Comparison] = Field(default=[], description="Differences that are tested, corrected together")


class Study(Strict):
    """Tables, from experiments, tasks and seeds."""

    title: str = Field(description="Title")
    runtime: Runtime = Field(default=Runtime(), description="Constants of the study")
    tables: dict[Name, Table] = Field(min_length=1, description="Tables by name")
