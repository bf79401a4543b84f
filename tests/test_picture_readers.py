"""Every layout of images that is read: what it gives, and what is said of each way in which it can be wrong."""

import io
import json
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from picture_sets import (
    annotation,
    camvid_folder,
    cifar_file,
    class_folders,
    coco_folder,
    picture,
    put,
    voc_folder,
    yolo_folder,
)
from PIL import Image

from redistill.data.readers.camvid import camvid
from redistill.data.readers.cifar import cifar
from redistill.data.readers.coco import coco
from redistill.data.readers.image_folder import image_folder
from redistill.data.readers.voc import voc
from redistill.data.readers.yolo import yolo
from redistill.errors import RedistillError

LISTS = {"train": "ImageSets/Main/train.txt", "val": "ImageSets/Main/val.txt"}
COCO = {"annotations": {"val": "annotations/val.json"}, "images": {"val": "val"}}
TEN = list("abcdefghij")


def wrong(function: Any, *arguments: Any, says: str, **settings: Any) -> None:
    with pytest.raises(RedistillError, match=says):
        function(*arguments, **settings)


# --- folders of classes ----------------------------------------------------------------------------------------------


def test_folders_of_classes_are_read_in_the_order_of_the_labels_whatever_the_case_of_an_ending(tmp_path):
    class_folders(tmp_path, ["dog", "cat"], 2, ending=".PnG")
    put(tmp_path, {"dog/deeper/x.webp": picture(form="WEBP"), "dog/Thumbs.db": "no", "cat/.hidden.png": "no",
                   "README": "no"})  # fmt: skip
    found, counts = image_folder(tmp_path, ["dog", "cat"], "classification")
    assert [(e["id"], e["label"]) for e in found] == [
        ("cat/cat_0.PnG", 1), ("cat/cat_1.PnG", 1), ("dog/deeper/x.webp", 0), ("dog/dog_0.PnG", 0),
        ("dog/dog_1.PnG", 0),
    ]  # fmt: skip
    assert found[0]["image"] == tmp_path / "cat/cat_0.PnG"
    assert counts == {"images": 5, "files that are no images, left out": 2, "such as": ["README", "dog/Thumbs.db"]}


def test_imagenets_folders_are_classes_by_their_numbers_in_wordnet(tmp_path):
    class_folders(tmp_path, ["n02", "n01"], 1, "train", "val")
    splits = {"train": "train", "val": "val"}
    index = {"0": ["n02", "tench"], "1": ["n01", "goldfish"]}
    put(tmp_path, {"index.json": json.dumps(index), "map.txt": "n02 tench, Tinca tinca\nn01 goldfish\n"})
    for said in ({"classes": ["n02", "n01"]}, {"index": "index.json"}, {"index": "map.txt"}):
        found, _ = image_folder(tmp_path, ["tench", "goldfish"], "classification", splits=splits, **said)
        assert [(e["id"], e["label"]) for e in found["val"]] == [
            ("val/n01/n01_0.JPEG", 1), ("val/n02/n02_0.JPEG", 0)
        ]  # fmt: skip
    by_name, _ = image_folder(tmp_path, ["n01", "n02"], "classification", splits=splits)
    assert [e["label"] for e in by_name["train"]] == [0, 1]


def test_a_task_without_labels_takes_every_image_of_a_folder(tmp_path):
    put(tmp_path, {"a.png": picture(), "in/b.JPG": picture(form="JPEG"), "notes.txt": "no"})
    found, counts = image_folder(tmp_path, [], "unlabelled")
    assert [(e["id"], e["label"]) for e in found] == [("a.png", None), ("in/b.JPG", None)]
    assert counts["files that are no images, left out"] == 1


def test_links_to_folders_are_followed_once_around(tmp_path):
    class_folders(tmp_path / "real", ["dog"], 2)
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "dog").symlink_to(tmp_path / "real" / "dog")
    (tmp_path / "real" / "dog" / "again").symlink_to(tmp_path / "real" / "dog")
    class_folders(tmp_path / "set", ["cat"], 1)
    found, _ = image_folder(tmp_path / "set", ["cat", "dog"], "classification")
    assert [e["label"] for e in found] == [0, 1, 1]


