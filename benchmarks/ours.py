"""What redistill does for the speed benchmark: one measurement of the engine in a process of its own.

python benchmarks/ours.py WHAT EXPERIMENT [--steps N] [--threads N] [--device D] [--portable] [--precision P]
    [--without WAY] [--memory] --out FILE

Run inside the project that benchmarks/speed.py lays out. WHAT is `train` (steps of a run, by the function that makes
runs), `outputs` (the teacher's outputs over the training split) or `predict` (predictions of the student's run).
"""

import argparse
import json
import resource
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

from redistill import environment
from redistill.config.check import check_experiment
from redistill.plan import Node, Plan, lay_out

PREDICTED = 2000  # examples of a prediction, as many as the peer's


WAYS = ("first token", "attention", "linear layers", "dropout", "used rows", "large blocks", "like lengths")


def leave_out(ways: list[str]) -> None:
    """Train the plain way instead; in this process alone, and only to measure what a way is worth."""
    from redistill.models import load, text
    from redistill.training import run, sampler

    left: Any = set(WAYS) if "all" in ways else set(ways)
    if "first token" in left:
        text.read_first_token = lambda model: None
    if "attention" in left:
        text.attention.NAME = "eager"
        text.attention.register = lambda: None
    if "linear layers" in left:
        load.use_onednn = lambda *_: None
    if "dropout" in left:
        load.use_own_dropout = lambda model: None
    if "used rows" in left:
        run.use_rows = lambda *_: None
    if "large blocks" in left:
        load.give_back_large_blocks = lambda: None
    if "like lengths" in left:
        sampler.POOL = 1


class EnoughError(Exception):
    """As many steps as were asked for are done."""


class Clock:
    """A hook that marks every step, counts its tokens, and ends the run after so many steps."""

    def __init__(self, limit: int):
        self.limit, self.marks = limit, list[float]()
        self.samples, self.real, self.computed = list[int](), list[int](), list[int]()  # of each step
        self.memory: list[int] = []
        self.before = psutil.Process().memory_info().rss

    def before_stage(self, stage: Any) -> None:
        self.stage, self.data = stage, stage.data
        take = stage.data.batch

        def counted(indices: Any, device: str = "cpu") -> Any:
            lengths = stage.data.lengths[indices]
            self.samples.append(len(indices))
            self.real.append(int(lengths.sum()))
            self.computed.append(len(indices) * int(lengths.max()))
            return take(indices, device)

        stage.data.batch = counted
        self.marks.append(time.perf_counter())

    def after_step(self, stage: Any) -> None:
        self.marks.append(time.perf_counter())
        self.memory.append(psutil.Process().memory_info().rss)
        if len(self.marks) > self.limit:
            raise EnoughError

    def needed(self) -> dict[str, int]:
        """MiB of weights, of gradients and optimiser, and of what the longest batch keeps for its backward pass."""
        import torch

        from redistill.training.loop import one_pass

        kept: dict[int, int] = {}

        def note(tensor: Any) -> Any:
            kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        stage, size = self.stage, self.stage.said["batch_size"]
        longest = self.data.lengths.argsort()[-size:]
        state = [*stage.learner.parameters(), *stage.learner.buffers()]
        weights = {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in state}
        with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
            found = one_pass(stage, longest)
        activations = sum(nbytes for place, nbytes in kept.items() if place not in weights)
        trained = sum(p.nbytes for group in stage.optimiser.param_groups for p in group["params"])
        del found
        sizes = {"weights": sum(weights.values()), "gradients and optimiser": 3 * trained, "activations": activations}
        return {name: value >> 20 for name, value in sizes.items()}

    def after_stage(self, stage: Any) -> None:
        pass


