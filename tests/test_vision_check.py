"""What `redistill check` says of detectors and segmenters before anything is made, and what it finds right."""

from pathlib import Path

import pytest
from conftest import Project
from picture_sets import put
from vision_project import NORMAL, OPTIMISER, study

from redistill.errors import ConfigError
from redistill.training.check import check_models

SIDES = "options: {min_size: 64, max_size: 96}"
RCNN = f"{{method: bottleneck_rcnn, backbone: resnet18, {SIDES}}}"
STAGE = f"""
  - data: [train]
    epochs: 1
    batch_size: 2
    optimiser: {OPTIMISER}
"""
DETECTS = f"""
label: A
student: {{architecture: {RCNN}}}
stages:{STAGE}    loss: {{boxes: {{method: detector, weight: 1.0}}}}
"""
HEAD = f"""
label: B
teacher: {{experiment: dense/detects}}
student:
  architecture: {RCNN}
stages:{STAGE}    loss:
      layers: {{method: ghnd, weight: 1.0, taps: {{student: [backbone.body.layer1], teacher: [backbone.body.layer1]}}}}
"""
TELLS = f"""
label: C
student: {{architecture: {{method: lraspp, backbone: mobilenetv2_035, width: 16}}}}
stages:{STAGE}    transforms: [{{method: random_crop, size: 64}}, {NORMAL}]
    loss: {{hard: {{method: hard, weight: 1.0}}}}
"""
TAUGHT = f"""
label: D
teacher: {{experiment: dense/tells}}
student: {{architecture: {{method: lraspp, backbone: mobilenetv2_035, width: 8}}}}
stages:{STAGE}    transforms: [{{method: random_crop, size: 64}}, {NORMAL}]
    teacher_outputs: live
    loss:
      hard: {{method: hard, weight: 1.0}}
      soft: {{method: kd, weight: 1.0}}
"""
BOXES, MASKS = "coco/detection", "voc/segmentation"
MASK_RCNN = RCNN.replace("backbone: resnet18", "backbone: resnet18, masks: true")


@pytest.fixture
def dense(project: Project) -> Project:
    """Detectors on COCO's boxes, segmenters on VOC's masks, on smaller images."""
    project.edit(f"tasks/{BOXES}.yaml", "image_shape: [3, 800, 1333]", "image_shape: [3, 64, 96]")
    project.edit(f"tasks/{MASKS}.yaml", "image_shape: [3, 513, 513]", "image_shape: [3, 64, 64]")
    tables = {"boxes": ([BOXES], ["experiment: dense/detects", "experiment: dense/head"]),
              "masks": ([MASKS], ["experiment: dense/tells", "experiment: dense/taught"])}  # fmt: skip
    experiments = {"detects": DETECTS, "head": HEAD, "tells": TELLS, "taught": TAUGHT}
    written = {f"experiments/dense/{name}.yaml": text for name, text in experiments.items()}
    put(project.root / "configs", {**written, "studies/dense.yaml": study("dense", tables)})
    return project


def test_detectors_and_segmenters_are_found_right(dense):
    assert check_models(dense.plan("dense")) == []


def test_a_head_of_mask_r_cnn_learns_features_without_masks(dense):
    for name in ("detects", "head"):
        dense.edit(f"experiments/dense/{name}.yaml", RCNN, MASK_RCNN)
    with pytest.raises(ConfigError) as caught:
        check_models(dense.plan("dense"))
    assert [(problem.file, problem.key) for problem in caught.value.problems] == [
        ("configs/experiments/dense/detects.yaml", "stages.0.loss.boxes")
    ]
    assert "needs the mask of each object, and a detection has boxes alone: compare" in str(caught.value)


def test_what_is_tapped_beyond_a_backbone_is_known_when_it_runs(dense):
    dense.edit("experiments/dense/head.yaml", "student: [backbone.body.layer1]", "student: [roi_heads.box_head.fc6]")
    said = check_models(dense.plan("dense"))
    assert len(said) == 1
    assert said[0].startswith("the tap `roi_heads.box_head.fc6` of a detector is looked at when it runs")


