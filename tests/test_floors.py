"""Floors of tasks whose labels are drawn on images, and what baselines look at."""

import numpy as np
import pyarrow.parquet as pq
import pytest
from picture_sets import mask_of, picture

from redistill.data.prepare_images import write_pictures
from redistill.evaluation.evaluate import measured, read_predictions, score
from redistill.models.fit import fit


def task(kind, labels=("sky", "road", "car")):
    return {"type": kind, "input": "image", "labels": list(labels), "image_shape": [3, 4, 4]}


def split(folder, name, kind, drawn):
    examples = [{"id": f"{name}-{i}", "image": picture(4, 4, seed=i), **one} for i, one in enumerate(drawn)]
    write_pictures(folder, name, examples, {**task(kind), "faulty": "refuse"}, True, lambda path: path.read_bytes())


def config(kind, method):
    return {"task": task(kind), "baseline": {"method": method, "settings": {}}}


def masks(*classes):
    return [{"mask": mask_of(np.full((4, 4), one))} for one in classes]


def test_the_most_frequent_class_of_pixels_is_said_everywhere(tmp_path):
    dataset, work = tmp_path / "set", tmp_path / "work"
    dataset.mkdir()
    work.mkdir()
    split(dataset, "train", "segmentation", masks(1, 1, 2))
    half = np.zeros((4, 4))
    half[:2], half[2, 0] = 1, 255
    split(dataset, "dev", "segmentation", [{"mask": mask_of(half)}, *masks(1)])
    assert fit(config("segmentation", "majority_pixel"), {"dataset": dataset}, work) == {"examples": 3}
    found = read_predictions(work)
    assert measured(found, "pixel_accuracy") == pytest.approx((8 + 16) / 31)
    assert measured(found, "mean_iou") == pytest.approx((0 + 24 / 31) / 2)


def test_void_pixels_are_no_class_that_could_be_the_most_frequent(tmp_path):
    split(tmp_path, "train", "segmentation", masks(255, 255, 2))
    split(tmp_path, "dev", "segmentation", masks(2))
    fit(config("segmentation", "majority_pixel"), {"dataset": tmp_path}, tmp_path)
    assert score(tmp_path, "pixel_accuracy", "dev") == {"value": 1.0, "examples": 1}


def test_what_is_drawn_on_another_image_is_found_on_each(tmp_path):
    one, other = [[0.0, 0.0, 2.0, 2.0]], [[1.0, 1.0, 4.0, 4.0]]
    split(tmp_path, "train", "detection", [{"boxes": one, "classes": [1]}, {"boxes": other, "classes": [2]}])
    there = [{"boxes": one, "classes": [1]}, {"boxes": one, "classes": [1]}, {"boxes": [], "classes": []}]
    split(tmp_path, "dev", "detection", there)
    split(tmp_path, "select", "detection", there[:1])
    fit(config("detection", "another_image"), {"dataset": tmp_path}, tmp_path)
    found = pq.read_table(tmp_path / "predictions.parquet").to_pylist()
    assert [row["boxes"] for row in found] == [one, other, one, other]
    assert [row["label_boxes"] for row in found] == [one, one, [], one]
    assert [row["classes"] for row in found] == [[1], [2], [1], [2]]
    assert {row["split"] for row in found} == {"dev", "select"}
    assert 0 < score(tmp_path, "mean_ap_50", "dev")["value"] < 1
    assert score(tmp_path, "mean_ap_50", "select") == {"value": 0.0, "examples": 1}


def test_a_baseline_reads_no_pixels_that_it_does_not_ask_for(tmp_path, monkeypatch):
    import pyarrow as pa

    table = pa.table({"id": ["a", "b"], "label": [0, 1], "image": [[0, 1], [2, 3]]})
    for name in ("train", "dev"):
        pq.write_table(table, tmp_path / f"{name}.parquet")
    asked = []
    read = pq.ParquetFile.read
    monkeypatch.setattr(pq.ParquetFile, "read", lambda file, columns: asked.append(columns) or read(file, columns))
    said = {"task": {**task("classification"), "labels": ["x", "y"]}}
    fit(said | {"baseline": {"method": "majority", "settings": {}}}, {"dataset": tmp_path}, tmp_path)
    assert asked == [["id", "label"]] * 2
    asked.clear()
    fit(said | {"baseline": {"method": "linear", "settings": {"c": 1.0}}}, {"dataset": tmp_path}, tmp_path)
    assert asked == [["id", "label", "image"]] * 2


@pytest.mark.parametrize(
    ("floor", "wrong", "says"),
    [
        ("majority-pixel", "majority", "`majority` says nothing of `camvid/scenes`, a segmentation: take"),
        ("another-image", "majority-pixel", "`majority_pixel` says nothing of `bccd/cells`, a detection: take"),
        ("majority,", "another-image,", "`another_image` says nothing of `cifar/cifar10-small`, a classification"),
    ],
)
def test_a_floor_of_another_type_of_task_is_refused(project, monkeypatch, floor, wrong, says):
    for split in ("train", "test"):
        (project.root / f"{split}-00000-of-00001.parquet").touch()
    monkeypatch.setenv("CIFAR10_DIR", str(project.root))
    project.edit("studies/vision-small.yaml", f"floors/{floor}", f"floors/{wrong}")
    assert any(says in problem.message for problem in project.problems("vision-small"))
