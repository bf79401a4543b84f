"""The processes that make one thing together: started, watched, and ended when one of them has ended.

The job itself computes nothing: it starts a process for each device and waits. Whichever of them dies, the others are
ended within seconds, and the job says which it was and why. What asks the job to stop asks all of them. They die with
the job, and find one another by a socket that the job has bound before it started them.
"""

import json
import os
import resource
import select
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, NoReturn

from redistill import interruption
from redistill.errors import RedistillError

LISTENING = "REDISTILL_LISTENING"  # as `redistill.models.together` reads it
NOTE = "REDISTILL_RANK_NOTE"  # the file in which a process says how it has ended
JOB = "REDISTILL_RANK_OF"  # the process that has started it
KINDS = ("run", "teacher", "student", "outputs")  # of things that several devices make together
HERE = "127.0.0.1"

AFTER_A_DEATH = 3.0  # seconds that the others have to say what they saw
AFTER_STOPPING = 20.0  # since the first one has saved itself
AFTER_THE_END = 60.0  # since the first one was through
PAUSE = 0.2
LINES = 3  # of what a process said last
OF_ANOTHER = ("gloo", "nccl", "connection closed by peer", "connection reset by peer", "broken pipe")


# --- in the job ------------------------------------------------------------------------------------------------------


def start(
    command: list[str], root: Path, variables: dict[str, str], words: IO[bytes], descriptors: list[int]
) -> subprocess.Popen[bytes]:
    """A process with these variables beside the job's. The first one, which is given the socket, speaks where the job
    does; what the others print, and what any says is wrong, goes to a file.
    """
    return subprocess.Popen(
        command, cwd=root, env={**os.environ, **variables}, stdout=None if descriptors else words, stderr=words,
        pass_fds=descriptors,
    )  # fmt: skip


class _Rank:
    """A process, what it has said, and how it has ended."""

    def __init__(self, number: int, command: list[str], root: Path, folder: Path, variables: dict[str, str], fd: int):
        self.number, self.note, self.words = number, folder / f"{number}.json", folder / f"{number}.txt"
        self.shown, self.ended = 0, False
        self.status: int | None = None
        said = {LISTENING: str(fd) if number == 0 else "", NOTE: str(self.note)}
        said |= {"RANK": str(number), "LOCAL_RANK": str(number)}
        with self.words.open("wb") as words:
            self.process = start(command, root, variables | said, words, [fd] if number == 0 else [])

    @property
    def runs(self) -> bool:
        self.status = self.process.poll()
        return self.status is None

    def end(self) -> None:
        """Kill it, if it still runs."""
        if self.runs:
            self.ended = True
            self.process.kill()
            self.status = self.process.wait()

    def said(self) -> dict[str, Any]:
        """What it noted of its end."""
        try:
            noted: dict[str, Any] = json.loads(self.note.read_text(encoding="utf-8"))
            return noted
        except (OSError, ValueError):
            return {}

    def show(self) -> None:
        """Pass on what it has said since."""
        with self.words.open("rb") as words:
            words.seek(self.shown)
            new = words.read()
        self.shown += len(new)
        if new:
            sys.stderr.write(new.decode(errors="replace"))
            sys.stderr.flush()

    def last(self) -> str:
        """The last lines that it said, in brackets."""
        lines = [line.strip() for line in self.words.read_text(encoding="utf-8", errors="replace").splitlines()]
        lines = [line for line in lines if line][-LINES:]
        return f" It said last: {' | '.join(lines)[-600:]}" if lines else ""


def together(root: Path, command: list[str], devices: int) -> int:
    """Let as many processes run a command, and wait for all of them; how many MiB they took at their peaks, in all.

    Raises:
        RedistillError: one of them has failed; says what it said.
        Killed: one of them was killed.
        Interrupted: they were asked to stop, and have.
    """
    with tempfile.TemporaryDirectory(prefix="redistill-ranks-") as folder, _bound() as (port, fd):
        shared = {
            "MASTER_ADDR": HERE, "MASTER_PORT": str(port), "WORLD_SIZE": str(devices), "LOCAL_WORLD_SIZE": str(devices),
            JOB: str(os.getpid()),
        }  # fmt: skip
        if sys.platform.startswith("linux"):  # all are on this machine: nothing needs its name or its network
            shared |= {name: os.environ.get(name, "lo") for name in ("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME")}
        ranks: list[_Rank] = []
        with interruption.deferred():
            try:
                for number in range(devices):
                    ranks.append(_Rank(number, command, root, Path(folder), shared, fd))
                _watch(ranks)
            finally:
                for rank in ranks:
                    rank.end()
        _judge(ranks)
        return sum(rank.said().get("peak_memory_mib", 0) for rank in ranks)


@contextmanager
def _bound() -> Iterator[tuple[int, int]]:
    """A port of this machine alone on which somebody listens, and the descriptor of its socket."""
    with socket.socket() as listening:
        listening.bind((HERE, 0))
        listening.listen(128)
        yield listening.getsockname()[1], listening.fileno()


