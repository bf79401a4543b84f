"""Push and pull: what was versioned comes back the same, and nothing that others or the store have is lost."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from versioned import (
    FILES,
    FOURTH,
    OTHER,
    RUN,
    SOURCE,
    alter,
    at_home,
    clone,
    commit,
    content,
    dvc,
    make,
    named,
    object_of,
    origin_in,
    run,
    things,
)

from redistill.errors import IntegrityError, RedistillError
from redistill.provenance import listing, remote, store, versions


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that the committed configuration leads to with this home."""
    at_home(tmp_path, monkeypatch)
    return tmp_path / "home" / ".local" / "share" / "redistill" / "dvc"


@pytest.fixture
def origin(tmp_path: Path, place: Path) -> Path:
    """A repository with a source and a run, published."""
    return origin_in(tmp_path)


@pytest.fixture
def pushed(origin: Path) -> Path:
    versions.push(origin)
    commit(origin)
    return origin


# --- all of it -------------------------------------------------------------------------------------------------------


def test_what_was_pushed_is_what_plain_dvc_reads_pulls_and_gets(pushed: Path, place: Path) -> None:
    assert run("git", "status", "--porcelain", cwd=pushed) == ""
    assert run("git", "ls-files", "store*", cwd=pushed).split() == ["store.dvc"]
    assert named(pushed) == content(pushed).keys()
    cached = [file.suffix for file in (pushed / ".dvc" / "cache").rglob("*") if file.is_file()]
    assert cached == [".dir"]  # nothing but the list lies on the disk twice
    other = clone(pushed, "other")
    dvc(other, "pull")
    assert dvc(other, "status").strip().endswith("up to date.")
    assert content(other) == content(pushed)
    assert run("git", "status", "--porcelain", cwd=other) == ""
    assert versions.pull(other) == versions.Moved()
    assert versions.push(other) == versions.Moved()
    dvc(other.parent, "get", str(pushed), f"store/runs/{RUN}", "--out", "one")
    assert (other.parent / "one" / "weights.bin").read_text() == "run" * 1000


def test_a_clone_gets_the_same_files_and_they_can_be_written(pushed: Path) -> None:
    other = clone(pushed, "other")
    moved = versions.pull(other)
    assert (moved.things, moved.records, moved.objects) == (2, 2, 2 * FILES + 2)
    assert content(other) == content(pushed)
    for file in [file for file in (other / "store" / "runs").rglob("*") if file.is_file()]:
        assert not file.is_symlink()
        assert (file.stat().st_nlink, file.stat().st_mode & 0o200) == (1, 0o200)


def test_pull_keeps_what_the_store_has_of_its_own(pushed: Path) -> None:
    other = clone(pushed, "other")
    make(other, OTHER, "own")
    shutil.copytree(pushed / "store" / "data" / SOURCE, other / "store" / "data" / SOURCE)
    record = other / "store" / "records" / f"{RUN}.json"
    record.write_text("own", encoding="utf-8")
    own = content(other)
    assert "Can't remove" in dvc(other, "pull", ok=False)  # DVC's own makes the store what store.dvc says
    assert content(other) == own
    moved = versions.pull(other)
    assert (moved.things, moved.records) == (1, 1)  # the run, and the source's record
    assert content(other) == content(pushed) | own


def test_a_thing_that_is_not_finished_is_not_pushed_and_one_that_was_added_so_is_not_brought(origin: Path) -> None:
    (origin / "store" / "runs" / RUN / "done.json").unlink()
    versions.push(origin)
    assert not any(path.startswith("runs/") for path in named(origin))
    dvc(origin, "add", "--no-relink", "store")  # takes whatever lies there
    dvc(origin, "push")
    commit(origin)
    other = clone(origin, "other")
    assert versions.pull(other).things == 1
    assert not (other / "store" / "runs" / RUN).exists()


# --- some of it ------------------------------------------------------------------------------------------------------


def test_one_run_alone_is_pulled_and_a_clone_that_has_no_more_forgets_nothing_when_it_pushes(pushed: Path) -> None:
    other = clone(pushed, "other")
    moved = versions.pull(other, [RUN])
    assert (moved.things, moved.records, moved.objects) == (1, 1, FILES + 1)
    assert {path.split("/")[1][:16] for path in content(other)} == {RUN}
    make(other, OTHER, "from a part")
    versions.push(other)
    assert things(other) == {SOURCE, RUN, OTHER}
    make(other, FOURTH, "not asked for")
    (other / "store" / "records" / f"{FOURTH}.json").unlink()
    with pytest.raises(RedistillError, match=f"not in the store, so nothing was pushed: {SOURCE}"):
        versions.push(other, [SOURCE, RUN])
    assert versions.push(other, [RUN]) == versions.Moved()
    assert versions.push(other, [FOURTH], also=[SOURCE]).objects == FILES
    commit(other)
    third = clone(other, "third")
    versions.pull(third)
    assert {path.split("/")[1][:16] for path in content(third)} == {SOURCE, RUN, OTHER, FOURTH}


