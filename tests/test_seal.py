"""Seals: whatever is changed after a study was sealed is found and named, and an untouched study is never blamed."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from conftest import SOURCES
from published_study import STUDY, PublishedStudy, copied, publish_study

from redistill.errors import RedistillError
from redistill.provenance import published, record, seal, signatures, store, verify

SEAL = f"results/{STUDY}/signed/seal.json"


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("keys") / "key.pem"
    signatures.new_key(file)
    return file


@pytest.fixture(scope="module")
def sealed(tmp_path_factory: pytest.TempPathFactory, key: Path) -> PublishedStudy:
    study = publish_study(tmp_path_factory.mktemp("sealed") / "project")
    seal.seal(study.root, STUDY, key)
    return study


@pytest.fixture
def study(sealed: PublishedStudy, tmp_path: Path) -> PublishedStudy:
    """A copy, to be tampered with."""
    return copied(sealed, tmp_path / "project")


def redistill(study: PublishedStudy, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "redistill", *arguments], cwd=study.root, capture_output=True, text=True, timeout=120,
        env={**os.environ, "PYTHONPATH": str(SOURCES)},
    )  # fmt: skip


def behind(study: PublishedStudy) -> set[str]:
    """The keys of everything behind the study's tables, and the tables."""
    return set(study.plan.nodes) - {study.plan.target.key}


def edit(file: Path, change: Callable[[Any], None]) -> None:
    value = json.loads(file.read_text(encoding="utf-8"))
    change(value)
    store.write_atomically(file, store.pretty(value))


# --- what was not touched --------------------------------------------------------------------------------------------


def test_an_untouched_study_has_no_problem_and_its_signer_is_known(sealed: PublishedStudy, key: Path) -> None:
    public = signatures.public_key(key)
    for trusted in (None, public):
        checked = seal.check(sealed.root, STUDY, trusted)
        assert checked == seal.Checked(public, [], [], len(behind(sealed)))
    assert seal.check(sealed.root, STUDY).problems == []


def test_where_there_is_no_seal_nothing_is_wrong(study: PublishedStudy) -> None:
    shutil.rmtree(study.root / "results" / STUDY / "signed")
    assert seal.check(study.root, STUDY) == seal.Checked()
    with pytest.raises(RedistillError, match="there is no seal; `redistill seal small --key FILE` makes one"):
        seal.read(study.root, STUDY)


def test_publishing_again_leaves_the_seal_and_no_table_knows_of_it(study: PublishedStudy) -> None:
    from redistill.jobs import publish

    before = (study.root / SEAL).read_bytes()
    assert publish(replace(study.plan, root=study.root)) == []
    assert (study.root / SEAL).read_bytes() == before
    assert seal.check(study.root, STUDY).problems == []


def test_records_that_were_not_pulled_are_missing_and_not_wrong(study: PublishedStudy) -> None:
    shutil.rmtree(study.root / "store" / "records")
    checked = seal.check(study.root, STUDY)
    assert checked.problems == []
    assert sorted(checked.missing) == sorted(behind(study))
    assert checked.records == 0


def test_records_of_what_was_not_pulled_are_missing_and_not_wrong(study: PublishedStudy) -> None:
    node = study.node("student")
    study.record(node.key).unlink()
    shutil.rmtree(node.folder(study.root))
    checked = seal.check(study.root, STUDY)
    assert (checked.problems, checked.missing) == ([], [node.key])


def test_a_record_of_another_study_is_not_looked_at(study: PublishedStudy) -> None:
    (study.root / "store" / "records" / "0123456789abcdef.json").write_text("{}")
    assert seal.check(study.root, STUDY).problems == []


# --- what was --------------------------------------------------------------------------------------------------------


def edited_record(study: PublishedStudy) -> list[str]:
    file = study.record(study.node("student").key)
    edit(file, lambda noted: noted["machine"].update(processor="another"))
    return [file.name]


def removed_record(study: PublishedStudy) -> list[str]:
    file = study.record(study.node("cell").key)
    file.unlink()
    return [file.name]


def added_record(study: PublishedStudy) -> list[str]:
    """A record that was not there when the study was sealed."""
    file = study.record(study.node("teacher").key)
    content = file.read_bytes()
    file.unlink()
    seal.seal(study.root, STUDY, study.root.parent / "key.pem")
    file.write_bytes(content)
    return [file.name]


