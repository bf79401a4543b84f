"""How fast a run's steps are on a GPU: workloads of the paper at full size, with random weights and random data.

python benchmarks/gpu.py [--out FILE] [--steps N] [WORKLOAD...]     on a machine with a GPU that nothing else uses

Each workload is trained in a process of its own by the function that makes runs, with the recipe of the study `paper`,
in each arithmetic. One batch is shown again and again, so that nothing is read or decoded. It lies on the GPU; or in
memory where that is said, from which a run takes its batches. Writes benchmarks/results/gpu-NAME.json, or FILE.
"""

import argparse
import itertools
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from gpu_inputs import inputs_of, made_batch

from redistill import environment
from redistill.plan import make_plan
from redistill.provenance import nvidia, store
from redistill.provenance.record import machine

Config = dict[str, Any]
MARK = "measured "  # begins a line of a process that measures
WARM = 4  # steps that are not counted; operations are counted in the first
EACH = ("float32", "tf32", "bfloat16")  # all of it; a study's `float32` has convolutions in TF32, products in float32
LIVE = {"teacher_outputs": "live"}
# experiment, task, what is changed in its first stage, tokens of a text, and what is varied
WORKLOADS: dict[str, tuple[str, str, Config, int, tuple[str, ...]]] = {
    "ResNet-18 from ResNet-34 by KD, ImageNet": (
        "imagenet/kd", "imagenet/ilsvrc2012", {}, 0,
        (*EACH, "float16", "bfloat16, from memory", "tf32, any kernels", "bfloat16, any kernels"),
    ),
    "GHND Faster R-CNN, COCO": ("coco/ghnd-fasterrcnn", "coco/detection", {}, 0, EACH),
    "BERT-Base from BERT-Large by KD, texts of 128 tokens": (
        "glue/bert-base-kd", "glue/mnli", LIVE, 128, (*EACH, "float16")
    ),
    "BERT-Base from BERT-Large by KD, texts of 40 tokens": ("glue/bert-base-kd", "glue/mnli", LIVE, 40, EACH),
    "ResNet-20, CIFAR-10": ("cifar/resnet-20", "cifar/cifar10", {}, 0, (*EACH, "float32, from memory")),
}  # fmt: skip


class EnoughError(Exception):
    """As many steps as were asked for are done."""


class Shown:
    """A batch that is shown at every pass, in the place of a stage's data."""

    def __init__(self, examples: int, batch: Config, device: str):
        from redistill.data.examples import on

        self.examples, self.made, self.on = examples, on(batch, device), on

    def __len__(self) -> int:
        return self.examples

    def batch(self, indices: Any, device: str, seeds: Any = None) -> Config:
        taken = {name: value[: len(indices)] for name, value in self.made.items()}
        moved: Config = self.on(taken, device)
        return moved

    def seeds(self, *_: Any) -> None:
        return None


