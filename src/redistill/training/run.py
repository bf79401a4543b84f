"""One run, from its resolved config: stages of training, then predictions. A pure function of its key."""

import math
import shutil
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from safetensors.torch import save_file
from torch import nn

from redistill import registry
from redistill.data import examples
from redistill.distill.outputs import Stored
from redistill.environment import derived_seed
from redistill.errors import RedistillError
from redistill.evaluation.evaluate import read_choice
from redistill.interruption import deferred
from redistill.models import load, predict
from redistill.models.head import head_of
from redistill.models.recompute import recomputed
from redistill.models.together import Part
from redistill.models.used_rows import UsedRows, use_rows, use_whole_table
from redistill.provenance.store import pretty
from redistill.training import distribution
from redistill.training.across import Across
from redistill.training.hooks import Best, Checkpoints, Log
from redistill.training.learner import Learner, Teachers, build_auxiliary, build_own, needed
from redistill.training.loop import Hook, Stage, train
from redistill.training.loss import Loss, asked_for_logits
from redistill.training.optimise import BESIDE, freeze, optimiser
from redistill.training.sampler import Batches

Config = dict[str, Any]
SAVED = {"steps": None, "seconds": 300}


def run(
    config: Config, inputs: dict[str, Path], work: Path, every: Config = SAVED, watching: tuple[Hook, ...] = (),
    workers: int = 0,
) -> Config:  # fmt: skip
    """Train a student and write its weights, resolved.json, log.jsonl and predictions.parquet into `work`.

    A run that was stopped goes on from the newest checkpoint in the folder `progress` beside `work`.

    Args:
        config: the resolved config.
        inputs: folders by role: dataset, and as needed tokens, tokenizer, start, teacher NAME, outputs NAME SPLIT; and
            the choice, if the config has several `trials`: then only the chosen one is trained.
        every: how often to save: after so many `steps`, or `seconds`.
        watching: further hooks.
        workers: processes that decode and transform images ahead; none of it changes a number.

    Raises:
        RedistillError: the loss is not finite, a path names no module, or data and models do not fit.
        Interrupted: SIGTERM came; what was done is saved.
    """
    if "trials" in config:
        config = {**config["trials"][read_choice(inputs["choice"])["chosen"]], "seed": config["seed"]}
    load.prepare_torch(config["runtime"], config["task"])
    accelerator = distribution.accelerator_of(config["runtime"])
    teachers = Teachers(inputs, config["runtime"])
    progress = work.with_name("progress")
    log = Log(progress / "log.jsonl", writes=accelerator.is_main_process)
    best = Best(config, inputs, log, workers)
    checkpoints = Checkpoints(progress, every, log, best, accelerator.process_index)
    if checkpoints.found is None:
        log.go_back(0)
    # last, so that what is saved is what the others have seen
    hooks: list[Hook] = [log, *([best] if config["evaluation"]["checkpoint"] == "best" else []), *watching, checkpoints]
    steps, learner = 0, None
    with deferred():
        for index, said in enumerate(config["stages"]):
            data = examples.load(config["task"], inputs, said["data"], said["transforms"], workers)
            length = _steps(said, _per_epoch(said, data))
            steps += length
            if index < checkpoints.stage:
                continue
            if learner is None or said["rebuild"]:
                learner = _learner(config, inputs, teachers, data, index, learner)
            stage = _stage(index, length, config, inputs, data, learner, teachers, accelerator)
            checkpoints.restore(stage)
            with recomputed(stage.learner.student) if said["recompute"] else nullcontext():
                train(stage, hooks)
            if stage.rows is not None:
                use_whole_table(learner.student, stage.rows)
            learner = distribution.all_of(stage)
    learner = learner or _as_it_is(config, inputs)
    log.close()
    if accelerator.is_main_process:
        shutil.copyfile(log.file, work / "log.jsonl")
        _write(config, inputs, learner, work)
    _predict(config, inputs, learner, work, workers, Part(accelerator.process_index, accelerator.num_processes))
    accelerator.wait_for_everyone()
    return {"steps": steps, "parameters": sum(p.numel() for p in learner.student.parameters())}