def swapped_records(study: PublishedStudy) -> list[str]:
    one, other = (study.record(study.node("student", name).key) for name in ("plain", "taught"))
    first = one.read_bytes()
    one.write_bytes(other.read_bytes())
    other.write_bytes(first)
    return [one.name, other.name]


def record_edited_with_its_file(study: PublishedStudy) -> list[str]:
    """A run with other predictions, whose manifest, done.json, record and results/ all agree with them."""
    node = study.node("student")
    folder = node.folder(study.root)
    (folder / "log.jsonl").write_text("{}\n")
    manifest = store.manifest_of(folder, node.parts)
    store.write_atomically(folder / "manifest.json", store.pretty(manifest))
    store.finish(folder)
    digest = store.digest_of(manifest)
    edit(study.record(node.key), lambda noted: noted.update(output={"manifest": digest}))
    edit(study.results / "manifests.json", lambda e: e[node.key].update(digest=digest, files=manifest["files"]))
    return [study.record(node.key).name, "manifests.json: its Merkle root", "manifests.json: is not what"]


def rebuilt_manifests(study: PublishedStudy) -> list[str]:
    edit(study.results / "manifests.json", lambda entries: entries[study.node("cell").key].update(title="another"))
    return ["manifests.json: its Merkle root", "manifests.json: is not what was sealed"]


def lost_entry(study: PublishedStudy) -> list[str]:
    edit(study.results / "manifests.json", lambda entries: entries.pop(study.node("student").key))
    return ["manifests.json"]


def edited_table(study: PublishedStudy) -> list[str]:
    file = study.results / "pictures.md"
    file.write_text(file.read_text().replace("0", "1", 1))
    return [f"results/{STUDY}/pictures.md: is not what was sealed"]


def removed_table(study: PublishedStudy) -> list[str]:
    (study.results / "pictures.csv").unlink()
    return [f"results/{STUDY}/pictures.csv: is gone"]


def added_table(study: PublishedStudy) -> list[str]:
    (study.results / "more.md").write_text("100 %")
    return [f"results/{STUDY}/more.md: was added"]


def edited_payload(study: PublishedStudy) -> list[str]:
    def change(envelope: dict[str, Any]) -> None:
        envelope["payload"] = "A" + envelope["payload"][1:]

    edit(study.root / SEAL, change)
    return [f"{SEAL}: the signature is wrong"]


def half_a_seal(study: PublishedStudy) -> list[str]:
    file = study.root / SEAL
    file.write_bytes(file.read_bytes()[:500])
    return [f"{SEAL}: cannot be read as a seal"]


def seal_of_another_study(study: PublishedStudy) -> list[str]:
    resign(study, study="another")
    return [f"{SEAL}: it is the seal of the study `another`"]


def seal_of_a_later_schema(study: PublishedStudy) -> list[str]:
    resign(study, schema=2)
    return [f"{SEAL}: is of schema 2"]


def something_else_that_was_signed(study: PublishedStudy) -> list[str]:
    resign(study, records=[])
    return [f"{SEAL}: what was signed is no seal"]


def another_root_of_records(study: PublishedStudy) -> list[str]:
    content, _ = seal.read(study.root, STUDY)
    resign(study, records={**content["records"], "root": "0" * 64})
    return [f"{SEAL}: its root is not that of its own records"]


def resign(made: PublishedStudy, **changes: Any) -> None:
    content, _ = seal.read(made.root, STUDY)
    payload = json.dumps({**content, **changes}).encode()
    envelope = signatures.sign(payload, seal.PAYLOAD_TYPE, made.root.parent / "key.pem")
    store.write_atomically(made.root / SEAL, store.pretty(envelope))


@pytest.mark.parametrize(
    "tamper",
    [
        edited_record, removed_record, added_record, swapped_records, record_edited_with_its_file, rebuilt_manifests,
        lost_entry, edited_table, removed_table, added_table, edited_payload, half_a_seal, seal_of_another_study,
        seal_of_a_later_schema, something_else_that_was_signed, another_root_of_records,
    ],
)  # fmt: skip
def test_what_was_changed_is_found_and_named(
    study: PublishedStudy, key: Path, tamper: Callable[[PublishedStudy], list[str]]
) -> None:
    shutil.copy(key, study.root.parent / "key.pem")
    expected = tamper(study)
    found = seal.check(study.root, STUDY, signatures.public_key(key)).problems
    assert found
    for said in expected:
        assert any(said in problem for problem in found), found
    assert len(found) <= len(expected) + 1, "something is blamed that was not touched"


