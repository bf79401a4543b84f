"""Jobs in a container (`snakemake --sdm apptainer`): which image, its digest, and how Python is called in it."""

import json
import re
import sys
from contextlib import suppress
from pathlib import Path
from shlex import quote
from typing import Any

from redistill.errors import RedistillError
from redistill.provenance import store
from redistill.provenance.machine import IMAGE_VARIABLE

DEFAULT = "redistill.sif"  # in the project's folder; `make sif` makes it
PYTHON = "/opt/redistill/bin/python"  # in the image, as envs/Containerfile lays it out
REMOTE = re.compile(r"[a-z]+://")


def image(root: Path, named: Any) -> str:
    """The image that a command names with `--config image=`, or `redistill.sif`: a path, or where to pull it from.

    Raises:
        RedistillError: it names no image that is there, or one to pull without its digest.
    """
    said = DEFAULT if named is None else str(named)
    if REMOTE.match(said):
        if not re.search(r"@sha256:[0-9a-f]{64}$", said):
            raise RedistillError(f"image={said}: say which one it is by its digest, {said.split('@')[0]}@sha256:...")
        return said
    file = root / said
    if not file.is_file():
        wanted = "`make sif` makes it" if named is None else "mend `--config image=`"
        raise RedistillError(f"--sdm apptainer: there is no image {said}: {wanted} (docs/containers.md)")
    return str(file)


def digest(root: Path, image: str) -> str:
    """`sha256:` and the digest: of a file its own, computed once; of an image to pull the one in its name."""
    if REMOTE.match(image):
        return image.rpartition("@")[2]
    note, state = root / "store" / "work" / "image.json", Path(image).stat()
    stamp = [image, state.st_size, state.st_mtime_ns]
    with suppress(OSError, ValueError, LookupError, TypeError):
        noted = json.loads(note.read_text(encoding="utf-8"))
        if noted["stamp"] == stamp:
            return str(noted["digest"])
    found = f"sha256:{store.sha256_file(Path(image))}"
    with suppress(OSError):  # a store that only some can write to
        store.write_atomically(note, json.dumps({"stamp": stamp, "digest": found}), sync=False)
    return found


def python(root: Path, image: str | None) -> str:
    """How a job's shell calls Python: this one, or the image's, with the project's own code.

    In the image files have no bytecode and no times, so what Python compiles is kept apart for each image.
    """
    if image is None:
        return f"exec {sys.executable}"
    found, source = digest(root, image), Path(__file__).parents[1]
    bytecode = root / "store" / "work" / "bytecode" / found.removeprefix("sha256:")[:16]
    variables = {IMAGE_VARIABLE: found, "PYTHONPYCACHEPREFIX": str(bytecode)}
    if source.is_relative_to(root.resolve()):  # else redistill is installed, and the image has its own
        variables["PYTHONPATH"] = str(source)
    said = " ".join(f"{name}={quote(value)}" for name, value in variables.items())
    return f"exec env -u PYTHONPATH -u PYTHONHOME {said} {PYTHON}"
