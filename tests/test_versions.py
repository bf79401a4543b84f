"""Push and pull: what DVC versions comes back the same, and nothing that the store has is lost or overwritten."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from redistill.errors import IntegrityError, RedistillError
from redistill.provenance import store, versions

PROJECT = Path(__file__).parents[1]
SOURCE = "00000000000000aa"
RUN = "00000000000000bb"
OTHER = "00000000000000cc"
AREAS = {SOURCE: "data", RUN: "runs", OTHER: "runs"}


def run(*command: str | Path, cwd: Path, ok: bool = True) -> str:
    done = subprocess.run(
        list(map(str, command)), cwd=cwd, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True, timeout=60, env=os.environ | {"PYTHONPATH": str(PROJECT / "src")},
    )  # fmt: skip
    assert (done.returncode == 0) is ok, done.stdout
    return done.stdout


def dvc(root: Path, *arguments: str, ok: bool = True) -> str:
    return run(sys.executable, "-m", "dvc", *arguments, cwd=root, ok=ok)


def commit(root: Path) -> None:
    run("git", "add", "--all", cwd=root)
    run("git", "commit", "--quiet", "--message", "x", cwd=root)


def clone(root: Path, name: str) -> Path:
    run("git", "clone", "--quiet", root, root.parent / name, cwd=root.parent)
    return root.parent / name


def make(root: Path, key: str, content: str) -> Path:
    """A thing in the store, as a job makes it, with its record."""
    work, folder = root / "store" / "work" / key, root / "store" / AREAS[key] / key
    (work / "deep").mkdir(parents=True)
    (work / "weights.bin").write_text(content * 1000, encoding="utf-8")
    (work / "deep" / "log.jsonl").write_text("{}\n", encoding="utf-8")
    store.put(root, work, folder, {"kind": "run", "config": {"content": content}, "inputs": {}})
    store.write_atomically(root / "store" / "records" / f"{key}.json", store.pretty({"made": content}))
    return folder


def publish(root: Path) -> None:
    """results/ as the last job leaves it: the digests of what is in the store."""
    folders = [root / "store" / AREAS[key] / key for key in (SOURCE, RUN)]
    digests = {f.name: {"digest": store.digest_of(store.read_manifest(f))} for f in folders}
    store.write_atomically(root / "results" / "embedded" / "manifests.json", store.pretty(digests))


def content(root: Path) -> dict[str, bytes]:
    """Every file that is versioned, by its path in the store."""
    folders = [root / "store" / name for name in versions.FOLDERS]
    files = [file for folder in folders for file in folder.rglob("*") if file.is_file()]
    return {file.relative_to(root / "store").as_posix(): file.read_bytes() for file in files}


def object_of(root: Path, file: Path, where: Path) -> Path:
    """DVC's object with the bytes of a file."""
    found = [f for f in where.rglob("*") if f.is_file() and f.read_bytes() == file.read_bytes()]
    assert len(found) == 1
    return found[0]


def alter(file: Path) -> None:
    """Change a byte, not the mode: an object that is not read-only is one that DVC itself doubts."""
    mode = file.stat().st_mode
    file.chmod(0o644)
    file.write_bytes(b"!" + file.read_bytes()[1:])
    file.chmod(mode)


