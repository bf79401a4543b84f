"""What others read: SPARQL, PROV, signed statements, Croissant and licences say what redistill itself says."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import REPOSITORY, SOURCES
from exported_study import COMMIT, LATER, RESUMED, project, records
from published_study import STUDY, PublishedStudy, copied
from questioned import command

from redistill.errors import IntegrityError, RedistillError
from redistill.exports import crate, croissant, facts, licences, prov, queries, slsa
from redistill.provenance import published, record, signatures, store
from redistill.provenance.published import Published

NUMBER = "pictures / taught / marks"
TAUGHT = "taught · marks · seed 0"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> PublishedStudy:
    return project(tmp_path_factory.mktemp("exports") / "project")


@pytest.fixture(scope="module")
def read(made: PublishedStudy) -> Published:
    return published.read(made.root, STUDY)


@pytest.fixture(scope="module")
def written(made: PublishedStudy, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return crate.write(made.root, STUDY, tmp_path_factory.mktemp("written") / "crate")[0]


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("keys") / "key.pem"
    signatures.new_key(file)
    return file


@pytest.fixture(scope="module")
def signed(made: PublishedStudy, key: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("signed")
    slsa.write(made.root, STUDY, key, folder)
    return folder


# --- the eleven questions ---------------------------------------------------------------------------------------------


def asked(folder: Path, question: str, **given: str) -> list[Any]:
    """The rows of an answer; of one column, its values."""
    columns, rows = queries.ask(folder, question, given)
    return [row[0] for row in rows] if len(columns) == 1 else [tuple(row) for row in rows]


def behind(read: Published, number: str) -> list[published.Thing]:
    return read.upstream([read.cells[tuple(number.split(" / "))].key])  # type: ignore[index]


def runs(read: Published) -> list[published.Thing]:
    return [thing for thing in read.things.values() if thing.kind == "run"]


def test_there_are_eleven_questions_and_the_page_has_them() -> None:
    assert len({question.name for question in queries.QUESTIONS}) == 11
    page = (REPOSITORY / "docs" / "crates.md").read_text(encoding="utf-8")
    for question in queries.QUESTIONS:
        assert question.asked.endswith("?")
        assert question.asked in page
        assert question.sparql in page
    assert queries.PREFIXES in page


@pytest.mark.parametrize("number", [NUMBER, "texts / reader / words", "tuned / tuned / marks", "texts / floor / words"])
def test_sources_of_a_number(made: PublishedStudy, read: Published, written: Path, number: str) -> None:
    said = {source.name: source for source in facts.read(made.root, STUDY).sources.values()}
    expected = [(t.kind, t.title, said[t.title].licence, said[t.title].citation) for t in behind(read, number)
                if t.kind in ("data", "model")]  # fmt: skip
    assert asked(written, "sources", number=number) == sorted(expected)
    assert expected


def test_runs_that_used_a_package(made: PublishedStudy, read: Published, written: Path) -> None:
    noted = records(made)
    versions = {title: said["environment"]["packages"]["torch"] for title, said in noted.items()}
    titles = [thing.title for thing in runs(read)]
    for version in set(versions.values()):
        expected = sorted(title for title in titles if versions[title] == version)
        assert asked(written, "package", package="torch", version=version) == expected
    assert asked(written, "package", package="torch", version="0.0.1") == [RESUMED]
    assert asked(written, "package", package="torch", version="9") == []


def test_processors(made: PublishedStudy, read: Published, written: Path) -> None:
    noted = records(made)
    expected = sorted((thing.title, noted[thing.title]["machine"]["processor"]) for thing in runs(read))
    assert asked(written, "processors") == expected
    assert {processor for _, processor in expected} == {"Processor One", "Processor Two"}


def test_teachers_of_a_student(made: PublishedStudy, written: Path) -> None:
    teacher = made.node("teacher")
    assert asked(written, "teachers", student=TAUGHT) == [(teacher.title, teacher.key)]
    assert asked(written, "teachers", student=made.node("student", TAUGHT).key) == [(teacher.title, teacher.key)]
    assert asked(written, "teachers", student="plain · marks · seed 0") == []


@pytest.mark.parametrize("what", [("data", "marks"), ("teacher", ""), ("model", "little"), ("choice", "")])
def test_numbers_that_depend_on_a_file(
    made: PublishedStudy, read: Published, written: Path, what: tuple[str, str]
) -> None:
    node = made.node(*what)
    name = next(name for name in read.things[node.key].files if name != "counts.json")
    expected = sorted(place for thing in read.downstream([node.key]) for place in thing.cells)
    assert asked(written, "dependents", sha256=read.things[node.key].files[name]["sha256"]) == expected
    assert expected
    assert asked(written, "dependents", sha256="0" * 64) == []


def test_learning_rate_of_a_run(read: Published, written: Path) -> None:
    for title in (TAUGHT, "reader · words · seed 1"):
        thing = next(thing for thing in runs(read) if thing.title == title)
        rate = thing.parts["config"]["stages"][0]["optimiser"]["learning_rate"]
        assert asked(written, "learning-rate", run=title) == [("stages.0.optimiser.learning_rate", json.dumps(rate))]


def test_cost_of_the_study(made: PublishedStudy, read: Published, written: Path) -> None:
    noted = [record.read(made.record(key)) for key in read.things]
    answer = {row[0]: row[1:] for row in asked(written, "cost")}
    for words, name in (("wall-clock time", "seconds"), ("processor time, all cores together", "core_seconds")):
        values = [said[name] for said in noted]
        assert answer[words] == (len(read.things), pytest.approx(sum(values)), max(values))
    assert answer["memory at its peak"][2] == max(said["peak_memory_mib"] for said in noted)


def test_seeds_of_a_number(read: Published, written: Path) -> None:
    for number in (NUMBER, "texts / floor / words"):
        cell = read.cells[tuple(number.split(" / "))]  # type: ignore[index]
        trained = [read.things[key] for key in cell.inputs.values()]
        expected = sorted((thing.parts["config"]["seed"], thing.title) for thing in trained)
        assert asked(written, "seeds", number=number) == [(title, seed) for seed, title in expected]


def test_commits_of_the_code(read: Published, written: Path) -> None:
    count = len(read.things)
    assert asked(written, "commits") == [
        (COMMIT, f"redistill, commit {COMMIT[:12]}", count - 1), (LATER, f"redistill, commit {LATER[:12]}", 1),
    ]  # fmt: skip


def test_what_was_resumed(written: Path) -> None:
    assert asked(written, "resumed") == [(RESUMED, "1", "1")]


def test_models_behind_a_number(made: PublishedStudy, read: Published, written: Path) -> None:
    cell = read.cells[tuple(NUMBER.split(" / "))]  # type: ignore[index]
    trained = [read.things[key] for key in cell.inputs.values()]
    files = {thing.title: store.sha256_file(thing.folder(made.root) / "model.safetensors") for thing in trained}
    assert asked(written, "models", number=NUMBER) == sorted(files.items())


def test_questions_of_ones_own_and_what_is_refused(written: Path, tmp_path: Path) -> None:
    own = "SELECT ?name WHERE { ?table schema:additionalType 'table' ; schema:name ?name } ORDER BY ?name"
    (tmp_path / "own.rq").write_text(own, encoding="utf-8")
    (tmp_path / "binary.rq").write_bytes(b"\xff\xfe")
    for question in (own, str(tmp_path / "own.rq")):
        assert asked(written, question) == ["pictures", "texts", "tuned"]
    for question, given, said in (
        ("sedes", {}, "did you mean `seeds`"),
        ("nowhere.rq", {}, "nowhere.rq: no query can be read there (FileNotFoundError)"),
        (str(tmp_path / "binary.rq"), {}, "binary.rq: no query can be read there (UnicodeDecodeError)"),
        ("seeds", {}, "needs `number`: give it --with number=..."),
        ("cost", {"number": "x"}, "does not take `number`"),
        ("SELECT ?x WHERE {", {}, "this is no query in SPARQL"),
        ("ASK { ?x a schema:Dataset }", {}, "only SELECT is answered"),
    ):
        with pytest.raises(RedistillError, match=re.escape(said)):
            queries.ask(written, question, given)
    for text in ("", "[1, 2", "5", "[]", '{"@graph": 5}', '{"@graph": [{"@id": "somewhere/"}, {}]}'):
        (tmp_path / crate.METADATA).write_text(text, encoding="utf-8")
        with pytest.raises(RedistillError, match="this is no crate"):
            queries.ask(tmp_path, "cost", {})


# --- PROV -------------------------------------------------------------------------------------------------------------


def test_prov_is_read_back_and_has_the_whole_chain(made: PublishedStudy, read: Published, tmp_path: Path) -> None:
    from prov import model

    prov.write(made.root, STUDY, tmp_path / "study.json")
    found = model.ProvDocument.deserialize(str(tmp_path / "study.json"))
    edges: dict[type, set[tuple[str, str]]] = {}
    for one in (one for one in found.get_records() if one.is_relation()):
        ends = [str(value) for _, value in one.formal_attributes[:2]]
        edges.setdefault(type(one), set()).add((ends[0], ends[-1]))
    uses = {(f"make:{t.key}", f"thing:{key}") for t in read.things.values() for key in t.inputs.values()}
    assert uses <= edges[model.ProvUsage]
    assert {(f"thing:{key}", f"make:{key}") for key in read.things} <= edges[model.ProvGeneration]
    derived = {(f"thing:{t.key}", f"thing:{key}") for t in read.things.values() for key in t.inputs.values()}
    assert derived <= edges[model.ProvDerivation]
    agents = {agent for _, agent in edges[model.ProvAssociation]}
    assert agents == {f"code:{COMMIT}", f"code:{LATER}"}
    assert len(edges[model.ProvAssociation]) == len(read.things)
    run = made.node("student", "taught")
    member = (f"thing:{run.key}", f"file:{read.things[run.key].files['model.safetensors']['sha256']}")
    assert member in edges[model.ProvMembership]
    numbers = [one for one in found.get_records(model.ProvEntity) if str(one.identifier).startswith("number:")]
    assert len(numbers) == len(read.cells)


def test_prov_is_the_same_in_every_process(made: PublishedStudy, tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from redistill.exports import prov\n"
        "prov.write(Path(sys.argv[1]), 'small', Path(sys.argv[2]))"
    )
    written = []
    for seed in ("1", "2"):
        written.append(tmp_path / seed)
        environment = os.environ | {"PYTHONHASHSEED": seed, "PYTHONPATH": str(SOURCES)}
        subprocess.run([sys.executable, "-c", code, made.root, written[-1]], check=True, env=environment, timeout=60)
    assert written[0].read_bytes() == written[1].read_bytes()


# --- signed statements ------------------------------------------------------------------------------------------------


def test_a_statement_is_one_of_in_toto_about_the_files_of_a_run(
    made: PublishedStudy, read: Published, signed: Path, key: Path
) -> None:
    taught = [thing for thing in read.things.values() if thing.kind in ("run", "baseline")]
    assert {file.name for file in signed.iterdir()} == {f"{thing.key}.intoto.jsonl" for thing in taught}
    run = made.node("student", "taught")
    (said,), right, absent = slsa.check(signed / f"{run.key}.intoto.jsonl", signatures.public_key(key), made.root)
    assert sorted(right) == [f"store/runs/{run.key}/{name}" for name in slsa.SUBJECTS]
    assert absent == []
    built = said["predicate"]["buildDefinition"]
    assert built["externalParameters"]["config"] == run.config
    digests = {one["name"]: one["digest"] for one in built["resolvedDependencies"]}
    outputs = read.things[run.inputs["outputs teacher train"]]
    assert digests["outputs teacher train/logits.npy"]["sha256"] == outputs.files["logits.npy"]["sha256"]
    assert digests["redistill"] == {"gitCommit": COMMIT}
    assert said["predicate"]["runDetails"]["metadata"]["startedOn"] == record.read(made.record(run.key))["start"]


def test_a_statement_without_a_record_says_less(made: PublishedStudy, key: Path, tmp_path: Path) -> None:
    copy = copied(made, tmp_path / "copy")
    run = copy.node("student", "taught")
    copy.record(run.key).unlink()
    slsa.write(copy.root, STUDY, key, tmp_path / "signed")
    file = tmp_path / "signed" / f"{run.key}.intoto.jsonl"
    (said,), _, _ = slsa.check(file, signatures.public_key(key), copy.root)
    assert said["predicate"]["runDetails"]["metadata"] == {"invocationId": run.key}


def spoilt_payload(envelope: dict[str, Any]) -> None:
    envelope["payload"] = "AAAA" + envelope["payload"][4:]


def spoilt_signature(envelope: dict[str, Any]) -> None:
    signature = envelope["signatures"][0]["sig"]
    envelope["signatures"][0]["sig"] = ("B" if signature[0] == "A" else "A") + signature[1:]


def spoilt_type(envelope: dict[str, Any]) -> None:
    envelope["payloadType"] = "text/plain"


@pytest.mark.parametrize("spoil", [spoilt_payload, spoilt_signature, spoilt_type])
def test_a_statement_that_was_changed_is_refused(
    made: PublishedStudy, signed: Path, key: Path, tmp_path: Path, spoil: Callable[[dict[str, Any]], None]
) -> None:
    envelope = json.loads(next(signed.iterdir()).read_text(encoding="utf-8"))
    spoil(envelope)
    (tmp_path / "spoilt").write_text(json.dumps(envelope), encoding="utf-8")
    with pytest.raises(signatures.SignatureError):
        slsa.check(tmp_path / "spoilt", signatures.public_key(key), made.root)


def test_a_statement_by_another_key_or_of_another_file_is_refused(
    made: PublishedStudy, signed: Path, key: Path, tmp_path: Path
) -> None:
    other, run = signatures.new_key(tmp_path / "other.pem"), made.node("student", "taught")
    file, trusted = signed / f"{run.key}.intoto.jsonl", signatures.public_key(key)
    with pytest.raises(signatures.SignatureError, match="and not by the trusted key"):
        slsa.check(file, other, made.root)
    copy = copied(made, tmp_path / "copy")
    weights = run.folder(copy.root) / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"?")
    with pytest.raises(IntegrityError, match=r"model\.safetensors: SHA-256 is .* was signed for another file"):
        slsa.check(file, trusted, copy.root)
    weights.unlink()
    assert slsa.check(file, trusted, copy.root)[2] == [f"store/runs/{run.key}/model.safetensors"]
    (tmp_path / "empty").write_text("", encoding="utf-8")
    with pytest.raises(RedistillError, match="there are no statements in it"):
        slsa.check(tmp_path / "empty", trusted, made.root)


def test_what_is_no_provenance_is_not_taken_for_it(made: PublishedStudy, key: Path, tmp_path: Path) -> None:
    said = slsa.statement(facts.read(made.root, STUDY), next(iter(runs(published.read(made.root, STUDY)))))
    for spoil in ({"subject": []}, {"predicateType": "https://example.org/other"}, {"predicate": {"surprise": 1}}):
        payload = json.dumps({**said, **spoil}).encode()
        envelope = signatures.sign(payload, slsa.PAYLOAD_TYPE, key)
        (tmp_path / "file").write_text(json.dumps(envelope), encoding="utf-8")
        with pytest.raises(RedistillError, match="no in-toto statement with SLSA provenance"):
            slsa.check(tmp_path / "file", signatures.public_key(key), made.root)


# --- Croissant --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("task", ["words", "marks"])
def test_croissant_is_valid_and_its_records_are_those_of_the_data_set(
    made: PublishedStudy, tmp_path: Path, task: str
) -> None:
    import mlcroissant as mlc
    import pyarrow.parquet as pq

    files = croissant.write(made.root, STUDY, task, tmp_path / "data")
    assert croissant.write(made.root, STUDY, task, tmp_path / "data") == files
    described = mlc.Dataset(str(tmp_path / "data" / croissant.METADATA))
    assert not described.metadata.ctx.issues.errors
    folder, licence = made.folder("dataset", task), {"words": "MIT", "marks": "CC BY 4.0"}[task]
    assert described.metadata.license == [licence]
    assert described.metadata.cite_as == f"Nobody 2020, {task}"
    assert {f.id: f.sha256 for f in described.metadata.distribution} == {
        file.name: store.sha256_file(file) for file in folder.glob("*.parquet")
    }
    for records_of in described.metadata.record_sets:
        table = pq.read_table(folder / f"{records_of.id}.parquet")
        found = list(described.records(record_set=records_of.id))
        assert [one[f"{records_of.id}/id"].decode() for one in found] == table["id"].to_pylist()
        labels = [one[f"{records_of.id}/label"] for one in found]
        assert [None if label != label else label for label in labels] == table["label"].to_pylist()
    if task == "marks":
        assert "labels" not in json.loads(files[0].read_text(encoding="utf-8"))
        image = next(f for f in described.metadata.record_sets[0].fields if f.name == "image")
        assert (image.is_array, image.array_shape) == (True, "1,8,8")


def test_croissant_notices_a_file_that_is_another(made: PublishedStudy, tmp_path: Path) -> None:
    import mlcroissant as mlc

    croissant.write(made.root, STUDY, "words", tmp_path / "data")
    (tmp_path / "data" / "dev.parquet").write_bytes((tmp_path / "data" / "train.parquet").read_bytes())
    described = mlc.Dataset(str(tmp_path / "data" / croissant.METADATA))
    with pytest.raises(mlc.GenerationError) as refused:
        list(described.records(record_set="dev"))
    assert "Hash of downloaded file" in str(refused.value.__cause__)


def test_croissant_refuses_what_is_not_there(made: PublishedStudy, tmp_path: Path) -> None:
    with pytest.raises(RedistillError, match="did you mean `words`"):
        croissant.write(made.root, STUDY, "word", tmp_path / "data")
    (tmp_path / "mine").write_text("x", encoding="utf-8")
    with pytest.raises(RedistillError, match="mine is no file of this data set"):
        croissant.write(made.root, STUDY, "words", tmp_path)
    copy = copied(made, tmp_path / "copy")
    shutil.rmtree(copy.folder("data", "words"))  # what it was made of need not be here
    assert croissant.write(copy.root, STUDY, "words", tmp_path / "whole")
    file = copy.folder("dataset", "words") / "dev.parquet"
    file.write_bytes(file.read_bytes()[:-1] + b"?")
    with pytest.raises(IntegrityError, match=r"dev\.parquet"):
        croissant.write(copy.root, STUDY, "words", tmp_path / "data")


# --- licences ---------------------------------------------------------------------------------------------------------


def test_licences_of_everything_that_was_used(made: PublishedStudy, read: Published) -> None:
    found = licences.report(facts.read(made.root, STUDY))
    by_name = {owed.name: owed for owed in found}
    assert {name: by_name[name].licence for name in ("marks", "words", "little")} == {
        "marks": "CC BY 4.0", "words": "MIT", "little": "Apache-2.0",
    }  # fmt: skip
    assert by_name["redistill"].licence == "Apache-2.0"
    counted = {package for thing in read.things.values() for package in thing.parts["packages"]}
    assert counted == {owed.name for owed in found if owed.group == "package"}
    assert "BSD" in by_name["numpy"].licence
    torch = [owed for owed in found if owed.name == "torch"]
    assert len(torch) == 1, "that a record has of another version is not what the numbers depend on"
    text = licences.markdown(found)
    assert "| marks | CC BY 4.0 | Nobody 2020, marks |" in text
    assert len(licences.as_json(found)) == len(found)


def test_what_is_unknown_or_for_research_only_is_flagged(made: PublishedStudy, tmp_path: Path) -> None:
    copy = copied(made, tmp_path / "copy")
    file = copy.root / "configs" / "sources.yaml"
    text = file.read_text(encoding="utf-8").replace('"licence": "MIT"', '"licence": "research use only"')
    file.write_text("\n".join(line for line in text.splitlines() if not line.startswith("marks:")), encoding="utf-8")
    found = {owed.name: owed for owed in licences.report(facts.read(copy.root, STUDY))}
    assert found["words"].flags == ("research only",)
    assert found["marks"].flags == ("unknown",)
    assert found["little"].flags == ()
    text = licences.markdown(list(found.values()))
    assert "- words: research only (research use only)" in text
    for licence, flags in (
        ("CC BY-NC 4.0", ("research only",)), ("Apache-2.0", ()), ("LicenseRef-NVIDIA-Proprietary", ("proprietary",)),
        ("none", ("unknown",)), ("non-commercial", ("research only",)), ("BSD License", ()), ("MIT-CMU", ()),
    ):  # fmt: skip
        assert licences.flags(licence) == flags, licence


# --- the command line -------------------------------------------------------------------------------------------------


def test_every_export_has_its_command(
    made: PublishedStudy, key: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(made.root)

    def redistill(*arguments: str | Path, status: int = 0) -> str:
        code, said = command(*map(str, arguments))
        assert code == status, said
        return said

    trained = sum(node.kind in ("teacher", "student", "baseline") for node in made.plan.nodes.values())
    digest = store.sha256_file(crate.write(made.root, STUDY, tmp_path / "python")[0] / "SHA256SUMS")
    assert f"SHA-256 of SHA256SUMS: {digest}" in redistill("crate", STUDY, "--to", tmp_path / "crate")
    assert "replace it with --force" in redistill("crate", STUDY, "--to", tmp_path / "crate", status=1)
    assert "seeds --with number=..." in redistill("query", tmp_path / "crate")
    answer = redistill("query", tmp_path / "crate", "seeds", "--with", f"number={NUMBER}")
    assert answer == f"run\tseed\n{TAUGHT}\t0\n{RESUMED}\t1\n"
    said = redistill("query", tmp_path / "crate", "resumed", "--json")
    assert json.loads(said) == [{"what": RESUMED, "resumed": "1", "failed": "1"}]
    assert "statements" in redistill("prov", STUDY, "--to", tmp_path / "prov.json")
    assert "croissant.json" in redistill("croissant", "words", "--study", STUDY, "--to", tmp_path / "words")
    assert f"{trained} signed" in redistill("slsa", STUDY, "--key", key, "--to", tmp_path / "signed")
    statement = next((tmp_path / "signed").iterdir())
    assert "signed by that key" in redistill("check-slsa", statement, "--key", signatures.public_key(key))
    other = signatures.new_key(tmp_path / "other.pem")
    assert "not by the trusted key" in redistill("check-slsa", statement, "--key", other, status=1)
    assert "# What was used" in redistill("licences", STUDY)
    assert json.loads(redistill("licences", STUDY, "--json"))
