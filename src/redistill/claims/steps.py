"""Train a run once more beside the store, in a process of its own, and write the digest of every step.

`traced` starts `python -m redistill.claims.steps PARENT`, which reads on standard input what to do.
"""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from redistill import environment, failures, registry
from redistill.audit.again import scratch, task_of
from redistill.errors import RedistillError
from redistill.interruption import die_with_parent
from redistill.provenance import store
from redistill.provenance.published import Thing

WEIGHTS = "model.safetensors"
Line = dict[str, Any]


@dataclass(frozen=True)
class Traced:
    """What training once more gave: a line before each stage and after each step, and the digest of the weights.

    The lines of one step's operations stand among them where they were asked for.
    """

    lines: list[Line]
    weights: str


def steps_of(thing: Thing) -> None:
    """Whether a thing has steps that can be traced.

    Raises:
        RedistillError: it has none, or several processes take them together.
    """
    config = thing.parts["config"]
    if thing.kind != "run" or not (config.get("stages") or "trials" in config):
        raise RedistillError(f"{thing.title} ({thing.kind}) has no steps")
    if config["runtime"]["processes"] > 1:
        raise RedistillError(f"{thing.title} is trained by several processes together: its steps cannot be traced")


def traced(root: Path, thing: Thing, stage: int = 0, step: int | None = None) -> Traced:
    """Train a run once more from its inputs in the store, which stays as it is; with a step, look into its operations.

    Raises:
        RedistillError: it has no steps, an input is not in the store, or it cannot be trained; says why.
    """
    steps_of(thing)
    with scratch(root) as folder:
        task = task_of(root, thing, folder)
        told = {
            "config": task.config, "inputs": {role: str(path) for role, path in task.inputs.items()},
            "plugins": task.plugins, "runtime": task.runtime, "folder": str(folder), "stage": stage, "step": step,
        }  # fmt: skip
        command = [sys.executable, "-m", "redistill.claims.steps", str(os.getpid())]
        pinned = {**os.environ, **environment.variables(task.runtime)}
        done = subprocess.run(command, cwd=root, env=pinned, input=json.dumps(told), capture_output=True, text=True)
        if done.returncode:
            said = done.stderr.strip().splitlines()
            raise RedistillError(f"{thing.title}: could not be traced: {said[-1] if said else done.returncode}")
        text = (folder / "trace.jsonl").read_text(encoding="utf-8")
        weights = store.sha256_file(folder / "result" / WEIGHTS)
    return Traced([json.loads(line) for line in text.splitlines()], weights)


def main() -> None:
    die_with_parent(int(sys.argv[1]))
    told = json.load(sys.stdin)
    try:
        _train(told)
    except Exception as error:
        sys.exit(failures.explained(error))


def _train(told: dict[str, Any]) -> None:
    environment.pin(told["runtime"])
    registry.use(registry.Plugin(p["kind"], p["name"], Path(p["file"]), p["sha256"]) for p in told["plugins"])
    from redistill.training.run import SAVED, run
    from redistill.training.trace import Trace

    folder = Path(told["folder"])
    work = folder / "result"
    work.mkdir()
    inputs = {role: Path(path) for role, path in told["inputs"].items()}
    with (folder / "trace.jsonl").open("w", encoding="utf-8") as stream:
        run(told["config"], inputs, work, SAVED, (Trace(stream, told["stage"], told["step"]),))


if __name__ == "__main__":
    main()
