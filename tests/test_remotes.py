"""Push and pull with each kind of remote, a folder, S3 (SeaweedFS) and SFTP; what is killed goes on."""

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
from published_study import STUDY, PublishedStudy
from servers import BUCKET, KEY, S3, SECRET, SFTP, s3_server, sftp_server
from versioned import (
    FILES,
    FOURTH,
    OTHER,
    RUN,
    SOURCE,
    at_home,
    clone,
    commit,
    content,
    dvc,
    environment,
    make,
    origin_in,
    redistill,
    repository,
    run,
    things,
)

from redistill.errors import IntegrityError, RedistillError
from redistill.plan import make_plan
from redistill.provenance import listing, versions


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3]:
    with s3_server(tmp_path_factory.mktemp("s3")) as server:
        yield server


@pytest.fixture(scope="module")
def sftp(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SFTP]:
    with sftp_server(tmp_path_factory.mktemp("sftp")) as server:
        yield server


@dataclass
class Place:
    """A remote: what a clone's own configuration says of it, and the objects that it has."""

    config: str
    objects: Callable[[], list[str]]

    def clone(self, root: Path, name: str) -> Path:
        return self.known(clone(root, name))

    def known(self, root: Path) -> Path:
        (root / ".dvc" / "config.local").write_text(self.config, encoding="utf-8")
        return root


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    at_home(tmp_path, monkeypatch)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)


@pytest.fixture
def bucket(s3: S3, tmp_path: Path) -> Place:
    folder = f"{tmp_path.parent.name}-{tmp_path.name}"
    config = (
        f'[core]\n    remote = s3\n[remote "s3"]\n    url = s3://{BUCKET}/{folder}\n    endpointurl = {s3.endpoint}\n'
    )
    return Place(config, lambda: s3.names(f"{folder}/files/md5/"))


@pytest.fixture
def ssh(sftp: SFTP, tmp_path: Path) -> Place:
    config = (
        f'[core]\n    remote = far\n[remote "far"]\n    url = ssh://u@127.0.0.1:{sftp.port}/{tmp_path.name}\n'
        f"    keyfile = {sftp.key}\n"
    )
    return Place(config, lambda: [str(f) for f in (sftp.folder / tmp_path.name / "files").rglob("*") if f.is_file()])


@pytest.fixture
def folder(tmp_path: Path) -> Place:
    """The remote that the committed configuration names."""
    objects = tmp_path / "home" / ".local" / "share" / "redistill" / "dvc" / "files" / "md5"
    return Place("", lambda: [str(f) for f in objects.rglob("*") if f.is_file()])


@pytest.fixture(params=["folder", "bucket", "ssh"])
def place(request: pytest.FixtureRequest) -> Place:
    found: Place = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def origin(tmp_path: Path) -> Path:
    return origin_in(tmp_path)


def test_all_or_one_run_comes_back_and_only_what_is_missing_moves(origin: Path, place: Place) -> None:
    place.known(origin)
    total = len(content(origin))
    assert versions.push(origin).objects == total
    assert len(place.objects()) == total + 1  # and the list
    assert versions.push(origin) == versions.Moved()
    commit(origin)
    assert "config.local" not in run("git", "ls-files", ".dvc", cwd=origin)  # who may go there is not in git
    other = place.clone(origin, "other")
    moved = versions.pull(other, [RUN])
    assert (moved.things, moved.objects) == (1, FILES + 1)
    assert {path.split("/")[1][:16] for path in content(other)} == {RUN}
    make(other, OTHER, "from a part")
    assert versions.push(other).objects == FILES + 1
    assert things(other) == {SOURCE, RUN, OTHER}
    assert versions.pull(other).objects == FILES + 1
    assert content(origin).items() <= content(other).items()


def test_plain_dvc_pulls_and_gets_what_was_pushed_to_s3(origin: Path, bucket: Place) -> None:
    versions.push(bucket.known(origin))
    commit(origin)
    other = bucket.clone(origin, "other")
    dvc(other, "pull")
    assert content(other) == content(origin)
    dvc(other.parent, "get", str(origin), f"store/runs/{RUN}", "--out", "one")
    assert (other.parent / "one" / "weights.bin").read_bytes() == content(origin)[f"runs/{RUN}/weights.bin"]


