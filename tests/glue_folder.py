"""A small GLUE folder in the official layout, and the same rows as the hub's parquet, for every task."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

WORDS = ["good", "bad", 'a "quoted" word', "rain", "sun", "", "two  spaces", "line\u2028separator", "café", "end."]
SPLITS = {"train": "train", "dev": "validation", "test": "test"}
MNLI = {"train": "train", "dev_matched": "validation_matched", "dev_mismatched": "validation_mismatched",
        "test_matched": "test_matched", "test_mismatched": "test_mismatched"}  # fmt: skip
ENTAILS, TWO = ["entailment", "not_entailment"], ["0", "1"]
THREE = ["entailment", "neutral", "contradiction"]
# task: folder, columns of the official file, of the hub's texts, classes, files
TASKS: dict[str, tuple[str, list[str], list[str], list[str] | None, dict[str, str]]] = {
    "cola": ("CoLA", ["source", "label", "mark", "sentence"], ["sentence"], TWO, SPLITS),
    "sst2": ("SST-2", ["sentence", "label"], ["sentence"], TWO, SPLITS),
    "mrpc": ("MRPC", ["Quality", "#1 ID", "#2 ID", "#1 String", "#2 String"], ["sentence1", "sentence2"], TWO, SPLITS),
    "stsb": ("STS-B", ["index", "genre", "sentence1", "sentence2", "score"], ["sentence1", "sentence2"], None, SPLITS),
    "qqp": ("QQP", ["id", "qid1", "qid2", "question1", "question2", "is_duplicate"], ["question1", "question2"], TWO,
            SPLITS),
    "mnli": ("MNLI", ["index", "genre", "sentence1", "sentence2", "label1", "gold_label"], ["premise", "hypothesis"],
             THREE, MNLI),
    "qnli": ("QNLI", ["index", "question", "sentence", "label"], ["question", "sentence"], ENTAILS, SPLITS),
    "rte": ("RTE", ["index", "sentence1", "sentence2", "label"], ["sentence1", "sentence2"], ENTAILS, SPLITS),
    "wnli": ("WNLI", ["index", "sentence1", "sentence2", "label"], ["sentence1", "sentence2"], TWO, SPLITS),
    "ax": ("AX", ["index", "sentence1", "sentence2"], ["premise", "hypothesis"], THREE, {"diagnostic": "test"}),
}  # fmt: skip
LABELS = {"label", "Quality", "score", "is_duplicate", "gold_label"}
TEXTS = {"sentence", "sentence1", "sentence2", "question1", "question2", "question", "#1 String", "#2 String"}


def rows_of(task: str, split: str, size: int) -> list[dict[str, Any]]:
    """Rows with their texts and the index of their label, or their score."""
    classes = TASKS[task][3]
    made = []
    for i in range(size):
        texts = [f"{task} {split} {i} {WORDS[i % len(WORDS)]}", f"{WORDS[(3 * i) % len(WORDS)]} second {i}"]
        made.append({"texts": texts, "label": i % 6 * 0.8 if classes is None else i % len(classes)})
    return made


def write_official(folder: Path, sizes: dict[str, int]) -> None:
    """Every task's files, tabs between columns, nothing quoted. `sizes` are by split: train, dev, test."""
    for task, (place, columns, _, classes, files) in TASKS.items():
        (folder / place).mkdir(parents=True, exist_ok=True)
        for name in files:
            hidden = name.startswith(("test", "diagnostic"))
            own = _columns_of(task, columns, hidden)
            size = sizes["test" if hidden else name.partition("_")[0]]
            lines = ["\t".join(own)] if not (task == "cola" and not hidden) else []
            for i, row in enumerate(rows_of(task, name, size)):
                lines.append("\t".join(_field(column, i, row, classes) for column in own))
            start = "\ufeff" if task == "mrpc" else ""
            (folder / place / f"{name}.tsv").write_bytes(f"{start}{chr(10).join(lines)}\n".encode())


def _columns_of(task: str, columns: list[str], hidden: bool) -> list[str]:
    if not hidden:
        return columns
    kept = [column for column in columns if column not in {*LABELS, "label1", "source", "mark", "index", "id"}]
    return ["index", *kept]


def _field(column: str, i: int, row: dict[str, Any], classes: list[str] | None) -> str:
    if column in LABELS:
        return f"{row['label']:.3f}" if classes is None else classes[row["label"]]
    if column in TEXTS:
        return row["texts"][1 if column in {"sentence2", "question2", "#2 String"} or _second(column, row) else 0]
    return str(i)


def _second(column: str, row: dict[str, Any]) -> bool:
    return column == "sentence" and row["texts"][0].startswith("qnli")


def write_hub(folder: Path, sizes: dict[str, int]) -> None:
    """The same rows as the hub has them: parquet, labels as numbers, -1 where they are hidden, scores as float32."""
    for task, (_, _, texts, classes, files) in TASKS.items():
        (folder / task).mkdir(parents=True, exist_ok=True)
        for name, split in files.items():
            hidden = name.startswith(("test", "diagnostic"))
            rows = rows_of(task, name, sizes["test" if hidden else name.partition("_")[0]])
            columns: dict[str, Any] = {text: [row["texts"][i] for row in rows] for i, text in enumerate(texts)}
            labels = [-1 if hidden and task != "mrpc" else row["label"] for row in rows]
            columns["label"] = pa.array(labels, pa.float32() if classes is None else pa.int64())
            columns["idx"] = list(range(len(rows)))
            pq.write_table(pa.table(columns), folder / task / f"{split}-00000-of-00001.parquet")
