"""Stages: data, optimiser, schedule, and which modules are trained."""

from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

from redistill import registry
from redistill.importer import beside
from redistill.importer.around import Around, Terms, renamed, unwrapped
from redistill.importer.inert import printable
from redistill.importer.losses import read_criterion
from redistill.importer.models import Model
from redistill.importer.names import component, exists, snake
from redistill.importer.section import Section, Source
from redistill.importer.transforms import Transforms, at_random, read_transforms

OPTIMISERS = {"SGD": "sgd", "Adam": "adam", "AdamW": "adamw"}
DECAY = {"AdamW": 0.01}  # torch's defaults; 0 for the others
RATE = 0.001
FORWARD = {"forward_batch_only", "forward_batch_as_kwargs", "forward_batch_only_as_kwargs", "forward_all",
           "forward_batch_target", "forward_batch4sskd", "forward_batch_supp_dict"}  # fmt: skip
COLLATE = {"DataCollatorWithPadding", "default_data_collator", "default_collate", "coco_collate_fn",
           "coco_seg_collate_fn"}  # fmt: skip
STEPWISE = {"get_linear_schedule_with_warmup": "linear", "get_cosine_schedule_with_warmup": "cosine",
            "get_constant_schedule_with_warmup": "constant", "get_constant_schedule": "constant",
            "poly_lr_scheduler": "poly"}  # fmt: skip
WRAPPERS = ("auxiliary_model_wrapper", "special")
TURNED = "SSKDDatasetWrapper"  # shows each image in four directions
DRAWN = "CRDDatasetWrapper"  # draws negatives beside each example


@dataclass
class Loader:
    """What a stage takes over from the stage before where it says nothing itself."""

    batch: int | None = None
    transforms: Transforms = field(default_factory=list)


def read_stages(
    source: Source, text: bool, student: Model, teacher: Model | None
) -> tuple[list[dict[str, Any]], dict[str, dict[str, Any]]]:
    """Every stage of training, in order; and the modules that they share."""
    sections = stage_sections(source)
    loader = Loader()
    stages: list[dict[str, Any]] = []
    modules: dict[str, dict[str, Any]] = {}
    models = {"student": student} | ({"teacher": teacher} if teacher is not None else {})
    for section in sections:
        around = Around(text, classes=student.classes, multilabel=student.multilabel, learns=teacher is not None,
                        models=models, modules=modules)  # fmt: skip
        stages.append(_stage(section, loader, around, stages[-1] if stages else {}))
    source.warn(("train",), "`batch_size` is of one process, and the scripts multiply the learning rate by the number "
                            "of processes with `-adjust_lr`: how many there were is not in the config")  # fmt: skip
    return stages, modules


def stage_sections(source: Source) -> list[Section]:
    """`train` itself, or `stage1`, `stage2`, ... in it."""
    train = source.top().section("train")
    if not train.has("stage1"):
        return [train]
    numbers = range(1, len(train.data) + 1)
    return [train.section(f"stage{i}") for i in numbers if train.has(f"stage{i}")]


def _stage(section: Section, loader: Loader, around: Around, before: dict[str, Any]) -> dict[str, Any]:
    epochs = section.integer("num_epochs")
    accumulate = _accumulation(section)
    _loader(section, loader)
    around.batch = loader.batch
    stage: dict[str, Any] = {"data": ["train"]}
    stage |= {"epochs": epochs} if epochs else {}
    stage |= {"batch_size": loader.batch * accumulate} if loader.batch else {}
    stage |= {"accumulate": accumulate} if accumulate > 1 else {}
    stage |= {"transforms": deepcopy(loader.transforms)} if loader.transforms and not around.text else {}
    stage |= _trained(section, around)
    optimiser, clip, only = _optimiser(section, around, before)
    stage["optimiser"] = optimiser
    stage |= {"trained": only} if only else {}
    stage["schedule"] = _schedule(section, epochs, accumulate, before)
    stage |= {"clip_norm": clip} if clip else {}
    _left_to_the_study(section)
    stage["loss"] = read_criterion(section.section("criterion"), around)
    if not stage["loss"]:
        section.source.needs("a loss: none of the terms of a stage could be carried over")
    _beside(section, stage, around)
    _examples(section, stage["loss"], stage)
    _heard(stage, around)
    _hooks(section)
    loss = stage.pop("loss")
    return {**stage, "loss": loss}


