"""Jobs that are forks of a forge: the same files, words and exit statuses as of processes of their own."""

import fcntl
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from subprocess import PIPE, CompletedProcess, Popen

import pytest
from nano_study import Nano, copy_project

from redistill.job import FORGE, imports
from redistill.plan import Plan, make_plan
from redistill.registry import TRUST
from redistill.specification import write_specifications

# Jobs say whose children they are. The code of jobs is in no key.
SAYS = ("    told = read_specification(root, key)\n", '    print(f"child of {os.getppid()}", flush=True)\n')
CELL = ("cell", {"metric": "accuracy"})  # a kind whose imports are quick; its forge forks for all others too
KEEPS = """
import json, sys
from pathlib import Path
from redistill import forge
with forge.lit(Path.cwd(), json.loads(sys.argv[1])):
    print("lit", flush=True)
    sys.stdin.read()
"""
MAKES = """
import sys
from pathlib import Path
from redistill.jobs import make_all
from redistill.plan import make_plan
make_all(make_plan(Path.cwd(), "engine"), sys.argv[1:])
"""


class Project(Nano):
    """A project in which the studies of the engine are planned, and what runs there."""

    def __init__(self, root: Path, plans: dict[str, Plan]):
        super().__init__(root)
        self.plans = plans

    def key(self, title: str, study: str = "engine") -> str:
        return next(key for key, node in self.plans[study].nodes.items() if node.title == title)

    def run(self, key: str) -> Path:
        return self.root / "store" / "runs" / key

    def log(self, key: str) -> Path:
        return self.root / "store" / "work" / key / "progress" / "log.jsonl"

    @contextmanager
    def start(self, *arguments: str, forge: "Forge | None" = None, **variables: str) -> Iterator[Popen[str]]:
        """A job, or another command of Python's; it finds the forge that is given. Afterwards it has ended."""
        command = arguments if arguments[0] == "-c" else ("-m", "redistill.job", *arguments)
        found = {FORGE: f"store/work/forge/{forge.process.pid}"} if forge else {}
        with Popen(
            [sys.executable, *command], cwd=self.root, env={**self.environment(), **found, **variables}, text=True,
            stdin=PIPE, stdout=PIPE, stderr=PIPE,
        ) as process:  # fmt: skip
            try:
                yield process
            finally:
                process.kill()

    def make(self, *arguments: str, forge: "Forge | None" = None, **variables: str) -> CompletedProcess[str]:
        with self.start("make", *arguments, forge=forge, **variables) as job:
            said, errors = job.communicate(timeout=60)
            return CompletedProcess(arguments, job.returncode, said, errors)

    def left(self) -> list[int]:
        """Processes in this project that run."""
        found = []
        for process in Path("/proc").glob("[0-9]*"):
            try:
                state = (process / "stat").read_text().rpartition(") ")[2][0]
                if (process / "cwd").readlink() == self.root and state != "Z":
                    found.append(int(process.name))
            except OSError:
                continue
        return sorted(found)

    def sockets(self) -> list[str]:
        return [file.name for file in (self.root / "store" / "work" / "forge").glob("*")]


class Forge:
    """A process that has started a forge, and the forge."""

    def __init__(self, process: Popen[str]):
        self.process, (self.server,) = process, children(process.pid)

    def forks(self) -> list[int]:
        return children(self.server)


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def until(holds: Callable[[], object], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.002)


@contextmanager
def lit(project: Project, *jobs: tuple[str, object]) -> Iterator[Forge]:
    with project.start("-c", KEEPS, json.dumps(jobs)) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            assert process.stdout.readline() == "lit\n"
            yield Forge(process)
        finally:
            process.stdin.close()
            process.wait(timeout=20)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """Data is there, and nothing else. What a test makes, it removes."""
    root = copy_project(tmp_path_factory.mktemp("forge") / "project").root
    plans = {study: make_plan(root, study) for study in ("engine", "engine-two", "engine-plugins")}
    for plan in plans.values():
        write_specifications(plan)
    made = Project(root, plans)
    made.edit("src/redistill/jobs.py", SAYS[0], SAYS[1] + SAYS[0])
    for title in ("digits", "nano-digits"):
        assert made.make(made.key(title)).returncode == 0
    try:
        yield made
        until(lambda: not made.left(), 20)
    finally:
        for pid in made.left():
            os.kill(pid, signal.SIGKILL)