def test_two_clones_that_push_at_once_lose_nothing_of_each_other(origin: Path, bucket: Place) -> None:
    versions.push(bucket.known(origin))
    commit(origin)
    other = bucket.clone(origin, "other")
    make(origin, OTHER, "one")
    make(other, FOURTH, "another")
    make(other, OTHER, "one")  # and one of the same
    pushing = [
        subprocess.Popen([sys.executable, "-m", "redistill", "push"], cwd=root, stdout=subprocess.PIPE, text=True,
                         env=environment())
        for root in map(with_configs, (origin, other))
    ]  # fmt: skip
    assert [process.communicate(timeout=60) and process.returncode for process in pushing] == [0, 0]
    assert (things(origin), things(other)) == ({SOURCE, RUN, OTHER}, {SOURCE, RUN, OTHER, FOURTH})
    commit(origin)
    commit(other)
    assert "CONFLICT" in run("git", "pull", "--no-rebase", "--quiet", cwd=other, ok=False)
    versions.push(other)
    commit(other)
    third = bucket.clone(other, "third")
    assert versions.pull(third).things == 4


def with_configs(root: Path) -> Path:
    """The command line finds the project by this file."""
    (root / "configs").mkdir(exist_ok=True)
    (root / "configs" / "sources.yaml").touch()
    return root


def test_a_run_that_was_made_twice_and_differs_is_refused_on_s3(origin: Path, bucket: Place) -> None:
    versions.push(bucket.known(origin))
    other = bucket.known(repository(origin.parent / "other"))  # it shares nothing with the first but the bucket
    make(other, RUN, "nur")
    before = bucket.objects()
    with pytest.raises(listing.DiffersError, match=f"store/runs/{RUN}/deep/log.jsonl: was made twice and differs"):
        versions.push(other)
    assert bucket.objects() == before


def test_an_altered_object_in_s3_is_refused(origin: Path, bucket: Place, s3: S3) -> None:
    versions.push(bucket.known(origin))
    commit(origin)
    md5 = listing.md5_of(origin / "store" / "runs" / RUN / "weights.bin")
    (name,) = [name for name in bucket.objects() if name.endswith(f"{md5[:2]}/{md5[2:]}")]
    s3.client().put_object(Bucket=BUCKET, Key=name, Body=b"other")
    other = bucket.clone(origin, "other")
    with pytest.raises(IntegrityError, match=f"store/runs/{RUN}/weights.bin: SHA-256 is .* 1 whole ones were brought"):
        versions.pull(other)
    assert not (other / "store" / "runs" / RUN).exists()
    s3.client().delete_object(Bucket=BUCKET, Key=name)
    with pytest.raises(IntegrityError, match=f"store/runs/{RUN}/weights.bin: SHA-256 is missing"):
        versions.pull(other)
    assert versions.push(origin).objects == 1
    assert versions.pull(other).things == 1


