"""Versions of the store: to and from DVC's remote, thin over the `dvc` command line.

Git holds store/<area>.dvc, DVC's cache and remote hold the files. DVC's own checkout makes a folder what its .dvc file
says, and so removes what others have made; `pull` puts in place only what is missing, and only what it has verified.
"""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path, PurePosixPath

import yaml

from redistill.errors import IntegrityError, RedistillError
from redistill.provenance import store

FOLDERS = (*store.AREAS, "records")
TIMEOUT = 3600.0
REFUSED = "It was not put in the store: DVC's cache or remote does not hold what was published."
Files = dict[str, str]  # path within a thing -> MD5, the name of DVC's object; "" is the thing itself, if it is a file


def push(root: Path) -> None:
    """Version the store's folders and copy what is new to the remote.

    Raises:
        RedistillError: there is nothing to push, or DVC failed.
    """
    folders = [f"store/{name}" for name in FOLDERS if _has_files(root / "store" / name)]
    if not folders:
        raise RedistillError("the store is empty: there is nothing to push; `snakemake --cores all` makes a study")
    before = {folder: _pointer_text(root, folder) for folder in folders}
    # No relinking: files of the store stay as they are, never links into the cache.
    _dvc(root, "add", "--no-relink", *folders)
    _dvc(root, "push", *(f"{folder}.dvc" for folder in folders))
    changed = [f"{folder}.dvc" for folder in folders if _pointer_text(root, folder) != before[folder]]
    if changed:
        print(f"pushed; commit what names it:\n  git add {' '.join(changed)}")
    else:
        print("pushed; store/*.dvc are as they were")


def pull(root: Path) -> int:
    """Bring what store/*.dvc name and the store lacks; what is there is neither removed nor overwritten.

    Returns:
        How many things and records were brought.

    Raises:
        IntegrityError: names the first file that is not as published; its thing is not in the store, whole ones are.
        RedistillError: nothing is versioned, or DVC could not fetch it.
    """
    pointers = [f"store/{name}.dvc" for name in FOLDERS if (root / "store" / f"{name}.dvc").is_file()]
    if not pointers:
        raise RedistillError("there is no store/*.dvc: nothing was versioned yet; `redistill push` does that")
    _dvc(root, "fetch", *pointers)
    objects = Path(_dvc(root, "cache", "dir").strip()) / "files" / "md5"
    scratch = root / "store" / "work" / f"pull.{os.getpid()}"
    brought, refused = 0, list[IntegrityError]()
    try:
        for pointer in pointers:
            target = root / pointer.removesuffix(".dvc")
            for name, files in _things(root, pointer, objects).items():
                try:
                    brought += _bring(root, files, objects, scratch / name, target / name)
                except IntegrityError as error:
                    refused.append(error)
                shutil.rmtree(scratch, ignore_errors=True)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    if refused:
        first = refused[0]
        others = f" {len(refused) - 1} other things were refused too." if len(refused) > 1 else ""
        advice = f"{REFUSED}{others} {brought} whole ones were brought."
        raise IntegrityError(first.file, first.expected, first.found, advice)
    return brought


