"""Folders of images that a user has: found, listed by their content, read where they lie, and missed in a sentence."""

import os
import re
from pathlib import Path

import pytest
from conftest import Project
from picture_sets import camvid_folder, cifar_file, class_folders, picture, put, voc_folder, yolo_folder

from redistill import registry
from redistill.config import compose, schema
from redistill.config.checked import Checked, Findings
from redistill.config.tasks import TaskChecker
from redistill.data import prepare
from redistill.data.fetch import fetch
from redistill.data.listing import LISTING, listed
from redistill.errors import IntegrityError, RedistillError
from redistill.plan import Node, Plan
from redistill.provenance import contents

STUDY = """
title: pictures
{folders}
tables:
  all:
    title: All
    tasks: [{task}]
    seeds: [0]
    rows:
      - {{experiment: pictures/{experiment}}}
"""
STUDENT = """
label: Student
student: {architecture: {method: cifar_resnet, depth: 8}}
stages:
  - data: [train]
    epochs: 1
    batch_size: 2
    optimiser: {learning_rate: 1.0e-3}
    loss:
      hard: {method: hard, weight: 1.0}
"""
FINDS = STUDENT.replace("hard: {method: hard", "boxes: {method: detector")
TASK = """
title: Photos
type: classification
input: image
image_shape: [3, 16, 16]
source: photos
reader: {method: image_folder}
labels: [cat, dog]
metric: accuracy
splits: {train: 4, select: 0, dev: 2}
"""
SOURCE = """
photos:
  kind: data
  origin: {type: folder, variable: PHOTOS_DIR}
  layout:
    folder: photos
    splits:
      all: [./]
  licence: mine
  citation: "Nobody 2020, Photos"
"""


@pytest.fixture
def pictures(project: Project) -> Project:
    """A project with a study on photos of the user's own."""
    experiments = {"experiments/pictures/student.yaml": STUDENT, "experiments/pictures/finds.yaml": FINDS}
    put(project.root / "configs", experiments | {"tasks/photos.yaml": TASK})
    with project.file("sources.yaml").open("a", encoding="utf-8") as stream:
        stream.write(SOURCE)
    study(project, "photos")
    return project


def study(project: Project, task: str, folders: str = "") -> None:
    experiment = "finds" if task == "coco/coco128" else "student"
    text = STUDY.format(task=task, folders=folders, experiment=experiment)
    put(project.root / "configs", {"studies/pictures.yaml": text})


def node(plan: Plan, kind: str) -> Node:
    return next(one for one in plan.nodes.values() if one.kind == kind)


def prepared(plan: Plan, work: Path) -> dict[str, int]:
    """Make the source and the data set of a plan as jobs do, without the rest; the sizes of the splits."""
    source, dataset = node(plan, "data"), node(plan, "dataset")
    (work / "source").mkdir(parents=True)
    (work / "dataset").mkdir()
    fetch(source.config, source.given, work / "source")
    sizes: dict[str, int] = prepare.prepare(
        dataset.config, {"source": work / "source"} | dataset.given, work / "dataset"
    )["splits"]
    return {split: size for split, size in sizes.items() if size}


# --- listings --------------------------------------------------------------------------------------------------------


def test_a_changed_an_added_a_removed_and_a_renamed_file_change_a_listing_and_a_copy_does_not(tmp_path):
    root = tmp_path / "project"
    one = put(tmp_path / "one", {"a/x.png": "1", "a/y.png": "2", "list.txt": "x", "other/z": "3", "a/.hidden": "4"})
    copy = put(tmp_path / "two", {"a/x.png": "1", "a/y.png": "2", "list.txt": "x"})
    entries = ["a/", "list.txt"]
    first, file = contents.listing(root, one, entries)
    assert [line.split("  ")[1] for line in file.read_text().splitlines()] == ["a/x.png", "a/y.png", "list.txt"]
    assert contents.listing(root, copy, entries)[0] == first
    seen = {first}
    (one / "a/x.png").write_text("9")
    seen.add(contents.listing(root, one, entries)[0])
    (one / "a/n.png").write_text("5")
    seen.add(contents.listing(root, one, entries)[0])
    (one / "a/y.png").unlink()
    seen.add(contents.listing(root, one, entries)[0])
    (one / "a/n.png").rename(one / "a/m.png")
    seen.add(contents.listing(root, one, entries)[0])
    (one / "list.txt").write_text("y")
    seen.add(contents.listing(root, one, entries)[0])
    assert len(seen) == 6
    assert contents.listing(tmp_path / "elsewhere", one, entries)[0] in seen