@pytest.mark.parametrize(
    ("labels", "settings", "says"),
    [
        (["cat"], {}, r"`dog` is no class of the task \(known: `cat`\).*others: leave_out"),
        (["cat", "dog", "cow"], {}, "there is no folder `cow` for a class"),
        (["cat", "dog"], {"classes": ["cat"]}, "`classes` names 1 folders, the task 2 labels"),
        (["cat", "dog"], {"index": "no.txt"}, "no.txt: there is no such class index"),
        (["cat", "dog"], {"index": "bad.json"}, "bad.json: is no class index"),
        (["cat", "dog"], {"classes": ["cat", "dog"], "index": "x"}, "give `classes` or `index`, not both"),
        (["cat", "dog"], {"splits": {"train": "trian"}}, "trian: there is no such folder; .*`cat`, `dog`"),
        (["n"], {"splits": {"val": "loose"}}, "loose: `x.png`: images outside the folders of classes"),
        (["cat", "dog"], {"splits": {"val": "empty"}}, "empty: holds no images"),
    ],
)
def test_what_is_wrong_with_folders_of_classes_is_said(tmp_path, labels, settings, says):
    set_ = class_folders(tmp_path / "set", ["cat", "dog"], 1)
    put(
        tmp_path / "set",
        {
            "bad.json": "{",
        },
    )
    if "splits" in settings:
        put(set_, {"loose/x.png": picture(), "empty/cat/no.txt": "no", "empty/dog/no.txt": "no"})
    wrong(image_folder, set_, labels, "classification", says=says, **settings)


def test_folders_of_no_class_are_counted_where_that_is_asked_for(tmp_path):
    class_folders(tmp_path, ["cat", "dog", "cow"], 1)
    found, counts = image_folder(tmp_path, ["cow", "cat"], "classification", others="leave_out")
    assert Counter(e["label"] for e in found) == {0: 1, 1: 1}
    assert counts["folders of no class of the task, left out"] == 1


# --- CIFAR -----------------------------------------------------------------------------------------------------------


def test_cifars_binary_files_parquet_and_folders_hold_the_same_images(tmp_path):
    batches = {f"data_batch_{i}.bin": cifar_file(4, 10, i) for i in range(1, 6)}
    batches["test_batch.bin"] = cifar_file(3, 10, 6)
    put(tmp_path / "plain", batches)
    put(tmp_path / "archive", {f"cifar-10-batches-bin/{name}": content for name, content in batches.items()})
    plain, counts = cifar(tmp_path / "plain", TEN, "classification", classes=10)
    archive, _ = cifar(tmp_path / "archive", TEN, "classification", classes=10)
    assert counts == {"rows": 23}
    assert {split: len(examples) for split, examples in plain.items()} == {"train": 20, "test": 3}
    raw = np.frombuffer(batches["data_batch_2.bin"], dtype=np.uint8).reshape(4, 3073)
    fifth = plain["train"][4]
    assert fifth["id"] == "train-4"
    assert fifth["label"] == raw[0, 0]
    assert fifth["image"].shape == (3, 32, 32)
    assert fifth["image"][1, 2, 3] == raw[0, 1 + 1024 + 2 * 32 + 3]  # green, third row, fourth column
    for split in plain:
        rows = [{"img": {"bytes": png(e["image"])}, "label": e["label"]} for e in plain[split]]
        (tmp_path / "hub" / "plain_text").mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.Table.from_pylist(rows), tmp_path / f"hub/plain_text/{split}-00000-of-00001.parquet")
        put(tmp_path / "folder", {f"{split}/{TEN[e['label']]}/{e['id']}.png": png(e["image"]) for e in plain[split]})
        for label in TEN:
            (tmp_path / "folder" / split / label).mkdir(exist_ok=True)
    hub, _ = cifar(tmp_path / "hub", TEN, "classification", classes=10)
    folder, _ = cifar(tmp_path / "folder", TEN, "classification", classes=10)
    for split in plain:
        for one, other, third in zip(plain[split], archive[split], hub[split], strict=True):
            assert one["id"] == other["id"] == third["id"]
            assert one["label"] == other["label"] == third["label"]
            assert np.array_equal(one["image"], other["image"])
            assert np.array_equal(one["image"], third["image"])
        assert Counter(e["label"] for e in folder[split]) == Counter(e["label"] for e in plain[split])
        by_id = {e["image"].stem: np.asarray(Image.open(e["image"])).transpose(2, 0, 1) for e in folder[split]}
        assert all(np.array_equal(by_id[e["id"]], e["image"]) for e in plain[split])


