"""Prune: what no table reaches is listed and removed; what one does, here or in another clone, never."""

import fcntl
import json
import os
import random
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from published_study import STUDY, PublishedStudy
from versioned import commit, redistill, run

from redistill import reach
from redistill.cli.application import plan_of_experiment
from redistill.errors import RedistillError
from redistill.plan import make_plan
from redistill.provenance import prune, store

# --- on graphs that were drawn ---------------------------------------------------------------------------------------


def key(number: int) -> str:
    return f"{number:016x}"


def put(root: Path, number: int, inputs: set[int]) -> Path:
    """A small thing, made of these."""
    work, folder = root / "store" / "work" / key(number), root / "store" / store.AREAS[number % 5] / key(number)
    work.mkdir(parents=True)
    (work / "file").write_text("x" * number, encoding="utf-8")
    parts = {"kind": "run", "config": {}, "inputs": {str(i): key(i) for i in inputs}}
    store.put(root, work, folder, parts)
    return folder


def drawn(root: Path, seed: int) -> tuple[dict[int, set[int]], random.Random]:
    """A store with things that are made of one another at random: inputs by number."""
    draw = random.Random(seed)
    inputs: dict[int, set[int]] = {}
    for number in range(30):
        inputs[number] = set(draw.sample(range(number), min(number, draw.choice((0, 0, 1, 2, 3)))))
        put(root, number, inputs[number])
    return inputs, draw


def upstream(inputs: dict[int, set[int]], numbers: set[int]) -> set[int]:
    """These and all that they are made of, found in another way than the code finds it."""
    while True:
        more = numbers.union(*(inputs[n] for n in numbers)) if numbers else numbers
        if more == numbers:
            return numbers
        numbers = more


def there(root: Path) -> set[int]:
    return {int(f.parent.name, 16) for f in (root / "store").glob("*/*/done.json")}


