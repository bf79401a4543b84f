"""The forge: a process that has imported what jobs need and done nothing else, and forks for each job that asks.

Importing torch and transformers takes longer than most jobs. The main process of Snakemake, or of `redistill run`,
starts a forge and ends it; the jobs (`redistill.job`) find its socket by a variable. A job is a fork, with
redistill's command line inside. Redistill's own code is not imported before: a fork reads it from its files, as any
process would, since what a job runs is what its key was planned with.
"""

import atexit
import gc
import importlib
import json
import os
import runpy
import selectors
import signal
import socket
import subprocess
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, NoReturn

from redistill import environment
from redistill.job import ALWAYS, FORGE, PORTABLE, imports, place

FOLDER = "store/work/forge"  # a socket's path has at most 107 bytes, so jobs know it from the project's folder


@contextmanager
def lit(root: os.PathLike[str], jobs: Iterable[tuple[str, dict[str, Any]]]) -> Iterator[None]:
    """Within, the jobs of this process find a forge for things of these kinds and configs, if it would help them."""
    jobs = list(jobs)
    runtime = next((config["runtime"] for _, config in jobs if "runtime" in config), PORTABLE)
    modules = list(dict.fromkeys(name for job in jobs for name in imports(*job)))
    alone = runtime["device"] == "cpu" and runtime["processes"] == 1
    listening = _listening(root) if alone and len(modules) > len(ALWAYS) and hasattr(os, "pidfd_open") else None
    if listening is None:
        yield
        return
    pinned = environment.variables(runtime)
    quiet: dict[str, Any] = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.DEVNULL)
    with listening:
        server = subprocess.Popen(
            [sys.executable, "-m", "redistill.forge", str(os.getpid()), str(listening.fileno()), json.dumps(pinned),
             *modules],
            cwd=root, env={**os.environ, **pinned}, pass_fds=[listening.fileno()],
            start_new_session=True, **quiet,  # what is typed at a terminal reaches the jobs, and they pass it on
        )  # fmt: skip
    os.environ[FORGE] = f"{_folder(root)}/{os.getpid()}"
    try:
        yield
    finally:
        del os.environ[FORGE]
        server.kill()
        server.wait()
        with suppress(FileNotFoundError):
            os.unlink(f"{root}/{_folder(root)}/{os.getpid()}")


def _folder(root: os.PathLike[str]) -> str:
    """Where this user's sockets are: in a store that several share, the first of them has the folder."""
    with suppress(FileNotFoundError):
        if os.stat(f"{root}/{FOLDER}").st_uid != os.getuid():
            return f"{FOLDER}-{os.getuid()}"
    return FOLDER


def _listening(root: os.PathLike[str]) -> socket.socket | None:
    """A socket on which jobs can wait from now on; None where there can be none."""
    folder, name = f"{root}/{_folder(root)}", str(os.getpid())
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        os.makedirs(folder, mode=0o700, exist_ok=True)  # for this user alone
        for old in os.listdir(folder):
            if old == name or not os.path.exists(f"/proc/{old}"):  # of a process that was killed
                os.unlink(f"{folder}/{old}")
        listening.bind(os.path.relpath(f"{folder}/{name}"))
        listening.listen(128)
    except OSError:  # too long a path, or a file system without sockets
        listening.close()
        return None
    return listening


# --- in the forge ----------------------------------------------------------------------------------------------------