def png(image: np.ndarray) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(image.transpose(1, 2, 0))).save(stream, "PNG")
    return stream.getvalue()


def test_cifar_100_has_fine_labels_and_coarse_ones(tmp_path):
    put(tmp_path, {"train.bin": cifar_file(100, 100, 1, ahead=2), "test.bin": cifar_file(3, 100, 2, ahead=2)})
    fine, _ = cifar(tmp_path, [str(i) for i in range(100)], "classification", classes=100)
    assert [e["label"] for e in fine["train"]] == list(range(100))
    coarse, _ = cifar(tmp_path, [str(i) for i in range(20)], "classification", classes=100, coarse=True)
    assert [e["label"] for e in coarse["train"]][:21] == [*range(20), 0]
    assert np.array_equal(fine["test"][1]["image"], coarse["test"][1]["image"])


def test_what_is_wrong_with_cifars_files_is_said(tmp_path):
    wrong(cifar, tmp_path, TEN, "classification", classes=10, says="holds no file of CIFAR-10: take the binary version")
    put(tmp_path, {"cifar-10-batches-py/batches.meta": "pickle"})
    wrong(cifar, tmp_path, TEN, "classification", classes=10, says="pickles, which are never opened")
    put(tmp_path, {"data_batch_1.bin": cifar_file(2, 10, 0)})
    wrong(cifar, tmp_path, TEN, "classification", classes=10, says="data_batch_2.bin: is missing.*whole archive")
    put(tmp_path, {f"data_batch_{i}.bin": cifar_file(2, 10, 0)[: 3073 * 2 - (i == 3)] for i in range(1, 6)})
    wrong(cifar, tmp_path, TEN, "classification", classes=10, says="data_batch_3.bin: has 6145 bytes, no whole number")
    put(tmp_path, {f"data_batch_{i}.bin": cifar_file(20, 11, 0) for i in range(1, 6)})
    wrong(cifar, tmp_path, TEN, "classification", classes=10, says="data_batch_1.bin, image 10: has the label 10 of 10")
    wrong(cifar, tmp_path, TEN[:9], "classification", classes=10, says="10 classes, and the task names 9 labels")
    wrong(cifar, tmp_path, TEN, "classification", classes=10, coarse=True, says="CIFAR-10 has no coarse labels")


# --- Pascal VOC ------------------------------------------------------------------------------------------------------


def test_vocs_boxes_go_from_the_first_pixel_to_the_last_and_difficult_ones_are_crowds(tmp_path):
    found, counts = voc(voc_folder(tmp_path), ["cat", "dog"], "detection", lists=LISTS)
    first, second = found["train"]
    assert (first["id"], first["image"].name, first["size"]) == ("a", "a.jpg", (24, 16))
    assert first["boxes"] == [[0, 0, 24, 16], [4, 5, 10, 12]]
    assert (first["classes"], first["crowd"]) == ([0, 1], [False, False])
    assert (second["boxes"], second["crowd"]) == ([[2, 2, 4, 4]], [True])
    assert (found["val"][0]["boxes"], counts) == ([], {"images": 3})
    all_of_them, _ = voc(tmp_path, ["cat", "dog"], "detection", first_pixel=0)
    assert [e["id"] for e in all_of_them] == ["a", "b", "c"]
    assert all_of_them[1]["boxes"] == [[3, 3, 4, 4]]


