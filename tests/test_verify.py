"""The verifier of one file: a number from a table against the root that was printed under it, with nothing else."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from published_study import PublishedStudy

from redistill.provenance import verify
from redistill.provenance.verify import RefusedError

PLACE = ("taught", "marks")


@pytest.fixture
def root(published_project: PublishedStudy) -> str:
    """The root, as it is printed under a table."""
    text = (published_project.results / "pictures.md").read_text(encoding="utf-8")
    return text.rpartition("`*")[0].rpartition("`")[2]


@pytest.fixture
def proof(published_project: PublishedStudy, tmp_path: Path) -> Path:
    return shutil.copy(published_project.results / "pictures.proof.json", tmp_path / "proof.json")


def test_a_cell_is_checked_by_one_file_and_the_standard_library(
    published_project: PublishedStudy, proof: Path, root: str
) -> None:
    shutil.copy(verify.__file__, proof.parent / "verify.py")
    command = [sys.executable, "-I", "-S", "verify.py", "proof.json", "--row", PLACE[0], "--column", PLACE[1]]
    done = subprocess.run([*command, "--root", root], cwd=proof.parent, capture_output=True, text=True)
    rows = json.loads((published_project.results / "pictures.json").read_text(encoding="utf-8"))["rows"]
    mean = next(row["cells"][PLACE[1]]["mean"] for row in rows if row["name"] == PLACE[0])
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"right: taught / marks: accuracy on dev, times 100: {100 * mean:.4f} ± ")
    other = subprocess.run([*command, "--root", "0" * 64], cwd=proof.parent, capture_output=True, text=True)
    assert (other.returncode, other.stdout) == (1, "")
    assert other.stderr == "REFUSED proof.json: its path does not lead to the root\n"
    alone = subprocess.run(command, cwd=proof.parent, capture_output=True, text=True)
    assert "--root is needed" in alone.stderr


def claim(held: Any) -> Any:
    return held["cells"][PLACE[0]][PLACE[1]]


def another_mean(held: Any) -> None:
    claim(held)["mean"] += 0.01


def other_metrics(held: Any) -> None:
    metrics = json.loads(claim(held)["metrics.json"])
    for score in metrics["dev"].values():
        score["value"] = claim(held)["mean"] = 0.99
    claim(held)["metrics.json"] = json.dumps(metrics)


def another_cell(held: Any) -> None:
    held["cells"][PLACE[0]][PLACE[1]] = held["cells"]["plain"]["marks"]


def another_entry(held: Any) -> None:
    claim(held)["entry"]["title"] = "better"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (another_mean, "its mean is said to be"),
        (other_metrics, "its metrics are not those that the root stands for"),
        (another_cell, "the root knows that manifest as the cell pictures / plain / marks"),
        (another_entry, "its path does not lead to the root"),
        (lambda held: held["cells"].clear(), "it has no cell taught / marks; there are none"),
        (lambda held: held["cells"].pop("taught"), "it has no cell taught / marks; there are floor / marks, plain"),
    ],
)
def test_what_the_root_does_not_stand_for_is_refused(
    proof: Path, root: str, change: Callable[[Any], None], words: str
) -> None:
    held = json.loads(proof.read_text(encoding="utf-8"))
    change(held)
    proof.write_text(json.dumps(held), encoding="utf-8")
    with pytest.raises(RefusedError, match=words):
        verify.check(str(proof), root, *PLACE)


def test_all_cells_of_a_proof_and_all_manifests_are_checked(
    published_project: PublishedStudy, proof: Path, root: str
) -> None:
    assert len(verify.check(str(proof), root, None, "marks")) == len(verify.check(str(proof), root, None, None)) == 4
    manifests = published_project.results / "manifests.json"
    tables = [entry for entry in json.loads(manifests.read_text()).values() if entry["kind"] == "table"]
    apart = len(published_project.plan.nodes) - 1 - len(tables)
    assert verify.check(str(manifests), root, None, None) == [f"right: {apart} manifests have the root {root}"]
    with pytest.raises(RefusedError, match=f"its root is {root}"):
        verify.check(str(manifests), "0" * 64, None, None)