def test_a_file_is_read_once_while_its_size_and_time_stay(tmp_path, monkeypatch):
    root, folder = tmp_path / "project", put(tmp_path / "set", {f"a/{i}.png": str(i) for i in range(5)})
    read = list[str]()
    digest = contents.sha256_file
    monkeypatch.setattr(contents, "sha256_file", lambda file: read.append(file.name) or digest(file))
    first, _ = contents.listing(root, folder, ["a/"])
    assert sorted(read) == [f"{i}.png" for i in range(5)]
    assert contents.listing(root, folder, ["a/"])[0] == first
    assert len(read) == 5
    os.utime(folder / "a/3.png", ns=(0, 0))
    (folder / "a/5.png").write_text("5")
    contents.listing(root, folder, ["a/"])
    assert sorted(read[5:]) == ["3.png", "5.png"]


def test_what_was_read_before_a_file_that_cannot_be_is_known(tmp_path, monkeypatch):
    root, folder = tmp_path / "project", put(tmp_path / "set", {f"a/{i}.png": str(i) for i in range(4)})
    read, spoilt, digest = list[str](), {"3.png"}, contents.sha256_file

    def once(file: Path) -> str:
        read.append(file.name)
        if file.name in spoilt:
            raise PermissionError(13, "Permission denied")
        return digest(file)

    monkeypatch.setattr(contents, "sha256_file", once)
    with pytest.raises(RedistillError, match="3.png: cannot be read .Permission denied."):
        contents.listing(root, folder, ["a/"])
    read.clear()
    spoilt.clear()
    contents.listing(root, folder, ["a/"])
    assert read == ["3.png"]


def test_a_name_that_no_listing_can_hold_is_refused(tmp_path):
    folder = put(tmp_path / "set", {"a/one\ntwo.png": "1"})
    with pytest.raises(RedistillError, match=r"'a/one\\ntwo.png' has a name that cannot be listed"):
        contents.listing(tmp_path, folder, ["a/"])


def test_files_are_compared_with_the_listing_when_they_are_read(tmp_path):
    folder = put(tmp_path / "set", {"a/x.png": "1", "a/y.png": "2", "list.txt": "x"})
    _, file = contents.listing(tmp_path / "project", folder, ["a/", "list.txt"])
    put(tmp_path / "source", {LISTING: file.read_bytes()})
    inputs = {"source": tmp_path / "source", "folder": folder}
    found = listed(inputs)
    assert found is not None
    assert found.read(folder / "a/x.png") == b"1"
    (folder / "a/y.png").write_text("9")
    with pytest.raises(IntegrityError, match="y.png: SHA-256 is .* it was another file when this was planned"):
        found.read(folder / "a/y.png")
    put(folder, {"a/new.png": "3"})
    with pytest.raises(RedistillError, match="new.png: was not there when this was planned: start again"):
        found.read(folder / "a/new.png")
    (folder / "a/x.png").unlink()
    with pytest.raises(RedistillError, match="x.png: cannot be read .No such file or directory."):
        found.read(folder / "a/x.png")
    (folder / "list.txt").write_text("y")
    with pytest.raises(IntegrityError, match="list.txt"):
        listed(inputs)


# --- studies ---------------------------------------------------------------------------------------------------------


def test_a_folder_of_the_users_own_is_found_by_its_variable_and_its_content_is_in_the_key(
    pictures, tmp_path, monkeypatch
):
    unset = pictures.plan("pictures")
    assert not unset.checked.no_data
    with pytest.raises(RedistillError, match="PHOTOS_DIR was not set when this was planned: let it name the folder"):
        prepared(unset, tmp_path / "unset")
    photos = class_folders(tmp_path / "photos", ["cat", "dog"], 3)
    monkeypatch.setenv("PHOTOS_DIR", str(photos))
    first = pictures.plan("pictures")
    assert node(first, "dataset").key != node(unset, "dataset").key
    assert prepared(first, tmp_path / "first") == {"train": 4, "dev": 2}
    put(photos, {"cat/new.png": picture(seed=9)})
    assert node(pictures.plan("pictures"), "dataset").key != node(first, "dataset").key
    with pytest.raises(RedistillError, match="was not there when this was planned|it was another file"):
        prepared(first, tmp_path / "changed")
    (photos / "cat/new.png").unlink()
    photos.rename(tmp_path / "elsewhere")
    monkeypatch.setenv("PHOTOS_DIR", str(tmp_path / "elsewhere"))
    assert node(pictures.plan("pictures"), "dataset").key == node(first, "dataset").key


