"""Cells, tables, margins and audits of segmentations and detections, from predictions in a store."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from small_store import HEIGHT, WIDTH, images, sealed, thing
from test_vision_metrics import drawn, masks, pixels_of, table_of

from redistill.audit.maker import predict_again
from redistill.claims.resample import variance_of_cell
from redistill.errors import RedistillError
from redistill.evaluation.evaluate import choose, evaluate, measured, score
from redistill.exports import croissant
from redistill.models import agreement, load, predict
from redistill.plan import Node
from redistill.tables.make import make_table
from redistill.tables.sampled import DRAWS, DRAWS_OF_BOXES, draws_of

SEEDS = (0, 1)


def cell(root: Path, name: str, metric: str, said: list[pa.Table], trials: int = 0) -> Path:
    """A cell of runs that say this, in a store; the runs are trials of it if there are some."""
    folders = {}
    for i, table in enumerate(said):
        role = f"trial {i % trials} seed {i // trials}" if trials else f"seed {i}"
        folders[role] = thing(root, "runs", f"{name}{i}", {}, {"predictions.parquet": table})
    config: dict[str, Any] = {"metric": metric}
    if trials:
        config["trials"] = [f"rate={i}" for i in range(trials)]
    work = root / "store" / "results" / f"cell-{name}"
    work.mkdir(parents=True)
    evaluate(config, folders, work)
    sealed(work, {"kind": "cell", "inputs": {}})
    return work


def config(metric: str) -> dict[str, Any]:
    column = {"task": "cells", "title": "Cells", "mark": None, "metric": metric, "source": "Nobody 2020",
              "no_data": False, "sample": {}}  # fmt: skip
    row = {"tasks": ["cells"], "seeds": list(SEEDS), "notes": {}, "trials": 1, "fixed": False, "selected_on_dev": False}
    return {
        "name": "vision", "title": "Vision", "study": "small", "columns": [column], "means": {}, "order": "as given",
        "rows": [{"experiment": name, "label": name, **row} for name in ("better", "worse")],
        "comparisons": [{"row": "better", "against": "worse", "tasks": None}],
    }  # fmt: skip


def boxes(seed: int, sure: bool, n: int = 30) -> pa.Table:
    """What a detector says; one that is not sure of anything has scores that say nothing."""
    said = drawn(3, n, crowd=0.1)
    draw = np.random.default_rng(seed)
    for image in said:
        scores = draw.random(len(image["scores"]))
        image["scores"] = (np.linspace(1, 0, len(scores)) + scores / 10 if sure else scores).tolist()
    return table_of(said)


def pixels(seed: int, sure: bool, n: int = 30) -> pa.Table:
    labels, _ = masks(3, n, 0.1)
    _, said = masks(3, n, 0.1)
    draw = np.random.default_rng(seed)
    other = torch.from_numpy(draw.integers(0, 3, said.shape))
    wrong = torch.from_numpy(draw.random(said.shape) < (0.05 if sure else 0.5))
    return pixels_of(labels, torch.where(wrong, other, said))


PREDICTED = {"mean_ap": boxes, "mean_ap_50": boxes, "voc_ap": boxes, "mean_iou": pixels, "pixel_accuracy": pixels}


@pytest.mark.parametrize("metric", PREDICTED)
def test_a_table_compares_rows_of_boxes_and_of_pixels(metric: str, tmp_path: Path) -> None:
    said = {sure: [PREDICTED[metric](seed, sure) for seed in SEEDS] for sure in (True, False)}
    cells = {f"{name}:cells": cell(tmp_path, name, metric, said[name == "better"]) for name in ("better", "worse")}
    (tmp_path / "made").mkdir()
    assert make_table(config(metric), cells, tmp_path / "made")["comparisons"] == 1
    table = json.loads((tmp_path / "made" / "vision.json").read_text())
    means = {row["name"]: row["cells"]["cells"]["mean"] for row in table["rows"]}
    for name, mean in means.items():
        assert mean == pytest.approx(np.mean([measured(one, metric) for one in said[name == "better"]]), abs=1e-6)
    (found,) = table["comparisons"]
    assert found["difference"] == pytest.approx(means["better"] - means["worse"], abs=2e-6)
    assert found["low"] < found["difference"] < found["high"]
    assert found["n_examples"] == 30
    assert found["p"] < 0.05
    again = tmp_path / "again"
    again.mkdir()
    make_table(config(metric), cells, again)
    assert {f.name: f.read_bytes() for f in again.iterdir()} == {
        f.name: f.read_bytes() for f in (tmp_path / "made").iterdir()
    }


@pytest.mark.parametrize("metric", ["mean_ap", "mean_iou"])
def test_a_verdict_knows_how_far_the_choice_of_images_moves_a_number(metric: str, tmp_path: Path) -> None:
    made = cell(tmp_path, "one", metric, [PREDICTED[metric](seed, True) for seed in SEEDS])
    found = variance_of_cell(made, metric)
    assert found is not None
    assert 0 < found < 100
    few = cell(tmp_path, "few", metric, [PREDICTED[metric](seed, True, 5) for seed in SEEDS])
    assert (variance_of_cell(few, metric) or 0) > found
    for folder in (tmp_path / "store" / "runs").iterdir():
        folder.rename(tmp_path / folder.name)
    assert variance_of_cell(made, metric) is None


@pytest.mark.parametrize("metric", ["mean_ap", "mean_iou"])
def test_the_best_of_several_trials_is_chosen_on_select(metric: str, tmp_path: Path) -> None:
    said = []
    for sure in (False, True):
        dev, select = PREDICTED[metric](0, not sure), PREDICTED[metric](0, sure)
        where = pa.array(["select"] * len(select))
        said.append(pa.concat_tables([dev, select.set_column(1, "split", where)]))
    made = cell(tmp_path, "best", metric, said, trials=2)
    assert json.loads((made / "metrics.json").read_text())["chosen"] == "rate=1"
    folders = {f"trial {i} seed 0": tmp_path / "store" / "runs" / f"best{i}" for i in (0, 1)}
    choose({"metric": metric, "trials": ["a", "b"]}, folders, tmp_path)
    assert json.loads((tmp_path / "choice.json").read_text())["chosen"] == "b"


def test_runs_on_other_images_are_not_compared(tmp_path: Path) -> None:
    one, other = boxes(0, True), boxes(1, False)
    renamed = other.set_column(0, "id", pa.array([f"x{i}" for i in range(len(other))]))
    made = {f"{name}:cells": cell(tmp_path, name, "mean_ap", [one, table]) for name, table in
            (("better", renamed), ("worse", other))}  # fmt: skip
    with pytest.raises(RedistillError, match="is of other examples than better0"):
        make_table(config("mean_ap"), made, tmp_path)
    fewer = cell(tmp_path, "fewer", "mean_ap", [boxes(0, True, 20)] * 2)
    with pytest.raises(RedistillError, match="is of 20 examples, and"):
        make_table(config("mean_ap"), {"better:cells": fewer, "worse:cells": made["worse:cells"]}, tmp_path)


def test_boxes_are_drawn_less_often() -> None:
    assert (draws_of("mean_ap"), draws_of("mean_iou"), draws_of("accuracy")) == (DRAWS_OF_BOXES, DRAWS, DRAWS)


# --- replay ----------------------------------------------------------------------------------------------------------

RUNTIME = {"device": "cpu", "threads": 1, "portable": True, "precision": "float32", "devices": 1}
SMALL = {
    "classification": {"method": "cnn", "settings": {"channels": [4, 4], "hidden": 8}},
    "segmentation": {"method": "lraspp", "settings": {"backbone": "mobilenetv2_035", "width": 8}},
    "detection": {"method": "ssdlite", "settings": {"backbone": "mobilenetv2_035", "sides": [64, 64], "extras": 1}},
}


@pytest.mark.parametrize("kind", SMALL)
def test_an_audit_predicts_again_what_a_run_said(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load, "prepare_torch", lambda runtime, task: None)
    data = images(tmp_path, kind, [f"i{i}" for i in range(3)])
    task = {"type": kind, "input": "image", "labels": ["a", "b", "c"], "image_shape": [3, HEIGHT // 2, WIDTH // 2]}
    shown = [{"method": "resize", "settings": {"size": HEIGHT // 2, "width": WIDTH // 2}},
             {"method": "normalise", "settings": {"mean": [0.5] * 3, "std": [0.5] * 3}}]  # fmt: skip
    said = {"task": task, "runtime": RUNTIME, "evaluation": {"batch_size": 2, "transforms": shown}, "stages": [],
            "student": {"architecture": SMALL[kind], "start": None}}  # fmt: skip
    torch.manual_seed(0)
    model = load.placed(load.architecture(SMALL[kind], task), RUNTIME)
    inputs, run = {"dataset": data}, tmp_path / "run"
    run.mkdir()
    load.save(model, inputs, run)
    (run / "resolved.json").write_text(json.dumps(said))
    examples = predict.unseen(said, inputs)
    predict.write(model.eval(), examples, said, run)
    work = tmp_path / "again"
    work.mkdir()
    assert predict_again(said, inputs, run, work) == {"examples": 3}
    before, now = ((folder / "predictions.parquet").read_bytes() for folder in (run, work))
    assert now == before
    if kind != "classification":
        rows = predict.predictions(model, examples, task, 2, "cpu").to_pylist()
        with torch.inference_mode():
            found = load.said_of(model, examples.batch(np.array([1])))
        assert agreement.shared(found, rows[1]) >= agreement.ENOUGH
        assert evaluated(run, kind) == evaluated(work, kind)


def evaluated(run: Path, kind: str) -> Any:
    return score(run, "mean_ap" if kind == "detection" else "mean_iou", "dev")


# --- a data set that is passed on ------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["segmentation", "detection"])
def test_a_set_of_pictures_is_passed_on_whole(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import mlcroissant as mlc

    data = images(tmp_path, kind, ["a", "b"])
    node = Node("dataset", "cells", {"config": {"labels": ["x", "y"], "image_shape": [3, 4, 4]}, "inputs": {}})
    monkeypatch.setattr(Node, "folder", lambda self, root: data)
    monkeypatch.setattr(croissant, "_sources", lambda plan, node: [source("Cells", "MIT", "Nobody 2020")])
    plan: Any = SimpleNamespace(root=tmp_path, checked=SimpleNamespace(tasks={}), nodes={node.key: node})
    monkeypatch.setattr(croissant, "make_plan", lambda root, study: plan)
    files = croissant.write(tmp_path, "study", "cells", tmp_path / "out")
    names = {file.name for file in files}
    assert names == {file.name for file in data.iterdir() if "json" not in file.name} | {"croissant.json"}
    assert croissant.write(tmp_path, "study", "cells", tmp_path / "out") == files
    described = mlc.Dataset(str(tmp_path / "out" / "croissant.json"))
    assert not described.metadata.ctx.issues.errors
    (records,) = described.metadata.record_sets
    shapes = {one.name: one.array_shape for one in records.fields if one.is_array}
    assert shapes == ({"boxes": "-1,4", "classes": "-1", "crowd": "-1"} if kind == "detection" else {})


def source(name: str, licence: str, citation: str) -> Any:
    return SimpleNamespace(name=name, licence=licence, citation=citation, url="https://example.org")