def _beside(section: Section, stage: dict[str, Any], around: Around) -> None:
    """What is trained beside the student, and what is not; auxiliary modules that no method has are left."""
    loss: Terms = stage["loss"]
    teachers = [name for name in sorted(around.seen) if around.modules[name].get("of") == "teacher"]
    frozen = [f"modules.{name}" for name in teachers if "teacher" in around.still]
    if frozen or around.frozen:
        stage["frozen"] = [*stage.get("frozen", []), *frozen, *around.frozen]
    if "student" in around.still and "trained" not in stage:
        own = [name for name, term in loss.items() if _learns(term["method"])]
        trained = [f"modules.{name}" for name in sorted(around.seen) if f"modules.{name}" not in frozen]
        if trained or own:
            stage["trained"] = [*trained, *(f"loss.{name}" for name in own)]
    for name in ("student" if section.has("student") else "model", "teacher"):
        _left_beside(section.section(name))


def _learns(method: str) -> bool:
    """Whether a method has something of its own that is trained."""
    return method in registry.names("loss") and registry.signature("loss", method).built_with is not None


def _left_beside(part: Section) -> None:
    for name in WRAPPERS:
        wrapped = part.section(name)
        kind = printable(wrapped.data.get("key", wrapped.data.get("type", "?")))
        wrapped.leave(f"auxiliary modules of torchdistill's {kind}: describe them under `modules`")
    added = part.section("adaptations")
    for name in added.data:
        module = added.section(name)
        kind = printable(module.data.get("key", module.data.get("type", "?")))
        module.leave(f"a module beside the model, {kind}: describe it under `modules`")


def _examples(section: Section, loss: Terms, stage: dict[str, Any]) -> None:
    """What a data set's wrapper shows beside an example, where a method asks for it."""
    wrapper = section.section("train_data_loader").section("dataset_wrapper")
    inputs = {
        name for term in loss.values() if term["method"] in registry.names("loss")
        for name in registry.signature("loss", term["method"]).inputs
    }  # fmt: skip
    if "views" in inputs:
        stage["rotations"] = True
        if wrapper.says("key", {TURNED}):
            wrapper.use()
    if "index" in inputs and wrapper.says("key", {DRAWN}):
        wrapper.use("key")
        wrapper.section("kwargs").use("num_negative_samples")
        wrapper.leave("redistill's negatives are drawn from all other examples of the data")
    wrapper.leave("examples beside the batch's own (negatives, rotations) belong to a loss of its own")


def _heard(stage: dict[str, Any], around: Around) -> None:
    """Whether the teacher is to be heard while the student trains, as it always is in torchdistill: where stored logits
    would be of another view, or of every pixel.
    """
    methods = {term["method"] for term in stage["loss"].values()} & set(registry.names("loss"))
    asked = {name for method in methods for name in registry.signature("loss", method).inputs}
    dense = around.architecture("student").get("method") == "segmenter"
    if {"teacher_logits", "all_teacher_logits"} & asked and (dense or at_random(stage.get("transforms", []))):
        stage["teacher_outputs"] = "live"


def _left_to_the_study(section: Section) -> None:
    """Functions around each pass, which are code, and mixed precision, which is the study's."""
    for when in ("pre_epoch", "pre_forward", "post_forward", "post_epoch"):
        section.leave("a function that torchdistill calls around a pass or an epoch; it is not run",
                      f"{when}_process", f"{when}_proc")  # fmt: skip
        if section.has(f"{when}_proc"):
            section.warn(f"torchdistill 1.1.5 reads `{when}_process`, and this by nothing", f"{when}_proc")
    section.leave("mixed precision is a constant of the study: `runtime.precision`", "apex")


# --- data ------------------------------------------------------------------------------------------------------------