def main() -> None:
    arguments = _arguments()
    root = Path.cwd()
    plan = lay_out(root, check_experiment(root, arguments.experiment, [arguments.task], [0], "speed"))
    node = plan.nodes[plan.runs[0].key]
    runtime = node.config["runtime"] | {
        "threads": arguments.threads, "portable": arguments.portable, "precision": arguments.precision,
        "device": arguments.device,
    }  # fmt: skip
    environment.pin(runtime)
    leave_out(arguments.without)
    measure = {"train": _train, "outputs": _outputs, "predict": _predict}[arguments.what]
    result = measure(plan, node, runtime, arguments)
    result |= {"what": arguments.what, "experiment": arguments.experiment, "threads": arguments.threads,
               "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024}  # fmt: skip
    arguments.out.write_text(json.dumps(result) + "\n", encoding="utf-8")


def _arguments() -> argparse.Namespace:
    made = argparse.ArgumentParser(description=__doc__)
    made.add_argument("what", choices=("train", "outputs", "predict"))
    made.add_argument("experiment")
    made.add_argument("--task", default="speed/texts")
    made.add_argument("--steps", type=int, default=20)
    made.add_argument("--threads", type=int, default=1)
    made.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    made.add_argument("--portable", action="store_true")
    made.add_argument("--precision", default="float32")
    made.add_argument("--without", nargs="*", choices=(*WAYS, "all"), default=[], help="ways that are not taken")
    made.add_argument("--memory", action="store_true", help="also work out what memory a run needs")
    made.add_argument("--out", type=Path, required=True)
    return made.parse_args()


def _folders(plan: Plan, node: Node) -> dict[str, Path]:
    return {role: plan.nodes[key].folder(plan.root) for role, key in node.inputs.items()}


def _train(plan: Plan, node: Node, runtime: dict[str, Any], arguments: argparse.Namespace) -> dict[str, Any]:
    from redistill.training.run import SAVED, run

    clock = Clock(arguments.steps)
    with tempfile.TemporaryDirectory() as scratch:
        work = Path(scratch) / "result"
        work.mkdir()
        with suppress(EnoughError):
            run(node.config | {"runtime": runtime}, _folders(plan, node), work, SAVED, (clock,))
    steps = len(clock.marks) - 1
    return {
        "seconds_per_step": [b - a for a, b in zip(clock.marks, clock.marks[1:], strict=False)],
        "samples_per_step": clock.samples[-steps:], "real_tokens_per_step": clock.real[-steps:],
        "real_tokens": sum(clock.real[-steps:]), "computed_tokens": sum(clock.computed[-steps:]),
        "memory": clock.memory, "before": clock.before, "needed": clock.needed() if arguments.memory else None,
    }  # fmt: skip


def _outputs(plan: Plan, node: Node, runtime: dict[str, Any], arguments: argparse.Namespace) -> dict[str, Any]:
    from redistill.distill.outputs import make_outputs

    key = next(key for role, key in node.inputs.items() if role.startswith("outputs "))
    asked = plan.nodes[key]
    with tempfile.TemporaryDirectory() as scratch:
        began = time.perf_counter()
        done = make_outputs(asked.config | {"runtime": runtime}, _folders(plan, asked), Path(scratch))
        return {"seconds": time.perf_counter() - began, **done}


def _predict(plan: Plan, node: Node, runtime: dict[str, Any], arguments: argparse.Namespace) -> dict[str, Any]:
    import numpy as np

    from redistill.data import examples
    from redistill.models import load, predict

    load.prepare_torch(runtime, node.config["task"])
    data = examples.load(node.config["task"], _folders(plan, node), ["dev"])
    again = np.resize(np.arange(len(data)), PREDICTED)
    assert data.tokens is not None
    more = examples.Examples(
        [data.ids[i] for i in again], [data.splits[i] for i in again], data.labels[again], data.lengths[again],
        tokens=[data.tokens[i] for i in again], types=data.types and [data.types[i] for i in again],
    )  # fmt: skip
    model = load.load_run(node.folder(plan.root), runtime)
    began = time.perf_counter()
    predict.logits_over(model, more, node.config["evaluation"]["batch_size"], runtime["device"])
    seconds = time.perf_counter() - began
    return {"seconds": seconds, "samples": PREDICTED, "samples_per_second": PREDICTED / seconds}


if __name__ == "__main__":
    main()