def test_a_key_is_found_though_git_does_not_name_it_here(pushed: Path) -> None:
    other = clone(pushed, "other")
    make(pushed, OTHER, "elsewhere")
    versions.push(pushed)  # and not committed
    with pytest.raises(RedistillError, match=f"nobody has pushed this to the remote `local`: {FOURTH}"):
        versions.pull(other, [OTHER, FOURTH])
    assert versions.pull(other, [RUN], also=[OTHER, FOURTH]).things == 2
    folder = other / "store" / "runs" / OTHER
    assert content(other).items() <= content(pushed).items()
    assert f"records/{OTHER}.json" in content(other)
    store.trust(other, folder)


def test_what_was_pushed_and_lost_is_as_if_it_was_never_pushed(pushed: Path, place: Path) -> None:
    folder = make(pushed, OTHER, "elsewhere")
    before = (pushed / "store.dvc").read_bytes()
    versions.push(pushed)
    object_of(folder / "weights.bin", place).unlink()  # as `dvc gc` does with what git does not name
    (pushed / "store.dvc").write_bytes(before)
    other = clone(pushed, "other")
    assert versions.pull(other, also=[OTHER], keys=[]).things == 0
    assert versions.push(pushed).objects == 1
    (pushed / "store.dvc").write_bytes(before)
    dvc(pushed, "gc", "--all-commits", "--cloud", "--force")
    assert versions.pull(other, also=[OTHER], keys=[]).things == 0
    assert versions.pull(other).things == 2
    moved = versions.push(pushed)
    assert (moved.things, moved.objects) == (1, FILES + 1)
    assert versions.pull(other, also=[OTHER], keys=[]).things == 1


def test_store_dvc_forgets_what_was_pruned_if_told_but_not_what_results_name(pushed: Path) -> None:
    folder = make(pushed, OTHER, "to be pruned")
    versions.push(pushed)
    shutil.rmtree(folder)
    versions.push(pushed)
    assert things(pushed) == {SOURCE, RUN, OTHER}
    assert versions.push(pushed, forget=True).changed
    assert things(pushed) == {SOURCE, RUN}
    assert f"records/{OTHER}.json" in named(pushed)
    assert versions.pull(pushed).things == 0
    shutil.rmtree(pushed / "store" / "runs")
    with pytest.raises(RedistillError, match=f"store.dvc would forget 1 things that results/ name.*{RUN}"):
        versions.push(pushed, forget=True)
    assert things(pushed) == {SOURCE, RUN}


# --- several clones --------------------------------------------------------------------------------------------------


def both_pushed(pushed: Path) -> Path:
    """A clone in the middle of a merge: both have pushed, and git does not know how to unite store.dvc."""
    other = clone(pushed, "other")
    make(pushed, OTHER, "one")
    versions.push(pushed)
    commit(pushed)
    make(other, FOURTH, "another")
    versions.push(other)
    commit(other)
    assert "CONFLICT" in run("git", "pull", "--no-rebase", "--quiet", cwd=other, ok=False)
    return other


def test_a_conflict_is_mended_by_pushing_again(pushed: Path) -> None:
    other = both_pushed(pushed)
    assert listing.is_in_conflict(other)
    assert versions.pull(other).things == 3
    assert listing.is_in_conflict(other)  # it is push that writes
    assert versions.push(other).changed
    assert not listing.is_in_conflict(other)
    commit(other)
    assert things(other) == {SOURCE, RUN, OTHER, FOURTH}
    assert content(other).keys() == named(other)


def test_lists_are_united_and_what_was_made_twice_has_to_be_the_same() -> None:
    run_of = {"done.json": "1" * 32, "weights.bin": "2" * 32}
    ours = {f"runs/{RUN}": run_of, f"records/{RUN}.json": {"": "3" * 32}}
    theirs = {f"runs/{RUN}": run_of, f"records/{RUN}.json": {"": "4" * 32}, f"data/{SOURCE}": {"done.json": "5" * 32}}
    assert listing.united([ours, theirs]) == theirs | ours  # a record may tell of another making: the first stays
    other = {f"runs/{RUN}": run_of | {"weights.bin": "6" * 32}}
    with pytest.raises(
        listing.DiffersError, match=f"store/runs/{RUN}/weights.bin: was made twice and differs"
    ) as caught:
        listing.united([ours, other])
    assert caught.value.file == f"runs/{RUN}/weights.bin"


