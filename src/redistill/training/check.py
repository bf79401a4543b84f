"""Check the models of a study before anything is made: built without weights on the meta device, passed through once.

Taps, frozen and trained modules, layers, auxiliary modules and the shapes that every loss is given are found wrong
here, at their place in the file, rather than hours later. Losses are called on small random tensors of those shapes.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from redistill import registry
from redistill.config import schema
from redistill.config.checked import Checked, Recipe
from redistill.config.parse import Document, KeyPath
from redistill.errors import ConfigError, Problem, RedistillError
from redistill.models import load
from redistill.models.recompute import layers_of
from redistill.models.taps import find
from redistill.plan import Plan
from redistill.provenance.keys import canonical
from redistill.training.learner import Learner, Teachers, build_auxiliary, needed
from redistill.training.optimise import full

Config = dict[str, Any]
EXAMPLES, TOKENS = 2, 8  # of the batch that is passed through
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
        self._length(document, experiment, student)
        models: dict[str, nn.Module] = {name: model for name, model in teachers.items() if model is not None}
        for index, stage in enumerate(experiment.stages):
            if stage.rebuild is not None:
                here: KeyPath = ("stages", index, "rebuild")
                resolved = config["stages"][index]["rebuild"]["student"]
                build = partial(self.student, stage.rebuild.student, resolved, config, task)
                student = self._at(document, (*here, "student"), build)
                if student is None:
                    return
                self._paths(document, (*here, "keep"), stage.rebuild.keep, student, "student")
            self._stage(document, index, config, student, models)

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

    def _length(self, document: Document, experiment: schema.Experiment, student: nn.Module) -> None:
        limit = load.longest(student)
        assert experiment.student is not None
        if limit is not None and experiment.student.max_length > limit:
            self._say(document, ("student", "max_length"), f"the model takes at most {limit} tokens")

    # --- stages ------------------------------------------------------------------------------------------------------

    def _stage(
        self, document: Document, index: int, config: Config, student: nn.Module, teachers: dict[str, nn.Module]
    ) -> None:
        here: KeyPath = ("stages", index)
        said = config["stages"][index]
        before = len(self.problems)
        try:
            auxiliary = self._auxiliary(document, config, student, teachers)
        except RedistillError as error:
            self._say(document, ("modules",), error)
            return
        learner = Learner(student, auxiliary, config["modules"])
        for key in ("frozen", "trained"):
            for i, path in enumerate(said[key] or []):
                self._path(document, (*here, key, i), learner, full(path), path)
        for i, group in enumerate(said["optimiser"]["groups"]):
            for j, path in enumerate(group["modules"]):
                self._path(document, (*here, "optimiser", "groups", i, "modules", j), learner, full(path), path)
        if said["recompute"]:
            try:
                layers_of(student)
            except RedistillError as error:
                self._say(document, (*here, "recompute"), error)
        for name, term in said["loss"].items():
            self._taps(document, (*here, "loss", name, "taps"), term, student, teachers)
        if len(self.problems) == before:
            self._losses(document, here, config, said, learner, teachers)

    def _auxiliary(
        self, document: Document, config: Config, student: nn.Module, teachers: dict[str, nn.Module]
    ) -> dict[str, nn.Module]:
        for name, module in config["modules"].items():
            if registry.plugin("module", module["method"]):
                raise UnknownShapeError(f"module `{module['method']}` is a plugin: it is not imported to be checked")
            other = next(iter(teachers), "") if module["of"] == "student" else "student"
            models = {"student": student, **teachers}
            for key, whose in (("input", module["of"]), ("like", other)):
                tap = module[key]
                if tap and not tap.startswith("modules."):
                    self._paths(document, ("modules", name, key), [tap.partition(":")[0]], models[whose], whose)
        return build_auxiliary(config["modules"], student, teachers, _batch(config["task"]), config["seed"])

    def _paths(self, document: Document, path: KeyPath, paths: list[str], model: nn.Module, whose: str) -> None:
        for wanted in paths:
            try:
                find(model, wanted, whose)
            except RedistillError as error:
                self._say(document, path, error)

    def _path(self, document: Document, path: KeyPath, learner: Learner, wanted: str, written: str) -> None:
        try:
            find(learner, wanted, "student")
        except RedistillError as error:
            message = (
                str(error)
                .replace("`student.", "`")
                .replace("`auxiliary.", "`modules.")
                .replace(f"`{wanted}`", f"`{written}`")
            )
            self._say(document, path, message)

    def _taps(
        self, document: Document, path: KeyPath, term: Config, student: nn.Module, teachers: dict[str, nn.Module]
    ) -> None:
        for side in ("student", "teacher"):
            model = student if side == "student" else teachers.get(term["teacher"] or next(iter(teachers), ""))
            for i, tap in enumerate((term["taps"] or {}).get(side, [])):
                if not tap.startswith("modules.") and model is not None:
                    self._paths(document, (*path, side, i), [tap.partition(":")[0]], model, side)

    def _losses(
        self, document: Document, here: KeyPath, config: Config, said: Config, learner: Learner,
        teachers: dict[str, nn.Module],
    ) -> None:  # fmt: skip
        """Pass a batch through and call every loss on random tensors of the shapes that it would be given."""
        taps = needed(config["modules"], list(said["loss"].values()), list(teachers))
        learner.listen(taps, False)
        batch = _batch(config["task"])
        shown = Teachers({}, config["runtime"])  # of no folder: these have no weights
        shown.models = teachers
        try:
            with torch.no_grad():
                seen = learner.eval()(batch, shown.see(batch, taps), True)
        except RedistillError as error:
            self._say(document, here, error)
            return
        except (RuntimeError, ValueError, IndexError, TypeError) as error:
            self._say(document, here, f"a batch of {_shown(config['task'])} does not pass through the models: {error}")
            return
        for model, tensors in seen.items():
            for tap, tensor in tensors.items():
                if not tensor.ndim or len(tensor) != EXAMPLES:
                    shape = tuple(tensor.shape)
                    self._say(document, here, f"the tap `{tap}` of `{model}` gives {shape} for {EXAMPLES} examples")
                    return
        for name, term in said["loss"].items():
            if not registry.plugin("loss", term["method"]):
                self._loss(document, (*here, "loss", name), term, config, seen, next(iter(teachers), ""))

    def _loss(
        self,
        document: Document,
        path: KeyPath,
        term: Config,
        config: Config,
        seen: dict[str, dict[str, Tensor]],
        first: str,
    ) -> None:
        shapes, offered = {}, _offered(term, config["task"], seen, term["teacher"] or first)
        inputs = registry.signature("loss", term["method"]).inputs
        for name in inputs:
            value = offered[name]
            shapes[name] = [tuple(v.shape) for v in value] if isinstance(value, list) else tuple(value.shape)
        try:
            with torch.device("cpu"):
                value = registry.get("loss", term["method"])(*(offered[name] for name in inputs), **term["settings"])
        except Exception as error:  # whatever a loss raises on tensors that do not fit
            self._say(
                document,
                path,
                f"loss `{term['method']}` does not take {_listed(shapes)} (batch of {EXAMPLES}): {error}",
            )
            return
        if not isinstance(value, Tensor) or value.ndim:
            self._say(document, path, f"loss `{term['method']}` gives no single number for {_listed(shapes)}")


def _listed(shapes: dict[str, Any]) -> str:
    return ", ".join(f"{name} {shape}" for name, shape in shapes.items())


def _shown(task: Config) -> str:
    return f"images {task['image_shape']}" if task["input"] == "image" else f"texts of {TOKENS} tokens"


def _batch(task: Config) -> dict[str, Tensor]:
    """A batch without values."""
    if task["input"] == "image":
        return {"image": torch.zeros(EXAMPLES, *task["image_shape"], device=META)}
    # with a mask: without one transformers looks for padding among the ids, and there is nothing in them
    ids = torch.zeros(EXAMPLES, TOKENS, dtype=torch.long, device=META)
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids)}


def _offered(term: Config, task: Config, seen: dict[str, dict[str, Tensor]], teacher: str) -> Config:
    """What the engine would offer a loss, with random numbers in it."""
    generator = torch.Generator().manual_seed(0)

    def drawn(like: Tensor) -> Tensor:
        return torch.randn(like.shape, generator=generator, device="cpu").requires_grad_()

    outputs = load.outputs_of(task)
    with torch.device("cpu"):
        labels = torch.zeros(EXAMPLES, dtype=torch.int64 if task["type"] == "classification" else torch.float32)
        offered: Config = {
            "labels": labels, "index": torch.arange(EXAMPLES), "mask": torch.ones(EXAMPLES, TOKENS, dtype=torch.long),
            "teacher_logits": torch.randn(EXAMPLES, outputs, generator=generator),
        }  # fmt: skip
    taps = term["taps"] or {"student": [], "teacher": []}
    offered["student_logits"] = drawn(seen["student"]["logits"])
    offered["student_hidden"] = [drawn(seen["student"][tap]) for tap in taps["student"]]
    offered["teacher_hidden"] = [drawn(seen[teacher][tap]).detach() for tap in taps["teacher"]]
    return offered
