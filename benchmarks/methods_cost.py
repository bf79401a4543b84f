"""What each method of the study `methods` costs beside training without one, from the records of its runs.

python benchmarks/methods_cost.py     after `make reproduce STUDY=methods`; writes benchmarks/results/methods-cost.json

Ratios of processor time, medians over the seeds that a table reports, in one study on one machine. Starting a job is on
both sides; making a teacher's outputs, which the rows share, is on none.
"""

import sys
from pathlib import Path
from statistics import median
from typing import Any

from redistill.config.compose import find_root
from redistill.performance.units import bounded
from redistill.plan import Plan, make_plan
from redistill.provenance import record, store

WITHOUT = {"methods-image": "methods-image/student", "methods-text": "methods-text/student"}


def core_seconds(plan: Plan, table: str) -> dict[str, float]:
    """Median processor time of each row's reported runs, by the row's name."""
    found: dict[str, list[float]] = {}
    for run in plan.runs:
        if run.table == table and "@" not in run.experiment:
            file = plan.root / "store" / "records" / f"{run.key}.json"
            if not file.is_file():
                sys.exit(f"{plan.nodes[run.key].title} was not made here: run `make reproduce STUDY=methods` first")
            found.setdefault(run.experiment, []).append(record.read(file)["core_seconds"])
    return {row: median(seconds) for row, seconds in found.items()}


def cost(plan: Plan, table: str, without: str) -> dict[str, Any]:
    """The ratios of one table's rows, cheapest first, by their labels."""
    seconds = core_seconds(plan, table)
    labels = {row.name: row.label for row in plan.checked.rows[table] if row.seeds == _seeds(plan, table)}
    ratios = {labels[row]: seconds[row] / seconds[without] for row in sorted(labels, key=lambda row: seconds[row])}
    return {"core-seconds without a method": seconds[without], "over it": ratios}


def _seeds(plan: Plan, table: str) -> tuple[int, ...]:
    return tuple(plan.checked.study.tables[table].seeds)


def main() -> None:
    root: Path = find_root()
    plan = make_plan(root, "methods")
    result = {
        "command": "python benchmarks/methods_cost.py", "machine": record.machine(),
        "tables": {table: cost(plan, table, without) for table, without in WITHOUT.items()},
    }  # fmt: skip
    store.write_atomically(root / "benchmarks" / "results" / "methods-cost.json", store.pretty(bounded(result)))


if __name__ == "__main__":
    main()