def test_vocs_masks_are_the_files_of_its_lists(tmp_path):
    found, _ = voc(voc_folder(tmp_path), ["background", "cat"], "segmentation", lists=LISTS)
    assert [e["mask"].name for e in found["train"]] == ["a.png", "b.png"]
    assert "boxes" not in found["train"][0]


def test_objects_of_other_classes_are_counted_where_that_is_asked_for(tmp_path):
    voc_folder(tmp_path)
    found, counts = voc(tmp_path, ["dog"], "detection", lists=LISTS, others="leave_out")
    assert [e["classes"] for e in found["train"]] == [[0], [0]]
    assert counts["objects of other classes, left out"] == 1


BOMB = '<!DOCTYPE a [<!ENTITY b "bbbb"><!ENTITY c "&b;&b;">]><annotation>&c;</annotation>'


@pytest.mark.parametrize(
    ("files", "says"),
    [
        ({"ImageSets/Main/train.txt": "a\nz\n"}, "train.txt, line 2: JPEGImages has no image `z`"),
        ({"JPEGImages/z.jpg": picture(), "ImageSets/Main/train.txt": "z\n"}, "line 1: Annotations has nothing for `z`"),
        ({"ImageSets/Main/train.txt": "\n"}, "there is no image of `train`"),
        ({"JPEGImages/a.png": picture()}, "a.png: a.jpg has the same name"),
        ({"Annotations/a.xml": annotation(("Dog", (1, 1, 2, 2)))}, "a.xml, object 1: .*no class `Dog` .*mean `dog`"),
        ({"Annotations/a.xml": "<annotation>"}, "a.xml: is no XML"),
        ({"Annotations/a.xml": BOMB}, "a.xml: declares a document type"),
        ({"Annotations/a.xml": "<html></html>"}, "a.xml: holds <html>, not an <annotation>"),
        ({"Annotations/a.xml": "<annotation><object><name>dog</name></object></annotation>"}, "`dog` has no bndbox"),
        ({"Annotations/a.xml": annotation(("dog", ("?", 1, 2, 2)))}, r"bndbox has the xmin `\?`, no number"),
        ({"ImageSets/Main/val.txt": b"\xff\xfe"}, "val.txt: cannot be read as a list"),
    ],
)
def test_what_is_wrong_with_vocs_files_is_said(tmp_path, files, says):
    wrong(voc, put(voc_folder(tmp_path), files), ["cat", "dog"], "detection", lists=LISTS, says=says)


def test_a_missing_folder_or_list_of_vocs_is_named(tmp_path):
    wrong(voc, tmp_path, ["cat"], "detection", says="Annotations: there is no such folder")
    voc_folder(tmp_path)
    wrong(voc, tmp_path, ["cat"], "detection", lists={"x": "no.txt"}, says="no.txt: there is no such list")


# --- COCO ------------------------------------------------------------------------------------------------------------


def test_cocos_boxes_are_sides_in_pixels_by_the_names_of_categories(tmp_path):
    found, counts = coco(coco_folder(tmp_path), ["cat", "dog"], "detection", others="leave_out", **COCO)
    first, second, third, fourth = found["val"]
    assert first["boxes"] == [[2, 2, 10, 10], [6, 6, 14, 14]]
    assert (first["classes"], first["crowd"], first["size"]) == ([1, 0], [False, False], (24, 16))
    assert (second["boxes"], fourth["boxes"]) == ([], [])
    assert third["crowd"] == [True, False]
    assert counts == {"images": 4, "objects of other classes, left out": 1}


