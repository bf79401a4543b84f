"""A published classifier as it is: an experiment without stages, which teaches; and what is refused about it."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from nano_study import Nano, copy_project
from safetensors.torch import load_file
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from transformers import AutoConfig, AutoModelForSequenceClassification

from redistill.errors import ConfigError
from redistill.performance.profile import refuse_without_steps
from redistill.performance.tune import commonest
from redistill.plan import make_plan
from redistill.training.check import check_models

WORDS = ["[PAD]", "[UNK]", "good", "bad", "film", "play", "very", "a"]
SHAPE = {
    "model_type": "bert", "vocab_size": len(WORDS), "hidden_size": 16, "num_hidden_layers": 3,
    "num_attention_heads": 2, "intermediate_size": 32, "max_position_embeddings": 16,
}  # fmt: skip
SOURCES = """
texts:
  kind: data
  origin: {{type: folder, variable: PUBLISHED}}
  files: {{train.parquet: {train}, dev.parquet: {dev}}}
  licence: none
  citation: nobody
published:
  kind: model
  origin: {{type: folder, variable: PUBLISHED}}
  files: {{config.json: {config}, model.safetensors: {weights}, tokenizer.json: {tokenizer}}}
  config: {shape}
  licence: none
  citation: nobody
"""
TASK = """
title: Said
type: classification
input: text
source: texts
reader: {method: parquet, files: {train: train.parquet, dev: dev.parquet}, text: text, label: label}
labels: [bad, good]
metric: accuracy
splits: {official: {train: train, dev: dev}, rows: {train: 24, dev: 12}}
"""
AS_IT_IS = """
label: Published
student: {max_length: 8, start: {source: published, head: true}}
"""
DISTILLED = """
label: Distilled from it
teacher: {experiment: as-it-is}
student: {max_length: 8, start: {source: published, layers: [0, 2]}}
stages:
  - data: [train]
    steps: 3
    batch_size: 8
    optimiser: {learning_rate: 1.0e-3}
    loss:
      soft: {method: kd, weight: 1.0}
      hidden:
        method: tinybert_hidden
        weight: 1.0
        taps: {student: [bert.encoder.layer.0], teacher: [bert.encoder.layer.1]}
"""
AGAIN = """
extends: distilled
set: {stages.0.recompute: true}
"""
STUDY = """
title: Published
runtime: {portable: true}
tables:
  said:
    title: Said
    tasks: [said]
    seeds: [0]
    rows: [{experiment: as-it-is}, {experiment: distilled}, {experiment: again}]
