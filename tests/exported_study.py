"""The published study of published_study.py as a whole project, with records that differ: exports are tested on it."""

import json
import shutil
from pathlib import Path
from typing import Any

from published_study import PublishedStudy, publish_study

from redistill.provenance import record, store

REPOSITORY = Path(__file__).parents[1]
COMMIT, LATER = "a" * 40, "b" * 40
RESUMED = "taught · marks · seed 1"


def project(root: Path) -> PublishedStudy:
    """The study with the project's own workflow; one run was resumed, elsewhere, with another torch and commit."""
    made = publish_study(root)
    for name in ("Snakefile", "LICENSE", "CITATION.cff", "envs/requirements.lock"):
        (root / name).parent.mkdir(exist_ok=True)
        shutil.copyfile(REPOSITORY / name, root / name)
    shutil.copytree(REPOSITORY / "workflow", root / "workflow")
    for number, node in enumerate(made.plan.nodes.values()):
        noted = record.read(made.record(node.key))
        noted |= {"seconds": 1.5 + number, "core_seconds": 0.25, "peak_memory_mib": 100 + number}
        noted["code"] |= {"commit": COMMIT, "clean": True, "diff": None, "untracked": False}
        noted["machine"]["processor"] = "Processor One"
        if node.title == RESUMED:
            elsewhere(noted)
        store.write_atomically(made.record(node.key), store.pretty(noted))
    return made


def elsewhere(noted: dict[str, Any]) -> None:
    noted["resumed"] = [{"stage": 0, "step": 3}]
    noted["attempts"] = [
        {"start": noted["start"], "end": noted["end"], "seconds": 1.0, "outcome": "killed", "said": ""}
    ]
    noted["machine"]["processor"] = "Processor Two"
    noted["environment"]["packages"]["torch"] = "0.0.1"
    noted["code"]["commit"] = LATER


def records(made: PublishedStudy) -> dict[str, dict[str, Any]]:
    """What the files themselves say, by title; the study's own record is not of a thing that is published."""
    nodes = [node for node in made.plan.nodes.values() if node.kind != "study"]
    return {node.title: json.loads(made.record(node.key).read_text(encoding="utf-8")) for node in nodes}
