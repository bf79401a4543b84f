"""Pictures of what models say: what is drawn where, equal bytes, and runs of which none can be drawn."""

import io
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from conftest import Project
from picture_sets import mask_of
from PIL import Image
from safetensors.torch import save
from small_store import BOXES, images, sealed, thing

from redistill.cli import picturing
from redistill.errors import RedistillError
from redistill.models import load
from redistill.pictures import draw, show
from redistill.provenance import store

GREY = np.full((40, 60, 3), 200, dtype=np.uint8)
STUDENT, TEACHER = "5" * 16, "7" * 16
LABELS = ["ground", "cat", "dog"]


def opened(png: bytes) -> np.ndarray:
    return np.array(Image.open(io.BytesIO(png)))


def has(pixels: np.ndarray, colour: tuple[int, int, int]) -> bool:
    return bool((pixels == np.array(colour)).all(axis=-1).any())


# --- drawing ---------------------------------------------------------------------------------------------------------


def test_classes_have_the_colours_of_pascal_voc() -> None:
    assert [draw.colour(of) for of in (0, 1, 2, 3, 15)] == [
        (0, 0, 0), (128, 0, 0), (0, 128, 0), (128, 128, 0), (192, 128, 128)
    ]  # fmt: skip
    assert len({draw.colour(of) for of in range(256)}) == 256


def test_a_mask_covers_what_has_a_class() -> None:
    mask = np.full((40, 60), -1)
    mask[:, 30:] = 1
    covered = draw.covered(GREY, mask, -1)
    assert (covered[:, :30] == 200).all()
    assert (covered[:, 30:] == [157, 80, 80]).all()  # 0.4 of 200, and 0.6 of 128 or 0


def test_boxes_are_where_they_are_said_to_be() -> None:
    pixels = opened(draw.sheet([draw.Panel("", GREY, boxes=[draw.Box((10, 20, 30, 36), 0, "cat")])]))
    red = (pixels == [128, 0, 0]).all(axis=-1)
    scale, top, left = draw.SIDE // 60, draw.GAP + draw.LINE, draw.GAP
    assert red[top + 20 * scale, left + 10 * scale : left + 30 * scale].all()
    assert red[top + 36 * scale - 1, left + 10 * scale : left + 30 * scale].all()
    assert not red[top + 36 * scale + 1 :].any()
    assert red[top + 20 * scale - 3, left + 10 * scale]  # under its name
    assert not red[: top + 20 * scale - draw.LINE].any()


def test_a_sheet_has_its_panels_side_by_side_and_a_legend() -> None:
    one = draw.Panel("there", GREY, mask=np.zeros((40, 60), dtype=int))
    other = draw.Panel("said", GREY, mask=np.full((40, 60), 2))
    alone, both, plain = (opened(draw.sheet(p, LABELS)) for p in ([one], [one, other], [draw.Panel("there", GREY)]))
    assert both.shape[1] > 2 * (alone.shape[1] - 2 * draw.GAP)
    assert alone.shape[0] > plain.shape[0]  # by the legend
    assert has(both[-draw.LINE - draw.GAP :], draw.colour(2))
    assert not has(alone[-draw.LINE - draw.GAP :], draw.colour(2))
    many = draw.Panel("", GREY, mask=np.arange(2400).reshape(40, 60) % 200)
    assert opened(draw.sheet([many], [f"class {i}" for i in range(200)])).shape[0] > alone.shape[0]


def test_large_images_shrink_and_small_ones_grow() -> None:
    shapes = [
        opened(draw.sheet([draw.Panel("", np.zeros((s, s, 3), dtype=np.uint8))])).shape for s in (8, draw.SIDE, 2000)
    ]
    assert len({shape[1] for shape in shapes}) == 1
    assert shapes[0][1] == draw.SIDE + 2 * draw.GAP


@pytest.mark.parametrize("said", ["plain", "über", "犬", ""])
def test_equal_panels_give_equal_bytes(said: str) -> None:
    panel = draw.Panel(said, GREY, [(said, True)], [draw.Box((0, 0, 5, 5), 1, said)], np.ones((40, 60), dtype=int))
    assert draw.sheet([panel], LABELS) == draw.sheet([panel], LABELS)


# --- runs ------------------------------------------------------------------------------------------------------------


