"""Stages of training: data, models that are trained, auxiliary modules, optimisation, and the loss."""

from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, PositiveFloat, PositiveInt, Tag, model_validator

from redistill.config.schema.student import Student
from redistill.config.schema.values import Component, Name, NonNegativeFloat, Share, Split, Strict, Word


class Auxiliary(Component):
    """A module beside the models, such as a projector: fed by a tap, itself tapped as `modules.NAME`."""

    kind = "module"

    of: Word = Field("student", description="`student`, or the teacher whose tap feeds it")
    input: str = Field(description="Tap that feeds it, such as `layer2` or `encoder.layer.3:input`")
    like: str | None = Field(
        None, description="Tap of the other side whose shape it gives; for `student`, the teacher's"
    )


class Taps(Strict):
    """What a loss compares inside the models, pair by pair: PATH, PATH:input, PATH:output or PATH:output.INDEX."""

    student: list[str] = Field(default=[], description="In the student, such as `encoder.layer.0`, or `modules.NAME`")
    teacher: list[str] = Field(default=[], description="In the teacher, or a teacher's `modules.NAME`")


class Ramp(Strict):
    """A weight that changes on a straight line while the stage goes on."""

    first: float = Field(description="Weight until `begin`")
    last: float = Field(description="Weight from `end` on")
    begin: Share = Field(0.0, description="Share of the stage's steps after which it starts to change")
    end: Share = Field(1.0, description="Share of the stage's steps after which it changes no more")

    @model_validator(mode="after")
    def _forward(self) -> "Ramp":
        if self.begin >= self.end:
            raise ValueError("`begin` must be smaller than `end`")
        return self


def _kind_of_weight(value: Any) -> str:
    return "(ramp)" if isinstance(value, dict | Ramp) else "(number)"


Weight = Annotated[Annotated[float, Tag("(number)")] | Annotated[Ramp, Tag("(ramp)")], Discriminator(_kind_of_weight)]


class Term(Component):
    """One named term of a stage's loss. The keys beside these are the loss's own settings."""

    kind = "loss"

    weight: Weight = Field(description="Its weight in the sum")
    student: Word = Field("student", description="Which model it trains: `student`, or one of the experiment's `peers`")
    teacher: Word | None = Field(
        None, description="Which teacher it listens to, where there are several; or `student` or a peer, as it is then"
    )
    taps: Taps | None = Field(None, description="What it compares inside the models")


class Group(Strict):
    """Parameters that are optimised in another way than the rest."""

    modules: list[str] = Field(min_length=1, description="Modules whose parameters they are; the first group that fits")
    rate: NonNegativeFloat = Field(1.0, description="Factor on the learning rate")
    weight_decay: NonNegativeFloat | None = Field(None, description="Their weight decay, if another")


class Optimiser(Component):
    """How the weights follow the gradient. The keys beside these are the optimiser's own settings."""

    kind = "optimiser"

    method: Name = Field("adamw", description="An optimiser by name")
    learning_rate: PositiveFloat = Field(description="Peak learning rate")
    weight_decay: NonNegativeFloat = Field(0.01, description="Weight decay")
    decay: Literal["weights", "all"] = Field(
        "weights", description="What is decayed: `weights` leaves out biases and the weights of norms"
    )
    layer_decay: Annotated[float, Field(gt=0, le=1)] = Field(
        1.0, description="Factor on the learning rate from each layer to the one below it; heads learn at the full rate"
    )
    groups: list[Group] = Field(default=[], description="Parameters that are optimised in another way")


class Schedule(Component):
    """How the learning rate changes over the steps of a stage."""

    kind = "schedule"

    method: Name = Field("linear", description="A schedule by name")


class Transform(Component):
    """How an image is seen. The keys beside these are the transform's own settings."""

    kind = "transform"


class Views(Strict):
    """Views of each image that a teacher's outputs are stored for."""

    views: PositiveInt = Field(description="How many; epoch after epoch, the student is shown one after the other")


class Rebuild(Strict):
    """A stage that goes on with another student."""

    student: Student = Field(description="The student from this stage on")
    keep: list[str] = Field(
        default=[], description="Modules whose weights are carried over from the stage before, by their names"
    )


class Stage(Strict):
    """One stage of training."""

    data: list[Split] = Field(min_length=1, description="Splits that are trained on, together")
    epochs: PositiveInt | None = Field(None, description="Passes over the data; either this or `steps`")
    at_most: PositiveInt | None = Field(
        None, description="Examples that are trained on, the same for all seeds; all of the data if not given"
    )
    steps: PositiveInt | None = Field(None, description="Optimiser steps; either this or `epochs`")
    batch_size: PositiveInt = Field(description="Examples of one optimiser step, over all passes and devices")
    accumulate: PositiveInt = Field(1, description="Passes that a batch is cut into, when memory is short")
    recompute: bool = Field(
        False,
        description="Compute activations again in the backward pass instead of keeping them: less memory, more time, "
        "same numbers. For transformers",
    )
    rotations: bool = Field(
        False, description="Show each image turned by 90, 180 and 270 degrees too, to the losses that ask for `views`"
    )
    transforms: list[Transform] = Field(
        default=[], description="How images are seen, one after the other; student and teacher see the same view"
    )
    teacher_outputs: Literal["stored", "live"] | Views = Field(
        "stored",
        description="Teachers' logits are made once and stored; or computed in training, as they must be where views "
        "are drawn at random; or stored for so many `views` of each image",
    )
    rebuild: Rebuild | None = Field(None, description="Go on with another student from this stage on")
    frozen: list[str] = Field(default=[], description="Modules that are not trained")
    trained: list[str] | None = Field(
        None, min_length=1, description="The only modules that are trained; all that are not `frozen`, if not given"
    )
    optimiser: Optimiser = Field(description="How the weights follow the gradient")
    schedule: Schedule = Field(default=Schedule(), description="How the learning rate changes")
    clip_norm: PositiveFloat | None = Field(None, description="Largest norm of the gradient; any if not given")
    precision: Literal["float32"] | None = Field(
        None, description="`float32` trains this stage without the mixed precision of the study"
    )
    loss: dict[Word, Term] = Field(min_length=1, description="Named terms; their weighted sum is minimised")

    @model_validator(mode="after")
    def _one_length(self) -> "Stage":
        if (self.epochs is None) == (self.steps is None):
            raise ValueError("give either `epochs` or `steps`")
        if self.accumulate > self.batch_size:
            raise ValueError("`accumulate` cannot be larger than `batch_size`")
        return self
