"""Images prepared: files kept as they are, each checked; what is faulty is named, or left out and counted; splits."""

import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from picture_sets import (
    annotation,
    camvid_folder,
    class_folders,
    coco_folder,
    mask_of,
    picture,
    put,
    voc_folder,
    yolo_folder,
)
from PIL import Image

from redistill import registry
from redistill.config import compose, schema
from redistill.data import checked_picture, examples, prepare, prepare_images
from redistill.errors import RedistillError

REPOSITORY = Path(__file__).parents[1]
SHARED_DATA = os.environ.get("REDISTILL_SHARED_DATA")  # a folder with `bccd`, `camvid` and `cifar10`
real = pytest.mark.skipif(SHARED_DATA is None, reason="REDISTILL_SHARED_DATA names no folder")


def config(kind: str, labels: list[str], method: str, splits: dict[str, Any], **more: Any) -> dict[str, Any]:
    """A task as a job is told of it."""
    reader = {"method": method, "settings": registry.with_defaults("reader", method, more.pop("settings", {}))}
    usual = {"train": 0, "select": 0, "dev": 0, "transfer": 0}
    said = splits if "official" in splits else usual | splits
    return {"type": kind, "input": "image", "labels": labels, "image_shape": [3, 16, 24], "reader": reader,
            "splits": said, "split_seed": 0, "faulty": "refuse"} | more  # fmt: skip


def official(rows: dict[str, int], **ours: str) -> dict[str, Any]:
    return {"official": ours, "rows": rows, "select": 0, "sample": False, "at_most": {}}


def shipped(name: str) -> dict[str, Any]:
    """A task that ships, as a job is told of it."""
    task = compose.validate(schema.Task, compose.read(REPOSITORY, "tasks", name))
    assert task.reader is not None
    assert task.splits is not None
    more = {"image_shape": task.image_shape, "faulty": task.faulty, "settings": task.reader.settings}
    return config(task.type, task.labels, task.reader.method, task.splits.model_dump(), **more)


def made(said: dict[str, Any], source: Path, work: Path) -> tuple[dict[str, Any], Callable[..., examples.Examples]]:
    """What was counted, and what loads a split."""
    work.mkdir(exist_ok=True)
    counted = prepare.prepare(said, {"source": source}, work)
    return counted, lambda *splits: examples.load(said, {"dataset": work}, list(splits))


def refused(said: dict[str, Any], source: Path, work: Path, says: str) -> None:
    with pytest.raises(RedistillError, match=says):
        made(said, source, work)


VOC_SPLITS = official({"train": 2, "val": 1}, train="train", dev="val")
VOC_LISTS = {"lists": {"train": "ImageSets/Main/train.txt", "val": "ImageSets/Main/val.txt"}}
CAMVID = {"lists": {split: f"{split}.txt" for split in ("train", "val", "test")}, "void": 2}


# --- what is kept ----------------------------------------------------------------------------------------------------


def test_files_of_any_size_are_kept_as_they_are_and_given_as_pixels(tmp_path):
    source = class_folders(tmp_path / "set", ["cat", "dog"], 2, "train", "val")
    splits = official({"train": 4, "val": 4}, train="train", dev="val")
    said = config("classification", ["dog", "cat"], "image_folder", splits,
                  settings={"splits": {"train": "train", "val": "val"}})  # fmt: skip
    counted, load = made(said, source, tmp_path / "work")
    assert counted["splits"] == {"dev": 4, "train": 4}
    assert counted["pictures"]["dev"] == {"images": 4, "width": [20, 21], "height": [16, 16],
                                          "images of": {"dog": 2, "cat": 2}}  # fmt: skip
    files = sorted((source / "val").rglob("*.JPEG"))
    assert (tmp_path / "work" / "dev.images").read_bytes() == b"".join(file.read_bytes() for file in files)
    data = load("dev")
    assert data.ids == [file.relative_to(source).as_posix() for file in files]
    assert data.labels.tolist() == [1, 1, 0, 0]
    assert data.pictures is not None
    pixels = np.asarray(Image.open(files[1]).convert("RGB")).transpose(2, 0, 1)
    assert np.array_equal(data.pictures.get(1, 0)[0].numpy(), pixels.astype(np.float32) / 255)


