"""What the tests of the training engine let run in processes of their own, in a project's folder.

python engine_probe.py serve                   fork for each command on stdin, see engine_project.py; what such a fork
                                               starts on several devices are forks too. Commands:

redistill ARGUMENT...     redistill's own command line
plan STUDY...             write what their jobs are told; prints {study: {title: key}} as JSON
make KEY...               make these and what they need, one after the other
watch FOLDER KEY...       run each with a hook that keeps the states before and after each stage
predict FOLDER KEY        let the model of a run that was made predict once more, in one process
fail KEY KIND             make KEY; in the place of the first checkpoint an exception of that kind is raised
"""

import errno
import importlib
import json
import os
import select
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

RUNTIME = {"threads": 1, "portable": True, "device": "cpu"}
IMPORTED = (
    "redistill.cli", "redistill.jobs", "redistill.training.run", "redistill.distill.outputs", "redistill.data.prepare",
    "redistill.evaluation.evaluate", "pyarrow.dataset", "torch._dynamo", "torch._inductor.config",
)  # fmt: skip


def serve() -> None:
    from redistill import environment

    environment.pin(RUNTIME)
    for module in IMPORTED:
        importlib.import_module(module)
    children = set[int]()
    while True:
        if select.select([sys.stdin], [], [], 0.005)[0]:
            line = sys.stdin.readline()
            if not line:
                return
            pid = os.fork()
            if pid == 0:
                become(json.loads(line))
            children.add(pid)
            print(json.dumps({"pid": pid}), flush=True)
        for pid in list(children):
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                children.discard(pid)
                print(json.dumps({"pid": pid, "ended": os.waitstatus_to_exitcode(status)}), flush=True)


def become(asked: dict[str, Any]) -> None:
    """Be the process that was asked for, and end."""
    os.setsid()
    os.chdir(asked["root"])
    os.environ.update(asked["variables"], PYTHONPATH=f"{asked['root']}/src")
    for number, name in ((1, "stdout"), (2, "stderr")):
        os.dup2(os.open(f"{asked['output']}/{name}", os.O_WRONLY | os.O_CREAT), number)
    from redistill import ranks

    if not asked["variables"].get("REAL_RANKS"):
        ranks.start = Rank
    end(lambda: run(*asked["arguments"]))


def end(do: Callable[[], None]) -> None:
    code: Any = 0
    try:
        do()
    except SystemExit as error:
        code = error.code
    except BaseException:
        traceback.print_exc()
        code = 3
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code if isinstance(code, int) else int(code is not None))


class Rank:
    """One of the processes of several devices: a fork, with what `redistill.ranks` uses of `subprocess.Popen`."""

    def __init__(
        self, command: list[str], root: Path, variables: dict[str, str], words: IO[bytes], descriptors: list[int]
    ):
        self.returncode: int | None = None
        sys.stdout.flush()
        self.pid = os.fork()
        if not self.pid:
            from redistill import interruption

            interruption._state.update(asked=False, deferred=False)
            os.environ.update(variables)
            for number in (2,) if descriptors else (1, 2):
                os.dup2(words.fileno(), number)
            end(lambda: run(*command[2:]))

    def poll(self) -> int | None:
        if self.returncode is None:
            ended, status = os.waitpid(self.pid, os.WNOHANG)
            self.returncode = os.waitstatus_to_exitcode(status) if ended else None
        return self.returncode

    def wait(self) -> int:
        if self.returncode is None:
            self.returncode = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        return self.returncode

    def kill(self) -> None:
        os.kill(self.pid, signal.SIGKILL)

    def terminate(self) -> None:
        os.kill(self.pid, signal.SIGTERM)


def run(command: str, *arguments: str) -> None:
    known = {"redistill": redistill, "plan": plan, "make": make, "watch": watch, "predict": predict, "fail": fail}
    known[command](*arguments)


def redistill(*arguments: str) -> None:
    from redistill.cli import main

    sys.argv = ["redistill", *arguments]
    main()


def plan(*studies: str) -> None:
    from redistill.plan import make_plan
    from redistill.specification import write_specifications

    keys = {}
    for study in studies:
        made = make_plan(Path.cwd(), study)
        write_specifications(made)
        keys[study] = {f"{node.kind} {node.title}": node.key for node in made.nodes.values()}
        keys[study] |= {f"{run.experiment} seed {run.seed}": run.key for run in made.runs}
    print(json.dumps(keys))


def make(*keys: str) -> None:
    from redistill import jobs
    from redistill.provenance import store
    from redistill.specification import read_specification

    for key in keys:
        inputs = read_specification(Path.cwd(), key).inputs.values()
        make(*(folder.name for folder in inputs if not store.is_done(folder)))
        jobs.make(Path.cwd(), key)


class Watch:
    """A hook that keeps the learner's states, what the loss is, its values, and the type of the activations."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.seen: dict[str, Any] = {"types": {}, "values": [], "formula": {}}

    def before_stage(self, stage: Any) -> None:
        self._keep(stage, "before")
        self.seen["formula"][stage.index] = str(stage.loss)
        last = next(m for m in reversed(list(stage.learner.student.modules())) if not list(m.children()))
        self.handle = last.register_forward_hook(lambda _, __, output: self._type(stage.index, output))

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

        state = {name: tensor.clone().contiguous() for name, tensor in stage.learner.state_dict().items()}
        save_file(state, self.folder / f"{stage.index} {moment}.safetensors")


def watch(folder: str, *keys: str) -> None:
    from redistill.specification import read_specification
    from redistill.training.run import SAVED
    from redistill.training.run import run as train

    for key in keys:
        told = read_specification(Path.cwd(), key)
        work = Path(folder) / key / "result"
        work.mkdir(parents=True)
        train(told.node.config, told.inputs, work, SAVED, (Watch(work.parent),))


def predict(folder: str, key: str) -> None:
    from redistill.audit.maker import predict_again
    from redistill.specification import read_specification

    told = read_specification(Path.cwd(), key)
    Path(folder).mkdir()
    predict_again(told.node.config, told.inputs, told.node.folder(Path.cwd()), Path(folder))


FAILURES = {
    "memory": MemoryError(),
    "disk": OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)),
    "other": ValueError("what\nnobody expected"),
}


def fail(key: str, kind: str) -> None:
    from redistill.training import checkpoint

    def broken(*_: Any) -> None:
        raise FAILURES[kind]

    checkpoint.save = broken
    redistill("make", key)


if __name__ == "__main__":
    serve()