def _per_epoch(said: Config, data: examples.Examples) -> int:
    return math.ceil(min(len(data), said["at_most"] or len(data)) / said["batch_size"])


def _steps(said: Config, per_epoch: int) -> int:
    steps: int = said["steps"] or said["epochs"] * per_epoch
    return steps


def _learner(
    config: Config,
    inputs: dict[str, Path],
    teachers: Teachers,
    data: examples.Examples,
    index: int,
    before: Learner | None,
) -> Learner:
    """The learner of a stage: the student as it was last built, with its auxiliary modules; what a stage before has
    learnt is carried over where the stage says `keep`, and in what is beside the student, as far as its shape is the
    same.
    """
    stages = config["stages"]
    built = [0, *(i for i, stage in enumerate(stages[: index + 1]) if stage["rebuild"])][-1]
    rebuild = stages[built]["rebuild"]
    said, role = (rebuild["student"], f"start of stage {built}") if rebuild else (config["student"], "start")
    purpose = f"initialisation {built}" if rebuild else "initialisation"
    seed = derived_seed(config["seed"], purpose)
    student = load.build(said, config["task"], config["runtime"], inputs.get(role), seed)
    _refuse_long(student, int(data.lengths.max()))
    device = next(student.parameters()).device
    batch = data.batch(np.arange(1), str(device))
    peers = _peers(config, inputs)
    models = {"student": student, **peers}
    auxiliary = build_auxiliary(config["modules"], models, teachers.models, batch, config["seed"])
    learner = Learner(student, auxiliary, config["modules"], peers)
    load.placed(learner.auxiliary, config["runtime"])
    if before is not None:
        _carry_over(learner, before, rebuild["keep"])
        learner.own = before.own  # of which the stage takes what it can; see `_own`
    return learner


def _peers(config: Config, inputs: dict[str, Path]) -> dict[str, nn.Module]:
    """The models that learn beside the student."""
    peers = {}
    for name, said in config["peers"].items():
        seed = derived_seed(config["seed"], f"initialisation of {name}")
        role = inputs.get(f"start of peer {name}")
        peers[name] = load.build(said, config["task"], config["runtime"], role, seed)
    return peers


def _as_it_is(config: Config, inputs: dict[str, Path]) -> Learner:
    """What a run without stages ends with: the model that it starts from."""
    seed = derived_seed(config["seed"], "initialisation")
    student = load.build(config["student"], config["task"], config["runtime"], inputs["start"], seed)
    return Learner(student, {}, {})


def _refuse_long(student: nn.Module, length: int) -> None:
    limit = load.longest(student)
    if limit is not None and length > limit:
        raise RedistillError(f"a text has {length} tokens, and the model takes {limit}: lower student.max_length")


def _carry_over(learner: Learner, before: Learner, keep: list[str]) -> None:
    state, old = learner.state_dict(), before.state_dict()
    kept = ["auxiliary", "peers", *(f"student.{module}" for module in keep)]
    for name, tensor in old.items():
        fits = name in state and state[name].shape == tensor.shape
        if load.within(name, kept) and fits:
            state[name] = tensor
        elif load.within(name, kept[2:]):
            raise RedistillError(f"`{name}` cannot be kept: the student of this stage has none of that name and shape")
    learner.load_state_dict(state)


