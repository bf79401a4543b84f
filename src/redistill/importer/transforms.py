"""How images are shown: the transforms of a data set, as far as the source names some that redistill has."""

from collections.abc import Iterator
from typing import Any

from redistill.data.transforms import FIXED
from redistill.importer.inert import Tagged, printable
from redistill.importer.names import component
from redistill.importer.section import Section, Source, leaves

Transforms = list[dict[str, Any]]
METHODS = {
    "RandomHorizontalFlip": "horizontal_flip", "RandomCrop": "random_crop", "CenterCrop": "centre_crop",
    "Normalize": "normalise", "RandomResizedCrop": "random_resized_crop", "ColorJitter": "colour_jitter",
    "Resize": "resize",
}  # fmt: skip
IMAGES = {"ToTensor", "PILToTensor", "ToImage", "ConvertImageDtype", "ToDtype"}  # which redistill's images are already
FLIP = "random_horizontal_flip"  # a probability beside COCO's files


def read_transforms(source: Source, dataset_id: object) -> Transforms:
    """The transforms of the data set with this id, in their order; those that redistill does not have are left out."""
    shown: Transforms = []
    for holder in _holders(source, dataset_id):
        for name in ("transform", "transforms", "transform_params"):
            if holder.has(name):
                for part in _parts(Section(source, (*holder.path, name))):
                    shown += _read(part)
        if chance := holder.number(FLIP) if holder.has(FLIP) else None:
            shown.insert(0, {"method": "horizontal_flip", "p": float(chance)})
    return shown


def at_random(shown: Transforms) -> bool:
    """Whether an image is seen in other ways each time."""
    return any(one["method"] not in FIXED for one in shown)


def _holders(source: Source, dataset_id: object) -> Iterator[Section]:
    """Where a data set's arguments stand."""
    if not isinstance(dataset_id, str):
        return
    for path in leaves(source.at(("datasets",)), ("datasets",)):
        if path[-1] == "dataset_id" and source.at(path) == dataset_id:
            entry = Section(source, path[:-1])
            yield entry
            for name in ("kwargs", "params"):
                yield Section(source, (*entry.path, name))
            return
        if dataset_id in path[1:3]:
            yield Section(source, (*path[: path.index(dataset_id) + 1], "init", "kwargs"))
            return


def _parts(section: Section) -> Iterator[Section]:
    """Each transform of a list, of what puts several together, or the only one."""
    value = section.source.at(section.path)
    value = value.value if isinstance(value, Tagged) else value
    if isinstance(value, list):
        for i in range(len(value)):
            yield from _parts(Section(section.source, (*section.path, i)))
    elif _name(section).endswith("Compose"):
        section.use("key", "type")
        yield from _parts(Section(section.source, (*section.path, "init", "kwargs", "transforms")))
    elif section.data:
        yield section


def _name(part: Section) -> str:
    """What a transform is called, without where it is defined and whose it is."""
    key = part.data.get("key", part.data.get("type"))
    return key.rpartition(".")[2].removeprefix("Custom") if isinstance(key, str) else ""


def _read(part: Section) -> Transforms:
    name = _name(part)
    inner = ("init", "kwargs") if part.has("init") else ("kwargs",) if part.has("kwargs") else ("params",)
    kwargs = Section(part.source, (*part.path, *inner))
    if name in IMAGES:
        part.use()
        return []
    if name == "RandomResize":
        part.use("key", "type")
        return [_resized(kwargs)]
    if name not in METHODS:
        part.leave("a transform that the importer does not know")
        said = f"`{printable(name or 'a function')}` is no transform of redistill: images are shown without it"
        part.source.warn(part.path, said)
        return []
    part.use("key", "type")
    if part.source.at((*part.path, *inner)) is None:
        part.use(inner[0])
    size = kwargs.data.get("size")
    if name == "Resize" and isinstance(size, list) and len(size) == 2 and all(isinstance(side, int) for side in size):
        kwargs.use("size")
        return [component("transform", "resize", kwargs, size=size[0], width=size[1])]
    return [component("transform", METHODS[name], kwargs)]


def _resized(kwargs: Section) -> dict[str, Any]:
    """To a shorter side between two."""
    least = kwargs.integer("min_size")
    most = kwargs.integer("max_size") or least
    if least is None:
        return component("transform", "resize", kwargs)
    if least == most:
        return component("transform", "resize", kwargs, size=least)
    return component("transform", "random_resize", kwargs, least=least, most=most)
