"""One run, from its resolved config: stages of training, then predictions. A pure function of its key."""

import copy
import json
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

import numpy as np
import torch
from torch import Tensor, nn

from redistill import registry
from redistill.data import examples
from redistill.distill.outputs import load_outputs
from redistill.environment import derived_seed
from redistill.errors import RedistillError
from redistill.evaluation.metrics import METRICS
from redistill.models import load, predict
from redistill.models.taps import tapped
from redistill.progress import track
from redistill.provenance.store import pretty
from redistill.training.optimise import freeze, optimiser

LOG_EVERY = 10  # steps
Config = dict[str, Any]


@dataclass
class Term:
    """A term of the loss, ready to be called with what the batch offers."""

    weight: float
    function: Callable[..., Tensor]
    inputs: tuple[str, ...]
    settings: Config
    taps: dict[str, list[str]]


@dataclass
class Best:
    """The best epoch so far, by the task's metric on `select`."""

    score: float = -math.inf
    weights: dict[str, Tensor] = field(default_factory=dict)


def run(config: Config, inputs: dict[str, Path], work: Path) -> Config:
    """Train a student and write its weights, resolved.json, log.jsonl and predictions.parquet into `work`.

    Args:
        config: the resolved config.
        inputs: folders by role: dataset, and as needed tokens, start, teacher, outputs.

    Raises:
        RedistillError: the loss is not finite, or a path names no module.
    """
    load.prepare_torch(config["runtime"])
    model = load.build(config, inputs, derived_seed(config["seed"], "initialisation"))
    steps = 0
    with (work / "log.jsonl").open("w", encoding="utf-8") as log:
        for index, stage in enumerate(config["stages"]):
            steps += _train(model, config, stage, index, inputs, log)
    load.save(model, inputs, work)
    (work / "resolved.json").write_text(pretty(config), encoding="utf-8")
    if config["task"]["type"] != "unlabelled":
        _predict(model, config, inputs, work)
    return {"steps": steps, "parameters": sum(p.numel() for p in model.parameters())}


def _predict(model: nn.Module, config: Config, inputs: dict[str, Path], work: Path) -> None:
    data = examples.load(config["task"], inputs, ["dev"])
    logits = predict.logits_over(model, data, config["evaluation"]["batch_size"], config["runtime"]["device"])
    predict.write_predictions(work / "predictions.parquet", data, logits)


def _terms(stage: Config) -> dict[str, Term]:
    return {
        name: Term(
            weight=term["weight"],
            function=registry.get("loss", term["method"]),
            inputs=registry.signature("loss", term["method"]).inputs,
            settings=term["settings"],
            taps=term["taps"] or {"student": [], "teacher": []},
        )
        for name, term in stage["loss"].items()
    }


def _train(model: nn.Module, config: Config, stage: Config, index: int, inputs: dict[str, Path], log: TextIO) -> int:
    """Train one stage and return its number of steps."""
    device = config["runtime"]["device"]
    data = examples.load(config["task"], inputs, stage["data"])
    per_epoch = math.ceil(len(data) / stage["batch_size"])
    steps = stage["steps"] or stage["epochs"] * per_epoch
    freeze(model, stage["frozen"])
    adamw, schedule = optimiser(model, stage, steps)
    terms = _terms(stage)
    offers = _Offers(model, data, terms, config, stage, inputs)
    print(f"stage {index}: {steps} steps, loss = {_formula(terms)}", flush=True)
    torch.manual_seed(derived_seed(config["seed"], f"dropout {index}"))
    order = np.random.Generator(np.random.PCG64(derived_seed(config["seed"], f"order {index}")))
    batches = examples.shuffled_batches(data.lengths, stage["batch_size"], order)
    best = Best()
    model.train()
    for step in track(range(steps), steps, f"stage {index}"):
        values = _step(offers, terms, data.batch(next(batches), device), adamw, stage["clip_norm"])
        if not math.isfinite(values["loss"]):
            raise RedistillError(
                f"stage {index}, step {step}: the loss is {values['loss']} ({values}). Lower stages.{index}."
                "learning_rate or clip_norm, or look at the terms' weights and temperatures"
            )
        if step % LOG_EVERY == 0 or step == steps - 1:
            line = {"stage": index, "step": step, "rate": schedule.get_last_lr()[0], **values}
            log.write(json.dumps(line) + "\n")
        schedule.step()
        if config["evaluation"]["checkpoint"] == "best" and ((step + 1) % per_epoch == 0 or step == steps - 1):
            _keep_best(model, config, inputs, best, index, step, log)
    if best.weights:
        model.load_state_dict(best.weights)
    return steps


