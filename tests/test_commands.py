"""The command line: checking, showing, running with changed values, tracing, and components from outside."""

import json
import re
import sys
from pathlib import Path

import pytest
from nano_study import Nano, copy_project

from redistill.config.parse import parse

KD = "nano/image-kd"


@pytest.fixture(scope="module")
def nano(tmp_path_factory: pytest.TempPathFactory) -> Nano:
    """A project with the nano configurations, and a copy of a recipe to be spoilt."""
    return copy_project(tmp_path_factory.mktemp("commands") / "nano")


def test_check_of_an_experiment_finds_taps_that_lead_nowhere_before_any_weights_are_fetched(nano: Nano) -> None:
    tap = "stages.0.loss.hidden.taps.student"
    said = nano.redistill("check", "nano/agnostic", "--study", "nano", "--task", "nano-pool", "--set",
                          f"{tap}=[bert.encoder.layer.7, bert.encoder.layer.1]")  # fmt: skip
    assert said.returncode == 2
    assert f"--set {tap}:1:2: {tap}.0: the student has no module `bert.encoder.layer.7`" in said.stderr
    assert "`bert.encoder.layer.0`, `bert.encoder.layer.1`, `bert.encoder.layer.2`" in said.stderr
    assert not list((nano.root / "store").glob("models/*"))


def test_check_calls_a_loss_on_the_shapes_that_it_would_be_given(nano: Nano) -> None:
    taps = "stages.0.loss.hidden.taps.student=[bert.encoder.layer.0.intermediate, bert.encoder.layer.1]"
    said = nano.redistill("check", "nano/agnostic", "--study", "nano", "--task", "nano-pool", "--set", taps,
                          "--set", "stages.0.loss.hidden.method=distilbert")  # fmt: skip
    assert said.returncode == 2
    assert re.search(r"agnostic\.yaml:\d+:\d+: stages\.0\.loss\.hidden: loss `distilbert` does not take", said.stderr)
    assert "(2, 8, 1536)" in said.stderr


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("stages.0.frozen=[bert.embedings]", "has no module `bert.embedings`"),
        ("stages.0.trained=[modules.nothing]", "has no module `modules.nothing`"),
        ("student.start.layers=[9]", "`minilm` has 6 layers, counted from 0"),
        ("student.max_length=1000", "the model takes at most 512 tokens"),
        ("stages.0.loss.hidden.taps.student=[bert.encoder.layer.0:sideways, bert]", "ends in neither"),
        (
            "stages.0.loss.hidden.taps.student=[bert.encoder.layer.0:output.0, bert.encoder.layer.1]",
            "would take one example",
        ),
    ],
)
def test_check_refuses_what_does_not_fit_the_model(nano: Nano, change: str, message: str) -> None:
    said = nano.redistill("check", "nano/agnostic", "--study", "nano", "--task", "nano-pool", "--set", change)
    assert said.returncode == 2
    assert message in said.stderr
    assert "Traceback" not in said.stderr


def test_a_study_is_checked_once_and_snakemake_does_not_start_a_wrong_one(tmp_path: Path) -> None:
    nano = copy_project(tmp_path / "nano")
    nano.edit("configs/experiments/nano/agnostic.yaml", "bert.encoder.layer.2]", "bert.encoder.layer.3]")
    refused = nano.snakemake("--cores", "1", "-n")
    assert refused.returncode == 2
    assert "the student has no module `bert.encoder.layer.3`" in refused.stderr
    nano.edit("configs/experiments/nano/agnostic.yaml", "bert.encoder.layer.3]", "bert.encoder.layer.2]")
    assert nano.redistill("check", "nano").returncode == 0
    without_torch = (
        "import sys; sys.modules['torch'] = None; sys.argv[1:] = ['check', 'nano']; import redistill.cli as c; "
    )
    assert nano.command(sys.executable, "-c", f"{without_torch}c.main()").returncode == 0


def test_show_prints_every_value_with_its_place_and_reads_back_as_the_same_recipe(nano: Nano) -> None:
    said = nano.redistill("show", KD, "--study", "nano", "--set", "stages.0.loss.soft.temperature=3")
    assert said.returncode == 0, said.stderr
    lines = said.stdout.splitlines()
    temperature = next(line for line in lines if "temperature" in line)
    assert temperature.split() == ["temperature:", "3.0", "#", "--set", "stages.0.loss.soft.temperature:1"]
    assert any(re.search(r"batch_size: 16\s+# configs/experiments/nano/image-kd.yaml:\d+$", line) for line in lines)
    assert any(re.search(r"beta2: 0.999\s+# default$", line) for line in lines)
    again = nano.root / "configs" / "experiments" / "nano" / "shown.yaml"
    again.write_text(said.stdout, encoding="utf-8")
    assert parse(said.stdout.encode(), "shown").data["label"] == "Small CNN distilled, transfer set"
    shown = nano.redistill("show", "nano/shown", "--study", "nano", "--task", "nano-digits").stdout
    assert [line.split("  #")[0].rstrip() for line in shown.splitlines()[1:]] == [
        line.split("  #")[0].rstrip() for line in lines[1:]
    ]
    again.unlink()