def _loader(section: Section, loader: Loader) -> None:
    part = section.section("train_data_loader")
    kwargs, batches = part.section("kwargs"), part.section("batch_sampler").section("kwargs")
    batch = kwargs.integer("batch_size") or part.integer("batch_size") or batches.integer("batch_size")
    loader.batch = batch or loader.batch
    part.use("dataset_id")
    if part.has("dataset_id"):
        loader.transforms = read_transforms(part.source, part.data["dataset_id"])
    sampler = part.source.at((*part.path, "sampler", "class_or_func"))
    if sampler is None or "RandomSampler" in str(sampler):
        part.section("sampler").use("class_or_func")
        part.section("sampler").section("kwargs")
    part.leave("redistill shuffles the data of every epoch", "sampler")
    if part.flag("random_sample") is False:
        part.warn("the data is not shuffled, and in redistill it always is", "random_sample")
    if part.says("collate_fn", COLLATE):
        part.use("collate_fn")
    for holder in (kwargs, batches):
        if holder.flag("drop_last"):
            holder.warn("the last, smaller batch of an epoch is left out; redistill trains on it", "drop_last")
    part.leave("how batches are put together is not described in redistill", "batch_sampler", "collate_fn")


def _accumulation(section: Section) -> int:
    """Gradient accumulation: the training box reads it from `optimizer`."""
    optimiser = section.section("optimizer")
    if section.has("grad_accum_step"):
        section.warn("the training box reads `optimizer.grad_accum_step`; here only the GLUE script reads it",
                     "grad_accum_step")  # fmt: skip
        section.leave("read by nothing that trains", "grad_accum_step")
    return optimiser.integer("grad_accum_step") or 1


# --- models ----------------------------------------------------------------------------------------------------------


def _trained(section: Section, around: Around) -> dict[str, Any]:
    """Which of the student's modules are frozen; what else is said of both models in this stage."""
    sides = {"student": "student" if section.has("student") else "model", "teacher": "teacher"}
    frozen: list[str] = []
    for side, name in sides.items():
        part = section.section(name)
        beside.describe(part, side, around)
        modules = part.texts("frozen_modules")
        if side == "student":
            frozen = [_plain_path(part, module, around) for module in modules if not module.startswith("instance(")]
        _side(part, side, modules, around)
    return {"frozen": frozen} if frozen else {}


def _plain_path(section: Section, path: str, around: Around) -> str:
    """A module of the student by its path in redistill's."""
    for prefix in ("student_model.", "model.", "seq."):
        path = path.removeprefix(prefix)
    return printable(renamed(section, unwrapped(path.removeprefix("+"), "student", around), "student", around))


def _side(part: Section, side: str, frozen: list[str], around: Around) -> None:
    updates = part.flag("requires_grad")
    if side == "teacher" and part.data and updates is not False and not frozen:
        part.warn("`requires_grad` is not false and nothing is frozen: the optimiser trains the teacher too")
    if side == "student" and updates is False:
        part.warn("the student is not trained in this stage: it prepares a module beside the teacher", "requires_grad")
    if any(module.startswith("instance(") for module in frozen):
        part.warn("modules that are frozen by their class have to be named one by one", "frozen_modules")
    if side == "teacher" and part.data and not around.text:
        part.source.warn(("models", "teacher_model"),
                         "torchdistill 1.x never puts the teacher into evaluation mode: its batch norms use the batch, "
                         "its dropout is on; redistill's teacher is in evaluation mode")  # fmt: skip
    if part.data.get("forward_proc") is None or part.says("forward_proc", FORWARD):
        part.use("forward_proc")
    part.leave("how inputs reach the model; redistill passes a task's own", "forward_proc")
    _pruned(part, side)
    for name in WRAPPERS:
        wrapped = part.section(name)
        if wrapped.data.get("key", wrapped.data.get("type")) == "EmptyModule":
            wrapped.use("key", "type", "kwargs", "params")
    part.leave("a file of weights that torchdistill reads or writes in a stage", "src_ckpt")


def _pruned(part: Section, side: str) -> None:
    """`sequential` cuts a model down to some modules."""
    paths = part.texts("sequential")
    if paths and side == "student":
        part.warn("the student is cut down to `sequential`: redistill runs all of it, and what lies behind the taps "
                  "gets no gradient", "sequential")  # fmt: skip


