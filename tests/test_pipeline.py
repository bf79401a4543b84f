"""The pipeline end to end on real data: what is made, what is made again, and what a change reaches."""

import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from nano_study import DIGESTS, Nano, copy_project, digests, family

from redistill.provenance import store


@pytest.fixture(scope="module")
def finished(finished_nano: Nano) -> Nano:
    """The nano study, made once by Snakemake from nothing. Tests that change something take `nano`."""
    return finished_nano


@pytest.fixture
def nano(finished: Nano, tmp_path: Path) -> Nano:
    """A copy of the finished nano study, to be changed."""
    shutil.copytree(finished.root, tmp_path / "nano", symlinks=True)
    return Nano(tmp_path / "nano")


@pytest.fixture
def empty(tmp_path: Path) -> Nano:
    """The nano study, of which nothing has been made."""
    return copy_project(tmp_path / "empty")


TABLES = ("text.csv", "text.md", "text.tex", "text.json", "image.csv", "image.md", "image.tex", "image.json")


def test_every_planned_run_was_trained_and_every_table_published(finished: Nano) -> None:
    results = finished.root / "results" / "nano"
    assert {f.name for f in results.iterdir()} >= {*TABLES, "runs.tsv", "manifests.json", "metrics.json"}
    runs = [line.split("\t") for line in (results / "runs.tsv").read_text().splitlines()[1:]]
    assert len(runs) == 11
    for _, _, _, _, key in runs:
        assert (finished.root / "store" / "runs" / key / "predictions.parquet").is_file()
        record = json.loads((finished.root / "store" / "records" / f"{key}.json").read_text())
        assert record["core_seconds"] > 0
    assert "no run" not in (results / "text.md").read_text()
    assert list((finished.root / "store" / "work" / "forge").iterdir()) == []  # there was one, and it is gone


def test_snakemake_has_nothing_to_do_afterwards_even_without_its_own_metadata(nano: Nano) -> None:
    subprocess.run(["rm", "-rf", ".snakemake", "store/work"], cwd=nano.root, check=True)
    for file in (nano.root / "store").rglob("*"):
        if file.is_file():
            moment = time.time() - random.Random(file.name).randrange(10_000)
            os.utime(file, (moment, moment))
    done = nano.snakemake("--cores", "1", "-n")
    assert done.returncode == 0
    assert "Nothing to be done" in done.stdout + done.stderr
    assert not (nano.root / "store" / "work" / "checked").exists(), "models were checked, and none is to be trained"


def test_a_dry_run_and_one_that_has_nothing_to_do_start_no_forge(nano: Nano) -> None:
    forge = nano.root / "store" / "work" / "forge"
    forge.rmdir()
    assert nano.snakemake("--cores", "1").returncode == 0
    nano.edit("configs/experiments/nano/image-kd.yaml", "temperature: 4.0", "temperature: 2.0")
    done = nano.snakemake("--cores", "1", "-n")
    assert "train_student" in done.stdout + done.stderr
    assert not forge.exists()


def test_a_changed_temperature_reaches_its_own_runs_only_and_changing_it_back_trains_nothing(
    finished: Nano, nano: Nano
) -> None:
    before = nano.things("runs")
    file = "configs/experiments/nano/image-kd.yaml"
    nano.edit(file, "temperature: 4.0", "temperature: 2.0")
    assert sorted(nano.to_make().items()) == [
        ("image", "table"),
        ("nano", "study"),
        ("nano/image-kd · nano-digits", "cell"),
        ("nano/image-kd · nano-digits · seed 0", "student"),
        ("nano/image-kd · nano-digits · seed 1", "student"),
    ]
    plan = nano.redistill("plan", "nano").stdout
    assert "config.stages.0.loss.soft.settings.temperature: 4.0 -> 2.0" in plan
    assert nano.snakemake("--cores", "2").returncode == 0
    after = nano.things("runs")
    assert len(after) == len(before) + 2
    assert {key: after[key] for key in before} == before
    nano.edit(file, "temperature: 2.0", "temperature: 4.0")
    assert nano.to_make() == {}
    assert nano.snakemake("--cores", "1").returncode == 0
    assert nano.things("runs") == after
    for name in TABLES:
        assert (nano.root / "results/nano" / name).read_bytes() == (finished.root / "results/nano" / name).read_bytes()


def test_an_added_seed_makes_that_seed_only(nano: Nano) -> None:
    nano.edit("configs/studies/nano.yaml", "seeds: [0, 1]", "seeds: [0, 1, 2]")
    students = {title for title, kind in nano.to_make().items() if kind in ("student", "teacher", "outputs")}
    assert students == {"nano/image-finetuned · nano-digits · seed 2", "nano/image-kd · nano-digits · seed 2"}