def test_boxes_are_those_of_their_image_in_pixels(tmp_path):
    said = config("detection", ["cat", "dog"], "voc", VOC_SPLITS, settings=VOC_LISTS)
    counted, load = made(said, voc_folder(tmp_path / "set"), tmp_path / "work")
    assert counted["pictures"]["train"] == {
        "images": 2, "width": [24, 24], "height": [16, 16], "boxes of": {"cat": 1, "dog": 2}, "boxes": 3,
        "crowds or difficult": 1, "images without a box": 0,
    }  # fmt: skip
    assert counted["pictures"]["dev"]["images without a box"] == 1
    batch = load("train").batch(np.arange(2))
    assert batch["targets"][0]["boxes"].tolist() == [[0, 0, 24, 16], [4, 5, 10, 12]]
    assert batch["targets"][0]["classes"].tolist() == [0, 1]
    assert batch["targets"][1]["crowd"].tolist() == [True]
    assert load("dev").batch(np.arange(1))["targets"][0]["boxes"].shape == (0, 4)


def test_shares_become_pixels_of_each_images_own_size(tmp_path):
    said = config("detection", ["cat", "dog"], "yolo", {"train": 2, "dev": 2})
    counted, load = made(said, yolo_folder(tmp_path / "set"), tmp_path / "work")
    boxes = {i: t["boxes"].tolist() for i, t in zip(
        load("train", "dev").ids, load("train", "dev").batch(np.arange(4))["targets"], strict=True
    )}  # fmt: skip
    assert boxes["images/train2017/000.jpg"] == [[6, 6, 18, 10], [0, 0, 12, 16]]
    assert boxes["images/train2017/003.jpg"] == []
    assert counted["counts"]["images without a text, taken to have no box"] == 1


@pytest.mark.parametrize("palette", [False, True])
def test_masks_are_classes_with_void_as_255(tmp_path, palette):
    source = camvid_folder(tmp_path / "set")
    classes = np.full((16, 24), 1)
    classes[:3], classes[5] = 0, 2
    put(source, {"trainannot/train0.png": mask_of(classes, palette)})
    splits = official({"train": 3, "val": 1, "test": 2}, train="train", select="val", dev="test")
    said = config("segmentation", ["road", "sky"], "camvid", splits, settings=CAMVID)
    counted, load = made(said, source, tmp_path / "work")
    mask = load("train").batch(np.arange(1))["labels"][0]
    assert mask.tolist() == np.where(classes == 2, -1, classes).tolist()
    shown = counted["pictures"]["select"]
    assert (shown["pixels of"], shown["pixels without a class"]) == ({"road": 128, "sky": 128}, 128)
    assert shown["images without a class"] == 0


def test_a_mask_whose_numbers_are_the_tasks_is_kept_as_it_is(tmp_path):
    source = voc_folder(tmp_path / "set")
    said = config("segmentation", ["none", "cat"], "voc", VOC_SPLITS, settings=VOC_LISTS)
    made(said, source, tmp_path / "work")
    kept = (tmp_path / "work" / "train.masks").read_bytes()
    assert kept == b"".join((source / f"SegmentationClass/{name}.png").read_bytes() for name in "ab")


@pytest.mark.parametrize("kind", ["classification", "detection", "segmentation"])
def test_labels_boxes_and_masks_of_transfer_are_taken_away(tmp_path, kind):
    if kind == "classification":
        source, method, more = class_folders(tmp_path / "set", ["a", "b"], 3), "image_folder", {}
    elif kind == "detection":
        source, method, more = yolo_folder(tmp_path / "set"), "yolo", {}
    else:
        source, method, more = camvid_folder(tmp_path / "set"), "camvid", {"settings": CAMVID}
    said = config(kind, ["a", "b"], method, {"train": 1, "dev": 1, "transfer": 2}, **more)
    counted, load = made(said, source, tmp_path / "work")
    data = load("transfer")
    assert set(data.labels.tolist()) == {-1}
    assert "images of" not in counted["pictures"]["transfer"]
    if kind == "detection":
        assert all(len(t["boxes"]) == 0 for t in data.batch(np.arange(2))["targets"])
    if kind == "segmentation":
        assert set(data.batch(np.arange(2))["labels"].unique().tolist()) == {-1}


