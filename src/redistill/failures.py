"""What went wrong: said in a sentence, noted, and said again at once to whoever merely tries again.

store/work/failed/<key>.json holds the message of the last attempt. A new command forgets it, a retry within one does
not.
"""

import errno
import json
import os
import traceback
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from redistill.errors import RedistillError
from redistill.interruption import Interrupted, Killed
from redistill.provenance import lease, store

UNSETTLED = "does not have a deterministic implementation"  # as torch says it
_MEMORY = ("out of memory", "can't allocate memory", "not enough memory", "bad_alloc")


def _note(root: Path, key: str) -> Path:
    return root / "store" / "work" / "failed" / f"{key}.json"


def first_said(root: Path, key: str) -> str | None:
    """What was said when it failed a moment ago, by whichever of its processes failed first."""
    try:
        return str(json.loads(_note(root, key).read_text(encoding="utf-8"))["message"])
    except (OSError, ValueError, LookupError, TypeError):
        return None


def refuse(root: Path, key: str, title: str) -> None:
    """Stop a retry of what failed a moment ago, with the same message.

    Raises:
        RedistillError: it failed, and no new command was given since.
    """
    message = first_said(root, key)
    if message is not None:
        raise RedistillError(f"{title} has failed already, and trying again would not help: {message}")


def forget(root: Path, keys: Iterable[str]) -> None:
    """A new command tries everything again."""
    for key in keys:
        _note(root, key).unlink(missing_ok=True)


@contextmanager
def noted(root: Path, key: str) -> Iterator[None]:
    """Turn what goes wrong inside into a sentence and note it; being asked to stop is no failure, nor being killed.

    Raises:
        RedistillError: in the place of any other exception.
    """
    try:
        yield
    except (Interrupted, Killed):
        raise
    except Exception as error:
        if more_memory_may_do(error):
            raise RedistillError(explained(error)) from error
        message = note(root, key, error)
        if isinstance(error, RedistillError):
            raise
        raise RedistillError(message) from error


def note(root: Path, key: str, error: Exception) -> str:
    """Note an exception that is being handled; what it means, in a sentence that says where all of it is."""
    message = explained(error)
    with suppress(OSError):  # a full disk takes no note of being full
        said = {"message": message, "traceback": traceback.format_exc()}
        if not _note(root, key).exists():  # of several processes, the first that fails says why
            store.write_atomically(_note(root, key), store.pretty(said))
    if isinstance(error, RedistillError):
        return message
    return f"{message} (all of it: {_note(root, key).relative_to(root)})"


def more_memory_may_do(error: Exception) -> bool:
    """Whether a job of a cluster lacked the memory that it was given: then it is tried again with more, and this is no
    failure to remember. A GPU has no more.
    """
    text = str(error).lower()
    lacked = isinstance(error, MemoryError) or any(words in text for words in _MEMORY)
    return lease.job() is not None and lacked and "cuda" not in text and "hip" not in text


def explained(error: Exception) -> str:
    """What an exception means to somebody who runs a study, and what to change."""
    text = " ".join(str(error).split())
    if isinstance(error, RedistillError):
        return str(error)
    if isinstance(error, MemoryError) or any(words in text.lower() for words in _MEMORY):
        return (
            "memory is not enough: raise `accumulate` of the stage, which cuts a batch into so many passes "
            "(docs/engine.md says for which losses the result is the same), lower `evaluation.batch_size`, or shorten "
            f"`student.max_length` ({text[:200]})"
        )
    if UNSETTLED in text:
        return (
            f"torch has no form of `{text.partition(UNSETTLED)[0].strip()}` on GPUs that gives the same numbers each "
            "time, and a layer of a model or a loss computes with it: set `runtime.device` to `cpu`, or take another "
            "layer or loss (docs/determinism.md)"
        )
    if "DataLoader worker" in text:  # torch says it wherever the run is when one of them is killed
        return (
            f"a process that makes images is gone ({text[:200]}): give the machine more memory, shared memory "
            "(/dev/shm) above all, or lower the study's `loading.workers`"
        )
    full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
    if full or os.strerror(errno.ENOSPC) in text:  # safetensors says it in words alone
        return (
            "the disk is full: make room where the store is (`df -h store`; `redistill prune` lists what no table "
            "reaches) and give the same command; what is finished is kept"
        )
    if isinstance(error, OSError) and error.filename:
        return f"{error.filename}: {error.strerror}"
    return f"{error.__class__.__name__}: {text[:500]}"
