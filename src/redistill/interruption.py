"""SIGTERM, as a cluster sends it before it takes a machine away: save what can go on, and leave with 75.

And the end of the process that asked for the job: end too.
"""

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from redistill.errors import RedistillError

EXIT = 75  # EX_TEMPFAIL of sysexits.h: the same command can be tried again
ASKED = "asked to stop (SIGTERM); the same command goes on"

_state = {"asked": False, "deferred": False}


class Interrupted(RedistillError):  # noqa: N818
    """The job was asked to stop; what it had done is kept, and the same command goes on."""


class Killed(RedistillError):  # noqa: N818
    """One of the processes that make a thing together was killed; the same command goes on."""


def listen() -> None:
    """From now on SIGTERM raises `Interrupted`, or within `deferred` is only remembered."""
    signal.signal(signal.SIGTERM, _on_signal)


def _on_signal(_number: int, _frame: FrameType | None) -> None:
    _state["asked"] = True
    if not _state["deferred"]:
        raise Interrupted(ASKED)


def asked() -> bool:
    return _state["asked"]


@contextmanager
def deferred() -> Iterator[None]:
    """Within, SIGTERM waits until somebody looks at `asked()`."""
    _state["deferred"] = True
    try:
        yield
    finally:
        _state["deferred"] = False


def die_with_parent(parent: int | None = None) -> None:
    """Ask the kernel to kill this process when its parent dies, so that a killed Snakemake leaves no job behind.

    Ends this process if its parent is not, or no longer, the one that is given.
    """
    if not sys.platform.startswith("linux"):
        return
    import ctypes

    parent = parent or os.getppid()
    pr_set_pdeathsig = 1
    ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL)
    if os.getppid() != parent or parent == 1:
        sys.exit("redistill: the process that started this job is gone")
