"""Repositories with this project's DVC files and made-up things in their stores: what tests push and pull."""

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from redistill.provenance import listing, remote, store

PROJECT = Path(__file__).parents[1]
SOURCE = "00000000000000aa"
RUN = "00000000000000bb"
OTHER = "00000000000000cc"
FOURTH = "00000000000000dd"
AREAS = {SOURCE: "data", RUN: "runs", OTHER: "runs", FOURTH: "runs"}
FILES = 4  # of a thing: weights, log, manifest, seal


def environment() -> dict[str, str]:
    """What a process needs to have this code."""
    return os.environ | {"PYTHONPATH": str(PROJECT / "src")}


def run(*command: str | Path, cwd: Path, ok: bool = True) -> str:
    done = subprocess.run(
        list(map(str, command)), cwd=cwd, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True, timeout=120, env=environment(),
    )  # fmt: skip
    assert (done.returncode == 0) is ok, done.stdout
    return done.stdout


def dvc(root: Path, *arguments: str, ok: bool = True) -> str:
    return run(sys.executable, "-m", "dvc", *arguments, cwd=root, ok=ok)


def redistill(root: Path, *arguments: str, ok: bool = True) -> str:
    return run(sys.executable, "-m", "redistill", *arguments, cwd=root, ok=ok)


def commit(root: Path) -> None:
    run("git", "add", "--all", cwd=root)
    run("git", "commit", "--quiet", "--message", "x", cwd=root)


def clone(root: Path, name: str) -> Path:
    run("git", "clone", "--quiet", root, root.parent / name, cwd=root.parent)
    return root.parent / name


def at_home(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let git and DVC know nobody's settings, and the committed configuration lead into this folder."""
    monkeypatch.setenv("HOME", str(folder / "home"))
    monkeypatch.setenv("DVC_SITE_CACHE_DIR", str(folder / "site"))
    monkeypatch.setenv("DVC_NO_ANALYTICS", "1")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    for role in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{role}_NAME", "t")
        monkeypatch.setenv(f"GIT_{role}_EMAIL", "t@example.org")


def repository(root: Path) -> Path:
    """A repository with this project's DVC files."""
    shutil.copytree(PROJECT / ".dvc", root / ".dvc", ignore=shutil.ignore_patterns("tmp", "cache", "config.local"))
    for name in (".gitignore", ".dvcignore", "dvc.yaml"):
        shutil.copyfile(PROJECT / name, root / name)
    run("git", "init", "--quiet", "--initial-branch", "main", cwd=root)
    return root


def make(root: Path, key: str, content: str, size: int = 1000) -> Path:
    """A thing in the store, as a job makes it, with its record."""
    work, folder = root / "store" / "work" / key, root / "store" / AREAS[key] / key
    (work / "deep").mkdir(parents=True)
    (work / "weights.bin").write_text(content * size, encoding="utf-8")
    (work / "deep" / "log.jsonl").write_text(f"{content} {key}\n", encoding="utf-8")
    record = root / "store" / "records" / f"{key}.json"
    store.write_atomically(record, store.pretty({"made": content, "in": root.name}))
    store.put(root, work, folder, {"kind": "run", "config": {"key": key}, "inputs": {}})
    return folder


def publish(root: Path, *keys: str) -> None:
    """results/ as the last job leaves it: the digests of what is in the store."""
    folders = [root / "store" / AREAS[key] / key for key in keys]
    digests = {f.name: {"digest": store.digest_of(store.read_manifest(f))} for f in folders}
    store.write_atomically(root / "results" / "embedded" / "manifests.json", store.pretty(digests))
    store.published.cache_clear()


def origin_in(folder: Path) -> Path:
    """A repository with a source and a run, published."""
    root = repository(folder / "origin")
    make(root, SOURCE, "source")
    make(root, RUN, "run")
    publish(root, SOURCE, RUN)
    return root


def content(root: Path) -> dict[str, bytes]:
    """Every file of the store that is versioned, by its path."""
    folders = [root / "store" / name for name in (*store.AREAS, "records")]
    files = [file for folder in folders for file in folder.rglob("*") if file.is_file()]
    return {file.relative_to(root / "store").as_posix(): file.read_bytes() for file in files}


def named(root: Path) -> set[str]:
    """The paths that store.dvc names, as DVC reads them."""
    shown = dvc(root, "list", "--recursive", "--dvc-only", ".", "store")
    return set(shown.split())


def things(root: Path) -> set[str]:
    """The keys in the list that store.dvc names."""
    with remote.opened(root) as there:
        return {listing.key_of(name) for name in listing.read(root, there) if not name.startswith("records")}


def object_of(file: Path, where: Path) -> Path:
    """DVC's object with the bytes of a file."""
    name = hashlib.md5(file.read_bytes(), usedforsecurity=False).hexdigest()
    found = where / "files" / "md5" / name[:2] / name[2:]
    assert found.is_file()
    return found


def alter(file: Path) -> None:
    """Change a byte, not the mode: an object that is not read-only is one that DVC itself doubts."""
    mode = file.stat().st_mode
    file.chmod(0o644)
    file.write_bytes(b"!" + file.read_bytes()[1:])
    file.chmod(mode)
