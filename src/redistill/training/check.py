"""Check the models of a study before anything is made: built without weights on the meta device, passed through once.

Taps, frozen and trained modules, layers, auxiliary modules and the shapes that every loss is given are found wrong
here, at their place in the file, rather than hours later. Losses are called on small random tensors of those shapes.
"""

from collections.abc import Callable
from contextlib import suppress
from copy import deepcopy
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from redistill import registry
from redistill.catalogue import FAMILIES
from redistill.config import schema
from redistill.config.checked import Checked, Recipe
from redistill.config.parse import Document, KeyPath
from redistill.errors import ConfigError, Problem, RedistillError
from redistill.models import load
from redistill.models.head import head_of
from redistill.models.recompute import layers_of
from redistill.models.taps import find
from redistill.plan import Plan
from redistill.provenance.keys import canonical
from redistill.training.learner import Learner, Moment, Seen, Teachers, at_taps, build_auxiliary, build_own, needed
from redistill.training.loss import Loss, Term
from redistill.training.optimise import full

Config = dict[str, Any]
EXAMPLES, TOKENS = 2, 8  # of the batch that is passed through
REMEMBERED = 16  # examples of the data that a method is told of, which may keep something for each
DIMENSIONS = {"FeatureMaps": 4, "HiddenStates": 3, "Attention": 4, "Pooled": 2}  # of what a method compares
META = torch.device("meta")
OF_LABELS = ("id2label", "label2id", "problem_type", "architectures")  # in a transformer's config


class UnknownShapeError(Exception):
    """A model whose shape nobody knows yet: its source says no `config`."""


def check_models(plan: Plan) -> list[str]:
    """Check every recipe of a plan; returns what could not be checked, and why.

    Raises:
        ConfigError: with all that is wrong, each at its place.
    """
    checker = _ModelChecker(plan)
    for (recipe, task), config in plan.configs.items():
        if "student" in config:
            checker.check(plan.checked.recipes[recipe, task], config, task)
    if checker.problems:
        raise ConfigError(checker.problems)
    return sorted(checker.unknown)


