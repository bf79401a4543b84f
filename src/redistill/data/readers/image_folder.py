"""Folders of images, one for each class: a user's own, or ImageNet's, which are named by WordNet's sets."""

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from redistill.data.picture_files import files_below, folders_in, is_picture, lines_of, some
from redistill.errors import RedistillError, nearest

Example = dict[str, Any]
REMEMBERED = 20  # of the files that are no pictures


def image_folder(
    folder: Path,
    labels: list[str],
    task_type: str,
    *,
    splits: dict | None = None,
    classes: list[str] | None = None,
    index: str | None = None,
    others: Literal["refuse", "leave_out"] = "refuse",
) -> tuple[list[Example] | dict[str, list[Example]], dict[str, Any]]:
    """Read folders of classes, `dog/1.jpg`; or, with `splits`, such folders in a folder for each split.

    Args:
        folder: the source's folder.
        labels: the task's labels: the names of the folders too, if neither `classes` nor `index` says which these are.
        task_type: a task that is `unlabelled` takes all images, whatever folder they are in.
        splits: for each split of the source, its folder, such as `{train: train, val: val}`.
        classes: names of the folders in the order of the task's labels, such as `[n01440764, n01443537]`.
        index: file in the source with these names instead: a line `n01440764 tench` for each, or ImageNet's class
            index `{"0": ["n01440764", "tench"]}`.
        others: what becomes of folders that are no class of the task: `leave_out` counts them.

    Returns:
        Examples `{"id", "image", "label"}`, by split with `splits`; an image is the place of its file, and its id that
        place in the source. And what was counted: images, and files that are none, the first of them by name.

    Raises:
        RedistillError: a folder is not there or no class of the task, or images lie outside folders of classes.
    """
    if classes is not None and index is not None:
        raise RedistillError("reader `image_folder`: give `classes` or `index`, not both")
    names = classes if classes is not None else _names(folder, index) if index is not None else labels
    if task_type != "unlabelled" and len(names) != len(labels):
        said = f"`{index}`" if index is not None else "`classes`"
        raise RedistillError(f"{said} names {len(names)} folders, the task {len(labels)} labels: give as many")
    known = None if task_type == "unlabelled" else {name: label for label, name in enumerate(names)}
    counts, odd = Counter[str](), list[str]()
    parts = {"": folder} if splits is None else {str(name): folder / str(place) for name, place in splits.items()}
    found = {}
    for split, place in parts.items():
        if not place.is_dir():
            there = some([one.name for one in folders_in(folder)]) or "none"
            raise RedistillError(f"{place}: there is no such folder; in {folder} there are the folders {there}")
        found[split] = list(_examples(folder, place, known, others, counts, odd, index))
        if not found[split]:
            raise RedistillError(f"{place}: holds no images: name another folder")
        counts["images"] += len(found[split])
    counted: dict[str, Any] = dict(+counts)
    if odd:
        counted |= {"files that are no images, left out": len(odd), "such as": odd[:REMEMBERED]}
    return (found[""] if splits is None else found), counted


def _examples(
    folder: Path, place: Path, known: dict[str, int] | None, others: str, counts: Counter[str], odd: list[str],
    index: str | None,
) -> Iterator[Example]:  # fmt: skip
    """The images of one split, folder by folder; of a task without classes, all that there are."""
    if known is None:
        for file in files_below(place):
            yield from _example(folder, file, None, odd)
        return
    there = folders_in(place)
    beside = [file for file in sorted(place.iterdir()) if file.is_file() and not file.name.startswith(".")]
    if loose := [file.name for file in beside if is_picture(file)]:
        raise RedistillError(f"{place}: {some(loose)}: images outside the folders of classes: sort them into these")
    odd += [_id(folder, file) for file in beside if file.name != index]
    strange = [one.name for one in there if one.name not in known]
    if strange and others == "refuse":
        raise RedistillError(
            f"{place}: {some(strange)} {'is' if len(strange) == 1 else 'are'} no class of the task "
            f"({nearest(strange[0], known)}): name such folders in `labels` or `classes`, name folders of splits in "
            "`splits`, or set `others: leave_out` in the reader"
        )
    if missing := [name for name in known if not (place / name).is_dir()]:
        raise RedistillError(f"{place}: there is no folder {some(missing)} for a class of the task: add it, empty if "
                             "there are no images, or mend `labels`")  # fmt: skip
    counts["folders of no class of the task, left out"] += len(strange)
    for one in there:
        if one.name in known:
            for file in files_below(one):
                yield from _example(folder, file, known[one.name], odd)


def _example(folder: Path, file: Path, label: int | None, odd: list[str]) -> Iterator[Example]:
    if is_picture(file):
        yield {"id": _id(folder, file), "image": file, "label": label}
    else:
        odd.append(_id(folder, file))


def _id(folder: Path, file: Path) -> str:
    return file.relative_to(folder).as_posix()


def _names(folder: Path, index: str) -> list[str]:
    """Names of the folders in the order of the classes."""
    file = folder / index
    lines = lines_of(file, "class index")
    if not lines or not lines[0][1].startswith("{"):
        return [line.replace(",", " ").split()[0] for _, line in lines]
    try:
        said = json.loads("\n".join(line for _, line in lines))
        return [str(said[str(number)][0]) for number in range(len(said))]
    except (ValueError, LookupError, TypeError):
        raise RedistillError(
            f'{file}: is no class index: it must have the entries "0": [folder, name], "1": ... without a gap'
        ) from None