def test_a_study_that_was_sealed_again_by_somebody_else_is_not_believed(study: PublishedStudy, key: Path) -> None:
    edited_record(study)
    other = signatures.new_key(study.root.parent / "other.pem")
    seal.seal(study.root, STUDY, study.root.parent / "other.pem")
    trusted = signatures.public_key(key)
    (problem,) = seal.check(study.root, STUDY, trusted).problems
    assert f"{SEAL}: it was signed by {other}, and not by the trusted key {trusted}" == problem
    assert seal.check(study.root, STUDY).signer == other  # nobody was trusted: who signed is said, to be judged


# --- sealing ---------------------------------------------------------------------------------------------------------


def test_what_is_not_right_is_not_sealed(study: PublishedStudy, key: Path) -> None:
    before = (study.root / SEAL).read_bytes()
    swapped_records(study)
    with pytest.raises(RedistillError, match=r"is not sealed, as it is not right: store/records/.* gives another key"):
        seal.seal(study.root, STUDY, key)
    cell = study.node("cell").key
    edit(study.results / "manifests.json", lambda entries: entries[cell].update(digest="0" * 64))
    with pytest.raises(RedistillError, match="is not what its digest says"):
        seal.seal(study.root, STUDY, key)
    with pytest.raises(RedistillError, match="there is no study `nothing`"):
        seal.seal(study.root, "nothing", key)
    assert (study.root / SEAL).read_bytes() == before


def test_a_record_that_is_none_is_not_sealed(study: PublishedStudy, key: Path) -> None:
    file = study.record(study.node("cell").key)
    edit(file, lambda noted: noted.update(host="rocinante"))
    with pytest.raises(RedistillError, match=rf"store/records/{file.name}: is no record of schema 2: host"):
        seal.seal(study.root, STUDY, key)


def test_records_disagree_without_a_seal_too(study: PublishedStudy) -> None:
    found = published.read(study.root, STUDY)
    assert seal.disagreements(study.root, found) == []
    key = study.node("outputs").key
    edit(study.record(key), lambda noted: noted["output"].update(manifest="0" * 64))
    (said,) = seal.disagreements(study.root, found)
    assert said.startswith(f"store/records/{key}.json: it says that the manifest 000")


def test_the_root_of_the_records_leads_from_each_record(sealed: PublishedStudy) -> None:
    """The one file for verification is enough to follow a record to the root that was signed."""
    content, _ = seal.read(sealed.root, STUDY)
    leaves = {key: {"kind": "record", "sha256": digest} for key, digest in content["records"]["sha256"].items()}
    tree = verify.levels(leaves)
    for place, key in enumerate(sorted(leaves)):
        digest = store.sha256_file(record.place(sealed.root, key))
        leaf = verify.leaf(key, {"kind": "record", "sha256": digest})
        assert verify.climb(leaf, verify.path(tree, place)) == content["records"]["root"]


def test_commands_make_a_key_and_a_seal(study: PublishedStudy) -> None:
    subprocess.run(["git", "init", "--quiet"], cwd=study.root, check=True)
    done = redistill(study, "keygen", "new.pem")
    assert done.returncode == 0, done.stderr
    assert "git sees it: never commit it" in done.stderr
    public = done.stdout.strip()
    assert redistill(study, "keygen", "new.pem").returncode == 1
    (study.root / ".gitignore").write_text("*.pem\n")
    assert redistill(study, "keygen", "ignored.pem").stderr == ""
    study.record(study.node("cell").key).unlink()
    done = redistill(study, "seal", STUDY, "--key", "new.pem")
    assert done.returncode == 0, done.stderr
    assert f"{len(behind(study)) - 1} records, signed by {public}" in done.stdout
    assert "1 things have no record here" in done.stdout
    assert seal.check(study.root, STUDY, public).problems == []
    done = redistill(study, "seal", STUDY, "--key", "nothing.pem")
    assert (done.returncode, done.stderr) == (
        1,
        "redistill: nothing.pem: no key can be read there (No such file or directory)\n",
    )