def test_coco_is_prepared_with_crowds_empty_images_and_what_was_left_out(tmp_path):
    settings_ = {"annotations": {"val": "annotations/val.json"}, "images": {"val": "val"}, "others": "leave_out"}
    splits = official({"val": 4}, dev="val")
    said = config("detection", ["cat", "dog"], "coco", splits, settings=settings_)
    source = coco_folder(tmp_path / "set")
    refused(said, source, tmp_path / "work", r"`dev`, `2.png`: the box \[1, 1, 1, 5\] .* has no area \(of 4 images\)")
    counted, load = made(said | {"faulty": "leave_out"}, source, tmp_path / "work")
    assert counted["pictures"]["dev"]["left out"] == {"boxes without area": 1}
    assert [len(t["boxes"]) for t in load("dev").batch(np.arange(4))["targets"]] == [2, 0, 1, 0]
    only = said | {"faulty": "leave_out"}
    only["reader"]["settings"]["annotated_only"] = ["val"]
    counted, _ = made(only, source, tmp_path / "again")
    assert counted["splits"] == {"dev": 2}


def test_an_unlabelled_folder_is_a_transfer_set(tmp_path):
    source = put(tmp_path / "set", {f"{i}.png": picture(seed=i) for i in range(4)})
    said = config("unlabelled", [], "image_folder", {"train": 3, "dev": 1})
    counted, load = made(said, source, tmp_path / "work")
    assert counted["pictures"]["train"]["images"] == 3
    assert len(load("train")) == 3


# --- what is faulty --------------------------------------------------------------------------------------------------


def jpeg() -> bytes:
    return picture(64, 48, seed=5, form="JPEG")


