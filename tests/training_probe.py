"""Train every row of the study `methods` for some steps, no labels pulling elsewhere, and print what its terms did.

python training_probe.py ROOT FOLDER TABLE [ROW ...]     lays what the rows need into FOLDER, and at the end of all
                                                         prints JSON: row -> term -> values

A process of its own, because a runtime is pinned before torch is imported.
"""

import json
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

from redistill import environment
from redistill.jobs import STAGES
from redistill.plan import Node, Plan, make_plan

STEPS = {"methods-image": 20, "methods-text": 12}


def main() -> None:
    root, folder, table, wanted = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], sys.argv[4:]
    plan = make_plan(root, "methods")
    environment.pin(plan.checked.study.runtime.model_dump())
    found = {}
    for row in plan.checked.rows[table]:
        if wanted and row.name not in wanted:
            continue
        if len(row.recipes) > 1 and plan.checked.experiment(row.recipes[0], row.tasks[0]).baseline is None:
            # the heaviest of the weights that are tried
            key = next(run.key for run in plan.runs if (run.table, run.experiment) == (table, row.recipes[-1]))
            node = plan.nodes[key]
            made = _made(plan, node, folder, STEPS[table])
            lines = [json.loads(line) for line in (made / "log.jsonl").read_text().splitlines()]
            last = [line for line in lines if line["stage"] == len(node.config["stages"]) - 1]
            terms = node.config["stages"][-1]["loss"]
            found[row.name] = {term: [line[term] for line in last] for term in terms}
    print(json.dumps(found))


def _made(plan: Plan, node: Node, folder: Path, steps: int) -> Path:
    """Where a thing is, made with what it is made of; runs with fewer steps."""
    place = folder / node.key / "made"
    if place.is_dir():
        return place
    inputs = {role: _made(plan, plan.nodes[key], folder, steps) for role, key in node.inputs.items()}
    module, _, name = STAGES[node.kind].partition(":")
    place.mkdir(parents=True)
    config: dict[str, Any] = json.loads(json.dumps(node.config))
    for stage in config.get("stages", []):
        stage["steps"], stage["epochs"] = steps, None
        if len(stage["loss"]) > 1 and "hard" in stage["loss"]:
            stage["loss"]["hard"]["weight"] = 0.0
    getattr(import_module(module), name)(config, inputs, place)
    return place


if __name__ == "__main__":
    main()