def _formula(terms: dict[str, Term]) -> str:
    return " + ".join(f"{t.weight} * {name} ({t.function.__name__} {t.settings})" for name, t in terms.items())


def _step(
    offers: "_Offers", terms: dict[str, Term], batch: dict[str, Tensor], adamw: torch.optim.Optimizer, clip: float
) -> dict[str, float]:
    """One optimiser step; the value of each term, unweighted, and of their sum."""
    arguments = offers.of(batch)
    values = {name: term.function(*arguments(term), **term.settings) for name, term in terms.items()}
    loss = torch.stack([terms[name].weight * value for name, value in values.items()]).sum()
    loss.backward()
    nn.utils.clip_grad_norm_([p for group in adamw.param_groups for p in group["params"]], clip)
    adamw.step()
    adamw.zero_grad(set_to_none=True)
    return {"loss": loss.item(), **{name: value.item() for name, value in values.items()}}


class _Offers:
    """Runs the student, and the teacher where a loss taps it, and offers each term what its loss asks for by name."""

    def __init__(
        self,
        model: nn.Module,
        data: examples.Examples,
        terms: dict[str, Term],
        config: Config,
        stage: Config,
        inputs: dict[str, Path],
    ):
        self.model = model
        self.taps = {side: sorted({p for t in terms.values() for p in t.taps[side]}) for side in ("student", "teacher")}
        self.logits: Tensor | None = None
        if any("teacher_logits" in term.inputs for term in terms.values()):
            stored = load_outputs(inputs, stage["data"])
            assert len(stored) == len(data)
            self.logits = torch.from_numpy(stored)
        self.teacher = load.load_teacher(inputs["teacher"], config["runtime"]) if self.taps["teacher"] else None

    def of(self, batch: dict[str, Tensor]) -> Callable[[Term], list[Any]]:
        """Pass a batch through the models; the result gives a term's arguments, in the order of its loss."""
        with tapped(self.model, self.taps["student"], "student") as student:
            offered: dict[str, Any] = {"student_logits": load.logits_of(self.model, batch), "labels": batch["labels"]}
        teacher: dict[str, Tensor] = {}
        if self.teacher is not None:
            with tapped(self.teacher, self.taps["teacher"], "teacher") as teacher, torch.no_grad():
                load.logits_of(self.teacher, batch)
        if self.logits is not None:
            offered["teacher_logits"] = self.logits[batch["index"].cpu()].to(batch["index"].device)
        if "attention_mask" in batch:
            offered["mask"] = batch["attention_mask"]

        def arguments(term: Term) -> list[Any]:
            hidden = {
                "student_hidden": [student[path] for path in term.taps["student"]],
                "teacher_hidden": [teacher[path] for path in term.taps["teacher"]],
            }
            return [{**offered, **hidden}[name] for name in term.inputs]

        return arguments


def _keep_best(
    model: nn.Module, config: Config, inputs: dict[str, Path], best: Best, index: int, step: int, log: TextIO
) -> None:
    """Evaluate on `select`; keep the weights when they are better than all before."""
    data = examples.load(config["task"], inputs, ["select"])
    evaluation = config["evaluation"]
    logits = predict.logits_over(model, data, evaluation["batch_size"], config["runtime"]["device"])
    model.train()
    _, metric = METRICS[evaluation["metric"]]
    score = metric(data.labels.numpy(), predict.decide(logits, data.labels.is_floating_point()))
    log.write(json.dumps({"stage": index, "step": step, "select": score}) + "\n")
    if score > best.score:
        best.score, best.weights = score, copy.deepcopy(model.state_dict())