def test_layout_and_comments_reach_nothing_and_an_edited_loss_reaches_what_uses_it(nano: Nano) -> None:
    nano.edit(
        "configs/experiments/nano/image-kd.yaml",
        "  stages.0.steps: 20\n",
        "  # as the others\n  stages.0.steps:   20\n",
    )
    nano.edit("src/redistill/distill/kd.py", '"""Knowledge', '"""The first: knowledge')
    nano.edit(
        "src/redistill/training/run.py",
        "\n    steps, learner = 0, None\n",
        "\n    steps, learner = 0, None  # of all stages\n",
    )
    assert nano.to_make() == {}
    nano.edit("src/redistill/distill/kd.py", "temperature**2 if", "temperature**2.0 if")
    runs = {title.split(" · ")[0] for title, kind in nano.to_make().items() if kind in ("student", "teacher")}
    assert runs == {"nano/image-kd", "nano/student-kd", "nano/student-agnostic"}


def test_made_again_from_nothing_the_bytes_are_the_same(finished: Nano, empty: Nano) -> None:
    """A second store, one core, and a study that is killed on the way: same manifests, same tables."""
    jobs = _killed_midway(empty)
    assert jobs == [], f"left running: {jobs}"
    done = empty.snakemake("--cores", "1")
    assert done.returncode == 0, done.stderr
    for file in sorted((finished.root / "results" / "nano").iterdir()):
        assert (empty.root / "results" / "nano" / file.name).read_bytes() == file.read_bytes(), file.name


