"""What an audit costs: each level of a study's audit beside what the study itself took, and how it grows with a study.

python benchmarks/audit.py [STUDY] [SEEDS...]     writes benchmarks/results/audit.json; exits with 1 when over budget

The study is in the store here, and is audited as it is, up to recompute. How an audit grows is measured on studies of
the tests that are made without training, with so many seeds; the largest takes two minutes to make.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from speed import spread

from redistill.audit import LEVELS
from redistill.config.compose import find_root
from redistill.performance import times
from redistill.plan import make_plan
from redistill.provenance import record, store

ROOT = Path(__file__).resolve().parents[1]
SHARE = 0.05  # of the study's time, which an audit to recompute may take
REPEATS, SEEDS = 3, (8, 32, 128, 512)
MEASURED = LEVELS[:3]


def main(study: str, seeds: list[int]) -> int:
    root = find_root()
    sys.path.insert(0, str(ROOT / "tests"))
    result = {
        "command": f"python benchmarks/audit.py {' '.join([study, *map(str, seeds)])}", "machine": record.machine(),
        "repeats": REPEATS, "study": _beside_the_study(root, study),
        "growth": [_growth(number) for number in seeds],
    }  # fmt: skip
    store.write_atomically(ROOT / "benchmarks" / "results" / "audit.json", store.pretty(result))
    return int(result["study"]["share"] > SHARE)


def _beside_the_study(root: Path, study: str) -> dict[str, Any]:
    """Seconds of each level, and the share of the study's own time that the last one takes."""
    plan = make_plan(root, study)
    noted = [record.read(record.place(root, key)) for key in plan.nodes]
    levels = {level: _audited(root, study, level) for level in MEASURED}
    wall = times.summary(plan)["wall_seconds"]
    last = levels[MEASURED[-1]]
    found = {
        "name": study, "things": len(plan.nodes), "levels": levels, "limit": SHARE, "wall_seconds": round(wall, 1),
        "core_seconds": round(sum(one["core_seconds"] for one in noted), 1),
        "share": round(last["seconds"]["median"] / wall, 4),
        "share_of_core_seconds": round(last["core_seconds"]["median"] / sum(o["core_seconds"] for o in noted), 4),
    }  # fmt: skip
    print(f"{study}: audit to {MEASURED[-1]} takes {found['share']:.1%} of the study's time", flush=True)
    return found


def _growth(seeds: int) -> dict[str, Any]:
    """The audit of a study with so many seeds, from a process that has made it."""
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch) / "project"
        script = (
            "import sys; from pathlib import Path; from published_study import publish_study;"
            "print(len(publish_study(Path(sys.argv[1]), 0, int(sys.argv[2])).plan.nodes))"
        )
        made = subprocess.run(
            [sys.executable, "-c", script, str(root), str(seeds)], check=True, stdout=subprocess.PIPE, text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT / "tests")])},
        )  # fmt: skip
        things = int(made.stdout)
        levels = {level: _audited(root, "small", level) for level in MEASURED}
    found = {"seeds": seeds, "things": things, "levels": levels}
    print(json.dumps(found), flush=True)
    return found


def _audited(root: Path, study: str, level: str) -> dict[str, Any]:
    """Seconds and core-seconds of an audit that finds nothing, as a command."""
    seconds, cores = [], []
    for _ in range(REPEATS):
        began, before = time.perf_counter(), _children()
        command = [sys.executable, "-m", "redistill", "audit", study, "--level", level]
        done = subprocess.run(command, cwd=root, capture_output=True, text=True)
        seconds.append(time.perf_counter() - began)
        cores.append(_children() - before)
        if done.returncode:
            sys.exit(f"{study}, {level}: exit status {done.returncode}\n{done.stdout}{done.stderr}")
    return {"seconds": spread(seconds), "core_seconds": spread(cores)}


def _children() -> float:
    used = os.times()
    return used.children_user + used.children_system


if __name__ == "__main__":
    arguments = sys.argv[1:]
    sys.exit(main(arguments[0] if arguments else "embedded", [int(n) for n in arguments[1:]] or list(SEEDS)))
