"""Pairs of an image and a mask, as lists name them: CamVid (Brostow et al. 2009) as SegNet's authors give it out."""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

from annotated_types import Ge, Le

from redistill.data.picture_files import lines_of
from redistill.errors import RedistillError

Example = dict[str, Any]


def camvid(
    folder: Path, *, lists: dict, void: Annotated[int, Ge(0), Le(255)] = 255
) -> tuple[dict[str, list[Example]], dict[str, Any]]:
    """Read pairs: lines `train/1.jpg trainannot/1.png`.

    Args:
        folder: the source's folder. A path in a list that starts elsewhere, such as `/SegNet/CamVid/train/1.png`, is
            taken from where its end is found in this folder.
        lists: for each split of the source, its list, such as `{train: train.txt, val: val.txt}`.
        void: the number of pixels without a class, beside 255.

    Returns:
        For each split, examples `{"id", "image", "mask", "void"}` in the order of the list; images and masks are places
        of files, an id is the image's place in the source. And how many images there are.

    Raises:
        RedistillError: a line does not name two files, or one that is not there; names list and line.
    """
    found = {str(split): list(_pairs(folder, str(name), void)) for split, name in lists.items()}
    for split, examples in found.items():
        if not examples:
            raise RedistillError(f"{folder / str(lists[split])}: names no images: give another list for `{split}`")
    return found, {"images": sum(map(len, found.values()))}


def _pairs(folder: Path, name: str, void: int) -> Iterator[Example]:
    for number, line in lines_of(folder / name):
        said = line.split()
        if len(said) != 2:
            raise RedistillError(f"{folder / name}, line {number}: names {len(said)} files, not an image and its mask")
        image, mask = (_inside(folder, path) for path in said)
        for path, file in zip(said, (image, mask), strict=True):
            if file is None:
                raise RedistillError(f"{folder / name}, line {number}: `{path}` is not there: add it, or mend the list")
        assert image is not None
        yield {"id": image.relative_to(folder).as_posix(), "image": image, "mask": mask, "void": void}


def _inside(folder: Path, path: str) -> Path | None:
    """The file in the folder that a path means: the longest end of it that is there."""
    parts = [part for part in Path(path).parts if part not in ("/", "..", ".")]
    for start in range(len(parts)):
        file = folder.joinpath(*parts[start:])
        if file.is_file():
            return file
    return None
