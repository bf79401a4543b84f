"""A finished and published study without training, in a second: what tests of provenance look at and spoil.

Configs, plan and keys are real; data sets, tokens, baselines, choices, cells, tables and results/ are made by the
functions that jobs run; weights, logs, predictions of students and what teachers say are drawn at random. So all that
needs no model can be made again, to the same bytes.

    made = publish_study(tmp_path / "project", content=3)     # other content, other numbers
    made = copied(made, tmp_path / "copy")                    # to be changed
"""

import gzip
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from safetensors.numpy import save_file

from redistill import jobs
from redistill.plan import Node, Plan, make_plan
from redistill.provenance import record, store
from redistill.provenance.store import pretty, sha256_file
from redistill.tables.publish import publish

STUDY = "small"
LICENCES = {"marks": "CC BY 4.0", "words": "MIT", "little": "Apache-2.0"}
SAID = ["good", "bad", "fine", "dull", "great", "poor", "film", "plot", "very", "never"]
MARKS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
BERT = {"model_type": "bert", "vocab_size": len(MARKS) + len(SAID) + 10, "hidden_size": 8, "num_hidden_layers": 2,
        "num_attention_heads": 2, "intermediate_size": 16, "max_position_embeddings": 16}  # fmt: skip
CONFIGS = {
    "tasks/marks": """
title: Marks
type: classification
input: image
source: marks
reader: {method: digits}
image_shape: [1, 8, 8]
labels: ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"]
metric: accuracy
splits: {train: 20, select: 20, dev: 60, transfer: 20}
""",
    "tasks/words": """
title: Words
type: classification
input: text
source: words
reader: {method: parquet, files: {train: train.parquet, dev: dev.parquet}, text: text, label: label}
labels: [bad, good]
metric: accuracy
splits: {official: {train: train, dev: dev}, rows: {train: 40, dev: 60}, select: 20}
""",
    "experiments/floor": "label: Floor\nbaseline: {method: majority}\n",
    "experiments/plain": """
label: Plain
student: {architecture: {method: cnn, channels: [2], hidden: 4}}
stages:
  - data: [train]
    steps: 5
    batch_size: 10
    optimiser: {learning_rate: 3.0e-3}
    loss:
      hard: {method: hard, weight: 1.0}
""",
    "experiments/teacher": """
extends: plain
label: Teacher
set: {stages.0.steps: 20}
""",
    "experiments/taught": """
extends: plain
label: Taught
teacher: {experiment: teacher}
set:
  stages.0.data: [train, transfer]
  stages.0.loss:
    hard: {method: hard, weight: 0.5}
    soft: {method: kd, weight: 0.5, temperature: 4.0}
""",
    "experiments/reader": """
label: Reader
student: {max_length: 8, start: {source: little, layers: [0]}}
stages:
  - data: [train]
    steps: 5
    batch_size: 10
    optimiser: {learning_rate: 1.0e-3}
    loss:
      hard: {method: hard, weight: 1.0}
""",
    "studies/small": """
title: Small
runtime: {portable: true}
tables:
  pictures:
    title: Pictures
    tasks: [marks]
    seeds: [0, 1]
    rows:
      - {experiment: floor, seeds: [0]}
      - {experiment: teacher, seeds: [0]}
      - {experiment: plain}
      - {experiment: taught}
    comparisons:
      - {row: taught, against: plain}
  texts:
    title: Texts
    tasks: [words]
    seeds: [0, 1]
    rows:
      - {experiment: floor, seeds: [0]}
      - {experiment: reader}
  tuned:
    title: Tuned
    tasks: [marks]
    seeds: [0, 1]
    choose: {trials: 2, seeds: [7]}
    rows:
      - {experiment: plain, name: tuned, set: {stages.0.optimiser.learning_rate: {grid: [1.0e-3, 1.0e-2]}}}
""",
}