def test_images_without_objects_are_left_out_where_they_are_not_trained_on(tmp_path):
    folder, settings = coco_folder(tmp_path), {**COCO, "others": "leave_out", "annotated_only": ["val"]}
    found, counts = coco(folder, ["cat", "dog"], "detection", **settings)
    assert [e["id"] for e in found["val"]] == ["0.png", "2.png"]
    assert counts["examples that were left out of splits"] == {"val": 2}
    said = json.loads((folder / "annotations/val.json").read_text())
    said["annotations"][0]["area"] = 1001
    put(folder, {"annotations/val.json": json.dumps(said)})
    found, _ = coco(folder, ["background", "cat", "dog"], "segmentation", **settings)
    assert [e["id"] for e in found["val"]] == ["0.png"]


def test_masks_of_coco_have_no_class_where_objects_lie_on_one_another(tmp_path):
    pytest.importorskip("pycocotools")
    names = {"kite": "dragon"}
    labels = ["background", "cat", "dog", "dragon"]
    found, _ = coco(coco_folder(tmp_path), labels, "segmentation", names=names, **COCO)
    masks = [np.asarray(Image.open(io.BytesIO(e["mask"]()))) for e in found["val"]]
    expected = np.zeros((16, 24), dtype=np.uint8)
    expected[2:10, 2:10], expected[6:14, 6:14] = 2, 1
    expected[6:10, 6:10] = 255
    assert np.array_equal(masks[0], expected)
    crowd = np.zeros((16, 24), dtype=np.uint8)
    crowd[:, 22:] = 1
    assert np.array_equal(masks[2], crowd)
    assert set(np.unique(masks[1])) == {0, 3}
    assert not masks[3].any()


def test_masks_of_coco_without_pycocotools_say_what_to_install(tmp_path, monkeypatch):
    found, _ = coco(coco_folder(tmp_path), ["b", "cat", "dog"], "segmentation", others="leave_out", **COCO)
    monkeypatch.setitem(sys.modules, "pycocotools", None)
    wrong(found["val"][0]["mask"], says="masks of COCO need pycocotools")


def changed(folder: Path, key: str, number: int, **values: Any) -> Path:
    said = json.loads((folder / "annotations/val.json").read_text())
    said[key][number] |= values
    return put(folder, {"annotations/val.json": json.dumps(said)})


@pytest.mark.parametrize(
    ("key", "number", "values", "says"),
    [
        ("annotations", 0, {"image_id": 99}, "annotation 1: there is no image 99"),
        ("annotations", 0, {"category_id": 99}, "annotation 1: there is no category 99"),
        ("annotations", 0, {"bbox": [1, 2, 3]}, r"annotation 1: its bbox is \[1, 2, 3\]"),
        ("images", 1, {"id": 10}, "two images have the id 10"),
        ("images", 1, {"file_name": "gone.png"}, "`gone.png` not there, and annotations/val.json names them"),
    ],
)
def test_what_is_wrong_with_cocos_entries_is_said(tmp_path, key, number, values, says):
    folder = changed(coco_folder(tmp_path), key, number, **values)
    wrong(coco, folder, ["cat", "dog"], "detection", others="leave_out", says=says, **COCO)


def test_what_is_wrong_with_cocos_files_is_said(tmp_path):
    folder = coco_folder(tmp_path)
    wrong(coco, folder, ["cat", "dog"], "detection", says="no class `kite`", **COCO)
    wrong(coco, folder, ["cat"], "detection", names={"cap": "cat"}, says="`cap`, no category of", **COCO)
    wrong(coco, folder, ["cat"], "detection", annotated_only=["train"], says="names `train`, which", **COCO)
    wrong(coco, folder, ["cat"], "detection", annotations=COCO["annotations"], images={}, says="the same splits")
    put(folder, {"bad.json": "[", "list.json": "[]"})
    for name, says in (("no.json", "there is no such file"), ("bad.json", "is no JSON"), ("list.json", "no list of")):
        wrong(coco, folder, ["cat"], "detection", annotations={"val": name}, images={"val": "val"}, says=says)