@pytest.mark.parametrize("seed", range(12))
def test_nothing_that_is_reached_is_ever_removed_whatever_is_made_of_what(tmp_path: Path, seed: int) -> None:
    inputs, draw = drawn(tmp_path, seed)
    reached, begun, young = (set(draw.sample(range(30), draw.randrange(4))) for _ in range(3))
    kept = upstream(inputs, reached | begun | young)
    work = tmp_path / "store" / "work"
    for number in begun:
        (work / key(number) / "progress").mkdir(parents=True)
        if draw.random() < 0.5:  # the job has not finished, and only what it was told says what it needs
            folder = next((tmp_path / "store").glob(f"*/{key(number)}/done.json")).parent
            told = {"parts": store.read_manifest(folder)["key_parts"]}
            store.write_atomically(work / "plans" / f"{key(number)}.json", json.dumps(told))
            shutil.rmtree(folder)
    for folder in (tmp_path / "store").glob("*/????????????????"):
        if folder.parent.name != "work":
            age = 1 if int(folder.name, 16) in young else 100
            os.utime(folder, (time.time() - age * prune.DAY,) * 2)
    before = there(tmp_path)
    found = prune.garbage(tmp_path, {key(n) for n in reached}, keep_days=50)
    assert {int(one.key, 16) for one in found} == before - kept
    order = [int(one.key, 16) for one in found]
    for place, number in enumerate(order):
        assert not inputs[number].intersection(order[:place])  # stopped anywhere, nothing lacks what it is made of
    half = found[: len(found) // 2]
    assert prune.remove(tmp_path, half) == half
    left = prune.garbage(tmp_path, {key(n) for n in reached}, keep_days=50)
    assert {one.key for one in left} == {one.key for one in found[len(half) :]}
    prune.remove(tmp_path, found)
    assert there(tmp_path) == before & kept
    assert not (work / "pruned").exists()


def test_what_a_job_is_making_now_is_safe_with_what_it_needs(tmp_path: Path) -> None:
    put(tmp_path, 1, set())
    put(tmp_path, 2, {1})
    put(tmp_path, 3, {2})
    put(tmp_path, 4, set())
    lock = tmp_path / "store" / "work" / f"{key(3)}.lock"
    with lock.open("w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        found = prune.garbage(tmp_path, set())
        assert [one.key for one in found] == [key(4)]
    (four,) = found
    with (tmp_path / "store" / "work" / f"{key(4)}.lock").open("w") as stream:  # taken between the list and the answer
        fcntl.flock(stream, fcntl.LOCK_EX)
        assert prune.remove(tmp_path, found) == []
        assert four.folder.is_dir()
    assert prune.remove(tmp_path, found) == found


def test_what_was_never_finished_is_garbage_too_and_sizes_are_shown(tmp_path: Path) -> None:
    folder = put(tmp_path, 200, set())
    (folder / "done.json").unlink()
    (folder / "manifest.json").write_text("{", encoding="utf-8")
    (tmp_path / "store" / "runs" / "notes").mkdir(parents=True)  # somebody's own
    (one,) = prune.garbage(tmp_path, set())
    assert (one.kind, one.size, one.days < 1) == ("unfinished", 201, True)
    prune.remove(tmp_path, [one])
    assert not folder.exists()
    assert (tmp_path / "store" / "runs" / "notes").is_dir()


# --- on a study ------------------------------------------------------------------------------------------------------


@pytest.fixture
def made(versioned_study: PublishedStudy) -> PublishedStudy:
    commit(versioned_study.root)
    return versioned_study


def edit(made: PublishedStudy, old: str, new: str) -> None:
    file = made.root / "configs" / "experiments" / "plain.yaml"
    text = file.read_text(encoding="utf-8")
    assert old in text
    file.write_text(text.replace(old, new), encoding="utf-8")


def change(made: PublishedStudy) -> set[str]:
    """Another recipe; the keys that the study then no longer asks for."""
    edit(made, "weight: 1.0", "weight: 0.9")
    return made.plan.nodes.keys() - make_plan(made.root, STUDY).nodes.keys()


def spoil(made: PublishedStudy) -> None:
    edit(made, "batch_size: 10", "batch_size: many")


def unpublish(made: PublishedStudy) -> None:
    shutil.rmtree(made.results)


def keys_of(made: PublishedStudy) -> set[str]:
    return {folder.parent.name for folder in (made.root / "store").glob("*/*/done.json")}


def unreached(made: PublishedStudy, *commits: str) -> set[str]:
    return {one.key for one in prune.garbage(made.root, reach.reached(made.root, commits)[0])}


def test_a_finished_study_has_no_garbage_and_one_that_changed_has_what_only_the_old_one_asked_for(
    made: PublishedStudy,
) -> None:
    assert unreached(made) == set()
    old = change(made)
    assert len(old) > 5
    assert unreached(made) == {made.plan.target.key}  # results/ still show the old tables, and are the copy of it
    unpublish(made)
    assert unreached(made) == old
    edit(made, "weight: 0.9", "weight: 1.0")
    assert unreached(made) == set()


def test_other_commits_keep_what_their_results_name_if_asked(made: PublishedStudy) -> None:
    old, study = change(made), made.plan.target.key
    unpublish(made)
    run("git", "rm", "--quiet", "--cached", "-r", "results", cwd=made.root)
    commit(made.root)
    assert unreached(made) == old
    assert unreached(made, "HEAD") == old
    assert unreached(made, "HEAD~1") == {study}
    assert len(reach.commits_with_results(made.root)) == 2
    assert unreached(made, *reach.commits_with_results(made.root)) == {study}
    with pytest.raises(RedistillError, match="git cannot be asked what other commits reach"):
        unreached(made, "no-such-commit")


def test_a_config_with_a_mistake_stops_it(made: PublishedStudy) -> None:
    unpublish(made)
    spoil(made)
    before = keys_of(made)
    said = redistill(made.root, "prune", "--yes", ok=False)
    assert "what tables reach is not known" in said
    assert "small: configs/experiments/plain.yaml" in said
    assert keys_of(made) == before


def test_results_that_cannot_be_read_stop_it(made: PublishedStudy) -> None:
    store.write_atomically(made.results / "manifests.json", "[")
    with pytest.raises(RedistillError, match="results/small/manifests.json cannot be read"):
        unreached(made)


def test_a_study_whose_data_is_not_here_keeps_what_it_asked_for_when_it_was_begun_and_what_its_results_name(
    made: PublishedStudy,
) -> None:
    reach.note(make_plan(made.root, STUDY))
    study = made.root / "configs" / "studies" / "small.yaml"
    study.write_text(study.read_text(encoding="utf-8") + "folders: {mine: {variable: NOT_SET}}\n", encoding="utf-8")
    sources = made.root / "configs" / "sources.yaml"
    text = sources.read_text(encoding="utf-8")
    layout = '"layout": {"folder": "mine", "splits": {"train": ["a"]}}, "kind": "data"'
    sources.write_text(text.replace('"kind": "data"', layout), encoding="utf-8")
    said = redistill(made.root, "prune", "--yes")
    assert "what it asked for when it was begun last is kept: small: configs/studies/small.yaml:" in said
    assert "NOT_SET is not set" in said
    assert "0 things that no table reaches" in said
    shutil.rmtree(made.root / "store" / "work" / "reached")
    assert unreached(made) == {made.plan.target.key}  # of which results/ are the copy
    unpublish(made)
    assert unreached(made) == made.plan.nodes.keys()


def test_another_clone_of_the_same_store_keeps_what_it_asks_for(made: PublishedStudy, tmp_path: Path) -> None:
    shutil.copytree(made.root, tmp_path / "other", ignore=shutil.ignore_patterns("store"))
    (tmp_path / "other" / "store").symlink_to(made.root / "store")
    other = PublishedStudy(tmp_path / "other", made.plan)
    reach.note(make_plan(other.root, STUDY))
    old = change(made)
    unpublish(made)
    assert unreached(made) == set()
    change(other)
    reach.note(make_plan(other.root, STUDY))
    assert unreached(made) == {made.plan.target.key}  # its results/ show the old tables
    unpublish(other)
    reach.note(make_plan(other.root, STUDY))
    assert unreached(made) == old
    note = next((made.root / "store" / "work" / "reached").iterdir())
    note.write_text("{", encoding="utf-8")
    with pytest.raises(RedistillError, match=f"{note.name}: cannot be read"):
        unreached(made)


def test_an_experiment_alone_reaches_nothing(made: PublishedStudy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(made.root)
    reach.note(plan_of_experiment("plain", STUDY, "marks", [5], None))
    assert not (made.root / "store" / "work" / "reached").exists()


def test_the_command_lists_asks_and_removes_and_the_rest_is_as_it_was(made: PublishedStudy) -> None:
    old = change(made)
    unpublish(made)
    attempt = made.root / "store" / "attempts" / f"{min(old)}.json"
    store.write_atomically(attempt, "{}")  # of something that nothing reaches
    records = sorted((made.root / "store" / "records").iterdir())
    listed = redistill(made.root, "prune", "--dry-run")
    assert {line.split()[0] for line in listed.splitlines()[:-1]} == old
    assert "plain · marks · seed 0" in listed
    assert f"{len(old)} things that no table reaches" in listed
    before = keys_of(made)
    assert "say --yes" in redistill(made.root, "prune", ok=False)
    assert "0 things that no table reaches" in redistill(made.root, "prune", "--yes", "--keep-days", "1")
    assert keys_of(made) == before
    assert f"removed: {len(old)} things" in redistill(made.root, "prune", "--yes")
    assert keys_of(made) == before - old
    assert sorted((made.root / "store" / "records").iterdir()) == records
    assert attempt.is_file()
    for node in make_plan(made.root, STUDY).nodes.values():
        if node.key in before:
            store.trust(made.root, node.folder(made.root))


def test_an_answer_of_no_removes_nothing(made: PublishedStudy) -> None:
    change(made)
    unpublish(made)
    before = keys_of(made)
    code = (
        "import sys; from redistill.cli import main; sys.stdin.isatty = lambda: True; "
        "sys.argv = ['redistill', 'prune']; main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=made.root, input="n\n", text=True, capture_output=True,
        env=os.environ | {"PYTHONPATH": str(Path(reach.__file__).parents[1])}, timeout=120,
    )  # fmt: skip
    assert "Nothing was removed." in done.stdout, done.stderr
    assert keys_of(made) == before