@pytest.fixture(scope="module")
def forge(project: Project) -> Iterator[Forge]:
    """One forge for whatever does not kill it."""
    node = project.plans["engine"].nodes[project.key("engine/exact · nano-digits · seed 0")]
    with lit(project, (node.kind, node.config)) as made:
        yield made


@pytest.fixture(scope="module")
def dataset(project: Project) -> str:
    """Something that is there; finding it so is a job that takes no time."""
    return project.key("nano-digits")


@contextmanager
def held(project: Project, key: str) -> Iterator[None]:
    """Within, whoever makes this waits."""
    with (project.root / "store" / "work" / f"{key}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def waits(project: Project, key: str, pid: int) -> bool:
    """Whether a process waits for somebody else to make this."""
    lock = (project.root / "store" / "work" / f"{key}.lock").stat().st_ino
    waiting = [line.split() for line in Path("/proc/locks").read_text().splitlines() if "->" in line]
    return any(line[5] == str(pid) and line[6].endswith(f":{lock}") for line in waiting)


@pytest.fixture
def run(project: Project) -> Iterator[str]:
    """A run that is not there yet, of which each step is saved."""
    key = project.key("engine/exact · nano-digits · seed 0")
    yield key
    for leftover in (project.run(key), project.log(key).parents[1]):
        shutil.rmtree(leftover, ignore_errors=True)


def files(project: Project, key: str) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in project.run(key).iterdir()}


def test_a_fork_makes_what_a_process_of_its_own_makes_stopped_on_the_way_or_not(
    project: Project, forge: Forge, run: str
) -> None:
    done = project.make(run, forge=forge, OMP_NUM_THREADS="7")  # Snakemake sets its own; the study's counts
    assert done.returncode == 0, done.stderr
    made, record = files(project, run), json.loads((project.root / "store" / "records" / f"{run}.json").read_text())
    assert 0 < record["core_seconds"] < 30
    assert (project.root / "store" / "work" / "forge").stat().st_mode & 0o77 == 0  # for nobody else
    threads = [(task / "comm").read_text().strip() for task in Path(f"/proc/{forge.server}/task").iterdir()]
    assert len([name for name in threads if name != "jemalloc_bg_thd"]) == 1  # an allocator's, which minds forks
    shutil.rmtree(project.run(run))
    with project.start("make", run, forge=forge) as job:
        until(lambda: project.log(run).is_file() and project.log(run).stat().st_size)
        job.terminate()
        _, errors = job.communicate(timeout=30)
    assert job.returncode == 75
    assert "redistill: asked to stop: saved after step" in errors
    done = project.make(run, forge=forge)
    assert done.returncode == 0, done.stderr
    assert "goes on after step" in done.stdout
    assert files(project, run) == made
    shutil.rmtree(project.run(run))
    alone = project.make(run)
    assert alone.returncode == 0, alone.stderr
    assert f"child of {os.getpid()}" in alone.stdout
    assert files(project, run) == made


@pytest.mark.parametrize(
    ("title", "study", "more", "status", "words"),
    [
        ("engine/taught-module · nano-digits · seed 0", "engine-plugins", (), 1, "is not there"),
        ("engine/exact · nano-digits · seed 0", "engine", ("--nonsense",), 2, "No such option: --nonsense"),
    ],
)
def test_what_goes_wrong_is_said_in_the_same_words_and_ends_with_the_same_status(
    project: Project, forge: Forge, title: str, study: str, more: tuple[str, ...], status: int, words: str
) -> None:
    key, said = project.key(title, study), []
    for found in (None, forge):
        done = project.make(*more, key, forge=found)
        assert done.returncode == status
        said.append(done.stderr)
        shutil.rmtree(project.root / "store" / "work" / "failed", ignore_errors=True)
    assert words in said[0]
    assert said[0] == said[1]


