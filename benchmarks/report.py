"""How fast a report opens: a study of 1,000 numbers, made without training, whose page Chromium opens anew each time.

python benchmarks/report.py [ROWS [FOLDER]]     writes benchmarks/results/report.json; exits with 1 when over budget

The study has four columns and so many rows (250 if not given), each of three seeds but the teacher's. It takes minutes
to make; in FOLDER it is kept, and gone on with where it was stopped. Configs, plan, keys, cells, tables and results/
are real, and the report is made by the code of `redistill report`; logs and predictions are drawn.
"""

import json
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from speed import spread

from redistill.provenance import record, store

ROOT = Path(__file__).resolve().parents[1]
ROWS, COLUMNS, SEEDS, REPEATS = 250, 4, 3, 5
DEV, STEPS, EVERY = 500, 1200, 10
MOST_SECONDS, MOST_BYTES = 3.0, 10_000_000
WORDS = [
    "a",
    "the",
    "of",
    "and",
    "film",
    "plot",
    "cast",
    "scene",
    "music",
    "story",
    "camera",
    "price",
    "sound",
    "battery",
    "works",
    "breaks",
    "never",
    "always",
    "very",
    "quite",
    "good",
    "bad",
    "fine",
    "dull",
    "great",
    "poor",
    "slow",
    "quick",
    "long",
    "short",
    "bright",
    "flat",
    "warm",
    "cold",
    "sharp",
    "soft",
    "loud",
    "clear",
]
TASK = """
title: Reviews {number}
type: classification
input: text
source: words
reader: {{method: parquet, files: {{train: train.parquet, dev: dev.parquet}}, text: text, label: label}}
labels: [bad, middling, good]
metric: accuracy
splits: {{official: {{train: train, dev: dev}}, rows: {{train: 100, dev: {dev}}}, select: {select}}}
"""
STUDENT = """
label: Student {number}
extends: plain
teacher: {{experiment: teacher}}
set:
  stages.0.optimiser.learning_rate: {rate}
  stages.0.loss:
    hard: {{method: hard, weight: 0.5}}
    soft: {{method: kd, weight: 0.5, temperature: {temperature}}}
"""


def main(rows: int, folder: Path | None) -> int:
    with tempfile.TemporaryDirectory() as scratch:
        root = (folder or Path(scratch)) / "project"
        if not (root / "results" / "small" / "runs.tsv").is_file():
            _study(root, rows)
        began = time.perf_counter()
        from redistill.report.write import write

        file, made = write(root, "small")
        seconds = time.perf_counter() - began
        size, opened = file.stat().st_size, _opened(file)
    result = {
        "command": f"python benchmarks/report.py {rows}", "machine": record.machine(),
        "cells": len(made.overview["cells"]), "runs": len(made.study.published.runs), "bytes": size,
        "seconds_to_make": round(seconds, 1), "repeats": REPEATS, "cut": made.cut, **opened,
        "budget": {"seconds": MOST_SECONDS, "bytes": MOST_BYTES},
    }  # fmt: skip
    store.write_atomically(ROOT / "benchmarks" / "results" / "report.json", store.pretty(result))
    print(json.dumps(result, indent=1))
    return int(opened["usable_seconds"]["most"] > MOST_SECONDS or size > MOST_BYTES)


def _opened(file: Path) -> dict[str, Any]:
    """Seconds until the page can be used, until all its pictures are drawn, and until a number has opened."""
    from playwright.sync_api import sync_playwright

    usable, drawn, numbers = list[float](), list[float](), list[float]()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
        for _ in range(REPEATS):
            context = browser.new_context()
            page = context.new_page()
            page.add_init_script(
                "new MutationObserver((_, o) => { const d = document.documentElement?.dataset; "
                "if (d?.ready && !window.__ready) window.__ready = performance.now(); "
                "if (d?.drawn && !window.__drawn) { window.__drawn = performance.now(); o.disconnect(); } })"
                ".observe(document, { attributes: true, childList: true, subtree: true })"
            )
            page.goto(file.as_uri())
            page.wait_for_selector(
                "html[data-drawn]", timeout=120_000
            )  # to wait for code, it would have to be evaluated
            usable.append(page.evaluate("window.__ready") / 1000)
            drawn.append(page.evaluate("window.__drawn") / 1000)
            began = time.perf_counter()
            page.locator("button[data-cell]").nth(len(numbers) * 7 + 40).click()
            page.wait_for_selector("#panel table", timeout=60_000)
            numbers.append(time.perf_counter() - began)
            context.close()
        version = browser.version
        browser.close()
    return {
        "chromium": version,
        "usable_seconds": spread(usable),
        "drawn_seconds": spread(drawn),
        "number_seconds": spread(numbers),
    }


