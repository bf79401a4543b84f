"""The task that a source is about, and what its checkpoints are chosen on."""

from dataclasses import dataclass
from typing import Any

from redistill.config.parse import KeyPath
from redistill.evaluation.metrics import METRICS
from redistill.importer.inert import Tagged
from redistill.importer.names import name_of
from redistill.importer.section import Section, Source, leaves
from redistill.importer.transforms import read_transforms

GLUE = ("cola", "sst2", "mrpc", "stsb", "qqp", "mnli", "qnli", "rte", "wnli")
# By data set, or by data set and by what its models look for.
TASKS = {
    "cifar10": "cifar/cifar10", "cifar100": "cifar/cifar100", "ilsvrc2012": "imagenet/ilsvrc2012",
    "coco2017": "coco/detection", "coco2017 segmentation": "coco/segmentation", "pascal_voc2012": "voc/segmentation",
    "pascal_voc2012 detection": "voc/detection", "go_emotions": "go-emotions",
}  # fmt: skip
# Beginnings of the names of models that look for boxes, and of those that look at every pixel; `custom_` before them.
LOOK_FOR = {
    "detection": ("fasterrcnn", "maskrcnn", "keypointrcnn", "retinanet", "fcos", "ssd"),
    "segmentation": ("deeplabv3", "fcn_", "lraspp"),
}
SUMMED = {"mrpc": ["accuracy", "f1"], "qqp": ["accuracy", "f1"], "stsb": ["pearson", "spearman"]}
TASK_FILE = "belongs to the task's file, which is not written"


@dataclass(frozen=True)
class Task:
    """What is known of the task: its name here, the data set's name there, the kind of input, and whether its models
    look for boxes (`detection`) or at every pixel (`segmentation`); else "".
    """

    name: str
    data: str
    text: bool
    looks_for: str = ""

    @property
    def glue(self) -> bool:
        return self.name.startswith("glue/")


def read_task(source: Source, text: bool) -> Task:
    """Name the task after its data set. What describes the data belongs to the task's file and is left out."""
    top = source.top()
    path, data = _data_set(source)
    if not source.top().has("datasets"):
        source.needs("a task: the source names no data set")
    source.used.add(path)
    looks_for = "" if text else _looks_for(source)
    known = TASKS.get(f"{data} {looks_for}", TASKS.get(data, name_of(data, "data")))
    task = Task(f"glue/{data}" if text and data in GLUE else known, data, text, looks_for)
    if top.section("preprocess").has("prompt_key", "response_key"):
        source.needs("redistill has no language modelling: its tasks are of classes, numbers, pixels and boxes")
    for key in ("datasets", "preprocess", "metric", "evaluate"):
        _warn_of_names(source, top, key, task)
    return task


def looks_for(key: str) -> str:
    """What a model looks for, by its name."""
    plain = key.removeprefix("custom_")
    return next((kind for kind, names in LOOK_FOR.items() if plain.startswith(names)), "")


def _looks_for(source: Source) -> str:
    models = source.top().section("models")
    keys = [Section(source, (*models.path, name)).data.get("key") for name in models.data]
    return next((kind for key in keys if isinstance(key, str) and (kind := looks_for(key))), "")


def leave_data(source: Source) -> None:
    """Leave out what belongs to the task's file."""
    top = source.top()
    top.leave(TASK_FILE, "datasets", "preprocess", "metric", "evaluate")
    top.leave("code that torchdistill imports; redistill imports what a study names as a plugin", "dependencies")


def max_length(source: Source) -> int:
    """Tokens of a text: where the config gives it, or the 128 of the scripts."""
    for path in (("datasets", "glue"), ("preprocess",)):
        section = Section(source, path)
        if section.has("max_length"):
            return section.integer("max_length") or 128
    return 128


def _data_set(source: Source) -> tuple[KeyPath, str]:
    """The first value under `datasets` that names the data set, or the first data set's own key."""
    data = source.at(("datasets",))
    for path in leaves(data, ("datasets",)) if data is not None else ():
        if path[-1] in ("_name", "name", "path") and isinstance(source.at(path), str):
            return path, str(source.at(path))
    plain = data.value if isinstance(data, Tagged) else data
    first = next(iter(plain), "data") if isinstance(plain, dict) else "data"
    return ("datasets", first), first.partition("/")[0]


def _warn_of_names(source: Source, top: Section, key: str, task: Task) -> None:
    if key != "datasets" or not task.glue:
        return
    for name in top.section("datasets").data:
        part = Section(source, ("datasets", name))
        if part.has("key") and not part.has("name"):
            part.warn("the GLUE script reads `name`, so this data set is taken from the command line's task", "key")


def evaluation(source: Source, stages: list[Section], task: Task) -> dict[str, Any]:
    """How the scripts choose the checkpoint: the best epoch by the sum of all metrics on the validation loader."""
    chosen: dict[str, Any] = {"checkpoint": "best", "split": "select"}
    loaders = [stage.section("val_data_loader") for stage in stages if stage.has("val_data_loader")]
    test = Section(source, ("test", "test_data_loader"))
    if loaders:
        on, reported = loaders[0].text("dataset_id"), source.at((*test.path, "dataset_id"))
        if on is not None and isinstance(reported, str) and _same(source, on, reported):
            chosen["split"] = "dev"
            loaders[0].warn(f"checkpoints are chosen on `{on}`, which is also what is reported", "dataset_id")
        if not task.text and (shown := read_transforms(source, on)):
            chosen["transforms"] = shown
        batch = loaders[0].section("kwargs").integer("batch_size") or loaders[0].integer("batch_size")
        chosen |= {"batch_size": batch} if batch else {}
    if chosen["split"] == "select":
        source.needs(
            "a `select` split in the task: the source chooses on examples that it holds out of the training data"
        )
    for loader in loaders:
        _validation(loader)
    metrics = SUMMED.get(task.data, []) if task.glue else []
    if metrics and all(metric in METRICS for metric in metrics):
        chosen["metrics"] = metrics
    elif metrics:
        source.needs(
            f"`evaluation.metrics: [{', '.join(metrics)}]`, whose sum chooses the epoch, once redistill has them"
        )
    if len(stages) > 1:
        source.warn(("train",), "the best epoch of all stages together is kept; redistill keeps each stage's best")
    return chosen


def _validation(loader: Section) -> None:
    """How examples are read for validation changes no number, unless some are left out."""
    if loader.section("kwargs").flag("drop_last"):
        loader.warn("the last examples are left out of the validation; redistill's evaluation has them all", "kwargs")
    loader.section("kwargs").use("batch_size")
    loader.use("dataset_id", "batch_size", "sampler", "collate_fn", "random_sample")


def _same(source: Source, one: str, other: str) -> bool:
    """Whether two data set ids name the same examples: the same id, or the same arguments under two ids."""
    splits = Section(source, ("preprocess", "dataset_id_map")).data
    if one == other or (one in splits and splits[one] == splits.get(other)):
        return True
    found = [_arguments(source, dataset_id) for dataset_id in (one, other)]
    return found[0] is not None and found[0] == found[1]


def _arguments(source: Source, dataset_id: str) -> Any:
    for path in leaves(source.at(("datasets",)), ("datasets",)):
        if path[-1] == "dataset_id" and source.at(path) == dataset_id:
            holder = Section(source, path[:-1])
            return holder.data.get("kwargs", holder.data.get("params"))
        if dataset_id in path[1:3]:
            holder = Section(source, path[: path.index(dataset_id) + 1])
            return Section(source, (*holder.path, "init")).data.get("kwargs")
    return None
