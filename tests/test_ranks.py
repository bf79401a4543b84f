"""The processes of a job on several devices: what each is told, and what the job says when one of them ends."""

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from redistill import ranks
from redistill.errors import RedistillError
from redistill.interruption import EXIT, Interrupted, Killed
from redistill.models import together

ROOT = Path(__file__).parents[1]

TOLD = """
import json, os, signal, sys, time
rank, note = int(os.environ["RANK"]), os.environ["REDISTILL_RANK_NOTE"]
def say(**said):
    known = {"stopped": False, "of_another": False, "message": "", "at": time.monotonic()}
    with open(note + ".new", "w") as file:
        json.dump(known | said, file)
    os.replace(note + ".new", note)
"""


def started(tmp_path: Path, body: str, devices: int = 2) -> int:
    return ranks.together(tmp_path, [sys.executable, "-c", TOLD + body], devices)


def test_each_process_knows_its_place_and_the_first_has_the_socket(tmp_path: Path) -> None:
    body = """
import socket
listening = os.environ["REDISTILL_LISTENING"]
mine = socket.socket(fileno=int(listening)).getsockname()[1] if listening else int(os.environ["MASTER_PORT"])
assert mine == int(os.environ["MASTER_PORT"]) and bool(listening) == (rank == 0)
open(f"{rank}-{os.environ['LOCAL_RANK']}-of-{os.environ['WORLD_SIZE']}", "w").close()
say(peak_memory_mib=10)
"""
    assert started(tmp_path, body, 3) == 30
    assert sorted(file.name for file in tmp_path.iterdir()) == ["0-0-of-3", "1-1-of-3", "2-2-of-3"]
    assert ranks.LISTENING == together.LISTENING


def test_ports_of_jobs_that_run_together_are_different_and_taken_from_the_start(tmp_path: Path) -> None:
    with ranks._bound() as (one, _), ranks._bound() as (other, _):
        assert one != other
        for port in (one, other):
            with socket.socket() as late, pytest.raises(OSError, match="in use"):
                late.bind((ranks.HERE, port))


@pytest.mark.parametrize(
    ("body", "error", "words"),
    [
        ("sys.exit(0) if rank else os.kill(os.getpid(), signal.SIGKILL)", Killed, "rank 0 of 2 was killed by SIGKILL"),
        ("if rank: print('so long', file=sys.stderr, flush=True); os.kill(os.getpid(), signal.SIGSEGV)\ntime.sleep(99)",
         Killed, r"rank 1 of 2 was killed by SIGSEGV, .* It said last: so long"),
        ("if rank: say(message='too large'); sys.exit(1)\ntime.sleep(99)", RedistillError,
         r"^too large \(rank 1 of 2\)$"),
        ("say(message='the same'); sys.exit(1)", RedistillError, "^the same$"),
        ("say(message='gone' if rank else 'wrong', of_another=rank == 1, at=-rank); sys.exit(1)", RedistillError,
         r"^wrong \(rank 0 of 2\)$"),
        ("if rank: os.kill(os.getpid(), signal.SIGKILL)\nsay(message='peer', of_another=True, at=0); sys.exit(1)",
         Killed, "rank 1 of 2 was killed"),
        ("if rank: os.abort()\nsay(message='too large'); sys.exit(1)", RedistillError, r"^too large \(rank 0 of 2\)$"),
        ("if rank: os.kill(os.getpid(), signal.SIGKILL)\nsay(message='odd'); sys.exit(1)", Killed, "rank 1 of 2 was"),
        ("say(message='saved', stopped=True); sys.exit(75)", Interrupted, "^saved$"),
        ("sys.exit(3)", Killed, "rank 0 of 2 lost the others: ended by itself"),
    ],
)  # fmt: skip
def test_a_job_says_which_process_was_wrong_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: str, error: type[Exception], words: str
) -> None:
    monkeypatch.setattr(ranks, "AFTER_A_DEATH", 0.5)
    with pytest.raises(error, match=words) as raised:
        started(tmp_path, body)
    assert type(raised.value) is error


def test_a_job_that_is_asked_to_stop_asks_all(tmp_path: Path) -> None:
    """And whoever does not hear it is ended."""
    body = """
signal.signal(signal.SIGTERM, lambda *_: (say(stopped=True, message="saved"), os._exit(75)))
open(f"{rank}", "w").close()
time.sleep(60)
"""
    code = (
        "import sys; from pathlib import Path; from redistill import interruption, ranks; interruption.listen()\n"
        "try: ranks.together(Path('.'), [sys.executable, '-c', sys.argv[1]], 2)\n"
        "except interruption.Interrupted as error: print(error); sys.exit(75)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, TOLD + body], cwd=tmp_path, stdout=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
    ) as job:  # fmt: skip
        deadline = time.monotonic() + 30
        while len(list(tmp_path.iterdir())) < 2 and time.monotonic() < deadline:
            time.sleep(0.02)
        job.terminate()
        said, _ = job.communicate(timeout=30)
    assert (job.returncode, said) == (EXIT, "saved\n")


def test_errors_that_follow_from_anothers_death_are_known() -> None:
    lost = "[gloo/transport/tcp/pair.cc:547] Connection closed by peer [127.0.0.1]:1234"
    assert ranks.follows(RuntimeError(lost))
    assert ranks.follows(torch.distributed.DistNetworkError("timed out"))
    assert not ranks.follows(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    assert not ranks.follows(ValueError(lost))
