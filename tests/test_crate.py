"""A study as an RO-Crate: valid for roc-validator, complete, small, and checked alone by one file, wherever it is."""

import json
import platform
import random
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from conftest import REPOSITORY
from exported_study import project, records
from published_study import STUDY, PublishedStudy, copied

from redistill.audit import audit
from redistill.errors import IntegrityError, RedistillError
from redistill.exports import crate
from redistill.provenance import store, verify

VALIDATORS = REPOSITORY / ".venv-validators"
PROFILE = "provenance-run-crate"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> PublishedStudy:
    return project(tmp_path_factory.mktemp("crate") / "project")


@pytest.fixture(scope="module")
def written(made: PublishedStudy, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder, _ = crate.write(made.root, STUDY, tmp_path_factory.mktemp("written") / "crate", author="Somebody")
    return folder


@pytest.fixture
def moved(written: Path, tmp_path: Path) -> Path:
    """A copy elsewhere, to be spoilt."""
    return Path(shutil.copytree(written, tmp_path / "moved"))


def entities(folder: Path) -> dict[str, Any]:
    graph = json.loads((folder / crate.METADATA).read_text(encoding="utf-8"))["@graph"]
    return {entity["@id"]: entity for entity in graph}


def root_of(folder: Path) -> str:
    return verify.root(json.loads((folder / "results" / STUDY / "manifests.json").read_text(encoding="utf-8")))


def wrong(folder: Path, trusted: str | None = None, sums: str | None = None) -> list[str]:
    return [said for right, said in verify.folder(folder, trusted, sums) if right is False]


def sum_up_again(folder: Path) -> None:
    """What a forger does last."""
    (folder / verify.SUMS).unlink()
    crate._sum_up(folder)


# --- valid ------------------------------------------------------------------------------------------------------------


def validated(folder: Path, scratch: Path) -> dict[str, Any]:
    """What roc-validator says of the profile's required checks, offline."""
    if not (VALIDATORS / ".made-from").is_file():
        pytest.skip("there is no .venv-validators: `make validators` makes it")
    python, terms = VALIDATORS / "bin" / "python", scratch / "terms.json"
    (specification,) = VALIDATORS.glob("lib/python3.*/site-packages/rocrate/data/ro-crate.jsonld")
    assert json.loads(specification.read_text(encoding="utf-8"))["@id"] == "https://w3id.org/ro/crate/1.1/context"
    terms.write_text(json.dumps({"@context": crate.TERMS}), encoding="utf-8")
    seeds = ["https://w3id.org/ro/crate/1.1/context", specification, crate.CONTEXT, terms]
    subprocess.run([python, REPOSITORY / "tests" / "roc_validator.py", scratch / "cache", *seeds], check=True)
    command = [VALIDATORS / "bin" / "rocrate-validator", "-y", "validate", "--profile-identifier", PROFILE, "--offline",
               "--cache-path", scratch / "cache", "--requirement-severity", "required", "--no-paging",
               "--output-format", "json", "--output-file", scratch / "said.json", folder]  # fmt: skip
    subprocess.run(list(map(str, command)), capture_output=True, timeout=300)
    said: dict[str, Any] = json.loads((scratch / "said.json").read_text(encoding="utf-8"))
    return said


@pytest.mark.slow
def test_roc_validator_finds_nothing_against_the_profile(written: Path, tmp_path: Path) -> None:
    said = validated(written, tmp_path)
    assert said["issues"] == []
    assert said["passed"]
    assert said["statistics"]["total_skipped_checks"] == 0
    assert "provenance-run-crate-0.5" in said["statistics"]["profiles"]
    assert said["statistics"]["total_passed_checks"] == said["statistics"]["total_checks"] >= 85


@pytest.mark.slow
def test_roc_validator_does_look(moved: Path, tmp_path: Path) -> None:
    file = moved / crate.METADATA
    file.write_text(file.read_text(encoding="utf-8").replace('"instrument"', '"creator"'), encoding="utf-8")
    assert not validated(moved, tmp_path)["passed"]


# --- what is in it ----------------------------------------------------------------------------------------------------


def test_the_same_study_gives_the_same_crate(made: PublishedStudy, written: Path, tmp_path: Path) -> None:
    folder, digest = crate.write(made.root, STUDY, tmp_path / "again", author="Somebody")
    assert digest == store.sha256_file(written / verify.SUMS) == store.sha256_file(folder / verify.SUMS)
    ends = [noted["end"] for noted in records(made).values()]
    assert entities(folder)["./"]["datePublished"] == max(ends).replace("Z", "+00:00")


def test_every_thing_has_its_action_with_tool_inputs_result_and_times(made: PublishedStudy, written: Path) -> None:
    found = entities(written)
    for node in made.plan.nodes.values():
        if node.kind == "study":
            continue
        action = found[f"#make-{node.key}"]
        given, came = ([e["@id"] for e in crate_list(action[name])] for name in ("object", "result"))
        assert {f"store/{made.plan.nodes[key].area}/{key}/" for key in node.inputs.values()} <= set(given)
        assert f"store/{node.area}/{node.key}/" in came
        assert action["startTime"]
        assert action["endTime"]
        assert any(found[e["@id"]]["@type"] == "SoftwareSourceCode" for e in crate_list(action["instrument"]))
    used = [e["@id"] for e in found.values() if e["@type"] == "Dataset" and "license" in e]
    assert "./" in used
    assert {found[found[i]["license"]["@id"]]["name"] for i in used} == {"Apache-2.0", "CC BY 4.0", "MIT"}


def crate_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def test_every_file_is_described_with_its_digest_and_nothing_else_is(written: Path) -> None:
    files = {file.relative_to(written).as_posix() for file in written.rglob("*") if file.is_file()}
    said = {i: e for i, e in entities(written).items() if "File" in crate_list(e["@type"])}
    assert said.keys() == files - {crate.METADATA, verify.SUMS}
    assert all(e["sha256"] == store.sha256_file(written / i) for i, e in said.items())


def test_a_crate_is_small_unless_asked_and_names_what_it_leaves_out(
    made: PublishedStudy, written: Path, tmp_path: Path
) -> None:
    none, _ = crate.write(made.root, STUDY, tmp_path / "none", runs="none")
    all_of_it, _ = crate.write(made.root, STUDY, tmp_path / "all", runs="all")
    names = [{file.name for file in folder.rglob("*")} for folder in (none, written, all_of_it)]
    assert [{"predictions.parquet", "model.safetensors"} & n for n in names] == [
        set(), {"predictions.parquet"}, {"predictions.parquet", "model.safetensors"},
    ]  # fmt: skip
    run = made.node("student", "taught")
    left_out = entities(written)[f"#store/runs/{run.key}/model.safetensors"]
    assert left_out["sha256"] == store.sha256_file(run.folder(made.root) / "model.safetensors")
    assert wrong(none) == wrong(all_of_it) == []
    assert any("model.safetensors" in said for right, said in verify.folder(written) if right is None)
    assert not any("not here" in said for _, said in verify.folder(all_of_it))


def test_a_crate_names_no_machine_and_no_place(made: PublishedStudy, written: Path) -> None:
    texts = [file.read_text(encoding="utf-8") for file in (written / crate.METADATA, written / "README.md")]
    for text in texts:
        assert str(made.root) not in text
        assert str(Path.home()) + "/" not in text
        assert not re.search(rf"\b{re.escape(platform.node())}\b", text)


# --- checked elsewhere, alone -----------------------------------------------------------------------------------------


def alone(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The crate's own checker, with a Python that sees no packages at all."""
    command = [sys.executable, "-I", "-S", "verify.py", ".", *arguments]
    return subprocess.run(command, cwd=folder, env={"PATH": ""}, capture_output=True, text=True, timeout=60)


def test_a_crate_that_was_moved_is_checked_with_the_standard_library_alone(written: Path, moved: Path) -> None:
    sums = store.sha256_file(written / verify.SUMS)
    done = alone(moved, "--root", root_of(written), "--sums", sums)
    assert (done.returncode, done.stderr) == (0, "")
    assert "no problem" in done.stdout
    assert re.search(r"right: \d+ cells of 3 tables were checked", done.stdout)
    assert f"--root {root_of(written)}" in (moved / "README.md").read_text(encoding="utf-8")
    assert alone(moved, "--root", "0" * 64).returncode == 1
    assert alone(moved, "--sums", "0" * 64).returncode == 1


def test_redistill_audits_a_crate_that_was_moved_and_computes_its_numbers_again(moved: Path) -> None:
    report = audit(moved, STUDY, "recompute")
    assert report.wrong == []
    counts = {name: str(counted) for name, counted in report.counts["recompute"].items()}
    assert all(said.split(" of ")[0] == said.split(" of ")[1] != "0" for said in counts.values()), counts
    assert any("left out of this crate" in finding.message for finding in report.unchecked)
    assert wrong(moved) == []


def test_any_file_that_is_changed_removed_or_added_is_named(moved: Path) -> None:
    draw = random.Random(9)
    files = sorted(file for file in moved.rglob("*") if file.is_file() and file.name != verify.SUMS)
    kinds = {(file.name if file.parent.name != "records" else "record", file.suffix): file for file in files}
    for file in [*kinds.values(), *draw.sample(files, 20)]:
        before, name = file.read_bytes(), file.relative_to(moved).as_posix()
        place = draw.randrange(len(before))
        file.write_bytes(before[:place] + bytes([before[place] ^ 1 << draw.randrange(8)]) + before[place + 1 :])
        assert any(name in said for said in wrong(moved)), name
        file.unlink()
        assert any(name in said and "missing" in said for said in wrong(moved)), name
        file.write_bytes(before)
    (moved / "store" / "added").write_text("x", encoding="utf-8")
    assert wrong(moved) == ["store/added: unknown to SHA256SUMS"]


def test_a_number_that_was_changed_in_every_file_is_refused_by_the_root(moved: Path, made: PublishedStudy) -> None:
    trusted, cell = root_of(moved), made.node("cell", "taught")
    file = cell.folder(moved) / "metrics.json"
    old = store.sha256_file(file)
    metrics = json.loads(file.read_text(encoding="utf-8"))
    metrics["dev"] = {role: {**score, "value": 0.99} for role, score in metrics["dev"].items()}
    file.write_text(store.pretty(metrics), encoding="utf-8")
    _replace(moved, old, store.sha256_file(file))
    sum_up_again(moved)
    assert root_of(moved) != trusted
    assert any("has the root" in said and trusted in said for said in wrong(moved, trusted))


def _replace(folder: Path, old: str, new: str) -> None:
    for file in folder.rglob("*.json"):
        text = file.read_text(encoding="utf-8")
        if old in text:
            file.write_text(text.replace(old, new), encoding="utf-8")


def test_a_table_that_was_changed_with_its_manifest_is_refused_by_its_cells(moved: Path) -> None:
    file = moved / "results" / STUDY / "pictures.json"
    table, trusted = json.loads(file.read_text(encoding="utf-8")), root_of(moved)
    entries = json.loads((file.parent / "manifests.json").read_text(encoding="utf-8"))
    entry = next(e for e in entries.values() if e["kind"] == "table" and e["title"] == "pictures")
    table["rows"][0]["cells"]["marks"]["mean"] = 0.99
    file.write_text(json.dumps(table, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    entry["files"]["pictures.json"]["sha256"] = verify._without_root(file, trusted)
    (file.parent / "manifests.json").write_text(store.pretty(entries), encoding="utf-8")
    sum_up_again(moved)
    assert root_of(moved) == trusted  # tables are apart
    said = wrong(moved, trusted)
    assert any("pictures.proof.json: floor / marks: the table, its CSV and the proof" in one for one in said), said


def test_a_record_of_something_else_is_refused_even_where_the_sums_agree(moved: Path, made: PublishedStudy) -> None:
    ours, theirs = (moved / "store" / "records" / f"{made.node('student', t).key}.json" for t in ("taught", "plain"))
    shutil.copyfile(theirs, ours)
    sum_up_again(moved)
    assert [said.split(":")[0] for said in wrong(moved)] == [f"store/records/{ours.name}"]


def test_a_time_that_was_changed_in_a_record_is_refused_by_the_digest_of_the_sums(moved: Path) -> None:
    sums = store.sha256_file(moved / verify.SUMS)
    file = next((moved / "store" / "records").iterdir())
    file.write_text(re.sub(r'"seconds": [\d.]+', '"seconds": 0.1', file.read_text(encoding="utf-8")), encoding="utf-8")
    sum_up_again(moved)
    assert wrong(moved) == []  # nothing but the digest, or a seal, knows
    assert wrong(moved, sums=sums)[0].startswith("SHA256SUMS: its SHA-256 is")


# --- refused ----------------------------------------------------------------------------------------------------------


def test_what_is_not_as_published_is_not_put_in_a_crate(made: PublishedStudy, tmp_path: Path) -> None:
    copy = copied(made, tmp_path / "copy")
    file = copy.folder("student", "taught") / "predictions.parquet"
    file.write_bytes(file.read_bytes()[:-1] + b"?")
    with pytest.raises(IntegrityError, match="predictions.parquet"):
        crate.write(copy.root, STUDY, tmp_path / "crate")
    file.unlink()
    with pytest.raises(RedistillError, match="predictions.parquet is missing: `redistill pull` brings it"):
        crate.write(copy.root, STUDY, tmp_path / "crate")
    crate.write(copy.root, STUDY, tmp_path / "crate", runs="none")
    table = copy.results / "pictures.md"
    table.write_text(table.read_text(encoding="utf-8").replace("Taught", "Tautht"), encoding="utf-8")
    with pytest.raises(RedistillError, match=r"does not pass its own check: results/small/pictures.md"):
        crate.write(copy.root, STUDY, tmp_path / "other", runs="none")
    assert not list(tmp_path.glob("*other*"))


def test_a_place_that_holds_something_else_is_left_alone(made: PublishedStudy, written: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("x", encoding="utf-8")
    with pytest.raises(RedistillError, match="holds something else than a crate"):
        crate.write(made.root, STUDY, tmp_path, force=True)
    with pytest.raises(RedistillError, match="replace it with --force"):
        crate.write(made.root, STUDY, written)
    with pytest.raises(RedistillError, match="is the project, or holds it"):
        crate.write(written, STUDY, written, force=True)
    with pytest.raises(RedistillError, match="is in store/"):
        crate.write(made.root, STUDY, made.root / "store" / "crate")
    with pytest.raises(RedistillError, match="--runs takes none, predictions, all"):
        crate.write(made.root, STUDY, tmp_path / "new", runs="some")
    with pytest.raises(RedistillError, match="Studies with results: small"):
        crate.write(made.root, "nothing", tmp_path / "new")
    assert [file.name for file in tmp_path.iterdir()] == ["mine"]


def test_a_crate_needs_a_workflow_and_a_licence(made: PublishedStudy, tmp_path: Path) -> None:
    copy = copied(made, tmp_path / "copy")
    (copy.root / "CITATION.cff").unlink()
    with pytest.raises(RedistillError, match="say it with --licence"):
        crate.write(copy.root, STUDY, tmp_path / "crate")
    (copy.root / "CITATION.cff").write_text("license: [", encoding="utf-8")
    with pytest.raises(RedistillError, match="CITATION.cff: this is no YAML"):
        crate.write(copy.root, STUDY, tmp_path / "crate")
    (copy.root / "Snakefile").unlink()
    with pytest.raises(RedistillError, match="Snakefile is missing"):
        crate.write(copy.root, STUDY, tmp_path / "crate")