def _stage(
    index: int, steps: int, config: Config, inputs: dict[str, Path], data: examples.Examples, learner: Learner,
    teachers: Teachers, accelerator: Accelerator,
) -> Stage:  # fmt: skip
    """A stage at its beginning: frozen, optimised, seeded, and prepared by accelerate."""
    said, seed, runtime, whole = config["stages"][index], config["seed"], config["runtime"], learner
    _own(index, config, learner, teachers, data)
    learner = distribution.to_train(whole, runtime)
    names = sorted({role.split()[1] for role in inputs if role.startswith(("outputs ", "teacher "))})
    heard = asked_for_logits(said, names) if said["teacher_outputs"] != "live" else []
    stored = {name: Stored(inputs, name, said["data"]) for name in heard}
    heads = _heads(config["task"], learner, teachers)
    loss = Loss(said, names, stored, heads)
    taps = needed(config["modules"], list(said["loss"].values()), list(teachers.models))
    learner.listen(taps, said["precision"] is not None, loss.heard)
    teachers.listen(loss.live)
    freeze(learner, said["frozen"], said["trained"])
    rows = None if learner is not whole else _used_rows(said["optimiser"], data, learner)
    accelerator.free_memory()  # what it holds of the stage before
    distribution.sharded(learner, runtime, list(heads.values()), taps)
    prepared, adjusted = distribution.prepared(accelerator, learner, optimiser(learner, said["optimiser"]), runtime)
    rank, common = accelerator.process_index, derived_seed(seed, f"dropout {index}")
    noise = derived_seed(seed, f"dropout {index} rank {rank}") if rank else common
    if accelerator.num_processes > 1:
        loss.across = Across(Part(rank, accelerator.num_processes))
    torch.manual_seed(noise)
    return Stage(
        index=index, said=said, steps=steps, per_epoch=_per_epoch(said, data), data=data,
        batches=Batches(data.lengths, said["batch_size"], derived_seed(seed, f"order {index}"), said["at_most"]),
        noise=noise, loss=loss, learner=learner, whole=whole, rows=rows, prepared=prepared, teachers=teachers,
        optimiser=adjusted, accelerator=accelerator, drawn=derived_seed(seed, f"views {index}"), common=common,
    )  # fmt: skip


def _own(index: int, config: Config, learner: Learner, teachers: Teachers, data: examples.Examples) -> None:
    """Give the learner what the losses of a stage learn or remember. What terms of the same names have learnt in the
    stage before is carried over, as far as its names and shapes are the same; what they remember of single examples
    only if the data are the same too.
    """
    said, device = config["stages"][index], str(next(learner.student.parameters()).device)
    before = learner.own.state_dict()
    same_data = index > 0 and config["stages"][index - 1]["data"] == said["data"]
    batch = data.batch(np.arange(1), device)
    learner.own = nn.ModuleDict(build_own(learner, said["loss"], teachers, batch, len(data), config["seed"]))
    load.placed(learner.own, config["runtime"])
    learnt = dict(learner.own.named_parameters())
    for name, tensor in learner.own.state_dict().items():
        method = said["loss"][name.partition(".")[0]]["method"]
        of_examples = name not in learnt and "index" in registry.signature("loss", method).inputs
        if name in before and before[name].shape == tensor.shape and (same_data or not of_examples):
            tensor.copy_(before[name])


def _heads(task: Config, learner: Learner, teachers: Teachers) -> dict[str, nn.Module]:
    """The layers that end the models, as far as these end in a linear one."""
    heads: dict[str, nn.Module] = {}
    for name, model in {**learner.models, **teachers.models}.items():
        with suppress(RedistillError):
            heads[name] = head_of(model, load.outputs_of(task))
    return heads


def _used_rows(optimiser: Config, data: examples.Examples, learner: Learner) -> UsedRows | None:
    """The rows of the student's embeddings that a stage trains, where its optimiser does nothing to the others but to
    let them decay.
    """
    if data.tokens is None or optimiser["method"] != "adamw" or next(learner.parameters()).is_cuda:
        return None
    return use_rows(learner.student, data.tokens)


def _write(config: Config, inputs: dict[str, Path], learner: Learner, work: Path) -> None:
    load.save(learner.student, inputs, work)
    beside = {
        f"{first}.{name}": tensor.contiguous()
        for first, held in BESIDE.items() for name, tensor in getattr(learner, held).state_dict().items()
    }  # fmt: skip
    if beside:
        save_file(beside, work / "auxiliary.safetensors")
    (work / "resolved.json").write_text(pretty(config), encoding="utf-8")


def _predict(config: Config, inputs: dict[str, Path], learner: Learner, work: Path, workers: int, part: Part) -> None:
    if config["task"]["type"] != "unlabelled":
        data = predict.unseen(config, inputs, workers)
        _refuse_long(learner.student, int(data.lengths.max()))
        predict.write(learner.student, data, config, work, part)
