"""The names that notebooks use: tables, scores and runs as DataFrames, models with their weights."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from published_study import STUDY, PublishedStudy, copied, publish_study

import redistill
from redistill.errors import IntegrityError, RedistillError


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> PublishedStudy:
    return publish_study(tmp_path_factory.mktemp("api") / "project", content=3)


@pytest.fixture(scope="module")
def study(made: PublishedStudy) -> redistill.Study:
    return redistill.load_study(STUDY, made.root)


def test_a_table_has_the_published_numbers(made: PublishedStudy, study: redistill.Study) -> None:
    published = pd.read_csv(made.results / "pictures.csv")
    means = study.table("pictures")
    assert list(means.index) == ["floor", "teacher", "plain", "taught"]
    assert means["marks"].tolist() == pytest.approx(published["mean"].tolist(), abs=5e-7)
    assert study.table("pictures", "n_seeds")["marks"].tolist() == [1, 1, 2, 2]
    assert means.attrs["root"] == study.root
    assert study.table("pictures", "runs").loc["plain", "marks"] == [
        study.run("plain", seed=0).key, study.run("plain", seed=1).key,
    ]  # fmt: skip


def test_cells_comparisons_and_runs_are_long_tables(study: redistill.Study) -> None:
    cells = study.cells("pictures").set_index("row")
    assert cells.loc["plain", ["label", "column", "metric"]].tolist() == ["Plain", "marks", "accuracy"]
    one = study.comparisons("pictures").iloc[0]
    difference = cells.loc["taught", "mean"] - cells.loc["plain", "mean"]
    assert one["difference"] == pytest.approx(difference, abs=2e-6)
    runs = study.runs()
    scores = runs[(runs["table"] == "pictures") & (runs["experiment"] == "plain")]["score"]
    assert scores.mean() == pytest.approx(cells.loc["plain", "mean"], abs=1e-6)
    assert set(runs["table"]) == set(study.tables)


def test_a_run_has_predictions_that_give_its_score(study: redistill.Study) -> None:
    run = study.run("plain", task="marks", seed=1)
    said = run.predictions()
    score = study.runs().query("key == @run.key")["score"].iloc[0]
    assert (said["label"] == said["prediction"]).mean() == pytest.approx(score, abs=1e-6)
    assert set(run.predictions(split=None)["split"]) == {"dev", "select"}
    assert run.config["stages"][0]["steps"] == 5
    assert run.record()["key"] == run.key
    assert study.run(run.key) == run


def test_images_need_no_tokenizer(study: redistill.Study) -> None:
    with pytest.raises(RedistillError, match="reads images"):
        study.run("teacher").tokenizer()


def test_a_log_is_a_line_a_step(study: redistill.Study) -> None:
    log = study.run("plain", seed=0).log()
    assert {"stage", "step", "loss"} <= set(log.columns)
    assert np.isfinite(log["loss"]).all()


@pytest.mark.parametrize(
    ("ask", "words"),
    [
        (lambda s: s.table("picture"), "no table `picture`; did you mean `pictures`"),
        (lambda s: s.table("pictures", "men"), "no `men`; did you mean `mean`"),
        (lambda s: s.run("plan"), "`plan` is neither a key nor a row of small"),
        (lambda s: s.run("plain", task="marks"), "say which by task and seed: marks seed 0, marks seed 1"),
        (lambda s: s.run("0" * 16), "no run with the key 0000000000000000"),
        (lambda s: s.run("floor", task="marks").model(), "has no model.safetensors"),
    ],
)
def test_a_mistake_is_answered(study: redistill.Study, ask: object, words: str) -> None:
    assert callable(ask)
    with pytest.raises(RedistillError, match=words):
        ask(study)


def test_git_alone_gives_tables_and_says_what_is_not_there(made: PublishedStudy, tmp_path: Path) -> None:
    copy = copied(made, tmp_path / "clone")
    shutil.rmtree(copy.root / "store")
    study = redistill.load_study(STUDY, copy.root)
    assert len(study.table("pictures")) == 4
    run = study.run("plain", seed=0)
    with pytest.raises(RedistillError, match=f"`redistill pull {run.key}` brings it"):
        run.predictions()
    with pytest.raises(RedistillError, match="no record here"):
        run.record()


def test_what_was_tampered_with_is_refused(made: PublishedStudy, tmp_path: Path) -> None:
    copy = copied(made, tmp_path / "spoilt")
    study = redistill.load_study(STUDY, copy.root)
    run = study.run("plain", seed=0)
    file = run.folder / "predictions.parquet"
    file.write_bytes(file.read_bytes()[:-1] + b"\0")
    with pytest.raises(IntegrityError, match="predictions.parquet"):
        run.predictions()


def test_a_table_that_is_none_is_said(made: PublishedStudy, tmp_path: Path) -> None:
    copy = copied(made, tmp_path / "broken")
    (copy.results / "pictures.json").write_text(json.dumps([]), encoding="utf-8")
    with pytest.raises(RedistillError, match="`redistill publish small` writes it again"):
        redistill.load_study(STUDY, copy.root).table("pictures")
    with pytest.raises(RedistillError, match="nothing"):
        redistill.load_study("nothing", copy.root)


def test_the_package_is_imported_without_torch_or_pandas() -> None:
    code = "import sys, redistill; sys.exit('torch' in sys.modules or 'pandas' in sys.modules or 'yaml' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == 0
    with pytest.raises(AttributeError):
        redistill.nothing  # noqa: B018


def test_the_documented_session_runs(made: PublishedStudy, monkeypatch: pytest.MonkeyPatch) -> None:
    """On this study's names; models of texts are tried in test_export.py."""
    page = Path(__file__).parents[1] / "docs" / "python.md"
    session = page.read_text(encoding="utf-8").partition("```python\n")[2].partition("inputs = ")[0]
    for said, here in (("embedded", STUDY), ('"text"', '"pictures"'), ("text/student-kd", "plain"), ("movie", "marks")):
        assert said in session
        session = session.replace(said, here)
    monkeypatch.chdir(made.root)
    exec(session, {})
