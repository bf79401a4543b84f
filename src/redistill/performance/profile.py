"""Where a run's time goes: it is trained for some steps in a scratch folder, and the store is not touched."""

import copy
import json
import math
import os
import re
import tempfile
import time
from pathlib import Path
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.table import Table

from redistill import environment
from redistill.errors import RedistillError
from redistill.performance.units import bounded, seconds_of
from redistill.plan import Node
from redistill.provenance import record, store
from redistill.provenance.keys import KEY_LENGTH
from redistill.specification import read_specification, specification

KEY = re.compile(rf"[0-9a-f]{{{KEY_LENGTH}}}")
TRAINED = ("run", "teacher", "student")  # kinds that have steps

Inputs = dict[str, Path]


def is_key(name: str) -> bool:
    return KEY.fullmatch(name) is not None


def by_key(root: Path, key: str) -> tuple[Node, Inputs]:
    """A run that was planned or made here, and the folders of its inputs.

    Raises:
        RedistillError: nothing has this key, or an input is not there.
    """
    node = _node(root, key)
    refuse_without_steps(node)
    inputs = {role: _folder(root, other) for role, other in node.inputs.items()}
    missing = [role for role, folder in inputs.items() if folder is None]
    if missing:
        raise RedistillError(f"{node.title}: its {missing[0]} is not there; make the run's inputs first")
    return node, {role: folder for role, folder in inputs.items() if folder is not None}


def _node(root: Path, key: str) -> Node:
    noted = root / "store" / "records" / f"{key}.json"
    try:
        return read_specification(root, key).node  # which makes its plugins known
    except RedistillError:
        if specification(root, key).is_file() and not noted.is_file():
            raise  # it was planned with other code
    if not noted.is_file():
        raise RedistillError(f"nothing with the key {key} was planned or made here; `redistill plan` lists keys")
    value = record.read(noted)
    return Node(value["key_parts"]["kind"], value["what"], value["key_parts"])


def _folder(root: Path, key: str) -> Path | None:
    return next((done.parent for done in sorted((root / "store").glob(f"*/{key}/done.json"))), None)


def refuse_without_steps(node: Node) -> None:
    """Raises:
    RedistillError: the thing is no run, or one without steps: a baseline, or a model as it is.
    """
    if node.kind == "baseline":
        raise RedistillError(f"{node.title} is a baseline: it has no steps that could be timed")
    if node.kind not in TRAINED:
        raise RedistillError(f"{node.title} is no run but of the kind `{node.kind}`: only runs have steps to be timed")
    if not node.config["stages"]:
        raise RedistillError(f"{node.title} has no stages: it is a model as it is, without steps that could be timed")


def profile(node: Node, inputs: Inputs, steps: int = 30, trace: Path | None = None) -> dict[str, Any]:
    """Train a run for some steps of every stage, in this process, which must not have imported torch yet.

    Args:
        steps: of each stage, that are timed.
        trace: where to write what torch's profiler saw of the stage that takes most of the run, for Chrome's viewer.

    Returns:
        the times of all parts, as `report` prints them.
    """
    config = copy.deepcopy(node.config)
    config["runtime"] |= {"devices": 1, "strategy": "ddp"}
    environment.pin(config["runtime"])
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # the profiler's own words, such as that there is no GPU
    begun = time.perf_counter()
    from redistill.performance.phases import Phases
    from redistill.training.run import run

    if config["task"]["input"] == "text":
        import redistill.models.text  # noqa: F401  transformers, which a run imports when it builds its student

    imported = time.perf_counter()
    said = copy.deepcopy(config["stages"])
    for stage in config["stages"]:
        stage["steps"], stage["epochs"] = Phases.steps(steps), None
    with tempfile.TemporaryDirectory() as scratch:
        work = Path(scratch) / "result"
        work.mkdir()
        phases = Phases(steps, config["evaluation"]["checkpoint"] == "best", Path(scratch) if trace else None)
        run(config, inputs, work, {"steps": None, "seconds": None}, (phases,))
        end = phases.end()
        for stage, its in zip(phases.stages, said, strict=True):
            stage["steps"] = its["steps"] or its["epochs"] * stage["steps_an_epoch"]
        result = {
            "run": node.title, "key": node.key, "runtime": node.config["runtime"], "machine": record.machine(),
            "start": {"imports": imported - begun, "loading": sum(phases.loading)},
            "stages": phases.stages, "end": end, **phases.peak_memory(),
        }  # fmt: skip
        result["whole"] = _whole(result)
        if trace is not None:
            longest = max(phases.stages, key=lambda stage: stage["steps"] * stage["milliseconds_a_step"])
            store.write_atomically(trace, (Path(scratch) / f"{longest['stage']}.json").read_text(encoding="utf-8"))
    return result


