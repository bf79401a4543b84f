"""What learns: the student, its peers and the modules beside them; and what the losses see of them and of teachers."""

from collections.abc import Collection
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from redistill import registry
from redistill.environment import derived_seed
from redistill.errors import RedistillError
from redistill.models import load
from redistill.models.taps import tapped

Config = dict[str, Any]
Seen = dict[str, Any]  # tensors by tap; the logits of a model that learns as `logits`, a detector's `losses` by name


class Losses(Protocol):
    """What a learner must know of the loss of a stage."""

    students: frozenset[str]

    def values(self, batch: Seen, seen: dict[str, Seen], own: nn.ModuleDict, moment: "Moment") -> dict[str, Tensor]:
        """The value of each term."""


@dataclass(frozen=True)
class Moment:
    """Where a pass stands: the share of the stage's steps that are done, which view of its images it shows, and what
    sets its random numbers apart: the stage's seed, the step, and the pass of this number in it. Of several devices,
    `common` is the seed that all of them have, and `counts` is false of the example that a device passes through when
    none is left for it.
    """

    share: float = 0.0
    view: int = 0
    counter: tuple[int, int, int] = (0, 0, 0)
    common: int = 0
    counts: bool = True

    def generator(self, term: str) -> torch.Generator:
        """Random numbers of a term's own: the same for a pass however often it is run."""
        seed, step, number = self.counter
        return torch.Generator().manual_seed(derived_seed(seed, f"loss {term} {step} {number}"))


class Learner(nn.Module):
    """The student, the peers that learn with it, the auxiliary modules and the losses' own; trained as one."""

    def __init__(
        self, student: nn.Module, auxiliary: dict[str, nn.Module], said: Config,
        peers: dict[str, nn.Module] | None = None,
    ):  # fmt: skip
        super().__init__()
        self.student, self.peers = student, nn.ModuleDict(peers or {})
        self.auxiliary, self.said = nn.ModuleDict(auxiliary), said
        self.own = nn.ModuleDict()  # by term of the loss
        self.taps: dict[str, list[str]] = {}
        self.full_precision = False
        self.logits: frozenset[str] | None = None
        self.still: list[nn.Module] = []

    @property
    def models(self) -> dict[str, nn.Module]:
        """The models that learn, by name."""
        return {"student": self.student, **self.peers}

    def listen(self, taps: dict[str, list[str]], full_precision: bool, logits: frozenset[str] | None = None) -> None:
        """What the next stage looks at: taps by model (`student`, a peer, or a teacher), in models and in auxiliary
        modules; and at whose logits, if not at all: a gradient that nobody asks for would be waited for by other
        processes.
        """
        self.taps, self.full_precision, self.logits = taps, full_precision, logits

    def train(self, mode: bool = True) -> "Learner":
        """Frozen norms use the statistics that they have, and keep them."""
        super().train(mode)
        for module in self.still:
            module.eval()
        return self

    def forward(self, batch: Seen, taught: dict[str, Seen], loss: Losses, moment: Moment) -> dict[str, Tensor]:
        """The value of each term of the loss: computed in here, because other processes wait for the gradients of what
        is passed through in here.

        Args:
            batch: a batch of examples.
            taught: what the teachers' taps gave, by teacher.
            loss: the loss of the stage, which says which models are run at all.
            moment: where the pass stands.
        """
        seen = self.see(batch, taught, loss.students)
        with torch.autocast(_device(batch), enabled=False):
            return loss.values(batch, seen, self.own, moment)

    def see(self, batch: Seen, taught: dict[str, Seen], students: Collection[str] = ("student",)) -> dict[str, Seen]:
        """Tensors by model and tap; of the models that learn, these are run. A stage may train a teacher's auxiliary
        modules alone.
        """
        with self.exact(batch):
            seen = {name: dict(tensors) for name, tensors in taught.items()} | {name: {} for name in self.models}
            for name, model in self.models.items():  # in this order in every process, whatever order a set has
                if name not in students:
                    continue
                own = [tap for tap in self.taps.get(name, []) if not tap.startswith("modules.")]
                listened = self.logits is None or name in self.logits
                with tapped(model, own, name) as captured:
                    said = load.said_of(model, batch, None if listened else own)
                seen[name] = {**(said if listened else {}), **captured}
            self._pass_auxiliary(seen)
        return seen

    def exact(self, batch: Seen) -> AbstractContextManager[Any]:
        """Within, nothing is computed in mixed precision where the stage says so."""
        return torch.autocast(_device(batch), enabled=False) if self.full_precision else nullcontext()

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


def _device(batch: Seen) -> str:
    return _first(batch).device.type


def _first(batch: Seen) -> Tensor:
    """A tensor of a batch; images of several sizes are a list of them."""
    first = next(iter(batch.values()))
    tensor: Tensor = first if isinstance(first, Tensor) else first[0]
    return tensor


def _is_in(tap: str, module: str) -> bool:
    return f"{tap}.".startswith((f"modules.{module}.", f"modules.{module}:"))


