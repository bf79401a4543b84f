"""The stages of a classifier of timm or torchvision, as the backbone of a detector or a segmenter."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from redistill.errors import RedistillError, nearest
from redistill.models.architectures.timm import timm
from redistill.models.architectures.torchvision import torchvision

SIDE = 224  # of the image that a classifier is looked at with; every one takes it


@dataclass(frozen=True)
class Step:
    """A module of a classifier that is given what the one before it gave: its path, and the map that it gives."""

    path: str
    channels: int
    stride: int  # of the image's pixels, from one of the map's to the next


class Stages(nn.Module):
    """A classifier as far as its last map that is wanted. Its modules have the classifier's names, so its weights fit,
    and taps are `blocks.2`, `layer3` and so on.

    Takes (B, C, H, W), gives maps (B, C', H', W') by name, in the order of the classifier.

    Args:
        wanted: names of the maps, by the module that gives them.
    """

    def __init__(self, classifier: nn.Module, steps: list[Step], wanted: dict[str, str]):
        super().__init__()
        last = max(i for i, step in enumerate(steps) if step.path in wanted)
        self.steps = [step.path for step in steps[: last + 1]]
        self.wanted = wanted
        self.channels = [step.channels for step in steps if step.path in wanted]
        for path in self.steps:
            _put(self, path, classifier.get_submodule(path))

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        maps = {}
        for path in self.steps:
            x = self.get_submodule(path)(x)
            if path in self.wanted:
                maps[self.wanted[path]] = x
        return maps


def _put(model: nn.Module, path: str, module: nn.Module) -> None:
    """Hang a module into another at a path, with empty modules on the way."""
    *parents, name = path.split(".")
    for parent in parents:
        if parent not in dict(model.named_children()):
            model.add_module(parent, nn.Module())
        model = model.get_submodule(parent)
    model.add_module(name, module)


def stages(
    library: str, name: str, image_shape: tuple[int, int, int], maps: list[str] | None, strides: dict[str, int]
) -> Stages:
    """The stages of a classifier by its name in `timm` or `torchvision`, at random weights.

    Args:
        image_shape: channels, height and width of what it is given.
        maps: modules whose outputs are wanted; by default the last of each of `strides`.
        strides: by the name that a map is to have. Further `maps` are called by their place.

    Raises:
        RedistillError: there is no such classifier, it is not made of stages, or it has no such map.
    """
    classifier = _built(library, name, image_shape)
    steps = steps_of(library, name, image_shape)
    if maps is None:
        return Stages(classifier, steps, {_last(steps, stride, name): key for key, stride in strides.items()})
    paths = [step.path for step in steps]
    for path in maps:
        if path not in paths:
            raise RedistillError(f"`{name}` has no map `{path}`; {nearest(path, paths)}")
    if maps != sorted(set(maps), key=paths.index):
        raise RedistillError(f"`maps` of `{name}` must follow one another: {', '.join(sorted(maps, key=paths.index))}")
    keys = [*strides, *(str(i) for i in range(len(strides), len(maps)))]
    return Stages(classifier, steps, dict(zip(maps, keys, strict=False)))


def _built(library: str, name: str, image_shape: tuple[int, int, int]) -> nn.Module:
    return timm(1, image_shape, name=name) if library == "timm" else torchvision(1, name=name)


def _last(steps: list[Step], stride: int, name: str) -> str:
    """The last module with maps of a stride; of those within a sequence of stages, if there is any there: what comes
    after it makes features for the classifier's head.
    """
    found = [step.path for step in steps if step.stride == stride]
    if not found:
        there = ", ".join(str(s) for s in sorted({step.stride for step in steps}))
        raise RedistillError(f"`{name}` has no map of stride {stride}, but of {there}: name the `maps` that you want")
    return ([path for path in found if "." in path] or found)[-1]


def steps_of(library: str, name: str, image_shape: tuple[int, int, int]) -> list[Step]:
    """The modules of a classifier that follow one another, each given exactly what the one before it gave.

    A sequence that makes its map smaller by more than half is taken apart. Nothing is computed.

    Raises:
        RedistillError: there are no two such modules, so it is no classifier of stages.
    """
    calls: dict[str, tuple[object, object]] = {}  # kept, so that no two tensors share an identity

    def record(path: str) -> object:
        def hook(_: nn.Module, given: tuple[object, ...], gave: object) -> None:
            calls.setdefault(path, (given[0] if given else None, gave))

        return hook

    image = torch.zeros(1, image_shape[0], SIDE, SIDE, device="meta")
    with torch.device("meta"):
        model = _built(library, name, image_shape).eval()
    for path, module in model.named_modules():
        if path:
            module.register_forward_hook(record(path))  # type: ignore[arg-type]
    with torch.no_grad():
        model(image)
    steps = list(_chain(model, "", image, calls))
    if len({step.stride for step in steps}) < 2:
        raise RedistillError(f"`{name}` is not made of stages that follow one another: take a ResNet, a MobileNet, an "
                             "EfficientNet or their like")  # fmt: skip
    return steps


def _chain(parent: nn.Module, prefix: str, given: Tensor, calls: dict[str, tuple[object, object]]) -> Iterable[Step]:
    """The children of a module that follow one another from what it was given on, as long as they give maps."""
    children = [f"{prefix}{name}" for name, _ in parent.named_children()]
    for path in sorted((path for path in children if path in calls), key=list(calls).index):
        taken, gave = calls[path]
        if taken is not given or not isinstance(gave, Tensor) or gave.ndim != 4 or min(gave.shape[2:]) < 2:
            return
        module = parent.get_submodule(path.removeprefix(prefix))
        if isinstance(module, nn.Sequential) and given.shape[2] > 3 * gave.shape[2]:
            inside = list(_chain(module, f"{path}.", given, calls))
        else:
            inside = []
        stride = 2 ** round(math.log2(SIDE / gave.shape[2]))
        yield from inside or [Step(path, gave.shape[1], stride)]
        given = gave
