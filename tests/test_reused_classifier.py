"""A student that ends in its teacher's classifier: what it computes, its key, mistakes, and a run that is exported."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from conftest import Project
from engine_project import Engine
from picture_sets import class_folders
from safetensors.torch import load_file
from test_language import small_study
from vision_project import NORMAL, own_folder, study, vision

from redistill import export
from redistill.data import examples
from redistill.errors import ConfigError, RedistillError
from redistill.models import load
from redistill.models.architectures.reused_classifier import reused_classifier
from redistill.models.taps import tapped
from redistill.questions import words
from redistill.training.check import check_models

TASK = {"type": "classification", "labels": list("abc"), "image_shape": [3, 16, 16]}
BODY = {"method": "cifar_resnet", "depth": 8}
SQUEEZED = {"method": "torchvision", "name": "squeezenet1_0"}


def built(side: int = 16, **settings: Any) -> Any:
    torch.manual_seed(0)
    task = {**TASK, "image_shape": [3, side, side]}
    return reused_classifier(task, **{"body": BODY, "last": "layer3", "like": [10, 2, 2], **settings})


def test_logits_are_the_classifiers_of_the_projected_map() -> None:
    model, images = built(last="layer2").eval(), torch.randn(2, 3, 16, 16)
    with tapped(model, ["body.layer2", "projector"], "student") as seen:
        logits = model(images)
    assert seen["body.layer2"].shape == (2, 32, 8, 8)
    assert seen["projector"].shape == (2, 10, 2, 2)
    projected = model.projector(seen["body.layer2"])
    assert torch.equal(projected, seen["projector"])
    assert torch.equal(logits, model.classifier(projected.mean((2, 3))))
    with torch.inference_mode():
        assert torch.allclose(model(images[:1]), logits[:1], atol=1e-6)


def test_the_body_has_no_last_layer_of_its_own_and_all_else_learns_from_the_projected_map() -> None:
    model = built()
    assert not any(name.startswith("body.fc") for name in model.state_dict())
    with tapped(model, ["projector"], "student") as seen:
        model(torch.randn(4, 3, 16, 16))
    seen["projector"].square().mean().backward()
    silent = {name.split(".")[0] for name, weight in model.named_parameters() if weight.grad is None}
    assert silent == {"classifier"}


def test_the_projector_is_narrow_in_the_middle_and_brings_no_map_to_a_larger_size() -> None:
    model = built(like=[12, 9, 1], factor=4)
    assert [model.projector.layers[i].out_channels for i in (0, 3, 6)] == [3, 3, 12]
    assert model.projector.size == (4, 1)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"like": [10, 2]}, "`like` is channels, height and width of a map, not \\[10, 2\\]"),
        ({"last": "fc"}, "`fc` gives \\[3\\] for an image, no map"),
        ({"last": "layer9"}, "the body has no module `layer9`; there are .*`layer3`"),
        ({"body": SQUEEZED, "last": "features"}, "images \\[3, 16, 16\\] do not pass through its body"),
        ({"body": SQUEEZED, "last": "features", "side": 64}, "ends in no linear layer"),
    ],
)
def test_a_body_or_a_map_that_does_not_fit_is_named(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(RedistillError, match=said):
        built(**settings)


# --- in a config -----------------------------------------------------------------------------------------------------

STUDENT = """
label: Reuses
teacher: {{experiment: TEACHER}}
student:
  architecture: {{method: reused_classifier, body: {body}, last: layer3, like: {like}}}
  start: {{experiment: TEACHER, part: fc, into: classifier}}
stages:
  - data: [train]
    epochs: 2
    batch_size: 8
    frozen: [classifier]
    optimiser: {{method: sgd, learning_rate: 0.05, weight_decay: 1.0e-4, momentum: 0.9}}
    loss:
      features: {{method: simkd, weight: 1.0, taps: {{student: [projector], teacher: [layer3]}}}}
