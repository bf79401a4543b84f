"""Average precision of boxes: COCO's by pycocotools, Pascal VOC's in its own way.

An image has `boxes` (left, top, right, bottom, in pixels), `classes` and `scores` of what was found; `label_boxes`,
`label_classes` and `label_crowd` of what is there.
"""

import contextlib
import io
from typing import Any

import numpy as np

Image = dict[str, Any]


def coco(images: list[Image]) -> dict[str, float]:
    """`mean_ap` over IoU 0.5, 0.55 ... 0.95 and classes, and `mean_ap_50` at 0.5 (Lin et al. 2014, arXiv:1405.0312, and
    the challenge's rules): 101 points of recall, at most 100 boxes an image; what lies in a crowd counts neither way.
    Without a single box that is to be found, both are 0.
    """
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    there, found = COCO(), []
    classes = sorted({c for image in images for c in image["label_classes"]})
    if not classes:
        return {"mean_ap": 0.0, "mean_ap_50": 0.0}
    annotations: list[dict[str, Any]] = []
    for i, image in enumerate(images, 1):
        for box, c, crowd in zip(image["label_boxes"], image["label_classes"], image["label_crowd"], strict=True):
            drawn = _placed(i, box, c)
            annotations.append(drawn | {"id": len(annotations) + 1, "iscrowd": int(crowd)})
        for box, c, score in zip(image["boxes"], image["classes"], image["scores"], strict=True):
            if c in classes:
                found.append(_placed(i, box, c) | {"score": score})
    with contextlib.redirect_stdout(io.StringIO()):  # it talks as it goes
        there.dataset = {
            "info": {}, "images": [{"id": i + 1} for i in range(len(images))], "annotations": annotations,
            "categories": [{"id": c + 1} for c in classes],
        }  # fmt: skip
        there.createIndex()
        if not found:
            return {"mean_ap": 0.0, "mean_ap_50": 0.0}
        measured = COCOeval(there, there.loadRes(found), "bbox")
        measured.evaluate()
        measured.accumulate()
        measured.summarize()
    return {"mean_ap": max(0.0, float(measured.stats[0])), "mean_ap_50": max(0.0, float(measured.stats[1]))}


def _placed(image: int, box: list[float], c: int) -> dict[str, Any]:
    left, top, right, bottom = box
    width, height = right - left, bottom - top
    return {"image_id": image, "category_id": c + 1, "bbox": [left, top, width, height], "area": width * height}


def voc(images: list[Image], iou: float = 0.5) -> float:
    """Mean over classes of the area under the curve of precision over recall, precision made to fall (Everingham et al.
    2015, section 4.2, as since 2010). A box is found by the first of those that overlap it most, by falling score; what
    is marked as a crowd, or as difficult, counts neither way. Classes of which no box is to be found do not count.
    """
    classes = sorted({c for image in images for c, crowd in zip(
        image["label_classes"], image["label_crowd"], strict=True) if not crowd})  # fmt: skip
    return float(np.mean([_voc_class(images, c, iou) for c in classes])) if classes else 0.0


def _voc_class(images: list[Image], c: int, iou: float) -> float:
    wanted, found = 0, list[tuple[float, int]]()  # score, and 1 right, 0 wrong, -1 neither
    for image in images:
        there = [i for i, of in enumerate(image["label_classes"]) if of == c]
        boxes = np.array([image["label_boxes"][i] for i in there]).reshape(-1, 4)
        difficult = [bool(image["label_crowd"][i]) for i in there]
        wanted += difficult.count(False)
        taken = set[int]()
        mine = [i for i, of in enumerate(image["classes"]) if of == c]
        for i in sorted(mine, key=lambda i: -image["scores"][i]):
            overlaps = overlap(np.array([image["boxes"][i]]), boxes)[0]
            best = int(overlaps.argmax()) if len(overlaps) else -1
            if best < 0 or overlaps[best] < iou:
                right = 0
            elif difficult[best]:
                right = -1
            else:
                right = int(best not in taken)
                taken.add(best)
            found.append((image["scores"][i], right))
    return _area(sorted(found, key=lambda pair: -pair[0]), wanted)


def _area(found: list[tuple[float, int]], wanted: int) -> float:
    right = np.array([r for _, r in found if r >= 0], dtype=float)
    if not len(right):
        return 0.0
    hits = np.cumsum(right)
    precision = hits / np.arange(1, len(right) + 1)
    recall = hits / wanted
    falling = np.maximum.accumulate(precision[::-1])[::-1]
    return float(np.sum(np.diff(recall, prepend=0.0) * falling))


def overlap(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Intersection over union (N, M) of boxes (N, 4) and (M, 4)."""
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum(a[:, None, 2:], b[None, :, 2:])
    inner = np.clip(high - low, 0, None).prod(-1)
    areas = [(boxes[:, 2:] - boxes[:, :2]).prod(-1) for boxes in (a, b)]
    union = areas[0][:, None] + areas[1][None, :] - inner
    return np.divide(inner, union, out=np.zeros_like(inner, dtype=float), where=union > 0)
