"""Tiny data sets of coloured rectangles, with their boxes and masks, in COCO's, VOC's and YOLO's layout."""

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
from picture_sets import annotation, item, mask_of, put
from PIL import Image

CLASSES = ("red", "green")
WIDTH, HEIGHT = 64, 48
Shape = tuple[int, tuple[int, int, int, int]]  # class; left, top, right, bottom


def drawn(image: int) -> list[Shape]:
    """What is on an image: one or two rectangles side by side; every fifth image is empty."""
    if image % 5 == 4:
        return []
    left = 4 + image % 3
    shapes = [(image % 2, (left, 6, left + 22, 30))]
    return shapes if image % 2 else [*shapes, (1 - image % 2, (34, 16, 60, 44))]


def pixels(image: int) -> np.ndarray:
    """uint8 (H, W, 3)."""
    found = np.random.default_rng(image).integers(0, 60, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    for label, (left, top, right, bottom) in drawn(image):
        found[top:bottom, left:right, label] = 220
    return found


def encoded(image: int, form: str = "JPEG") -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels(image)).save(stream, form)
    return stream.getvalue()


def mask(image: int) -> np.ndarray:
    """Classes by pixel, 0 where nothing is, 255 around what is."""
    found = np.zeros((HEIGHT, WIDTH), dtype=np.uint8)
    for label, (left, top, right, bottom) in drawn(image):
        found[top - 1 : bottom + 1, left - 1 : right + 1] = 255
        found[top:bottom, left:right] = label + 1
    return found


def coco_shapes(folder: Path, train: int, val: int) -> Path:
    """COCO's instances of 2017; the first image of each split has a crowd too."""
    files: dict[str, bytes | str] = {}
    for split, images in (("train", range(train)), ("val", range(100, 100 + val))):
        said: dict[str, list[Any]] = {
            "images": [], "annotations": [], "categories": [{"id": 3 * i + 1, "name": n} for i, n in enumerate(CLASSES)]
        }  # fmt: skip
        for image in images:
            files[f"{split}2017/{image:012}.jpg"] = encoded(image)
            said["images"].append({"id": image, "file_name": f"{image:012}.jpg", "width": WIDTH, "height": HEIGHT})
            for label, (left, top, right, bottom) in drawn(image):
                ring = [left, top, right, top, right, bottom, left, bottom]
                number, box = len(said["annotations"]) + 1, [left, top, right - left, bottom - top]
                said["annotations"].append(item(number, image, 3 * label + 1, [*map(float, box)], [ring]))
        counts = [0, HEIGHT * 3, HEIGHT * WIDTH - HEIGHT * 3]
        crowd = item(9000, images[0], 1, [0.0, 0.0, 3.0, float(HEIGHT)], {"counts": counts, "size": [HEIGHT, WIDTH]}, 1)
        said["annotations"].append(crowd)
        files[f"annotations/instances_{split}2017.json"] = json.dumps(said)
    return put(folder, files)


def voc_shapes(folder: Path, train: int, val: int) -> Path:
    """VOC's folders, with the lists of boxes of 2007 and those of masks of 2012; boxes count pixels from 1."""
    files: dict[str, bytes | str] = {}
    for split, main, images in (("train", "trainval", range(train)), ("val", "test", range(100, 100 + val))):
        listed = "".join(f"{image:06}\n" for image in images)
        files |= {f"ImageSets/Main/{main}.txt": listed, f"ImageSets/Segmentation/{split}.txt": listed}
        for image in images:
            boxes = [(CLASSES[label], (left + 1, top + 1, right, bottom)) for label, (left, top, right, bottom) in
                     drawn(image)]  # fmt: skip
            files |= {
                f"JPEGImages/{image:06}.jpg": encoded(image),
                f"Annotations/{image:06}.xml": annotation(*boxes, size=(WIDTH, HEIGHT)),
                f"SegmentationClass/{image:06}.png": mask_of(mask(image), palette=True),
            }
    return put(folder, files)


def yolo_shapes(folder: Path, images: int) -> Path:
    """COCO128's folders; of an empty image there is no text."""
    files: dict[str, bytes | str] = {}
    for image in range(images):
        files[f"images/train2017/{image:012}.jpg"] = encoded(image)
        lines = [
            f"{label} {(left + right) / 2 / WIDTH} {(top + bottom) / 2 / HEIGHT} {(right - left) / WIDTH} "
            f"{(bottom - top) / HEIGHT}\n"
            for label, (left, top, right, bottom) in drawn(image)
        ]
        if lines:
            files[f"labels/train2017/{image:012}.txt"] = "".join(lines)
    return put(folder, files)
