"""A project in which the studies of the engine are planned, and a forge of its processes.

Importing torch and accelerate takes five seconds. The forge is a process that has imported them and nothing else done;
each command is a fork of it: a process of its own that can be killed, with `redistill`'s command line inside.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

from nano_study import Nano, copy_project

PROBE = str(Path(__file__).with_name("engine_probe.py"))


class Forge:
    """Forks of one process that has imported what a run needs, from the project in `root`."""

    def __init__(self, root: Path):
        self.ended: dict[int, int] = {}
        self.process = subprocess.Popen(
            [sys.executable, PROBE, "serve"], cwd=root, env={**os.environ, "PYTHONPATH": str(root / "src")}, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip
        self.started: list[int] = []
        self.listener = threading.Thread(target=self._listen)
        self.listener.start()

    def _listen(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            said = json.loads(line)
            if "ended" in said:
                self.ended[said["pid"]] = said["ended"]
            else:
                self.started.append(said["pid"])

    def start(self, root: Path, arguments: tuple[str, ...], variables: dict[str, str]) -> "Forked":
        known, output = len(self.started), Path(tempfile.mkdtemp(dir=root.parent))
        for name in ("stdout", "stderr"):
            (output / name).touch()
        asked = {"root": str(root), "arguments": arguments, "variables": variables, "output": str(output)}
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(asked) + "\n")
        self.process.stdin.flush()
        deadline = time.monotonic() + 60
        while len(self.started) == known:
            assert time.monotonic() < deadline
            time.sleep(0.001)
        return Forked(self, self.started[-1], output)

    def close(self) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()  # it ends when nobody asks any more
        self.listener.join(timeout=20)
        self.process.wait(timeout=20)
        self.process.stdout.close()


class Forked:
    """A fork in progress, with what is used of `subprocess.Popen`."""

    def __init__(self, forge: Forge, pid: int, output: Path):
        self.forge, self.pid, self.output = forge, pid, output

    @property
    def returncode(self) -> int | None:
        return self.forge.ended.get(self.pid)

    def poll(self) -> int | None:
        return self.returncode

    def wait(self, timeout: float) -> int:
        deadline = time.monotonic() + timeout
        while self.returncode is None:
            assert time.monotonic() < deadline, f"still running after {timeout} s"
            time.sleep(0.005)
        return self.returncode

    def communicate(self, timeout: float) -> tuple[str, str]:
        self.wait(timeout)
        return (self.output / "stdout").read_text(), (self.output / "stderr").read_text()

    def send_signal(self, number: int) -> None:
        if self.returncode is None:
            with suppress(ProcessLookupError):  # it may have ended, and not have been heard of yet
                os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)


Process = subprocess.Popen[str] | Forked


class Engine(Nano):
    """A project in which the studies of the engine are planned. `keys` are by study and title."""

    def __init__(self, root: Path, keys: dict[str, dict[str, str]], forge: Forge):
        super().__init__(root)
        self.keys, self.forge = keys, forge

    def key(self, experiment: str, study: str = "engine") -> str:
        return self.keys[study][f"engine/{experiment} seed 0"]

    def run(self, key: str) -> Path:
        return self.root / "store" / "runs" / key

    def scratch(self, key: str) -> Path:
        return self.root / "store" / "work" / key

    def checkpoints(self, key: str) -> list[str]:
        return sorted(folder.name for folder in (self.scratch(key) / "progress").glob("[0-9]*"))

    def record(self, key: str) -> dict[str, Any]:
        record: dict[str, Any] = json.loads((self.root / "store" / "records" / f"{key}.json").read_text())
        return record

    def told(self, key: str, **changes: Any) -> None:
        """Change what a job is told beside its key."""
        file = self.root / "store" / "work" / "plans" / f"{key}.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | changes))

    def without(self, target: Path, *keys: str) -> "Engine":
        """A copy in which these runs have not been made."""
        made = shutil.ignore_patterns(*keys, *(f"{key}.*" for key in keys))
        shutil.copytree(
            self.root, target, ignore=lambda folder, names: [] if "plans" in folder else made(folder, names)
        )
        return Engine(target, self.keys, self.forge)

    @contextmanager
    def started(self, *command: str, forked: bool = True, **variables: str) -> Iterator[Process]:
        """A command in a session of its own, of which nothing is left behind."""
        process: Process
        if forked:
            process = self.forge.start(self.root, command, variables)
        else:
            process = subprocess.Popen(
                [sys.executable, "-m", *command], cwd=self.root, env={**self.environment(), **variables}, text=True,
                start_new_session=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            )  # fmt: skip
        try:
            yield process
        finally:
            process.kill()
            deadline = time.monotonic() + 20
            while in_session(process.pid) and time.monotonic() < deadline:
                time.sleep(0.01)
            left = in_session(process.pid)
            for pid in left:
                os.kill(pid, signal.SIGKILL)
            process.communicate(timeout=20)
            assert not left, f"left running: {left}"

    def forked(self, *command: str, **variables: str) -> CompletedProcess[str]:
        """A command of `redistill`, or of the probe, to its end."""
        with self.started(*command, **variables) as process:
            output, errors = process.communicate(timeout=200)
            return CompletedProcess(command, process.returncode or 0, output, errors)

    def make(self, key: str, **variables: str) -> CompletedProcess[str]:
        return self.forked("redistill", "make", key, **variables)


def in_session(session: int) -> list[int]:
    """Processes of a session that are not zombies."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, _, of = stat.read_text().rpartition(") ")[2].split()[:4]
        except (OSError, ValueError):
            continue
        if int(of) == session and state != "Z":
            found.append(int(stat.parent.name))
    return found


def wait_until(process: Process, holds: Callable[[], bool], seconds: float = 60) -> bool:
    """Wait until something holds; whether it came to hold before the process ended."""
    deadline = time.monotonic() + seconds
    while process.poll() is None and time.monotonic() < deadline:
        if holds():
            return True
        time.sleep(0.001)
    return holds() and process.poll() is None


@contextmanager
def planned(root: Path, *studies: str) -> Iterator[Engine]:
    """A project in which these studies are planned."""
    nano = copy_project(root)
    forge = Forge(nano.root)
    try:
        engine = Engine(nano.root, {}, forge)
        planned_in(engine, *studies)
        yield engine
    finally:
        forge.close()


def planned_in(engine: Engine, *studies: str) -> None:
    """Plan studies of a project, as it is now."""
    done = engine.forked("plan", *studies)
    assert done.returncode == 0, done.stderr
    engine.keys = json.loads(done.stdout)
