"""Experiments: one recipe each."""

from typing import Any

from pydantic import Field, model_validator

from redistill.config.schema.evaluation import Evaluation
from redistill.config.schema.stage import Auxiliary, Stage
from redistill.config.schema.student import Student, Teacher
from redistill.config.schema.values import Component, Name, Strict, Word


class Baseline(Component):
    """A model that is fitted rather than trained: the floor of a table."""

    kind = "baseline"


class Experiment(Strict):
    """One recipe: who teaches, who learns, in which stages. Holds no seed, no task and no code."""

    label: str = Field(description="The row's name in a table")
    notes: dict[str, str] = Field(default={}, description="What distinguishes the row, shown beside it")
    baseline: Baseline | None = Field(None, description="A fitted model; then nothing else is given")
    teacher: Teacher | None = Field(None, description="Who teaches, where a loss needs a teacher")
    teachers: dict[Word, Teacher] = Field(default={}, description="Several teachers by name, in the place of `teacher`")
    student: Student | None = Field(None, description="The model that is trained")
    peers: dict[Word, Student] = Field(
        default={}, description="Models that learn beside the student, in the same run; only the student is evaluated"
    )
    modules: dict[Word, Auxiliary] = Field(default={}, description="Auxiliary modules by name, shared by all stages")
    stages: list[Stage] = Field(default=[], description="Stages of training, in order; none with `start.head` alone")
    evaluation: Evaluation = Field(default=Evaluation(), description="How the result is evaluated")
    per_task: dict[Name, dict[str, Any]] = Field(
        default={}, description="For a task, values by their path, such as `stages.0.epochs: 5`, laid over the recipe"
    )

    @model_validator(mode="after")
    def _one_way_to_name_teachers(self) -> "Experiment":
        if self.teacher is not None and self.teachers:
            raise ValueError("give either `teacher` or `teachers`")
        if "student" in {*self.teachers, *self.peers}:
            raise ValueError("neither a teacher nor a peer can be called `student`")
        if both := set(self.all_teachers) & set(self.peers):
            raise ValueError(f"`{min(both)}` is a teacher and a peer: two models need two names")
        return self

    @property
    def learning(self) -> dict[str, Student | None]:
        """Every model that learns, by name: the student and its peers."""
        return {"student": self.student, **self.peers}

    @property
    def all_teachers(self) -> dict[str, Teacher]:
        """Every teacher by name; a single one is called `teacher`."""
        return {"teacher": self.teacher} if self.teacher is not None else self.teachers
