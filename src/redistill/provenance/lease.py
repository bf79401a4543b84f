"""Who makes a key, where several machines share the store: a lease, beside the lock that one machine's kernel keeps.

A lock (flock) tells at once who is alive on one machine. Of other machines it may tell nothing: on a network's file
system each may keep its own. So whoever has the lock leaves a lease too, store/work/<key>.lease, and renews it:

token     of this holder alone
machine   which boot of which machine it runs on, as a digest
job       the cluster's job that it is part of, such as `slurm 1234`; null outside of one
folder    the folder of store/work/<key>/ that it works in; empty for that one itself
beat      counts the renewals

It is over at once if its holder was on this machine, whose lock is free. Else it is over when it was not renewed for a
while: for a minute if the cluster says that the job has ended, for five if nobody can say, and never while the cluster
says that the job is there. It is watched by the clock of whoever waits, so machines' clocks may differ. Whoever takes
over from another machine works in a folder of its own, since that holder may be cut off from the cluster and not dead:
it can spoil nothing then, and ends as soon as it sees that the lease is another's.
"""

import errno
import hashlib
import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

from redistill.errors import RedistillError
from redistill.interruption import EXIT

BEAT = 10.0  # seconds between renewals
ENDED = 60.0  # seconds without one after which a lease is over whose job has ended
SILENT = 300.0  # and one of which nobody can say whether its holder is there
ASKING = 15.0  # seconds between two questions to the cluster
WARNED = 180.0  # seconds that a job which has saved itself waits to be ended; profiles/slurm has it warned by 120
POLL = 1.0  # seconds between two looks at a lease
LONGEST = 14 * 86400.0  # seconds after which one who waits gives up
THERE = ("RUNNING", "COMPLETING", "SUSPENDED", "STOPPED", "CONFIGURING", "RESIZING", "SIGNALING", "STAGE_OUT")
UNREAD = "?"  # the token of a lease that cannot be read now
NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK)


@dataclass(frozen=True)
class Lease:
    """Who holds a key, as its file says; see above."""

    token: str
    machine: str
    job: str | None
    folder: str


@cache
def machine() -> str:
    """Which boot of which machine this is; it tells no name."""
    try:
        said = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii")
    except OSError:
        said = platform.node()
    return hashlib.sha256(said.encode()).hexdigest()[:12]


def job() -> str | None:
    """The cluster's job that this process is part of."""
    return f"slurm {os.environ['SLURM_JOB_ID']}" if os.environ.get("SLURM_JOB_ID") else None


def stay() -> None:
    """Within a cluster's job that was asked to stop, wait to be ended, but no longer than jobs are warned ahead.

    Slurm takes a job for failed, and does not queue it again, if it leaves by itself while it is asked to make room.
    """
    if job() is not None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # it comes again when the time to leave is over
        time.sleep(WARNED)


def file_of(store: Path, key: str) -> Path:
    return store / "work" / f"{key}.lease"


def read(file: Path) -> Lease | None:
    """Who holds it; None if nobody does. One that cannot be read is of an unknown holder."""
    text = _text(file)
    return None if text is None else _parsed(text)


@contextmanager
def held(store: Path, key: str, alone: bool) -> Iterator[Lease]:
    """Hold a key's lease, after waiting for whoever holds it, and renew it meanwhile.

    Args:
        alone: whether the lock of this machine is held, so that no other process of it can be alive with the lease.

    Raises:
        RedistillError: the one who holds it did not end for a long time.
    """
    file = file_of(store, key)
    with _renewed(file, *_taken(file, alone)) as mine:
        yield mine


@contextmanager
def held_if_free(store: Path, key: str) -> Iterator[bool]:
    """Hold a key's lease, while the lock of this machine is held, unless one of another machine does: then False."""
    file = file_of(store, key)
    found = read(file)
    taken = None if is_elsewhere(file) else _replaced(file, found, _new(found))
    if taken is None:
        yield False
        return
    with _renewed(file, *taken):
        yield True


