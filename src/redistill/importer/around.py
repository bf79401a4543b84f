"""What a loss needs to know of its stage; and paths of modules in the source as taps of redistill's models."""

import re
from dataclasses import dataclass, field
from typing import Any

from redistill.importer.inert import printable
from redistill.importer.models import Model
from redistill.importer.names import word_of
from redistill.importer.section import Section

Terms = dict[str, dict[str, Any]]
SIDES = ("student", "teacher")
WRAPPED = ("student_model.", "teacher_model.", "model.", "seq.")  # what auxiliary wrappers put before a path
LOGITS = {"", ".", "classifier", ".classifier", "fc", "head"}  # the model, or its last module
# Modules of torchdistill's models for small images by their names in redistill's.
RENAMED = {
    "cifar_resnet": {r"avgpool": "pool"},
    "wide_resnet": {r"avgpool": "pool", r"bn1": "bn"},
    "densenet_bc": {
        r"features\.conv0": "conv1", r"features\.denseblock(\d)": r"layer\1", r"features\.norm5": "bn",
        r"features\.transition(\d)": r"transition\1", r"classifier": "fc",
    },
}  # fmt: skip
FUNCTIONS = ("relu", "downsample")  # modules there, functions here
# What a ReLU writes over in place before torchdistill reads it: by the architecture, where the same numbers are.
WRITTEN_OVER = {
    "cifar_resnet": {"bn1:output": "layer1:input", "relu:input": "layer1:input"},
    "wide_resnet": {"bn1:output": "pool:input", "relu:input": "pool:input"},
    "densenet_bc": {"features.norm5:output": "pool:input"},
    "torchvision": {"bn1:output": "relu:output", "relu:input": "relu:output"},
}
RELUS = {"cifar_resnet": "layer1:input", "wide_resnet": "pool:input"}  # where the output of the model's own `relu` is
BLOCKS = {  # of torchvision's residual networks, by layer
    "resnet18": (2, 2, 2, 2), "resnet34": (3, 4, 6, 3), "resnet50": (3, 4, 6, 3), "resnet101": (3, 4, 23, 3),
    "resnet152": (3, 8, 36, 3), "wide_resnet50_2": (3, 4, 6, 3), "wide_resnet101_2": (3, 4, 23, 3),
    "resnext50_32x4d": (3, 4, 6, 3), "resnext101_32x8d": (3, 4, 23, 3), "resnext101_64x4d": (3, 4, 23, 3),
}  # fmt: skip


@dataclass(frozen=True)
class Made:
    """A module that torchdistill makes beside a model: of which kind, what it reads, and the section that says so."""

    kind: str
    side: str
    path: str
    io: str
    section: Section
    place: int = 0  # among the modules of its wrapper


@dataclass
class Around:
    """What a loss needs to know of its stage."""

    text: bool
    batch: int | None = None  # examples of a pass
    classes: int | None = None
    multilabel: bool = False
    learns: bool = False  # whether there is a teacher
    models: dict[str, Model] = field(default_factory=dict)
    hooked: dict[str, set[str]] = field(default_factory=dict)  # modules whose inputs or outputs are kept
    own: dict[str, set[str]] = field(default_factory=dict)  # first steps of paths that belong to auxiliary modules
    wrapped: dict[str, bool] = field(default_factory=dict)  # whether an auxiliary wrapper is around the model
    made: dict[str, dict[str, Made]] = field(default_factory=dict)  # by the path that a loss gives
    taken: set[tuple[Any, ...]] = field(default_factory=set)  # of what is made, what a term has taken over
    still: set[str] = field(default_factory=set)  # sides of which nothing is trained
    modules: dict[str, dict[str, Any]] = field(default_factory=dict)  # of the experiment, shared by all its stages
    seen: set[str] = field(default_factory=set)  # modules of the experiment that the losses of this stage look at
    frozen: list[str] = field(default_factory=list)  # what terms have learnt on the teacher's side, and learn no more

    def architecture(self, side: str) -> dict[str, Any]:
        """The architecture of a side's model; empty where it is none of redistill's."""
        model = self.models.get(side)
        architecture: dict[str, Any] = model.section.get("architecture", {}) if model else {}
        return architecture


@dataclass(frozen=True)
class End:
    """One end of a comparison: the tap, the path that was given, and what torchdistill makes there, if it does."""

    side: str
    tap: str
    path: str
    io: str
    made: Made | None = None


def end(around: Around, section: Section, key: str, side: str, path: str, io: str) -> End:
    """What a path under a key leads to."""
    check_hook(section, key, side, path, around)
    return End(side, tap(section, side, path, io, around), path, io, around.made.get(side, {}).get(path))


def below(found: End, around: Around) -> End:
    """The end that a module which torchdistill makes there reads."""
    made = found.made
    assert made is not None
    check_hook(made.section, "path", made.side, made.path, around)
    return End(made.side, tap(made.section, made.side, made.path, made.io, around), made.path, made.io, made)


def tap(section: Section, side: str, path: str, io: str, around: Around) -> str:
    """`PATH:input` or `PATH:output`; what an unknown auxiliary wrapper adds becomes `modules.NAME`."""
    bare = path.removeprefix("+")
    plain = unwrapped(bare, side, around)
    own = plain == bare and bare.partition(".")[0] in around.own.get(side, set())
    if own or path.startswith("+"):
        plain = f"modules.{module_name(plain)}"
    elif (there := _behind_a_relu(section, plain, io, side, around)) is not None:
        return there
    else:
        plain = renamed(section, plain, side, around)
    return f"{printable(plain)}:{'input' if io == 'input' else 'output'}"


