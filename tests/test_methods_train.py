"""Every method of the study `methods` trains a real student on real data, and its own term falls."""

import json
import os
import subprocess
import sys
from pathlib import Path
from statistics import fmean

ROOT = Path(__file__).resolve().parents[1]
ON_TEXTS = ("distilbert", "pkd", "tinybert-hidden", "tinybert-attention", "minilm", "minilmv2")
BEGIN_ALIKE = {"methods-image/mutual"}  # two students, neither of whom knows anything yet


def trained(folder: Path, table: str, *rows: str) -> dict[str, dict[str, list[float]]]:
    """The logged values of every term, by row."""
    command = [sys.executable, str(ROOT / "tests" / "training_probe.py"), str(ROOT), str(folder), table, *rows]
    done = subprocess.run(command, capture_output=True, text=True, timeout=900, env={**os.environ, "NO_COLOR": "1"})
    assert done.returncode == 0, done.stderr[-3000:]
    found: dict[str, dict[str, list[float]]] = json.loads(done.stdout.splitlines()[-1])
    return found


def not_fallen(values: dict[str, dict[str, list[float]]]) -> dict[str, list[float]]:
    """The terms that do not end lower than they begin."""
    return {
        f"{row}: {name}": term
        for row, terms in values.items()
        for name, term in terms.items()
        if row not in BEGIN_ALIKE and name != "hard" and not fmean(term[-2:]) < term[0]
    }


def test_every_methods_term_falls_on_images(tmp_path: Path) -> None:
    values = trained(tmp_path, "methods-image")
    assert len(values) > 40
    assert not_fallen(values) == {}


def test_the_methods_of_transformers_fall_on_texts(tmp_path: Path) -> None:
    values = trained(tmp_path, "methods-text", *ON_TEXTS)
    assert set(values) == set(ON_TEXTS)
    assert not_fallen(values) == {}
