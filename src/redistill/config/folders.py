"""Folders of the user's that a study reads data from: where they are, and which of a source's files they have."""

import os
from pathlib import Path

from redistill.config.schema import Layout, Place
from redistill.errors import RedistillError


def find(root: Path, name: str, place: Place) -> Path:
    """The folder that a study names.

    Raises:
        RedistillError: its variable is not set, or there is no such folder.
    """
    if place.variable is not None and not os.environ.get(place.variable):
        raise RedistillError(
            f"{place.variable} is not set: let it name the folder `{name}`, or leave `folders.{name}` out to fetch the "
            "data instead"
        )
    folder = root / (os.environ[place.variable] if place.variable is not None else str(place.path))
    if not folder.is_dir():
        raise RedistillError(f"there is no folder {folder}: let `folders.{name}` name one that is there")
    return folder


def files_of(layout: Layout, folder: Path) -> dict[str, list[str]]:
    """The files of each split that the folder has, by the first of several ways in which it has all of them."""
    found = {}
    for split, ways in layout.splits.items():
        for way in ways:
            files = [way] if isinstance(way, str) else way
            if all((folder / file).is_dir() if file.endswith("/") else (folder / file).is_file() for file in files):
                found[split] = files
                break
    return found


def wanted(layout: Layout, split: str) -> str:
    """What a folder would need to have a split, in words."""
    ways = [way if isinstance(way, str) else " and ".join(way) for way in layout.splits.get(split, [])]
    return " or ".join(ways) or f"a file of `{split}`"
