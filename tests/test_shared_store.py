"""A store that several clones or users share, and a remote between them: nothing is made twice or in another's way."""

import json
import os
import shutil
import stat
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from published_study import STUDY, PublishedStudy
from versioned import (
    OTHER,
    RUN,
    SOURCE,
    at_home,
    clone,
    commit,
    content,
    environment,
    make,
    named,
    redistill,
    repository,
    run,
    things,
)

from redistill.errors import RedistillError
from redistill.plan import make_plan
from redistill.provenance import prune, seal, shared, signatures, store, versions
from redistill.specification import write_specifications


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    at_home(tmp_path, monkeypatch)
    before = os.umask(0o022)
    yield
    os.umask(before)


@pytest.fixture
def made(versioned_study: PublishedStudy) -> PublishedStudy:
    return versioned_study


def other_clone(made: PublishedStudy, tmp_path: Path) -> PublishedStudy:
    """A clone with the same store."""
    commit(made.root)
    other = clone(made.root, "other")
    (other / "store").symlink_to(made.root / "store")
    assert run("git", "status", "--porcelain", cwd=other) == ""
    return PublishedStudy(other, make_plan(other, STUDY))


def snakemake(root: Path, *arguments: str, **config: str) -> str:
    said = [f"{name}={value}" for name, value in ({"study": STUDY} | config).items()]
    return run(sys.executable, "-m", "snakemake", "--cores", "1", *arguments, "--config", *said, cwd=root)


# --- a folder --------------------------------------------------------------------------------------------------------

AT_ONCE = """
import sys, time
from pathlib import Path
from redistill import jobs
function_of = jobs.function_of
def slowly(*arguments):
    with (Path.cwd() / "store" / "made").open("a") as log:
        log.write("made\\n")
    time.sleep(0.5)
    return function_of("cell")(*arguments)
jobs.function_of = lambda kind: slowly
print("ready", flush=True)
sys.stdin.read()
print(jobs.make(Path.cwd(), sys.argv[1]).resolve())
"""


def test_two_clones_that_make_the_same_at_once_in_one_folder_make_it_once(made: PublishedStudy, tmp_path: Path) -> None:
    other = other_clone(made, tmp_path)
    cell = made.node("cell", "floor")
    before = {f.name: f.read_bytes() for f in cell.folder(made.root).iterdir()}
    shutil.rmtree(cell.folder(made.root))
    for project in (made, other):
        shutil.rmtree(project.plan.target.folder(project.root), ignore_errors=True)  # else nobody needs the cell
        for table in [n for n in made.plan.nodes.values() if n.kind == "table" and cell.key in n.inputs.values()]:
            shutil.rmtree(table.folder(project.root), ignore_errors=True)
        write_specifications(project.plan)
    jobs = [
        subprocess.Popen([sys.executable, "-c", AT_ONCE, cell.key], cwd=project.root, text=True, stdin=subprocess.PIPE,
                         stdout=subprocess.PIPE, env=environment())
        for project in (made, other)
    ]  # fmt: skip
    for job in jobs:
        assert job.stdout is not None
        assert job.stdout.readline() == "ready\n"
    said = [job.communicate("", timeout=60)[0].splitlines()[-1] for job in jobs]
    assert [job.returncode for job in jobs] == [0, 0]
    assert said == [str(cell.folder(made.root))] * 2
    assert (made.root / "store" / "made").read_text() == "made\n"
    assert {f.name: f.read_bytes() for f in cell.folder(made.root).iterdir()} == before
    store.trust(other.root, cell.folder(other.root))


def test_what_one_clone_has_made_the_other_has_not_to_make(made: PublishedStudy, tmp_path: Path) -> None:
    other = other_clone(made, tmp_path)
    assert other.plan.missing() == []
    assert "Nothing to be done" in snakemake(other.root, "-n")
    versions.push(other.root)
    assert versions.push(made.root).objects == 0
    assert named(made.root) == content(other.root).keys()
    assert (other.root / "store").is_symlink()
    assert versions.pull(other.root) == versions.Moved()


def test_a_link_to_no_folder_is_said(made: PublishedStudy, tmp_path: Path) -> None:
    shutil.move(made.root / "store", tmp_path / "away")
    (made.root / "store").symlink_to(tmp_path / "store")
    assert "store is a link to" in redistill(made.root, "plan", STUDY, ok=False)
    with pytest.raises(RedistillError, match="there is no such folder: make it, or mount it"):
        shared.take(made.root)


