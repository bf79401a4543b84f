"""What a study costs: core-seconds of each row, from the records of the store, against the budget that it must keep;
and in which share of its wall time nothing was trained, said by a teacher, fitted or evaluated.

python benchmarks/budget.py [STUDY]     writes benchmarks/results/<study>-budget.json; exits with 1 when over budget
"""

import sys
from collections import defaultdict

from redistill.config.compose import find_root
from redistill.performance import times
from redistill.plan import make_plan
from redistill.provenance import record, store

LIMIT = 1600  # core-seconds of the embedded study: 15 minutes on two cores, set-up excluded, with some room


def main(study: str) -> int:
    root = find_root()
    plan = make_plan(root, study)
    spent: dict[str, float] = defaultdict(float)
    machine = {}
    for node in plan.nodes.values():
        file = root / "store" / "records" / f"{node.key}.json"
        if not file.is_file():
            sys.exit(f"no record of {node.kind} {node.title}: make the study first")
        noted = record.read(file)
        spent[_row(node.kind, node.title)] += noted["core_seconds"]
        machine = noted["machine"]
    total, whole = sum(spent.values()), times.summary(plan)
    result = {
        "study": study,
        "command": f"python benchmarks/budget.py {study}",
        "limit_core_seconds": LIMIT,
        "core_seconds": round(total, 1),
        "wall_seconds": round(whole["wall_seconds"], 1),
        "not_work_share": round(whole["not_work_share"], 3),
        "rows": {row: round(seconds, 1) for row, seconds in sorted(spent.items())},
        "machine": machine,
    }
    store.write_atomically(root / "benchmarks" / "results" / f"{study}-budget.json", store.pretty(result))
    print(f"{study}: {total:.0f} of {LIMIT} core-seconds; {result['not_work_share']:.1%} of the wall time is not work")
    for row, seconds in sorted(spent.items(), key=lambda item: -item[1]):
        print(f"{seconds:8.1f}  {row}")
    return int(total > LIMIT)


def _row(kind: str, title: str) -> str:
    """The table's row that a node's cost belongs to; what all rows share is named by its kind."""
    return title.split(" · ")[0] if kind in ("teacher", "student", "baseline", "outputs", "cell") else f"({kind})"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1] if len(sys.argv) > 1 else "embedded"))
