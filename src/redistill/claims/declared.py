"""What a plan declares: rows, seeds, tests, stopping rule, and of every thing that it needs what its key is made of."""

from typing import Any

from redistill.plan import Node, Plan
from redistill.provenance import parts, verify
from redistill.provenance.parts import Parts

Declared = dict[str, Any]
RUNS = ("run", "baseline")
RESULTS = ("cell", "table", "submission", "scores", "study")  # what is made of runs: that is declared in words


def declared(plan: Plan) -> Declared:
    """A plan as it is sealed; equal ones are equal."""
    study = plan.checked.study
    things = {node.key: node for node in plan.nodes.values() if node.parts["kind"] not in RESULTS}
    return {
        "title": study.title,
        "tables": {node.title: _table(plan, node) for node in plan.nodes.values() if node.kind == "table"},
        "submissions": {name: said.model_dump() for name, said in study.submissions.items()},
        "stopping": study.stopping and study.stopping.model_dump(),
        "things": {key: {"kind": n.parts["kind"], "title": n.title, "inputs": n.inputs} for key, n in things.items()},
        "parts": parts.shared({key: node.parts for key, node in things.items()}),
    }


def _table(plan: Plan, node: Node) -> Declared:
    said, config = plan.checked.study.tables[node.title], node.config
    tasks = {row["experiment"]: row["tasks"] for row in config["rows"]}
    return {
        "columns": {column["task"]: column["metric"] for column in config["columns"]},
        "rows": {row["experiment"]: {"tasks": row["tasks"], "seeds": row["seeds"]} for row in config["rows"]},
        "comparisons": sorted(
            f"{one['row']} against {one['against']} in {task}"
            for one in config["comparisons"]
            for task in one["tasks"] or tasks[one["row"]]
            if task in tasks[one["against"]]
        ),
        "choose": said.choose and said.choose.model_dump(),
        "means": config["means"],
        "claims": [claim.model_dump() for claim in said.claims],
    }


def runs_of(said: Declared) -> dict[str, str]:
    """Titles of the runs of a declared plan, by key."""
    return {key: thing["title"] for key, thing in said["things"].items() if thing["kind"] in RUNS}


def parts_of(said: Declared, key: str) -> Parts:
    """What a declared thing's key is made of."""
    thing = said["things"][key]
    return verify.parts_of(said["parts"], key, thing["kind"], thing["inputs"])