def _hooks(section: Section) -> None:
    for name in ("student", "teacher", "model"):
        section.section(name).section("forward_hook").use("input", "output")


# --- optimiser -------------------------------------------------------------------------------------------------------


def _optimiser(
    section: Section, around: Around, before: dict[str, Any]
) -> tuple[dict[str, Any], float | None, list[str]]:
    """The optimiser, the largest norm of the gradient, and the modules that are trained where others are not."""
    part = section.section("optimizer")
    if not part.data:
        if before:
            section.warn("has no optimizer: torchdistill goes on with the one of the stage before, state and all")
            return dict(before["optimiser"]), before.get("clip_norm"), []
        section.source.needs("an optimiser: the source names none")
        return {"learning_rate": RATE}, None, []
    kwargs = part.section("kwargs", "params")
    key = part.text("key", "type") or ""
    only_weights = key == "optimizer_no_decay"
    if only_weights:
        key = kwargs.text("optimizer_key", "optimizer_type") or ""
        kwargs.leave("redistill's `decay: weights` leaves out biases and norms", "no_decay")
    method = OPTIMISERS.get(key, snake(key or "unnamed"))
    rate, decay = kwargs.number("lr"), kwargs.number("weight_decay")
    for name in ("amsgrad", "dampening", "maximize"):
        if not kwargs.data.get(name, True):
            kwargs.use(name)
    settings = component("optimiser", method, kwargs, {"eps": "epsilon"}, **_betas(kwargs))
    settings.pop("method")
    rate = RATE if rate is None else float(rate)
    optimiser = {
        "method": method, "learning_rate": rate, "weight_decay": float(DECAY.get(key, 0.0) if decay is None else decay),
        "decay": "weights" if only_weights else "all", **settings,
    }  # fmt: skip
    clip = part.number("max_grad_norm")
    groups, only = _groups(part, rate, around)
    return optimiser | ({"groups": groups} if groups else {}), float(clip) if clip else None, only


def _betas(kwargs: Section) -> dict[str, float]:
    """Adam's two decay rates by their names here."""
    if not kwargs.has("betas"):
        return {}
    betas = _numbers(kwargs, "betas")
    return {"beta1": float(betas[0]), "beta2": float(betas[1])} if len(betas) == 2 else {}


def _groups(part: Section, rate: float, around: Around) -> tuple[list[dict[str, Any]], list[str]]:
    """Modules with rates of their own. The box without a teacher reads them under another name than configs write."""
    read, unread = "module_wise_configs", "module_wise_kwargs"
    if not around.learns:
        read, unread = unread, read
    if part.has(unread):
        box = "with" if around.learns else "without"
        part.warn(f"the training box {box} a teacher reads `{read}` (torchdistill 1.1.5): every module learns at the "
                  "optimiser's own rate", unread)  # fmt: skip
        part.leave("read by nothing", unread)
    groups: list[dict[str, Any]] = []
    only: list[str] = []
    for entry in part.entries(read):
        module, kwargs = entry.text("module"), entry.section("kwargs")
        if entry.flag("is_teacher") or module is None:
            entry.leave("modules of the teacher are not trained in redistill")
            continue
        own, decay = kwargs.number("lr"), kwargs.number("weight_decay")
        group: dict[str, Any] = {"modules": [_plain_path(entry, module, around)]}
        group |= {"rate": float(f"{own / rate:.12g}")} if own is not None and rate else {}
        group |= {"weight_decay": float(decay)} if decay is not None else {}
        kwargs.leave("a group has a rate and a weight decay, and nothing else")
        only += group["modules"]
        groups += [group] if len(group) > 1 else []
    return groups, only


# --- schedule --------------------------------------------------------------------------------------------------------


