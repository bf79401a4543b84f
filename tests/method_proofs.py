"""What every method must stand: a case is a method, inputs for it, and a second, slower, plainer implementation."""

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

import torch
from torch import Tensor, nn

from redistill import registry

Inputs = dict[str, Any]
LEARNS = ("student_logits", "student_hidden")
NOT_BY_EXAMPLE = ("own", "teacher_head", "student_head", "share", "generator", "views")


class Draw:
    """Random inputs, the same each time."""

    def __init__(self, seed: int = 0):
        self.generator = torch.Generator().manual_seed(seed)

    def normal(self, *shape: int, scale: float = 1.0) -> Tensor:
        return torch.randn(*shape, dtype=torch.float64, generator=self.generator) * scale

    def classes(self, B: int, C: int) -> Tensor:
        return torch.randint(C, (B,), generator=self.generator)

    def mask(self, B: int, T: int) -> Tensor:
        """The first example is as long as can be, others have at least one token."""
        lengths = torch.randint(1, T + 1, (B,), generator=self.generator)
        lengths[0] = T
        return (torch.arange(T) < lengths[:, None]).long()


@dataclass(frozen=True)
class Case:
    """A method and how to try it.

    make: inputs by name, float64, for a draw and a size of batch; without `own` and `generator`, which are added.
    reference: the formula in plain loops; called with all inputs by name and the settings, gives a float.
    same: changes of the inputs that the formula promises not to see.
    permutes: whether the order of the examples is one of them.
    zero: whether a student that says what the teacher says costs nothing.
    whole_gradient: whether its gradient is that of its value; a formula may hold some of the student constant.
    examples: of the stage's data, for methods that remember them.
    sizes: of batches; a method that relates examples needs two to say anything, and must stand one.
    before: what has happened to `own` before, in place: what a first batch sets follows from that batch, and a gradient
        does not know it.
    """

    method: str
    make: Callable[[Draw, int], Inputs]
    reference: Callable[..., float]
    settings: dict[str, Any] = field(default_factory=dict)
    same: Mapping[str, Callable[[Inputs], Inputs]] = field(default_factory=dict)
    permutes: bool = True
    zero: bool = False
    whole_gradient: bool = True
    examples: int = 16
    sizes: tuple[int, ...] = (1, 2, 5)
    before: Callable[[nn.Module], None] | None = None
    note: str = ""

    def __str__(self) -> str:
        settings = ",".join(f"{key}={value}" for key, value in self.settings.items())
        return "-".join(part for part in (self.method, settings, self.note) if part)

    @property
    def function(self) -> Callable[..., Tensor]:
        return registry.get("loss", self.method)

    @property
    def asked(self) -> tuple[str, ...]:
        return registry.signature("loss", self.method).inputs

    def inputs(self, B: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Inputs:
        """Inputs for a batch of this size, `own` among them where the method has one."""
        inputs = self.make(Draw(seed), B)
        if "own" in self.asked:
            torch.manual_seed(seed)
            inputs["own"] = self.own(inputs).double()
            if self.before:
                self.before(inputs["own"])
        return {name: _cast(value, dtype) for name, value in inputs.items()}

    def own(self, inputs: Inputs) -> nn.Module:
        build = import_module(registry.module_name("loss", self.method)).build_own
        known = registry.signature("loss", self.method).built_with or ()
        shapes = [[tuple(t.shape[1:]) for t in inputs.get(side, [])] for side in ("student_hidden", "teacher_hidden")]
        settings = registry.with_defaults("loss", self.method, self.settings)
        return build(*shapes, self.examples, **{name: settings[name] for name in known})

    def value(self, inputs: Inputs) -> Tensor:
        """What the method says; the inputs are left as they are, whatever it remembers."""
        known = registry.signature("loss", self.method).called_with
        settings = {name: value for name, value in self.settings.items() if name in known}
        return self.function(*(_given(inputs, name) for name in self.asked), **settings)

    def plainly(self, inputs: Inputs) -> float:
        """What the plain implementation says."""
        settings = registry.with_defaults("loss", self.method, self.settings)
        return self.reference(**{name: _given(inputs, name) for name in self.asked}, **settings)


def _given(inputs: Inputs, name: str) -> Any:
    if name == "generator":
        return torch.Generator().manual_seed(7)
    if name == "mask":
        return inputs.get(name)  # None where a method takes images as well as texts
    return copy.deepcopy(inputs[name]) if name == "own" else inputs[name]


def _cast(value: Any, dtype: torch.dtype) -> Any:
    if isinstance(value, nn.Module):
        return value.to(dtype)
    if isinstance(value, list):
        return [_cast(each, dtype) for each in value]
    return value.to(dtype) if isinstance(value, Tensor) and value.is_floating_point() else value


def learning(inputs: Inputs) -> list[Tensor]:
    """The student's tensors, with a gradient asked for; in place. Where only `own` learns, what it is given."""
    found = []
    for name in LEARNS if set(LEARNS) & set(inputs) else ("teacher_hidden",):
        value = inputs.get(name, [])
        found += value if isinstance(value, list) else [value]
    return [tensor.requires_grad_() for tensor in found]


def changed(inputs: Inputs, change: Callable[[Tensor], Tensor], *names: str) -> Inputs:
    """The inputs, with some tensors changed."""
    new = dict(inputs)
    for name in names:
        new[name] = [change(t) for t in inputs[name]] if isinstance(inputs[name], list) else change(inputs[name])
    return new


def permuted(inputs: Inputs) -> Inputs:
    """The same examples in another order."""
    B = next(len(v[0] if isinstance(v, list) else v) for k, v in inputs.items() if k in (*LEARNS, "teacher_hidden"))
    order = torch.randperm(B, generator=torch.Generator().manual_seed(1))
    names = [name for name in inputs if name not in NOT_BY_EXAMPLE]
    return changed(inputs, lambda tensor: tensor[order], *names)


def alike(inputs: Inputs) -> Inputs:
    """Every example is the first one, and the student says what the teacher says where their shapes are the same."""
    names = [name for name in inputs if name not in (*NOT_BY_EXAMPLE, "index")]
    new = changed(inputs, lambda tensor: tensor[:1].expand_as(tensor).clone(), *names)
    return told(new)


def told(inputs: Inputs) -> Inputs:
    """The student says what the teacher says, where their shapes are the same."""
    new = dict(inputs)
    for what in ("logits", "hidden"):
        ours, theirs = inputs.get(f"student_{what}"), inputs.get(f"teacher_{what}")
        if isinstance(ours, list) and isinstance(theirs, list):
            pairs = zip(ours, theirs, strict=False)
            new[f"student_{what}"] = [t.clone() if t.shape == s.shape else s for s, t in pairs] + ours[len(theirs) :]
        elif isinstance(ours, Tensor) and isinstance(theirs, Tensor):
            new[f"student_{what}"] = theirs.clone()
    return new
