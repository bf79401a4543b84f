"""Average precision and intersection over union against pycocotools, plain loops and scikit-learn, and as the bootstrap
has them; on random predictions, and on images without anything, with crowds, or with void alone.
"""

import contextlib
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from sklearn.metrics import accuracy_score, jaccard_score

from redistill.data.examples import NO_CLASS
from redistill.evaluation import detection
from redistill.evaluation.evaluate import measured
from redistill.evaluation.metrics import METRICS
from redistill.models.predict import BOXES, _counted
from redistill.tables import average_precision, sampled
from redistill.tables.statistics import BATCH_METRICS, bootstrap

Image = dict[str, Any]
Box = list[float]
CLASSES = 3
CROWDED = ("nothing", "one image", "no crowds", "crowds", "a class that is never there", "nothing found", "all crowds")


def test_every_metric_has_its_form_for_the_bootstrap() -> None:
    assert set(METRICS) == {*BATCH_METRICS, *sampled.OF_PIXELS, *average_precision.METRICS}


# --- boxes -----------------------------------------------------------------------------------------------------------


def drawn(seed: int, n: int = 12, crowd: float = 0.2, classes: int = CLASSES, noise: int = 6) -> list[Image]:
    """Images of 100 x 80 with boxes, found ones that are near these or are not, and images with neither. Scores differ,
    and some are turned inside out.
    """
    draw, images = np.random.default_rng(seed), []
    for _ in range(n):
        there = int(draw.integers(0, 6))
        low = draw.uniform(0, [60, 50], (there, 2))
        labels = np.concatenate([low, low + draw.uniform(4, 30, (there, 2))], axis=1).round(1)
        of = draw.integers(0, classes, there)
        near = np.flatnonzero(draw.random(there) < 0.8).repeat(2)
        found = np.concatenate([labels[near] + draw.normal(0, 1, (len(near), 4)).round(), boxes_of(draw, noise)])
        said = draw.integers(0, classes, len(found))
        said[: len(near)] = np.where(draw.random(len(near)) < 0.8, of[near], said[: len(near)])
        images.append({
            "boxes": found.astype(np.float32).tolist(), "classes": said.tolist(),
            "scores": draw.permutation(len(found) * 997)[: len(found)].astype(np.float32).tolist(),
            "label_boxes": labels.astype(np.float32).tolist(), "label_classes": of.tolist(),
            "label_crowd": (draw.random(there) < crowd).tolist(),
        })  # fmt: skip
    return images


def boxes_of(draw: np.random.Generator, n: int) -> np.ndarray:
    low = draw.uniform(0, [60, 50], (n, 2))
    return np.concatenate([low, low + draw.uniform(1, 40, (n, 2))], axis=1)


def case(name: str, seed: int = 0) -> list[Image]:
    empty = {"boxes": [], "classes": [], "scores": [], "label_boxes": [], "label_classes": [], "label_crowd": []}
    if name == "nothing":
        return [empty, empty]
    if name == "one image":
        return drawn(seed, 1)
    if name == "a class that is never there":
        return [image | {"classes": [2 if c == 1 else c for c in image["classes"]]} for image in drawn(seed, classes=2)]
    if name == "nothing found":
        return [image | {"boxes": [], "classes": [], "scores": []} for image in drawn(seed)]
    return drawn(seed, crowd={"no crowds": 0.0, "all crowds": 1.0}.get(name, 0.4))