@dataclass(frozen=True)
class PublishedStudy:
    """A project in which a study is finished and published. `plan` is what its configs ask for."""

    root: Path
    plan: Plan

    @property
    def results(self) -> Path:
        return self.root / "results" / STUDY

    def node(self, kind: str, title: str = "") -> Node:
        """The first planned thing of a kind (teacher, student, cell ...) whose title starts so."""
        return next(n for n in self.plan.nodes.values() if n.kind == kind and n.title.startswith(title))

    def folder(self, kind: str, title: str = "") -> Path:
        return self.node(kind, title).folder(self.root)

    def record(self, key: str) -> Path:
        return self.root / "store" / "records" / f"{key}.json"


def publish_study(root: Path, content: int = 0, seeds: int = 2) -> PublishedStudy:
    """The study below `root`, which must not exist; `content` draws its data and its numbers. With more seeds it is
    larger.
    """
    draw = np.random.default_rng(content)
    fetched = root / "fetched"
    _fetched(fetched, draw)
    files = CONFIGS | {"sources": "\n".join(_sources(fetched))}
    files["studies/small"] = files["studies/small"].replace("seeds: [0, 1]", f"seeds: {list(range(seeds))}")
    for name, text in files.items():
        (root / "configs" / name).parent.mkdir(parents=True, exist_ok=True)
        (root / "configs" / f"{name}.yaml").write_text(text, encoding="utf-8")
    plan = make_plan(root, STUDY)
    noted = _notes(plan)
    for node in plan.nodes.values():
        make(plan, node, draw)
        store.write_atomically(root / "store" / "records" / f"{node.key}.json", pretty(noted(node)))
    store.published.cache_clear()
    publish(root, STUDY, plan.target.folder(root))
    return PublishedStudy(root, plan)


def copied(made: PublishedStudy, root: Path) -> PublishedStudy:
    """A copy, to be changed; the plan is that of the original."""
    shutil.copytree(made.root, root)
    store.published.cache_clear()
    return PublishedStudy(root, made.plan)


def make(plan: Plan, node: Node, draw: np.random.Generator) -> None:
    """Put a planned thing into the store, by its own function, or drawn."""
    root = plan.root
    work = root / "store" / "work" / node.key / "result"
    work.mkdir(parents=True)
    inputs = {role: plan.nodes[key].folder(root) for role, key in node.inputs.items()}
    if node.kind in ("data", "model"):
        shutil.copytree(root / "fetched" / node.title, work, dirs_exist_ok=True)
        counted: dict[str, Any] = {"files": len(node.config["files"])}
    elif node.kind in ("teacher", "student"):
        counted = _trained(node, inputs, work, draw)
    elif node.kind == "outputs":
        examples = pq.read_metadata(inputs["dataset"] / f"{node.config['split']}.parquet").num_rows
        np.save(work / "logits.npy", draw.normal(size=(examples, 10)).astype(np.float32))
        counted = {"examples": examples}
    else:
        counted = jobs.function_of(node.kind)(node.config, inputs, work)
    (work / "counts.json").write_text(pretty(counted), encoding="utf-8")
    store.put(root, work, node.folder(root), node.parts)
    shutil.rmtree(work.parent)


def _trained(node: Node, inputs: dict[str, Path], work: Path, draw: np.random.Generator) -> dict[str, Any]:
    """A run whose predictions are right a little more often than by chance."""
    save_file({"weight": draw.normal(size=(4, 3)).astype(np.float32)}, work / "model.safetensors")
    (work / "log.jsonl").write_text(json.dumps({"stage": 0, "step": 0, "loss": draw.random()}) + "\n", encoding="utf-8")
    (work / "resolved.json").write_text(pretty(node.config), encoding="utf-8")
    classes, columns = len(node.config["task"]["labels"]), {}
    for split in ("dev", "select"):
        table = pq.read_table(inputs["dataset"] / f"{split}.parquet", columns=["id", "label"])
        logits = draw.normal(size=(table.num_rows, classes)).astype(np.float32)
        logits[np.arange(table.num_rows), table["label"].to_numpy()] += 1
        part = {"id": table["id"].to_pylist(), "split": [split] * table.num_rows, "label": table["label"].to_pylist(),
                "prediction": logits.argmax(1).tolist(), "logits": logits.tolist()}  # fmt: skip
        columns = {name: columns.get(name, []) + values for name, values in part.items()}
    kinds = {"id": pa.string(), "split": pa.string(), "label": pa.int64(), "prediction": pa.int64(),
             "logits": pa.list_(pa.float32())}  # fmt: skip
    pq.write_table(pa.table({n: pa.array(v, kinds[n]) for n, v in columns.items()}), work / "predictions.parquet")
    return {"steps": 5, "parameters": 12}


