"""Tiny data sets of images in each layout that is read, made up: a few pictures of some pixels a side."""

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image


def picture(width: int = 24, height: int = 16, seed: int = 0, form: str = "PNG") -> bytes:
    """A picture of noise, encoded."""
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, form)
    return stream.getvalue()


def mask_of(classes: Any, palette: bool = False) -> bytes:
    """A PNG whose grey, or palette, is the class."""
    image = Image.fromarray(np.asarray(classes, dtype=np.uint8))
    if palette:
        image = image.convert("P")
        image.putdata(np.asarray(classes, dtype=np.uint8).ravel())
        image.putpalette([value % 256 for value in range(768)])
    stream = io.BytesIO()
    image.save(stream, "PNG")
    return stream.getvalue()


def put(folder: Path, files: dict[str, bytes | str]) -> Path:
    """Write files by their path in a folder."""
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content.encode() if isinstance(content, str) else content)
    return folder


def annotation(
    *objects: tuple[str, tuple[float, float, float, float]], size: tuple[int, int] = (24, 16), difficult: int = 0
) -> str:
    """An annotation as Pascal VOC has it."""
    said = "".join(
        f"<object><name>{name}</name><difficult>{difficult}</difficult><bndbox><xmin>{box[0]}</xmin>"
        f"<ymin>{box[1]}</ymin><xmax>{box[2]}</xmax><ymax>{box[3]}</ymax></bndbox></object>"
        for name, box in objects
    )
    return f"<annotation><size><width>{size[0]}</width><height>{size[1]}</height></size>{said}</annotation>"


def voc_folder(folder: Path) -> Path:
    """Three images with boxes and masks, two in `train` and one in `val`."""
    inside = np.zeros((16, 24), dtype=np.uint8)
    inside[2:8, 3:9], inside[8, :] = 1, 255
    return put(folder, {
        "JPEGImages/a.jpg": picture(seed=1, form="JPEG"), "JPEGImages/b.JPG": picture(seed=2, form="JPEG"),
        "JPEGImages/c.png": picture(seed=3),
        "Annotations/a.xml": annotation(("cat", (1, 1, 24, 16)), ("dog", (5, 6, 10, 12))),
        "Annotations/b.xml": annotation(("dog", (3, 3, 4, 4)), difficult=1),
        "Annotations/c.xml": annotation(),
        "SegmentationClass/a.png": mask_of(inside, palette=True), "SegmentationClass/b.png": mask_of(inside * 0),
        "SegmentationClass/c.png": mask_of(inside),
        "ImageSets/Main/train.txt": "a\nb  1\n", "ImageSets/Main/val.txt": "c\n",
    })  # fmt: skip


def coco_folder(folder: Path) -> Path:
    """Four images; of the last two, one has a crowd, and one has nothing."""
    square = [[2, 2, 10, 2, 10, 10, 2, 10]]
    over = [[6, 6, 14, 6, 14, 14, 6, 14]]
    crowd = {"counts": [24 * 16 - 32, 32], "size": [16, 24]}
    said = {
        "images": [{"id": 10 + i, "file_name": f"{i}.png", "width": 24, "height": 16} for i in range(4)],
        "categories": [{"id": 7, "name": "dog"}, {"id": 3, "name": "cat"}, {"id": 90, "name": "kite"}],
        "annotations": [
            item(1, 10, 7, [2, 2, 8, 8], square), item(2, 10, 3, [6, 6, 8, 8], over),
            item(3, 11, 90, [1, 1, 2, 2], [[1, 1, 3, 1, 3, 3, 1, 3]]),
            item(4, 12, 3, [22, 0, 2, 16], crowd, crowd=1), item(5, 12, 7, [1, 1, 0, 4], []),
        ],
    }  # fmt: skip
    files: dict[str, bytes | str] = {f"val/{i}.png": picture(seed=i) for i in range(4)}
    return put(folder, files | {"annotations/val.json": json.dumps(said)})


def item(number: int, image: int, category: int, box: list[float], shape: Any, crowd: int = 0) -> dict[str, Any]:
    """An annotation of COCO's."""
    return {"id": number, "image_id": image, "category_id": category, "bbox": box, "segmentation": shape,
            "area": box[2] * box[3], "iscrowd": crowd}  # fmt: skip


def yolo_folder(folder: Path, images: int = 4) -> Path:
    """COCO128's layout: images and texts, of the last image none."""
    files: dict[str, bytes | str] = {
        f"images/train2017/{i:03}.jpg": picture(seed=i, form="JPEG") for i in range(images)
    } | {"LICENSE": "some", "README.txt": "words"}
    texts = {f"labels/train2017/{i:03}.txt": f"1 0.5 0.5 0.5 0.25\n{i % 2} 0.25 0.5 0.5 1\n" for i in range(images - 1)}
    return put(folder, files | texts)


def camvid_folder(folder: Path, sizes: dict[str, int] | None = None, prefix: str = "") -> Path:
    """SegNet's lists and folders; class 2 of the masks is void."""
    files: dict[str, bytes | str] = {}
    for split, size in (sizes or {"train": 3, "val": 1, "test": 2}).items():
        names = [f"{split}{i}" for i in range(size)]
        files[f"{split}.txt"] = "".join(f"{prefix}{split}/{n}.png {prefix}{split}annot/{n}.png\n" for n in names)
        for i, name in enumerate(names):
            classes = np.arange(24 * 16).reshape(16, 24) % 3
            files |= {f"{split}/{name}.png": picture(seed=i), f"{split}annot/{name}.png": mask_of(classes)}
    return put(folder, files)


def class_folders(folder: Path, classes: list[str], images: int, *splits: str, ending: str = ".JPEG") -> Path:
    """A folder for each class, in a folder for each split."""
    form = "JPEG" if ending.lower() in (".jpeg", ".jpg") else "PNG"
    return put(folder, {
        f"{split}/{name}/{name}_{i}{ending}": picture(20 + i, 16, seed=hash_of(split, name, i), form=form)
        for split in splits or (".",) for name in classes for i in range(images)
    })  # fmt: skip


def hash_of(*parts: object) -> int:
    """A number that every process gives."""
    return sum(ord(letter) * 31**i for i, letter in enumerate("/".join(map(str, parts)))) % 2**31


def cifar_file(rows: int, labels: int, seed: int, ahead: int = 1) -> bytes:
    """Rows of CIFAR's binary files."""
    draw = np.random.default_rng(seed)
    pixels = draw.integers(0, 256, (rows, ahead + 3072), dtype=np.uint8)
    pixels[:, ahead - 1] = np.arange(rows) % labels
    if ahead == 2:
        pixels[:, 0] = np.arange(rows) % 20
    return pixels.tobytes()