def test_run_with_a_changed_value_trains_that_and_leaves_the_study_alone(nano: Nano) -> None:
    before = nano.redistill("plan", "nano").stdout
    assert "nobody knows how long it takes" in before
    done = nano.redistill("run", f"configs/experiments/{KD}.yaml", "--study", "nano", "--seed", "0", "--set",
                          "stages.0.loss.soft.temperature=2", "--set", "stages.0.steps=5")  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert re.search(r"nano/image-kd · nano-digits: accuracy on dev, times 100: [0-9.]+ \(seed 0\)", done.stdout)
    resolved = [json.loads(file.read_text()) for file in nano.root.glob("store/runs/*/resolved.json")]
    soft = [r["stages"][0]["loss"]["soft"] for r in resolved if "soft" in r["stages"][0]["loss"]]
    assert [term["settings"]["temperature"] for term in soft] == [2.0]
    planned = nano.to_make()
    assert "nano/image-kd · nano-digits · seed 0" in planned
    assert "nano/image-teacher · nano-digits · seed 0" not in planned
    assert re.search(
        r"about \d+ (s|min) of one process and [0-9,]+ MB, for \d+ of the \d+", nano.redistill("plan", "nano").stdout
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("stages.0.loss.soft.temprature=2", "did you mean `temperature`?"),
        ("stages.3.steps=2", "there is no `3` in `stages`: it has 1 entries"),
        ("label.x=2", "`label` is a plain value"),
        ("steps", "must be PATH=VALUE"),
        ("stages.0.steps=[1", "is not valid YAML"),
        ("stages.0.steps=!!python/object:os.system x", "tag"),
    ],
)
def test_a_wrong_change_is_a_sentence(nano: Nano, change: str, message: str) -> None:
    said = nano.redistill("run", KD, "--study", "nano", "--set", change)
    assert said.returncode == 2
    assert message in said.stderr
    assert "Traceback" not in said.stderr


def test_traces_of_the_same_code_agree_and_name_the_step_and_the_operation_where_they_do_not(nano: Nano) -> None:
    def trace(name: str, *more: str) -> str:
        done = nano.redistill("trace", KD, "--study", "nano", "-o", f"{name}.jsonl", *more)
        assert done.returncode == 0, done.stderr
        return done.stdout.splitlines()[-1] if done.stdout else ""

    trace("a")
    assert trace("b", "--against", "a.jsonl") == "the same in every step that both have"
    lines = [json.loads(line) for line in (nano.root / "a.jsonl").read_text().splitlines()]
    lines[8]["weights"]["student.0.weight"] = "0" * 16
    (nano.root / "c.jsonl").write_text("\n".join(map(json.dumps, lines)))
    assert trace("b", "--against", "c.jsonl").startswith(
        "stage 0, step 7: 1 of 8 tensors differ, the first is student.0"
    )
    trace("d", "--step", "1")
    operations = [json.loads(line) for line in (nano.root / "d.jsonl").read_text().splitlines()]
    assert any("backward" in line.get("name", "") for line in operations)
    changed = next(i for i, line in enumerate(operations) if line.get("operation") == 5)
    operations[changed]["out"][0][0] = "0" * 16
    (nano.root / "e.jsonl").write_text("\n".join(map(json.dumps, operations)))
    assert re.match(
        r"operation 5, aten\.\S+ giving .*: the same values in, others out",
        trace("f", "--step", "1", "--against", "e.jsonl"),
    )


def test_an_installed_packages_entry_point_is_a_component_imported_only_with_the_users_word(nano: Nano) -> None:
    site = nano.root / "src"  # on the path of every command of this project
    (site / "halved.py").write_text(
        "print('halved was imported')\n\n\ndef halved(student_logits, labels, *, factor: float = 0.5):\n"
        "    from redistill.distill.hard import hard\n\n    return factor * hard(student_logits, labels)\n"
    )
    (site / "halved-1.0.dist-info").mkdir()
    (site / "halved-1.0.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: halved\nVersion: 1.0\n")
    (site / "halved-1.0.dist-info" / "entry_points.txt").write_text("[redistill.loss]\nhalved = halved:halved\n")
    run = ("run", "nano/image-finetuned", "--study", "nano", "--seed", "0")
    command = (*run, "--set", "stages.0.loss.hard.method=halved", "--set", "stages.0.steps=3")
    refused = nano.redistill(*command)
    assert refused.returncode == 1
    assert "--trust-plugins" in refused.stderr
    assert "halved was imported" not in refused.stdout + refused.stderr
    assert nano.redistill(*command, "--trust-plugins").returncode == 0
    wrong = nano.redistill(*command, "--set", "stages.0.loss.hard.facto=2")
    assert "loss `halved` has no setting `facto`; did you mean `factor`?" in wrong.stderr
