"""What learns: the student with its auxiliary modules, and what the losses see of it and of the teachers."""

from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from redistill import registry
from redistill.environment import derived_seed
from redistill.errors import RedistillError
from redistill.models import load
from redistill.models.taps import tapped

Config = dict[str, Any]
Seen = dict[str, Tensor]  # tensors by tap; the student's logits as `logits`


class Learner(nn.Module):
    """The student and the auxiliary modules, passed through together; trained as one."""

    def __init__(self, student: nn.Module, auxiliary: dict[str, nn.Module], said: Config):
        super().__init__()
        self.student, self.auxiliary, self.said = student, nn.ModuleDict(auxiliary), said
        self.taps: dict[str, list[str]] = {}
        self.full_precision, self.logits = False, True
        self.still: list[nn.Module] = []

    def listen(self, taps: dict[str, list[str]], full_precision: bool, logits: bool = True) -> None:
        """What the next stage looks at: taps by model (`student`, or a teacher), in models and in auxiliary modules;
        and whether at the student's logits: a gradient that nobody asks for would be waited for by other processes.
        """
        self.taps, self.full_precision, self.logits = taps, full_precision, logits

    def train(self, mode: bool = True) -> "Learner":
        """Frozen norms use the statistics that they have, and keep them."""
        super().train(mode)
        for module in self.still:
            module.eval()
        return self

    def forward(self, batch: Seen, taught: dict[str, Seen], needs_student: bool) -> dict[str, Seen]:
        """Tensors by model and tap.

        Args:
            batch: a batch of examples.
            taught: what the teachers' taps gave, by teacher.
            needs_student: whether the student is run at all; a stage may train a teacher's auxiliary modules alone.
        """
        with self.exact(batch):
            seen = {name: dict(tensors) for name, tensors in taught.items()}
            own = [tap for tap in self.taps.get("student", []) if not tap.startswith("modules.")]
            seen["student"] = {}
            if needs_student:
                with tapped(self.student, own, "student") as captured:
                    logits = load.logits_of(self.student, batch)
                seen["student"] = {"logits": logits if self.logits else logits.detach(), **captured}
            self._pass_auxiliary(seen)
        return seen

    def exact(self, batch: Seen) -> AbstractContextManager[Any]:
        """Within, nothing is computed in mixed precision where the stage says so."""
        device = next(iter(batch.values())).device.type
        return torch.autocast(device, enabled=False) if self.full_precision else nullcontext()

    def _pass_auxiliary(self, seen: dict[str, Seen]) -> None:
        """Run the auxiliary modules that are looked at, in the order in which they were named."""
        wanted = {tap for taps in self.taps.values() for tap in taps if tap.startswith("modules.")}
        for name, module in self.auxiliary.items():
            mine = [tap.removeprefix("modules.") for tap in wanted if _is_in(tap, name)]
            if mine:
                side = seen[self.said[name]["of"]]
                with tapped(self.auxiliary, sorted(mine), "experiment") as captured:
                    module(side[self.said[name]["input"]])
                side |= {f"modules.{tap}": tensor for tap, tensor in captured.items()}


def _is_in(tap: str, module: str) -> bool:
    return f"{tap}.".startswith((f"modules.{module}.", f"modules.{module}:"))


def needed(said: Config, terms: list[Config], teachers: list[str]) -> dict[str, list[str]]:
    """Taps by model that the terms of a stage look at, with those that feed the auxiliary modules among them."""
    taps: dict[str, set[str]] = {"student": set()}
    for term in terms:
        for side in ("student", "teacher"):
            for tap in (term["taps"] or {}).get(side, []):
                name = said[tap.split(":")[0].split(".")[1]]["of"] if tap.startswith("modules.") else None
                model = name or ("student" if side == "student" else term["teacher"] or teachers[0])
                taps.setdefault(model, set()).add(tap)
    for name, module in reversed(said.items()):
        if any(_is_in(tap, name) for tap in taps.get(module["of"], ())):
            taps[module["of"]].add(module["input"])
    return {model: sorted(found) for model, found in taps.items()}


class Teachers:
    """The teachers that are tapped while the student trains: loaded once, in eval mode, never trained."""

    def __init__(self, inputs: dict[str, Path], runtime: Config):
        roles = [role for role in inputs if role.startswith("teacher ")]
        self.models = {role.removeprefix("teacher "): load.load_teacher(inputs[role], runtime) for role in roles}

    def see(self, batch: Seen, taps: dict[str, list[str]]) -> dict[str, Seen]:
        """What each teacher's taps give for a batch."""
        seen = {}
        for name, model in self.models.items():
            own = [tap for tap in taps.get(name, []) if not tap.startswith("modules.")]
            if own:
                with tapped(model, own, "teacher") as captured, torch.no_grad():
                    load.logits_of(model, batch)
                seen[name] = dict(captured)
        return seen


def build_auxiliary(
    said: Config, student: nn.Module, teachers: dict[str, nn.Module], batch: Seen, seed: int
) -> dict[str, nn.Module]:
    """Build the auxiliary modules from the shapes that one batch has at their taps.

    Raises:
        RedistillError: a tap leads nowhere, or a module cannot be built from these shapes.
    """
    built: dict[str, nn.Module] = {}
    models = {"student": student, **teachers}
    shapes: dict[str, tuple[int, ...]] = {}
    for name, module in said.items():
        other = next(iter(teachers), "") if module["of"] == "student" else "student"
        try:
            taken = _shape(models[module["of"]], module["of"], module["input"], batch, shapes)
            like = module["like"] and _shape(models[other], other, module["like"], batch, shapes)
            torch.manual_seed(derived_seed(seed, f"module {name}"))
            built[name] = registry.get("module", module["method"])(taken, like, **module["settings"])
            device = next(iter(batch.values())).device
            with torch.no_grad():
                output = built[name].to(device).eval()(torch.zeros(2, *taken, device=device))
        except RedistillError as error:
            raise RedistillError(f"modules.{name}: {error}") from None
        shapes[f"modules.{name}"] = tuple(output.shape[1:])
        built[name].train()
    return built


def _shape(model: nn.Module, whose: str, tap: str, batch: Seen, shapes: dict[str, tuple[int, ...]]) -> tuple[int, ...]:
    """Shape of the tensor at a tap, without the batch."""
    if tap.startswith("modules."):
        if tap not in shapes:
            raise RedistillError(f"`{tap}` must be an auxiliary module that is named before this one")
        return shapes[tap]
    training = model.training
    with tapped(model.eval(), [tap], whose) as captured, torch.no_grad():
        load.logits_of(model, batch)
    model.train(training)
    return tuple(captured[tap].shape[1:])
