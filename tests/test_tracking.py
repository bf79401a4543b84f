"""Curves and scores in TensorBoard and MLflow: read back from where they were written; nothing where nobody asks."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from nano_study import Nano
from tiny_project import VARIABLE, tiny

from redistill import tracking
from redistill.errors import RedistillError
from redistill.tracking.curves import Curves, Point
from redistill.tracking.tensorboard import folder_of

TITLE = "tiny/student · mood · seed 0"


def test_curves_count_steps_over_stages_and_read_whole_lines_only(tmp_path: Path) -> None:
    log, curves = tmp_path / "log.jsonl", Curves()
    assert list(curves.new(log)) == []
    lines = [
        {"stage": 0, "step": 0, "rate": 0.1, "loss": 2.0}, {"stage": 0, "step": 9, "loss": 1.0, "weight soft": 0.5},
        {"stage": 1, "step": 0, "loss": 3.0}, {"stage": 1, "step": 4, "select": 0.75},
    ]  # fmt: skip
    raw = [json.dumps(line).encode() + b"\n" for line in lines]
    log.write_bytes(raw[0] + raw[1][:-5])
    assert list(curves.new(log)) == [Point("train/rate", 0, 0.1), Point("train/loss", 0, 2.0)]
    log.write_bytes(raw[0])  # a run that was stopped goes back, and on
    assert list(curves.new(log)) == []
    log.write_bytes(b"".join(raw))
    assert list(curves.new(log)) == [
        Point("train/loss", 9, 1.0), Point("train/weight/soft", 9, 0.5), Point("train/loss", 10, 3.0),
        Point("select/score", 14, 0.75),
    ]  # fmt: skip
    log.write_bytes(b"".join(raw) + b"no json\n")
    assert list(curves.new(log)) == []


def test_who_asks_for_nothing_starts_no_process_and_imports_nothing(tmp_path: Path) -> None:
    asked: dict[str, Any] = {"tensorboard": False, "mlflow": None}
    with tracking.followed(tmp_path, "0" * 16, "student", asked):
        pass
    tracking.refuse_without_packages(asked)
    assert list(tmp_path.iterdir()) == []


def test_a_tracker_that_hangs_is_ended_and_holds_no_run_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(tracking, "FOLLOWER", ("-c", "import time; time.sleep(600)"))
    monkeypatch.setattr(tracking, "SECONDS", 0.2)
    done = []
    with capfd.disabled(), tracking.followed(tmp_path, "0" * 16, "student", {"tensorboard": True}):
        done.append("made")
    assert done == ["made"]


@pytest.mark.parametrize(("key", "value"), [("tensorboard", True), ("mlflow", "somewhere")])
def test_a_missing_package_is_a_sentence(monkeypatch: pytest.MonkeyPatch, key: str, value: Any) -> None:
    monkeypatch.setitem(sys.modules, key, None)
    words = rf'`tracking\.{key}` needs the package `{key}`, .*pip install "redistill\[tracking\]"'
    with pytest.raises(RedistillError, match=words):
        tracking.refuse_without_packages({key: value})


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nano]:
    """The tiny study, whose student was followed to both places; its teachers were made without."""
    pytest.importorskip("tensorboard")
    pytest.importorskip("mlflow")
    folder = tmp_path_factory.mktemp("tiny")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(VARIABLE, str(folder / "sources"))
        project = tiny(folder / "project", folder / "sources")
        teacher = project.redistill("run", "tiny/teacher", "--task", "mood", "--seed", "0", "--study", "tiny")
        assert teacher.returncode == 0, teacher.stderr
        project.edit("configs/studies/tiny.yaml", "title: tiny\n",
                     "title: tiny\ntracking: {tensorboard: true, mlflow: tracking/mlflow}\n")  # fmt: skip
        student = project.redistill("run", "tiny/student", "--task", "mood", "--seed", "0", "--study", "tiny")
        assert student.returncode == 0, student.stderr
        yield project


def log_of(made: Nano) -> tuple[str, list[dict[str, Any]]]:
    """Key and log of the student."""
    key = next(f.stem for f in (made.root / "store" / "records").glob("*.json")
               if json.loads(f.read_text())["what"] == TITLE)  # fmt: skip
    lines = (made.root / "store" / "runs" / key / "log.jsonl").read_text().splitlines()
    return key, [json.loads(line) for line in lines]


def test_event_files_have_the_curves_and_the_score_of_a_run_that_was_followed(made: Nano) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    key, log = log_of(made)
    events = EventAccumulator(str(folder_of(made.root, TITLE, key)), size_guidance={"tensors": 0})
    events.Reload()
    assert set(events.Tags()["tensors"]) >= {"train/loss", "train/hard", "train/soft", "train/rate", "dev/accuracy"}
    from tensorboard.util.tensor_util import make_ndarray

    losses = [(one.step, float(make_ndarray(one.tensor_proto))) for one in events.Tensors("train/loss")]
    expected = [(line["step"], line["loss"]) for line in log]
    assert [step for step, _ in losses] == [step for step, _ in expected]
    assert [value for _, value in losses] == pytest.approx([value for _, value in expected], rel=1e-6)


def test_mlflow_has_parameters_curves_and_score_under_the_key(made: Nano, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    from mlflow import MlflowClient

    key, log = log_of(made)
    client = MlflowClient(tracking_uri=(made.root / "tracking" / "mlflow").as_uri())
    study = client.get_experiment_by_name("tiny")
    assert study is not None
    (run,) = client.search_runs([study.experiment_id], filter_string=f"tags.`redistill.key` = '{key}'")
    assert (run.info.run_name, run.info.status) == (TITLE, "FINISHED")
    assert run.data.params["seed"] == "0"
    assert run.data.params["stages.0.batch_size"] == "8"
    assert {"dev/accuracy", "train/loss"} <= set(run.data.metrics)
    history = client.get_metric_history(run.info.run_id, "train/loss")
    assert sorted((one.step, one.value) for one in history) == [(line["step"], line["loss"]) for line in log]


def test_track_writes_what_is_there_once(made: Nano) -> None:
    first = made.redistill("track", "tiny")
    assert first.returncode == 0, first.stderr
    assert "1 runs written, 1 were there as they are" in first.stdout, "the teacher was made before anybody asked"
    assert "not made yet" in first.stdout
    again = made.redistill("track", "tiny")
    assert "0 runs written, 2 were there as they are" in again.stdout
    elsewhere = made.redistill("track", "tiny", "--mlflow", "elsewhere")
    assert "elsewhere: 2 runs written" in elsewhere.stdout
    assert (made.root / "elsewhere").is_dir()


def test_keys_do_not_depend_on_tracking_and_a_run_outlives_its_tracker(made: Nano) -> None:
    planned = made.redistill("plan", "tiny").stdout
    assert all("there" in line for line in planned.splitlines() if TITLE in line)
    made.edit("configs/studies/tiny.yaml", "mlflow: tracking/mlflow", "mlflow: 'nothing://nowhere'")
    done = made.redistill("run", "tiny/teacher", "--task", "score", "--seed", "0", "--study", "tiny")
    assert done.returncode == 0, done.stderr
    assert "tracking: " in done.stderr
    assert "Traceback" not in done.stderr


def test_a_study_that_says_nothing_is_asked_where(made: Nano) -> None:
    made.edit("configs/studies/tiny.yaml", "tracking: {", "# tracking: {")
    said = made.redistill("track", "tiny")
    assert said.returncode == 1
    assert "say where to write: --tensorboard or --mlflow URI" in said.stderr