def _watch(ranks: list[_Rank]) -> None:
    """Wait until all have ended, or until those that are left have had their time."""
    told, deadline = False, float("inf")
    while running := [rank for rank in ranks if rank.runs]:
        if interruption.asked() and not told:
            told = True
            for rank in running:
                rank.process.terminate()
        ends = [rank.status for rank in ranks if rank.status is not None]
        wrong = [status for status in ends if status not in (0, interruption.EXIT)]
        if ends and deadline == float("inf"):
            given = AFTER_A_DEATH if wrong else AFTER_STOPPING if interruption.EXIT in ends else AFTER_THE_END
            deadline = time.monotonic() + given
        if wrong:
            deadline = min(deadline, time.monotonic() + AFTER_A_DEATH)
        else:
            ranks[0].show()
        if time.monotonic() >= deadline:
            return
        _pause(running)
    if all(rank.status == 0 for rank in ranks):
        ranks[0].show()


def _pause(ranks: list[_Rank]) -> None:
    """Wait a moment, or until one of them ends."""
    descriptors = []
    try:
        for rank in ranks:
            descriptors.append(os.pidfd_open(rank.process.pid))
        select.select(descriptors, [], [], PAUSE)
    except (AttributeError, OSError):  # not Linux, or one has ended just now
        time.sleep(PAUSE / 10)
    finally:
        for descriptor in descriptors:
            os.close(descriptor)


def _judge(ranks: list[_Rank]) -> None:
    """Say what was wrong first: who was killed, else who failed for a reason of its own.

    Raises:
        RedistillError, Killed or Interrupted, as `together` says.
    """
    wrong = [rank for rank in ranks if rank.status != 0]
    if not wrong:
        return
    own = sorted((r for r in wrong if r.said() and not r.said()["of_another"]), key=lambda r: r.said()["at"])
    failed = [rank for rank in own if not rank.said()["stopped"]]
    killed = [rank for rank in wrong if rank.status is not None and rank.status < 0 and not rank.ended]
    if failed and all(rank.status == -signal.SIGABRT for rank in killed):  # with which libraries end what is in vain
        messages = {rank.said()["message"] for rank in failed}
        which = "" if len(failed) > 1 and len(messages) == 1 else f" ({_named(failed[0], ranks)})"
        raise RedistillError(f"{failed[0].said()['message']}{which}")
    stopped = [rank for rank in own if rank.said()["stopped"]]
    if stopped or interruption.asked():
        raise interruption.Interrupted(stopped[0].said()["message"] if stopped else interruption.ASKED)
    if killed:
        name = signal.Signals(-(killed[0].status or 0)).name
        why = " (by somebody, or because memory was not enough)" if name == "SIGKILL" else ""
        raise interruption.Killed(
            f"{_named(killed[0], ranks)} was killed by {name}{why}, and the others were ended; the same command goes "
            f"on from the last checkpoint.{killed[0].last()}"
        )
    first = min(wrong, key=lambda rank: (rank.ended, rank.said().get("at", float("inf"))))
    message = first.said().get("message", "did not end, and said nothing" if first.ended else "ended by itself")
    raise interruption.Killed(
        f"{_named(first, ranks)} lost the others: {message}; the same command goes on from the last checkpoint."
        f"{first.last()}"
    )


def _named(rank: _Rank, ranks: list[_Rank]) -> str:
    return f"rank {rank.number} of {len(ranks)}"


# --- in one of the processes -----------------------------------------------------------------------------------------


def is_one() -> bool:
    """Whether this process is one of those that a job has started."""
    return LISTENING in os.environ


def be_one(compute: Callable[[], None], note: Callable[[Exception], str]) -> NoReturn:
    """Compute this process' part, note how it ended, and end; nothing is printed, since the job says what was wrong.

    Args:
        note: keeps an exception that is of this process' own making for people to read; the sentence that it means.
    """
    from redistill.models.together import leave

    interruption.die_with_parent(int(os.environ[JOB]))
    said: dict[str, Any] = {"stopped": False, "of_another": False}
    try:
        compute()
        leave()
        status = 0
        said["peak_memory_mib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    except interruption.Interrupted as error:
        said |= {"stopped": True, "message": str(error)}
        status = interruption.EXIT
    except Exception as error:
        of_another = follows(error)
        said |= {"of_another": of_another, "message": " ".join(str(error).split())[:300] if of_another else note(error)}
        status = 1
    said["at"] = time.monotonic()
    with suppress(OSError):
        beside = Path(os.environ[NOTE] + ".new")
        beside.write_text(json.dumps(said), encoding="utf-8")
        beside.replace(os.environ[NOTE])
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def follows(error: BaseException) -> bool:
    """Whether an error is what a process sees when another one is gone."""
    names = {kind.__name__ for kind in type(error).__mro__}
    text = str(error).lower()
    return "DistError" in names or (isinstance(error, RuntimeError) and any(words in text for words in OF_ANOTHER))