"""


def reuses(teacher: str, body: str = "{method: cifar_resnet, depth: 8}", like: str = "[64, 4, 4]") -> str:
    return STUDENT.format(body=body, like=like).replace("TEACHER", teacher)


def planned(project: Project, **said: str) -> Project:
    """A small study of digits with such a student of a CIFAR ResNet."""
    project.experiments(
        taught="extends: image/teacher\nset: {student.architecture: {method: cifar_resnet, depth: 8}}",
        reuses=reuses("taught", **said),
    )
    small_study(project, "{experiment: reuses}", tasks="[digits]")
    return project


def test_the_body_is_in_the_students_key_with_every_setting(project: Project) -> None:
    plan = planned(project, body="{method: densenet_bc, depth: 10}", like="[64, 2, 2]").plan("small")
    (node,) = (node for node in plan.nodes.values() if node.title == "reuses · digits · seed 0")
    assert {f"redistill.models.architectures.{name}" for name in ("reused_classifier", "densenet_bc")} <= set(
        node.parts["code"]
    )
    settings = node.config["student"]["architecture"]["settings"]
    assert settings["factor"] == 2
    assert settings["body"].keys() > {"method", "depth"}


def test_the_body_is_said_in_words() -> None:
    settings = {"body": BODY, "last": "layer3", "like": [64, 4, 4], "factor": 2}
    said = words.component({"method": "reused_classifier", "settings": settings})
    assert said == "reused_classifier (body cifar_resnet (depth 8), last layer3, like [64, 4, 4], factor 2)"


@pytest.mark.parametrize(
    ("said", "key", "message"),
    [
        ({"body": "{method: cifar_resnet, dept: 8}"}, "body.dept", "no setting `dept`; did you mean `depth`"),
        ({"body": "{method: cifar_resnet}"}, "body", "needs the setting `depth`"),
        ({"body": "{method: cifar_restnet, depth: 8}"}, "body.method", "no architecture `cifar_restnet`; did you mean"),
        ({"body": "cifar_resnet"}, "body", "must be a mapping with a `method`"),
    ],
)
def test_a_mistake_in_the_body_is_refused_at_its_place(
    project: Project, said: dict[str, str], key: str, message: str
) -> None:
    planned(project, **said)
    problems = [p for p in project.problems("small") if message in p.message]
    assert problems
    assert all(problem.key.startswith("student.architecture.body") for problem in problems)
    assert f"student.architecture.{key}" in {problem.key for problem in problems}


@pytest.mark.parametrize(
    ("like", "said"),
    [("[63, 2, 2]", "`classifier.weight` is \\(10, 63\\) in the student and \\(10, 64\\)"), ("[64, 2, 2]", "")],
)
def test_a_map_unlike_the_teachers_is_refused(project: Project, like: str, said: str) -> None:
    plan = planned(project, like=like).plan("small")
    if not said:
        check_models(plan)
        return
    with pytest.raises(ConfigError, match=said):
        check_models(plan)


# --- trained ---------------------------------------------------------------------------------------------------------

PHOTOS = """
title: Photos
type: classification
input: image
image_shape: [3, 16, 16]
source: photos
reader: {method: image_folder}
labels: [cat, dog]
metric: accuracy
splits: {train: 24, select: 0, dev: 8}
"""
SEEN = f"[{{method: centre_crop, size: 16}}, {NORMAL}]"
TEACHER = f"""
label: Teacher
student: {{architecture: {{method: cifar_resnet, depth: 8}}}}
stages:
  - data: [train]
    epochs: 1
    batch_size: 8
    transforms: {SEEN}
    optimiser: {{method: sgd, learning_rate: 0.05, weight_decay: 0.0, momentum: 0.9}}
    loss:
      hard: {{method: hard, weight: 1.0}}
evaluation: {{transforms: {SEEN}}}
"""


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """A teacher and a student that reuses its classifier, made."""
    folder = tmp_path_factory.mktemp("photos")
    class_folders(folder / "set", ["cat", "dog"], 16)
    shown = f"    frozen: [classifier]\n    transforms: {SEEN}"
    student = reuses("photos/teacher").replace("    frozen: [classifier]", shown)
    configs = {
        "sources": own_folder("photos", "PHOTOS_DIR"), "tasks/photos": PHOTOS,
        "studies/photos": study("photos", {"all": (["photos"], ["experiment: photos/reuses"])}),
        "experiments/photos/teacher": TEACHER,
        "experiments/photos/reuses": f"{student}evaluation: {{transforms: {SEEN}}}\n",
    }  # fmt: skip
    with vision(folder / "project", configs, {"PHOTOS_DIR": folder / "set"}, "photos") as made:
        done = made.forked("make", made.keys["photos"]["photos/reuses seed 0"])
        assert done.returncode == 0, done.stdout + done.stderr
        yield made


def test_a_run_keeps_the_teachers_classifier_and_predicts_with_it_wherever_it_is_opened(
    engine: Engine, tmp_path: Path
) -> None:
    run = engine.run(engine.keys["photos"]["photos/reuses seed 0"])
    teacher = engine.run(manifest_inputs(run)["start"])
    assert manifest_inputs(run)["teacher teacher"] == teacher.name
    weights, taught = load_file(run / "model.safetensors"), load_file(teacher / "model.safetensors")
    assert torch.equal(weights["classifier.weight"], taught["fc.weight"])
    assert torch.equal(weights["classifier.bias"], taught["fc.bias"])
    folder, written = export.export(engine.root, run.name, tmp_path / "exported")
    assert written
    assert (folder / "model.safetensors").read_bytes() == (run / "model.safetensors").read_bytes()
    runtime = {"device": "cpu", "precision": "float32", "threads": 1, "portable": False}
    model = load.load_run(folder, runtime)
    told = pq.read_table(run / "predictions.parquet").to_pylist()
    task = {**TASK, "labels": ["cat", "dog"], "input": "image"}
    dataset = engine.root / "store" / "data" / manifest_inputs(run)["dataset"]
    normal = {"method": "normalise", "settings": {"mean": [0.5] * 3, "std": [0.25] * 3}}
    transforms = [{"method": "centre_crop", "settings": {"size": 16}}, normal]
    data = examples.load(task, {"dataset": dataset}, ["dev"], transforms)
    with torch.inference_mode():
        logits = model(data.batch(np.arange(len(data)))["image"])
    by_id = {row["id"]: row["logits"] for row in told}
    assert np.allclose(logits.numpy(), [by_id[name] for name in data.ids], atol=1e-4)


def manifest_inputs(run: Path) -> dict[str, str]:
    from redistill.provenance import store

    inputs: dict[str, str] = store.read_manifest(run)["key_parts"]["inputs"]
    return inputs
