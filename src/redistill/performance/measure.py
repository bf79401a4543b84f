"""A measurement in a process of its own: how fast a run's steps are with some runtime, and products of its sizes.

python -m redistill.performance.measure     reads what to measure from the first line of stdin, as JSON; prints `ready`
once it is warm, waits for another line, measures, and prints what it found as JSON. What is measured side by side is so
measured at the same time. `redistill tune` is who asks.
"""

import copy
import json
import os
import resource
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, TextIO

from redistill import environment, registry

WARM = 3  # steps before it is ready
SLOW = 1.0  # seconds of a step after which one is enough
MANY = 10**9  # steps: it ends earlier
PRODUCTS = 3  # sizes, those with most of the work
PRODUCT_SECONDS = 0.25


class Enough(Exception):  # noqa: N818  nothing went wrong
    """All that was asked for has been measured."""


class Speed:
    """A hook that counts steps for some seconds, or so many of them, and then ends the run."""

    def __init__(self, asked: dict[str, Any], answers: TextIO):
        self.asked, self.answers = asked, answers
        self.found: dict[str, Any] = {}
        self.sizes: dict[tuple[int, int, int], int] = {}
        self.handles: list[Any] = []
        self.warm: int | None = None  # steps after which it was ready

    def before_stage(self, stage: Any) -> None:
        from torch import nn

        self.last = time.perf_counter()

        for module in stage.learner.student.modules():
            if isinstance(module, nn.Linear | nn.Conv2d):
                self.handles.append(module.register_forward_hook(self._note_size))

    def _note_size(self, module: Any, inputs: Any, output: Any) -> None:
        """A layer as a product of (rows, inner) and (inner, columns)."""
        columns = module.weight.shape[0]
        inner = module.weight.numel() // columns
        rows = output.numel() // columns
        self.sizes[rows, inner, columns] = self.sizes.get((rows, inner, columns), 0) + rows * inner * columns

    def after_step(self, stage: Any) -> None:
        if stage.step == 1:
            for handle in self.handles:
                handle.remove()
        # processes that train together must count alike, whatever their clocks say
        warm = stage.step == WARM or (not self.asked["steps"] and time.perf_counter() - self.last > SLOW)
        self.last = time.perf_counter()
        if self.warm is None and warm:
            _wait(stage)
            self.warm = stage.step
            self.answers.write("ready\n")
            self.answers.flush()
            sys.stdin.readline()
            self.began = time.perf_counter()
        if self.warm is None or stage.step == self.warm:
            return
        done = stage.step - self.warm
        wanted = self.asked["steps"]
        if done >= wanted if wanted else time.perf_counter() - self.began >= self.asked["seconds"]:
            _wait(stage)
            took = time.perf_counter() - self.began
            self.found = {"steps_a_second": done / took, "steps": done, "batch_size": stage.said["batch_size"]}
            raise Enough

    def after_stage(self, stage: Any) -> None:
        pass


def _wait(stage: Any) -> None:
    import torch

    if stage.accelerator.device.type == "cuda":
        torch.cuda.synchronize()


def train(asked: dict[str, Any], answers: TextIO) -> dict[str, Any]:
    """The speed of the first stage's steps with the runtime that is asked for."""
    from redistill.training.run import run

    config = copy.deepcopy(asked["config"])
    config["runtime"] = asked["runtime"]
    config["stages"] = config["stages"][:1]
    config["stages"][0] |= {"steps": MANY, "epochs": None}
    config["evaluation"]["checkpoint"] = "last"
    speed = Speed(asked, answers)
    with tempfile.TemporaryDirectory() as scratch:
        work = Path(scratch) / "result"
        work.mkdir()
        with suppress(Enough):
            run(config, {role: Path(folder) for role, folder in asked["inputs"].items()}, work,
                {"steps": None, "seconds": None}, (speed,))  # fmt: skip
    found = speed.found | {"peak_memory_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024}
    if asked["products"]:
        sizes = sorted(speed.sizes, key=speed.sizes.__getitem__, reverse=True)[:PRODUCTS]
        found["products"] = [_product(size, p, asked["runtime"]) for size in sizes for p in asked["products"]]
    return found


def _product(size: tuple[int, int, int], precision: str, runtime: dict[str, Any]) -> dict[str, Any]:
    """Speed of a linear layer of a size, forward: (rows, inner) by (inner, columns)."""
    import torch
    from torch import nn

    from redistill.models.linear import use_onednn

    rows, inner, columns = size
    layer = nn.Sequential(nn.Linear(inner, columns))
    if runtime["device"] == "cpu":
        use_onednn(layer, runtime["portable"])
    layer = layer.to(runtime["device"], getattr(torch, precision))
    x = torch.randn(rows, inner, device=runtime["device"], dtype=getattr(torch, precision))

    def wait() -> None:
        if runtime["device"] == "cuda":
            torch.cuda.synchronize()

    with torch.inference_mode():
        for _ in range(3):
            layer(x)
        wait()
        began, times = time.perf_counter(), 0
        while time.perf_counter() - began < PRODUCT_SECONDS:
            layer(x)
            times += 1
        wait()
        took = time.perf_counter() - began
    flops = 2 * rows * inner * columns * times / took
    return {"rows": rows, "inner": inner, "columns": columns, "precision": precision, "gflops": flops / 1e9}


def main() -> None:
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what a run says of itself is not the answer
    asked = json.loads(sys.stdin.readline())
    environment.pin(asked["runtime"])
    registry.use(registry.Plugin(p["kind"], p["name"], Path(p["file"]), p["sha256"]) for p in asked["plugins"])
    answers.write(json.dumps(train(asked, answers)) + "\n")
    answers.flush()
    os._exit(0)  # processes that trained together have nothing more to say to each other


if __name__ == "__main__":
    main()
