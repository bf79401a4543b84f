"""Which files of a folder are pictures, in an order that every machine gives, and lists that name some of them."""

import os
from collections.abc import Iterator
from pathlib import Path

from redistill.errors import RedistillError

ENDINGS = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".ppm", ".pgm", ".tif", ".tiff", ".webp"})
MOST_NAMED = 3  # of many alike, in a sentence


def is_picture(file: Path) -> bool:
    """Whether a file is called like a picture, in whatever case its ending is written."""
    return file.suffix.lower() in ENDINGS


def files_below(folder: Path) -> Iterator[Path]:
    """Every file below a folder, by name; hidden ones are no data. Links to folders are followed, once around."""
    yield from _below(folder, ())


def _below(folder: Path, above: tuple[str, ...]) -> Iterator[Path]:
    here = os.path.realpath(folder)
    if here in above:
        return
    with os.scandir(folder) as entries:
        found = sorted((entry for entry in entries if not entry.name.startswith(".")), key=lambda entry: entry.name)
    for entry in found:
        if entry.is_dir():
            yield from _below(folder / entry.name, (*above, here))
        elif entry.is_file():
            yield folder / entry.name


def folders_in(folder: Path) -> list[Path]:
    """The folders right in a folder, by name."""
    return sorted(one for one in folder.iterdir() if one.is_dir() and not one.name.startswith("."))


def by_stem(folder: Path) -> dict[str, Path]:
    """The pictures right in a folder by their names without the ending.

    Raises:
        RedistillError: there is no such folder, or two pictures share a name.
    """
    if not folder.is_dir():
        raise RedistillError(f"{folder}: there is no such folder: name the one that has the images")
    found: dict[str, Path] = {}
    for file in sorted(folder.iterdir()):
        if is_picture(file) and not file.name.startswith("."):
            if file.stem in found:
                raise RedistillError(f"{file}: {found[file.stem].name} has the same name: keep one of the two")
            found[file.stem] = file
    return found


def lines_of(file: Path, what: str = "list") -> list[tuple[int, str]]:
    """The lines of a text that are not empty, with their numbers from 1.

    Raises:
        RedistillError: there is no such file, it is no text, or it is empty.
    """
    try:
        text = file.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        raise RedistillError(f"{file}: there is no such {what}: name one that is there in the reader") from None
    except (UnicodeDecodeError, OSError) as error:
        raise RedistillError(f"{file}: cannot be read as a {what} ({error}): take the file anew") from None
    lines = [(number, line.strip()) for number, line in enumerate(text.split("\n"), 1)]
    return [(number, line) for number, line in lines if line]


def some(names: list[str], most: int = MOST_NAMED) -> str:
    """The first few of many names, and how many more there are."""
    shown = ", ".join(f"`{name}`" for name in names[:most])
    return f"{shown} and {len(names) - most} more" if len(names) > most else shown