def test_what_is_wrong_with_a_server_is_said(
    origin: Path, bucket: Place, ssh: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket.known(origin)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    with pytest.raises(RedistillError, match="the remote `s3` cannot be read: .*dvc remote list") as caught:
        versions.push(origin)
    assert KEY not in str(caught.value)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    text = bucket.config.replace(f"s3://{BUCKET}/", "s3://no-such-bucket/")
    (origin / ".dvc" / "config.local").write_text(text, encoding="utf-8")
    with pytest.raises(RedistillError, match="the remote `s3` "):
        versions.push(origin)
    text = ssh.config.replace("keyfile", "password = wrong\n    #")
    (origin / ".dvc" / "config.local").write_text(text, encoding="utf-8")
    with pytest.raises(RedistillError, match="remote cannot be opened: Permission denied for user u"):
        versions.push(origin)


# --- killed ----------------------------------------------------------------------------------------------------------

SLOW = """
import os, sys, time
from pathlib import Path
from redistill.provenance import bringing, remote, versions
module, step = (versions, "upload") if sys.argv[1] == "push" else (bringing, "download")
at_once = getattr(module, step)
def slowly(*arguments):
    at_once(*arguments)
    os.write(1, b"moved\\n")  # whole, whichever thread says it
    time.sleep(0.1)
setattr(module, step, slowly)
remote.JOBS = 2
getattr(versions, sys.argv[1])(Path.cwd())
"""


def killed(root: Path, what: str) -> None:
    """Push or pull in a process that is killed when it has moved three files and is moving others."""
    process = subprocess.Popen([sys.executable, "-c", SLOW, what], cwd=root, stdout=subprocess.PIPE, text=True,
                               env=environment())  # fmt: skip
    assert process.stdout is not None
    assert [process.stdout.readline() for _ in range(3)] == ["moved\n"] * 3
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL


def test_a_transfer_that_was_killed_goes_on(origin: Path, place: Place) -> None:
    place.known(origin)
    total = len(content(origin))
    killed(origin, "push")
    there = len(whole(place))
    assert 3 <= there < total
    assert not (origin / "store.dvc").exists()
    assert versions.push(origin).objects == total - there
    commit(origin)
    other = place.clone(origin, "other")
    killed(other, "pull")
    scratch = other / "store" / "work" / "pull"
    (scratch / RUN).mkdir(parents=True, exist_ok=True)
    (scratch / RUN / ".weights.bin.1234").write_bytes(b"half")
    whole_ones = [f for f in scratch.rglob("*") if f.is_file() and not f.name.startswith(".")]
    there = len(content(other)) + len(whole_ones)
    assert not list((other / "store").glob("runs/*"))  # nothing half a thing
    moved = versions.pull(other)
    assert moved.objects == total - there <= total - 3
    assert content(other) == content(origin)
    assert not any(scratch.iterdir())


def whole(place: Place) -> list[str]:
    """The objects, without what was being written."""
    return [name for name in place.objects() if not name.rpartition("/")[2].startswith(".")]


def test_a_file_that_was_being_sent_is_no_object(origin: Path, ssh: Place, sftp: SFTP) -> None:
    """Half a file under an object's name would be that object for ever; DVC writes it beside."""
    make(ssh.known(origin), OTHER, "0123456789abcdef", size=2**16)
    command = "from pathlib import Path; from redistill.provenance.versions import push; push(Path.cwd())"
    sftp.wait = 0.1
    process = subprocess.Popen([sys.executable, "-c", command], cwd=origin, env=environment())
    deadline = time.monotonic() + 60
    while not half_sent(ssh) and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    process.kill()
    assert process.wait() == -signal.SIGKILL
    sftp.wait = 0.0
    assert half_sent(ssh)
    for name in whole(ssh):
        assert Path(name).parent.name + Path(name).name.removesuffix(".dir") == listing.md5_of(Path(name))
    versions.push(origin)
    commit(origin)
    other = ssh.clone(origin, "other")
    versions.pull(other)
    assert content(other) == content(origin)


def half_sent(place: Place) -> bool:
    with suppress(FileNotFoundError):  # it was just renamed
        return any(2**14 < Path(name).stat().st_size < 2**20 for name in place.objects())
    return False


# --- a study ---------------------------------------------------------------------------------------------------------


def test_clone_pull_from_s3_and_nothing_is_to_be_done(bucket: Place, versioned_study: PublishedStudy) -> None:
    made = versioned_study
    bucket.known(made.root)
    redistill(made.root, "push")
    commit(made.root)
    other = bucket.clone(made.root, "other")
    redistill(other, "pull")
    assert content(other) == content(made.root)
    assert make_plan(other, STUDY).missing() == []
    said = run(sys.executable, "-m", "snakemake", "-n", "--cores", "1", "--config", f"study={STUDY}", cwd=other)
    assert "Nothing to be done" in said
