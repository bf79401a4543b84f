"""The loss of a stage: named terms with weights, each called with what it asks for by name."""

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from redistill import registry
from redistill.errors import RedistillError
from redistill.training.across import Across
from redistill.training.learner import Moment, Seen

Config = dict[str, Any]
SAID = {"student_logits", "student_losses"}
OF_TEACHER = {"teacher_logits", "teacher_hidden"}
VIEWS = 4  # of an image that is rotated: by 0, 90, 180 and 270 degrees


@dataclass(frozen=True)
class Term:
    """A term of the loss: what it is called with, and how much it weighs."""

    name: str
    said: Config
    teacher: str

    @property
    def signature(self) -> registry.Signature:
        return registry.signature("loss", self.said["method"])

    @property
    def inputs(self) -> tuple[str, ...]:
        return self.signature.inputs

    @property
    def student(self) -> str:
        student: str = self.said["student"]
        return student

    def weight(self, share: float) -> float:
        """Its weight when this share of the stage's steps is done: constant, or on a straight line."""
        said = self.said["weight"]
        if not isinstance(said, dict):
            return float(said)
        way = (share - said["begin"]) / (said["end"] - said["begin"])
        return float(said["first"] + (said["last"] - said["first"]) * min(max(way, 0.0), 1.0))

    def __str__(self) -> str:
        said = self.said["weight"]
        weight = f"{said['first']}..{said['last']}" if isinstance(said, dict) else f"{said}"
        settings = "".join(f", {key}={value}" for key, value in self.said["settings"].items())
        return f"{weight} * {self.name} ({self.said['method']}{settings})"


class Outputs(Protocol):
    """A teacher's stored logits."""

    def of(self, indices: NDArray[np.int64], view: int = 0) -> NDArray[np.float32]:
        """Logits (B, C) of these examples in a view."""