def _behind_a_relu(section: Section, path: str, io: str, side: str, around: Around) -> str | None:
    """The tap that gives what torchdistill reads, where a ReLU has written over it; None where none has."""
    architecture = around.architecture(side)
    method = architecture.get("method", "")
    if path == "relu" and io == "output" and method in RELUS:
        return RELUS[method]
    if method not in WRITTEN_OVER or (method == "torchvision" and architecture.get("name") not in BLOCKS):
        return None
    there = WRITTEN_OVER[method].get(f"{path}:{io}")
    if method == "torchvision" and io == "input" and re.fullmatch(r"layer\d\.-?\d+\.relu", path):
        there = f"{renamed(section, path, side, around)}:output"
    if there is not None:
        section.warn(
            f"a ReLU writes over `{path}:{io}` in place before torchdistill reads it: the tap is behind the ReLU"
        )
    elif io == "output" and re.fullmatch(r"layer\d\.-?\d+\.bn\d", path):
        section.warn(
            f"`{path}` is written over in place before torchdistill reads it: redistill's tap has other numbers"
        )
    return there


def unwrapped(path: str, side: str, around: Around) -> str:
    """A path without what an auxiliary wrapper puts before it."""
    prefixes = WRAPPED if around.wrapped.get(side) else ()
    return next((path.removeprefix(prefix) for prefix in prefixes if path.startswith(prefix)), path)


def renamed(section: Section, path: str, side: str, around: Around) -> str:
    """A path in redistill's model, where that is another one than the source's."""
    architecture = around.architecture(side)
    path = _counted_from_the_start(path, architecture)
    names = RENAMED.get(architecture.get("method", ""))
    if names is None:
        return path
    for old, new in names.items():
        path = re.sub(rf"^{old}(?=\.|$)", new, path)
    if path.rpartition(".")[2] in FUNCTIONS or ".downsample." in path:
        section.source.needs(
            f"another tap than `{printable(path)}`: redistill's {architecture['method']} has no such module"
        )
    return path


def _counted_from_the_start(path: str, architecture: dict[str, Any]) -> str:
    """`layer2.-1` as `layer2.3`, where the number of blocks is known."""
    depth, method, name = architecture.get("depth", 0), architecture.get("method"), str(architecture.get("name", ""))
    if method == "segmenter" and not name.startswith("lraspp"):
        return re.sub(r"^((aux_)?classifier)\.-1(?=\.|$)", r"\g<1>.4", path)  # each head has five modules
    found = re.match(r"layer(\d)\.(-\d+)(?=\.|$)", path)
    if found is None:
        return path
    small = {"cifar_resnet": 2, "wide_resnet": 4}
    blocks: tuple[int, ...] = BLOCKS.get(name, ())
    if method in small and isinstance(depth, int):
        blocks = ((depth - small[method]) // 6,) * 3
    layer, place = int(found[1]), int(found[2])
    if not 1 <= layer <= len(blocks) or not 1 <= -place <= blocks[layer - 1]:
        return path
    return f"layer{layer}.{blocks[layer - 1] + place}{path[found.end() :]}"


def module_name(path: str) -> str:
    """The path of an auxiliary module as a tap has it: without a container around it, numbers joined to names."""
    first, _, rest = path.partition(".")
    path = rest if first.endswith("_dict") and rest else path
    path = re.sub(r"\.(?=[0-9])", "-", path)
    return ".".join(word_of(step, "module") for step in path.split("."))


def check_hook(section: Section, key: str, side: str, path: str, around: Around) -> None:
    """Say where torchdistill stops, and where a path counts from the end of something whose length is not known."""
    if around.hooked and path not in ("", ".") and path not in around.hooked.get(side, set()):
        section.warn(f"`{printable(path)}` is not among the {side}'s `forward_hook`: torchdistill 1.x stops here", key)
    plain = _counted_from_the_start(unwrapped(path, side, around), around.architecture(side))
    if any(step.startswith("-") for step in plain.split(".")):
        section.warn(f"`{printable(path)}` counts from the end: write the module's own number", key)


def pooled(section: Section, found: End, around: Around, why: str) -> str:
    """The tap of a method that compares one vector an example, where the source has maps: what their average goes into.

    Args:
        why: what torchdistill does with the maps.
    """
    architecture = around.architecture(found.side)
    method, name = architecture.get("method"), architecture.get("name", "")
    last = {"cifar_resnet": "layer3:output", "torchvision": "layer4:output" if name in BLOCKS else ""}
    if found.tap in (last.get(method or ""), "pool:input"):
        return "fc:input"
    section.source.needs(
        f"a tap of one vector an example in the place of `{printable(found.path)}`: torchdistill {why}"
    )
    return found.tap


def exact(number: float) -> float:
    """0.1 for 1 - 0.9: what the arithmetic of the last digits adds is taken away."""
    return float(f"{number:.12g}")


def add(terms: Terms, name: str, term: dict[str, Any]) -> str:
    """Note a term under a name that is still free; returns that name."""
    free = name
    while free in terms:
        free = f"{free}_2"
    terms[free] = term
    return free
