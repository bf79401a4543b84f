"""The state of the code: the git commit, and in what the files differed from it."""

import os
import subprocess
from pathlib import Path
from typing import Any

from redistill.provenance import store
from redistill.provenance.keys import canonical, sha256_text

SOURCE = (".py", ".pyx", ".smk", ".yaml", ".yml", ".c", ".cpp", ".cu", "Snakefile")  # how files of code end
APART = ("store", "results")  # what jobs themselves write
SEEN = 2000  # files of an untracked folder that are looked at


def code(root: Path) -> dict[str, Any]:
    """Commit; whether tracked files are as in it, and if not, the digest of the difference; whether untracked files of
    code exist. All None where there is no git. What jobs write, in store/ and results/, does not count.

    The digest is the SHA-256 of the differing files' own digests by path, as JSON with sorted keys and no spaces; null
    stands for a file that is gone.
    """
    unknown = {"commit": None, "clean": None, "diff": None, "untracked": None}
    top = next((folder for folder in (root, *root.parents) if (folder / ".git").exists()), None)
    said = _status(root) if top is not None else None
    if top is None or said is None:
        return unknown
    commit, changed, untracked = _read(said)
    return {
        "commit": commit,
        "clean": not changed,
        "diff": sha256_text(canonical({path: _digest(top / path) for path in changed})) if changed else None,
        "untracked": any(_has_source(top / path) for path in untracked),
    }


def _status(root: Path) -> str | None:
    apart = [f":(exclude){name}" for name in APART]
    command = ["git", "--no-optional-locks", "-C", str(root), "status", "--porcelain=v2", "--branch", "-z",
               "--untracked-files=normal", "--no-renames", "--", ":(top)", *apart]  # fmt: skip
    try:
        done = subprocess.run(command, capture_output=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return os.fsdecode(done.stdout) if done.returncode == 0 else None


def _read(status: str) -> tuple[str | None, list[str], list[str]]:
    """Commit, changed and untracked paths of what git says in its second format."""
    commit: str | None = None
    changed, untracked = [], []
    for line in status.split("\0"):
        if line.startswith("# branch.oid "):
            said = line.split()[2]
            commit = None if said == "(initial)" else said
        elif line.startswith("1 "):
            changed.append(line.split(" ", 8)[8])
        elif line.startswith("u "):
            changed.append(line.split(" ", 10)[10])
        elif line.startswith("? "):
            untracked.append(line[2:])
    return commit, changed, untracked


def _digest(file: Path) -> str | None:
    if file.is_symlink():
        return sha256_text(os.readlink(file))
    return store.sha256_file(file) if file.is_file() else None


def _has_source(path: Path) -> bool:
    """Whether it is a file of code, or a folder with one among its first files."""
    if not path.is_dir():
        return path.name.endswith(SOURCE)
    seen = 0
    for _, folders, names in os.walk(path):
        folders[:] = [name for name in folders if not name.startswith(".")]
        if any(name.endswith(SOURCE) for name in names):
            return True
        seen += len(names)
        if seen > SEEN:
            break
    return False
