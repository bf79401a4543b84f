"""Exports in ONNX and int8: they say what the run says, stand alone, and are refused where they do not; latency."""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from nano_study import Nano
from tiny_project import key_of, made_tiny

from redistill import export, lineage
from redistill.deploy import folder as exported
from redistill.deploy import graph, latency, verify
from redistill.errors import IntegrityError, RedistillError
from redistill.predict import predict

pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

RUNS = {
    "mood": "tiny/student · mood · seed 0", "score": "tiny/teacher · score · seed 0",
    "pairs": "tiny/teacher · pairs · seed 0", "image": "nano/image-teacher · nano-digits · seed 0",
}  # fmt: skip


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nano]:
    """The tiny study, with a run of every kind."""
    with made_tiny(tmp_path_factory.mktemp("tiny")) as project:
        yield project


@pytest.fixture(scope="module")
def folders(made: Nano) -> dict[tuple[str, str], Path]:
    """The exports that the tests look at, in their own places."""
    wanted = [(run, "onnx") for run in RUNS] + [("mood", "int8"), ("image", "int8")]
    found = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(verify, "LOST", 0.3)  # of 40 examples
        for run, form in wanted:
            found[run, form], written = export.export(made.root, key_of(made, RUNS[run]), form=form)
            assert written
    return found


