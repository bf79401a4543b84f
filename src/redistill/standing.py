"""Where a run that is being trained stands, by its log: step, rate, time left, loss and last score."""

import json
import os
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from redistill.performance.units import seconds_of
from redistill.provenance import record

TAIL = 2**16  # bytes of a log that are read
BESIDE = ("stage", "step", "rate", "loss")  # what a line has that is no term of the loss and no score


@dataclass(frozen=True)
class Standing:
    """`step` steps of stage `stage`, both counted from 1; `steps` of it and `seconds_left` are None where the config
    counts in epochs. `rate` is in steps a second since this attempt began, its start included. `scores` are by split.
    """

    stage: int
    stages: int
    step: int
    steps: int | None
    rate: float | None = None
    seconds_left: float | None = None
    loss: float | None = None
    scores: dict[str, float] = field(default_factory=dict)

    def __str__(self) -> str:
        stage = f"stage {self.stage} of {self.stages}, " if self.stages > 1 else ""
        said = [f"{stage}step {self.step}" + (f" of {self.steps}" if self.steps else "")]
        said += [f"{self.rate:.3g} steps/s"] if self.rate else []
        said += [f"about {seconds_of(self.seconds_left)} left"] if self.seconds_left else []
        return ", ".join([*said, *_values(self.loss, self.scores)])


def standing(config: dict[str, Any], progress: Path, seconds: float | None = None) -> Standing | None:
    """Where a run stands, None if it has not said.

    Args:
        config: resolved.
        progress: its folder of checkpoints, in which it writes its log.
        seconds: since this attempt at it began.
    """
    lines = _lines(progress / "log.jsonl")
    last = next((line for line in reversed(lines) if "step" in line), None)
    if last is None:
        return None
    planned = [stage.get("steps") for stage in config["stages"]]
    at, step = last["stage"], last["step"] + 1
    rate = left = None
    if seconds and None not in planned[:at]:
        resumed = (record.resumes(progress) or [{"stage": 0, "step": 0}])[-1]
        done = sum(planned[resumed["stage"] : at]) + step - resumed["step"]
        rate = max(done, 0) / seconds
        if rate and None not in planned[at:]:
            left = max(sum(planned[at:]) - step, 0) / rate
    loss, scores = _newest(lines)
    return Standing(at + 1, len(planned), step, planned[at], rate, left, loss, scores)


def values_in_words(progress: Path) -> str:
    """Loss and last score, as the log has them now; empty if it says none."""
    return ", ".join(_values(*_newest(_lines(progress / "log.jsonl"))))


def _lines(file: Path) -> list[dict[str, Any]]:
    """The last whole lines of a log."""
    found: list[dict[str, Any]] = []
    with suppress(OSError), file.open("rb") as stream:
        size = stream.seek(0, os.SEEK_END)
        stream.seek(max(size - TAIL, 0))
        for line in stream.read().split(b"\n")[1 if size > TAIL else 0 : -1]:
            with suppress(ValueError):
                value = json.loads(line)
                found += [value] if isinstance(value, dict) and "stage" in value else []
    return found


def _newest(lines: list[dict[str, Any]]) -> tuple[float | None, dict[str, float]]:
    """The newest loss, and the newest score by split: a line with a score has no loss."""
    loss = next((float(line["loss"]) for line in reversed(lines) if "loss" in line), None)
    scored: dict[str, Any] = next((line for line in reversed(lines) if "step" in line and "loss" not in line), {})
    return loss, {name: float(value) for name, value in scored.items() if name not in BESIDE}


def _values(loss: float | None, scores: dict[str, float]) -> list[str]:
    said = [f"loss {loss:.4g}"] if loss is not None else []
    return [*said, *(f"{split} {score:.4g}" for split, score in scores.items())]
