"""The two sides of a comparison, as they are written: STUDY, COMMIT, STUDY@COMMIT, or the files as they are."""

import re
import subprocess
from pathlib import Path

from redistill.config import compose
from redistill.errors import RedistillError, nearest
from redistill.provenance import published
from redistill.provenance.published import Published
from redistill.questions.diff import Differences, compare
from redistill.questions.state import as_published, whole

HERE = "."  # the files as they are


def between(root: Path, old: str, new: str, study: str) -> Differences:
    """What differs between two sides; `study` is the one of a commit that is given alone.

    Raises:
        RedistillError: a side is neither a study nor a commit, or has no results.
    """
    before, after = (as_published(side(root, written, study)) for written in (old, new))
    return compare(before, after, root)


def side(root: Path, written: str, study: str) -> Published:
    """The results that somebody names; `study` is the one of a commit that is given alone.

    Raises:
        RedistillError: it is neither a study nor a commit, or has no results.
    """
    if written == HERE:
        return whole(root, study)
    name, at, named = written.partition("@")
    if at:
        return whole(root, compose.name_of("studies", name) or study, commit(root, named or "HEAD"))
    name = compose.name_of("studies", written)
    if name in published.studies(root) or name in compose.known(root, "studies"):
        return whole(root, name)
    return whole(root, study, commit(root, written))


def commit(root: Path, written: str) -> str:
    """A commit by any name that git knows, shortened.

    Raises:
        RedistillError: git knows none.
    """
    found = commit_named(root, written)
    if found is None:
        known = ", ".join(f"`{name}`" for name in published.studies(root)) or "none"
        raise RedistillError(
            f"`{written}` is neither a study with results nor a commit that git knows; "
            f"{nearest(written, published.studies(root))}. Studies with results: {known}"
        )
    return found


def commit_named(root: Path, written: str) -> str | None:
    """A commit by any name that git knows, shortened; None if it knows none."""
    if written.startswith("-") or not re.fullmatch(r"[^\s:]+", written):
        return None
    command = ["git", "-C", str(root), "rev-parse", "--short=12", "--verify", "--quiet", f"{written}^{{commit}}"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None if done.returncode == 0 else None