def needed(said: Config, terms: list[Config], teachers: list[str]) -> dict[str, list[str]]:
    """Taps by model that the terms of a stage look at, with those that feed the auxiliary modules among them."""
    taps: dict[str, set[str]] = {"student": set()}
    for term in terms:
        for side in ("student", "teacher"):
            for tap in (term["taps"] or {}).get(side, []):
                name = said[tap.split(":")[0].split(".")[1]]["of"] if tap.startswith("modules.") else None
                model = name or (term["student"] if side == "student" else term["teacher"] or teachers[0])
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
        self.heard = frozenset[str]()

    def listen(self, heard: frozenset[str]) -> None:
        """At whose logits the next stage looks."""
        self.heard = heard

    def see(self, batch: Seen, taps: dict[str, list[str]]) -> dict[str, Seen]:
        """What each teacher's taps give for a batch, and its logits where they are asked for."""
        seen = {}
        for name, model in self.models.items():
            own = [tap for tap in taps.get(name, []) if not tap.startswith("modules.")]
            if own or name in self.heard:
                with tapped(model, own, "teacher") as captured, torch.no_grad():
                    said = load.said_of(model, batch, None if name in self.heard else own)
                seen[name] = {**captured, **(said if name in self.heard else {})}
        return seen


def build_auxiliary(
    said: Config, learning: dict[str, nn.Module], teachers: dict[str, nn.Module], batch: Seen, seed: int
) -> dict[str, nn.Module]:
    """Build the auxiliary modules from the shapes that one batch has at their taps, in the models that learn (`student`
    and peers) and in the teachers.

    Raises:
        RedistillError: a tap leads nowhere, or a module cannot be built from these shapes.
    """
    built: dict[str, nn.Module] = {}
    models = {**learning, **teachers}
    shapes: dict[str, tuple[int, ...]] = {}
    for name, module in said.items():
        other = next(iter(teachers), "") if module["of"] in learning else "student"
        try:
            taken = _shape(models[module["of"]], module["of"], module["input"], batch, shapes)
            like = module["like"] and _shape(models[other], other, module["like"], batch, shapes)
            torch.manual_seed(derived_seed(seed, f"module {name}"))
            built[name] = registry.get("module", module["method"])(taken, like, **module["settings"])
            device = _first(batch).device
            with torch.no_grad():
                output = built[name].to(device).eval()(torch.zeros(2, *taken, device=device))
        except RedistillError as error:
            raise RedistillError(f"modules.{name}: {error}") from None
        shapes[f"modules.{name}"] = tuple(output.shape[1:])
        built[name].train()
    return built


def build_own(
    learner: Learner, terms: dict[str, Config], teachers: Teachers, batch: Seen, examples: int, seed: int
) -> dict[str, nn.Module]:
    """Build what the losses of a stage learn or remember, by term, from the shapes that one batch has at their taps.

    Args:
        examples: of the stage's data.

    Raises:
        RedistillError: a tap leads nowhere, or the method cannot build from these shapes.
    """
    built: dict[str, nn.Module] = {}
    for name, term in terms.items():
        signature = registry.signature("loss", term["method"])
        if signature.built_with is None:
            continue
        tensors = at_taps(learner, term, teachers, batch)
        student, teacher = ([tuple(tensor.shape[1:]) for tensor in side] for side in tensors)
        torch.manual_seed(derived_seed(seed, f"loss {name}"))
        settings = {key: term["settings"][key] for key in signature.built_with}
        try:
            with torch.device("cpu"):
                built[name] = registry.builder(term["method"])(student, teacher, examples, **settings)
        except ValueError as error:
            raise RedistillError(f"loss.{name}: {error}") from None
    return built


def at_taps(learner: Learner, term: Config, teachers: Teachers, batch: Seen) -> tuple[list[Tensor], list[Tensor]]:
    """What a term's taps give for a batch: the student's and the teacher's.

    Raises:
        RedistillError: a tap leads nowhere.
    """
    names = list(teachers.models)
    taps = needed(learner.said, [term], names)
    learner.listen(taps, full_precision=False, logits=frozenset())
    training = learner.training
    with torch.no_grad():
        seen = learner.eval().see(batch, teachers.see(batch, taps), [name for name in learner.models if name in taps])
    learner.train(training)
    sides = {"student": term["student"], "teacher": term["teacher"] or next(iter(names), "")}
    said = term["taps"] or {"student": [], "teacher": []}
    student, teacher = ([seen[sides[side]][tap] for tap in said[side]] for side in ("student", "teacher"))
    return student, teacher


def _shape(model: nn.Module, whose: str, tap: str, batch: Seen, shapes: dict[str, tuple[int, ...]]) -> tuple[int, ...]:
    """Shape of the tensor at a tap, without the batch."""
    if tap.startswith("modules."):
        if tap not in shapes:
            raise RedistillError(f"`{tap}` must be an auxiliary module that is named before this one")
        return shapes[tap]
    training = model.training
    with tapped(model.eval(), [tap], whose) as captured, torch.no_grad():
        load.said_of(model, batch, [tap])
    model.train(training)
    return tuple(captured[tap].shape[1:])
