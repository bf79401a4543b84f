"""Students and teachers: which model, with which weights."""

import re
from dataclasses import dataclass
from typing import Any

from redistill.importer.data import Task, looks_for, max_length
from redistill.importer.inert import printable
from redistill.importer.names import component, exists, name_of, snake, weights_of
from redistill.importer.section import Section, Source

# Beginnings of torchvision's names of classifiers; of the others, that its models are no classifiers.
TORCHVISION = (
    "alexnet", "convnext", "densenet1", "densenet2", "efficientnet", "googlenet", "inception_v3", "maxvit", "mnasnet",
    "mobilenet", "regnet", "resnet18", "resnet34", "resnet50", "resnet101", "resnet152", "resnext", "shufflenet",
    "squeezenet", "swin", "vgg", "vit_", "wide_resnet50_2", "wide_resnet101_2",
)  # fmt: skip
# Detectors whose norms torchvision keeps as they are, where they start from weights; and those without the norms' eps
# in the weights of the name.
KEPT = (
    "fasterrcnn_resnet50_fpn", "maskrcnn_resnet50_fpn", "retinanet_resnet50_fpn", "fcos_resnet50_fpn",
    "fasterrcnn_mobilenet_v3_large_fpn", "fasterrcnn_mobilenet_v3_large_320_fpn",
)  # fmt: skip
WITHOUT_EPS = ("fasterrcnn_resnet50_fpn", "maskrcnn_resnet50_fpn", "retinanet_resnet50_fpn")
# Settings of torchvision's detectors that are plain values, by what their names begin with.
OPTIONS = (
    "min_size", "max_size", "image_mean", "image_std", "rpn_", "box_", "score_thresh", "nms_thresh",
    "detections_per_img", "topk_candidates", "fg_iou_thresh", "bg_iou_thresh", "positive_fraction", "center_sampling",
)  # fmt: skip
# What torchvision's first weights are called, by what a model looks for.
FIRST = {"": "imagenet1k_v1", "detection": "coco_v1", "segmentation": "coco_with_voc_labels_v1"}
CUT = "custom_(faster|mask)rcnn_resnet_fpn"  # which can be cut in two, at a bottleneck
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
    start = _start(kwargs, key, task)
    architecture = _architecture(section, kwargs, key, start)
    described: dict[str, Any] = {"architecture": architecture}
    if start:
        described["start"] = start
        section.source.needs(f"a source `{start['source']}` in configs/sources.yaml")
    _checkpoint(section)
    return Model(key, described, classes)


def _start(kwargs: Section, key: str, task: Task) -> dict[str, Any]:
    """What a model starts from: weights of its own, or else weights of its backbone."""
    backbone = kwargs.section("backbone")
    inner = backbone.section("kwargs")
    cut = re.fullmatch(CUT, key)
    whole = _weights(kwargs, f"{cut[1]}rcnn_resnet50_fpn" if cut else key, task)
    for said, name in ((kwargs, "weights_backbone"), (inner, "weights")):
        named = weights_of(said.value(name))
        if named is not None and whole is None and "." in named:
            return _of_a_backbone(named, task)
        said.leave("no weights of a backbone that the importer can name, or the whole model has weights", name)
    kwargs.leave("the whole model's weights have a backbone", "pretrained_backbone")
    if whole is None:
        return {}
    return {"source": whole, "fresh": ["backbone.body.layer1"]} if cut else {"source": whole}


def _of_a_backbone(named: str, task: Task) -> dict[str, Any]:
    """A classifier of torchvision as the backbone of a detector or segmenter: all of it but what gives classes."""
    holder, _, weights = named.partition(".")
    name = holder.removesuffix("_Weights").lower()
    part = {"part": "features"} if name.startswith("mobilenet") else {"without": ["fc"]}
    into = "backbone.body" if task.looks_for == "detection" else "backbone"
    return {"source": name_of(f"torchvision/{name}-{weights}"), "into": into, **part}