BROKEN = {
    "a.jpg": (jpeg()[:-300], "cannot be decoded"),
    "b.jpg": (b"", "is empty: fetch it again"),
    "c.png": (picture()[:90], "cannot be decoded"),
    "d.png": (b"<html>404</html>", r"cannot be decoded \(no picture that is known\)"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_picture_is_named_or_left_out_and_counted(tmp_path, name):
    content, says = BROKEN[name]
    source = put(class_folders(tmp_path / "set", ["cat", "dog"], 3), {f"dog/{name}": content})
    said = config("classification", ["cat", "dog"], "image_folder", {"train": 5, "dev": 2})
    refused(said, source, tmp_path / "work", f"`(train|dev)`, `dog/{name}`: {says}.*faulty: leave_out")
    counted, load = made(said | {"faulty": "leave_out"}, source, tmp_path / "work")
    assert sum(counted["splits"].values()) == 6
    left = [shown.get("left out") for shown in counted["pictures"].values()]
    assert {"images that cannot be decoded": 1} in left
    for split in ("train", "dev"):
        size = counted["splits"][split]
        assert len(load(split)) == size
        assert f"dog/{name}" not in load(split).ids


def test_the_first_faults_are_named_and_the_others_counted(tmp_path):
    source = put(class_folders(tmp_path / "set", ["a", "b"], 1), {f"a/x{i:02}.jpg": b"no" for i in range(30)})
    said = config("classification", ["a", "b"], "image_folder", {"train": 32})
    refused(said, source, tmp_path / "work", "x00.jpg.*x01.jpg.*x02.jpg.*; and at least 7 more .of 32 images")
    only = config("classification", ["a", "b"], "image_folder", {"train": 30}, faulty="leave_out")
    put(source, {f"{one}/{one}_0.JPEG": b"" for one in "ab"})
    refused(only, source, tmp_path / "work", "not one of 30 images can be used: `a/")


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from(["JPEG", "PNG", "WEBP", "BMP", "PPM", "TIFF"]))
def test_no_spoilt_picture_brings_down_a_job(seed, form):
    draw = np.random.default_rng(seed)
    content = bytearray(picture(40, 30, seed=seed % 7, form=form))
    for place in draw.integers(0, len(content), draw.integers(1, 9)):
        content[place] = draw.integers(0, 256)
    content = content[: draw.integers(0, len(content) + 1)] if draw.random() < 0.5 else content
    try:
        width, height = checked_picture.size_of(bytes(content))
        assert width > 0
        assert height > 0
    except checked_picture.PictureError as error:
        assert "fetch it again" in error.said  # noqa: PT017


@pytest.mark.parametrize(
    ("box", "says", "kept"),
    [
        ((1, 1, 25, 16), None, [0, 0, 24, 16]),  # a pixel beyond, by rounding: cut
        ((0, 0, 24, 16), None, [0, 0, 24, 16]),
        ((1, 1, 26, 16), r"\[0, 0, 26, 16\] .left, top, right, bottom. reaches out of its image of 24 x 16",
         [0, 0, 24, 16]),
        ((30, 1, 40, 16), "reaches out of its image", None),
        ((5, 5, 4, 9), r"\[4, 4, 4, 9\] .* has no area", None),
        ((9, 5, 4, 9), "has no area", None),
        (("nan", 5, 4, 9), "is no box", None),
        ((25, 1, 25, 9), "has no area in its image of 24 x 16", None),
    ],
)  # fmt: skip
def test_boxes_outside_their_image_or_without_area_are_named_or_cut_and_counted(tmp_path, box, says, kept):
    source = put(voc_folder(tmp_path / "set"), {"Annotations/a.xml": annotation(("dog", box))})
    said = config("detection", ["cat", "dog"], "voc", VOC_SPLITS, settings=VOC_LISTS)
    if says is not None:
        refused(said, source, tmp_path / "work", f"`train`, `a`: the box {says}" if says[0] == "\\" else says)
        said["faulty"] = "leave_out"
    counted, load = made(said, source, tmp_path / "work")
    boxes = load("train").batch(np.arange(1))["targets"][0]["boxes"].tolist()
    assert boxes == ([kept] if kept else [])
    assert ("left out" in counted["pictures"]["train"]) == (says is not None)


def test_an_image_of_another_size_than_it_was_annotated_at_is_named(tmp_path):
    source = put(voc_folder(tmp_path / "set"), {"Annotations/a.xml": annotation(("dog", (1, 1, 9, 9)), size=(48, 32))})
    said = config("detection", ["cat", "dog"], "voc", VOC_SPLITS, settings=VOC_LISTS)
    refused(said, source, tmp_path / "work", "`a`: was annotated at 48 x 32, but it is 24 x 16: take the image")
    counted, _ = made(said | {"faulty": "leave_out"}, source, tmp_path / "work")
    assert counted["splits"]["train"] == 1


def grey(mode: str, form: str = "PNG") -> bytes:
    stream = io.BytesIO()
    Image.new(mode, (24, 16)).save(stream, form)
    return stream.getvalue()


@pytest.mark.parametrize(
    ("mask", "says"),
    [
        (mask_of(np.zeros((8, 24))), "is 24 x 16, its mask 24 x 8: make them the same size"),
        (mask_of(np.full((16, 24), 9)), "its mask has the class 9 at 384 pixels, but the task names 2 classes, from 0"),
        (grey("RGB"), "its mask is of colours or other numbers .mode RGB."),
        (grey("I;16"), "its mask is of colours or other numbers .mode I;16."),
        (grey("L", "JPEG"), "its mask is a JPEG, which blurs numbers"),
        (mask_of(np.zeros((16, 24)))[:50], "its mask cannot be decoded"),
    ],
    ids=["size", "class", "colours", "deep", "jpeg", "broken"],
)
def test_a_mask_that_does_not_fit_is_named_or_left_out(tmp_path, mask, says):
    source = put(camvid_folder(tmp_path / "set"), {"trainannot/train1.png": mask})
    splits = official({"train": 3, "test": 2}, train="train", dev="test")
    said = config("segmentation", ["road", "sky"], "camvid", splits, settings=CAMVID)
    refused(said, source, tmp_path / "work", f"`train`, `train/train1.png`: {says}")
    counted, _ = made(said | {"faulty": "leave_out"}, source, tmp_path / "work")
    assert counted["splits"] == {"train": 2, "dev": 2}


def test_a_file_that_goes_while_it_is_prepared_is_named(tmp_path, monkeypatch):
    source = class_folders(tmp_path / "set", ["a", "b"], 2)
    found = registry.get("reader", "image_folder")(source, ["a", "b"], "classification")
    (source / "a" / "a_0.JPEG").unlink()
    monkeypatch.setattr(registry, "get", lambda *_: lambda *__, **___: found)
    said = config("classification", ["a", "b"], "image_folder", {"train": 4})
    refused(said, source, tmp_path / "work", "a_0.JPEG: cannot be read")


def test_a_reader_of_another_kind_of_task_is_refused(tmp_path):
    source = class_folders(tmp_path / "set", ["a", "b"], 2)
    said = config("detection", ["a", "b"], "image_folder", {"train": 4})
    refused(said, source, tmp_path / "work", "reader `image_folder` gives no boxes, which a detection is about: take a")
    masks = config("classification", ["road", "sky"], "camvid", {"train": 3}, settings=CAMVID)
    refused(masks, camvid_folder(tmp_path / "road"), tmp_path / "work", "has no label, so it can only be in `transfer`")


# --- splits ----------------------------------------------------------------------------------------------------------


def test_rows_are_those_that_were_published(tmp_path):
    source = class_folders(tmp_path / "set", ["a", "b"], 3, "train", "val")
    parts = {"settings": {"splits": {"train": "train", "val": "val"}}}
    splits = official({"train": 7, "val": 6}, train="train", dev="val")
    said = config("classification", ["a", "b"], "image_folder", splits, **parts)
    refused(said, source, tmp_path / "work", "split `train` has 6 rows, but 7 were published")
    said["splits"]["sample"] = True
    counted, _ = made(said, source, tmp_path / "work")
    assert counted["splits"] == {"train": 6, "dev": 6}


def test_an_image_in_two_lists_is_refused(tmp_path):
    source = put(voc_folder(tmp_path / "set"), {"ImageSets/Main/val.txt": "b\n"})
    said = config("detection", ["cat", "dog"], "voc", VOC_SPLITS, settings=VOC_LISTS)
    refused(said, source, tmp_path / "work", "the image `b` is in `train` and in `dev`: take lists that have no image")
    drawn = config("detection", ["cat", "dog"], "voc", {"train": 1, "dev": 1}, settings=VOC_LISTS)
    refused(drawn, source, tmp_path / "work", "the image `b` is in `train` and in `val`")
    put(source, {"ImageSets/Main/train.txt": "a\na\n", "ImageSets/Main/val.txt": "c\n"})
    refused(said, source, tmp_path / "work", "the image `a` is twice in `train`")


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 6), st.integers(0, 6), st.integers(1, 6), st.integers(0, 5), st.integers(0, 2**32 - 1))
def test_drawn_splits_are_disjoint_whole_and_the_same_again(train, select, dev, transfer, seed):
    found = [{"id": f"{i:03}", "image": Path(f"{i}.png"), "boxes": []} for i in range(24)]
    sizes = {"train": train, "select": select, "dev": dev, "transfer": transfer}
    first, again = (prepare.draw(found, sizes, seed, by_class=False) for _ in range(2))
    assert first == again
    ids = [e["id"] for part in first.values() for e in part]
    assert len(ids) == len(set(ids)) == sum(sizes.values())
    assert {split: len(part) for split, part in first.items()} == {s: n for s, n in sizes.items() if n}
    assert all([e["id"] for e in part] == sorted(e["id"] for e in part) for part in first.values())
    other = prepare.draw(list(reversed(found)), sizes, seed, by_class=False)
    assert {s: len(part) for s, part in other.items()} == {s: len(part) for s, part in first.items()}