class _Job:
    """A job that has called: what it asks for, and its fork once there is one."""

    def __init__(self, connection: socket.socket):
        self.connection = connection
        self.descriptors: list[int] = []
        self.request: dict[str, Any] = {}
        self.pid, self.ending = 0, -1  # of its fork; the descriptor that says that the fork has ended

    def heard(self, here: list[Any], pinned: dict[str, str]) -> bool:
        """Take what it says: a request, then signals. False if it is gone, or no fork would be what it is."""
        try:
            said, descriptors, _, _ = socket.recv_fds(self.connection, 1 << 20, 3)
            self.descriptors += descriptors
            if self.request and not self.pid:  # told to stop before it began
                return False
            if self.pid:
                os.kill(self.pid, int(said)) if said else os.killpg(self.pid, signal.SIGKILL)
                return True
            self.request = json.loads(said)
            return bool(self.request["place"] == here and self.request["pinned"] == pinned)
        except (OSError, ValueError, LookupError):
            return bool(self.pid)  # then the fork's end is still to come

    def ended(self) -> bool:
        """Say how the fork has ended. False, since nothing is left of it."""
        status = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        self.say(b"%d" % status)
        return False

    def say(self, message: bytes) -> None:
        with suppress(OSError):  # there may be nobody to hear it
            self.connection.send(message)

    def close(self) -> None:
        self.connection.close()
        for descriptor in (*self.descriptors, self.ending):
            with suppress(OSError):
                os.close(descriptor)
        self.descriptors = []


def _serve(listening: socket.socket, pinned: dict[str, str], modules: list[str]) -> None:
    """Import the modules one by one, and fork for each job once those that it needs are there. Returns in the forks."""
    gc.disable()  # what it would mark, every fork would have to copy
    here, forge, jobs, selector = place(), os.getpid(), set[_Job](), selectors.PollSelector()
    selector.register(listening, selectors.EVENT_READ)
    wait = False
    while True:
        for key, _ in selector.select(None if wait else 0):
            job: _Job = key.data
            if key.fileobj is listening:
                job = _Job(listening.accept()[0])
                selector.register(job.connection, selectors.EVENT_READ, job)
                jobs.add(job)
            elif job in jobs and not (job.ended() if key.fd == job.ending else job.heard(here, pinned)):
                selector.unregister(job.connection)
                if job.pid:
                    selector.unregister(job.ending)
                job.close()
                jobs.discard(job)
        for job in jobs:
            if not job.request or job.pid or set(modules).intersection(job.request["imports"]):
                continue
            gc.freeze()
            job.pid = os.fork()
            if not job.pid:
                descriptors, job.descriptors = job.descriptors, []
                listening.close()
                for other in jobs:
                    other.close()
                _become(job.request, descriptors, pinned, forge)
                return
            with suppress(OSError):  # it may have done so itself, and ended
                os.setpgid(job.pid, job.pid)
            job.ending = os.pidfd_open(job.pid)
            selector.register(job.ending, selectors.EVENT_READ, job)
            job.say(b"begun")
        wait = not modules
        if modules:
            with suppress(Exception):  # a job that needs it will say what is wrong
                importlib.import_module(modules[0])
            del modules[0]


def _become(request: dict[str, Any], descriptors: list[int], pinned: dict[str, str], forge: int) -> None:
    """Be, in a fork, the process that the job would be."""
    from redistill.interruption import die_with_parent

    die_with_parent(forge)
    os.setpgid(0, 0)
    for number, descriptor in enumerate(descriptors):
        os.dup2(descriptor, number)
        os.close(descriptor)
    sys.stdout.reconfigure(line_buffering=os.isatty(1))  # type: ignore[union-attr]
    os.environ.clear()
    os.environ.update({**request["environment"], **pinned})
    sys.argv = [os.path.join(os.path.dirname(__file__), "__main__.py"), *request["arguments"]]
    for name in [name for name in sys.modules if name.partition(".")[0] == "redistill"]:
        del sys.modules[name]
    importlib.invalidate_caches()
    gc.enable()


def _run() -> NoReturn:
    """Do what `python -m redistill` does, and end without taking apart what was imported: that takes a second."""
    status: Any = None
    try:
        runpy.run_module("redistill", run_name="__main__")
    except SystemExit as ended:
        status = ended.code
    except BaseException:
        sys.excepthook(*sys.exc_info())  # type: ignore[arg-type]
        status = 1
    if isinstance(status, str):
        print(status, file=sys.stderr)
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status if isinstance(status, int) else int(status is not None))


if __name__ == "__main__":
    from redistill.interruption import die_with_parent

    die_with_parent(int(sys.argv[1]))
    _serve(socket.socket(fileno=int(sys.argv[2])), json.loads(sys.argv[3]), sys.argv[4:])
    _run()