def _killed_midway(nano: Nano) -> list[str]:
    """SIGKILL Snakemake while a run is being trained; return the jobs of this nano that are still running."""
    command = [sys.executable, "-m", "snakemake", "--config", "study=nano", "--cores", "2"]
    with subprocess.Popen(
        command, cwd=nano.root, env=nano.environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as running:
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline and not _working(nano):
            time.sleep(0.2)
        assert _working(nano), "no run was started within two minutes"
        assert sum("redistill.forge" in command for command in _jobs(nano)) >= 2, "it is no fork of a forge"
        running.send_signal(signal.SIGKILL)
        running.wait(timeout=30)
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline and _jobs(nano):
        time.sleep(0.2)
    return _jobs(nano)


def _working(nano: Nano) -> bool:
    """Whether a student or teacher is being trained just now."""
    return any((nano.root / "store" / "work").glob("*/progress/log.jsonl"))


def _jobs(nano: Nano) -> list[str]:
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            where = (process / "cwd").readlink()
        except OSError:
            continue
        if where == nano.root and any(f"redistill{what}" in command for what in (" make", ".job", ".forge")):
            found.append(command)
    return found


@pytest.mark.parametrize("role", ["model.safetensors", "predictions.parquet", "train.parquet"])
def test_audit_names_a_file_in_which_one_byte_was_flipped(nano: Nano, role: str) -> None:
    file = sorted((nano.root / "store").glob(f"*/*/{role}"))[-1]
    raw = bytearray(file.read_bytes())
    raw[len(raw) // 2] ^= 1
    file.write_bytes(raw)
    done = nano.redistill("audit", "nano")
    assert done.returncode == 1
    assert str(file.relative_to(nano.root)) in done.stderr
    assert "Traceback" not in done.stderr


def test_audit_of_an_untouched_study_and_of_one_cell_finds_nothing(finished: Nano) -> None:
    whole = finished.redistill("audit", "nano")
    assert (whole.returncode, whole.stderr) == (0, "")
    cell = finished.redistill("audit", "nano", "--table", "text", "--row", "nano/student-kd", "--column", "nano-movie")
    assert cell.returncode == 0
    for link in ("cell nano/student-kd", "outputs nano/teacher", "data vader", "MIT", "model minilm", "Apache-2.0"):
        assert link in cell.stdout


def test_runs_are_predicted_and_trained_again_to_the_same_bytes(finished: Nano) -> None:
    done = finished.redistill("audit", "nano", "--level", "replay")
    assert (done.returncode, done.stderr) == (0, "")
    assert re.search(r" ([0-9]+) of \1 runs' predictions", done.stdout)
    student = _keys(finished)["nano/student-kd", "nano-movie", "0"]
    again = finished.redistill("audit", student, "--level", "rerun", "--sample", "1")
    assert (again.returncode, again.stderr) == (0, "")
    assert "rerun     1 of" in again.stdout
    assert not (finished.root / "store" / "work" / "audit").exists()


def test_weights_that_were_changed_with_all_that_follows_are_found_by_predicting_again(nano: Nano) -> None:
    """Whoever changes a digest everywhere is found by nobody who only compares digests."""
    key = _keys(nano)["nano/image-kd", "nano-digits", "0"]
    folder = nano.root / "store" / "runs" / key
    weights = folder / "model.safetensors"
    raw = bytearray(weights.read_bytes())
    for place in range(len(raw) - 1, len(raw) - 401, -4):
        raw[place] ^= 0x80  # the sign of a weight
    weights.write_bytes(raw)
    manifest = store.manifest_of(folder, store.read_manifest(folder)["key_parts"])
    store.write_atomically(folder / "manifest.json", store.pretty(manifest))
    store.finish(folder)
    shutil.rmtree(nano.root / "store" / "records")
    study = [f.parent for f in (nano.root / "store" / "results").glob("*/manifests.json")]
    shutil.rmtree(study[0])
    shutil.rmtree(nano.root / "results")
    assert nano.snakemake("--cores", "1").returncode == 0
    shutil.rmtree(nano.root / "store" / "records")
    assert nano.redistill("audit", "nano", "--level", "recompute").returncode == 3  # no records
    done = nano.redistill("audit", key, "--level", "replay", "--sample", "1")
    assert done.returncode == 1
    assert f"WRONG: store/runs/{key}/predictions.parquet: run nano/image-kd" in done.stderr


def _keys(nano: Nano) -> dict[tuple[str, str, str], str]:
    """Keys of the runs by experiment, task and seed."""
    lines = (nano.root / "results" / "nano" / "runs.tsv").read_text().splitlines()[1:]
    return {(experiment, task, seed): key for _, experiment, task, seed, key in (line.split("\t") for line in lines)}


@pytest.mark.parametrize("mend", ["snakemake --cores 1 --config study=nano", "redistill publish nano"])
def test_an_edited_cell_is_seen_by_audit_and_put_right_without_training(nano: Nano, mend: str) -> None:
    table, before = nano.root / "results" / "nano" / "image.md", nano.things("runs")
    original = table.read_text()
    table.write_text(original.replace("0", "9", 1))
    assert "results/nano/image.md" in nano.redistill("audit", "nano").stderr
    assert nano.command(sys.executable, "-m", *mend.split()).returncode == 0
    assert table.read_text() == original
    assert nano.things("runs") == before
    assert "Nothing to be done" in nano.snakemake("--cores", "1").stderr


def test_the_bytes_are_those_that_other_processors_gave(finished: Nano) -> None:
    """On a processor family that is proven they must be; on another, what they are is said."""
    known = json.loads(DIGESTS.read_text())
    made = digests(finished)
    if family() in known["proven"]:
        assert made == known["digests"]
    else:
        same = sum(made[run] == known["digests"].get(run) for run in made)
        warnings.warn(
            f"{family()} is not among {known['proven']}; {same} of {len(made)} runs are the same", stacklevel=1
        )


def test_audit_sees_a_config_that_was_changed_after_the_run(nano: Nano) -> None:
    file = "configs/experiments/nano/image-kd.yaml"
    nano.edit(file, "stages.0.batch_size:", "stages.0.optimiser.learning_rate: 2.0e-3\n  stages.0.batch_size:")
    done = nano.redistill("audit", "nano")
    assert done.returncode == 1
    assert "nano/image-kd" in done.stderr


def test_a_broken_input_stops_the_job_that_would_use_it(nano: Nano) -> None:
    teacher = next((nano.root / "store" / "outputs").glob("*/logits.npy"))
    teacher.write_bytes(teacher.read_bytes()[:-4] + b"\0\0\0\1")
    for kind in ("configs/experiments/nano/image-kd.yaml", "configs/experiments/nano/student-kd.yaml"):
        nano.edit(kind, "  stages.0.batch_size:", "  stages.0.loss.soft.weight: 0.25\n  stages.0.batch_size:")
    done = nano.snakemake("--cores", "2")
    assert done.returncode != 0
    assert f"{teacher.parent.name}/logits.npy: SHA-256" in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("file", "old", "new", "words"),
    [
        ("configs/studies/nano.yaml", "rows:", "rosw:", ["studies/nano.yaml:10:", "rosw", "`rows`"]),
        ("configs/studies/nano.yaml", "[nano-movie]", "[nano-muvie]", ["studies/nano.yaml:8:", "`nano-movie`"]),
        ("configs/experiments/nano/image-kd.yaml", "nano/image-teacher", "nano/image-taecher", ["image-kd.yaml:3:"]),
        ("configs/experiments/nano/image-kd.yaml", "steps: 20", "steps: many", ["image-kd.yaml:5:", "many"]),
    ],
)
def test_a_mistake_is_one_clear_line_and_nothing_is_started(
    empty: Nano, file: str, old: str, new: str, words: list[str]
) -> None:
    empty.edit(file, old, new)
    for done in (empty.snakemake("--cores", "1"), empty.redistill("check", "nano")):
        assert done.returncode != 0
        for word in words:
            assert word in done.stderr
        assert "Traceback" not in done.stderr
    assert not (empty.root / "store").exists()


def test_transformers_opens_every_text_checkpoint_and_gives_the_predictions_on_file(finished: Nano) -> None:
    program = """
import sys, json, numpy as np, torch, pyarrow.parquet as pq
from transformers import AutoModelForSequenceClassification, AutoTokenizer
dataset, *runs = sys.argv[1:]
splits = [pq.read_table(f"{dataset}/{split}.parquet") for split in ("dev", "select")]
texts = {row["id"]: row["text"] for split in splits for row in split.to_pylist()}
for run in runs:
    model = AutoModelForSequenceClassification.from_pretrained(run).eval()
    tokenizer = AutoTokenizer.from_pretrained(run)
    on_file = pq.read_table(f"{run}/predictions.parquet")
    encoded = tokenizer([texts[i] for i in on_file["id"].to_pylist()], truncation=True, max_length=40, padding=True,
                        return_tensors="pt")
    with torch.no_grad():
        logits = model(**encoded).logits.numpy()
    stored = np.array(on_file["logits"].to_pylist())
    assert np.abs(logits - stored).max() < 1e-4, (run, np.abs(logits - stored).max())
    assert (logits.argmax(1) == on_file["prediction"].to_numpy()).all()
    print(model.config.id2label)
"""
    runs = [f.parent for f in (finished.root / "store" / "runs").glob("*/tokenizer.json")]
    with_predictions = [str(run) for run in runs if (run / "predictions.parquet").is_file()]
    assert len(with_predictions) == 3
    assert len(runs) == 4
    resolved = [json.loads((Path(run) / "manifest.json").read_text()) for run in with_predictions]
    dataset = finished.root / "store" / "data" / resolved[0]["key_parts"]["inputs"]["dataset"]
    done = finished.command(sys.executable, "-c", program, str(dataset), *with_predictions)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("{0: 'negative', 1: 'positive'}") == 3


def test_no_sentence_stands_in_two_splits(finished: Nano) -> None:
    for folder in (finished.root / "store" / "data").iterdir():
        ids = [i for file in folder.glob("*.parquet") for i in pq.read_table(file, columns=["id"])["id"].to_pylist()]
        assert len(ids) == len(set(ids))


def test_every_term_of_the_loss_is_in_the_log(finished: Nano) -> None:
    plan = json.loads((finished.root / "results" / "nano" / "manifests.json").read_text())
    logs = {key: finished.root / "store" / "runs" / key / "log.jsonl" for key, e in plan.items() if e["kind"] == "run"}
    distilled = [log for log in logs.values() if '"soft"' in log.read_text()]
    assert len(distilled) == 4
    for log in distilled:
        line = json.loads(log.read_text().splitlines()[0])
        assert line["loss"] == pytest.approx(0.5 * line["hard"] + 0.5 * line["soft"], rel=1e-5)
        assert line["soft"] > 0


def test_commands_work_without_snakemake(empty: Nano) -> None:
    done = empty.redistill("run", "nano/image-kd", "--seed", "1", "--study", "nano")
    assert done.returncode == 0, done.stderr
    assert len(empty.things("runs")) == 2
    assert empty.redistill("evaluate", "image/linear", "--study", "nano").returncode == 0
    missing = empty.redistill("run", "nano/image-ks", "--study", "nano")
    assert missing.returncode == 2
    assert "did you mean `nano/image-kd`?" in missing.stderr
    assert "Traceback" not in missing.stderr
    unfinished = empty.redistill("publish", "nano")
    assert unfinished.returncode == 1
    assert "not finished" in unfinished.stderr


def test_a_wrong_digest_stops_the_study_and_names_file_expected_and_found(empty: Nano) -> None:
    right = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
    empty.edit("configs/sources.yaml", right, "0" * 64)
    done = empty.redistill("fetch", "minilm", "--study", "nano")
    assert done.returncode == 1
    for words in ("model.safetensors", right, "0" * 64):
        assert words in done.stderr
    assert empty.things("models") == {}
