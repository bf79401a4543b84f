"""A hook that takes the time of every part of a step, and lets torch's profiler look at a few steps more.

The parts are told apart at their seams: what the loop calls of a stage (its batches, teachers, loss, optimiser) is
wrapped in a clock while the stage is trained, and put back afterwards. The loop itself is the one that every run has.
"""

import math
import resource
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.profiler import ProfilerActivity, profile, record_function

from redistill.training.loop import Stage

WARM = 3  # steps of a stage that are not counted: memory is taken, kernels are chosen
PROFILED = 5  # steps under torch's profiler, which slows them: they are not counted either
OPERATORS = 10  # that are shown
# part of a step -> what the loop calls in it: an attribute of the stage ("" for the stage itself), and its method
SEAMS = {
    "data": [("data", "batch")],
    "teachers": [("teachers", "see")],
    "forward": [("prepared", "forward")],
    "loss": [("loss", "values"), ("loss", "total")],
    "backward": [("accelerator", "backward")],
    "optimiser": [
        ("accelerator", "clip_grad_norm_"), ("optimiser", "step"), ("optimiser", "zero_grad"), ("rows", "after_step")
    ],
}  # fmt: skip
PARTS = (*SEAMS, "hooks", "rest")


class Phases:
    """Times of the stages of a run that is trained for `steps(n)` steps a stage.

    Args:
        counted: steps of each stage whose parts are timed.
        chooses: whether the run evaluates at the end of an epoch.
        traces: folder for a Chrome trace of each stage, if wanted.
    """

    def __init__(self, counted: int, chooses: bool = False, traces: Path | None = None):
        self.counted, self.chooses, self.traces = counted, chooses, traces
        self.stages: list[dict[str, Any]] = []
        self.loading: list[float] = []
        self.ended = self.begun = self.predicted = time.perf_counter()

    @staticmethod
    def steps(counted: int) -> int:
        """How many steps a stage must have; the last one is free of the profiler, for the evaluation after it."""
        return WARM + counted + PROFILED + 1

    def before_stage(self, stage: Stage) -> None:
        self.loading.append(time.perf_counter() - self.ended)
        self.device = stage.accelerator.device
        self.undo: list[tuple[Any, str, Any]] = []
        self.evaluations: list[float] = []
        self.lengths = stage.data.lengths if stage.data.tokens is not None else None
        self.profiler: profile | None = None
        self._begin_counting()
        stage.batches = _Batches(stage.batches, self)  # type: ignore[assignment]
        for part, seams in SEAMS.items():
            for holder, method in seams:
                self._wrap(getattr(stage, holder, None), method, part)
        self._wrap(stage.accelerator, "reduce", "rest", self._reduced)
        self.left = time.perf_counter()

    def _begin_counting(self) -> None:
        self.spent: dict[str, float] = defaultdict(float)
        self.whole: list[float] = []
        self.seen: list[np.ndarray] = []

    def _wrap(self, holder: Any, method: str, part: str, then: Callable[[], None] = lambda: None) -> None:
        if holder is None:
            return
        inner = getattr(holder, method)

        def timed(*arguments: Any, **named: Any) -> Any:
            with self.clock(part):
                result = inner(*arguments, **named)
            if part == "data":
                self.seen.append(arguments[0])
            then()
            return result

        self.undo.append((holder, method, holder.__dict__.get(method)))
        setattr(holder, method, timed)

    @contextmanager
    def clock(self, part: str) -> Iterator[None]:
        """Count what is done inside towards a part. A GPU is waited for, so that its work is counted where it is
        asked for; that takes away what it would have done meanwhile.
        """
        begun = time.perf_counter()
        with record_function(f"redistill: {part}") if self.profiler is not None else nullcontext():
            yield
            self._wait()
        self.spent[part] += time.perf_counter() - begun

    def _wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def begin_step(self) -> None:
        """The first batch of the step is about to be drawn: until here, it was hooks and the loop."""
        self.spent["hooks"] += time.perf_counter() - self.left

    def _reduced(self) -> None:
        self.computed = time.perf_counter()

    def after_step(self, stage: Stage) -> None:
        now = time.perf_counter()
        after = now - self.computed
        evaluated = self.chooses and stage.ends_epoch and stage.loss.needs_student
        if not evaluated:
            self.spent["hooks"] += after
        elif self.profiler is None:
            self.evaluations.append(after)
        self.whole.append(now - self.left - (after if evaluated else 0.0))
        if stage.step == WARM:
            self._begin_counting()
        elif stage.step == WARM + self.counted:
            self._note(stage)
            activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if self.device.type == "cuda" else [])]
            self.profiler = profile(activities=activities)
            self.profiler.start()
        elif stage.step == WARM + self.counted + PROFILED:
            self._note_operators(stage)
        self.left = time.perf_counter()

    def _note(self, stage: Stage) -> None:
        """What was counted, as the mean of a step."""
        steps, total = len(self.whole), sum(self.whole)
        spent = {part: self.spent[part] for part in PARTS}
        spent["rest"] += max(total - sum(spent.values()), 0.0)
        milliseconds = {part: 1000 * seconds / steps for part, seconds in spent.items()}
        whole = sorted(self.whole)
        examples = sum(map(len, self.seen))
        noted = {
            "stage": stage.index, "steps_timed": steps, "steps_an_epoch": stage.per_epoch,
            "milliseconds": milliseconds, "milliseconds_a_step": sum(milliseconds.values()),
            "median_step": 1000 * whole[len(whole) // 2], "slowest_step": 1000 * whole[-1],
            "examples_a_second": examples / total, "loss": str(stage.loss),
        }  # fmt: skip
        if self.lengths is not None:
            real = sum(int(self.lengths[batch].sum()) for batch in self.seen)
            computed = sum(len(batch) * int(self.lengths[batch].max()) for batch in self.seen)
            noted |= {"tokens_a_second": real / total, "padding_share": 1 - real / computed}
        self.stages.append(noted)

    def _note_operators(self, stage: Stage) -> None:
        """Which operators the time went to, each without what it calls itself."""
        assert self.profiler is not None
        self.profiler.stop()
        device = "device" if self.device.type == "cuda" else "cpu"
        found = [
            (getattr(event, f"self_{device}_time_total"), event.key, event.count)
            for event in self.profiler.key_averages()
            if not event.key.startswith(("redistill: ", "ProfilerStep", "Optimizer."))
        ]
        whole = sum(microseconds for microseconds, _, _ in found) or 1
        self.stages[-1]["operators"] = [
            {"name": name, "calls_a_step": calls / PROFILED, "share": microseconds / whole}
            for microseconds, name, calls in sorted(found, reverse=True)[:OPERATORS]
        ]
        if self.traces is not None:
            self.profiler.export_chrome_trace(str(self.traces / f"{stage.index}.json"))
        self.profiler = None

    def after_stage(self, stage: Stage) -> None:
        for holder, method, before in reversed(self.undo):
            if before is None:
                delattr(holder, method)
            else:
                setattr(holder, method, before)
        self.stages[-1]["seconds_an_evaluation"] = (
            sum(self.evaluations) / len(self.evaluations) if self.evaluations else None
        )
        self.ended = time.perf_counter()
        self.predicted = math.inf
        self.hook = stage.learner.student.register_forward_pre_hook(self._first_prediction)

    def _first_prediction(self, model: torch.nn.Module, _: Any) -> None:
        if not model.training:
            self.predicted = min(self.predicted, time.perf_counter())

    def end(self) -> dict[str, float]:
        """What came after the last step: seconds in which weights were saved, and in which splits were predicted."""
        self.hook.remove()
        now = time.perf_counter()
        began = min(self.predicted, now)
        return {"saving": began - self.ended, "predicting": now - began}

    def peak_memory(self) -> dict[str, int]:
        """Peak of memory in MiB: of the process, and on the GPU."""
        found = {"peak_memory_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024}
        if self.device.type == "cuda":
            found["peak_device_memory_mib"] = torch.cuda.max_memory_allocated(self.device) // 2**20
        return found


class _Batches:
    """The batches of a stage, drawn against the clock."""

    def __init__(self, batches: Any, phases: Phases):
        self.batches, self.phases = batches, phases

    def __next__(self) -> np.ndarray:
        self.phases.begin_step()
        with self.phases.clock("data"):
            batch: np.ndarray = next(self.batches)
        return batch

    def __getattr__(self, name: str) -> Any:
        return getattr(self.batches, name)