def test_code_that_was_edited_after_the_forge_has_started_is_what_its_jobs_run(
    project: Project, forge: Forge, dataset: str
) -> None:
    assert f"child of {forge.server}" in project.make(dataset, forge=forge).stdout
    prepares = project.root / "src" / "redistill" / "data" / "prepare.py"
    before = prepares.read_text()
    project.edit("src/redistill/jobs.py", "child of", "edited: child of")
    project.edit("src/redistill/interruption.py", "EXIT = 75", 'print("read again")\nEXIT = 75')  # the forge has it too
    prepares.write_text(f"{before}\n\nMORE = 1\n")
    try:
        done = project.make(dataset, forge=forge)
    finally:
        prepares.write_text(before)
        project.edit("src/redistill/jobs.py", "edited: child of", "child of")
        project.edit("src/redistill/interruption.py", 'print("read again")\n', "")
    assert f"edited: child of {forge.server}" in done.stdout
    assert "read again" in done.stdout
    assert done.returncode == 1
    assert "the code has changed since" in done.stderr
    assert project.make(dataset, forge=forge).returncode == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_a_job_that_is_ended_ends_its_fork_and_its_status_is_that_of_a_process_of_its_own(
    project: Project, forge: Forge, dataset: str, number: signal.Signals
) -> None:
    ends = []
    for found in (None, forge):
        with held(project, dataset), project.start("make", dataset, forge=found) as job:
            until(
                lambda job=job, found=found: any(
                    waits(project, dataset, p) for p in (job.pid, *(found.forks() if found else ()))
                )
            )
            job.send_signal(number)
            _, errors = job.communicate(timeout=30)
            ends.append((job.returncode, errors))
            until(lambda: not forge.forks())
    assert ends[0] == ends[1]
    assert ends[0][0] == (75 if number is signal.SIGTERM else ends[0][0])
    assert project.make(dataset, forge=forge).returncode == 0


def test_a_job_that_is_stopped_while_it_waits_for_the_forge_ends_with_75(project: Project, run: str) -> None:
    node = project.plans["engine"].nodes[run]
    with lit(project, (node.kind, node.config)) as forge, project.start("make", run, forge=forge) as job:
        until(lambda: heeds(job.pid, signal.SIGTERM))
        job.terminate()
        said, errors = job.communicate(timeout=30)
        assert (job.returncode, said) == (75, "")
        assert errors == "redistill: asked to stop (SIGTERM); the same command goes on\n"


def heeds(pid: int, number: signal.Signals) -> bool:
    """Whether a process does something of its own when this signal comes."""
    (caught,) = re.findall(r"SigCgt:\t(\w+)", Path(f"/proc/{pid}/status").read_text())
    return bool(int(caught, 16) >> (number - 1) & 1)


def test_a_fork_that_is_killed_looks_like_a_job_that_is_killed(project: Project, forge: Forge, dataset: str) -> None:
    with held(project, dataset), project.start("make", dataset, forge=forge) as job:
        until(forge.forks)
        os.kill(forge.forks()[0], signal.SIGKILL)
        assert job.wait(timeout=30) == -signal.SIGKILL


