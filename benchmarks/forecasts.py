"""Studies that are larger than this machine, simulated on profiles of configs/machines: what docs/scaling.md shows.

python benchmarks/forecasts.py     writes benchmarks/results/forecasts.json, and docs/paper-gpu-node.svg

`paper` as it is, and with none or eight processes that load images beside each run; and the embedded study with so
many seeds that it has 10,000 runs, each as long as this project's records say. Nothing is made.
"""

import re
import shutil
import sys
from pathlib import Path
from typing import Any

import dag

from redistill.config.machines import read_machine
from redistill.performance import forecast_picture
from redistill.performance.forecast import Forecast, forecast
from redistill.plan import Plan, make_plan
from redistill.provenance import store

ROOT = Path(__file__).resolve().parents[1]
SCRATCH = ROOT / "benchmarks" / "scratch" / "forecasts"
PICTURE = ROOT / "docs" / "paper-gpu-node.svg"
FEWER, FIRST, MANY = (0, 8), 3, 10_000
PAPER, LARGE = ("laptop", "gpu-node", "slurm"), ("two-cores", "gpu-node", "slurm")
LEFT_OUT = ("jobs", "unknown", "unknown_sizes", "longest_chain")  # too long for a file of results


def project(name: str) -> Path:
    """The project's configs, with its records; models are counted once for all."""
    folder = SCRATCH / name
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(ROOT / "configs", folder / "configs")
    (folder / "store").mkdir()
    (folder / "store" / "records").symlink_to(ROOT / "store" / "records")
    (SCRATCH / "work").mkdir(exist_ok=True)
    (folder / "store" / "work").symlink_to(SCRATCH / "work")
    for area in ("data", "runs", "outputs", "models", "results"):  # sizes, and what was counted in data
        if (ROOT / "store" / area).is_dir():
            (folder / "store" / area).symlink_to(ROOT / "store" / area)
    return folder


def with_workers(workers: int) -> Plan:
    folder = project(f"paper-{workers}")
    file = folder / "configs" / "studies" / "paper.yaml"
    text, found = re.subn(r"(?<=^loading: \{workers: )\d+", str(workers), file.read_text(encoding="utf-8"), flags=re.M)
    if found != 1:
        sys.exit(f"{file.name} does not say on one line how many processes load images")
    file.write_text(text, encoding="utf-8")
    return make_plan(folder, "paper")


def loading(workers: int) -> str:
    return f"paper, {workers or 'no'} processes that load images"


def with_seeds() -> Plan:
    folder = project("embedded")
    seeds = 1
    plan = dag.with_seeds(folder, seeds)
    each = len(dag.with_seeds(folder, 2).nodes) - len(plan.nodes)
    return dag.with_seeds(folder, 1 + round((MANY - len(plan.runs)) / each))


PICTURED = loading(FEWER[-1])


def row(found: Forecast) -> dict[str, Any]:
    said = {key: value for key, value in found.numbers().items() if key not in LEFT_OUT}
    return {**said, "unknown": len(found.numbers()["unknown"]), "unknown_sizes": len(found.numbers()["unknown_sizes"])}


def longest(found: Forecast) -> list[str]:
    """Keys of the runs that take longest."""
    takes = {key: min(need.job.seconds.values()) for key, need in found.needs.items()}
    return sorted(takes, key=lambda key: -takes[key])[:FIRST]


def main() -> None:
    if not (ROOT / "store" / "records").is_dir():
        sys.exit("nothing was made here: make the embedded study first, its records say how long things take")
    SCRATCH.mkdir(parents=True, exist_ok=True)
    plans = {
        "paper": (make_plan(project("paper-as-it-is"), "paper"), PAPER),
        **{loading(workers): (with_workers(workers), PAPER) for workers in FEWER},
        f"embedded with {MANY:,} runs": (with_seeds(), LARGE),
    }
    rows = []
    for study, (plan, machines) in plans.items():
        for name in machines:
            machine = read_machine(ROOT, name)[1]
            found = forecast(plan, machine, name, anew=True)
            rows.append({"what": study, "runs": len({run.key for run in plan.runs}), **row(found)})
            print(f"{study}, {name}: {found.schedule.end / 3600:.1f} h", flush=True)
            if study == PICTURED and name == "gpu-node":
                found = forecast(plan, machine, name, anew=True, first=longest(found))
                rows.append({**rows[-1], "what": f"{study}, its {FIRST} longest runs first", **row(found)})
                print(f"{rows[-1]['what']}, {name}: {found.schedule.end / 3600:.1f} h", flush=True)
                forecast_picture.write(found, PICTURE)
    result = {"command": "python benchmarks/forecasts.py", "studies": rows}
    store.write_atomically(ROOT / "benchmarks" / "results" / "forecasts.json", store.pretty(result))


if __name__ == "__main__":
    main()