def by_pycocotools(images: list[Image], folder: Path) -> tuple[float, float]:
    """mAP and mAP50 as who follows pycocotools' own demonstration gets them: by files, with other numbers for all."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    def item(i: int, box: Box, c: int) -> dict[str, Any]:
        size = [box[2] - box[0], box[3] - box[1]]
        return {"image_id": 500 - i, "category_id": 7 * c + 3, "bbox": [*box[:2], *size], "area": size[0] * size[1]}

    numbered = [(i, *one) for i, im in enumerate(images)
                for one in zip(im["label_boxes"], im["label_classes"], im["label_crowd"], strict=True)]  # fmt: skip
    there = [item(i, box, c) | {"id": k + 40, "iscrowd": int(crowd)} for k, (i, box, c, crowd) in enumerate(numbered)]
    found = [item(i, box, c) | {"score": score} for i, im in enumerate(images)
             for box, c, score in zip(im["boxes"], im["classes"], im["scores"], strict=True)]  # fmt: skip
    said = {"images": [{"id": 500 - i} for i in range(len(images))], "annotations": there, "info": {},
            "categories": [{"id": 7 * c + 3, "name": str(c)} for c in range(CLASSES + 3)]}  # fmt: skip
    (folder / "there.json").write_text(json.dumps(said))
    (folder / "found.json").write_text(json.dumps(found))
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(str(folder / "there.json"))
        judged = COCOeval(truth, truth.loadRes(str(folder / "found.json")), "bbox")
        judged.evaluate()
        judged.accumulate()
        judged.summarize()
    return judged.stats[0], judged.stats[1]


def plain_iou(a: Box, b: Box, crowd: bool = False) -> float:
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    area, other = ((box[2] - box[0]) * (box[3] - box[1]) for box in (a, b))
    return width * height / (area if crowd else area + other - width * height)


def plain_voc(images: list[Image]) -> float:
    """VOC's, in loops: every box of a class by falling score, wherever it is."""
    of_classes = []
    for c in range(CLASSES + 3):
        taken = set()
        wanted = sum(of == c and not hard for image in images for of, hard in zip(
            image["label_classes"], image["label_crowd"], strict=True))  # fmt: skip
        if not wanted:
            continue
        found = [(score, i, box) for i, image in enumerate(images)
                 for score, of, box in zip(image["scores"], image["classes"], image["boxes"], strict=True)
                 if of == c]  # fmt: skip
        right, said, points = 0, 0, list[tuple[float, float]]()
        for _, i, box in sorted(found, key=lambda one: -one[0]):
            overlaps = [(plain_iou(box, there), j) for j, there in enumerate(images[i]["label_boxes"])
                        if images[i]["label_classes"][j] == c]  # fmt: skip
            best, j = max(overlaps, key=lambda pair: pair[0], default=(0.0, -1))
            if best >= 0.5 and images[i]["label_crowd"][j]:
                continue
            said += 1
            if best >= 0.5 and (i, j) not in taken:
                taken.add((i, j))
                right += 1
            points.append((right / wanted, right / said))
        area, before = 0.0, 0.0
        for k, (recall, _) in enumerate(points):
            area += (recall - before) * max(p for _, p in points[k:])
            before = recall
        of_classes.append(area)
    return float(np.mean(of_classes)) if of_classes else 0.0


def at_once(metric: str, images: list[Image], picked: np.ndarray | None = None) -> np.ndarray:
    every = np.arange(len(images))[None]
    return average_precision.METRICS[metric](images)(every if picked is None else picked)


@pytest.mark.parametrize("name", CROWDED)
@pytest.mark.parametrize("seed", range(3))
def test_coco_is_what_pycocotools_says_itself(name: str, seed: int, tmp_path: Path) -> None:
    images = case(name, seed)
    found = detection.coco(images)
    some = any(image["boxes"] for image in images) and any(image["label_boxes"] for image in images)
    expected = by_pycocotools(images, tmp_path) if some else (0.0, 0.0)
    expected = tuple(max(0.0, value) for value in expected)  # -1 where there is nothing to be found
    assert (found["mean_ap"], found["mean_ap_50"]) == pytest.approx(expected, abs=1e-12)
    if name in ("no crowds", "crowds"):
        assert 0.02 < found["mean_ap"] < found["mean_ap_50"] < 0.98
    for metric in ("mean_ap", "mean_ap_50"):
        assert METRICS[metric][1](images) == found[metric]
        assert at_once(metric, images) == pytest.approx(found[metric], abs=1e-12)


@pytest.mark.parametrize("name", CROWDED)
@pytest.mark.parametrize("seed", range(3))
def test_voc_is_what_plain_loops_say(name: str, seed: int) -> None:
    images = case(name, seed)
    expected = plain_voc(images)
    assert detection.voc(images) == pytest.approx(expected, abs=1e-12)
    assert at_once("voc_ap", images) == pytest.approx(expected, abs=1e-12)
    if name in ("no crowds", "crowds"):
        assert 0.02 < expected < 0.98


