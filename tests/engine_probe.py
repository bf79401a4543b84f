"""What the tests of the training engine let run in processes of their own, in a project's folder.

python engine_probe.py plan STUDY...           write what their jobs are told; prints {study: {title: key}} as JSON
python engine_probe.py make KEY...             make these and what they need, in this one process
python engine_probe.py watch FOLDER KEY...     run each with a hook that keeps the states before and after each stage
python engine_probe.py fail KEY KIND           make KEY; after its third step an exception of that kind is raised
"""

import errno
import json
import os
import sys
import traceback
from pathlib import Path
from typing import Any

HERE = Path.cwd()


def plan(studies: list[str]) -> None:
    from redistill.plan import make_plan, write_specifications

    keys = {}
    for study in studies:
        made = make_plan(HERE, study)
        write_specifications(made)
        keys[study] = {f"{node.kind} {node.title}": node.key for node in made.nodes.values()}
        keys[study] |= {f"{run.experiment} seed {run.seed}": run.key for run in made.runs}
    print(json.dumps(keys))


def make(key: str) -> None:
    from redistill import jobs
    from redistill.plan import read_specification
    from redistill.provenance import store

    for folder in read_specification(HERE, key).inputs.values():
        if not store.is_done(folder):
            make(folder.name)
    jobs.make(HERE, key)


class Watch:
    """A hook that keeps the learner's state, what is trained, and the type of the activations."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.seen: dict[str, Any] = {"types": {}, "trained": {}, "values": [], "formula": {}}

    def before_stage(self, stage: Any) -> None:
        self._keep(stage, "before")
        learner = stage.learner
        self.seen["formula"][stage.index] = str(stage.loss)
        self.seen["trained"][stage.index] = [name for name, p in learner.named_parameters() if p.requires_grad]
        module = next(m for m in reversed(list(learner.student.modules())) if not list(m.children()))
        self.handle = module.register_forward_hook(lambda _, __, out: self._type(stage.index, out))

    def _type(self, stage: int, output: Any) -> None:
        self.seen["types"].setdefault(stage, []).append(str(output.dtype))

    def after_step(self, stage: Any) -> None:
        self.seen["values"].append(stage.values)

    def after_stage(self, stage: Any) -> None:
        self.handle.remove()
        self._keep(stage, "after")
        (self.folder / "seen.json").write_text(json.dumps(self.seen))

    def _keep(self, stage: Any, moment: str) -> None:
        from safetensors.torch import save_file

        state = {name: t.clone().contiguous() for name, t in stage.learner.state_dict().items()}
        save_file(state, self.folder / f"{stage.index} {moment}.safetensors")


def watch(folder: Path, keys: list[str]) -> None:
    from redistill import environment
    from redistill.plan import read_specification

    for key in keys:
        told = read_specification(HERE, key)
        environment.pin(told.node.config["runtime"])
        from redistill.training.run import SAVED, run

        work = folder / key / "result"
        work.mkdir(parents=True)
        run(told.node.config, told.inputs, work, SAVED, (Watch(folder / key),))


FAILURES = {
    "memory": MemoryError(),
    "cuda": RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB."),
    "disk": OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)),
    "tensors": RuntimeError("Error while serializing: I/O error: No space left on device (os error 28)"),
    "other": ValueError("what\nnobody expected"),
}


def fail(key: str, kind: str) -> None:
    """Raise in the place where checkpoints are written."""
    from redistill import environment
    from redistill.plan import read_specification

    environment.pin(read_specification(HERE, key).node.config["runtime"])
    from redistill.training import checkpoint

    def broken(*_: Any) -> None:
        raise FAILURES[kind]

    checkpoint.save = broken
    sys.argv = ["redistill", "make", key]
    from redistill.cli import main

    main()


if __name__ == "__main__":
    command, *arguments = sys.argv[1:]
    try:
        if command == "plan":
            plan(arguments)
        elif command == "make":
            for one in arguments:
                make(one)
        elif command == "watch":
            watch(Path(arguments[0]), arguments[1:])
        else:
            fail(*arguments)
    except Exception:
        traceback.print_exc()
        sys.exit(3)
