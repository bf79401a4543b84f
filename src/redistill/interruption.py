"""SIGTERM, as a cluster sends it before it takes a machine away: save what can go on, and leave with 75."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from redistill.errors import RedistillError

EXIT = 75  # EX_TEMPFAIL of sysexits.h: the same command can be tried again

_state = {"asked": False, "deferred": False}


class Interrupted(RedistillError):  # noqa: N818
    """The job was asked to stop; what it had done is kept, and the same command goes on."""


def listen() -> None:
    """From now on SIGTERM raises `Interrupted`, or within `deferred` is only remembered."""
    signal.signal(signal.SIGTERM, _on_signal)


def _on_signal(_number: int, _frame: FrameType | None) -> None:
    _state["asked"] = True
    if not _state["deferred"]:
        raise Interrupted("asked to stop (SIGTERM); the same command goes on")


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