def test_known_precisions() -> None:
    """One box of two is found, and before it one that is wrong: precision 1/2 up to recall 1/2."""
    image = {"boxes": [[50, 50, 60, 60], [0, 0, 10, 10]], "classes": [0, 0], "scores": [0.9, 0.8],
             "label_boxes": [[0, 0, 10, 10], [20, 20, 30, 30]], "label_classes": [0, 0],
             "label_crowd": [False, False]}  # fmt: skip
    for found in (detection.voc([image]), at_once("voc_ap", [image])[0]):
        assert found == pytest.approx(0.25)
    assert detection.coco([image])["mean_ap_50"] == pytest.approx(0.5 * 51 / 101)  # recalls 0, 0.01 ... 0.5
    assert at_once("mean_ap", [image]) == pytest.approx(0.5 * 51 / 101)


def test_of_boxes_in_a_crowd_none_is_wrong() -> None:
    image = {"boxes": [[0, 0, 9, 9], [1, 1, 9, 9], [20, 20, 30, 30]], "classes": [0, 0, 0], "scores": [0.9, 0.8, 0.7],
             "label_boxes": [[0, 0, 60, 60], [20, 20, 30, 30]], "label_classes": [0, 0],
             "label_crowd": [True, False]}  # fmt: skip
    assert detection.coco([image])["mean_ap"] == pytest.approx(1.0)
    assert at_once("mean_ap", [image]) == pytest.approx(1.0)


def test_coco_looks_at_a_hundred_boxes_of_a_class() -> None:
    wrong = [[50.0, 50.0, 60.0, 60.0]] * 100
    image = {"boxes": [*wrong, [0, 0, 10, 10]], "classes": [0] * 101, "scores": [0.5] * 100 + [0.4],
             "label_boxes": [[0, 0, 10, 10]], "label_classes": [0], "label_crowd": [False]}  # fmt: skip
    assert detection.coco([image])["mean_ap"] == at_once("mean_ap", [image]) == 0.0
    assert at_once("voc_ap", [image]) == pytest.approx(detection.voc([image])) == pytest.approx(1 / 101)


@pytest.mark.parametrize("metric", sorted(average_precision.METRICS))
def test_an_image_that_is_drawn_twice_counts_twice(metric: str) -> None:
    images = drawn(5, 9)
    picked = np.random.default_rng(1).integers(0, 9, (6, 9))
    expected = [METRICS[metric][1]([images[i] for i in row]) for row in np.sort(picked)]
    assert at_once(metric, images, picked) == pytest.approx(expected, abs=1e-12)
    assert len(set(expected)) > 3


def test_samples_without_anything_to_find_are_0() -> None:
    images = [*case("nothing"), drawn(0, 1, crowd=0.0)[0]]
    for metric in average_precision.METRICS:
        found = at_once(metric, images, np.array([[0, 1, 0], [2, 2, 2]]))
        assert found[0] == 0.0
        assert np.isfinite(found).all()


def table_of(images: list[Image]) -> pa.Table:
    """As `redistill.models.predict` writes it."""
    kinds = {"boxes": BOXES, "label_boxes": BOXES, "scores": pa.list_(pa.float32())}
    kinds |= {"label_crowd": pa.list_(pa.bool_())}
    columns = {
        name: pa.array([image[name] for image in images], kinds.get(name, pa.list_(pa.int64()))) for name in images[0]
    }
    ids = [f"{i:03d}" for i in range(len(images))]
    return pa.table({"id": ids, "split": ["dev"] * len(images), **columns})


def test_detectors_are_compared_on_the_same_images() -> None:
    images = drawn(2, 30, crowd=0.1)
    worse = [image | {"scores": list(range(len(image["scores"])))} for image in images]
    a, b = (sampled.sampled(table_of(one), "mean_ap") for one in (images, worse))
    same = bootstrap([a], [a], len(images), draws=50)
    assert (same.difference, same.low, same.high, same.p) == (0.0, 0.0, 0.0, 1.0)
    found = bootstrap([a, a], [b, b], len(images), draws=200)
    expected = measured(table_of(images), "mean_ap") - measured(table_of(worse), "mean_ap")
    assert found.difference == pytest.approx(expected, abs=1e-9)
    assert found.low <= found.difference <= found.high
    assert (found.n_examples, found.n_seeds) == (30, 2)


