"""Make a thing once more from its inputs in the store, in a process of its own, and compare its bytes."""

import json
import os
import queue
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from redistill import environment
from redistill.audit.comparable import plugins_of
from redistill.errors import RedistillError
from redistill.job import PORTABLE
from redistill.provenance import store
from redistill.provenance.published import Thing

FETCHED = ("data", "model")  # kinds of things that come from outside


@dataclass(frozen=True)
class Task:
    """What is to be made once more, where, and what it should be: `files` are SHA-256 by name.

    With `predicted`, the folder of a run, only its predictions are made, by the model in it. Where the bytes differ,
    `metrics` says what both predictions are scored by.
    """

    kind: str
    config: dict[str, Any]
    inputs: dict[str, Path]
    files: dict[str, str]
    folder: Path
    plugins: list[dict[str, str]] = field(default_factory=list)
    predicted: Path | None = None
    metrics: tuple[str, ...] = ()
    stored: Path | None = None

    @property
    def runtime(self) -> dict[str, Any]:
        runtime: dict[str, Any] = self.config.get("runtime", PORTABLE)
        return runtime

    def told(self) -> str:
        """A line for the process that makes it."""
        paths = {"folder": self.folder, "predicted": self.predicted, "stored": self.stored}
        return json.dumps({
            "kind": self.kind, "config": self.config, "files": self.files, "plugins": self.plugins,
            "runtime": self.runtime, "metrics": self.metrics,
            "inputs": {role: str(folder) for role, folder in self.inputs.items()},
            **{name: str(path) if path else None for name, path in paths.items()},
        })  # fmt: skip


@dataclass(frozen=True)
class Answer:
    """Files whose bytes differ, or why it could not be made: of `machine` if memory or the disk were not enough.

    `scores` are, by metric, what was stored and what was made now; `machine_here` is the one that made it.
    """

    differ: list[str]
    error: str | None = None
    machine: bool = False
    scores: dict[str, list[float]] = field(default_factory=dict)
    machine_here: dict[str, Any] = field(default_factory=dict)


def again(root: Path, thing: Thing, folder: Path) -> list[str]:
    """Make a thing once more from its inputs in the store into `folder`; the store stays as it is.

    Whether the result can be compared at all is another question: see `comparable.differences`.

    Returns:
        The names of the files whose bytes are not those that were published; none if it is the same.

    Raises:
        RedistillError: it is a source, which is fetched and not made; an input is not in the store; or it cannot be
            made, which says why.
        IntegrityError: an input is not what its manifest says.
    """
    task = task_of(root, thing, folder)
    for path in task.inputs.values():
        store.trust(root, path)
    (answer,) = make_again(root, [task])
    if answer.error is not None:
        raise RedistillError(f"{thing.title}: could not be made again: {answer.error}")
    return answer.differ


def task_of(root: Path, thing: Thing, folder: Path) -> Task:
    """What it takes to make a thing once more.

    Raises:
        RedistillError: it is a source, or an input is not in the store.
    """
    if thing.kind in FETCHED:
        raise RedistillError(f"{thing.title}: is fetched and not made; its files' digests are in its key")
    inputs = {role: folder_of(root, key) for role, key in thing.inputs.items()}
    for role, path in inputs.items():
        if path is None:
            key = thing.inputs[role]
            raise RedistillError(f"{thing.title}: its {role} is not in the store: `redistill pull {key}` brings it")
    found = {role: path for role, path in inputs.items() if path is not None}
    files = {name: entry["sha256"] for name, entry in thing.files.items()}
    config: dict[str, Any] = thing.parts["config"]
    return Task(thing.kind, config, found, files, folder, plugins_of(root, thing.parts["code"]))


def folder_of(root: Path, key: str) -> Path | None:
    """The folder of a finished thing; None if it is not in the store."""
    places = (root / "store" / area / key for area in store.AREAS)
    return next((place for place in places if store.is_done(place)), None)


def make_again(root: Path, tasks: list[Task], processes: int = 1) -> list[Answer]:
    """What comes of each task. They share a process, or so many; all have the first one's runtime.

    A process has imported nothing that computes before it is pinned to the runtime, as the jobs of a study are.
    """
    if not tasks:
        return []
    free = queue.SimpleQueue[_Maker]()

    def answer(task: Task) -> Answer:
        maker = free.get()
        try:
            return maker.ask(task)
        finally:
            free.put(maker)

    with ExitStack() as makers, ThreadPoolExecutor(processes) as pool:
        for _ in range(min(processes, len(tasks))):
            free.put(makers.enter_context(_Maker(root, tasks[0].runtime)))
        return list(pool.map(answer, tasks))


@contextmanager
def scratch(root: Path) -> Iterator[Path]:
    """An empty folder in store/work, gone afterwards; what killed audits have left goes too."""
    work = root / "store" / "work" / "audit"
    work.mkdir(parents=True, exist_ok=True)
    for left in work.iterdir():
        if not Path("/proc", left.name.partition(".")[0]).exists():
            shutil.rmtree(left, ignore_errors=True)
    folder = Path(tempfile.mkdtemp(prefix=f"{os.getpid()}.", dir=work))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        with suppress(OSError):  # others are at work
            work.rmdir()


class _Maker:
    """A process that makes what it is told, and another in its place when it has ended."""

    def __init__(self, root: Path, runtime: dict[str, Any]):
        self._root, self._pinned = root, {**os.environ, **environment.variables(runtime)}
        self._start()

    def _start(self) -> None:
        command, pipe = [sys.executable, "-m", "redistill.audit.maker", str(os.getpid())], subprocess.PIPE
        self._said = tempfile.TemporaryFile()  # noqa: SIM115  # what it says of what goes wrong
        self._process = subprocess.Popen(
            command, cwd=self._root, env=self._pinned, stdin=pipe, stdout=pipe, stderr=self._said, text=True
        )

    def ask(self, task: Task) -> Answer:
        """What comes of a task."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with suppress(BrokenPipeError):
            self._process.stdin.write(task.told() + "\n")
            self._process.stdin.flush()
        line = self._process.stdout.readline()
        if line:
            return Answer(**json.loads(line))
        self._said.seek(0)
        words = self._said.read().decode(errors="replace").strip().splitlines()
        how = ", ".join([f"status {self._process.wait()}", *words[-1:]])
        self._end()
        self._start()
        return Answer([], f"its process has ended ({how})", True)

    def _end(self) -> None:
        with suppress(BrokenPipeError), self._process:  # which closes its input, and waits for it
            pass
        self._said.close()

    def __enter__(self) -> "_Maker":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            self._process.kill()
        self._end()
