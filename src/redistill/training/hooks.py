"""What watches the loop: the log, the choice of the best epoch, and checkpoints of the run in progress."""

import copy
import json
import math
import os
import time
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import broadcast_object_list, gather_object
from torch import Tensor

from redistill import interruption
from redistill.data import examples
from redistill.errors import RedistillError
from redistill.evaluation.evaluate import measured
from redistill.models import predict
from redistill.models.together import Part
from redistill.training import checkpoint
from redistill.training.distribution import evaluated
from redistill.training.loop import Stage

LOG_EVERY = 10  # steps
RESUMES = "resumes.jsonl"  # beside the checkpoints: from where the run was taken up again, for its record
Config = dict[str, Any]


class Log:
    """log.jsonl: every term's value now and then, and every evaluation; no clock in it. One process writes."""

    def __init__(self, file: Path, writes: bool):
        self.file = file
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
        self.stream = file.open("r+b") if writes else None

    def position(self) -> int:
        """Up to where it is written, safely on the disk."""
        if not self.stream:
            return 0
        os.fsync(self.stream.fileno())
        return self.stream.tell()

    def go_back(self, position: int) -> None:
        """Forget what was written after a position: it is written again."""
        if self.stream:
            self.stream.seek(position)
            self.stream.truncate()

    def write(self, line: dict[str, Any]) -> None:
        if self.stream:
            self.stream.write(json.dumps(line).encode() + b"\n")
            self.stream.flush()

    def close(self) -> None:
        if self.stream:
            self.stream.close()

    def before_stage(self, stage: Stage) -> None:
        if stage.step == 0 and self.stream:
            print(f"stage {stage.index}: {stage.steps} steps, loss = {stage.loss}", flush=True)

    def after_step(self, stage: Stage) -> None:
        done = stage.step - 1
        if done % LOG_EVERY and stage.step != stage.steps:
            return
        weights = {
            f"weight {t.name}": t.weight(done / stage.steps)
            for t in stage.loss.terms
            if isinstance(t.said["weight"], dict)
        }
        self.write({"stage": stage.index, "step": done, "rate": stage.rate, **stage.values, **weights})

    def after_stage(self, stage: Stage) -> None:
        pass


class Best:
    """Keeps the weights of the best epoch of a stage, and ends the stage with them."""

    def __init__(self, config: Config, inputs: dict[str, Path], log: Log, workers: int = 0):
        self.config, self.inputs, self.log, self.workers = config, inputs, log, workers
        self.score, self.weights = -math.inf, dict[str, Tensor]()

    def before_stage(self, stage: Stage) -> None:
        if stage.step == 0:
            self.score, self.weights = -math.inf, {}

    def after_step(self, stage: Stage) -> None:
        if not stage.ends_epoch or not stage.loss.needs_student:
            return
        said = self.config["evaluation"]
        score = [self._score(stage)]
        broadcast_object_list(score)
        stage.learner.train()
        self.log.write({"stage": stage.index, "step": stage.step - 1, said["split"]: score[0]})
        if score[0] > self.score:
            self.score, self.weights = score[0], copy.deepcopy(stage.learner.state_dict())

    def _score(self, stage: Stage) -> float:
        said = self.config["evaluation"]
        data = examples.load(self.config["task"], self.inputs, [said["split"]], said["transforms"], self.workers)
        device = str(stage.accelerator.device)
        part = Part(stage.accelerator.process_index, stage.accelerator.num_processes)
        with evaluated(stage) as student:
            found = predict.predictions(student, data, self.config["task"], said["batch_size"], device, part)
        try:
            return sum(measured(found, metric) for metric in said["metrics"])
        except ValueError as error:
            where = f"stages.{stage.index}"
            raise RedistillError(
                f"stage {stage.index}, step {stage.step - 1}: what the student says of `{said['split']}` {error}: "
                f"lower {where}.optimiser.learning_rate, or set {where}.clip_norm"
            ) from None

    def after_stage(self, stage: Stage) -> None:
        if self.weights:
            checkpoint.fill(stage.learner, self.weights)