def _weights(kwargs: Section, key: str, task: Task) -> str | None:
    """The pretrained weights that a model is made with, as the name of a source."""
    named = weights_of(kwargs.value("weights"))
    if named is not None:
        return name_of(f"torchvision/{key}-{named.rpartition('.')[2]}")
    kwargs.leave("no weights that the importer can name", "weights")
    if kwargs.flag("pretrained"):
        if task.name.startswith("cifar/"):
            return name_of(f"torchdistill/{task.data}-{key}")
        return name_of(f"torchvision/{key}-{FIRST[looks_for(key)]}")
    return None


def _architecture(section: Section, kwargs: Section, key: str, start: dict[str, Any]) -> dict[str, Any]:
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
    if found := re.fullmatch(CUT, key):
        return _cut_in_two(kwargs, masks=found[1] == "mask", start=start)
    if looks_for(key) == "detection" and not key.startswith(ADDED):
        return _detector(kwargs, key, start)
    if looks_for(key) == "segmentation" and not key.startswith(ADDED):
        aux = {"aux": True} if kwargs.flag("aux_loss") else {}
        kwargs.leave("architecture `segmenter` takes a name, and whether it has a second head")
        exists(source, "architecture", "segmenter")
        return {"method": "segmenter", "name": key, **aux}
    if key.startswith(TORCHVISION):
        kwargs.leave("architecture `torchvision` takes a name, and `options` that are to be written by hand")
        exists(source, "architecture", "torchvision")
        return {"method": "torchvision", "name": key}
    if not key.startswith(ADDED):
        source.needs(f"an architecture for `{printable(key)}`: the importer knows no model of that name")
    return component("architecture", snake(key), kwargs)


def _detector(kwargs: Section, key: str, start: dict[str, Any]) -> dict[str, Any]:
    """A detector of torchvision. The number of classes is the task's, beside the background."""
    kept: dict[str, Any] = {"frozen_norms": True} if start and key in KEPT else {}
    if kept and key in WITHOUT_EPS and start["source"].endswith("coco_v1"):
        kept["norm_eps"] = 0.0
    options = _options(kwargs)
    kwargs.leave("no setting of torchvision's detectors that is a plain value: `options` of `detector` takes others")
    exists(kwargs.source, "architecture", "detector")
    return {"method": "detector", "name": key, **kept, **options}


def _options(kwargs: Section) -> dict[str, Any]:
    """What a detector of torchvision is told beside its name, classes and weights."""
    said = {name: kwargs.plain(name) for name in kwargs.data if name.startswith(OPTIONS)}
    options = {name: value for name, value in said.items() if value is not None}
    return {"options": options} if options else {}


def _cut_in_two(kwargs: Section, masks: bool, start: dict[str, Any]) -> dict[str, Any]:
    """A Faster or Mask R-CNN upon a ResNet, whose first layer may be an encoder and a decoder."""
    backbone = kwargs.section("backbone")
    key = (backbone.text("key", "name") or "resnet50").removeprefix("custom_")
    inner = backbone.section("kwargs", "params")
    first = inner.section("layer1", "bottleneck_config")
    if first.has("kwargs"):
        first.use("key")
        first = first.section("kwargs")
    channels = first.integer("bottleneck_channel", "bottleneck_channels") or 0
    first.use("key", "name")
    options = _options(kwargs)
    kwargs.leave("the backbone's own: a stage's `frozen` says what is not trained, `start` what it starts from")
    exists(kwargs.source, "architecture", "bottleneck_rcnn")
    eps = {"norm_eps": 0.0} if start and start["source"].endswith("coco_v1") else {}
    return {"method": "bottleneck_rcnn", "backbone": printable(key), "channels": channels,
            **({"masks": True} if masks else {}), **eps, **options}  # fmt: skip


def _checkpoint(section: Section) -> None:
    """Checkpoint files that a model's weights are read from, where the file is there."""
    reason = "a file of weights, loaded in the place of others if it is there; make it a source of sources.yaml"
    if section.data.get("src_ckpt") is None:
        section.use("src_ckpt")
    section.leave(reason, "src_ckpt", "ckpt")
