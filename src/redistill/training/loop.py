"""The training loop: steps of a stage, and the hooks that watch them. Everything else stands around it."""

import copy
import math
from collections.abc import Iterable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.optim import Optimizer

from redistill.data.ahead import Ahead, ahead
from redistill.data.examples import NO_CLASS, Examples
from redistill.data.pictures import STORED
from redistill.errors import RedistillError
from redistill.models import dropout
from redistill.models.used_rows import UsedRows
from redistill.progress import track
from redistill.training.learner import Learner, Moment, Seen, Teachers
from redistill.training.loss import VIEWS, Loss
from redistill.training.optimise import set_rate
from redistill.training.sampler import Batches

Config = dict[str, Any]


@dataclass
class Stage:
    """A stage in progress. `step` is the number of steps that are done; `learner` is the bare module, `prepared` what
    accelerate made of it; `whole` is the learner with all of its weights, where that is another (`distribution`);
    `noise` seeds the dropout of each step, `common` is that of all devices, `drawn` seeds the views of images; `rows`
    are the embeddings that are trained, if not all are.
    """

    index: int
    said: Config
    steps: int
    per_epoch: int
    data: Examples | Ahead
    batches: Batches
    noise: int
    loss: Loss
    learner: Learner
    whole: Learner
    rows: UsedRows | None
    prepared: nn.Module
    teachers: Teachers
    optimiser: Optimizer
    accelerator: Accelerator
    step: int = 0
    rate: float = 0.0
    drawn: int = 0
    common: int = 0
    values: dict[str, float] = field(default_factory=dict)

    def view(self, step: int) -> int:
        """Which view of its images a step shows: one more each epoch, or round and round those of stored outputs."""
        said, epoch = self.said["teacher_outputs"], step // self.per_epoch
        return int(epoch % said["views"]) if isinstance(said, dict) else epoch

    def seeds(self, indices: np.ndarray, step: int) -> list[int] | None:
        """Seeds of the views of some examples."""
        seed = STORED if isinstance(self.said["teacher_outputs"], dict) else self.drawn
        return self.data.seeds(indices, seed, self.view(step))  # type: ignore[no-any-return]

    @property
    def ends_epoch(self) -> bool:
        return self.step % self.per_epoch == 0 or self.step == self.steps


class Hook(Protocol):
    """What watches a stage. Every process calls every hook at the same moments."""

    def before_stage(self, stage: Stage) -> None:
        """The stage is built, and restored if it was stopped before."""

    def after_step(self, stage: Stage) -> None:
        """A step is done: `stage.step` counts it, `stage.values` holds the loss and its terms."""

    def after_stage(self, stage: Stage) -> None:
        """The last step is done."""


def train(stage: Stage, hooks: Iterable[Hook]) -> None:
    """Train a stage from where it stands to its last step.

    Raises:
        RedistillError: the loss is not finite.
    """
    stage.learner.train()
    data = stage.data
    assert isinstance(data, Examples)
    with ahead(data, upcoming(stage)) as stage.data:
        _steps(stage, list(hooks))
    stage.data = data


def _steps(stage: Stage, hooks: list[Hook]) -> None:
    for hook in hooks:
        hook.before_stage(stage)
    for _ in track(range(stage.step, stage.steps), stage.steps - stage.step, f"stage {stage.index}"):
        stage.rate = set_rate(stage.optimiser, stage.said, stage.step, stage.steps)
        stage.values = one_step(stage, next(stage.batches))
        _refuse_infinite(stage)
        stage.step += 1
        for hook in hooks:
            hook.after_step(stage)
    for hook in hooks:
        hook.after_stage(stage)


def one_step(stage: Stage, batch: np.ndarray) -> dict[str, float]:
    """One optimiser step on a batch of indices; the value of each term, unweighted, and of their weighted sum.

    The batch is cut into equal passes; each pass counts by its share of the examples, so that the gradient is that of
    the whole batch for every loss that is a mean over examples. Of each pass, every process has its part.
    """
    accelerator, processes = stage.accelerator, stage.accelerator.num_processes
    cut = passes(stage, batch)
    values: dict[str, Tensor] = {}
    for i, (indices, share, counts) in enumerate(cut):
        last = i == len(cut) - 1
        dropout.begin(stage.noise, stage.step, i)
        with nullcontext() if last else accelerator.no_sync(stage.prepared):
            found = one_pass(stage, indices, i, counts)
            accelerator.backward(found["loss"] * (share * processes))
        for name, value in found.items():
            values[name] = values.get(name, 0) + value.detach() * share
    _update(stage)
    names = list(values)
    totals = accelerator.reduce(torch.stack([values[name] for name in names]), "sum")
    return dict(zip(names, totals.tolist(), strict=True))