# --- YOLO ------------------------------------------------------------------------------------------------------------


def test_yolos_texts_give_boxes_in_shares_and_an_image_without_one_has_none(tmp_path):
    found, counts = yolo(yolo_folder(tmp_path), ["cat", "dog"], splits={"train": "images/train2017"})
    first, last = found["train"][0], found["train"][3]
    assert (first["id"], first["relative"]) == ("images/train2017/000.jpg", True)
    assert np.allclose(first["boxes"], [[0.25, 0.375, 0.75, 0.625], [0, 0, 0.5, 1]])
    assert (first["classes"], last["boxes"]) == ([1, 0], [])
    assert counts == {"images": 4, "images without a text, taken to have no box": 1}
    everything, _ = yolo(tmp_path, ["cat", "dog"])
    assert [e["id"] for e in everything] == [e["id"] for e in found["train"]]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("2 0.5 0.5 0.1 0.1", "line 1: has the class 2, and the task names 2 labels"),
        ("-1 0.5 0.5 0.1 0.1", "has the class -1"),
        ("0 0.5 0.5 0.1", "has 4 numbers, not class, x, y, width and height: mend the line"),
        ("0 0 0 1 0 1 1", "has 7 numbers.*a polygon has more"),
        ("0 50 50 10 10", "are not shares of the image"),
        ("0 0.5 nan 0.1 0.1", "are not shares of the image"),
        ("cat 0.5 0.5 0.1 0.1", "are not five numbers"),
        ("\n0.0 0.5 0.5 0.1 0.1", "line 2: .* are not five numbers"),
    ],
)
def test_what_is_wrong_with_a_line_of_yolos_is_said(tmp_path, text, says):
    put(yolo_folder(tmp_path), {"labels/train2017/001.txt": text})
    wrong(yolo, tmp_path, ["cat", "dog"], says=f"001.txt, {says}" if says.startswith("line") else says)


def test_what_is_wrong_with_yolos_folders_is_said(tmp_path):
    yolo_folder(tmp_path)
    wrong(yolo, tmp_path, ["a", "b"], splits={"train": "pictures"}, says="must have a step `images`")
    wrong(yolo, tmp_path, ["a", "b"], splits={"train": "images/val"}, says="images/val: there is no such folder")
    put(tmp_path, {"images/other/1.png": picture(), "labels/other/x": ""})
    wrong(yolo, tmp_path, ["a", "b"], splits={"x": "images/other"}, says="labels/other: holds not one text")
    put(tmp_path, {"labels/train2017/009.txt": ""})
    wrong(
        yolo, tmp_path, ["a", "b"], splits={"x": "images/train2017"}, says="`009.txt`: there is no image of that name"
    )


# --- CamVid ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("prefix", ["", "/SegNet/CamVid/", "./"])
def test_camvids_lists_name_pairs_wherever_they_say_they_lie(tmp_path, prefix):
    found, counts = camvid(
        camvid_folder(tmp_path, prefix=prefix), lists={"train": "train.txt", "val": "val.txt"}, void=2
    )
    first = found["train"][0]
    assert (first["id"], first["void"]) == ("train/train0.png", 2)
    assert (first["image"], first["mask"]) == (tmp_path / "train/train0.png", tmp_path / "trainannot/train0.png")
    assert counts == {"images": 4}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("train/train0.png\n", "train.txt, line 1: names 1 files, not an image and its mask"),
        ("\ntrain/train0.png trainannot/no.png\n", "train.txt, line 2: `trainannot/no.png` is not there"),
        ("../../etc/hosts ../../etc/hosts\n", "`../../etc/hosts` is not there"),
        ("", "train.txt: names no images"),
    ],
)
def test_what_is_wrong_with_a_list_of_camvids_is_said(tmp_path, text, says):
    put(camvid_folder(tmp_path), {"train.txt": text})
    wrong(camvid, tmp_path, lists={"train": "train.txt"}, says=says)