@pytest.mark.parametrize(("mode", "files"), [(0o2775, 0o664), (0o755, 0o644), (0o777, 0o666)])
def test_files_of_a_shared_store_are_for_whom_the_folder_is(tmp_path: Path, mode: int, files: int) -> None:
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared").chmod(mode)
    root = tmp_path / "clone"
    root.mkdir()
    (root / "store").symlink_to(tmp_path / "shared")
    shared.take(root)
    folder = make(root, RUN, "x")
    for path in (tmp_path / "shared").rglob("*"):
        assert stat.S_IMODE(path.stat().st_mode) == (mode if path.is_dir() else files), path
    assert folder.resolve().is_relative_to(tmp_path / "shared")


def test_files_of_a_store_of_ones_own_are_as_the_user_wants_them(tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    (tmp_path / "store").chmod(0o777)
    shared.take(tmp_path)
    assert os.umask(0o022) == 0o022


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be two users")
def test_two_users_of_one_group_work_in_one_folder() -> None:
    group, base = 54321, Path(tempfile.mkdtemp(dir="/tmp"))  # where both may go
    try:
        base.chmod(0o755)
        (base / "shared").mkdir()
        os.chown(base / "shared", 0, group)
        (base / "shared").chmod(0o2775)
        for name in ("one", "two"):
            (base / name).mkdir()
            (base / name).chmod(0o777)
            (base / name / "store").symlink_to(base / "shared")

        def makes(root: Path, *keys: str) -> Callable[[], None]:
            def work() -> None:
                for key in keys:
                    with store.locked(root / "store", key):
                        if not (root / "store" / "runs" / key).is_dir():
                            make(root, key, "x")

            return work

        def prunes(root: Path) -> Callable[[], None]:
            def work() -> None:
                found = prune.garbage(root, [OTHER])
                assert [one.key for one in found] == [RUN]
                assert prune.remove(root, found) == found

            return work

        as_user(54001, group, base / "one", makes(base / "one", RUN))
        as_user(54002, group, base / "two", makes(base / "two", RUN, OTHER))
        for key, owner in ((RUN, 54001), (OTHER, 54002)):
            assert (base / "shared" / "runs" / key / "weights.bin").stat().st_uid == owner
        as_user(54002, group, base / "two", prunes(base / "two"))
        as_user(54001, group, base / "one", makes(base / "one", RUN))
        with pytest.raises(AssertionError):  # it is not for all the world
            as_user(54003, 54003, base / "two", makes(base / "two", SOURCE))
    finally:
        shutil.rmtree(base)


def as_user(user: int, group: int, root: Path, work: Callable[[], None]) -> None:
    """Do something as another user. A fork: that user may not read this Python."""
    child = os.fork()
    if not child:
        try:
            os.setgroups([])
            os.setgid(group)
            os.setuid(user)
            shared.take(root)
            work()
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


# --- a remote between clones -----------------------------------------------------------------------------------------


def test_clone_pull_and_nothing_is_to_be_done(made: PublishedStudy) -> None:
    assert "pushed: " in redistill(made.root, "push", "--study", STUDY)
    commit(made.root)
    other = clone(made.root, "other")
    said = redistill(other, "pull", "--study", STUDY)
    assert f"{len(made.plan.nodes)} things and {len(made.plan.nodes)} records" in said
    assert content(other) == content(made.root)
    assert make_plan(other, STUDY).missing() == []
    assert "Nothing to be done" in snakemake(other, "-n")
    assert run("git", "status", "--porcelain", cwd=other) == ""
    assert "0 things and 0 records; 0 files moved" in redistill(other, "pull")
    assert "store.dvc is as it was" in redistill(other, "push")


def test_some_of_a_study_by_key_by_name_by_table_and_by_cell(made: PublishedStudy) -> None:
    redistill(made.root, "push")
    commit(made.root)
    other = clone(made.root, "other")

    def pulled(*arguments: str) -> set[str]:
        shutil.rmtree(other / "store", ignore_errors=True)
        redistill(other, "pull", *arguments)
        assert all((other / "store" / "records" / f"{key}.json").is_file() for key in there())
        return there()

    def there() -> set[str]:
        return {f.parent.name for f in (other / "store").glob("*/*/done.json")}

    def behind(*nodes: str) -> set[str]:
        return {node.key for node in made.plan.upstream(nodes)}

    teacher, cell = made.node("teacher").key, made.node("cell", "plain · marks").key
    assert pulled(teacher) == {teacher}
    assert pulled(teacher, "--upstream") == behind(teacher)
    plain = {node.key for node in made.plan.nodes.values() if node.title.startswith("plain · marks · seed")}
    assert len(plain) >= 2
    assert pulled("plain", "-s", STUDY) == {made.node("student", f"plain · marks · seed {seed}").key for seed in (0, 1)}
    (second,) = pulled("plain", "--study", STUDY, "--task", "marks", "--seed", "1")
    assert second == made.node("student", "plain · marks · seed 1").key
    assert pulled("--study", STUDY, "--table", "pictures", "--row", "plain") == behind(cell)
    assert pulled("--study", STUDY, "--table", "texts") == behind(made.node("table", "texts").key)
    for arguments, words in (
        (("plane", "-s", STUDY), "`plane` is neither a key nor a row of small; did you mean `plain`?"),
        ((STUDY, "-s", STUDY), "`small` is neither a key nor a row of small; a study is --study small"),
        (("plain", "-s", STUDY, "--seed", "9"), "`plain` has no run with this task and seed in small; there are marks"),
        (("--seed", "1"), "say more of a run: name its row or its key first"),
        (("plain", "--table", "pictures"), "either keys and rows as they are, or --table"),
        (("0" * 16,), "nobody has pushed this to the remote `local`: 0000000000000000"),
        (("0" * 16, "--upstream"), "so what it is made of is unknown"),
        (("--study", STUDY, "--table", "picture"), "did you mean `pictures`?"),
    ):
        assert words in " ".join(redistill(other, "pull", *arguments, ok=False).split())


def test_what_others_have_pushed_on_another_branch_is_brought_before_a_study_is_made(made: PublishedStudy) -> None:
    run("git", "rm", "--quiet", "-r", "--cached", "--ignore-unmatch", "results", cwd=made.root)
    shutil.move(made.results, made.results.with_name("away"))
    commit(made.root)
    other = clone(made.root, "other")
    shutil.move(made.results.with_name("away"), made.results)
    versions.push(made.root)  # and not committed: the other clone has no store.dvc
    assert "train_teacher" in snakemake(other, "-n", remote="local")  # a dry run moves nothing; sources are gone
    said = snakemake(other, remote="local")
    assert f"{len(made.plan.nodes)} things of the study were brought from the remote `local`" in said
    assert content(other) == content(made.root)
    assert "rule train" not in said
    assert {f.name: f.read_bytes() for f in (other / "results" / STUDY).iterdir()} == {
        f.name: f.read_bytes() for f in made.results.iterdir()
    }


def test_of_two_records_the_first_stays_unless_a_seal_in_git_names_ours(made: PublishedStudy, tmp_path: Path) -> None:
    versions.push(made.root)
    file = made.record(made.node("teacher").key)
    noted = json.loads(file.read_text(encoding="utf-8"))
    store.write_atomically(file, store.pretty(noted | {"seconds": noted["seconds"] + 1}))
    assert versions.push(made.root) == versions.Moved()
    signatures.new_key(tmp_path / "key")
    seal.seal(made.root, STUDY, tmp_path / "key")
    moved = versions.push(made.root)
    assert (moved.objects, moved.changed) == (1, True)
    commit(made.root)
    other = clone(made.root, "other")
    versions.pull(other)
    assert content(other) == content(made.root)
    assert seal.check(other, STUDY).problems == []


def test_two_clones_of_one_remote_that_make_the_same_push_it_once(tmp_path: Path) -> None:
    one, two = repository(tmp_path / "one"), repository(tmp_path / "two")
    for root in (one, two):
        make(root, RUN, "same")
    versions.push(one)
    moved = versions.push(two)
    assert (moved.objects, moved.changed) == (1, True)  # its own record, as its git has no other
    make(one, OTHER, "new")
    versions.push(one)
    assert versions.pull(two, also=[OTHER], keys=[]).things == 1
    assert things(two) == {RUN}