def test_a_study_says_where_a_folder_is(pictures, tmp_path, monkeypatch):
    class_folders(tmp_path / "a", ["cat", "dog"], 3)
    class_folders(tmp_path / "b", ["cat", "dog"], 4)
    monkeypatch.setenv("PHOTOS_DIR", str(tmp_path / "a"))
    by_variable = node(pictures.plan("pictures"), "data")
    study(pictures, "photos", f"folders: {{photos: {{path: {tmp_path / 'b'}}}}}")
    assert node(pictures.plan("pictures"), "data").key != by_variable.key


def test_a_folder_that_is_not_there_or_not_laid_out_so_is_said(pictures, tmp_path, monkeypatch):
    monkeypatch.setenv("PHOTOS_DIR", str(tmp_path / "no"))
    assert any("there is no folder" in p.message and p.key == "source" for p in pictures.problems("pictures"))
    study(pictures, "camvid/scenes")
    monkeypatch.setenv("CAMVID_DIR", str(put(tmp_path / "empty", {"x": "y"})))
    said = "the folder has no data for any of them (no train.txt and train/ and trainannot/)"
    assert any(said in problem.message for problem in pictures.problems("pictures"))
    study(pictures, "coco/coco128")
    monkeypatch.setenv("COCO128_DIR", str(tmp_path / "empty"))
    said = "the folder has no data for any of them (no images/train2017/ and labels/train2017/)"
    assert any(said in problem.message for problem in pictures.problems("pictures"))


def cifar_100(folder: Path) -> Path:
    return put(folder, {"cifar-100-binary/train.bin": cifar_file(200, 100, 1, ahead=2),
                        "cifar-100-binary/test.bin": cifar_file(100, 100, 2, ahead=2)})  # fmt: skip


@pytest.mark.parametrize(
    ("task", "variable", "write", "sizes"),
    [
        ("cifar/cifar100", "CIFAR100_DIR", cifar_100, {"train": 200, "dev": 100}),
        ("coco/coco128", "COCO128_DIR", lambda folder: yolo_folder(folder, 128),
         {"train": 80, "select": 16, "dev": 32}),
        ("camvid/scenes", "CAMVID_DIR", lambda folder: camvid_folder(folder, {"train": 367, "val": 101, "test": 233}),
         {"train": 367, "select": 101, "dev": 233}),
    ],
)  # fmt: skip
def test_shipped_tasks_are_prepared_at_the_first_try(pictures, tmp_path, monkeypatch, task, variable, write, sizes):
    monkeypatch.setenv(variable, str(write(tmp_path / "set")))
    study(pictures, task, f"folders: {{{task.split('/')[1]}: {{variable: {variable}}}}}" if "cifar" in task else "")
    if "cifar" in task:
        pictures.edit("tasks/cifar/cifar100.yaml", "rows: {train: 50000, test: 10000}", "rows: {train: 200, test: 100}")
    assert prepared(pictures.plan("pictures"), tmp_path / "work") == sizes


def test_a_folder_like_imagenets_is_prepared_at_the_first_try(pictures, tmp_path, monkeypatch):
    wnids = ["n01440764", "n01443537", "n01484850"]
    monkeypatch.setenv("IMAGENET_DIR", str(class_folders(tmp_path / "set", wnids, 2, "train", "val")))
    put(
        pictures.root / "configs",
        {
            "tasks/imagenet/three.yaml": """
extends: ilsvrc2012
labels: [tench, goldfish, great white shark]
reader: {classes: [n01440764, n01443537, n01484850]}
splits: {rows: {train: 6, val: 6}}
"""
        },
    )
    study(pictures, "imagenet/three")
    assert prepared(pictures.plan("pictures"), tmp_path / "work") == {"train": 6, "dev": 6}