def made_otherwise(pushed: Path) -> Path:
    """A clone in which the same key was made with other bytes."""
    other = clone(pushed, "other")
    (other / "results" / "embedded" / "manifests.json").unlink()  # its digests alone would tell
    make(other, RUN, "nur")
    return other


def test_a_run_that_was_made_twice_and_differs_is_neither_pushed_nor_pulled(pushed: Path) -> None:
    other = made_otherwise(pushed)
    make(other, OTHER, "new")
    words = f"store/runs/{RUN}/deep/log.jsonl: was made twice and differs"
    before = (other / "store.dvc").read_bytes(), content(other), content(pushed)
    with pytest.raises(listing.DiffersError, match=words):
        versions.push(other)
    with pytest.raises(RedistillError, match=f"{words}.*1 whole ones were brought"):
        versions.pull(other)
    assert (other / "store.dvc").read_bytes() == before[0]
    assert content(other).items() >= before[1].items()
    (other / "store.dvc").unlink()  # another branch of git, which names nothing: the remote knows the key
    with pytest.raises(listing.DiffersError, match=words):
        versions.push(other)
    with remote.opened(other) as there:
        assert remote.pushed_keys(there) == {SOURCE, RUN}
    third = clone(pushed, "third")
    versions.pull(third)
    assert content(third) == before[2]
    run("git", "checkout", "--quiet", "store.dvc", cwd=other)
    assert versions.push(other, [RUN], replace=True).changed  # the one that was pushed first was wrong
    assert things(other) == {SOURCE, RUN}
    with pytest.raises(listing.DiffersError, match=words):
        versions.push(pushed)
    for root in (pushed, third):
        shutil.rmtree(root / "store" / "runs" / RUN)
        shutil.copyfile(other / "store.dvc", root / "store.dvc")
        (root / "results" / "embedded" / "manifests.json").unlink()
        store.published.cache_clear()
        versions.pull(root)
    assert content(third)[f"runs/{RUN}/weights.bin"] == content(other)[f"runs/{RUN}/weights.bin"]
    assert versions.push(pushed) == versions.Moved()


