"""Who makes a key, where several machines share the store: leases that end by themselves, and makers kept apart."""

import errno
import fcntl
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from redistill.interruption import EXIT
from redistill.provenance import lease, prune, shared, store

KEY = "0123456789abcdef"
SOURCES = str(Path(store.__file__).parents[2])


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same rules at another pace."""
    for name, seconds in dict(BEAT=0.05, ENDED=0.3, SILENT=1.2, ASKING=0.0, POLL=0.02).items():
        monkeypatch.setattr(lease, name, seconds)
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)


@pytest.fixture
def squeue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str, int], None]:
    """Lets the cluster say something of every job."""
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")

    def says(out: str, error: str = "", status: int = 0) -> None:
        file = tmp_path / "bin" / "squeue"
        file.write_text(f"#!/bin/sh\necho '{out}'\necho '{error}' >&2\nexit {status}\n")
        file.chmod(0o755)

    return says


def elsewhere(root: Path, job: str | None = None, folder: str = "", token: str = "theirs") -> Path:
    """A lease that a process of another machine has left."""
    file = lease.file_of(root, KEY)
    file.parent.mkdir(parents=True, exist_ok=True)
    value = {"token": token, "machine": "another", "job": job, "folder": folder, "beat": "000000000001"}
    file.write_text(json.dumps(value) + "\n")
    return file


def taken(root: Path, seconds: float = 20.0) -> float:
    """Seconds until the lock is ours, and given back."""
    began = time.monotonic()
    with store.locked(root, KEY):
        assert time.monotonic() - began < seconds
        return time.monotonic() - began


class Renewed:
    """Somebody of another machine, who renews a lease in its place."""

    def __init__(self, file: Path):
        self.file, self.end, self.thread = file, threading.Event(), threading.Thread(target=self.renew)

    def renew(self) -> None:
        value, beat = json.loads(self.file.read_text()), 1
        while not self.end.wait(0.05) and beat < 1000:
            beat += 1
            with self.file.open("r+") as stream:
                stream.write(json.dumps({**value, "beat": f"{beat:012d}"}) + "\n")

    def __enter__(self) -> None:
        self.thread.start()

    def __exit__(self, *_: object) -> None:
        self.end.set()
        self.thread.join(20)


def test_a_holder_says_who_it_is_renews_it_and_gives_it_back(tmp_path, quick, monkeypatch):
    monkeypatch.setenv("SLURM_JOB_ID", "77")
    with store.locked(tmp_path, KEY) as scratch:
        assert scratch == tmp_path / "work" / KEY
        file = lease.file_of(tmp_path, KEY)
        first = file.read_text()
        found = lease.read(file)
        assert found is not None
        assert (found.machine, found.job, found.folder) == (lease.machine(), "slurm 77", "")
        deadline = time.monotonic() + 20
        while file.read_text() == first:
            assert time.monotonic() < deadline
            time.sleep(0.01)
    assert not file.exists()
    assert [f.name for f in (tmp_path / "work").iterdir()] == [f"{KEY}.lock"]


def test_a_lease_names_no_machine(tmp_path):
    with store.locked(tmp_path, KEY):
        assert os.uname().nodename not in lease.file_of(tmp_path, KEY).read_text()


def test_what_a_killed_process_of_this_machine_left_is_taken_at_once(tmp_path):
    code = (
        "import os, signal, sys\nfrom pathlib import Path\nfrom redistill.provenance import store\n"
        f"with store.locked(Path(sys.argv[1]), {KEY!r}):\n    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], env={**os.environ, "PYTHONPATH": SOURCES}, timeout=60, check=False
    )
    assert lease.file_of(tmp_path, KEY).is_file()
    began = time.monotonic()
    with store.locked(tmp_path, KEY) as scratch:
        assert time.monotonic() - began < lease.ENDED / 2
        assert scratch == tmp_path / "work" / KEY


def test_while_the_cluster_says_that_the_job_is_there_it_is_waited_for(tmp_path, quick, squeue):
    for state in ("RUNNING", "SUSPENDED", "COMPLETING"):
        squeue(state)
        elsewhere(tmp_path, "slurm 5")
        threading.Timer(2.0, lease.file_of(tmp_path, KEY).unlink).start()
        assert taken(tmp_path) > 1.9  # longer than any silence


def test_when_the_job_has_ended_it_is_taken_after_a_while(tmp_path, quick, squeue):
    for out, error, status in (("", "slurm_load_jobs error: Invalid job id specified", 1), ("PENDING", "", 0)):
        squeue(out, error, status)
        elsewhere(tmp_path, "slurm 5")
        assert lease.ENDED <= taken(tmp_path) < lease.SILENT


def test_when_nobody_can_say_it_is_taken_after_a_longer_while(tmp_path, quick, squeue):
    squeue("", "Unable to contact slurm controller (connect failure)", 1)
    for job in ("slurm 5", None):
        elsewhere(tmp_path, job)
        assert taken(tmp_path) >= lease.SILENT


def test_a_job_that_the_cluster_has_forgotten_and_that_is_at_work_still_is_waited_for(tmp_path, quick, squeue):
    squeue("", "slurm_load_jobs error: Invalid job id specified", 1)
    file = elsewhere(tmp_path, "slurm 5")
    renewed = Renewed(file)
    with renewed:
        waiting = threading.Thread(target=taken, args=(tmp_path,))
        waiting.start()
        waiting.join(1.5)
        assert waiting.is_alive()
    waiting.join(20)
    assert not waiting.is_alive()


def test_whoever_takes_over_from_another_machine_works_apart_and_goes_on_from_its_checkpoints(tmp_path, quick):
    whole = tmp_path / "work" / KEY
    for name in ("0-00000005", "0-00000010"):
        (whole / "progress" / name).mkdir(parents=True)
        (whole / "progress" / name / "state.json").write_text(name)
    (whole / "progress" / "log.jsonl").write_text("a line\n")
    elsewhere(tmp_path)
    with (whole / "progress" / "log.jsonl").open("a") as theirs, store.locked(tmp_path, KEY) as scratch:
        found = lease.read(lease.file_of(tmp_path, KEY))
        assert found is not None
        assert scratch == whole / found.folder
        assert lease.scratch_now(tmp_path, KEY) == scratch != whole
        assert (scratch / "progress" / "0-00000010" / "state.json").read_text() == "0-00000010"
        theirs.write("and it was not dead\n")
        theirs.flush()
        assert (scratch / "progress" / "log.jsonl").read_text() == "a line\n"
        (scratch / "progress" / "0-00000015").mkdir()
        dead = lease.file_of(tmp_path, KEY).read_text()
    lease.file_of(tmp_path, KEY).write_text(dead)  # as if it had been killed
    with store.locked(tmp_path, KEY) as again:  # this machine's lock is free, and the first one may still be about
        assert again not in (whole, scratch)
        assert (again / "progress" / "0-00000015").is_dir()


def test_one_that_was_thought_dead_ends_when_it_sees_that_another_has_taken_over(tmp_path):
    code = (
        "import sys, time\nfrom pathlib import Path\nfrom redistill.provenance import lease, store\n"
        f"lease.BEAT = 0.05\nwith store.locked(Path(sys.argv[1]), {KEY!r}):\n"
        "    print('in', flush=True)\n    time.sleep(60)\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], env={**os.environ, "PYTHONPATH": SOURCES}, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() == "in\n"
    lease.file_of(tmp_path, KEY).unlink()
    file = elsewhere(tmp_path)
    before = file.read_text()
    _, errors = process.communicate(timeout=20)
    assert process.returncode == EXIT
    assert "another job makes this now" in errors
    assert file.read_text() == before, "it wrote into another's lease"


def test_of_two_who_find_the_same_lease_over_one_has_it(tmp_path, quick):
    dead = lease.read(elsewhere(tmp_path))
    file = lease.file_of(tmp_path, KEY)
    first = lease._replaced(file, dead, lease._new(dead))
    assert first is not None
    assert lease._replaced(file, dead, lease._new(dead)) is None  # it was slower
    found = lease.read(file)
    assert found is not None
    assert found.token == first[0].token
    os.close(first[1])


def test_a_file_system_without_locks_or_links_is_worked_on_by_leases_alone(tmp_path, quick, monkeypatch):
    def refused(*_: object) -> None:
        raise OSError(errno.ENOTSUP, "not supported")

    monkeypatch.setattr(fcntl, "flock", refused)
    monkeypatch.setattr(os, "link", refused)
    order = []

    def work(name: str) -> None:
        with store.locked(tmp_path, KEY):
            order.append(name)
            time.sleep(0.3)
            order.append(name)

    threads = [threading.Thread(target=work, args=(name,)) for name in ("a", "b")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert order in (["a", "a", "b", "b"], ["b", "b", "a", "a"])


def test_a_torn_lease_is_nobodys_and_ends(tmp_path, quick):
    file = elsewhere(tmp_path)
    file.write_text('{"token": "th')
    assert taken(tmp_path) >= lease.SILENT


def test_what_another_machine_makes_is_not_pruned_and_what_it_left_long_ago_is(tmp_path, quick, squeue):
    folder = tmp_path / "store" / "runs" / KEY
    folder.mkdir(parents=True)
    squeue("RUNNING")
    file = elsewhere(tmp_path / "store", "slurm 5")
    old = time.time() - 3600
    os.utime(file, (old, old))
    one = prune.Garbage(KEY, folder, "unfinished", "?", 0, 0.0)
    assert KEY in prune.in_progress(tmp_path)
    assert prune.remove(tmp_path, [one]) == []
    squeue("", "slurm_load_jobs error: Invalid job id specified", 1)
    assert KEY not in prune.in_progress(tmp_path)
    assert prune.remove(tmp_path, [one]) == [one]
    assert not file.exists()


def test_a_lock_that_is_free_is_not_waited_for(tmp_path, quick):
    with shared.lock_if_free(tmp_path, KEY) as free:
        assert free
        assert lease.file_of(tmp_path, KEY).is_file()
    elsewhere(tmp_path)
    with shared.lock_if_free(tmp_path, KEY) as free:
        assert not free


@pytest.mark.parametrize("job", ["1234", ""])
def test_a_cluster_s_job_that_was_asked_to_stop_stays_until_it_is_ended_and_no_other_does(job):
    """It would count as failed if it left by itself, and would not be queued again."""
    code = (
        "import os, signal\nfrom redistill import cli, interruption\nfrom redistill.provenance import lease\n"
        "def stopped():\n    interruption.listen()\n    os.kill(os.getpid(), signal.SIGTERM)\n"
        "def asleep(seconds):\n    os.kill(os.getpid(), signal.SIGTERM)\n    print('stays', seconds, flush=True)\n"
        "lease.time.sleep = asleep\ncli.app = stopped\ncli.main()\n"
    )
    process = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": SOURCES, "SLURM_JOB_ID": job}, text=True,
        capture_output=True, timeout=60,
    )  # fmt: skip
    assert process.returncode == EXIT, process.stderr
    assert process.stdout == (f"stays {lease.WARNED}\n" if job else "")
    assert process.stderr.count("asked to stop") == 1
