"""GPUs are shared out among the jobs of a machine: shown with names that no GPU has."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from redistill import gpus
from redistill.errors import RedistillError

ROOT = Path(__file__).parents[1]

TAKES = """
import os, sys
from redistill import gpus
with gpus.held({"device": "cuda", "devices": int(sys.argv[1])}) as mine:
    assert os.environ["CUDA_VISIBLE_DEVICES"] == ",".join(mine)
    assert "torch" not in sys.modules
    print(" ".join(mine), flush=True)
    sys.stdin.readline()
"""


class Taker:
    """A job that has GPUs until it is told to end."""

    def __init__(self, listed: str, wanted: int, **variables: str):
        self.process = subprocess.Popen(
            [sys.executable, "-c", TAKES, str(wanted)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, text=True,
            env={**os.environ, gpus.LISTED: listed, "PYTHONPATH": str(ROOT / "src"), **variables},
        )  # fmt: skip
        self.told: list[str] = []
        self.listener = threading.Thread(target=self._listen)
        self.listener.start()

    def _listen(self) -> None:
        assert self.process.stdout is not None
        self.told += self.process.stdout.readline().split()

    def has(self) -> list[str]:
        self.listener.join(timeout=30)
        return self.told

    def end(self) -> None:
        self.process.kill()
        self.process.communicate(timeout=30)
        self.listener.join(timeout=30)


@pytest.fixture
def fake() -> str:
    """GPUs that are on no other machine, and in no other test."""
    mark = f"{os.getpid()}-{time.monotonic_ns()}"
    return ",".join(f"fake-{mark}-{i}" for i in range(4))


def test_no_two_jobs_have_the_same_gpu_and_who_finds_none_free_waits(fake: str) -> None:
    listed = fake.split(",")
    jobs = [Taker(fake, wanted) for wanted in (1, 2, 1)]
    late = None
    try:
        taken = [job.has() for job in jobs]
        assert sorted(name for names in taken for name in names) == listed
        assert [len(names) for names in taken] == [1, 2, 1]
        late = Taker(fake, 2)
        time.sleep(1.2)
        assert late.told == []
        jobs[0].end()
        time.sleep(1.2)
        assert late.told == []  # one is free, and it wants two: it holds none while it waits
        jobs[2].end()
        assert sorted(late.has()) == sorted(taken[0] + taken[2])
    finally:
        for job in [*jobs, *([late] if late else [])]:
            job.end()
    assert late.process.returncode == -signal.SIGKILL


def test_what_a_scheduler_gave_to_one_job_is_not_taken_for_what_it_gave_to_another(fake: str) -> None:
    """On a node whose jobs each see their own GPUs as 0."""
    jobs = [Taker(fake.split(",")[0], 1, SLURM_JOB_ID=number) for number in ("17", "18")]
    try:
        assert [len(job.has()) for job in jobs] == [1, 1]
    finally:
        for job in jobs:
            job.end()


def test_more_gpus_than_there_are_is_an_error_and_cpus_are_left_as_they_are(
    fake: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(gpus.LISTED, fake)
    monkeypatch.delenv(gpus.VISIBLE, raising=False)
    with (
        pytest.raises(RedistillError, match="runtime.devices is 5, and there are 4 GPUs here"),
        gpus.held({"device": "cuda", "devices": 5}),
    ):
        pass
    with gpus.held({"device": "cpu", "devices": 2}) as mine:
        assert mine == []
        assert gpus.VISIBLE not in os.environ
    with gpus.held({"device": "cuda", "devices": 2}) as mine:
        assert os.environ[gpus.VISIBLE] == ",".join(mine)
    assert gpus.VISIBLE not in os.environ


def test_gpus_that_nobody_gives_back_are_waited_for_no_longer_than_a_day(
    fake: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(gpus.LISTED, fake)
    monkeypatch.setattr(gpus, "LONGEST", 0.2)
    monkeypatch.setattr(gpus, "PAUSE", 0.05)
    other = Taker(fake, 4)
    try:
        assert len(other.has()) == 4
        with pytest.raises(RedistillError, match="--resources gpu=4"), gpus.held({"device": "cuda", "devices": 1}):
            pass
    finally:
        other.end()
    assert capsys.readouterr().err.count("waits for 1 of the GPUs") == 1


def test_the_gpus_are_those_that_cuda_is_shown_unless_others_are_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpus.nvidia, "names", lambda: ["GPU-a", "GPU-b"])
    monkeypatch.delenv(gpus.LISTED, raising=False)
    monkeypatch.delenv(gpus.VISIBLE, raising=False)
    assert gpus.names() == ["GPU-a", "GPU-b"]
    monkeypatch.setenv(gpus.VISIBLE, "2, 3")
    assert gpus.names() == ["2", "3"]
    monkeypatch.setenv(gpus.LISTED, "1")
    assert gpus.names() == ["1"]
