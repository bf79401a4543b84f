"""Students and teachers: which model, and where its weights come from."""

from pydantic import Field, NonNegativeInt, PositiveInt

from redistill.config.schema.values import Component, Name, Seed, Strict


class Teacher(Strict):
    """Who teaches: the run of another experiment on the same task, or a pretrained model as it is."""

    experiment: Name | None = Field(None, description="Experiment whose run teaches")
    seed: Seed = Field(0, description="Seed of that run")
    source: Name | None = Field(None, description="Pretrained model that teaches without having been fine-tuned")


class Start(Strict):
    """Where a student's weights come from."""

    source: Name | None = Field(None, description="Pretrained model")
    experiment: Name | None = Field(None, description="Experiment whose run is continued")
    task: Name | None = Field(None, description="Task of that run, when it is another one")
    seed: Seed = Field(0, description="Seed of that run")
    layers: list[NonNegativeInt] | None = Field(
        None, min_length=1, description="Layers of a transformer that are taken, counted from 0; all if not given"
    )
    head: bool = Field(
        False,
        description="Take a pretrained classifier's head as well, its labels being the task's. An experiment may then "
        "have no stages: a published model as it is",
    )
    random: bool = Field(False, description="Take the shape alone: the weights are drawn anew")
    fresh: list[str] = Field(
        default=[], description="Modules of a registered architecture that are drawn anew rather than taken over"
    )
    into: str | None = Field(
        None,
        description="Part of a registered architecture that the weights fill, such as `backbone.body`; what is outside "
        "of it is drawn anew. The whole if not given",
    )
    part: str | None = Field(
        None,
        description="Part of what it starts from that is taken, such as `features`; the rest is left. The whole if not "
        "given",
    )
    without: list[str] = Field(
        default=[],
        description="Modules of what it starts from, by their names there, that the student has no place for, such as "
        "the classifier of what becomes a backbone",
    )


class Architecture(Component):
    """A model by name, built from its settings, with random weights."""

    kind = "architecture"


class Student(Strict):
    """The model that is trained."""

    architecture: Architecture | None = Field(
        None,
        description="The model, where `start` does not bring one: registered, or of torchvision, timm, transformers",
    )
    start: Start | None = Field(None, description="Where the weights come from; random if not given")
    tokenizer: Name | None = Field(
        None, description="Pretrained model whose tokenizer reads the texts; the one of `start` if not given"
    )
    max_length: PositiveInt = Field(128, description="Tokens of a text; longer ones are cut and counted")
