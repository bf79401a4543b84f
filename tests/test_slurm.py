"""A study on a real Slurm: nodes' daemons killed, jobs killed, preempted and over their time, workflows cancelled; the
tables are those that were made without a cluster. `make test-slurm`; elsewhere it runs only if REDISTILL_SLURM is set.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from nano_study import Nano, copy_project
from slurm_cluster import Cluster, cluster, missing, until

pytestmark = pytest.mark.timeout(1500)
long = pytest.mark.skipif("REDISTILL_SLURM" not in os.environ, reason="make test-slurm runs these")
LONGEST = 600.0  # seconds of one command of Snakemake
STUDY = ("--config", "study=six", "trust_plugins=1", "report=no")
PROFILE = (
    "--profile", "profiles/slurm", "--slurm-no-account", "--slurm-status-command", "squeue",
    "--slurm-init-seconds-before-status-checks", "2", "--seconds-between-status-checks", "2", "--latency-wait", "20",
)  # fmt: skip
SLOW = {"PACE": "0.4"}  # seconds of a step, of sixty
TRAIN = "train_student"
JOB = "-m\0redistill"


@pytest.fixture(scope="session")
def slurm() -> Iterator[Cluster]:
    lacking = missing()
    if lacking:
        (pytest.fail if "REDISTILL_SLURM" in os.environ else pytest.skip)(lacking)
    with cluster() as up:
        yield up


@pytest.fixture(scope="session")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Nano:
    """The study, made without a cluster."""
    made = copy_project(tmp_path_factory.mktemp("alone") / "project")
    done = made.command(sys.executable, "-m", "snakemake", "--cores", "2", *STUDY)
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(list((made.root / "store" / "records").iterdir())) == 6
    return made


@pytest.fixture
def project(alone: Nano, tmp_path: Path, slurm: Cluster) -> Iterator[Nano]:
    """The same, with its data made and nothing else. When a test ends, no job of it is left."""
    root = tmp_path / "project"
    shutil.copytree(alone.root, root, ignore=shutil.ignore_patterns("runs", "work", ".snakemake"))
    for area in ("results", "attempts"):
        shutil.rmtree(root / "store" / area, ignore_errors=True)
    shutil.rmtree(root / "results" / "six")
    for record in (root / "store" / "records").iterdir():
        if json.loads(record.read_text())["key_parts"]["kind"] not in ("data", "dataset"):
            record.unlink()
    try:
        yield Nano(root)
        assert slurm.jobs() == []
        until(lambda: not slurm.processes(JOB), 30, lambda: f"left: {slurm.processes(JOB)}")
    finally:
        slurm.empty()


@contextmanager
def snakemake(slurm: Cluster, project: Nano, *more: str, **variables: str) -> Iterator[subprocess.Popen[str]]:
    """Snakemake in the cluster; killed if it is there still. What it says is in a file, and printed."""
    said = project.root.parent / "snakemake.log"
    path = f"{project.root / 'src'}:{os.environ.get('PYTHONPATH', '')}"
    with said.open("a") as log:
        process = slurm.start(
            [sys.executable, "-m", "snakemake", *PROFILE, *more, *STUDY], cwd=project.root, stdout=log, stderr=log,
            stdin=subprocess.DEVNULL, env={**project.environment(), "PYTHONPATH": path, **variables},
        )  # fmt: skip
    try:
        yield process
    finally:
        if process.poll() is None:
            for pid in slurm.processes("snakemake", "--profile"):
                os.kill(pid, signal.SIGKILL)
            process.kill()
        process.wait(20)
        print(said.read_text())


def finished(slurm: Cluster, process: subprocess.Popen[str]) -> bool:
    """Whether it ended well. Jobs that were queued again need not wait the minutes that Slurm has them wait."""
    deadline = time.monotonic() + LONGEST
    while process.poll() is None and time.monotonic() < deadline:
        for number, state, *_ in slurm.jobs():
            if state == "PENDING":
                slurm.run("scontrol", "update", f"JobId={number}", "StartTime=now", checked=False)
        time.sleep(2)
    return process.poll() == 0


def tables(project: Nano) -> dict[str, bytes]:
    """What was published, but runs.tsv's like: every file of it is the same on every machine."""
    return {f.name: f.read_bytes() for f in (project.root / "results" / "six").iterdir()}


def trained(project: Nano) -> dict[str, object]:
    """The record of the run."""
    (folder,) = (project.root / "store" / "runs").iterdir()
    record: dict[str, object] = json.loads((project.root / "store" / "records" / f"{folder.name}.json").read_text())
    return record


def training(project: Nano) -> bool:
    """Whether the run has saved itself, and is not done."""
    return any((project.root / "store" / "work").glob("*/**/progress/[0-9]*/state.json"))


def job_of(slurm: Cluster, state: str = "RUNNING") -> str:
    found = [job[0] for job in slurm.jobs() if job[1] == state]
    return found[0] if len(found) == 1 else ""


def until_it_trains(slurm: Cluster, project: Nano, process: subprocess.Popen[str]) -> None:
    until(lambda: training(project) or process.poll() is not None, LONGEST, slurm.said)
    assert process.poll() is None, "it ended before it was disturbed"