# --- pixels ----------------------------------------------------------------------------------------------------------


def masks(seed: int, n: int, void: float, classes: int = 4) -> tuple[torch.Tensor, torch.Tensor]:
    """Labels and what is said (n, 8, 9); void is no class."""
    draw = np.random.default_rng(seed)
    labels, other = (draw.integers(0, classes, (n, 8, 9)) for _ in range(2))
    said = np.where(draw.random(labels.shape) < 0.6, labels, other)
    said[said == 3] = 2  # a class that is there and never said
    labels[draw.random(labels.shape) < void] = NO_CLASS
    return torch.from_numpy(labels), torch.from_numpy(said)


def pixels_of(labels: torch.Tensor, said: torch.Tensor, classes: int = 5) -> pa.Table:
    counts = [_counted(label, mask, classes).tolist() for label, mask in zip(labels, said, strict=True)]
    ids = [f"{i:03d}" for i in range(len(counts))]
    return pa.table({"id": ids, "split": ["dev"] * len(ids), "counts": pa.array(counts, pa.list_(pa.int64()))})


@pytest.mark.parametrize("void", [0.0, 0.3, 0.99])
@pytest.mark.parametrize("seed", range(3))
def test_pixels_are_counted_as_scikit_learn_and_plain_loops_do(seed: int, void: float) -> None:
    labels, said = masks(seed, 5, void)
    found = pixels_of(labels, said)
    known = labels != NO_CLASS
    truth, guess = labels[known].numpy(), said[known].numpy()
    shares = []
    for c in range(5):  # of the fifth class there is nothing, nowhere
        both, either = ((truth == c) & (guess == c)).sum(), ((truth == c) | (guess == c)).sum()
        shares += [both / either] if either else []
    assert measured(found, "mean_iou") == pytest.approx(np.mean(shares), abs=1e-12)
    there = sorted({*truth.tolist(), *guess.tolist()})
    by_sklearn = jaccard_score(truth, guess, labels=there, average="macro", zero_division=0.0)
    assert measured(found, "mean_iou") == pytest.approx(by_sklearn, abs=1e-12)
    assert measured(found, "pixel_accuracy") == pytest.approx(accuracy_score(truth, guess), abs=1e-12)
    for metric in sampled.OF_PIXELS:
        every = sampled.sampled(found, metric)(np.arange(5)[None])
        assert every == pytest.approx(measured(found, metric), abs=1e-12)


@pytest.mark.parametrize("metric", sorted(sampled.OF_PIXELS))
def test_of_images_that_are_all_void_there_is_nothing_to_say(metric: str) -> None:
    labels, said = masks(0, 3, 0.0)
    void = torch.full_like(labels, NO_CLASS)
    assert measured(pixels_of(void, said), metric) == 0.0
    one = pixels_of(torch.cat([void[:2], labels[2:]]), said)
    found = sampled.sampled(one, metric)(np.array([[0, 1, 0], [2, 2, 2], [0, 1, 2]]))
    assert found[0] == 0.0
    assert found[1] == found[2] == pytest.approx(measured(one, metric), abs=1e-12)


@pytest.mark.parametrize("metric", sorted(sampled.OF_PIXELS))
def test_pixels_of_an_image_that_is_drawn_twice_count_twice(metric: str) -> None:
    labels, said = masks(4, 7, 0.2)
    picked = np.random.default_rng(2).integers(0, 7, (5, 7))
    found = sampled.sampled(pixels_of(labels, said), metric)(picked)
    expected = [measured(pixels_of(labels[row], said[row]), metric) for row in picked]
    assert found == pytest.approx(expected, abs=1e-12)


def test_a_prediction_that_is_not_finite_is_refused() -> None:
    table = pa.table({"id": ["a"], "split": ["dev"], "label": [1.0], "prediction": [float("nan")]})
    with pytest.raises(ValueError, match="not finite"):
        sampled.sampled(table, "pearson")