def _notes(plan: Plan) -> Any:
    """A function that gives a thing's record; what takes time is asked of the machine once."""
    begun = record.started(plan.root)
    digests: dict[str, str] = {}
    one = record.finished(begun, plan.root, plan.target.title, {**plan.target.parts, "inputs": {}}, {}, "", [])

    def noted(node: Node) -> dict[str, Any]:
        digests[node.key] = store.digest_of(store.read_manifest(node.folder(plan.root)))
        inputs = {role: {"key": key, "manifest": digests[key]} for role, key in node.inputs.items()}
        return {**one, "key": node.key, "what": node.title, "key_parts": node.parts, "inputs": inputs,
                "output": {"manifest": digests[node.key]}, "command": f"redistill make {node.key}"}  # fmt: skip

    return noted


def _fetched(folder: Path, draw: np.random.Generator) -> None:
    """The files of the sources."""
    for name in LICENCES:
        (folder / name).mkdir(parents=True)
    rows = [[*draw.integers(0, 17, 64), i % 10] for i in range(130)]
    text = "\n".join(",".join(map(str, row)) for row in rows) + "\n"
    with gzip.GzipFile(folder / "marks" / "digits.csv.gz", "wb", mtime=0) as stream:
        stream.write(text.encode())
    numbers = iter(range(100))
    for split, count in (("train", 40), ("dev", 60)):
        said = [" ".join(draw.choice(SAID, 1 + row % 9)) + f" {next(numbers)}" for row in range(count)]
        columns = {"text": said, "label": [0, 1] * (count // 2)}
        pq.write_table(pa.table(columns), folder / "words" / f"{split}.parquet")
    (folder / "little" / "config.json").write_text(json.dumps(BERT), encoding="utf-8")
    save_file({"embeddings": draw.normal(size=(5, 8)).astype(np.float32)}, folder / "little" / "model.safetensors")
    (folder / "little" / "tokenizer.json").write_text(json.dumps(_tokenizer()), encoding="utf-8")


def _tokenizer() -> dict[str, Any]:
    """A tokenizer of whole words, as the tokenizers library writes it."""
    vocabulary = {word: i for i, word in enumerate([*MARKS, *SAID, *map(str, range(10))])}
    return {
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": [], "normalizer": None,
        "pre_tokenizer": {"type": "Whitespace"}, "post_processor": None, "decoder": None,
        "model": {"type": "WordLevel", "vocab": vocabulary, "unk_token": "[UNK]"},
    }  # fmt: skip


def _sources(fetched: Path) -> Iterator[str]:
    for name, licence in LICENCES.items():
        files = {file.name: sha256_file(file) for file in sorted((fetched / name).iterdir())}
        source: dict[str, Any] = {
            "kind": "model" if name == "little" else "data", "origin": {"type": "folder", "variable": "FETCHED"},
            "files": files, "licence": licence, "citation": f"Nobody 2020, {name}",
        }  # fmt: skip
        if name == "little":
            source["config"] = BERT
        yield f"{name}: {json.dumps(source)}"


@contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """Within, nothing can be written below a folder; root may, whatever the modes say."""
    modes = {path: path.stat().st_mode for path in (folder, *folder.rglob("*"))}
    for path in modes:
        path.chmod(0o555 if path.is_dir() else 0o444)
    try:
        yield
    finally:
        for path, mode in modes.items():
            path.chmod(mode)
