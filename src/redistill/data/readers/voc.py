"""Pascal VOC's layout (Everingham et al. 2010): boxes in Annotations, masks in SegmentationClass, and lists."""

from collections import Counter
from pathlib import Path
from typing import Any, Literal
from xml.etree.ElementTree import Element, TreeBuilder
from xml.parsers import expat

from redistill.data.picture_files import by_stem, lines_of
from redistill.errors import RedistillError, nearest

Example = dict[str, Any]


def voc(
    folder: Path,
    labels: list[str],
    task_type: str,
    *,
    lists: dict | None = None,
    first_pixel: Literal[0, 1] = 1,
    others: Literal["refuse", "leave_out"] = "refuse",
) -> tuple[list[Example] | dict[str, list[Example]], dict[str, Any]]:
    """Read images with their boxes, where the task is a detection, or with their masks.

    Args:
        folder: the source's folder: JPEGImages, and Annotations or SegmentationClass, beside ImageSets.
        labels: the task's labels; of a segmentation, the first is the background.
        task_type: the task's type.
        lists: for each split of the source, its list, such as `{train: ImageSets/Main/train.txt}`; without, every image
            that has an annotation is taken, and there are no splits.
        first_pixel: what annotations call the first row and column: 1 in VOC's own, where a box ends with the last
            pixel that is in it; 0 where a box is what lies between its two sides.
        others: what becomes of objects of other classes than the task's: `leave_out` counts them.

    Returns:
        Examples `{"id", "image", "size", "boxes", "classes", "crowd"}` or `{"id", "image", "mask"}`, by split with
        `lists`; difficult objects are crowds. And what was counted.

    Raises:
        RedistillError: a list names what is not there, or an annotation is not laid out as VOC's; says which and where.
    """
    boxes = task_type == "detection"
    where = folder / ("Annotations" if boxes else "SegmentationClass")
    if not where.is_dir():
        raise RedistillError(f"{where}: there is no such folder: let the source be the one that JPEGImages is in")
    annotations = _annotations(where, ".xml" if boxes else ".png")
    images, counts = by_stem(folder / "JPEGImages"), Counter[str]()
    named = {"": [(None, name) for name in sorted(annotations)]} if lists is None else {
        str(split): [(number, line.split()[0]) for number, line in lines_of(folder / str(file))]
        for split, file in lists.items()
    }  # fmt: skip
    found: dict[str, list[Example]] = {}
    for split, names in named.items():
        found[split] = []
        for number, name in names:
            listed = f"{folder / str((lists or {}).get(split))}, line {number}" if lists else str(annotations[name])
            if name not in images:
                raise RedistillError(f"{listed}: JPEGImages has no image `{name}`: add it, or leave `{name}` out")
            if name not in annotations:
                raise RedistillError(f"{listed}: {where.name} has nothing for `{name}`: add it, or leave `{name}` out")
            example: Example = {"id": name, "image": images[name]}
            drawn = _objects(annotations[name], labels, first_pixel, others, counts) if boxes else {}
            found[split].append(example | (drawn if boxes else {"mask": annotations[name]}))
        if not found[split]:
            raise RedistillError(f"{folder}: there is no image of `{split or where.name}`: name another list or folder")
    counts["images"] += sum(map(len, found.values()))
    return (found[""] if lists is None else found), dict(counts)


def _annotations(folder: Path, ending: str) -> dict[str, Path]:
    files = (file for file in sorted(folder.iterdir()) if file.suffix.lower() == ending)
    return {file.stem: file for file in files if not file.name.startswith(".")}


def _objects(file: Path, labels: list[str], first_pixel: int, others: str, counts: Counter[str]) -> Example:
    """The objects of one annotation: boxes from the left side of the first pixel to the right side of the last."""
    root, said = _parsed(file), Example(boxes=[], classes=[], crowd=[])
    size = root.find("size")
    if size is not None:
        width, height = (_number(file, size, side) for side in ("width", "height"))
        said |= {"size": (int(width), int(height))} if width and height else {}  # some tools leave them at 0
    for number, item in enumerate(root.iter("object"), 1):
        name = (item.findtext("name") or "").strip()
        if name not in labels:
            if others == "leave_out":
                counts["objects of other classes, left out"] += 1
                continue
            raise RedistillError(
                f"{file}, object {number}: the task has no class `{name}` ({nearest(name, labels)}): mend the "
                "annotation or `labels`, or set `others: leave_out` in the reader"
            )
        box = item.find("bndbox")
        if box is None:
            raise RedistillError(f"{file}, object {number}: `{name}` has no bndbox: draw it, or remove the object")
        sides = [_number(file, box, side) for side in ("xmin", "ymin", "xmax", "ymax")]
        said["boxes"].append([sides[0] - first_pixel, sides[1] - first_pixel, sides[2], sides[3]])
        said["classes"].append(labels.index(name))
        said["crowd"].append((item.findtext("difficult") or "0").strip() == "1")
    return said


def _number(file: Path, parent: Element, name: str) -> float:
    written = (parent.findtext(name) or "").strip()
    try:
        return float(written)
    except ValueError:
        raise RedistillError(f"{file}: {parent.tag} has the {name} `{written}`, no number: mend it") from None


def _parsed(file: Path) -> Element:
    """The elements of an XML file. One that declares a document type is refused: entities could be without end."""

    def refuse(*_: object) -> None:
        raise RedistillError(f"{file}: declares a document type, as no annotation does: remove its DOCTYPE")

    builder, parser = TreeBuilder(), expat.ParserCreate()
    parser.StartElementHandler = builder.start
    parser.EndElementHandler = builder.end
    parser.CharacterDataHandler = builder.data
    parser.StartDoctypeDeclHandler = refuse
    try:
        parser.Parse(file.read_bytes(), True)
    except expat.ExpatError as error:
        raise RedistillError(f"{file}: is no XML ({error}): take the annotation anew") from None
    root: Element = builder.close()
    if root.tag != "annotation":
        raise RedistillError(f"{file}: holds <{root.tag}>, not an <annotation>: take the annotation anew")
    return root