def test_when_the_forge_is_killed_its_jobs_are_done_again_without(project: Project, dataset: str) -> None:
    with lit(project, CELL) as forge, project.start("make", dataset, forge=forge) as job:
        with held(project, dataset):
            until(lambda: [fork for fork in forge.forks() if waits(project, dataset, fork)])
            (fork,) = forge.forks()
            os.kill(forge.server, signal.SIGKILL)
            until(lambda: waits(project, dataset, job.pid))
            assert fork not in project.left()
        said, errors = job.communicate(timeout=60)
        assert job.returncode == 0
        assert "redistill: the forge is gone, and this job with it; it is done again\n" in errors
        assert said == f"child of {forge.server}\nchild of {os.getpid()}\n"
        after = project.make(dataset, forge=forge)  # its socket is still there, and refuses
        assert (after.returncode, after.stdout, after.stderr) == (0, f"child of {os.getpid()}\n", "")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_the_end_of_a_command_is_the_end_of_its_forge_and_jobs(
    project: Project, dataset: str, number: signal.Signals
) -> None:
    before, folder = project.left(), project.root / "store" / "data" / dataset
    folder.rename(folder.with_name("away"))
    try:
        with held(project, dataset), project.start("-c", MAKES, dataset) as command:
            until(lambda: any(waits(project, dataset, pid) for pid in project.left()))
            assert len(project.left()) == len(before) + 4  # the command, its forge, the job and the fork
            command.send_signal(number)
            command.communicate(timeout=30)
            until(lambda: project.left() == before)
    finally:
        folder.with_name("away").rename(folder)
    assert (str(command.pid) in project.sockets()) is (number is signal.SIGKILL)


def test_two_commands_have_a_forge_each_and_a_socket_that_was_left_is_in_nobody_s_way(
    project: Project, dataset: str
) -> None:
    left = project.root / "store" / "work" / "forge" / "999999999"
    left.parent.mkdir(exist_ok=True)
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as old:
        old.bind(os.path.relpath(left))
    with lit(project, CELL) as one, lit(project, CELL) as other:
        assert not left.exists()
        for forge in (one, other):
            assert f"child of {forge.server}" in project.make(dataset, forge=forge).stdout
        os.kill(other.server, signal.SIGKILL)
        assert f"child of {one.server}" in project.make(dataset, forge=one).stdout
    assert not {str(one.process.pid), str(other.process.pid)}.intersection(project.sockets())


def test_a_job_that_would_be_another_in_the_forge_is_done_by_itself(
    project: Project, forge: Forge, dataset: str
) -> None:
    for variables in ({"RANK": "0", "WORLD_SIZE": "1"}, {TRUST: "1"}, {"PYTHONHASHSEED": "1"}, {FORGE: "gone"}):
        done = project.make(dataset, forge=forge, **variables)
        assert (done.returncode, done.stdout) == (0, f"child of {os.getpid()}\n"), variables


@pytest.mark.parametrize(
    "runtime", [{"threads": 2}, {"portable": False}, {"device": "cuda"}, {"devices": 2}], ids=lambda r: next(iter(r))
)
def test_a_job_of_another_runtime_is_done_by_itself(
    project: Project, forge: Forge, run: str, runtime: dict[str, object]
) -> None:
    file = project.root / "store" / "work" / "plans" / f"{run}.json"
    before = file.read_text()
    told = json.loads(before)
    told["parts"]["config"]["runtime"] |= runtime
    file.write_text(json.dumps(told))
    try:
        done = project.make(run, forge=forge)
    finally:
        file.write_text(before)
    assert done.stdout == f"child of {os.getpid()}\n"
    assert "the code has changed since" in done.stderr  # the key is not that of this runtime


@pytest.mark.parametrize(
    "jobs",
    [[], [("data", {})], [("student", {"runtime": {"threads": 1, "portable": True, "device": "cuda", "devices": 1},
     "task": {"input": "image"}})]],
    ids=["nothing", "nothing to import", "a GPU"],
)  # fmt: skip
def test_no_forge_is_started_that_would_help_nobody(project: Project, jobs: list[tuple[str, object]]) -> None:
    with project.start("-c", KEEPS, json.dumps(jobs)) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "lit\n"
        assert children(process.pid) == []
        process.communicate(timeout=20)


def test_only_texts_wait_for_transformers() -> None:
    of = {kind: imports("student", {"task": {"input": kind}}) for kind in ("text", "image")}
    assert set(of["image"]) < set(of["text"])
    assert not any(name.startswith("transformers") for name in of["image"])
    assert "torch" not in imports("cell", {})


def test_a_job_starts_without_what_takes_time_to_import() -> None:
    program = "import sys, redistill.job; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert not {"typer", "pydantic", "yaml", "numpy", "torch", "subprocess", "redistill.plan"} & {*done.stdout.split()}
