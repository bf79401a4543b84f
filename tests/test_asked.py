"""What jobs ask a scheduler for: as their configs say and as such jobs took, and more when they are tried again."""

import errno
import re
from pathlib import Path

import pytest
import yaml
from conftest import REPOSITORY, Project
from test_estimate import run_of, write_record

from redistill import failures
from redistill.errors import RedistillError
from redistill.performance import asked, cost
from redistill.performance.asked import Asked
from redistill.plan import Plan


@pytest.fixture
def plan(project: Project) -> Plan:
    return project.plan()


def node_of(plan: Plan, kind: str) -> str:
    return next(node.key for node in plan.nodes.values() if node.kind == kind)


def test_without_records_each_kind_asks_for_what_is_usual(plan: Plan) -> None:
    wants = Asked(plan)
    for kind in ("data", "dataset", "cell", "table", "study", "baseline"):
        key = node_of(plan, kind)
        assert (wants.memory(key), wants.minutes(key)) == asked.USUAL[kind]
    run = run_of(plan, "text/teacher", "movie").key
    assert wants.memory(run) >= asked.USUAL["teacher"][0]
    assert wants.minutes(run) == asked.USUAL["teacher"][1]


def test_every_kind_of_thing_has_its_usual_wants() -> None:
    from redistill.plan import KINDS

    assert asked.USUAL.keys() == KINDS.keys()


def test_a_further_attempt_asks_for_twice_as_much(plan: Plan) -> None:
    wants, key = Asked(plan), node_of(plan, "cell")
    assert [wants.memory(key, attempt) for attempt in (1, 2, 3)] == [1000, 2000, 4000]
    assert [wants.minutes(key, attempt) for attempt in (1, 2, 3)] == [10, 20, 40]


def test_what_such_jobs_took_is_asked_for_whatever_machine_it_was(plan: Plan) -> None:
    elsewhere = {"processor": "another", "features": []}
    made, like = (run_of(plan, "text/student-kd", "movie", seed) for seed in (0, 1))
    write_record(plan, made, 7200.0, peak_memory_mib=9000, machine=elsewhere)
    wants = Asked(plan)
    assert wants.memory(like.key) == asked.STARTING + round(asked.MORE * 9000)
    assert wants.minutes(like.key) == asked.MINUTES + 240
    other = run_of(plan, "image/student-kd", "digits").key
    assert wants.memory(other) == asked.USUAL["student"][0]


def test_a_job_that_was_asked_for_already_reads_no_records(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: object) -> list[cost.Made]:
        raise AssertionError

    monkeypatch.setattr(cost, "read_records", never)
    wants = Asked(plan, remote=True)
    assert wants.memory(node_of(plan, "cell")) == 1000
    with pytest.raises(AssertionError):
        Asked(plan).memory(node_of(plan, "cell"))


def test_gpus_are_asked_for_by_runs_on_them_alone(project: Project) -> None:
    on_cpus = project.plan()
    assert {Asked(on_cpus).gpus(key) for key in on_cpus.nodes} == {None}
    project.edit("studies/embedded.yaml", "portable: true", "portable: false")
    project.edit("studies/embedded.yaml", "device: cpu", "device: cuda")
    plan = project.plan()
    wants = Asked(plan)
    found = {node.kind: wants.gpus(node.key) for node in plan.nodes.values()}
    assert {kind for kind, gpus in found.items() if gpus} == {"teacher", "student", "outputs"}
    assert {found["teacher"], found["student"], found["outputs"]} == {1}


def test_cores_are_those_of_the_study(project: Project) -> None:
    project.edit("studies/embedded.yaml", "portable: true", "portable: false")
    project.edit("studies/embedded.yaml", "threads: 1", "threads: 3")
    plan = project.plan()
    wants = Asked(plan)
    assert wants.cores(run_of(plan, "text/teacher", "movie").key) == 3
    assert wants.cores(node_of(plan, "cell")) == 1


def test_processes_that_load_images_have_cores_of_their_own(project: Project) -> None:
    project.edit("studies/embedded.yaml", "runtime:", "loading: {workers: 2}\nruntime:")
    plan = project.plan()
    wants = Asked(plan)
    assert wants.cores(run_of(plan, "image/student-kd", "digits").key) == 3
    assert wants.cores(run_of(plan, "text/student-kd", "movie").key) == 1


@pytest.mark.parametrize(
    ("error", "again"),
    [
        (MemoryError(), True),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes"), True),
        (RuntimeError("CUDA out of memory. Tried to allocate 2 GiB"), False),
        (OSError(errno.ENOSPC, "No space left on device"), False),
    ],
)
def test_on_a_cluster_too_little_memory_is_no_failure_to_remember(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, again: bool
) -> None:
    for job, tried in ((None, False), ("12", again)):
        monkeypatch.delenv("SLURM_JOB_ID", raising=False)
        if job:
            monkeypatch.setenv("SLURM_JOB_ID", job)
        failures.forget(tmp_path, ["key"])
        with pytest.raises(RedistillError), failures.noted(tmp_path, "key"):
            raise error
        assert (failures.first_said(tmp_path, "key") is None) == tried


@pytest.mark.parametrize("name", ["slurm", "kubernetes"])
def test_profiles_group_small_jobs_of_rules_that_exist_and_no_run(name: str) -> None:
    profile = yaml.safe_load((REPOSITORY / "profiles" / name / "config.yaml").read_text())
    texts = [file.read_text() for file in (REPOSITORY / "workflow" / "rules").glob("*.smk")]
    rules = {rule for text in texts for rule in re.findall(r"^(?:rule|use rule \w+ as) (\w+)", text, re.MULTILINE)}
    assert "train_student" in rules
    assert profile["groups"].keys() <= rules - {"train_student", "train_teacher", "store_outputs"}
    assert profile["group-components"].keys() <= set(profile["groups"].values())