def test_what_squeue_says_of_the_job_that_holds_a_lease(slurm: Cluster) -> None:
    def said(number: str) -> str:
        code = f"from redistill.provenance.lease import said_of; print(said_of('slurm {number}'))"
        return slurm.run(sys.executable, "-c", code).strip()

    number = slurm.run("sbatch", "--parsable", "--wrap=sleep 60", "--output=/dev/null").strip()
    try:
        until(lambda: job_of(slurm) == number, 60, slurm.said)
        assert said(number) == "True"
        slurm.run("scontrol", "requeuehold", number)
        until(lambda: said(number) == "False", 60, slurm.said)  # it waits, so nobody makes anything
    finally:
        slurm.empty()
    assert said(number) == said("999999") == "False"


@long
def test_the_whole_study(slurm: Cluster, alone: Nano, tmp_path: Path) -> None:
    project, before = copy_project(tmp_path / "project"), slurm.states()
    with snakemake(slurm, project) as process:
        assert finished(slurm, process)
    assert tables(project) == tables(alone)
    assert slurm.jobs() == []
    states = [state for number, state in slurm.states().items() if number not in before]
    assert states == ["COMPLETED"] * 4  # data was fetched here; split there, a run, a cell, tables


@long
def test_a_node_whose_daemon_and_step_are_killed(slurm: Cluster, alone: Nano, project: Nano) -> None:
    with snakemake(slurm, project, **SLOW) as process:
        until_it_trains(slurm, project, process)
        time.sleep(8)  # of a job that has just begun, Slurm is patient
        slurm.kill("slurmd")
        slurm.kill("slurmstepd")
        time.sleep(3)
        slurm.start_daemon("slurmd")
        assert finished(slurm, process)
    assert tables(project) == tables(alone)


@long
def test_a_job_over_its_time(slurm: Cluster, alone: Nano, project: Nano) -> None:
    limits = ("--set-resources", f"{TRAIN}:runtime=attempt", "--default-resources", "slurm_extra=''")
    with snakemake(slurm, project, *limits, PACE="1.5") as process:
        assert finished(slurm, process)
    assert tables(project) == tables(alone)
    assert "TIMEOUT" in (project.root.parent / "snakemake.log").read_text()
    record = trained(project)
    assert record["resumed"], "it began anew"
    assert record["attempts"]


@long
def test_a_job_that_makes_room_for_an_urgent_one(slurm: Cluster, alone: Nano, project: Nano) -> None:
    with snakemake(slurm, project, **SLOW) as process:
        until_it_trains(slurm, project, process)
        number = job_of(slurm)
        slurm.run("sbatch", "--partition=urgent", "--exclusive", "--time=1", "--wrap=sleep 3", "--output=/dev/null")
        assert finished(slurm, process)
    assert tables(project) == tables(alone)
    assert trained(project)["resumed"], "it began anew"
    assert slurm.states()[number] == "COMPLETED", "another job has made it"


@long
def test_a_cancelled_workflow_and_the_next_command(slurm: Cluster, alone: Nano, project: Nano) -> None:
    with snakemake(slurm, project, **SLOW) as process:
        until_it_trains(slurm, project, process)
        os.kill(min(slurm.processes("snakemake", "--profile")), signal.SIGINT)  # Ctrl-C
        assert process.wait(120) != 0
    until(lambda: not slurm.jobs(), 60, slurm.said)
    assert not (project.root / "results" / "six").exists()
    with snakemake(slurm, project) as process:
        assert finished(slurm, process)
    assert tables(project) == tables(alone)
    assert trained(project)["resumed"], "it began anew"


@long
def test_a_killed_workflow_whose_job_goes_on(slurm: Cluster, alone: Nano, project: Nano) -> None:
    """Two jobs make one thing then; the second one waits for the first."""
    with snakemake(slurm, project, **SLOW) as process:
        until_it_trains(slurm, project, process)
        number = job_of(slurm)
        os.kill(min(slurm.processes("snakemake", "--profile")), signal.SIGKILL)
        process.wait(20)
        assert job_of(slurm) == number
    with snakemake(slurm, project) as process:
        assert finished(slurm, process)
    assert tables(project) == tables(alone)
    record = trained(project)
    assert not record["attempts"]
    assert not record["resumed"]


@long
def test_a_cancelled_job_is_tried_again(slurm: Cluster, alone: Nano, project: Nano) -> None:
    with snakemake(slurm, project, **SLOW) as process:
        until_it_trains(slurm, project, process)
        slurm.run("scancel", job_of(slurm))
        assert finished(slurm, process)
    assert tables(project) == tables(alone)
    assert trained(project)["resumed"], "it began anew"


@long
def test_a_job_that_is_given_too_little_memory_gets_more(slurm: Cluster, alone: Nano, project: Nano) -> None:
    with snakemake(slurm, project, "--set-resources", f"{TRAIN}:mem_mb=200*4**(attempt-1)") as process:
        assert finished(slurm, process)
    assert tables(project) == tables(alone)
    assert "Trying to restart" in (project.root.parent / "snakemake.log").read_text()