@pytest.fixture
def remote(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the committed configuration leads with this home."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("DVC_SITE_CACHE_DIR", str(tmp_path / "site"))
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    for role in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{role}_NAME", "t")
        monkeypatch.setenv(f"GIT_{role}_EMAIL", "t@example.org")
    return tmp_path / "home" / ".local" / "share" / "redistill" / "dvc"


@pytest.fixture
def origin(tmp_path: Path, remote: Path) -> Path:
    """A repository with this project's DVC files, a source and a run."""
    root = tmp_path / "origin"
    (root / ".dvc").mkdir(parents=True)
    for name in (".gitignore", ".dvcignore", "dvc.yaml", ".dvc/config", ".dvc/.gitignore"):
        shutil.copyfile(PROJECT / name, root / name)
    run("git", "init", "--quiet", cwd=root)
    make(root, SOURCE, "source")
    make(root, RUN, "run")
    publish(root)
    return root


@pytest.fixture
def pushed(origin: Path) -> Path:
    versions.push(origin)
    commit(origin)
    return origin


def test_a_fresh_clone_gets_the_same_files_with_plain_dvc_pull(
    pushed: Path, remote: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("git", "status", "--porcelain", cwd=pushed) == ""
    named = run("git", "ls-files", "store", cwd=pushed).split()
    assert named == ["store/data.dvc", "store/records.dvc", "store/runs.dvc"]
    assert any(remote.rglob("*"))
    other = clone(pushed, "other")
    dvc(other, "pull")
    assert content(other) == content(pushed)
    assert run("git", "status", "--porcelain", cwd=other) == ""
    for key in (SOURCE, RUN):
        store.trust(other, other / "store" / AREAS[key] / key)
    assert versions.pull(other) == 0
    versions.push(other)
    assert "as they were" in capsys.readouterr().out


def test_files_of_the_store_are_no_links_and_can_be_written(pushed: Path) -> None:
    other = clone(pushed, "other")
    dvc(other, "pull")
    third = clone(pushed, "third")
    versions.pull(third)
    for root in (pushed, other, third):
        for file in (root / "store" / "runs").rglob("*"):
            assert not file.is_symlink()
            assert file.is_dir() or file.stat().st_nlink == 1
            assert file.stat().st_mode & 0o200


def test_pull_brings_what_is_missing_keeps_the_rest_and_is_then_a_no_op(pushed: Path) -> None:
    other = clone(pushed, "other")
    make(other, OTHER, "own")
    shutil.copytree(pushed / "store" / "data" / SOURCE, other / "store" / "data" / SOURCE)
    record = other / "store" / "records" / f"{RUN}.json"
    record.write_text("own", encoding="utf-8")
    own = content(other)
    refusal = dvc(other, "pull", ok=False)
    assert "Can't remove" in refusal
    assert content(other) == own
    assert versions.pull(other) == 2  # the run, and the source's record
    assert content(other) == content(pushed) | own
    assert versions.pull(other) == 0
    assert content(other) == content(pushed) | own
    assert list((other / "store" / "work").glob("pull.*")) == []


def test_pull_keeps_runs_that_were_pushed_here_and_that_git_no_longer_names(pushed: Path) -> None:
    before = run("git", "rev-parse", "HEAD", cwd=pushed).strip()
    make(pushed, OTHER, "later")
    versions.push(pushed)
    commit(pushed)
    run("git", "checkout", "--quiet", before, cwd=pushed)
    there = content(pushed)
    assert versions.pull(pushed) == 0
    assert content(pushed) == there


def test_an_altered_object_in_the_remote_is_refused(pushed: Path, remote: Path) -> None:
    weights = Path("store") / "runs" / RUN / "weights.bin"
    alter(object_of(pushed, pushed / weights, remote))
    other = clone(pushed, "other")
    with pytest.raises(IntegrityError, match=f"{weights}: SHA-256 is missing.*not put in the store"):
        versions.pull(other)
    assert not (other / weights).parent.exists()
    assert (other / "store" / "data" / SOURCE / "done.json").is_file()
    third = clone(pushed, "third")
    dvc(third, "pull", ok=False)
    assert not (third / weights).exists()


def test_an_altered_object_in_the_cache_is_refused(pushed: Path) -> None:
    other = clone(pushed, "other")
    dvc(other, "fetch")
    for name in ("runs/" + RUN + "/weights.bin", f"records/{SOURCE}.json"):
        alter(object_of(other, pushed / "store" / name, other / ".dvc" / "cache"))
    with pytest.raises(IntegrityError, match="1 other things were refused too. 2 whole ones were brought") as caught:
        versions.pull(other)
    assert caught.value.file == other / "store" / "runs" / RUN / "weights.bin"
    assert not (other / "store" / "runs" / RUN).exists()
    assert not (other / "store" / "records" / f"{SOURCE}.json").exists()


def test_a_thing_that_results_in_git_say_otherwise_of_is_refused(pushed: Path) -> None:
    other = clone(pushed, "other")
    file = other / "results" / "embedded" / "manifests.json"
    digests = json.loads(file.read_text(encoding="utf-8"))
    digests[RUN]["digest"] = "0" * 64
    file.write_text(json.dumps(digests), encoding="utf-8")
    said = run(sys.executable, "-c", f"import pathlib; from redistill.provenance.versions import pull;"
               f"pull(pathlib.Path({str(other)!r}))", cwd=other, ok=False)  # fmt: skip
    assert f"{RUN}/manifest.json: SHA-256 is" in said
    assert f"expected {'0' * 64}" in said
    assert not (other / "store" / "runs" / RUN).exists()


def test_a_thing_that_was_not_finished_when_it_was_pushed_is_left_out(origin: Path) -> None:
    (origin / "store" / "runs" / RUN / "done.json").unlink()
    versions.push(origin)
    commit(origin)
    other = clone(origin, "other")
    assert versions.pull(other) == 3
    assert not (other / "store" / "runs" / RUN).exists()


def test_mistakes_are_sentences(pushed: Path, remote: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = clone(pushed, "other")
    remote.rename(tmp_path / "away")
    with pytest.raises(RedistillError, match=r"store/data.dvc: the remote does not have what it names .*Was it pushed"):
        versions.pull(other)
    with pytest.raises(RedistillError, match="the store is empty"):
        versions.push(other)
    (tmp_path / "away").rename(remote)
    object_of(pushed, pushed / "store" / "runs" / RUN / "weights.bin", remote).unlink()
    with pytest.raises(RedistillError, match=r"(?s)`dvc fetch` failed:.*No such file"):
        versions.pull(other)
    (other / "store" / "data.dvc").write_text("<<<<<<< HEAD\n", encoding="utf-8")
    with pytest.raises(RedistillError):
        versions.pull(other)
    for file in (other / "store").glob("*.dvc"):
        file.unlink()
    with pytest.raises(RedistillError, match=r"there is no store/\*.dvc"):
        versions.pull(other)
    monkeypatch.setattr(versions, "TIMEOUT", 0.01)
    with pytest.raises(RedistillError, match="`dvc add` was not done after"):
        versions.push(pushed)