def _whole(result: dict[str, Any]) -> dict[str, float]:
    """Seconds that the parts of the whole run take, at the speed of the steps that were timed."""
    spent = dict(result["start"])
    for stage in result["stages"]:
        for part, milliseconds in stage["milliseconds"].items():
            spent[part] = spent.get(part, 0.0) + milliseconds * stage["steps"] / 1000
        if stage["seconds_an_evaluation"] is not None:
            times = math.ceil(stage["steps"] / stage["steps_an_epoch"])
            spent["evaluation"] = spent.get("evaluation", 0.0) + times * stage["seconds_an_evaluation"]
    return spent | result["end"]


PARTS = {
    "imports": "importing torch and what else a run needs",
    "loading": "reading data, weights and teachers; building models",
    "data": "batches: drawing and padding them",
    "teachers": "teachers that are tapped while the student trains",
    "forward": "the student and auxiliary modules, forward",
    "loss": "the terms of the loss",
    "backward": "backward",
    "optimiser": "clipping and the optimiser",
    "hooks": "hooks: log, checkpoints, the bar; setting the rate",
    "rest": "the rest of the loop",
    "evaluation": "choosing the best epoch",
    "saving": "writing the weights, reading the splits to predict",
    "predicting": "predictions on dev and select",
}


def report(result: dict[str, Any]) -> Group:
    """The times as tables."""
    whole, total = result["whole"], sum(result["whole"].values())
    table = Table(title=f"{result['run']}: about {seconds_of(total)} from start to end", title_justify="left")
    for name, justify in (("part", "left"), ("seconds", "right"), ("share", "right"), ("what", "left")):
        table.add_column(name, justify=justify)  # type: ignore[arg-type]
    for part, what in PARTS.items():
        if whole.get(part, 0.0) > 0:
            table.add_row(part, f"{whole[part]:.2f}", f"{whole[part] / total:.1%}", what)
    parts: list[RenderableType] = [table, *(_stage(stage) for stage in result["stages"])]
    together = environment.devices(result["runtime"])
    if together > 1:
        parts.append(f"Timed on one device; the study trains a run on {together}.")
    device = result.get("peak_device_memory_mib")
    parts.append(f"Peak of memory: {result['peak_memory_mib']} MiB" + (f", on the GPU {device} MiB" if device else ""))
    return Group(*parts)


def _stage(stage: dict[str, Any]) -> Group:
    speed = f"{stage['examples_a_second']:.0f} examples/s"
    if "tokens_a_second" in stage:
        speed += (
            f", {stage['tokens_a_second']:,.0f} tokens/s, {stage['padding_share']:.1%} of what is computed is padding"
        )
    title = (
        f"\nStage {stage['stage']}: {stage['milliseconds_a_step']:.1f} ms a step, mean of {stage['steps_timed']} "
        f"(median {stage['median_step']:.1f}, slowest {stage['slowest_step']:.1f}), of {stage['steps']} in the run\n"
        f"{speed}"
    )
    steps = Table()
    for name in ("part", "ms a step", "share"):
        steps.add_column(name, justify="left" if name == "part" else "right")
    for part, milliseconds in stage["milliseconds"].items():
        if milliseconds > 0:
            steps.add_row(part, f"{milliseconds:.2f}", f"{milliseconds / stage['milliseconds_a_step']:.1%}")
    operators = Table()
    for name in ("operator", "calls a step", "share"):
        operators.add_column(name, justify="left" if name == "operator" else "right")
    for operator in stage["operators"]:
        operators.add_row(operator["name"], f"{operator['calls_a_step']:.0f}", f"{operator['share']:.1%}")
    return Group(title, steps, operators)


def show(result: dict[str, Any], as_json: bool) -> None:
    """Print the tables, or what they are made of."""
    if as_json:
        print(json.dumps(bounded(result), indent=1))
        return
    Console(width=None if Console().is_terminal else 120, soft_wrap=True, markup=False).print(report(result))