def _schedule(section: Section, epochs: int | None, accumulate: int, before: dict[str, Any]) -> dict[str, Any]:
    part = section.section("scheduler")
    if not part.data:
        goes_on = bool(before) and not section.section("optimizer").data
        return dict(before["schedule"]) if goes_on else {"method": "constant"}
    kwargs = part.section("kwargs", "params")
    key = part.text("key", "type") or ""
    every = part.number("scheduling_step") or 0
    if (every > 0) != (key in STEPWISE):
        unit = "optimiser step" if every > 0 else "epoch"
        part.warn(f"`{printable(key)}` takes a step each {unit}: it was made for the other", "scheduling_step")
    if every > 1:
        part.warn(f"takes a step each {every:g} passes; redistill's schedules follow every step", "scheduling_step")
    if key in STEPWISE:
        return _by_steps(key, kwargs, accumulate)
    return _by_epochs(key, kwargs, epochs)


def _by_epochs(key: str, kwargs: Section, epochs: int | None) -> dict[str, Any]:
    """Schedules that change the rate after an epoch: their milestones as shares of the stage."""
    if key == "MultiStepLR" and epochs:
        milestones = [float(m) for m in _numbers(kwargs, "milestones")]
        return _multistep(kwargs, [m for m in milestones if m < epochs], epochs)
    if key == "StepLR" and epochs:
        size = kwargs.integer("step_size") or epochs
        return _multistep(kwargs, [float(m) for m in range(size, epochs, size)], epochs)
    if key == "CosineAnnealingLR":
        if kwargs.integer("T_max") not in (epochs, None):
            kwargs.warn(f"`T_max` is not the stage's {epochs} epochs: the half wave has another length", "T_max")
        kwargs.leave("redistill's `floor` is a share of the rate: write it by hand", "eta_min")
        kwargs.warn("changes the rate once an epoch; redistill's does with each step")
        return component("schedule", "cosine", kwargs)
    if key == "LambdaLR":
        kwargs.leave("a function, which is not run; name one of redistill's schedules")
        kwargs.source.needs("a schedule: the source has a function, and `constant` is written")
        return {"method": "constant"}
    return component("schedule", snake(key.removesuffix("LR") or "unnamed"), kwargs)


def _numbers(kwargs: Section, name: str) -> list[float]:
    value = kwargs.plain(name)
    items = value if isinstance(value, list) else []
    numbers = [item for item in items if isinstance(item, int | float) and not isinstance(item, bool)]
    if len(numbers) != len(items):
        kwargs.warn("holds something that is no number", name)
    return numbers


def _multistep(kwargs: Section, milestones: list[float], epochs: int) -> dict[str, Any]:
    gamma = kwargs.number("gamma")
    shares = [milestone / epochs for milestone in milestones if milestone > 0]
    return component("schedule", "multistep", kwargs, milestones=shares, gamma=0.1 if gamma is None else float(gamma))


def _by_steps(key: str, kwargs: Section, accumulate: int) -> dict[str, Any]:
    method = STEPWISE[key]
    total = kwargs.data.get("num_training_steps")
    warmup = _warmup(kwargs, total)
    if accumulate > 1 and method != "constant":
        kwargs.warn(f"the schedule's length counts passes, and it moves once in {accumulate} of them: it ends after "
                    f"1/{accumulate} of its way, unless its length is divided by `grad_accum_step`")  # fmt: skip
    if key == "poly_lr_scheduler":
        power = kwargs.number("power")
        kwargs.use("num_iterations", "num_epochs")
        if power == 1:
            return component("schedule", "linear", kwargs, warmup=0.0)
        return component("schedule", "poly", kwargs, power=0.9 if power is None else float(power))
    kwargs.use("num_training_steps")
    cycles = kwargs.number("num_cycles")
    if cycles not in (None, 0.5):
        kwargs.warn("redistill's `cosine` is half a wave", "num_cycles")
    exists(kwargs.source, "schedule", method)
    return {"method": method, "warmup": warmup}


def _warmup(kwargs: Section, total: Any) -> float:
    """The share of the steps with a growing rate, where it can be known."""
    steps = kwargs.number("num_warmup_steps")
    if not steps:
        return 0.0
    if isinstance(total, int | float) and total > steps:
        return float(f"{steps / total:.12g}")
    kwargs.source.needs(
        f"`schedule.warmup` as a share: the source has {steps:g} steps, of a number that depends on the data"
    )
    return 0.0
