"""How far a study is: what is said while it is made, when jobs have failed or were stopped, and when it is finished."""

import fcntl
import io
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from published_study import STUDY, PublishedStudy, copied, publish_study
from rich.console import Console

from redistill import status
from redistill.errors import RedistillError
from redistill.provenance import attempts


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> PublishedStudy:
    return publish_study(tmp_path_factory.mktemp("status") / "project", content=4)


@pytest.fixture
def study(made: PublishedStudy, tmp_path: Path) -> PublishedStudy:
    """Two runs, and all that is made of them, are not there yet."""
    copy = copied(made, tmp_path / "project")
    copy = replace(copy, plan=replace(copy.plan, root=copy.root))
    for seed in (0, 1):
        shutil.rmtree(copy.node("student", f"plain · marks · seed {seed}").folder(copy.root))
    for node in copy.plan.nodes.values():
        if node.kind in ("cell", "table", "study"):
            shutil.rmtree(node.folder(copy.root))
    return copy


@contextmanager
def at_work(study: PublishedStudy, key: str, *lines: str) -> Iterator[None]:
    """Somebody makes this thing, and its log has these lines."""
    work = study.root / "store" / "work"
    (work / key / "progress").mkdir(parents=True)
    (work / key / "begun").write_text(f"{time.time() - 30}\n")
    (work / key / "progress" / "log.jsonl").write_text("\n".join(lines))
    with (work / f"{key}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def words(found: status.Status) -> str:
    screen = io.StringIO()
    Console(file=screen, width=120, soft_wrap=True).print(status.in_words(found))
    return screen.getvalue()


def test_a_finished_study_says_so(made: PublishedStudy) -> None:
    found = status.status(made.plan)
    assert (found.finished, found.made, found.seconds_left) == (True, found.things, 0.0)
    assert words(found).strip() == f"small: {found.things} of {found.things} made (100%): finished"


def test_what_is_in_the_making_is_said_with_where_it_stands(study: PublishedStudy) -> None:
    run = study.node("student", "plain · marks · seed 0")
    line = json.dumps({"stage": 0, "step": 3, "loss": 0.51234})
    with at_work(study, run.key, line, line.replace("3", "4", 1), '{"stage": 0, "st'):
        found = status.status(study.plan)
    (job,) = found.running
    assert (job.key, job.where) == (run.key, f"step 5 of 5, {5 / job.seconds:.3g} steps/s, loss 0.5123")
    assert found.running[0].seconds == pytest.approx(30, abs=20)
    assert found.waiting == found.things - found.made - 1
    assert f"student: {run.title}" in words(found)
    assert not status.status(study.plan).running


def test_what_failed_is_said_with_its_reason_and_what_to_type(study: PublishedStudy) -> None:
    run = study.node("student", "plain · marks · seed 1")
    for _ in range(2):
        with pytest.raises(RedistillError), attempts.noted(study.root, run.key, run.title):
            raise RedistillError("the disk is full")
    found = status.status(study.plan)
    assert [(job.outcome, job.said, job.attempts) for job in found.failed] == [("failed", "the disk is full", 2)]
    said = words(found)
    assert f"failed: student {run.title} ({run.key})" in said
    assert "attempt 2" in said
    assert f"`redistill make {run.key}` tries the first alone" in said
    done = subprocess.run(
        [sys.executable, "-m", "redistill", "status", STUDY, "--json"], cwd=study.root, capture_output=True, timeout=120
    )
    assert done.returncode == 1, done.stderr
    assert json.loads(done.stdout)["failed"][0]["key"] == run.key


def test_what_was_stopped_goes_on(study: PublishedStudy) -> None:
    run = study.node("student", "plain · marks · seed 1")
    with pytest.raises(KeyboardInterrupt), attempts.noted(study.root, run.key, run.title):
        raise KeyboardInterrupt
    found = status.status(study.plan)
    assert [job.outcome for job in found.failed] == ["stopped"]
    assert "go on from where they were stopped: `snakemake --cores all --config study=small`" in words(found)
    done = subprocess.run([sys.executable, "-m", "redistill", "status", STUDY, "--watch"], cwd=study.root,
                          capture_output=True, text=True, timeout=120)  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"small: {found.made} of {found.things} made")


def test_many_are_cut_to_a_screen(study: PublishedStudy) -> None:
    jobs = [status.Running(f"{i:016}", "student", f"run {i}", 1.0, "") for i in range(30)]
    found = status.Status("small", 100, 60, 10, jobs, [], 3600.0)
    assert "and 22 more, which --json lists" in words(found)
    assert "60 of 100 made (60%), 30 in the making, 10 waiting; about 60 min left" in words(found)
    assert len(words(found).splitlines()) < 20