def is_elsewhere(file: Path) -> bool:
    """Whether a lease is of another machine, and may hold still. It is not waited for: its age is taken for silence."""
    found = read(file)
    return found is not None and found.machine != machine() and (_age(file) <= SILENT or said_of(found.job) is True)


def scratch(store: Path, key: str, mine: Lease) -> Path:
    """The folder that a holder works in, with the checkpoints of those before it."""
    whole = store / "work" / key
    if not mine.folder:
        return whole
    folder = whole / mine.folder
    before = [made.parent for made in (*whole.glob("progress"), *whole.glob("*/progress")) if made.parent != folder]
    if before and not folder.exists():
        _copy_progress(max(before, key=_reached) / "progress", folder / "progress")
    return folder


def scratch_now(store: Path, key: str) -> Path:
    """The folder that whoever holds the lease works in: for processes that work with it."""
    found = read(file_of(store, key))
    return store / "work" / key / (found.folder if found is not None else "")


def said_of(job: str | None) -> bool | None:
    """Whether the cluster says that a job is there; None if it cannot be asked."""
    if job is None or not job.startswith("slurm ") or shutil.which("squeue") is None:
        return None
    command = ["squeue", "--noheader", "--jobs", job.removeprefix("slurm "), "--format", "%T"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return None
    if done.returncode:
        return False if "Invalid job id" in done.stderr else None
    return any(state in THERE for state in done.stdout.split())


# --- taking and giving back ------------------------------------------------------------------------------------------


def _taken(file: Path, alone: bool) -> tuple[Lease, int]:
    """The lease, once it is free or over, and the descriptor by which it is renewed."""
    began, watch, said = time.monotonic(), _Watch(), False
    while time.monotonic() - began < LONGEST:
        text = _text(file)
        found = None if text is None else _parsed(text)
        if text is None or found is None or (alone and found.machine == machine()) or watch.is_over(text, found):
            taken = _replaced(file, found, _new(found))
            if taken is not None:
                return taken
        elif not said:
            holder, most = found.job or "another machine", f"at most {SILENT / 60:.0f} minutes if it is gone"
            print(f"redistill: {holder} makes this; waiting for it, {most}", file=sys.stderr, flush=True)
            said = True
        time.sleep(POLL)
    raise RedistillError(
        f"{file.name}: another holds it for {LONGEST / 86400:.0f} days, and renews it still: end its job "
        f"({(read(file) or _parsed('')).job or 'of no cluster'}), or wait for it"
    )


class _Watch:
    """What one who waits has seen of a lease, by its own clock.

    Silence is counted look by look: while nothing can be read, as when a file server is away, it is nobody's.
    """

    def __init__(self) -> None:
        self.text, self.silence = "", 0.0
        self.looked, self.asked = time.monotonic(), float("-inf")
        self.there: bool | None = None

    def is_over(self, text: str, found: Lease) -> bool:
        now = time.monotonic()
        passed, self.looked = min(now - self.looked, 5 * POLL), now
        if text != self.text:
            self.text, self.silence = text, 0.0
            return False
        self.silence += passed
        if now - self.asked > ASKING:
            self.asked, self.there = now, said_of(found.job)
        return not self.there and self.silence > (SILENT if self.there is None else ENDED)


def _new(before: Lease | None) -> Lease:
    """A lease for this process, in a folder of its own where another may still work in that of the key."""
    token = os.urandom(8).hex()
    apart = before is not None and (before.folder or before.machine != machine())
    return Lease(token, machine(), job(), token if apart else "")


def _replaced(file: Path, before: Lease | None, mine: Lease) -> tuple[Lease, int] | None:
    """Put a lease in the place of one that is over, or of none; None if somebody was quicker."""
    if before is not None and not _removed(file, before.token, mine.token):
        return None
    file.parent.mkdir(parents=True, exist_ok=True)
    beside = file.with_name(f".{file.name}.{mine.token}")
    descriptor = os.open(beside, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
    made = False
    try:
        os.pwrite(descriptor, _written(mine, 0), 0)
        os.fsync(descriptor)
        made = _linked(beside, file)
    finally:
        beside.unlink(missing_ok=True)
        if not made:
            os.close(descriptor)
    return (mine, descriptor) if made else None


def _linked(beside: Path, file: Path) -> bool:
    """Give a file its name, unless there is one of this name."""
    try:
        os.link(beside, file)
    except OSError as error:
        if error.errno in NO_LINKS and not file.exists():  # a file system without links
            os.rename(beside, file)
            return True
        return beside.exists() and beside.stat().st_nlink == 2  # it was done, and the answer was lost on the way
    return True


def _removed(file: Path, token: str, mine: str) -> bool:
    """Take away the lease with this token, and no other."""
    away = file.with_name(f".{file.name}.{mine}.over")
    try:
        os.rename(file, away)
    except FileNotFoundError:
        return False
    found = read(away)
    ours = found is not None and found.token == token
    if not ours:
        with suppress(OSError):  # it is another's: back to its place
            os.link(away, file)
    away.unlink(missing_ok=True)
    return ours


@contextmanager
def _renewed(file: Path, mine: Lease, descriptor: int) -> Iterator[Lease]:
    """Renew a lease until the end, and give it back."""
    end = threading.Event()
    beats = threading.Thread(target=_beat, args=(file, mine, descriptor, end), daemon=True)
    beats.start()
    try:
        yield mine
    finally:
        end.set()
        beats.join()
        os.close(descriptor)
        with suppress(OSError):  # it ends by itself, later
            _removed(file, mine.token, mine.token)


def _beat(file: Path, mine: Lease, descriptor: int, end: threading.Event) -> None:
    """Renew a lease; end this process if it is another's now.

    It is written in its place, by its own descriptor: a file that has taken its place is not touched.
    """
    beat, missed = 0, 0
    while not end.wait(BEAT):
        with suppress(OSError):
            text = _text(file)
            lost = text is None or _parsed(text).token not in (mine.token, UNREAD)
            missed = missed + 1 if lost else 0
            beat += 1
            os.pwrite(descriptor, _written(mine, beat), 0)
        if missed > 1 and not end.is_set():
            print("redistill: another job makes this now, since this one was thought dead; it ends", file=sys.stderr)
            os._exit(EXIT)


# --- the file --------------------------------------------------------------------------------------------------------


def _written(lease: Lease, beat: int) -> bytes:
    """Always as long, since it is written in its place."""
    return (json.dumps({**asdict(lease), "beat": f"{beat:012d}"}) + "\n").encode()


def _text(file: Path) -> str | None:
    """Read anew each time: opening a file asks a network's file system what is in it now."""
    try:
        return file.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    except (OSError, ValueError):
        return ""


def _parsed(text: str) -> Lease:
    try:
        value = json.loads(text)
        job = None if value["job"] is None else str(value["job"])
        return Lease(str(value["token"]), str(value["machine"]), job, Path(value["folder"]).name)
    except (ValueError, LookupError, TypeError):
        return Lease(UNREAD, "", None, UNREAD)


def _age(file: Path) -> float:
    """Seconds since it was renewed, by the clock of the file system."""
    probe = file.with_name(f".{file.name}.{os.urandom(8).hex()}")
    try:
        probe.touch()
        return probe.stat().st_mtime - file.stat().st_mtime
    except FileNotFoundError:
        return 0.0
    finally:
        probe.unlink(missing_ok=True)


def _reached(folder: Path) -> str:
    """The name of its newest checkpoint."""
    return max((made.name for made in (folder / "progress").glob("[0-9]*")), default="")


def _copy_progress(theirs: Path, mine: Path) -> None:
    """Copy checkpoints, then the log, whose end they know: whoever wrote them may be at it still. What is torn by
    that is found torn when it is read.
    """
    with suppress(OSError):
        for checkpoint in sorted(theirs.glob("[0-9]*")):
            shutil.copytree(checkpoint, mine / checkpoint.name, dirs_exist_ok=True)
    with suppress(OSError):
        mine.mkdir(parents=True, exist_ok=True)
        for file in sorted(theirs.glob("*.jsonl")):
            shutil.copyfile(file, mine / file.name)