MISTAKES = [
    ("detects", RCNN, "{method: torchvision, name: resnet18}", "student.architecture",
     "is no detector, and the task is a detection: take `detector`"),
    ("detects", "{method: detector", "{method: hard", "stages.0.loss.boxes", "a detector gives boxes: take `detector`"),
    ("head", "method: ghnd", "method: second_head", "stages.0.loss.layers", "a detector gives boxes: take `detector`"),
    ("head", "{student: [backbone.body.layer1]", "{student: [backbone.body.layer9]",
     "stages.0.loss.layers.taps.student.0", "has no module `backbone.body.layer9`"),
    ("head", "{student: [backbone.body.layer1]", "{student: [backbone.body.layer2]", "stages.0.loss.layers", "differ"),
    ("tells", "{method: lraspp, backbone: mobilenetv2_035, width: 16}", RCNN, "student.architecture",
     "is a detector, and the task is a segmentation: take a model that gives classes"),
    ("tells", "{method: lraspp, backbone: mobilenetv2_035, width: 16}", "{method: torchvision, name: resnet18}",
     "stages.0", r"gives \[21\] for an image, and the task asks for a class of every pixel, \[21, 64, 64\]"),
    ("tells", "{method: hard", "{method: detector", "stages.0.loss.hard", "adds up what a detector says of itself"),
    ("taught", "teacher_outputs: live", "teacher_outputs: stored", "stages.0.teacher_outputs", "every pixel .* `live`"),
    ("taught", "teacher_outputs: live", "teacher_outputs: {views: 2}", "stages.0.teacher_outputs", "every pixel"),
    ("taught", "teacher_outputs: live", "teacher_outputs: live\n    rotations: true", "stages.0.rotations",
     "turns images without what is drawn on them"),
]  # fmt: skip


@pytest.mark.parametrize(("experiment", "old", "new", "key", "words"), MISTAKES)
def test_a_mistake_is_said_at_its_place(dense, experiment, old, new, key, words):
    dense.edit(f"experiments/dense/{experiment}.yaml", old, new)
    with pytest.raises(ConfigError, match=words) as caught:
        check_models(dense.plan("dense"))
    places = [(problem.file, problem.key) for problem in caught.value.problems]
    assert (f"configs/experiments/dense/{experiment}.yaml", key) in places


@pytest.mark.parametrize(("task", "size"), [("coco/segmentation", 480), ("voc/segmentation", 513)])
def test_masks_are_shown_to_models_as_published_experiments_cut_them(project, task, size):
    """The sides of their random crops, in experiments.json of the published facts."""
    assert f"image_shape: [3, {size}, {size}]" in project.file(f"tasks/{task}.yaml").read_text(encoding="utf-8")


def test_boxes_are_looked_for_on_the_sides_that_the_published_detector_brings_images_to(project):
    import inspect

    from torchvision.models.detection import FasterRCNN

    usual = inspect.signature(FasterRCNN).parameters
    said = f"image_shape: [3, {usual['min_size'].default}, {usual['max_size'].default}]"
    assert said in Path(project.file("tasks/coco/detection.yaml")).read_text(encoding="utf-8")


def test_on_several_devices_a_loss_of_a_whole_batch_of_images_of_all_sizes_is_refused(dense):
    dense.edit("studies/dense.yaml", "portable: true", "portable: true, devices: 2")
    with pytest.raises(ConfigError) as refused:
        dense.plan("dense")
    (problem,) = refused.value.problems
    assert (problem.file, problem.key) == ("configs/experiments/dense/head.yaml", "stages.0.loss.layers")
    assert "loss `ghnd` is of a whole batch" in problem.message
    assert "set runtime.devices to 1" in problem.message
