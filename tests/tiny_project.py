"""A project of a second or two: a transformer of a few thousand weights, sentences of its few words, and digits."""

import json
import random
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from nano_study import Nano, copy_project

from redistill.provenance.store import sha256_file

WORDS = "a bad boring dull fine good great it movie never not of plot the this was what"
GOOD, BAD = ("fine", "good", "great", "it", "the"), ("bad", "boring", "dull", "never", "not")
MARKS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
SIZES = {"train": 64, "validation": 40}
VARIABLE = "TINY_FOLDER"
LONGEST = 9  # tokens that the student reads of a text

STUDY = """
title: tiny
runtime: {portable: true}
tables:
  all:
    title: All
    tasks: [mood, score, pairs, nano-digits]
    seeds: [0]
    rows:
      - {experiment: tiny/student, tasks: [mood]}
      - {experiment: tiny/teacher, tasks: [score, pairs]}
      - {experiment: text/majority, tasks: [mood]}
      - {experiment: nano/image-teacher, tasks: [nano-digits]}
"""
TEACHER = f"""
label: Teacher
student: {{max_length: {LONGEST}, start: {{source: tiny-bert}}}}
stages:
  - data: [train]
    steps: 40
    batch_size: 8
    optimiser: {{learning_rate: 3.0e-3}}
    loss:
      hard: {{method: hard, weight: 1.0}}
"""
STUDENT = """
extends: teacher
label: Student
teacher: {experiment: tiny/teacher}
set:
  student.start.layers: [1]
  stages.0.loss:
    hard: {method: hard, weight: 0.5}
    soft: {method: kd, weight: 0.5}
"""
TASK = """
title: {title}
type: {type}
input: text
source: {source}
reader:
  method: parquet
  files: {{train: train.parquet, validation: validation.parquet}}
  text: text
  label: {label}
{more}
metric: {metric}
splits:
  official: {{train: train, dev: validation}}
  rows: {{train: 64, validation: 40}}
"""
LABELS = "labels: [negative, positive]"
TASKS = {
    "mood": dict(title="Mood", type="classification", source="tiny-words", label="mood", more=LABELS,
                 metric="accuracy"),
    "score": dict(title="Score", type="regression", source="tiny-words", label="score", more="", metric="pearson"),
    "pairs": dict(title="Pairs", type="classification", source="tiny-words", label="same",
                  more=f"  text_pair: pair\n{LABELS}", metric="f1"),
}  # fmt: skip


def tiny(root: Path, folder: Path) -> Nano:
    """The project under `root`, nothing of it made yet; its sources are files in `folder`."""
    project = copy_project(root)
    write_words(folder / "words")
    write_bert(folder / "bert")
    configs = project.root / "configs"
    (configs / "experiments" / "tiny").mkdir()
    (configs / "experiments" / "tiny" / "teacher.yaml").write_text(TEACHER, encoding="utf-8")
    (configs / "experiments" / "tiny" / "student.yaml").write_text(STUDENT, encoding="utf-8")
    (configs / "studies" / "tiny.yaml").write_text(STUDY, encoding="utf-8")
    for name, said in TASKS.items():
        (configs / "tasks" / f"{name}.yaml").write_text(TASK.format(**said), encoding="utf-8")
    with (configs / "sources.yaml").open("a", encoding="utf-8") as stream:
        stream.write(_source("tiny-words", "data", folder / "words", "CC BY 4.0", "Nobody 2020, Words"))
        stream.write(_source("tiny-bert", "model", folder / "bert", "Apache-2.0", "Nobody 2021, A tiny BERT"))
    return project


def _source(name: str, kind: str, folder: Path, licence: str, citation: str) -> str:
    files = {file.name: sha256_file(file) for file in sorted(folder.iterdir())}
    value = {"kind": kind, "origin": {"type": "folder", "variable": VARIABLE, "path": folder.name}, "files": files,
             "licence": licence, "citation": citation}  # fmt: skip
    if kind == "model":
        said = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        kept = ("model_type", "vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads",
                "intermediate_size", "max_position_embeddings")  # fmt: skip
        value["config"] = {key: said[key] for key in kept}
    return f"\n{name}: {json.dumps(value)}\n"


def write_words(folder: Path) -> None:
    """Sentences with a mood, a score and a second sentence; some are longer than the student reads."""
    folder.mkdir(parents=True)
    draw, words = random.Random(0), WORDS.split()
    seen: set[str] = set()
    for split, size in SIZES.items():
        rows = []
        while len(rows) < size:
            text, pair = (" ".join(draw.choices(words, k=draw.randint(4, 12))) for _ in range(2))
            if seen.isdisjoint({text, pair}):
                seen |= {text, pair}
                score = sum((word in GOOD) - (word in BAD) for word in text.split())
                first = next((word for word in text.split() if word in GOOD + BAD), "")
                rows.append({"text": text, "pair": pair, "mood": int(first in GOOD), "score": float(score),
                             "same": int(text < pair)})  # fmt: skip
        pq.write_table(pa.Table.from_pylist(rows), folder / f"{split}.parquet")


def write_bert(folder: Path) -> None:
    """A BERT with random weights, and its tokenizer, as a hub has them."""
    import torch
    from tokenizers import BertWordPieceTokenizer
    from transformers import BertConfig, BertModel

    folder.mkdir(parents=True)
    vocabulary = [*MARKS, *WORDS.split()]
    config = BertConfig(vocab_size=len(vocabulary), hidden_size=32, num_hidden_layers=2, num_attention_heads=2,
                        intermediate_size=64, max_position_embeddings=16,
                        initializer_range=0.3)  # fmt: skip  # so wide that one text differs from another
    torch.manual_seed(0)
    BertModel(config).save_pretrained(folder)
    (folder / "vocab.txt").write_text("\n".join(vocabulary) + "\n", encoding="utf-8")
    BertWordPieceTokenizer(str(folder / "vocab.txt")).save(str(folder / "tokenizer.json"))
    said = {"tokenizer_class": "BertTokenizer", "model_max_length": 16, "do_lower_case": True}
    (folder / "tokenizer_config.json").write_text(json.dumps(said), encoding="utf-8")


@contextmanager
def made_tiny(folder: Path) -> Iterator[Nano]:
    """The tiny study below a folder, with a run of every kind."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(VARIABLE, str(folder / "sources"))
        project = tiny(folder / "project", folder / "sources")
        done = project.redistill("table", "all", "--study", "tiny")
        assert done.returncode == 0, done.stderr
        yield project


def key_of(made: Nano, title: str) -> str:
    records = {json.loads(f.read_text())["what"]: f.stem for f in (made.root / "store" / "records").glob("*.json")}
    return records[title]