def said(kind: str, ids: list[str], right: bool) -> pa.Table:
    """What a model says of `dev`: all right, or all wrong; and of an image of `select`, which is not drawn."""
    n = len(ids)
    columns: dict[str, Any] = {"id": [*ids, "other"], "split": ["dev"] * n + ["select"]}
    of = 1 if right else 2
    if kind == "classification":
        columns |= {"label": [1] * (n + 1), "prediction": [of] * (n + 1)}
        columns["logits"] = pa.array([[0.0, 3.0, 1.0] if right else [0.0, 1.0, 3.0]] * (n + 1))
    if kind == "segmentation":
        columns |= {"prediction": [mask_of(np.full((16, 24), of))] * (n + 1), "counts": [[0] * 9] * (n + 1)}
    if kind == "detection":
        box = pa.array([[[4.0, 4.0, 20.0, 14.0], [0.0, 0.0, 9.0, 9.0]]] * (n + 1), BOXES)
        columns |= {"boxes": box, "classes": [[of, 0]] * (n + 1), "scores": [[0.9, 0.1]] * (n + 1)}
    return pa.table(columns)


def made(root: Path, kind: str, shown_as: list[dict[str, Any]] | None = None) -> Path:
    """A student and its teacher, of which stored outputs say which it is, on ten images of 24 x 16."""
    ids = [f"i{i}/a" for i in range(10)]
    images(root, kind, ids)
    task = {"type": kind, "input": "image", "labels": LABELS, "image_shape": [3, 16, 24]}
    transforms = [{"method": "normalise", "settings": {"mean": [0.5], "std": [0.5]}}]
    config = {"task": task, "evaluation": {"transforms": shown_as or transforms}}
    for key, right, inputs in ((TEACHER, True, {}), (STUDENT, False, {"outputs big train": "outputs1"})):
        predictions = said(kind, ids, right)
        thing(root, "runs", key, {"dataset": "data1", **inputs},
              {"resolved.json": config, "predictions.parquet": predictions})  # fmt: skip
    thing(root, "outputs", "outputs1", {"teacher": TEACHER}, {"counts.json": {}})
    return root


@pytest.mark.parametrize("kind", show.KINDS)
def test_a_student_is_drawn_beside_its_teacher_and_what_is_there(kind: str, tmp_path: Path) -> None:
    root = made(tmp_path, kind)
    folder = show.draw(root, STUDENT)
    assert folder == root / "store" / "pictures" / STUDENT
    listed = json.loads((folder / "pictures.json").read_text())
    assert listed["images"]["000.png"] == "i0/a"
    assert listed["images"]["007.png"] == "i9/a"
    files = {file.name: file.read_bytes() for file in folder.iterdir()}
    assert len(files) == 9
    pixels = opened(files["000.png"])
    alone = opened((show.draw(root, TEACHER, tmp_path / "alone", 3) / "000.png").read_bytes())
    if kind == "classification":  # one image, a line for each model
        assert has(pixels, draw.RIGHT)
        assert has(pixels, draw.WRONG)
        assert not has(alone, draw.WRONG)
        assert has(pixels, (0, 200, 0))  # not normalised
    else:
        assert pixels.shape[1] > 1.4 * alone.shape[1]  # three panels, and two
        wrong = (0, round(0.4 * 200 + 0.6 * 128), 0) if kind == "segmentation" else draw.colour(3)
        assert has(pixels, wrong)
        assert not has(alone, wrong)
    show.draw(root, STUDENT)
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == files
    assert store.is_done(root / "store" / "runs" / STUDENT)
    manifest = store.read_manifest(root / "store" / "runs" / STUDENT)
    assert not store.problems(root / "store" / "runs" / STUDENT, manifest)


def test_a_model_that_is_tapped_while_its_student_trains_is_a_teacher_too(tmp_path: Path) -> None:
    root = made(tmp_path, "classification")
    folder = root / "store" / "runs" / STUDENT
    manifest = store.read_manifest(folder)
    manifest["key_parts"]["inputs"] = {"dataset": "data1", "teacher big": TEACHER, "teacher gone": "nowhere"}
    sealed(folder, manifest["key_parts"])
    with_teacher = (show.draw(root, STUDENT) / "000.png").read_bytes()
    shutil.rmtree(root / "store" / "runs" / TEACHER)
    without = (show.draw(root, STUDENT) / "000.png").read_bytes()
    assert opened(with_teacher).shape[0] > opened(without).shape[0]


