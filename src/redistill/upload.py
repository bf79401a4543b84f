"""Upload an export to a repository of the Hugging Face hub. Imports no torch, and what it imports needs no network."""

import glob
import json
from pathlib import Path

from redistill.errors import IntegrityError, RedistillError
from redistill.export import FILES, PROVENANCE
from redistill.provenance.store import sha256_file

WEIGHTS = "model.safetensors"
LOG_IN = "log in with `hf auth login`, or set HF_TOKEN to a token that may write"


def refuse_name(repository: str) -> None:
    """Raises:
    RedistillError: it is no OWNER/NAME as the hub has them.
    """
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id

    try:
        validate_repo_id(repository)
        said = "" if repository.count("/") == 1 else "it has no owner"
    except HFValidationError as error:
        said = str(error).splitlines()[0]
    if said:
        raise RedistillError(f"`{repository}` is no repository of the hub: give it as OWNER/NAME ({said})")


def files_of(folder: Path) -> dict[str, int]:
    """The files of an export, and their sizes in bytes.

    Raises:
        RedistillError: the folder is no export, or holds something else beside it.
        IntegrityError: the weights are not those of the run that it says it is.
    """
    for needed in ("README.md", PROVENANCE, WEIGHTS):
        if not (folder / needed).is_file():
            raise RedistillError(f"{folder} is no export: it has no {needed}; `redistill export RUN` makes one")
    for file in folder.iterdir():
        if file.name not in FILES or file.is_symlink() or not file.is_file():
            raise RedistillError(f"{file} is no file of an export: move it away, so that it is not uploaded")
    try:
        expected = json.loads((folder / PROVENANCE).read_text(encoding="utf-8"))["files"][WEIGHTS]["sha256"]
    except (ValueError, KeyError, TypeError):
        raise RedistillError(f"{folder / PROVENANCE} does not say which weights these are: export again") from None
    found = sha256_file(folder / WEIGHTS)
    if found != expected:
        raise IntegrityError(folder / WEIGHTS, expected, found, f"{PROVENANCE} is of other weights: export again.")
    return {file.name: file.stat().st_size for file in sorted(folder.iterdir())}


def listing(files: dict[str, int], repository: str) -> str:
    """What would be uploaded, for people."""
    sizes = {**files, f"{len(files)} files": sum(files.values())}
    width = max(len(name) for name in sizes)
    lines = [f"{name:<{width}}  {size:>15,} bytes" for name, size in sizes.items()]
    return "\n".join([f"To https://huggingface.co/{repository}:" if _is_the_hub() else f"To {repository}:", *lines])


def _is_the_hub() -> bool:
    from huggingface_hub import constants

    return bool(constants.ENDPOINT == "https://huggingface.co")


def refuse_without_token() -> None:
    """Raises:
    RedistillError: nobody is logged in to the hub.
    """
    from huggingface_hub import get_token

    if get_token() is None:
        raise RedistillError(f"nobody is logged in to the hub, so nothing was uploaded: {LOG_IN}")


def upload(folder: Path, files: dict[str, int], repository: str, private: bool) -> str:
    """Create the repository if there is none, upload these files in the folder, and return where they are.

    Raises:
        RedistillError: the hub cannot be reached, refuses, or does not take the files.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, HTTPError, OfflineModeIsEnabled

    hub = HfApi()
    try:
        hub.create_repo(repository, private=private or None, exist_ok=True)
        done = hub.upload_folder(
            repo_id=repository, folder_path=folder, allow_patterns=[glob.escape(name) for name in files],
            commit_message=f"Upload {folder.resolve().name}",
        )  # fmt: skip
    except HfHubHTTPError as error:
        raise RedistillError(_refused(repository, error.response.status_code, _first(error))) from None
    except OfflineModeIsEnabled:
        raise RedistillError("HF_HUB_OFFLINE is set, so nothing was uploaded: unset it and start again") from None
    except (HTTPError, OSError) as error:
        raise RedistillError(
            f"{repository}: the hub cannot be reached ({type(error).__name__}: {_first(error)}): check the network and "
            "start again"
        ) from None
    except ValueError as error:
        raise RedistillError(f"{repository}: the hub does not take it: {_first(error)}") from None
    return str(done.commit_url)


def _first(error: Exception) -> str:
    """The first line of an error, or its last where that says more than the address."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return " ".join(dict.fromkeys([*lines[:1], *lines[-1:]]))


def _refused(repository: str, status: int, said: str) -> str:
    if status == 401:
        return f"{repository}: the hub does not know who you are (401): {LOG_IN}"
    if status == 403:
        return f"{repository}: you may not write there (403): name a repository of yours, or {LOG_IN}"
    if status == 404:
        return f"{repository}: the hub has no such owner or repository, or hides it from you (404): {LOG_IN}"
    return f"{repository}: the hub refuses ({status}): {said}"