def test_a_run_that_another_pushes_at_the_same_moment_has_to_be_the_same(
    origin: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    say = versions.say_of

    def another_too(there: remote.Remote, key: str, said: remote.Said, scratch: Path) -> None:
        say(there, key, said, scratch)
        say(there, key, said | {"files": said["files"] | {"weights.bin": "0" * 32}}, scratch)

    monkeypatch.setattr(versions, "say_of", another_too)
    with pytest.raises(listing.DiffersError, match=r"weights.bin: was made twice and differs"):
        versions.push(origin)
    assert not (origin / "store.dvc").exists()


def test_where_two_believed_that_they_were_first_the_next_push_names_the_file(pushed: Path) -> None:
    with remote.opened(pushed) as there:
        said = remote.said_of(there, RUN)
        other = said | {"files": said["files"] | {"weights.bin": "0" * 32}}
        remote.say_of(there, RUN, other, pushed / "store" / "work")  # after ours had been read back
    with pytest.raises(listing.DiffersError, match=f"store/runs/{RUN}/weights.bin: was made twice and differs"):
        versions.push(pushed)


# --- what is not as it was -------------------------------------------------------------------------------------------


def test_an_altered_or_lost_object_in_the_remote_is_refused_and_the_rest_is_brought(pushed: Path, place: Path) -> None:
    weights = Path("store") / "runs" / RUN / "weights.bin"
    other = clone(pushed, "other")
    alter(object_of(pushed / weights, place))
    alter(object_of(pushed / "store" / "records" / f"{SOURCE}.json", place))
    found = store.sha256_file(object_of(pushed / weights, place))
    with pytest.raises(IntegrityError, match="not put in the store.*1 other things were refused too. 1 whole ones"):
        versions.pull(other)
    with pytest.raises(IntegrityError, match=f"{weights}: SHA-256 is {found}") as caught:
        versions.pull(other, [RUN])
    assert caught.value.file == other / weights
    assert not (other / weights).parent.exists()
    assert not (other / "store" / "records" / f"{SOURCE}.json").exists()
    assert (other / "store" / "data" / SOURCE / "done.json").is_file()
    with remote.opened(pushed) as there:
        for file in (pushed / weights, pushed / "store" / "records" / f"{SOURCE}.json"):
            Path(there.objects.oid_to_path(listing.md5_of(file))).unlink()
    with pytest.raises(IntegrityError, match=f"{weights}: SHA-256 is missing"):
        versions.pull(other, [RUN])
    assert versions.push(pushed).objects == 2  # what the remote has lost it gets again
    versions.pull(other)
    assert content(other) == content(pushed)


def test_what_is_broken_here_is_not_pushed(pushed: Path, place: Path) -> None:
    folder = make(pushed, OTHER, "new")
    alter(folder / "weights.bin")
    with pytest.raises(IntegrityError, match=f"{OTHER}/weights.bin"):
        versions.push(pushed)
    alter(pushed / "store" / "data" / SOURCE / "weights.bin")  # was pushed when it was whole
    shutil.rmtree(folder)
    (pushed / "store" / "records" / f"{OTHER}.json").unlink()
    assert versions.push(pushed).objects == 0
    shutil.rmtree(place / "files")
    with pytest.raises(IntegrityError, match=f"{SOURCE}/weights.bin"):
        versions.push(pushed)


def test_a_thing_that_results_in_git_say_otherwise_of_is_refused(pushed: Path) -> None:
    other = clone(pushed, "other")
    file = other / "results" / "embedded" / "manifests.json"
    digests = json.loads(file.read_text(encoding="utf-8"))
    digests[RUN]["digest"] = "0" * 64
    file.write_text(json.dumps(digests), encoding="utf-8")
    with pytest.raises(IntegrityError, match=f"(?s){RUN}/manifest.json: SHA-256 is .*expected {'0' * 64}"):
        versions.pull(other)
    assert not (other / "store" / "runs" / RUN).exists()


@pytest.mark.parametrize("path", ["../outside", "runs/../../outside", "/etc/passwd", "runs//x", ""])
def test_a_list_leads_nowhere_out_of_the_store(pushed: Path, path: str) -> None:
    raw = json.dumps([{"md5": "0" * 32, "relpath": path}]).encode()
    name = f"{listing.md5_of_bytes(raw)}.dir"
    cache = pushed / ".dvc" / "cache" / "files" / "md5" / name[:2]
    cache.mkdir(parents=True)
    (cache / name[2:]).write_bytes(raw)
    (pushed / "store.dvc").write_text(f"outs:\n- md5: {name}\n  path: store\n", encoding="utf-8")
    with pytest.raises(RedistillError, match="which cannot be in the store"):
        versions.pull(pushed)


def test_what_is_said_of_a_key_leads_nowhere_out_of_the_store(pushed: Path, place: Path) -> None:
    (pushed / "store.dvc").unlink()
    outside = {"area": "runs", "files": {"../x": "0" * 32}, "record": None}
    wrong: list[Any] = [{"area": "..", "files": {}, "record": None}, outside, [], "x"]
    for said in wrong:
        (place / "redistill" / f"{OTHER}.json").write_text(json.dumps(said), encoding="utf-8")
        with pytest.raises(RedistillError, match=f"redistill/{OTHER}.json is not what"):
            versions.pull(pushed, [OTHER])


def test_mistakes_are_sentences(pushed: Path, place: Path, tmp_path: Path) -> None:
    other = clone(pushed, "other")
    place.rename(tmp_path / "away")
    with pytest.raises(RedistillError, match=r"store.dvc: the remote `local` does not give the list.*Was it pushed"):
        versions.pull(other)
    with pytest.raises(RedistillError, match="the store is empty"):
        versions.push(other)
    (tmp_path / "away").rename(place)
    (other / "store").write_text("no folder", encoding="utf-8")
    with pytest.raises(RedistillError, match=f"{other}/store: cannot be written: Not a directory"):
        versions.pull(other)
    (other / "store").unlink()
    with pytest.raises(RedistillError, match="the remote `else` cannot be opened: config file error: remote 'else'"):
        versions.pull(other, remote="else")
    (other / ".dvc" / "config.local").write_text('[remote "odd"]\n    url = oss://bucket/x\n', encoding="utf-8")
    with pytest.raises(RedistillError, match="the remote `odd` cannot be opened: .*requires .dvc-oss. to be installed"):
        versions.pull(other, remote="odd")
    (other / "store.dvc").write_text("something\n", encoding="utf-8")
    with pytest.raises(RedistillError, match="store.dvc is not what `redistill push` writes"):
        versions.pull(other)
    (other / "store.dvc").unlink()
    with pytest.raises(RedistillError, match=r"there is no store.dvc: nothing was pushed yet"):
        versions.pull(other)
    shutil.rmtree(other / ".dvc")
    with pytest.raises(RedistillError, match="DVC's remote cannot be opened"):
        versions.pull(other, [RUN])