def _bring(root: Path, files: Files, objects: Path, beside: Path, target: Path) -> int:
    """One thing: copied beside, verified, renamed into place. Returns 1, or 0 if it is there or was never finished."""
    if target.exists() or ("" not in files and "done.json" not in files):
        return 0
    for name, md5 in files.items():
        # Copied, never linked: a file of the store shares no bytes with the cache.
        if _object(objects, md5).is_file():
            (beside / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(_object(objects, md5), beside / name)
    if "" in files:
        _verify_record(files[""], beside, target)
    else:
        _verify_thing(root, files, beside, target)
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        beside.rename(target)
    except OSError:
        if store.is_done(target):  # a job has just made the same; it stays
            return 0
        raise
    return 1


def _verify_record(md5: str, file: Path, target: Path) -> None:
    """A record is in no manifest; what git says of it is the MD5 in DVC's file."""
    found = hashlib.md5(file.read_bytes(), usedforsecurity=False).hexdigest() if file.is_file() else "missing"
    if found != md5:
        raise IntegrityError(target, f"that of the file with MD5 {md5}", _sha256(file))


def _verify_thing(root: Path, files: Files, folder: Path, target: Path) -> None:
    """As `store.trust`, which will find what was noted here, told of the place where the thing would have been."""
    for name in ("manifest.json", "done.json"):
        if not (folder / name).is_file():
            raise IntegrityError(target / name, f"that of the file with MD5 {files.get(name)}", "missing")
    try:
        store.trust(root, folder)
    except IntegrityError as error:
        raise IntegrityError(target / Path(error.file).relative_to(folder), error.expected, error.found) from None
    except (ValueError, KeyError, TypeError, AttributeError):
        file = "manifest.json"
        raise IntegrityError(target / file, "that of a manifest sealed by done.json", _sha256(folder / file)) from None


def _sha256(file: Path) -> str:
    return store.sha256_file(file) if file.is_file() else "missing"


# --- what DVC's files say --------------------------------------------------------------------------------------------


def _object(objects: Path, md5: str) -> Path:
    return objects / md5[:2] / md5[2:]


def _things(root: Path, pointer: str, objects: Path) -> dict[str, Files]:
    """The things that a .dvc file names. The list itself is an object: one line for each file of the folder."""
    try:
        listed = yaml.safe_load(_pointer_text(root, pointer.removesuffix(".dvc")))["outs"][0]["md5"]
    except (yaml.YAMLError, KeyError, IndexError, TypeError):
        raise RedistillError(f"{pointer}: is not what `redistill push` writes; take it from git again") from None
    file = _object(objects, listed)
    if not file.is_file():  # dvc fetch calls it a success when the remote has nothing of a folder
        raise RedistillError(
            f"{pointer}: the remote does not have what it names ({listed}). Was it pushed, and to this remote? "
            "`dvc remote list` shows where that is; `dvc remote modify --local local url FOLDER` names another"
        )
    try:
        entries = [(PurePosixPath(e["relpath"]), str(e["md5"])) for e in json.loads(file.read_text(encoding="utf-8"))]
    except (ValueError, KeyError, TypeError):
        raise IntegrityError(file, f"that of the list with MD5 {listed}", _sha256(file)) from None
    things: dict[str, Files] = {}
    for path, md5 in entries:
        # The list comes from the remote: nothing in it may lead out of the store or of the cache.
        if path.is_absolute() or ".." in path.parts or not path.parts or not re.fullmatch("[0-9a-f]{32}", md5):
            raise RedistillError(f"{pointer}: names `{path}` ({md5}), which cannot be in the store")
        things.setdefault(path.parts[0], {})["/".join(path.parts[1:])] = md5
    return things


def _pointer_text(root: Path, folder: str) -> str:
    file = root / f"{folder}.dvc"
    return file.read_text(encoding="utf-8") if file.is_file() else ""


def _has_files(folder: Path) -> bool:
    return folder.is_dir() and any(f.is_file() for f in folder.rglob("*"))


def _dvc(root: Path, *arguments: str) -> str:
    """Run `dvc`, quietly; its last words are shown when it fails."""
    command = [sys.executable, "-m", "dvc", *arguments]
    environment = os.environ | {"DVC_NO_ANALYTICS": "1", "NO_COLOR": "1"}
    what = f"`dvc {arguments[0]}`"
    try:
        done = subprocess.run(
            command, cwd=root, env=environment, stdin=subprocess.DEVNULL,
            capture_output=True, text=True, errors="replace", timeout=TIMEOUT,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise RedistillError(f"{what} was not done after {TIMEOUT:.0f} s and was stopped; start it again") from None
    if done.returncode != 0:
        words = [line.strip() for line in (done.stderr or done.stdout).splitlines() if line.strip()]
        raise RedistillError("\n  ".join([f"{what} failed:", *words[-8:]]))
    return done.stdout