@pytest.mark.parametrize("kind", show.KINDS)
def test_published_weights_that_teach_are_asked_what_they_say(kind: str, tmp_path: Path) -> None:
    root = made(tmp_path, kind, [])
    folder = root / "store" / "runs" / STUDENT
    config = json.loads((folder / "resolved.json").read_text())
    config["runtime"] = {"device": "cuda", "precision": "float32", "threads": 1, "portable": False}
    (folder / "resolved.json").write_text(json.dumps(config))
    manifest = store.read_manifest(folder)
    manifest["key_parts"]["inputs"] = {"dataset": "data1"}
    sealed(folder, manifest["key_parts"])
    alone = opened((show.draw(root, STUDENT) / "000.png").read_bytes())
    architecture = {
        "classification": {"method": "cnn", "channels": [2]},
        "segmentation": {"method": "segmenter", "name": "lraspp_mobilenet_v3_large"},
        "detection": {"method": "bottleneck_rcnn", "backbone": "resnet18", "options": {"min_size": 32, "max_size": 48}},
    }[kind]
    for outputs, drawn in ((3, True), (4, False)) if kind == "classification" else ((3, True),):
        said = {"architecture": architecture, "outputs": outputs, "image_shape": [3, 16, 24]}
        weights = {name: tensor.contiguous() for name, tensor in load.of_source(said).state_dict().items()}
        thing(root, "models", f"w{outputs}", {}, {"architecture.json": said, "model.safetensors": save(weights)})
        manifest["key_parts"]["inputs"] = {"dataset": "data1", "teacher big": f"w{outputs}"}
        sealed(folder, manifest["key_parts"])
        beside = opened((show.draw(root, STUDENT) / "000.png").read_bytes())
        assert (beside.shape > alone.shape) == drawn


def test_a_view_is_what_the_model_was_shown(tmp_path: Path) -> None:
    half = [{"method": "resize", "settings": {"size": 8, "width": 12}}]
    root = made(tmp_path, "classification", half)
    assert opened((show.draw(root, STUDENT, images=1) / "000.png").read_bytes()).shape[1] >= 26 * 12


def test_runs_of_which_nothing_can_be_drawn(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = made(tmp_path, "classification")
    with pytest.raises(RedistillError, match="no finished run here has the key nothing"):
        show.draw(root, "nothing")
    (root / "kept").mkdir()
    with pytest.raises(RedistillError, match="holds other things than pictures"):
        show.draw(root, STUDENT, root / "kept")
    task = {"type": "classification", "input": "text", "labels": LABELS, "image_shape": None}
    thing(root, "runs", "text1", {}, {"resolved.json": {"task": task, "evaluation": {}}})
    with pytest.raises(RedistillError, match="is a run on texts"):
        show.draw(root, "text1")
    thing(root, "runs", "floor1", {}, {"resolved.json": {"task": task | {"input": "image"}}})
    with pytest.raises(RedistillError, match="is a baseline"):
        show.draw(root, "floor1")
    shutil.rmtree(root / "store" / "data" / "data1")
    with pytest.raises(RedistillError, match="its data set is not in the store"):
        show.draw(root, STUDENT)
    assert not (root / "store" / "pictures" / STUDENT).exists()
    show.after(root, STUDENT, {"task": task | {"input": "image"}})
    assert f"no pictures of {STUDENT}" in capsys.readouterr().err
    show.after(root, STUDENT, {"task": task})
    assert capsys.readouterr() == ("", "")


def test_the_command_takes_keys_and_says_where_it_drew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    root = made(tmp_path, "detection")
    monkeypatch.setattr(picturing, "root_of_project", lambda: root)
    picturing.pictures(STUDENT, images=2)
    folder = root / "store" / "pictures" / STUDENT
    assert capsys.readouterr().out.strip() == str(folder)
    assert len(list(folder.iterdir())) == 3
    picturing.pictures(STUDENT, to=tmp_path / "mine", images=1)
    assert sorted(file.name for file in (tmp_path / "mine").iterdir()) == ["000.png", "pictures.json"]


def test_the_command_takes_experiments_that_read_images(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(project.root)
    monkeypatch.setattr(picturing, "root_of_project", lambda: project.root)
    with pytest.raises(RedistillError, match="`text/teacher` reads no images"):
        picturing.pictures("text/teacher", task="movie")
    with pytest.raises(RedistillError, match="no finished run here has the key"):
        picturing.pictures("image/teacher", task="digits")
