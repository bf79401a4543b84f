"""What the peers' benchmarks share: a clock that marks steps, the arguments, and the file that a run leaves."""

import argparse
import importlib.metadata
import json
import os
import platform
import time
from pathlib import Path
from typing import Any

import psutil
import torch

PACKAGES = ("torch", "transformers", "accelerate", "datasets", "torchvision", "torchdistill")


class StepClock:
    """Marks the end of every step; a step lasts from the end of the one before, so fetching its batch is part of it."""

    def __init__(self) -> None:
        self.marks: list[float] = []

    def start(self) -> None:
        """The first step starts now; later calls change nothing, so that it may be told of every epoch."""
        if not self.marks:
            self.marks.append(time.perf_counter())

    def step(self) -> None:
        """A step has ended."""
        self.marks.append(time.perf_counter())

    @property
    def steps(self) -> int:
        return max(len(self.marks) - 1, 0)

    @property
    def seconds_per_step(self) -> list[float]:
        return [later - earlier for earlier, later in zip(self.marks, self.marks[1:], strict=False)]


def parser(description: str, tools: tuple[str, ...]) -> argparse.ArgumentParser:
    """The arguments that both benchmarks take."""
    made = argparse.ArgumentParser(description=description)
    made.add_argument("tool", choices=tools)
    made.add_argument("folder", type=Path, help="data, weights and settings.json")
    made.add_argument("--epochs", type=int, help="settings.json says when this does not")
    made.add_argument("--steps", type=int, help="stop after so many steps; the schedule stays that of all epochs")
    made.add_argument("--threads", type=int, default=2)
    made.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    made.add_argument("--seed", type=int, default=0)
    made.add_argument("--out", type=Path, required=True)
    return made


def read_settings(folder: Path, defaults: dict[str, Any]) -> dict[str, Any]:
    """settings.json of the folder, if there is one, over the defaults."""
    file = folder / "settings.json"
    return defaults | (json.loads(file.read_text()) if file.is_file() else {})


def write(arguments: argparse.Namespace, clock: StepClock, samples: int, extra: dict[str, Any]) -> None:
    """Write what a run measured, and print its rate."""
    seconds = sum(clock.seconds_per_step)
    result = {
        "tool": arguments.tool,
        "steps": clock.steps,
        "samples": samples,
        "seconds": seconds,
        "seconds_per_step": [round(step, 5) for step in clock.seconds_per_step],
        "samples_per_second": samples / seconds,
        "samples_per_step": [samples / clock.steps] * clock.steps,
        "total_seconds": time.time() - psutil.Process().create_time(),
        **extra,
        "threads": torch.get_num_threads(),
        "cores": os.cpu_count(),
        "seed": arguments.seed,
        "versions": {"python": platform.python_version()}
        | {name: importlib.metadata.version(name) for name in PACKAGES},
    }
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(result, indent=2) + "\n")
    print(f"{arguments.tool}: {clock.steps} steps, {samples} samples, {result['samples_per_second']:.1f} samples/s")
