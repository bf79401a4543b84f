"""The loss of a stage: named terms with weights, each called with what it asks for by name."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from redistill import registry
from redistill.distill.outputs import Stored
from redistill.training.learner import Seen

Config = dict[str, Any]


@dataclass(frozen=True)
class Term:
    """A term of the loss: what it is called with, and how much it weighs."""

    name: str
    said: Config
    teacher: str

    @property
    def inputs(self) -> tuple[str, ...]:
        return registry.signature("loss", self.said["method"]).inputs

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


class Loss:
    """The terms of a stage, and the stored teacher outputs that they ask for."""

    def __init__(self, stage: Config, inputs: dict[str, Path], teachers: list[str]):
        self.terms = [
            Term(name, said, said["teacher"] or (teachers[0] if teachers else ""))
            for name, said in stage["loss"].items()
        ]
        asking = {term.teacher for term in self.terms if "teacher_logits" in term.inputs}
        self.stored = {name: Stored(inputs, name, stage["data"]) for name in sorted(asking)}
        asked = {name for term in self.terms for name in term.inputs}
        self.needs_logits = "student_logits" in asked
        self.needs_student = self.needs_logits or "student_hidden" in asked

    def __str__(self) -> str:
        return " + ".join(map(str, self.terms))

    def values(self, batch: Seen, seen: dict[str, Seen]) -> dict[str, Tensor]:
        """The value of each term, unweighted, on a batch and what the models gave for it."""
        return {t.name: self._value(t, batch, seen) for t in self.terms}

    def _value(self, term: Term, batch: Seen, seen: dict[str, Seen]) -> Tensor:
        function = registry.get("loss", term.said["method"])
        offered: dict[str, Any] = {
            "labels": batch["labels"],
            "index": batch["index"],
            "mask": batch.get("attention_mask"),
        }
        if "student_logits" in term.inputs:
            offered["student_logits"] = seen["student"]["logits"].float()
        if "teacher_logits" in term.inputs:
            stored = self.stored[term.teacher].of(batch["index"].cpu().numpy())
            offered["teacher_logits"] = torch.from_numpy(stored).to(batch["index"].device)
        if "student_hidden" in term.inputs:
            offered["student_hidden"] = [seen["student"][tap].float() for tap in term.said["taps"]["student"]]
        if "teacher_hidden" in term.inputs:
            offered["teacher_hidden"] = [seen[term.teacher][tap].float() for tap in term.said["taps"]["teacher"]]
        value: Tensor = function(*(offered[name] for name in term.inputs), **term.said["settings"])
        return value

    def total(self, values: dict[str, Tensor], share: float) -> Tensor:
        """The weighted sum when this share of the stage's steps is done."""
        return torch.stack([term.weight(share) * values[term.name] for term in self.terms]).sum()