class Loss:
    """The terms of a stage, and what they ask for of the teachers: stored outputs, and the layers that end them.

    Args:
        stage: the stage as a resolved config has it.
        teachers: names of the teachers, in order; the first is meant where a term names none.
        stored: outputs of the teachers whose logits a term asks for, by name; see `asked_for_logits`.
        heads: the linear layers that end the models, by name; those that a term asks for.
    """

    def __init__(
        self, stage: Config, teachers: list[str], stored: Mapping[str, Outputs], heads: Mapping[str, nn.Module]
    ):
        self.terms = _terms(stage, teachers)
        self.teachers, self.stored, self.heads = teachers, stored, heads
        self.views = VIEWS if stage["rotations"] else 1
        self.heard = frozenset(term.student for term in self.terms if SAID & set(term.inputs))
        compared = {term.student for term in self.terms if "student_hidden" in term.inputs}
        learning = {term.teacher for term in self.terms if OF_TEACHER & set(term.inputs)} - set(teachers)
        self.students = frozenset(self.heard | compared | learning)
        self.across: Across | None = None  # where several devices compute it together
        asked = asked_for_logits(stage, teachers)
        self.live = frozenset(asked) - set(stored)

    @property
    def needs_student(self) -> bool:
        """Whether the student is run; a stage may train what is beside it alone."""
        return "student" in self.students

    def __str__(self) -> str:
        return " + ".join(map(str, self.terms))

    def values(self, batch: Seen, seen: dict[str, Seen], own: nn.ModuleDict, moment: Moment) -> dict[str, Tensor]:
        """The value of each term, unweighted, on a batch and what the models gave for it.

        Args:
            batch: the batch; of rotated images, each example's views follow one another.
            seen: tensors by model and tap.
            own: what the methods learn or remember, by term.
            moment: where the pass stands.
        """
        if self.across is not None:
            return self.across.values(self, batch, seen, own, moment)
        return self.local(batch, seen, own, moment)

    def local(self, batch: Seen, seen: dict[str, Seen], own: nn.ModuleDict, moment: Moment) -> dict[str, Tensor]:
        """The value of each term on what this process has of a batch."""
        return {term.name: self.called(term, self.arguments(term, batch, seen, own, moment)) for term in self.terms}

    def called(self, term: Term, given: dict[str, Any]) -> Tensor:
        """What a method says of its arguments."""
        settings = {name: term.said["settings"][name] for name in term.signature.called_with}
        value: Tensor = registry.get("loss", term.said["method"])(*given.values(), **settings)
        return value

    def arguments(
        self, term: Term, batch: Seen, seen: dict[str, Seen], own: nn.ModuleDict, moment: Moment
    ) -> dict[str, Any]:
        """What a method is called with, by the names of its positional parameters (`redistill.distill.inputs`).

        Raises:
            RedistillError: it asks for the layer that ends a model which ends in no linear layer.
        """
        # of several views of an example, a method that does not ask for them is shown the first: the example as it is
        step = 1 if "views" in term.inputs else self.views
        of_the_moment = {
            "own": lambda: own[term.name],
            "share": lambda: moment.share,
            "generator": lambda: moment.generator(term.name),
        }
        return {
            name: of_the_moment[name]() if name in of_the_moment else self._seen(name, term, batch, seen, step, moment)
            for name in term.inputs
        }

    def _seen(self, name: str, term: Term, batch: Seen, seen: dict[str, Seen], step: int, moment: Moment) -> Any:
        if name == "index":
            return batch["index"][::step]
        if name == "labels":
            return batch["labels"][::step].flatten()
        if name == "mask":
            return batch.get("attention_mask")
        if name == "views":
            return self.views
        if name == "student_logits":
            return rows(seen[term.student]["logits"])[::step].float()
        if name == "student_losses":
            return {what: value.float() for what, value in seen[term.student]["losses"].items()}
        if name == "teacher_logits":
            return self._said(term.teacher, batch, seen, step, moment)
        if name == "all_teacher_logits":
            return [self._said(teacher, batch, seen, step, moment) for teacher in self.teachers]
        if name == "student_hidden":
            return [seen[term.student][tap][::step].float() for tap in term.said["taps"]["student"]]
        if name == "teacher_hidden":
            given = [seen[term.teacher][tap][::step].float() for tap in term.said["taps"]["teacher"]]
            return given if term.teacher in self.teachers else [tensor.detach() for tensor in given]
        model = term.student if name == "student_head" else term.teacher
        if model not in self.heads:
            raise RedistillError(
                f"loss `{term.said['method']}` needs the linear layer that ends `{model}`: it has none"
            )
        if name == "teacher_head" and model not in self.teachers:  # a peer's learns, and not from this term
            return copy.deepcopy(self.heads[model]).requires_grad_(False)
        return self.heads[model]

    def _said(self, teacher: str, batch: Seen, seen: dict[str, Seen], step: int, moment: Moment) -> Tensor:
        """What a teacher said of the examples as they are: stored, or just now."""
        if teacher not in self.stored:
            return rows(seen[teacher]["logits"])[::step].detach().float()
        index = batch["index"][:: self.views]
        return torch.from_numpy(self.stored[teacher].of(index.cpu().numpy(), moment.view)).to(index.device)

    def total(self, values: dict[str, Tensor], share: float) -> Tensor:
        """The weighted sum when this share of the stage's steps is done."""
        return torch.stack([term.weight(share) * values[term.name] for term in self.terms]).sum()


def rows(logits: Tensor) -> Tensor:
    """Logits (N, C): of pixels, in the order of the flattened labels, where the model classifies pixels."""
    return logits.flatten(2).transpose(1, 2).flatten(0, 1) if logits.ndim == 4 else logits


def _terms(stage: Config, teachers: list[str]) -> list[Term]:
    first = teachers[0] if teachers else ""
    return [Term(name, said, said["teacher"] or first) for name, said in stage["loss"].items()]


def asked_for_logits(stage: Config, teachers: list[str]) -> list[str]:
    """The teachers whose stored logits a stage needs."""
    terms = _terms(stage, teachers)
    if any("all_teacher_logits" in term.inputs for term in terms):
        return teachers
    return [name for name in teachers if any(t.teacher == name and "teacher_logits" in t.inputs for t in terms)]
