"""Records: how a thing came to be, to the letter of their schema, and nothing of users, hosts, paths and secrets."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import SOURCES
from published_study import STUDY, PublishedStudy, copied, publish_study

from redistill.errors import RedistillError
from redistill.plan import make_plan
from redistill.provenance import attempts, record, store
from redistill.provenance.record import RecordError
from redistill.specification import write_specifications

REPOSITORY = Path(__file__).parents[1]
USER, HOST = "quixote", "rocinante"
STAGE = "import os, time\nfrom redistill import jobs\ndef stage(*_): {}\njobs._stage = stage"  # does this instead
SECRETS = {"HF_TOKEN": "hf_dulcineadeltoboso", "AWS_SECRET_ACCESS_KEY": "sancho/panza+1605", "DB_PASSWORD": "mills"}


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> PublishedStudy:
    return publish_study(tmp_path_factory.mktemp("home") / USER / "project")


@pytest.fixture
def made(study: PublishedStudy, tmp_path: Path) -> PublishedStudy:
    """A copy, in the home of a user with a name."""
    there = copied(study, tmp_path / USER / "project")
    return PublishedStudy(there.root, make_plan(there.root, STUDY))


def job(made: PublishedStudy, key: str, code: str = "", **variables: str) -> subprocess.CompletedProcess[str]:
    """What Snakemake starts for a thing that is missing, by a user with a name on a machine with a name."""
    write_specifications(made.plan, [key])
    told = {"HOME": str(made.root.parent), "USER": USER, "LOGNAME": USER, "HOSTNAME": HOST, **SECRETS}
    found = {
        "FETCHED": str(made.root / "fetched" / "words"),
        "PYTHONPATH": str(SOURCES),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    then = f"import sys\nfrom redistill.cli import main\nsys.argv = ['redistill', 'make', {key!r}]\nmain()"
    run = ["-c", f"{code}\n{then}"] if code else ["-m", "redistill", "make", key]
    return subprocess.run(
        [sys.executable, *run], cwd=made.root, env={**os.environ, **told, **found, **variables},
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip


def lose(made: PublishedStudy, kind: str, title: str = "") -> str:
    """Remove a thing and its record; returns its key."""
    node = made.node(kind, title)
    shutil.rmtree(node.folder(made.root))
    made.record(node.key).unlink()
    return node.key


def rules() -> Any:
    jsonschema = pytest.importorskip("jsonschema")
    published = json.loads((REPOSITORY / "configs" / "schema" / "record.schema.json").read_text(encoding="utf-8"))
    jsonschema.Draft7Validator.check_schema(published)
    return jsonschema.Draft7Validator(published)


# --- what a job leaves -----------------------------------------------------------------------------------------------


def test_a_job_leaves_a_record_of_the_published_schema_that_agrees_with_the_store(made: PublishedStudy) -> None:
    key = lose(made, "table", "texts")
    done = job(made, key)
    assert done.returncode == 0, done.stderr
    noted = record.read(made.record(key))
    assert list(rules().iter_errors(noted)) == []
    digests = {
        node.key: store.digest_of(store.read_manifest(node.folder(made.root))) for node in made.plan.nodes.values()
    }
    assert noted["output"] == {"manifest": digests[key]}
    inputs = made.plan.nodes[key].inputs
    assert noted["inputs"] == {role: {"key": k, "manifest": digests[k]} for role, k in inputs.items()}
    assert noted["key_parts"] == made.plan.nodes[key].parts
    assert record.mistakes(noted, key, digests) == []
    assert noted["command"] == f"redistill make {key}"
    assert noted["attempts"] == noted["resumed"] == noted["made_before"] == []
    assert 0 < noted["seconds"] < 60
    assert noted["environment"]["pinned"]["OMP_NUM_THREADS"] == "1"
    loaded = [entry for entry in noted["environment"]["blas"] if entry["name"] == "openblas"]
    assert loaded
    assert all((entry["kernels"], entry["threads"]) == ("Haswell", 1) for entry in loaded)  # as pinned


def test_nothing_that_is_written_tells_of_user_host_paths_or_secrets(made: PublishedStudy, tmp_path: Path) -> None:
    key = lose(made, "dataset", "words")
    file = made.folder("data", "words") / "dev.parquet"
    right = file.read_bytes()
    file.write_bytes(b"spoilt")
    failed = job(made, key)
    assert failed.returncode == 1
    assert str(tmp_path) in failed.stderr, "the message has no path that could be told on"
    file.write_bytes(right)
    shutil.rmtree(made.root / "store" / "work" / "failed")  # as a new command does
    assert job(made, key, STAGE.format(f"raise ValueError({telling(tmp_path)!r})")).returncode == 1
    searched = [made.root / "store" / "attempts"]
    assert told(searched, tmp_path) == []
    assert len(attempts.of(made.root, key)) == 2
    shutil.rmtree(made.root / "store" / "work" / "failed")
    done = job(made, key)
    assert done.returncode == 0, done.stderr
    noted = record.read(made.record(key))
    first, second = (attempt["said"] for attempt in noted["attempts"])
    assert first.startswith("store/data/")
    assert "dev.parquet: SHA-256 is" in first
    assert second.startswith("ValueError: ")
    assert "weights.bin" in second
    store_folders = [f for f in (made.root / "store").iterdir() if f.name != "work"]
    assert told([*store_folders, made.root / "results"], tmp_path) == []


def telling(tmp_path: Path) -> str:
    """A message that says all that it should not."""
    return (
        f"{USER}@{HOST}: cannot open {tmp_path}/secret place/weights.bin at 192.168.7.9, Bearer {'a1' * 9}, "
        f"token={SECRETS['HF_TOKEN']}, https://{USER}:mills@hub.example.org/m?sig=x, "
        f"password: {SECRETS['DB_PASSWORD']} {SECRETS['AWS_SECRET_ACCESS_KEY']}, file://{tmp_path}/y, '{tmp_path}/x'"
    )


def told(folders: list[Path], tmp_path: Path) -> list[str]:
    """What was found of it, and where."""
    words = [
        USER,
        HOST,
        str(tmp_path),
        tmp_path.name,
        "192.168",
        "a1a1",
        "/home/",
        os.uname().nodename,
        *SECRETS.values(),
    ]
    found = []
    for folder in folders:
        for file in folder.rglob("*"):
            content = file.read_bytes() if file.is_file() else b""
            found += [f"{word} in {file.name}" for word in words if word.encode() in content]
    return found


def test_a_record_is_there_before_its_thing(made: PublishedStudy) -> None:
    key = lose(made, "dataset", "marks")
    dies = "import os\nfrom redistill.provenance import store\nstore.finish = lambda folder: os.kill(os.getpid(), 9)"
    assert job(made, key, dies).returncode == -signal.SIGKILL
    folder = made.plan.nodes[key].folder(made.root)
    assert folder.is_dir()
    assert not store.is_done(folder)
    before = made.record(key).read_bytes()
    assert job(made, key).returncode == 0  # it is found whole, and not made again
    assert store.is_done(folder)
    assert made.record(key).read_bytes() == before


def test_a_thing_that_cannot_be_recorded_is_not_there(tmp_path: Path) -> None:
    work, folder = tmp_path / "work", tmp_path / "store" / "runs" / ("0" * 16)
    work.mkdir()
    (work / "file").write_text("x")

    def fail(digest: str) -> None:
        raise OSError("full")

    with pytest.raises(OSError, match="full"):
        store.put(tmp_path, work, folder, {}, fail)
    assert not folder.exists()


def test_what_was_made_before_and_removed_is_remembered(made: PublishedStudy) -> None:
    node = made.node("dataset", "marks")
    old = record.read(made.record(node.key))
    for times in (1, 2):
        shutil.rmtree(node.folder(made.root))
        assert job(made, node.key).returncode == 0
        noted = record.read(made.record(node.key))
        assert len(noted["made_before"]) == times
    first = {name: old[name] for name in ("start", "end")}
    assert noted["made_before"][0] == {**first, "manifest": noted["output"]["manifest"], "commit": None}
    del old["output"], old["made_before"]
    store.write_atomically(made.record(node.key), store.pretty({**old, "schema": 1}))
    assert record._made_before(made.record(node.key)) == [{**first, "manifest": None, "commit": None}]
    made.record(node.key).write_text("[]")
    assert record._made_before(made.record(node.key)) == []


# --- attempts --------------------------------------------------------------------------------------------------------


def test_every_attempt_is_kept_across_commands_until_the_thing_is_made(made: PublishedStudy) -> None:
    key = lose(made, "dataset", "marks")
    endings = {
        "raise ValueError('no such luck')": 1,
        "os.kill(os.getpid(), 15); time.sleep(60)": 75,
        "os.kill(os.getpid(), 9)": -signal.SIGKILL,
    }
    for ending, status in endings.items():
        assert job(made, key, STAGE.format(ending)).returncode == status
        shutil.rmtree(made.root / "store" / "work" / "failed", ignore_errors=True)  # as a new command does
    kept = json.loads((made.root / "store" / "attempts" / f"{key}.json").read_text(encoding="utf-8"))
    assert (kept["key"], kept["what"], len(kept["attempts"])) == (key, "marks", 2)  # nobody has looked after the last
    assert not made.record(key).exists()
    assert job(made, key).returncode == 0
    noted = record.read(made.record(key))
    assert [attempt["outcome"] for attempt in noted["attempts"]] == ["failed", "stopped", "killed"]
    assert noted["attempts"][0]["said"] == "ValueError: no such luck"
    assert "SIGTERM" in noted["attempts"][1]["said"]
    assert all(attempt["start"] <= attempt["end"] <= noted["start"] for attempt in noted["attempts"])
    assert list((made.root / "store" / "attempts").iterdir()) == []
    assert not (made.root / "store" / "work" / key).exists()
    assert list(rules().iter_errors(noted)) == []


def test_a_retry_that_is_refused_is_no_attempt(made: PublishedStudy) -> None:
    key = lose(made, "data", "words")
    for _ in range(2):
        done = job(made, key, FETCHED="/nowhere")
        assert done.returncode == 1
    assert "failed already" in done.stderr
    assert len(attempts.of(made.root, key)) == 1


def test_the_end_of_what_was_killed_is_when_it_last_wrote(tmp_path: Path) -> None:
    scratch = tmp_path / "store" / "work" / "key"
    (scratch / "progress").mkdir(parents=True)
    begun, log = scratch / "begun", scratch / "progress" / "log.jsonl"
    begun.write_text("1000.0\n")
    log.write_text("{}")
    for file, when in ((begun, 1000), (log, 1090), (log.parent, 1080)):
        os.utime(file, (when, when))
    attempts.note_killed(tmp_path, "key", "title")
    attempts.note_killed(tmp_path, "key", "title")  # once is enough
    (attempt,) = attempts.of(tmp_path, "key")
    assert (attempt["outcome"], attempt["seconds"], attempt["end"]) == ("killed", 90.0, "1970-01-01T00:18:10Z")


def test_who_waits_for_a_job_notes_that_it_was_killed(made: PublishedStudy, monkeypatch: pytest.MonkeyPatch) -> None:
    from contextlib import nullcontext

    from redistill import jobs

    key = lose(made, "dataset", "marks")

    def killed(root: Path, key: str) -> int:
        store.write_atomically(root / "store" / "work" / key / "begun", f"{time.time()}\n")
        return -signal.SIGKILL

    monkeypatch.setattr(jobs, "_ran", killed)
    monkeypatch.setattr(jobs, "_warm", lambda *_: nullcontext())
    with pytest.raises(RedistillError, match="killed by SIGKILL"):
        jobs.make_all(made.plan, [key])
    assert [attempt["outcome"] for attempt in attempts.of(made.root, key)] == ["killed"]


def test_of_several_processes_the_first_that_failed_says_why(tmp_path: Path) -> None:
    from redistill import failures

    with pytest.raises(Exception, match="too little"), failures.noted(tmp_path, "key"):
        raise ValueError("too little of everything")
    with pytest.raises(ValueError, match="the other is gone"), attempts.noted(tmp_path, "key", "title"):
        raise ValueError("the other is gone")
    assert [a["said"] for a in attempts.of(tmp_path, "key")] == ["ValueError: too little of everything"]


def test_attempts_that_cannot_be_read_are_none(tmp_path: Path) -> None:
    file = tmp_path / "store" / "attempts" / "key.json"
    for text in ("", "[]", '{"attempts": 5}', "{}"):
        store.write_atomically(file, text)
        assert attempts.of(tmp_path, "key") == []


# --- reading ---------------------------------------------------------------------------------------------------------


def changed(*path: str, value: Any) -> Callable[[dict[str, Any]], None]:
    def change(noted: dict[str, Any]) -> None:
        for name in path[:-1]:
            noted = noted[name]
        noted[path[-1]] = value

    return change


@pytest.mark.parametrize(
    "change",
    [
        changed("host", value="rocinante"),
        changed("machine", "user", value="quixote"),
        changed("key", value="0"),
        changed("output", "manifest", value="abc"),
        changed("seconds", value=-1.0),
        changed("seconds", value="1"),
        changed("start", value="yesterday"),
        changed("command", value="/usr/bin/redistill make 0123456789abcdef"),
        changed("environment", "image", value="registry.example.org/image:latest"),
        changed("environment", "packages", value={"numpy": 2}),
        changed("code", "commit", value="main"),
        changed("attempts", value=[{"said": "no"}]),
        changed("energy_joules", value={"guessed": 1.0}),
        changed("peak_memory_mib", value=1.5),
        lambda noted: noted.pop("attempts"),
        lambda noted: noted["key_parts"].pop("code"),
    ],
)
def test_what_is_not_as_the_schema_says_is_refused_by_it_and_by_the_reader(
    study: PublishedStudy, tmp_path: Path, change: Callable[[dict[str, Any]], None]
) -> None:
    noted = json.loads(study.record(study.node("student").key).read_text(encoding="utf-8"))
    assert list(rules().iter_errors(noted)) == []
    change(noted)
    assert list(rules().iter_errors(noted)) != []
    (tmp_path / "record.json").write_text(json.dumps(noted))
    with pytest.raises(RecordError, match=r"record\.json is no record of schema 2: "):
        record.read(tmp_path / "record.json")


def test_records_of_the_first_schema_are_read_where_they_are_used(made: PublishedStudy) -> None:
    from redistill.changes import what_changed
    from redistill.lineage import finished
    from redistill.performance import cost, times

    for node in made.plan.nodes.values():
        noted = record.read(made.record(node.key))
        for name in ("key", "inputs", "output", "command", "energy_joules", "attempts", "made_before"):
            del noted[name]
        old = {**noted, "schema": 1, "code": {"commit": None, "clean": None}}
        store.write_atomically(made.record(node.key), store.pretty(old))
    assert len(times.bars_of(made.plan)) == len(made.plan.nodes)
    assert len(cost.read_records(made.root)) == len(made.plan.nodes)
    student = made.node("student").key
    assert finished(made.root, student).title == made.plan.nodes[student].title
    assert what_changed(made.plan, {student}) == {student: "was made, and is not in the store"}
    assert record.mistakes(record.read(made.record(student)), student, {student: "0" * 64}) == []
    assert record.mistakes(record.read(made.record(student)), "0" * 16, {}) == ["what it was made of gives another key"]


@pytest.mark.parametrize(
    ("text", "said"),
    [("", "cannot be read as JSON"), ("[]", "holds no object"), ('{"schema": 3}', "schema 3, which this version")],
)
def test_what_is_no_record_is_a_sentence(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "record.json").write_text(text)
    with pytest.raises(RecordError, match=said):
        record.read(tmp_path / "record.json")


def test_what_does_not_agree_is_said(study: PublishedStudy) -> None:
    node = study.node("student", "taught")
    noted = record.read(study.record(node.key))
    role, used = next(iter(node.inputs.items()))
    assert record.mistakes(noted, node.key, {}) == []
    other = "0" * 64
    for digests, said in (({node.key: other}, "is published"), ({used: other}, f"its {role} was another")):
        (mistake,) = record.mistakes(noted, node.key, digests)
        assert said in mistake
    assert (
        "another key" in record.mistakes({**noted, "key_parts": {**noted["key_parts"], "config": {}}}, node.key, {})[0]
    )
    assert "it is the record of" in record.mistakes({**noted, "key": "0" * 16}, node.key, {})[0]
    assert record.mistakes({**noted, "inputs": {}}, node.key, {}) == ["its inputs are not those of its key"]


def test_a_job_imports_nothing_for_its_record_that_takes_time(made: PublishedStudy) -> None:
    key = lose(made, "data", "words")
    ends = "import atexit, sys\natexit.register(lambda: print(sorted(sys.modules)))"
    done = job(made, key, ends)
    assert done.returncode == 0, done.stderr
    assert "redistill.provenance.record" in done.stdout
    for module in ("redistill.provenance.record_schema", "threadpoolctl", "numpy", "torch", "cryptography"):
        assert f"'{module}'" not in done.stdout


def test_the_clock_of_a_record_cannot_go_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begun = record.started(tmp_path)
    monkeypatch.setattr(time, "time", lambda: 0.0)
    noted = record.finished(begun, tmp_path, "x", {"inputs": {}}, {}, "0" * 64, [])
    assert noted["seconds"] >= 0
    assert noted["end"] >= noted["start"]