class _ModelChecker:
    """Builds each model once, however many recipes have it."""

    def __init__(self, plan: Plan):
        self.checked: Checked = plan.checked
        self.configs = plan.configs
        self.problems: list[Problem] = []
        self.unknown: set[str] = set()
        self.built: dict[str, nn.Module] = {}

    def check(self, recipe: Recipe, config: Config, task: str) -> None:
        """One recipe on one task: its student, teachers, modules, and every stage."""
        try:
            with META:
                self._check(recipe, config, task)
        except UnknownShapeError as error:
            self.unknown.add(str(error))

    def _say(self, document: Document, path: KeyPath, error: Exception | str) -> None:
        self.problems.append(document.problem(path, " ".join(str(error).split())[:600]))

    def _check(self, recipe: Recipe, config: Config, task: str) -> None:
        experiment, document = recipe.experiment, recipe.document
        assert experiment.student is not None
        build = partial(self.student, experiment.student, config["student"], config, task)
        student = self._at(document, ("student",), build)
        teachers = {}
        for name, said in experiment.all_teachers.items():
            where: KeyPath = ("teacher",) if experiment.teacher else ("teachers", name)
            teachers[name] = self._at(document, where, partial(self.teacher, said, config, task))
        if student is None or None in teachers.values():
            return
        peers = {}
        for name, peer in experiment.peers.items():
            build = partial(self.student, peer, config["peers"][name], config, task)
            peers[name] = self._at(document, ("peers", name), build)
        if None in peers.values():
            return
        models: dict[str, nn.Module] = {name: model for name, model in teachers.items() if model is not None}
        # copies: of equal models one is built, and a learner must know its own from one another
        learning: dict[str, nn.Module] = {name: deepcopy(model) for name, model in peers.items() if model is not None}
        self._length(document, ("student", "max_length"), experiment.student.max_length, student)
        for name, model in learning.items():
            self._length(document, ("peers", name), experiment.student.max_length, model)
        for index, stage in enumerate(experiment.stages):
            if stage.rebuild is not None:
                here: KeyPath = ("stages", index, "rebuild")
                resolved = config["stages"][index]["rebuild"]["student"]
                build = partial(self.student, stage.rebuild.student, resolved, config, task)
                student = self._at(document, (*here, "student"), build)
                if student is None:
                    return
                self._paths(document, (*here, "keep"), stage.rebuild.keep, student, "student")
            self._stage(document, index, config, {"student": student, **learning}, models)

    def _at(self, document: Document, path: KeyPath, build: Callable[[], nn.Module]) -> nn.Module | None:
        try:
            return build()
        except RedistillError as error:
            self._say(document, path, error)
            return None

    # --- models ------------------------------------------------------------------------------------------------------

    def student(self, said: schema.Student, resolved: Config, config: Config, task: str) -> nn.Module:
        """The student without weights. Everything that shapes it is in the key under which it is kept."""
        if said.architecture is not None:
            if registry.plugin("architecture", said.architecture.method):
                raise UnknownShapeError(
                    f"architecture `{said.architecture.method}` is a plugin: it is not imported to be checked"
                )
            key = canonical([resolved["architecture"], config["task"]])
            if key not in self.built:
                self.built[key] = load.architecture(resolved["architecture"], config["task"]).eval()
            return self.built[key]
        assert said.start is not None
        layers = said.start.layers
        if said.start.head:
            self._head(said.start, config["task"], task)
        if said.start.source is not None:
            return self.pretrained(said.start.source, layers, config["task"])
        other = said.start.experiment or "", said.start.task or task
        shape = self.run(*other).config.to_dict()  # type: ignore[union-attr,operator]
        shape = {key: value for key, value in shape.items() if key not in OF_LABELS}
        return self._transformer(shape, layers, config["task"])

    def _head(self, start: schema.Start, own: Config, task: str) -> None:
        """Whether a head that is taken says what the task asks; of a source only if its shape names the labels."""
        from redistill.models import text

        if start.source is None:
            theirs = self.configs[start.experiment or "", start.task or task]["task"]
            text.order_of_labels(theirs["labels"] or ["score"], own)
            return
        shape = self.checked.sources[start.source].config
        if "model_type" in shape and {"id2label", "num_labels"} & shape.keys():
            text.order_of_labels(text.labels_of(text.config_of(shape)), own)

    def run(self, recipe: str, task: str) -> nn.Module:
        """The model that another run ends with."""
        experiment = self.checked.experiment(recipe, task)
        config = self.configs[recipe, task]
        rebuilt = [stage.rebuild.student for stage in experiment.stages if stage.rebuild]
        said = [experiment.student, *rebuilt][-1]
        assert said is not None
        return self.student(said, load.last_student(config), config, task)

    def teacher(self, said: schema.Teacher, config: Config, task: str) -> nn.Module:
        if said.experiment is not None:
            return self.run(said.experiment, task)
        return self.pretrained(said.source or "", None, {"type": "unlabelled", "labels": []})

    def pretrained(self, source: str, layers: list[int] | None, task: Config) -> nn.Module:
        shape = self.checked.sources[source].config
        if "model_type" not in shape:
            raise UnknownShapeError(
                f"source `{source}` says no `config` with a `model_type`, so its models are checked when they run"
            )
        return self._transformer(shape, layers, task)

    def _transformer(self, shape: Config, layers: list[int] | None, task: Config) -> nn.Module:
        from redistill.models import text

        # the names of the labels do not shape a model: tasks with as many share it
        plain = {"type": task["type"], "labels": [str(i) for i in range(len(task["labels"]))]}
        key = canonical([shape, layers, plain])
        if key not in self.built:
            config, _ = text.shortened(text.config_of(shape), layers)
            self.built[key] = text.from_config(config, plain).eval()
        return self.built[key]

    def _length(self, document: Document, path: KeyPath, tokens: int, model: nn.Module) -> None:
        limit = load.longest(model)
        if limit is not None and tokens > limit:
            self._say(document, path, f"the model takes at most {limit} tokens, and `student.max_length` is {tokens}")

    # --- stages ------------------------------------------------------------------------------------------------------

    def _stage(
        self, document: Document, index: int, config: Config, learning: dict[str, nn.Module],
        teachers: dict[str, nn.Module],
    ) -> None:  # fmt: skip
        here: KeyPath = ("stages", index)
        said = config["stages"][index]
        before = len(self.problems)
        try:
            auxiliary = self._auxiliary(document, config, learning, teachers)
        except RedistillError as error:
            self._say(document, ("modules",), error)
            return
        peers = {name: model for name, model in learning.items() if name != "student"}
        learner = Learner(learning["student"], auxiliary, config["modules"], peers)
        models, first = {**learning, **teachers}, next(iter(teachers), "")
        for name, term in said["loss"].items():
            self._taps(document, (*here, "loss", name, "taps"), term, models, first)
        if len(self.problems) == before:
            self._given(document, here, config, said, learner, teachers)
        if len(self.problems) > before:
            return
        for key in ("frozen", "trained"):
            for i, path in enumerate(said[key] or []):
                self._path(document, (*here, key, i), learner, full(path), path)
        for i, group in enumerate(said["optimiser"]["groups"]):
            for j, path in enumerate(group["modules"]):
                self._path(document, (*here, "optimiser", "groups", i, "modules", j), learner, full(path), path)
        if said["recompute"]:
            try:
                layers_of(learner.student)
            except RedistillError as error:
                self._say(document, (*here, "recompute"), error)
        if len(self.problems) == before:
            self._losses(document, here, config, said, learner, teachers)

    def _auxiliary(
        self, document: Document, config: Config, learning: dict[str, nn.Module], teachers: dict[str, nn.Module]
    ) -> dict[str, nn.Module]:
        for name, module in config["modules"].items():
            if registry.plugin("module", module["method"]):
                raise UnknownShapeError(f"module `{module['method']}` is a plugin: it is not imported to be checked")
            other = next(iter(teachers), "") if module["of"] in learning else "student"
            models = {**learning, **teachers}
            for key, whose in (("input", module["of"]), ("like", other)):
                tap = module[key]
                if tap and not tap.startswith("modules."):
                    self._paths(document, ("modules", name, key), [tap.partition(":")[0]], models[whose], whose)
        return build_auxiliary(config["modules"], learning, teachers, _batch(config["task"]), config["seed"])

    def _paths(self, document: Document, path: KeyPath, paths: list[str], model: nn.Module, whose: str) -> None:
        for wanted in paths:
            try:
                find(model, wanted, whose)
            except RedistillError as error:
                self._say(document, path, error)

    def _path(self, document: Document, path: KeyPath, learner: Learner, wanted: str, written: str) -> None:
        whose = "student" if wanted.startswith("student.") else "experiment"
        try:
            find(learner, wanted, whose)
        except RedistillError as error:
            message = (
                str(error)
                .replace("`student.", "`")
                .replace("`auxiliary.", "`modules.")
                .replace("`own.", "`loss.")
                .replace(f"`{wanted}`", f"`{written}`")
            )
            self._say(document, path, message)

    def _taps(self, document: Document, path: KeyPath, term: Config, models: dict[str, nn.Module], first: str) -> None:
        for side in ("student", "teacher"):
            model = models.get(term["student"] if side == "student" else term["teacher"] or first)
            for i, tap in enumerate((term["taps"] or {}).get(side, [])):
                if not tap.startswith("modules.") and model is not None:
                    self._paths(document, (*path, side, i), [tap.partition(":")[0]], model, side)

    def _given(
        self, document: Document, here: KeyPath, config: Config, said: Config, learner: Learner,
        teachers: dict[str, nn.Module],
    ) -> None:  # fmt: skip
        """Whether the taps of a stage's terms give what these compare; and build what the terms learn or remember, on
        the CPU: the losses are called there.
        """
        shown = _without_weights(teachers, config["runtime"])
        batch = _batch(config["task"])
        for name, term in said["loss"].items():
            path, before = (*here, "loss", name), len(self.problems)
            if term["taps"] is not None:
                self._compared(document, here, name, term, learner, shown, batch)
            if len(self.problems) > before or registry.plugin("loss", term["method"]):
                continue
            try:
                learner.own.update(build_own(learner, {name: term}, shown, batch, REMEMBERED, 0))
            except RedistillError as error:
                self._say(document, path, str(error).removeprefix(f"loss.{name}: "))
            except (RuntimeError, IndexError, TypeError) as error:
                self._say(document, path, f"loss `{term['method']}` cannot be built for these taps: {error}")

    def _compared(
        self, document: Document, here: KeyPath, name: str, term: Config, learner: Learner, teachers: Teachers,
        batch: Seen,
    ) -> None:  # fmt: skip
        """Whether a term's taps lead somewhere, and to tensors of the kind that its method compares."""
        path: KeyPath = (*here, "loss", name, "taps")
        try:
            found = at_taps(learner, term, teachers, batch)
        except RedistillError as error:
            self._say(document, path, error)
            return
        except (RuntimeError, ValueError, IndexError, TypeError) as error:
            self._say(document, here, f"a batch of {_shown(batch)} does not pass through the models: {error}")
            return
        kinds = registry.signature("loss", term["method"]).shapes
        for side, tensors in zip(("student", "teacher"), found, strict=True):
            kind = kinds.get(f"{side}_hidden", "")
            dimensions = DIMENSIONS.get(kind, 0)
            for i, tensor in enumerate(tensors):
                tap, shape = term["taps"][side][i], tuple(tensor.shape)
                if not shape or shape[0] != EXAMPLES:
                    message = f"the tap `{tap}` gives {shape} for {EXAMPLES} examples"
                elif dimensions and len(_squeezed(shape, dimensions)) != dimensions:
                    message = f"loss `{term['method']}` compares {FAMILIES[kind]}, and `{tap}` gives {shape}"
                else:
                    continue
                self._say(document, (*path, side, i), message)
                return

    def _losses(
        self, document: Document, here: KeyPath, config: Config, said: Config, learner: Learner,
        teachers: dict[str, nn.Module],
    ) -> None:  # fmt: skip
        """Pass a batch through and call every loss on random tensors of the shapes that it would be given."""
        names = sorted(teachers)
        taps = needed(config["modules"], list(said["loss"].values()), names)
        learner.listen(taps, False)
        drawn = Drawn(load.outputs_of(config["task"]))
        loss = Loss(said, names, dict.fromkeys(names, drawn), _heads(config["task"], {**learner.models, **teachers}))
        batch = _batch(config["task"], EXAMPLES * loss.views)
        shown = _without_weights(teachers, config["runtime"])
        try:
            with torch.no_grad():
                seen = learner.eval().see(batch, shown.see(batch, taps), loss.students)
        except RedistillError as error:
            self._say(document, here, error)
            return
        except (RuntimeError, ValueError, IndexError, TypeError) as error:
            self._say(document, here, f"a batch of {_shown(batch)} does not pass through the models: {error}")
            return
        for model, tensors in seen.items():
            for tap, tensor in tensors.items():
                if not tensor.ndim or len(tensor) != EXAMPLES * loss.views:
                    shape = tuple(tensor.shape)
                    examples = EXAMPLES * loss.views
                    self._say(document, here, f"the tap `{tap}` of `{model}` gives {shape} for {examples} examples")
                    return
        values = {
            model: {tap: drawn.like(tensor) for tap, tensor in tensors.items()} for model, tensors in seen.items()
        }
        for term in loss.terms:
            if not registry.plugin("loss", term.said["method"]):
                self._loss(document, (*here, "loss", term.name), term, loss, values, learner.own, config["task"])

    def _loss(
        self, document: Document, path: KeyPath, term: Term, loss: Loss, seen: dict[str, Seen], own: nn.ModuleDict,
        task: Config,
    ) -> None:  # fmt: skip
        """Call a loss on random tensors, where they are of the shapes that it compares."""
        method, shapes = f"loss `{term.said['method']}`", dict[str, Any]()
        try:
            with torch.device("cpu"):
                given = loss.arguments(term, _labelled(task, loss.views), seen, own, Moment())
        except RedistillError as error:
            self._say(document, path, error)
            return
        for name, value in given.items():
            if isinstance(value, Tensor | list):
                shapes[name] = [tuple(v.shape) for v in value] if isinstance(value, list) else tuple(value.shape)
        settings = {name: term.said["settings"][name] for name in term.signature.called_with}
        try:
            with torch.device("cpu"):
                value = registry.get("loss", term.said["method"])(*given.values(), **settings)
        except Exception as error:  # whatever a loss raises on tensors that do not fit
            self._say(document, path, f"{method} does not take {_listed(shapes)} (batch of {EXAMPLES}): {error}")
            return
        if not isinstance(value, Tensor) or value.ndim:
            self._say(document, path, f"{method} gives no single number for {_listed(shapes)}")