class Checkpoints:
    """Saves the run every so many steps or seconds, and when it is asked to stop; restores it where it was."""

    def __init__(self, progress: Path, every: Config, log: Log, best: Best, rank: int = 0):
        self.progress, self.every, self.log, self.best = progress, every, log, best
        self.saved_at = time.monotonic()
        self.found = checkpoint.newest(progress, rank)
        if self.found is not None and log.file.stat().st_size < self.found[0]["log"]:
            print("log.jsonl: torn, so the run begins anew", flush=True)
            self.found = None

    @property
    def stage(self) -> int:
        """The stage that is to be gone on with."""
        return self.found[0]["stage"] if self.found else 0

    def restore(self, stage: Stage) -> None:
        """Bring the stage that was in progress to where it was; leave any other as it is."""
        if self.found is None or stage.index != self.stage:
            return
        values, tensors = self.found
        checkpoint.fill(stage.learner, checkpoint.within(tensors, "learner"))
        checkpoint.restore_optimiser(stage.optimiser, values["optimiser"], checkpoint.within(tensors, "optimiser"))
        stage.batches.restore(values["batches"])
        stage.step = values["step"]
        if stage.accelerator.scaler is not None:
            stage.accelerator.scaler.load_state_dict(values["scaler"])
        self.best.score = -math.inf if values["best"] is None else values["best"]
        self.best.weights = checkpoint.within(tensors, "best")
        self.log.go_back(values["log"])
        checkpoint.restore_random(stage.accelerator.process_index, checkpoint.within(tensors, "random"))
        if stage.accelerator.is_main_process:
            with (self.progress / RESUMES).open("a", encoding="utf-8") as stream:
                stream.write(json.dumps({"stage": stage.index, "step": stage.step}) + "\n")
            print(
                f"stage {stage.index}: goes on after step {stage.step} of {stage.steps}, loss = {stage.loss}",
                flush=True,
            )

    def before_stage(self, stage: Stage) -> None:
        pass

    def after_step(self, stage: Stage) -> None:
        save, stop = self._decided(stage)
        if save or stop:
            self.save(stage)
            self.saved_at = time.monotonic()
        if stop:
            raise interruption.Interrupted(f"asked to stop: saved after step {stage.step} of stage {stage.index}")

    def after_stage(self, stage: Stage) -> None:
        pass

    def _decided(self, stage: Stage) -> tuple[bool, bool]:
        """Whether to save, and whether to stop: what the first process decides, or any is asked for."""
        steps, seconds = self.every["steps"], self.every["seconds"]
        save = (steps is not None and stage.step % steps == 0) or (
            seconds is not None and time.monotonic() - self.saved_at >= seconds
        )
        stop = interruption.asked()
        if stage.accelerator.num_processes > 1:
            flags = stage.accelerator.gather(
                torch.tensor([[save, stop]], dtype=torch.int, device=stage.accelerator.device)
            )
            return bool(flags[0, 0]), bool(flags[:, 1].any())
        return save, stop

    def save(self, stage: Stage) -> None:
        """Write a checkpoint; every process gives the states of its generators, and its share where the learner is
        shared; the first one writes.
        """
        accelerator, shared = stage.accelerator, stage.whole is not stage.learner
        states = checkpoint.random_state(accelerator.process_index)
        gathered = gather_object([states]) if accelerator.num_processes > 1 else [states]
        if shared:
            if not accelerator.is_main_process:
                _, tensors = checkpoint.optimiser_state(stage.optimiser)
                mine = _flat({**self._weights(stage, tensors), "random": states})
                checkpoint.save_share(self.progress, accelerator.process_index, mine)
            accelerator.wait_for_everyone()
        if accelerator.is_main_process:
            plain, tensors = checkpoint.optimiser_state(stage.optimiser)
            scaler = accelerator.scaler
            values = {
                "stage": stage.index, "step": stage.step, "batches": stage.batches.state(), "optimiser": plain,
                "scaler": scaler.state_dict() if scaler is not None else None, "log": self.log.position(),
                "best": None if math.isinf(self.best.score) else self.best.score,
            }  # fmt: skip
            random = {key: state for one in gathered for key, state in one.items()}
            flat = _flat({**self._weights(stage, tensors), "random": random})
            name, ranks = f"{stage.index:03d}-{stage.step:09d}", accelerator.num_processes if shared else 1
            checkpoint.save(self.progress, name, values, flat, ranks)
        accelerator.wait_for_everyone()

    def _weights(self, stage: Stage, optimiser: dict[str, Tensor]) -> dict[str, dict[str, Tensor]]:
        return {"learner": stage.learner.state_dict(), "optimiser": optimiser, "best": self.best.weights}


def _flat(groups: dict[str, dict[str, Tensor]]) -> dict[str, Tensor]:
    return {f"{group}/{name}": tensor for group, named in groups.items() for name, tensor in named.items()}
