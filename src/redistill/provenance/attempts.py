"""Attempts at a thing that did not make it: when, how long, how they ended, and what was said.

store/attempts/<key>.json holds them until the thing is made, across commands; then they are in its record. It is not in
store/records/, which has what was made, and is versioned. An attempt that begins leaves a note in its scratch folder:
the next one that finds it there knows that the one before was killed.
"""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from redistill import failures
from redistill.interruption import Interrupted
from redistill.provenance import scrub

SCHEMA = 1
LONGEST = 2000  # characters of what was said
KILLED = "it was killed; when it last wrote something is taken for its end"


def _kept(root: Path, key: str) -> Path:
    return root / "store" / "attempts" / f"{key}.json"


def _begun(root: Path, key: str) -> Path:
    return root / "store" / "work" / key / "begun"


def of(root: Path, key: str) -> list[dict[str, Any]]:
    """The attempts at a thing that has not been made yet."""
    try:
        found: list[dict[str, Any]] = json.loads(_kept(root, key).read_text(encoding="utf-8"))["attempts"]
    except (OSError, ValueError, LookupError, TypeError):
        return []
    return found if isinstance(found, list) else []


@contextmanager
def noted(root: Path, key: str, title: str) -> Iterator[None]:
    """An attempt at making a thing: how it ends is noted, unless it makes it. Whoever makes it calls `forget`."""
    note_killed(root, key, title)
    begin = time.time()
    begun = _begun(root, key)
    begun.parent.mkdir(parents=True, exist_ok=True)
    begun.write_text(f"{begin}\n", encoding="utf-8")
    try:
        yield
    except (Interrupted, KeyboardInterrupt, SystemExit) as error:
        _end(root, key, title, begin, "stopped", str(error) or error.__class__.__name__)
        raise
    except Exception as error:
        _end(root, key, title, begin, "failed", failures.first_said(root, key) or failures.explained(error))
        raise


def note_killed(root: Path, key: str, title: str) -> None:
    """Note an attempt that has begun and is over, without having said so. Only while nobody else makes the thing."""
    begun = _begun(root, key)
    with suppress(OSError, ValueError):
        begin = float(begun.read_text(encoding="utf-8"))
        last = max(file.stat().st_mtime for file in begun.parent.rglob("*"))
        _add(root, key, title, begin, max(begin, last), "killed", KILLED)
        begun.unlink()


def _end(root: Path, key: str, title: str, begin: float, outcome: str, said: str) -> None:
    _add(root, key, title, begin, time.time(), outcome, said)
    with suppress(OSError):
        _begun(root, key).unlink()
        _begun(root, key).parent.rmdir()  # if nothing else was left there


def forget(root: Path, key: str) -> None:
    """The thing was made, and its record has them."""
    _kept(root, key).unlink(missing_ok=True)


def _add(root: Path, key: str, title: str, begin: float, end: float, outcome: str, said: str) -> None:
    attempt = {
        "start": iso(begin), "end": iso(end), "seconds": round(end - begin, 3), "outcome": outcome,
        "said": scrub.text(said, root)[:LONGEST],
    }  # fmt: skip
    value = {"schema": SCHEMA, "key": key, "what": title, "attempts": [*of(root, key), attempt]}
    with suppress(OSError):  # a full disk takes no note of being full
        scrub.write(_kept(root, key), value, root)


def iso(seconds: float) -> str:
    """A moment, to the second."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))