def test_official_splits_are_cut_and_limited_by_their_seed(tmp_path):
    source = class_folders(tmp_path / "set", ["a", "b"], 8, "train", "val")
    splits = official({"train": 16, "val": 16}, train="train", dev="val") | {"select": 4, "at_most": {"train": 6}}
    said = config("classification", ["a", "b"], "image_folder", splits,
                  settings={"splits": {"train": "train", "val": "val"}})  # fmt: skip
    counted, load = made(said, source, tmp_path / "work")
    assert counted["splits"] == {"dev": 16, "select": 4, "train": 6}
    assert counted["not used"] == 6
    train, select = load("train"), load("select")
    assert not set(train.ids) & set(select.ids)
    assert sorted(train.labels.tolist()) == [0, 0, 0, 1, 1, 1]
    made(said, source, tmp_path / "again")
    for name in ("train.parquet", "train.images", "train.images.starts.npy", "dev.images"):
        assert (tmp_path / "work" / name).read_bytes() == (tmp_path / "again" / name).read_bytes()


def test_results_do_not_depend_on_how_many_pictures_are_held(tmp_path, monkeypatch):
    source = put(camvid_folder(tmp_path / "set", {"train": 7, "test": 2}), {"train/train3.png": b"broken"})
    splits = official({"train": 7, "test": 2}, train="train", dev="test")
    lists = {"lists": {split: f"{split}.txt" for split in ("train", "test")}, "void": 2}
    said = config("segmentation", ["road", "sky"], "camvid", splits, settings=lists, faulty="leave_out")
    counted, _ = made(said, source, tmp_path / "work")
    monkeypatch.setattr(prepare_images, "AT_ONCE", 2)
    monkeypatch.setattr(prepare_images, "THREADS", 1)
    assert made(said, source, tmp_path / "again")[0] == counted
    for file in (tmp_path / "work").iterdir():
        assert file.read_bytes() == (tmp_path / "again" / file.name).read_bytes()