def _study(root: Path, rows: int) -> None:
    """A published study, by the tests' own way of making one without training."""
    sys.path.insert(0, str(ROOT / "tests"))
    import published_study as of

    tasks = [f"words-{i}" for i in range(COLUMNS)]
    configs = {f"tasks/{name}": TASK.format(number=i + 1, dev=DEV, select=20 + i) for i, name in enumerate(tasks)}
    configs["experiments/plain"] = of.CONFIGS["experiments/reader"].replace("label: Reader", "label: Student alone")
    configs["experiments/teacher"] = (
        "extends: plain\nlabel: Teacher\nset: {stages.0.steps: 20, student.start.layers: [0, 1]}\n"
    )
    names = [f"student-{i}" for i in range(rows - 2)]
    for i, name in enumerate(names):
        rate, temperature = 1e-4 * (1 + i), 1 + i % 8
        configs[f"experiments/{name}"] = STUDENT.format(number=i + 1, rate=rate, temperature=float(temperature))
    lines = [
        {"experiment": "teacher", "seeds": [0]},
        {"experiment": "plain"},
        *({"experiment": name} for name in names),
    ]
    study = {"title": "A large study", "runtime": {"portable": True}, "tables": {"reviews": {
        "title": "Reviews", "tasks": tasks, "seeds": list(range(SEEDS)), "rows": lines}}}  # fmt: skip
    configs["studies/small"] = json.dumps(study)
    of.CONFIGS, of._trained, of._fetched, of.make = configs, _trained, _fetched(of), _missing(of)
    with patch("os.fsync", lambda _: None):  # nothing here has to outlive a power cut
        of.publish_study(root, content=1)


def _missing(of: Any) -> Any:
    """What makes a thing, if it is not there."""
    before = of.make

    def make(plan: Any, node: Any, draw: np.random.Generator) -> None:
        if not store.is_done(node.folder(plan.root)):
            shutil.rmtree(plan.root / "store" / "work" / node.key, ignore_errors=True)
            before(plan, node, draw)

    return make


def _fetched(of: Any) -> Any:
    """Sources as the tests have them, with more texts."""
    before = of._fetched

    def fetched(folder: Path, draw: np.random.Generator) -> None:
        if folder.is_dir():
            return
        before(folder, draw)
        for split, count in (("train", 100), ("dev", DEV)):
            said = [f"{' '.join(draw.choice(WORDS, 8 + row % 25))} {row}" for row in range(count)]
            pq.write_table(
                pa.table({"text": said, "label": [i % 3 for i in range(count)]}), folder / "words" / f"{split}.parquet"
            )

    return fetched


def _trained(node: Any, inputs: dict[str, Path], work: Path, draw: np.random.Generator) -> dict[str, Any]:
    """A run with a log of 120 lines and predictions that are right more often than by chance."""
    from safetensors.numpy import save_file

    save_file({"weight": draw.normal(size=(4, 3)).astype(np.float32)}, work / "model.safetensors")
    noise = np.cumsum(draw.normal(size=(STEPS // EVERY, 2)), axis=0) * 0.02
    log = [
        {"stage": 0, "step": EVERY * i, "rate": 1e-3 * (1 - EVERY * i / STEPS), "loss": float(1.5 - i / 150 + n.sum()),
         "hard": float(1.4 - i / 140 + n[0]), "soft": float(0.9 - i / 200 + n[1])}
        for i, n in enumerate(noise)
    ]  # fmt: skip
    (work / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in log), encoding="utf-8")
    (work / "resolved.json").write_text(store.pretty(node.config), encoding="utf-8")
    table = pq.read_table(inputs["dataset"] / "dev.parquet", columns=["id", "label"])
    labels = table["label"].to_numpy()
    logits = draw.normal(size=(len(labels), 3)).astype(np.float32)
    logits[np.arange(len(labels)), labels] += draw.uniform(0.8, 1.6)
    columns = {"id": table["id"], "split": pa.array(["dev"] * len(labels)), "label": table["label"],
               "prediction": pa.array(logits.argmax(1)),
               "logits": pa.array(logits.tolist(), pa.list_(pa.float32()))}  # fmt: skip
    pq.write_table(pa.table(columns), work / "predictions.parquet")
    return {"steps": STEPS, "parameters": int(1e6 * draw.uniform(2, 60))}


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if sys.argv[1:] else ROWS, Path(sys.argv[2]).resolve() if sys.argv[2:] else None))