def _without_weights(models: dict[str, nn.Module], runtime: Config) -> Teachers:
    """Teachers of no folder."""
    shown = Teachers({}, runtime)
    shown.models = models
    return shown


def _squeezed(shape: tuple[int, ...], dimensions: int) -> tuple[int, ...]:
    """A shape without the dimensions of size 1 that it ends in, as pooling leaves them, as far as it has too many."""
    while len(shape) > dimensions and shape[-1] == 1:
        shape = shape[:-1]
    return shape


class Drawn:
    """Random numbers in the place of what models say."""

    def __init__(self, outputs: int):
        self.outputs, self.generator = outputs, torch.Generator().manual_seed(0)

    def of(self, indices: NDArray[np.int64]) -> NDArray[np.float32]:
        """A teacher's logits of these examples."""
        drawn: NDArray[np.float32] = torch.randn(len(indices), self.outputs, generator=self.generator).numpy()
        return drawn

    def like(self, tensor: Tensor) -> Tensor:
        """A tensor of this shape on the CPU."""
        return torch.randn(tensor.shape, generator=self.generator, device="cpu").requires_grad_()


def _heads(task: Config, models: dict[str, nn.Module]) -> dict[str, nn.Module]:
    """Layers like those that end the models, on the CPU."""
    heads: dict[str, nn.Module] = {}
    for name, model in models.items():
        with suppress(RedistillError), torch.device("cpu"):
            head = head_of(model, load.outputs_of(task))
            heads[name] = nn.Linear(head.in_features, head.out_features)
    return heads


def _listed(shapes: dict[str, Any]) -> str:
    return ", ".join(f"{name} {shape}" for name, shape in shapes.items())


def _shown(batch: Seen) -> str:
    return f"images {list(batch['image'].shape[1:])}" if "image" in batch else f"texts of {TOKENS} tokens"


def _batch(task: Config, examples: int = EXAMPLES) -> dict[str, Tensor]:
    """A batch without values."""
    if task["input"] == "image":
        return {"image": torch.zeros(examples, *task["image_shape"], device=META)}
    # with a mask: without one transformers looks for padding among the ids, and there is nothing in them
    ids = torch.zeros(examples, TOKENS, dtype=torch.long, device=META)
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids)}


def _labelled(task: Config, views: int) -> Seen:
    """What a batch tells beside its inputs."""
    dtype = torch.int64 if task["type"] == "classification" else torch.float32
    return {
        "labels": torch.zeros(EXAMPLES * views, dtype=dtype),
        "index": torch.arange(EXAMPLES).repeat_interleave(views),
        "attention_mask": torch.ones(EXAMPLES, TOKENS, dtype=torch.long),
    }