# --- real data -------------------------------------------------------------------------------------------------------


@real
def test_blood_cells_are_prepared_from_the_real_files(tmp_path):
    counted, load = made(shipped("bccd/cells"), Path(str(SHARED_DATA)) / "bccd", tmp_path / "work")
    assert counted["splits"] == {"train": 205, "select": 87, "dev": 72}
    shown = counted["pictures"]
    left = sum(part.get("left out", {}).get("boxes without area", 0) for part in shown.values())
    assert left == 2
    boxes = {name: sum(part["boxes of"][name] for part in shown.values()) for name in ("RBC", "WBC", "Platelets")}
    assert boxes == {"RBC": 4153, "WBC": 372, "Platelets": 361}
    batch = load("dev").batch(np.arange(2))
    assert batch["image"][0].shape == (3, 480, 640)
    assert (batch["targets"][0]["boxes"][:, 2:] > batch["targets"][0]["boxes"][:, :2]).all()


@real
def test_camvid_is_prepared_from_the_real_files(tmp_path):
    counted, load = made(shipped("camvid/scenes"), Path(str(SHARED_DATA)) / "camvid", tmp_path / "work")
    assert counted["splits"] == {"train": 367, "select": 101, "dev": 233}
    assert set(counted["pictures"]["dev"]["pixels of"]) == set(shipped("camvid/scenes")["labels"])
    batch = load("dev").batch(np.arange(2))
    assert batch["image"].shape == (2, 3, 180, 240)
    assert set(batch["labels"].unique().tolist()) <= set(range(-1, 11))


@real
def test_5000_images_of_cifar_are_declared_and_drawn_from_a_sample(tmp_path):
    counted, load = made(shipped("cifar/cifar10-small"), Path(str(SHARED_DATA)) / "cifar10", tmp_path / "work")
    assert counted["splits"] == {"train": 5000, "select": 1000, "dev": 10_000}
    assert np.bincount(load("train").labels.numpy()).tolist() == [500] * 10
    table = pq.read_table(tmp_path / "work" / "select.parquet")
    assert not set(table["id"].to_pylist()) & set(load("train").ids)
