"""Ten mistakes that people make: what is said names what is wrong, where, and what to type, and has no traceback."""

import fcntl
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from nano_study import ROOT, Nano, copy_project

from redistill import failures

KD = "nano/image-kd"
NOWHERE = "http://127.0.0.1:9"  # the discard port, where nobody listens


@pytest.fixture(scope="module")
def nano(tmp_path_factory: pytest.TempPathFactory) -> Nano:
    """The nano study, of which nothing but the digits is there; a test that changes a file changes it back."""
    made = copy_project(tmp_path_factory.mktemp("mistakes") / "nano")
    table = "review,stars\n" + "".join(f"a film of number {i},{'good' if i % 2 else 'bad'}\n" for i in range(40))
    (made.root / "reviews.csv").write_text(table, encoding="utf-8")
    assert made.redistill("prepare", "nano-digits", "--study", "nano").returncode == 0
    return made


def said(done: subprocess.CompletedProcess[str], *words: str, code: int | None = None) -> str:
    """All that was said, after comparing it with what has to be in it."""
    text = done.stdout + done.stderr
    assert done.returncode != 0 if code is None else done.returncode == code, text
    assert "Traceback" not in text
    for word in words:
        assert word in text, f"{word!r} is not in what was said:\n{text}"
    return text


def test_a_missing_file_is_named_where_it_was_looked_for(nano: Nano, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GLUE_DIR", raising=False)
    new = nano.redistill("new", "mine", "--from-csv", "nofile.csv", "--text", "review", "--label", "stars")
    said(new, "nofile.csv: there is no such file", code=1)
    glue = nano.redistill("check", "glue-small")  # its data lies in a folder that a variable names
    said(glue, "configs/studies/glue-small.yaml:", "GLUE_DIR is not set: let it name the folder", code=2)
    said(nano.redistill("check", "nanoo"), "there is no study `nanoo`; did you mean `nano`?", code=2)


def test_a_wrong_column_is_answered_with_those_that_there_are(nano: Nano) -> None:
    new = nano.redistill("new", "mine", "--from-csv", "reviews.csv", "--text", "text", "--label", "stars")
    said(new, "reviews.csv: has no column `text`; known: `review`, `stars`", code=1)
    assert not (nano.root / "configs" / "studies" / "mine.yaml").exists()


def test_a_wrong_metric_is_answered_with_file_line_and_the_nearest_name(nano: Nano) -> None:
    task = nano.root / "configs" / "tasks" / "nano-digits.yaml"
    right = task.read_text(encoding="utf-8")
    try:
        task.write_text(f"{right}metric: acuracy\n", encoding="utf-8")
        line = right.count("\n") + 1
        wanted = (f"configs/tasks/nano-digits.yaml:{line}:1: metric: `acuracy`", "did you mean `accuracy`?",
                  "Nothing was started")  # fmt: skip
        said(nano.redistill("check", "nano"), *wanted, code=2)
        said(nano.snakemake("--cores", "1"), *wanted, code=2)
    finally:
        task.write_text(right, encoding="utf-8")


FULL = """
import errno, os, sys
import redistill.jobs as jobs
def no_room(*arguments, **more):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "store/work/model.safetensors")
jobs.function_of = lambda kind: no_room
from redistill.cli import main
sys.argv[1:] = sys.argv[2:]
main()
"""


def test_no_space_is_said_with_what_makes_room(nano: Nano) -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run([sys.executable, "-m", "redistill", "plan", "nano"], cwd=nano.root, stdout=full,
                              env=nano.environment(), stderr=subprocess.PIPE, text=True, timeout=120)  # fmt: skip
    assert done.returncode == 1
    room = ("the disk is full", "df -h store", "redistill prune", "give the same command")
    assert all(word in done.stderr for word in room), done.stderr
    assert "Traceback" not in done.stderr
    job = [sys.executable, "-c", FULL, "redistill", "make", key_of(nano, "image/linear")]
    said(nano.command(*job), *room, code=1)


def key_of(nano: Nano, title: str) -> str:
    """The key of the first planned thing whose title starts so; it can be made on its own then."""
    planned = nano.redistill("plan", "nano", "--json")
    key = next(thing["key"] for thing in json.loads(planned.stdout) if thing["title"].startswith(title))
    code = "import sys; from pathlib import Path; from redistill.plan import make_plan; "
    code += (
        "from redistill.specification import write_specifications as w; w(make_plan(Path('.'), 'nano'), [sys.argv[1]])"
    )
    assert nano.command(sys.executable, "-c", code, key).returncode == 0
    return str(key)


def test_no_network_is_said_with_what_was_to_be_fetched(nano: Nano) -> None:
    pip = {name: "" for name in os.environ if name.startswith("PIP_")}
    environment = {**nano.environment(), **pip, "PIP_INDEX_URL": f"{NOWHERE}/simple", "PIP_CONFIG_FILE": os.devnull,
                   "PIP_RETRIES": "0", "PIP_TIMEOUT": "2"}  # fmt: skip
    command = [sys.executable, "-m", "redistill", "fetch", "vader", "--study", "nano"]
    done = subprocess.run(command, cwd=nano.root, env=environment, capture_output=True, text=True, timeout=120)
    said(done, "vaderSentiment 2.5: pip could not fetch it", "Check the network", "start again", code=1)


def test_another_python_is_said_with_the_one_to_use(nano: Nano, tmp_path: Path) -> None:
    bare = nano.command(sys.executable, "-S", "-m", "redistill", "plan")  # -S: without what is installed
    said(bare, f"is not installed for {sys.executable}", ".venv/bin/redistill", "make setup", code=1)
    without = (
        "import sys; sys.modules['redistill'] = None; from snakemake.cli import main; main(['--cores', '1', '-n'])"
    )
    said(nano.command(sys.executable, "-c", without), "`redistill` is not installed", ".venv/bin/snakemake", code=2)
    old = tmp_path / "python3"
    old.write_text(f"#!/bin/sh\necho 3.9.2 {old}\n", encoding="utf-8")
    old.chmod(0o755)
    setup = subprocess.run(["bash", ROOT / "envs" / "setup.sh", "--check-only"], capture_output=True, text=True,
                           env={**os.environ, "PYTHON": str(old)}, timeout=60)  # fmt: skip
    said(setup, "needs Python 3.11 or newer", f"{old} is 3.9.2", "make setup PYTHON=", code=1)


@pytest.fixture
def training(nano: Nano) -> Iterator[subprocess.Popen[str]]:
    """A run of a minute or two, just begun."""
    command = [sys.executable, "-m", "redistill", "run", KD, "--study", "nano", "--seed", "7", "--set",
               "stages.0.steps=20000"]  # fmt: skip
    with subprocess.Popen(command, cwd=nano.root, env=nano.environment(), stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True) as running:  # fmt: skip
        yield running
        running.kill()


def test_a_killed_job_is_said_and_that_the_same_command_goes_on(nano: Nano, training: subprocess.Popen[str]) -> None:
    deadline, job = time.monotonic() + 120, 0
    while time.monotonic() < deadline and not job:
        time.sleep(0.2)
        assert training.poll() is None, training.communicate()[1]
        for line in (nano.root / "store" / "work").glob("*/progress/log.jsonl"):
            job = _job_of(training.pid, line.parents[1].name) if '"soft"' in line.read_text() else 0
    assert job, "no student was begun within two minutes"
    os.kill(job, signal.SIGKILL)
    _, error = training.communicate(timeout=60)
    assert training.returncode == 1
    assert "Traceback" not in error
    killed = (
        r"student nano/image-kd · nano-digits · seed 7 \([0-9a-f]{16}\): killed by SIGKILL, as the system does where "
    )
    assert re.search(killed + "memory is not enough. The same command goes on", error), error


def _job_of(parent: int, key: str) -> int:
    """The child of a process that makes a key."""
    for child in Path(f"/proc/{parent}/task/{parent}/children").read_text().split():
        if key in Path(f"/proc/{child}/cmdline").read_text(errors="replace"):
            return int(child)
    return 0


def test_a_stale_lock_holds_nobody_up_and_a_held_one_is_named(nano: Nano) -> None:
    key = key_of(nano, "image/linear")
    failures.forget(nano.root, [key])  # it may have found no space before
    lock = nano.root / "store" / "work" / f"{key}.lock"
    lock.touch()  # as a machine that crashed leaves it
    command = [sys.executable, "-m", "redistill", "make", key]
    made = nano.command(*command)
    assert made.returncode == 0, made.stderr
    with lock.open("w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        with subprocess.Popen(command, cwd=nano.root, env=nano.environment(), stderr=subprocess.PIPE, text=True) as job:
            assert job.stderr is not None
            line = job.stderr.readline()
            job.kill()
    assert f"waits for {lock}: another process makes this" in line


def test_a_gpu_that_is_not_there_is_said_before_anything_is_made(nano: Nano) -> None:
    study = "configs/studies/nano.yaml"
    environment = {**nano.environment(), "CUDA_VISIBLE_DEVICES": ""}
    nano.edit(study, "portable: true", "portable: false\n  device: cuda")
    try:
        done = subprocess.run([sys.executable, "-m", "snakemake", "--cores", "1", "--config", "study=nano"], text=True,
                              cwd=nano.root, env=environment, capture_output=True, timeout=240)  # fmt: skip
        said(done, "runtime.device of the study is `cuda`", "no GPU", "`device: cpu`", "configs/studies/", code=2)
        assert "Nothing was started" in done.stderr
    finally:
        nano.edit(study, "portable: false\n  device: cuda", "portable: true")


@pytest.fixture(scope="module")
def finished(finished_nano: Nano, tmp_path_factory: pytest.TempPathFactory) -> Nano:
    """A copy of the finished nano study, to be spoilt."""
    copy = tmp_path_factory.mktemp("spoilt") / "nano"
    shutil.copytree(finished_nano.root, copy, symlinks=True)
    return Nano(copy)


def test_an_edited_result_is_named_with_what_puts_it_right(finished: Nano) -> None:
    table = finished.root / "results" / "nano" / "image.md"
    right = table.read_text(encoding="utf-8")
    table.write_text(re.sub(r"\d(\.\d ±)", r"9\1", right, count=1), encoding="utf-8")
    assert table.read_text(encoding="utf-8") != right
    found = said(finished.redistill("audit", "nano"), "WRONG: results/nano/image.md", code=1)
    assert "`redistill publish STUDY` writes it again" in found
    assert finished.redistill("publish", "nano").returncode == 0
    assert table.read_text(encoding="utf-8") == right


def test_a_failed_job_of_snakemake_ends_with_one_screen_of_what_why_and_what_to_type(finished: Nano) -> None:
    nano = finished
    locks = nano.root / ".snakemake" / "locks"  # left by a Snakemake that was killed: in nobody's way
    locks.mkdir(parents=True, exist_ok=True)
    (locks / "0.output.lock").write_text("results/nano/image.md\n", encoding="utf-8")
    for logits in nano.root.glob("store/outputs/*/logits.npy"):
        logits.write_bytes(logits.read_bytes() + b"x")
    nano.edit("configs/experiments/nano/image-kd.yaml", "temperature: 4.0", "temperature: 2.0")
    text = said(nano.snakemake("--cores", "2"), code=1)
    screen = text[text.rindex("nano: ") :]
    assert len(screen.splitlines()) < 30
    assert re.search(r"failed: student nano/image-kd · nano-digits · seed [01] \([0-9a-f]{16}\)", screen)
    again = "mend what is said, then `snakemake --cores all --config study=nano`"
    for words in ("logits.npy: SHA-256 is", "wait for it: nano/image-kd · nano-digits", again, "`redistill make "):
        assert words in screen
