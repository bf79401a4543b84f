"""A file by its address, where neither a package index nor the hub has it, such as torchvision's own weights."""

import re
import shutil
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlsplit

from redistill.errors import RedistillError

TIMEOUT = 60  # seconds in which nothing comes
UNPINNED = "unpinned"  # in the place of a digest, or a commit, that nobody has looked up
_IN_NAME = re.compile(r"-([0-9a-f]{8,64})(?:\.[a-z0-9]+)+$")


def name_of(url: str) -> str:
    """The name that a file has at its address."""
    return PurePosixPath(urlsplit(url).path).name


def begins_with(name: str) -> str | None:
    """The first digits of a file's SHA-256 that its name carries, as torchvision's names do; None if there are none."""
    found = _IN_NAME.search(name)
    return found[1] if found else None


def download(origin: dict[str, Any], folder: Path) -> Path:
    """Fetch a file; what it holds is for the caller to verify.

    Raises:
        RedistillError: it cannot be had; says what to do without a network.
    """
    from http.client import HTTPException  # only now: names are asked for whenever a study is planned
    from urllib.error import HTTPError, URLError
    from urllib.request import urlopen

    url, target = origin["url"], folder / name_of(origin["url"])
    try:
        with urlopen(url, timeout=TIMEOUT) as answer, target.open("wb") as out:
            shutil.copyfileobj(answer, out)
    except HTTPError as error:
        raise RedistillError(
            f"{url}: the host answers with status {error.code}: mend `url` in configs/sources.yaml, or try again later"
        ) from None
    except (URLError, HTTPException, OSError) as error:
        raise RedistillError(
            f"{url}: cannot be reached ({type(error).__name__}). Connect and start again; or, if you have the file, "
            "write in configs/sources.yaml `origin: {type: folder, variable: NAME}` and its digest in `files`"
        ) from None
    return target
