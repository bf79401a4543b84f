"""Where the time goes that is no job's when a study has 1,000 and 10,000 runs, piece by piece.

python benchmarks/scale.py [RUNS...]     writes benchmarks/results/scale.json; without numbers, 1,000 and 10,000 runs;
                                         with some, what the file has of others stays in it

The study is `embedded` with more seeds, its models are not trained: what is there are empty marks and copies of a
record. `snakemake -n` and the scheduler run in the project and in the bare workflow that benchmarks/dag.py lays out;
the scheduler's jobs do nothing but touch a file, for at most SECONDS. Of tables one comparison's bootstrap is measured.
"""

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dag
import numpy as np

from redistill.config.machines import read_machine
from redistill.estimate import estimate
from redistill.performance import cost
from redistill.performance.forecast import forecast
from redistill.performance.units import bounded
from redistill.plan import Plan, make_plan
from redistill.provenance import attempts, record, store
from redistill.specification import write_specifications
from redistill.tables.sampled import accuracies
from redistill.tables.statistics import bootstrap

ROOT = Path(__file__).resolve().parents[1]
RUNS, SECONDS, LIMIT = (1000, 10000), 60, 900
FEW = 60  # things of the study that are no runs
EXAMPLES, DRAWS = 2000, 10_000  # of a comparison: about those of the embedded study's
BEGIN, EACH = 1_700_000_000, 10  # when the first thing was made, and how long each took, as the records have it


def seconds_of(work: Callable[[], Any]) -> float:
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


def write_records(plan: Plan) -> bool:
    """A record of each thing, like one of this project's store; whether there is one to copy."""
    known = sorted((ROOT / "store" / "records").glob("*.json"))
    example = json.loads(known[0].read_text(encoding="utf-8")) if known else None
    if example is None:
        return False
    folder = plan.root / "store" / "records"
    folder.mkdir(parents=True, exist_ok=True)
    for i, node in enumerate(plan.nodes.values()):  # one after the other, as if on one core
        start, end = (attempts.iso(BEGIN + EACH * (i + done)) for done in (0, 1))
        inputs = {role: {"key": key, "manifest": "0" * 64} for role, key in node.inputs.items()}
        noted = {**example, "key": node.key, "what": node.title, "key_parts": node.parts, "inputs": inputs,
                 "command": f"redistill make {node.key}", "made_before": [], "start": start, "end": end,
                 "seconds": float(EACH)}  # fmt: skip
        (folder / f"{node.key}.json").write_text(store.pretty(noted), encoding="utf-8")
    return True


def scheduled(bare: Path, jobs: int) -> dict[str, float]:
    """Jobs that do nothing, made by Snakemake for a while: how many, and seconds of each from the first on."""
    log = bare / "run.log"
    shutil.rmtree(bare / "store", ignore_errors=True)
    with log.open("w") as stream:
        process = subprocess.Popen(
            [sys.executable, "-m", "snakemake", "--cores", "2"], cwd=bare, stdout=stream, stderr=stream
        )
        try:
            _wait_for_the_first(bare, process)
            process.wait(timeout=SECONDS)
        except subprocess.TimeoutExpired:
            pass
        finally:
            process.kill()  # its jobs have nothing to save
            process.wait()
    times = sorted(file.stat().st_mtime for file in bare.glob("store/*/*/done.json"))
    if len(times) < 2:
        sys.exit(f"nothing was made, see {log}")
    return {"jobs": jobs, "made": len(times), "seconds_a_job": (times[-1] - times[0]) / (len(times) - 1)}


def _wait_for_the_first(bare: Path, process: subprocess.Popen[bytes]) -> None:
    """What comes before the first job is not the scheduler's, and is measured by benchmarks/dag.py."""
    until = time.monotonic() + LIMIT
    while process.poll() is None and time.monotonic() < until:
        if next(bare.glob("store/*/*/done.json"), None):
            return
        time.sleep(0.2)


def bootstrap_of(seeds: int) -> float:
    """Seconds of one comparison's bootstrap of accuracy, with so many seeds on each side."""
    drawn = np.random.default_rng(0)
    a, b = (accuracies(list(drawn.integers(0, 2, (seeds, EXAMPLES)) > 0)) for _ in range(2))
    return seconds_of(lambda: bootstrap(a, b, EXAMPLES, DRAWS))


def measure(runs: int) -> dict[str, Any]:
    ours, bare, plan = dag.lay_out(runs + FEW)
    found: dict[str, Any] = {"runs": len({run.key for run in plan.runs}), "things": len(plan.nodes)}
    seconds: dict[str, float] = {}
    found["seconds"] = seconds

    def note(what: str, value: float) -> None:
        seconds[what] = value
        print(f"{found['runs']} runs, {what}: {value:.2f} s", flush=True)

    note("plan", seconds_of(lambda: make_plan(ours, "embedded")))
    note("what is missing", seconds_of(plan.missing))
    note("write specifications", seconds_of(lambda: write_specifications(plan)))
    note("snakemake -n", dag.timed(ours, f"{len(plan.nodes) + 1}"))
    found["scheduler"] = scheduled(bare, len(plan.nodes))
    note("a job's turn in Snakemake's scheduler", found["scheduler"]["seconds_a_job"])
    if write_records(plan):
        note("read all records", seconds_of(lambda: cost.read_here(ours)))
        note("estimate of redistill plan", seconds_of(lambda: estimate(plan, list(plan.nodes.values()))))
        for name in ("gpu-node", "slurm"):
            _, machine = read_machine(ROOT, name)
            note(f"simulation on {name}", seconds_of(lambda: forecast(plan, machine, name, anew=True)))  # noqa: B023
    seeds = max(len(row.seeds) for rows in plan.checked.rows.values() for row in rows)
    found["seeds"] = seeds
    compared = sum(len(c["tasks"] or t.config["columns"]) for t in plan.nodes.values() if t.kind == "table"
                   for c in t.config["comparisons"])  # fmt: skip
    found["comparisons"] = compared
    note("bootstrap of a comparison", bootstrap_of(seeds))
    note("bootstrap of all comparisons", seconds["bootstrap of a comparison"] * compared)
    return found


def main() -> None:
    asked = [int(text) for text in sys.argv[1:]] or list(RUNS)
    file = ROOT / "benchmarks" / "results" / "scale.json"
    known = json.loads(file.read_text(encoding="utf-8"))["sizes"] if file.is_file() else []
    for runs in asked:
        found = {"asked": runs, **measure(runs)}
        known = sorted([*(one for one in known if one.get("asked") != runs), found], key=lambda one: one["asked"])
        result = {"command": "python benchmarks/scale.py", "machine": record.machine(), "sizes": known}
        store.write_atomically(file, store.pretty(bounded(result)))


if __name__ == "__main__":
    main()