def dev(made: Nano, run: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The examples of `dev`, and what is on file of them."""
    found = lineage.finished(made.root, key_of(made, RUNS[run]))
    said = pd.read_parquet(found.folder / "predictions.parquet").query("split == 'dev'").reset_index(drop=True)
    rows = pd.read_parquet(made.root / "store" / "data" / found.parts["inputs"]["dataset"] / "dev.parquet")
    return rows.set_index("id").loc[said["id"]].reset_index(), said


# --- what is written --------------------------------------------------------------------------------------------------


def test_an_export_says_what_the_run_says_and_notes_how_near(folders: dict[tuple[str, str], Path]) -> None:
    for (run, form), folder in folders.items():
        scores = exported.scores_in(folder)
        assert scores["form"] == form
        assert scores["examples"] > 0
        assert set(scores["metrics"]) >= {"pearson" if run == "score" else "accuracy"}
        if form == "onnx":
            assert scores["largest_difference"] < 1e-3
            assert scores["agree"] == (None if run == "score" else 1.0)
            assert all(abs(both["run"] - both["export"]) < 1e-6 for both in scores["metrics"].values())
        else:
            assert scores["largest_difference"] > 0, "eight bits are not thirty-two"
            assert scores["agree"] > 0.8
    assert exported.scores_in(folders["image", "int8"])["made"].startswith("static")
    assert exported.scores_in(folders["mood", "int8"])["made"].startswith("dynamic")


def test_the_folder_is_whole_small_and_names_no_file_of_this_machine(
    made: Nano, folders: dict[tuple[str, str], Path]
) -> None:
    kept = {"README.md", "export.json", "model.onnx", "resolved.json", "scores.json"}
    assert {file.name for file in folders["image", "onnx"].iterdir()} == kept
    assert {file.name for file in folders["mood", "onnx"].iterdir()} > {*kept, "tokenizer.json"}
    for (run, form), folder in folders.items():
        content = (folder / "model.onnx").read_bytes()
        assert b"site-packages" not in content, (run, form)
        assert str(made.root).encode() not in b"".join(file.read_bytes() for file in folder.iterdir())
    said = json.loads((folders["pairs", "onnx"] / "export.json").read_text())
    assert [one["name"] for one in said["inputs"]] == ["input_ids", "attention_mask", "token_type_ids"]
    assert said["inputs"][0]["shape"] == ["batch", "length"]
    assert said["labels"] == ["negative", "positive"]
    assert not list(made.root.glob("*.onnx"))


@pytest.mark.parametrize("form", ["onnx", "int8"])
def test_exporting_again_gives_the_same_bytes(
    made: Nano, folders: dict[tuple[str, str], Path], tmp_path: Path, form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verify, "LOST", 0.3)
    target, written = export.export(made.root, key_of(made, RUNS["image"]), form=form)
    assert (target, written) == (folders["image", form], False)


def test_the_readme_alone_is_enough_to_use_a_folder_of_texts(
    made: Nano, folders: dict[tuple[str, str], Path], tmp_path: Path
) -> None:
    rows, said = dev(made, "pairs")
    code = re.findall(r"```python\n(.*?)```", (folders["pairs", "onnx"] / "README.md").read_text(), re.DOTALL)[0]
    assert '("one text", "another")' in code
    pairs = ", ".join(repr(pair) for pair in rows[["text", "text_pair"]].itertuples(index=False, name=None))
    code = "import sys\nsys.modules['torch'] = sys.modules['redistill'] = None\n" + code.replace(
        '("one text", "another")', pairs
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=folders["pairs", "onnx"], capture_output=True, text=True,
                          timeout=120)  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str([["negative", "positive"][i] for i in said["prediction"]])


def test_the_readme_of_images_has_their_preprocessing(folders: dict[tuple[str, str], Path]) -> None:
    code = (folders["image", "onnx"] / "README.md").read_text()
    assert '.convert("L")' in code
    assert "/ 255" in code


# --- predict ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("run", ["mood", "pairs", "score"])
def test_predict_takes_a_folder_as_it_takes_the_run(
    made: Nano, folders: dict[tuple[str, str], Path], tmp_path: Path, run: str
) -> None:
    rows, _ = dev(made, run)
    pair = "text_pair" if run == "pairs" else None
    mine = rows[["text", *([pair] if pair else [])]]
    by_run = predict(lineage.finished(made.root, key_of(made, RUNS[run])), mine, "text", pair)
    by_folder = predict(exported.read(folders[run, "onnx"]), mine, "text", pair)
    if run == "score":
        np.testing.assert_allclose(by_folder["prediction"], by_run["prediction"], atol=1e-4)
    else:
        assert by_folder["prediction"].tolist() == by_run["prediction"].tolist()


def test_predict_by_command_on_a_folder(made: Nano, folders: dict[tuple[str, str], Path], tmp_path: Path) -> None:
    (tmp_path / "mine.csv").write_text("text\ngood fine great\nbad dull boring\n", encoding="utf-8")
    done = made.redistill("predict", str(folders["mood", "int8"]), str(tmp_path / "mine.csv"))
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0] == "text,prediction,probability of negative,probability of positive"
    assert len(done.stdout.splitlines()) == 3


def test_a_folder_that_was_changed_is_not_used(folders: dict[tuple[str, str], Path], tmp_path: Path) -> None:
    copy = shutil.copytree(folders["mood", "onnx"], tmp_path / "copy")
    raw = (copy / "model.onnx").read_bytes()
    (copy / "model.onnx").write_bytes(raw[:-1] + bytes([raw[-1] ^ 1]))
    with pytest.raises(IntegrityError, match=r"model\.onnx"):
        exported.read(copy)
    (copy / "model.onnx").unlink()
    with pytest.raises(RedistillError, match=r"model\.onnx is not there"):
        exported.read(copy)
    (copy / "export.json").write_text("{}", encoding="utf-8")
    with pytest.raises(RedistillError, match="cannot be read as an export's"):
        exported.read(copy)


# --- what is refused --------------------------------------------------------------------------------------------------


def test_a_graph_that_says_something_else_is_not_put_in_place(
    made: Nano, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    plain = graph.plain_model

    def other(run: lineage.Finished, *more: Any) -> Any:
        model = plain(run, *more)
        with torch.no_grad():
            next(iter(model.parameters())).add_(0.5)
        return model

    monkeypatch.setattr(graph, "plain_model", other)
    with pytest.raises(RedistillError, match="the ONNX file says .* and on file is"):
        export.export(made.root, key_of(made, RUNS["image"]), tmp_path / "no", form="onnx")
    assert list(tmp_path.iterdir()) == []


def test_an_int8_form_that_loses_too_much_is_not_put_in_place(
    made: Nano, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verify, "LOST", -1.0)
    with pytest.raises(RedistillError, match="in int8 its accuracy on `dev` is .* is lost, so nothing was exported"):
        export.export(made.root, key_of(made, RUNS["image"]), tmp_path / "no", form="int8")
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_exported_is_a_sentence(made: Nano, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    key = key_of(made, RUNS["image"])
    run = lineage.finished(made.root, key)
    parts = json.loads(json.dumps(run.parts))
    parts["config"]["task"]["type"] = "detection"
    boxes = replace(run, manifest={**run.manifest, "key_parts": parts})
    with pytest.raises(RedistillError, match="finds boxes.*is not exported to ONNX"):
        graph.write(boxes, None, tmp_path / "no.onnx")  # type: ignore[arg-type]
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(RedistillError, match=r'needs the package `onnx`.*pip install "redistill\[export\]"'):
        export.export(made.root, key, tmp_path / "no", form="onnx")
    assert list(tmp_path.iterdir()) == []
    said = made.redistill("export", key, "--to", str(tmp_path / "no"))
    assert said.returncode == 1
    assert "--to takes hub, onnx, int8" in said.stderr


# --- latency ----------------------------------------------------------------------------------------------------------


def test_latency_is_measured_of_what_is_there_and_written_beside_it(
    made: Nano, folders: dict[tuple[str, str], Path]
) -> None:
    done = made.redistill("latency", "tiny", "--seconds", "0.05", "--batch", "4")
    assert done.returncode == 0, done.stderr
    found = {f.stem: json.loads(f.read_text()) for f in (made.root / "store" / "latency").glob("*.json")}
    assert set(found) >= {key_of(made, title) for title in RUNS.values()}
    mood = found[key_of(made, RUNS["mood"])]
    assert (mood["schema"], mood["title"]) == (latency.SCHEMA, RUNS["mood"])
    assert "core" in mood["machine"]
    measured = {(one["form"], one["batch_size"]): one for one in mood["measurements"]}
    assert list(measured) == [(form, size) for form in ("torch", "onnx", "int8") for size in (1, 4)]
    for one in measured.values():
        assert 0 < one["milliseconds"] <= one["p95_milliseconds"]
        assert one["per_second"] > 0
        assert one["repeats"] >= latency.LEAST
        assert one["bytes"] > 0
        assert 0 < one["metrics"]["accuracy"] <= 1
    assert mood["exports"] == {form: exported.scores_in(folders["mood", form]) for form in ("onnx", "int8")}
    assert mood["parameters"] > 1000
    assert mood["operations"] > 0
    assert mood["alike"] == [key_of(made, RUNS["mood"])]
    assert found[key_of(made, RUNS["image"])]["shape"] == {"image": [1, 8, 8]}
    done = made.redistill("latency", "tiny/student", "--study", "tiny", "--seconds", "0", "--batch", "2")
    assert done.returncode == 0, done.stderr
    again = json.loads((made.root / "store" / "latency" / f"{mood['key']}.json").read_text())
    assert {one["batch_size"] for one in again["measurements"]} == {1, 2, 4}, "what was measured before stays"
    wrong = made.redistill("latency", "tiny/studnet", "--study", "tiny")
    assert wrong.returncode == 1
    assert "trains no `tiny/studnet`" in wrong.stderr