"""


def texts(file: Path, count: int) -> None:
    generator = np.random.default_rng(count)
    drawn = [[WORDS[i] for i in generator.integers(2, len(WORDS), 1 + row % 6)] for row in range(count)]
    columns = {"text": [f"{' '.join(words)} {row}" for row, words in enumerate(drawn)], "label": [0, 1] * (count // 2)}
    pq.write_table(pa.table(columns), file)


def published(folder: Path) -> None:
    """A classifier whose outputs have the task's names, the other way round and in capitals."""
    folder.mkdir()
    texts(folder / "train.parquet", 24)
    texts(folder / "dev.parquet", 12)
    torch.manual_seed(0)
    shape = {key: value for key, value in SHAPE.items() if key != "model_type"}
    config = AutoConfig.for_model("bert", **shape, id2label={0: "GOOD", 1: "BAD"}, label2id={"GOOD": 0, "BAD": 1})
    model = AutoModelForSequenceClassification.from_config(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.3)
    model.save_pretrained(folder)
    tokenizer = Tokenizer(WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    tokenizer.save(str(folder / "tokenizer.json"))


def digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Nano:
    hub = tmp_path / "hub"
    published(hub)
    monkeypatch.setenv("PUBLISHED", str(hub))
    nano = copy_project(tmp_path / "project")
    digests = {
        "train": "train.parquet", "dev": "dev.parquet", "config": "config.json", "weights": "model.safetensors",
        "tokenizer": "tokenizer.json",
    }  # fmt: skip
    named = json.dumps({**SHAPE, "id2label": {"0": "GOOD", "1": "BAD"}})
    said = SOURCES.format(shape=named, **{name: digest(hub / file) for name, file in digests.items()})
    with (nano.root / "configs" / "sources.yaml").open("a", encoding="utf-8") as sources:
        sources.write(said)
    files = {"tasks/said": TASK, "experiments/as-it-is": AS_IT_IS, "experiments/distilled": DISTILLED,
             "experiments/again": AGAIN, "studies/published": STUDY}  # fmt: skip
    for name, content in files.items():
        (nano.root / "configs" / f"{name}.yaml").write_text(content, encoding="utf-8")
    return nano


def test_a_published_classifier_predicts_as_it_is_and_teaches(project: Nano) -> None:
    for command in ("check", "plan"):
        done = project.redistill(command, "published")
        assert done.returncode == 0, done.stderr
    for experiment in ("distilled", "again"):
        done = project.redistill("run", experiment, "--study", "published")
        assert done.returncode == 0, done.stdout + done.stderr
    plan = make_plan(project.root, "published")
    runs = {run.experiment: project.root / "store" / "runs" / run.key for run in plan.runs}
    assert all((folder / "done.json").is_file() for folder in runs.values())
    made, hub = (
        load_file(runs["as-it-is"] / "model.safetensors"),
        load_file(project.root.parent / "hub" / "model.safetensors"),
    )
    assert made.keys() == hub.keys()
    for name, tensor in made.items():
        expected = hub[name].flip(0) if name.startswith("classifier.") else hub[name]
        assert torch.equal(tensor, expected), name
    assert (runs["as-it-is"] / "log.jsonl").read_bytes() == b""
    theirs = AutoModelForSequenceClassification.from_pretrained(project.root.parent / "hub").eval()
    tokenizer = Tokenizer.from_file(str(project.root.parent / "hub" / "tokenizer.json"))
    said = pq.read_table(project.root.parent / "hub" / "dev.parquet")["text"].to_pylist()
    predicted = pq.read_table(runs["as-it-is"] / "predictions.parquet").to_pydict()
    for text, logits in zip(said, predicted["logits"], strict=True):
        with torch.no_grad():
            own = theirs(input_ids=torch.tensor([tokenizer.encode(text).ids])).logits[0].flip(0)
        torch.testing.assert_close(torch.tensor(logits), own, atol=1e-5, rtol=0)
    for name in ("model.safetensors", "log.jsonl", "predictions.parquet"):  # layers computed again: the same bytes
        assert (runs["distilled"] / name).read_bytes() == (runs["again"] / name).read_bytes()
    written = [json.loads(line) for line in (runs["distilled"] / "log.jsonl").read_text().splitlines()]
    assert written[0]["stage"] == 0
    assert written[0]["soft"] > 0
    done = project.redistill("plan", "published")  # its cost is asked of the records that there are now
    assert done.returncode == 0, done.stderr


def test_what_asks_for_steps_says_that_there_are_none(project: Nano) -> None:
    plan = make_plan(project.root, "published")
    node = plan.nodes[plan.runs[0].key]
    assert node.config["stages"] == []
    with pytest.raises(Exception, match="has no stages: it is a model as it is, without steps"):
        refuse_without_steps(node)
    assert commonest(plan).config["stages"]
    done = project.redistill("trace", "as-it-is", "--study", "published", "-o", "here.jsonl")
    assert done.returncode != 0
    assert "`as-it-is` has no stages, so it has no steps" in done.stderr


def test_an_image_model_is_not_computed_again(project: Nano) -> None:
    project.edit("configs/experiments/image/base.yaml", "    steps:", "    recompute: true\n    steps:")
    with pytest.raises(ConfigError) as caught:
        check_models(make_plan(project.root, "embedded"))
    problem = caught.value.problems[0]
    assert (problem.file, problem.key) == ("configs/experiments/image/base.yaml", "stages.0.recompute")
    assert "only transformers of two layers or more can be computed again" in problem.message


def without_head(text: str) -> str:
    return text.replace(", head: true", "")


@pytest.mark.parametrize(
    ("change", "key", "words"),
    [
        (without_head, "", "needs a `student` and `stages`, or a `baseline`"),
        (lambda t: t.replace("head: true", "head: true, random: true"), "student.start.head", "`random` draws"),
        (lambda t: t.replace("head: true", "head: true, fresh: [a]"), "student.start.head", "`fresh` draws"),
        (lambda t: t + "teacher: {source: published}\n", "teacher", "nothing is trained without `stages`"),
        (lambda t: t + "teachers: {a: {source: published}}\n", "teachers", "nothing is trained without"),
        (
            lambda t: t + "modules: {a: {method: linear, input: bert.pooler}}\n",
            "modules",
            "nothing is trained without `stages`",
        ),
        (lambda t: t + "evaluation: {checkpoint: best, split: dev}\n", "evaluation.checkpoint", "no epoch to choose"),
        (
            lambda t: t.replace("{max", "{architecture: {method: transformers, config: {model_type: bert}}, max"),
            "student.start.head",
            "an architecture takes over all but `start.fresh`",
        ),
    ],
)
def test_a_mistake_about_a_model_as_it_is_is_said(
    project: Nano, change: Callable[[str], str], key: str, words: str
) -> None:
    file = project.root / "configs" / "experiments" / "as-it-is.yaml"
    file.write_text(change(AS_IT_IS), encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        make_plan(project.root, "published")
    assert any(p.key == key and words in p.message for p in caught.value.problems), caught.value.problems


def test_a_head_of_other_labels_is_refused_before_anything_runs(project: Nano) -> None:
    project.edit("configs/tasks/said.yaml", "labels: [bad, good]", "labels: [poor, good]")
    with pytest.raises(ConfigError) as caught:
        check_models(make_plan(project.root, "published"))
    problem = caught.value.problems[0]
    assert problem.file == "configs/experiments/as-it-is.yaml"
    assert "the head's labels are `GOOD`, `BAD`, and the task's `poor`, `good`" in problem.message


def test_a_run_s_head_is_taken_on(project: Nano) -> None:
    experiment = "label: On\nstudent: {max_length: 8, start: {experiment: distilled, head: true}}\n"
    (project.root / "configs" / "experiments" / "on.yaml").write_text(experiment, encoding="utf-8")
    project.edit("configs/studies/published.yaml", "{experiment: again}]", "{experiment: again}, {experiment: on}]")
    check_models(make_plan(project.root, "published"))