def test_voc_2012_and_2007_are_laid_out_as_their_archives(pictures, tmp_path, monkeypatch):
    folder = voc_folder(tmp_path / "set")
    put(folder, {"ImageSets/Segmentation/train.txt": "a\nb\n", "ImageSets/Segmentation/val.txt": "c\n"})
    monkeypatch.setenv("VOC2012_DIR", str(folder))
    pictures.edit("tasks/voc/segmentation.yaml", "rows: {train: 1464, val: 1449}", "rows: {train: 2, val: 1}")
    study(pictures, "voc/segmentation")
    assert prepared(pictures.plan("pictures"), tmp_path / "work") == {"train": 2, "dev": 1}


# --- tasks -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("type: classification", "type: detection", "`accuracy` does not measure detection"),
        ("type: classification", "type: segmentation", "`accuracy` does not measure segmentation"),
        ("labels: [cat, dog]", "labels: [cat]", "a classification task names at least two labels, in order"),
        ("labels: [cat, dog]", "labels: [cat, dog]\nfaulty: ignore", "faulty"),
    ],
)
def test_what_is_wrong_with_a_task_of_images_is_said(pictures, old, new, says):
    pictures.edit("tasks/photos.yaml", old, new)
    assert any(says in str(problem) for problem in pictures.problems("pictures"))


@pytest.mark.parametrize(
    ("kind", "labels", "says"),
    [
        ("detection", "[]", "a detection task names at least one label"),
        ("segmentation", "[road]", "a segmentation task names at least two labels, in order"),
        ("segmentation", str([f"class {i}" for i in range(256)]), "a mask can tell 255 classes apart, as 255 is none"),
    ],
)
def test_boxes_and_masks_need_labels(pictures, kind, labels, says):
    pictures.edit("tasks/photos.yaml", "type: classification", f"type: {kind}")
    pictures.edit("tasks/photos.yaml", "[cat, dog]", labels)
    assert any(says in problem.message for problem in pictures.problems("pictures"))


BLOCK = re.compile(r"^```yaml\n# configs/(\S+?)(?:, at its end)?\n(.*?)^```$", re.DOTALL | re.MULTILINE)


def test_the_configs_of_the_page_are_right(project):
    page = (Path(__file__).parents[1] / "docs" / "data.md").read_text(encoding="utf-8")
    blocks = BLOCK.findall(page)
    assert len(blocks) == 5
    for name, text in blocks:
        with project.file(name).open("a", encoding="utf-8") as stream:
            stream.write(f"\n{text}")
    for name in (name for name, _ in blocks if name.startswith("tasks/")):
        read = compose.read(project.root, "tasks", name.removeprefix("tasks/").removesuffix(".yaml"))
        task = compose.validate(schema.Task, read)
        assert task.reader is not None
        assert task.splits is not None
        assert set(task.reader.settings) <= set(registry.signature("reader", task.reader.method).settings)
        labels = task.reader.settings.get("classes", task.labels)
        assert isinstance(labels, int) or len(labels) == len(task.labels)
    study(project, "photos")
    put(project.root / "configs", {"experiments/pictures/student.yaml": STUDENT})
    assert project.problems("pictures") == []


@pytest.mark.parametrize(
    "task",
    ["cifar/cifar10-small", "imagenet/ilsvrc2012", "coco/coco128", "coco/detection", "coco/segmentation",
     "voc/detection", "voc/segmentation", "bccd/cells", "camvid/scenes"],
)  # fmt: skip
def test_tasks_that_ship_are_planned_where_their_data_is_not(project, monkeypatch, task):
    for variable in ("IMAGENET", "COCO", "COCO128", "VOC2007", "VOC2012", "BCCD", "CAMVID"):
        monkeypatch.delenv(f"{variable}_DIR", raising=False)
    findings = Findings()
    sources = {
        name: compose.validate(schema.Source, compose.load(project.file("sources.yaml")).sub(name), name)
        for name in compose.load(project.file("sources.yaml")).data
    }
    checked = Checked("study", schema.Study.model_construct(), sources)
    found = TaskChecker(project.root, findings, checked).task(task, compose.read(project.root, "tasks", task), ())
    assert findings.problems == []
    assert found is not None
    assert not checked.no_data
