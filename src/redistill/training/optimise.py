"""What is trained in a stage, in which groups, and at which rate."""

import re
from typing import Any

from torch import nn
from torch.optim import Optimizer

from redistill import registry
from redistill.errors import RedistillError
from redistill.models.load import within
from redistill.models.taps import find
from redistill.training.learner import Learner

Config = dict[str, Any]
BESIDE = {"modules": "auxiliary", "loss": "own", "peers": "peers"}  # the first step of a path, and where it leads
_LAYER = re.compile(r"(?:^|\.)(?:layer|layers|block|blocks|h)\.(\d+)\.")


def freeze(learner: Learner, frozen: list[str], trained: list[str] | None) -> None:
    """Train everything but the `frozen` modules; or, if given, only the `trained` ones of the rest.

    Paths are in the student, or begin with `modules.` for an auxiliary module, `loss.` for what a term of the loss
    learns, or `peers.` for a model that learns beside the student. Norms that are not trained keep their statistics.

    Raises:
        RedistillError: there is no module of that path; or nothing is left to train.
    """
    _require(learner, [*frozen, *(trained or [])])

    def learns(name: str) -> bool:
        asked = trained is None or within(name, [full(path) for path in trained])
        return asked and not within(name, [full(path) for path in frozen])

    for name, parameter in learner.named_parameters():
        parameter.requires_grad_(learns(name))
    learner.still = [m for name, m in learner.named_modules() if hasattr(m, "running_mean") and not learns(name)]
    if not any(parameter.requires_grad for parameter in learner.parameters()):
        raise RedistillError("nothing is left to train: see `frozen` and `trained`")


def _require(learner: Learner, paths: list[str]) -> None:
    for path in paths:
        first, _, rest = path.partition(".")
        if first in BESIDE:
            find(getattr(learner, BESIDE[first]), rest, "experiment")
        else:
            find(learner.student, path, "student")


def full(path: str) -> str:
    """A path in the learner, which holds the student and what is beside it."""
    first, _, rest = path.partition(".")
    return f"{BESIDE[first]}.{rest}" if first in BESIDE else f"student.{path}"


def optimiser(learner: Learner, said: Config) -> Optimizer:
    """The optimiser of a stage, over the parameters that are trained; each group knows its `peak` rate.

    Raises:
        RedistillError: a group names a module that is not there.
    """
    _require(learner, [path for group in said["groups"] for path in group["modules"]])
    found: dict[tuple[float, float], list[nn.Parameter]] = {}
    depths = _depths(learner)
    for name, parameter in learner.named_parameters():
        if not parameter.requires_grad:
            continue
        rate, decay = said["learning_rate"], said["weight_decay"]
        if said["decay"] == "weights" and parameter.ndim <= 1:
            decay = 0.0
        for group in said["groups"]:
            if within(name, [full(path) for path in group["modules"]]):
                rate *= group["rate"]
                decay = decay if group["weight_decay"] is None else group["weight_decay"]
                break
        rate *= said["layer_decay"] ** _below_top(name, depths)
        found.setdefault((rate, decay), []).append(parameter)
    groups = [{"params": p, "lr": rate, "weight_decay": decay, "peak": rate} for (rate, decay), p in found.items()]
    built: Optimizer = registry.get("optimiser", said["method"])(groups, **said["settings"])
    return built


def _depths(learner: Learner) -> dict[str, int]:
    """Layers of each model that learns, by where it is in the learner."""
    depths = {"student": 0, **{f"peers.{name}": 0 for name in learner.peers}}
    for name, _ in learner.named_parameters():
        if (found := _LAYER.search(name)) and (model := _model(name)) in depths:
            depths[model] = max(depths[model], int(found[1]) + 1)
    return depths


def _model(name: str) -> str:
    """The model, or what else of the learner, that a parameter belongs to."""
    first, second, *_ = name.split(".")
    return first if first == "student" else f"{first}.{second}"


def _below_top(name: str, depths: dict[str, int]) -> int:
    """How many steps down from the head a parameter stands: 0 for heads and what is beside the models, most for
    embeddings.
    """
    depth = depths.get(_model(name))
    if depth is None:
        return 0
    if found := _LAYER.search(name):
        return depth - int(found[1])
    return depth + 1 if "embeddings" in name else 0


def set_rate(built: Optimizer, stage: Config, step: int, steps: int) -> float:
    """Set every group's learning rate for a step; the stage's own is returned, for the log."""
    schedule = stage["schedule"]
    factor: float = registry.get("schedule", schedule["method"])(step, steps, **schedule["settings"])
    for group in built.param_groups:
        group["lr"] = group["peak"] * factor
    rate: float = stage["optimiser"]["learning_rate"] * factor
    return rate
