"""The tutorial on one's own data, command by command as docs/own-data.md has it; long, so it runs when asked for.

REDISTILL_OWN_DATA=folder names what it is made on: `glue/SST-2/train.tsv` and `cifar10/train-00000-of-00001.parquet`.
"""

import csv
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from nano_study import ROOT, copy_project

SHARED = os.environ.get("REDISTILL_OWN_DATA")
REVIEWS, IMAGES = 4500, 300  # lines of the table; images of each of three classes
FENCE = re.compile(r"^```\n(.*?)^```$", re.DOTALL | re.MULTILINE)
LONGEST = 1800  # seconds of a command

needs_data = pytest.mark.skipif(not SHARED, reason="REDISTILL_OWN_DATA names no folder")


def commands(first: str, last: str) -> list[str]:
    """The commands of the tutorial's sections from one heading to the next, each as it stands there."""
    text = (ROOT / "docs" / "own-data.md").read_text(encoding="utf-8")
    part = text[text.index(f"\n## {first}") : text.index(f"\n## {last}")]
    return [line for block in FENCE.findall(part) for line in block.splitlines()]


def project(folder: Path) -> Path:
    """A checkout with `.venv/bin`, whose commands are those of the Python that runs this."""
    root = copy_project(folder / "project").root
    tools = root / ".venv" / "bin"
    tools.mkdir(parents=True)
    for name in ("redistill", "snakemake"):
        (tools / name).write_text(f'#!/bin/sh\nexec {sys.executable} -m {name} "$@"\n', encoding="utf-8")
        (tools / name).chmod(0o755)
    return root


def run_all(root: Path, lines: list[str]) -> dict[str, str]:
    """What each command printed, by command."""
    said = {}
    for line in lines:
        begun = time.monotonic()
        done = subprocess.run(["bash", "-c", line], cwd=root, env={**os.environ, "PYTHONPATH": str(root / "src")},
                              capture_output=True, text=True, timeout=LONGEST, stdin=subprocess.DEVNULL)  # fmt: skip
        print(f"{time.monotonic() - begun:6.1f} s  {line}\n{done.stdout[-1500:]}", flush=True)
        assert done.returncode == 0, f"{line}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
        said[line] = done.stdout
    return said


def test_the_tutorial_has_commands_for_texts_and_images() -> None:
    texts, images = commands("1. Begin", "A folder of images"), commands("A folder of images", "A data set of the hub")
    assert [line.split()[1] for line in texts if "redistill" in line] == [
        "new", "plan", "status", "export", "export", "predict", "audit", "why",
    ]  # fmt: skip
    assert [line.split()[1] for line in images if "redistill" in line] == ["new", "export", "predict"]


@needs_data
@pytest.mark.timeout(4 * LONGEST)
def test_a_table_becomes_an_audited_model_that_runs_alone(tmp_path: Path) -> None:
    root = project(tmp_path)
    with (Path(SHARED or "") / "glue" / "SST-2" / "train.tsv").open(encoding="utf-8") as stream:
        rows = list(csv.reader(stream, delimiter="\t", quoting=csv.QUOTE_NONE))[1:]
    long_ones = list({text: label for text, label in rows if len(text.split()) >= 6}.items())[:REVIEWS]
    with (root / "reviews.csv").open("w", encoding="utf-8", newline="") as stream:
        named = [(text, ("negative", "positive")[int(label)]) for text, label in long_ones]
        csv.writer(stream).writerows([("review", "verdict"), *named])
    said = run_all(root, commands("1. Begin", "A folder of images"))
    audit = next(text for line, text in said.items() if " audit " in line)
    assert "right (0 wrong, 0 stale" in audit
    scores = json.loads((root / "student-onnx" / "scores.json").read_text())
    assert scores["agree"] == 1.0
    with (root / "said.csv").open(encoding="utf-8") as stream:
        found = list(csv.DictReader(stream))
    right = sum(row["prediction"] == row["verdict"] for row in found)
    assert len(found) == REVIEWS
    assert right > 0.75 * len(found)


@needs_data
@pytest.mark.timeout(4 * LONGEST)
def test_a_folder_of_images_becomes_a_model_that_runs_alone(tmp_path: Path) -> None:
    root = project(tmp_path)
    kept: dict[str, int] = {}
    names = {3: "cat", 5: "dog", 4: "deer"}
    table = pq.read_table(Path(SHARED or "") / "cifar10" / "train-00000-of-00001.parquet").slice(0, 4000)
    for row in table.to_pylist():
        name = names.get(row["label"])
        if name and kept.get(name, 0) < IMAGES:
            kept[name] = kept.get(name, 0) + 1
            file = root / "pets" / name / f"{kept[name]}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(row["img"]["bytes"])
    run_all(root, commands("A folder of images", "A data set of the hub"))
    with (root / "pets.csv").open(encoding="utf-8") as stream:
        found = list(csv.DictReader(stream))
    assert len(found) == sum(kept.values())
