"""Students and teachers: which model, with which weights."""

import re
from dataclasses import dataclass
from typing import Any

from redistill.importer.data import Task, max_length
from redistill.importer.inert import printable
from redistill.importer.names import component, exists, name_of, snake, weights_of
from redistill.importer.section import Section, Source

# Beginnings of torchvision's names of classifiers; of the others, that its models are no classifiers.
TORCHVISION = (
    "alexnet", "convnext", "densenet1", "densenet2", "efficientnet", "googlenet", "inception_v3", "maxvit", "mnasnet",
    "mobilenet", "regnet", "resnet18", "resnet34", "resnet50", "resnet101", "resnet152", "resnext", "shufflenet",
    "squeezenet", "swin", "vgg", "vit_", "wide_resnet50_2", "wide_resnet101_2",
)  # fmt: skip
DETECTORS = ("fasterrcnn", "maskrcnn", "keypointrcnn", "retinanet", "fcos", "ssd", "deeplabv3", "fcn_", "lraspp")
ADDED = ("custom_", "splittable_", "splitable_")


@dataclass
class Model:
    """A model of the source: its name there, and the `student` section that describes it."""

    key: str
    section: dict[str, Any]
    classes: int | None
    multilabel: bool = False


def is_text(source: Source) -> bool:
    """Whether the models read text: then they are made by transformers' `from_pretrained`."""
    models = source.top().section("models")
    return any(Section(source, (*models.path, name)).has("model_kwargs", "tokenizer_kwargs") for name in models.data)


def read_model(section: Section, task: Task) -> Model:
    """What a model's section says."""
    key = section.text("key", "name") or "unnamed"
    return _pretrained_text(section, key) if task.text else _vision(section, key, task)


# --- text ------------------------------------------------------------------------------------------------------------


def _pretrained_text(section: Section, key: str) -> Model:
    source = section.source
    path = "pretrained_model_name_or_path"
    config, kwargs, tokenizer = (section.section(f"{part}_kwargs") for part in ("config", "model", "tokenizer"))
    name = kwargs.text(path) or section.text("model_name_or_path") or key
    found = name_of(name)
    for part in (config, tokenizer):
        if part.data.get(path) == name:
            part.use(path)
    section.use("model_name_or_path")
    classes = config.integer("num_labels")
    if section.has("num_labels"):
        classes = section.integer("num_labels")
        section.warn("is read from nowhere: it belongs to `config_kwargs`, so the model has transformers' two labels "
                     "or those of its own config", "num_labels")  # fmt: skip
    multilabel = config.data.get("problem_type") == "multi_label_classification"
    config.use("problem_type")
    source.needs(f"a source `{found}` in configs/sources.yaml (`{printable(name)}`)")
    _checkpoint(section)
    section.leave("transformers' own setting; redistill's source decides it")
    return Model(key, {"start": {"source": found}, "max_length": max_length(source)}, classes, multilabel)


# --- vision ----------------------------------------------------------------------------------------------------------


def _vision(section: Section, key: str, task: Task) -> Model:
    kwargs = section.section("kwargs", "params")
    classes = kwargs.integer("num_classes")
    weights = _weights(kwargs, key, task)
    architecture = _architecture(section, kwargs, key)
    described: dict[str, Any] = {"architecture": architecture}
    if weights:
        described["start"] = {"source": weights}
        section.source.needs(f"a source `{weights}` in configs/sources.yaml")
    _checkpoint(section)
    return Model(key, described, classes)


def _weights(kwargs: Section, key: str, task: Task) -> str | None:
    """The pretrained weights that a model is made with, as the name of a source."""
    named = weights_of(kwargs.value("weights"))
    if named is not None:
        return name_of(f"torchvision/{key}-{named.rpartition('.')[2]}")
    kwargs.leave("no weights that the importer can name", "weights")
    if kwargs.flag("pretrained"):
        owner = "torchdistill" if task.name.startswith("cifar/") else "torchvision"
        return name_of(f"{owner}/{task.data}-{key}")
    return None


def _architecture(section: Section, kwargs: Section, key: str) -> dict[str, Any]:
    source = section.source
    if section.has("repo_or_dir"):
        section.leave("code of another repository, which is not fetched", "repo_or_dir")
    if found := re.fullmatch(r"resnet(20|32|44|56|110|1202)", key):
        return component("architecture", "cifar_resnet", kwargs, depth=int(found[1]))
    if found := re.fullmatch(r"wide_resnet(\d{2})_(\d{1,2})", key):
        dropout = {} if kwargs.has("dropout_p") else {"dropout": 0.3}
        return component("architecture", "wide_resnet", kwargs, {"dropout_p": "dropout"}, depth=int(found[1]),
                         width=int(found[2]), **dropout)  # fmt: skip
    if found := re.fullmatch(r"densenet_bc_k(\d{2})_depth(\d{3})", key):
        return component("architecture", "densenet_bc", kwargs, {"drop_rate": "dropout"}, depth=int(found[2]),
                         growth=int(found[1]))  # fmt: skip
    if key in ("resnet", "wide_resnet") and kwargs.has("depth"):
        names = {"k": "width", "dropout_p": "dropout"}
        return component("architecture", "cifar_resnet" if key == "resnet" else key, kwargs, names)
    if key.startswith(DETECTORS) or key.startswith(tuple(f"custom_{name}" for name in DETECTORS)):
        source.needs("redistill's tasks are classification and regression: it has no detection or segmentation")
    if key.startswith(TORCHVISION + DETECTORS):
        kwargs.leave("architecture `torchvision` takes a name and nothing else")
        exists(source, "architecture", "torchvision")
        return {"method": "torchvision", "name": key}
    if not key.startswith(ADDED):
        source.needs(f"an architecture for `{printable(key)}`: the importer knows no model of that name")
    return component("architecture", snake(key), kwargs)


def _checkpoint(section: Section) -> None:
    """Checkpoint files that a model's weights are read from, where the file is there."""
    reason = "a file of weights, loaded in the place of others if it is there; make it a source of sources.yaml"
    if section.data.get("src_ckpt") is None:
        section.use("src_ckpt")
    section.leave(reason, "src_ckpt", "ckpt")
