"""A folder of the user's as it was when a study was planned: the digest of every file, in a file of the store.

Such a folder is read where it lies: a data set may be larger than a disk that would hold it twice. Its listing is the
thing in the store, in the form that `sha256sum --check` reads.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from redistill.data.picture_files import is_picture
from redistill.errors import IntegrityError, RedistillError

LISTING = "files.sha256"
ROLE = "folder"  # under which a job is told where the user's folder is
AGAIN = "it was another file when this was planned; nothing was used. Start again."


@dataclass(frozen=True)
class Listing:
    """Files below a folder, with their digests by their path in it."""

    folder: Path
    digests: dict[str, str]

    def read(self, file: Path) -> bytes:
        """The content of a file.

        Raises:
            RedistillError: it was not there when the study was planned, or is gone.
            IntegrityError: it is another one now.
        """
        name = file.relative_to(self.folder).as_posix()
        if name not in self.digests:
            raise RedistillError(f"{file}: was not there when this was planned: start again")
        content = read(file)
        found = hashlib.sha256(content).hexdigest()
        if found != self.digests[name]:
            raise IntegrityError(file, self.digests[name], found, AGAIN)
        return content


def read(file: Path) -> bytes:
    """The content of a file.

    Raises:
        RedistillError: it is not there, or cannot be read.
    """
    try:
        return file.read_bytes()
    except OSError as error:
        raise RedistillError(f"{file}: cannot be read ({error.strerror}): put it back, and start again") from None


def listed(inputs: dict[str, Path]) -> Listing | None:
    """The folder that a source is read from in its place, with all that is no picture compared with its digest.

    Pictures are many and large: each is compared when it is read. None if the source's files are in the store.

    Raises:
        IntegrityError: a file is not what it was when the study was planned.
    """
    if ROLE not in inputs:
        return None
    text = (inputs["source"] / LISTING).read_text(encoding="utf-8")
    pairs = (line.split("  ", 1) for line in text.split("\n") if line)
    listing = Listing(inputs[ROLE], {name: digest for digest, name in pairs})
    for name in listing.digests:
        if not is_picture(Path(name)):
            listing.read(listing.folder / name)
    return listing