class Clock:
    """A hook that shows the batch, takes the time of every step, and ends the run after so many."""

    def __init__(self, config: Config, tokens: int, way: str, steps: int):
        self.config, self.tokens, self.way, self.limit = config, tokens, way, steps
        self.marks = list[float]()
        self.found: Config = {}

    def before_stage(self, stage: Any) -> None:
        import numpy as np
        import torch
        from torch.utils.flop_counter import FlopCounterMode

        size = stage.said["batch_size"]
        a_pass = -(-size // stage.said["accumulate"])
        where = "cpu" if "memory" in self.way else "cuda"
        stage.data = Shown(size, made_batch(self.config["task"], a_pass, self.tokens), where)
        stage.batches = itertools.repeat(np.arange(size))
        if "any kernels" in self.way:
            torch.set_deterministic_debug_mode("default")
        torch.cuda.reset_peak_memory_stats()
        self.counter = FlopCounterMode(display=False)
        self.counter.__enter__()

    def after_step(self, stage: Any) -> None:
        import torch

        torch.cuda.synchronize()
        if stage.step == 1:
            self.counter.__exit__(None, None, None)
            self.operations = self.counter.get_total_flops()
        if stage.step == WARM:
            self.joules = sum(nvidia.millijoules().values()) / 1000
        if stage.step >= WARM:
            self.marks.append(time.perf_counter())
        if stage.step == WARM + self.limit:
            self._end(stage)
            raise EnoughError

    def _end(self, stage: Any) -> None:
        import torch

        size, took = stage.said["batch_size"], self.marks[-1] - self.marks[0]
        each = [after - before for before, after in zip(self.marks, self.marks[1:], strict=False)]
        joules = sum(nvidia.millijoules().values()) / 1000 - self.joules
        self.found = {
            "examples a second": size * self.limit / took, "batch": size, "steps": self.limit,
            "milliseconds a step": {
                "median": 1000 * statistics.median(each), "least": 1000 * min(each), "most": 1000 * max(each),
            },
            "operations a step": self.operations, "operations a second": self.operations * self.limit / took,
            "MiB of the GPU": torch.cuda.max_memory_allocated() // 2**20,
            "joules an example": joules / (size * self.limit) if joules else None,
        }  # fmt: skip

    def after_stage(self, stage: Any) -> None:
        pass


# --- measuring -------------------------------------------------------------------------------------------------------


def measured(root: Path, workload: str, steps: int) -> Iterator[tuple[str, Config]]:
    """The speed of a workload in each way, in this process."""
    experiment, task, changes, length, ways = WORKLOADS[workload]
    plan = make_plan(root, "paper")
    wanted = plan.configs[experiment, task]
    node = next(n for n in plan.nodes.values() if n.parts["kind"] == "run" and n.config == wanted)
    runtime = {**wanted["runtime"], "device": "cuda", "portable": False, "devices": 1}
    environment.pin(runtime)
    from accelerate.state import AcceleratorState

    with tempfile.TemporaryDirectory() as scratch:
        inputs = inputs_of(plan, node, Path(scratch))
        for way in ways:
            clock = Clock(wanted, length, way, steps)
            one_way(node.config, changes, runtime, inputs, Path(scratch), way, clock)
            AcceleratorState._reset_state(reset_partial_state=True)
            yield way, clock.found


def one_way(
    config: Config, changes: Config, runtime: Config, inputs: dict[str, Path], scratch: Path, way: str, clock: Clock
) -> None:
    """Train for so many steps in one arithmetic."""
    import copy

    import torch

    from redistill.training.run import run

    arithmetic = way.split(",")[0]
    tf32 = arithmetic == "tf32"
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = tf32
    said = {**copy.deepcopy(config), "runtime": {**runtime, "precision": "float32" if tf32 else arithmetic}}
    said["stages"] = said["stages"][:1]
    said["stages"][0] |= {"steps": 10**6, "epochs": None, **changes}
    said["evaluation"]["checkpoint"] = "last"
    work = scratch / "work" / "result"
    work.mkdir(parents=True, exist_ok=True)
    with suppress(EnoughError):
        run(said, inputs, work, {"steps": None, "seconds": None}, (clock,))
    torch.cuda.empty_cache()


def main() -> None:
    asked = argparse.ArgumentParser()
    asked.add_argument("--out", type=Path)
    asked.add_argument("--steps", type=int, default=12)
    asked.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    asked.add_argument("workloads", nargs="*", default=list(WORKLOADS))
    said = asked.parse_args()
    root = Path(__file__).parents[1]
    if said.here:
        for way, found in measured(root, said.workloads[0], said.steps):
            print(MARK + json.dumps([way, found]), flush=True)
        return
    result: Config = {"command": "python benchmarks/gpu.py", **software(), "workloads": {}}
    name = "-".join(result["machine"]["devices"][0].lower().split()[1:2])
    out = said.out or root / "benchmarks" / "results" / f"gpu-{name}.json"
    for workload in said.workloads:
        command = [sys.executable, __file__, "--here", "--steps", str(said.steps), workload]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            for line in process.stdout:
                if line.startswith(MARK):
                    way, found = json.loads(line.removeprefix(MARK))
                    result["workloads"].setdefault(workload, {})[way] = found
                    print(f"{workload}, {way}: {found['examples a second']:.0f} examples/s", flush=True)
                    store.write_atomically(out, store.pretty(result))


def software() -> Config:
    import torch

    return {
        "machine": machine(), "driver": nvidia.driver(), "torch": torch.__version__, "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version(),
    }  # fmt: skip


if __name__ == "__main__":
    main()