def passes(stage: Stage, batch: np.ndarray) -> list[tuple[np.ndarray, float, bool]]:
    """What this process passes through for a batch, the share of the batch that each counts, and whether it is of it at
    all: a process for which none is left passes one example through, as the others wait for it.

    Of several processes each has an equal share of a pass; `across` says what its part is worth.
    """
    processes, own = stage.accelerator.num_processes, stage.accelerator.process_index
    cut = np.array_split(batch, processes * stage.said["accumulate"])
    wholes = [sum(map(len, cut[i : i + processes])) for i in range(0, len(cut), processes)]
    return [
        (indices if len(indices) else batch[:1], whole / len(batch) / processes, len(indices) > 0)
        for indices, whole in zip(cut[own::processes], wholes, strict=True)
    ]


def upcoming(stage: Stage) -> Iterator[tuple[np.ndarray, list[int] | None]]:
    """What the rest of a stage will pass through, and the seeds of its views."""
    batches = copy.deepcopy(stage.batches)
    for step in range(stage.step, stage.steps):
        for indices, _, _ in passes(stage, next(batches)):
            yield indices, stage.seeds(indices, step)


def one_pass(stage: Stage, indices: np.ndarray, number: int = 0, counts: bool = True) -> dict[str, Tensor]:
    """The loss and its terms on some examples, the pass of this number in its step."""
    batch: Seen = stage.data.batch(indices, str(stage.accelerator.device), stage.seeds(indices, stage.step))
    if stage.said["rotations"]:
        batch = rotated(batch)
    with stage.accelerator.autocast(), stage.learner.exact(batch):
        taught = stage.teachers.see(batch, stage.learner.taps)
    counter = stage.noise, stage.step, number
    moment = Moment(stage.step / stage.steps, stage.view(stage.step), counter, stage.common, counts)
    try:
        values = stage.prepared(batch, taught, stage.loss, moment)
    except ValueError as error:
        if not str(error).startswith("Expected more than 1 value per channel"):  # as torch's norms say it
            raise
        raise RedistillError(
            f"stages.{stage.index}: a norm of the model cannot learn from a pass of {len(indices)} image. What is "
            f"left of {len(stage.data)} is the last batch of an epoch: take another `batch_size`, fewer passes of it "
            "(`accumulate`), or `at_most` so many examples that none stands alone"
        ) from None
    return {"loss": stage.loss.total(values, moment.share), **values}


def rotated(batch: Seen) -> Seen:
    """Each image as it is, then turned by 90, 180 and 270 degrees; what is turned has no label."""
    views = [torch.rot90(batch["image"], turns, (2, 3)) for turns in range(VIEWS)]
    labels = batch["labels"].repeat_interleave(VIEWS).reshape(-1, VIEWS).clone()
    labels[:, 1:] = math.nan if labels.is_floating_point() else NO_CLASS
    image = torch.stack(views, 1).flatten(0, 1)
    return {"image": image, "labels": labels.flatten(), "index": batch["index"].repeat_interleave(VIEWS)}


def _update(stage: Stage) -> None:
    clip = stage.said["clip_norm"]
    if clip is not None:
        trained = [p for group in stage.optimiser.param_groups for p in group["params"]]
        stage.accelerator.clip_grad_norm_(trained, clip)
    stage.optimiser.step()
    if stage.rows is not None:
        stage.rows.after_step(stage.optimiser)
    stage.optimiser.zero_grad(set_to_none=True)


def _refuse_infinite(stage: Stage) -> None:
    if not math.isfinite(stage.values["loss"]):
        where = f"stages.{stage.index}"
        wrong = [name for name, value in stage.values.items() if not math.isfinite(value) and name != "loss"]
        raise RedistillError(
            f"stage {stage.index}, step {stage.step}: the loss is {stage.values['loss']}, from "
            f"{', '.join(wrong) or 'the sum'} ({stage.values}). Lower {where}.optimiser.learning_rate, set "
            f"{where}.clip_norm, or look at the weights and settings of {where}.loss"
        )
