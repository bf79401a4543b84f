"""Make one thing of a plan: verify its inputs, run its stage in a work folder, put the result into the store."""

import importlib
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from redistill import environment
from redistill.errors import RedistillError
from redistill.plan import Node, Plan, read_specification, write_specifications
from redistill.provenance import record, store
from redistill.tables.publish import differences
from redistill.tables.publish import publish as copy_out

# kind -> the function that makes it: (config, input folders, work folder) -> what to note in the record
STAGES = {
    "data": "redistill.data.fetch:fetch",
    "model": "redistill.data.fetch:fetch",
    "dataset": "redistill.data.prepare:prepare",
    "tokens": "redistill.data.tokenise:tokenise",
    "baseline": "redistill.models.fit:fit",
    "teacher": "redistill.training.run:run",
    "student": "redistill.training.run:run",
    "outputs": "redistill.distill.outputs:make_outputs",
    "cell": "redistill.evaluation.evaluate:evaluate",
    "table": "redistill.tables.make:make_table",
    "study": "redistill.tables.publish:gather",
}
PORTABLE = {"threads": 1, "portable": True}


def make(root: Path, key: str) -> Path:
    """Make the thing that was planned under `key`, or find it made, and return its folder.

    Raises:
        RedistillError: it cannot be made; the message says what to do.
        IntegrityError: an input is not what its manifest says.
    """
    node, inputs = read_specification(root, key)
    folder = node.folder(root)
    with store.locked(root / "store", key):
        if not store.is_done(folder) and not store.recovered(folder):
            _make(root, node, inputs, folder)
    return folder


def _make(root: Path, node: Node, inputs: dict[str, Path], folder: Path) -> None:
    environment.pin(node.config.get("runtime", PORTABLE))
    for role, path in inputs.items():
        if not store.is_done(path):
            raise RedistillError(f"{node.title}: its {role} is not there ({path.relative_to(root)}); make that first")
        store.trust(root, path)
    start = record.started()
    work = root / "store" / "work" / node.key
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    module, function = STAGES[node.kind].split(":")
    counted: dict[str, Any] = getattr(importlib.import_module(module), function)(node.config, inputs, work)
    (work / "counts.json").write_text(store.pretty(counted), encoding="utf-8")
    store.put(root, work, folder, node.parts)
    if node.kind == "study":
        copy_out(root, node.title, folder)
    noted = record.finished(start, root, node.title, node.parts)
    store.write_atomically(root / "store" / "records" / f"{node.key}.json", store.pretty(noted))


def make_all(plan: Plan, keys: list[str]) -> None:
    """Make these nodes of a plan and all that they need, one after the other, in this process' children."""
    write_specifications(plan, keys)
    for node in plan.missing(keys):
        print(f"{node.kind}: {node.title} ({node.key})", flush=True)
        # a process each: a runtime is pinned before numpy and torch are imported, and only then
        done = subprocess.run([sys.executable, "-m", "redistill", "make", node.key], cwd=plan.root)
        if done.returncode:
            raise RedistillError(f"{node.title}: could not be made; see above")


def publish(plan: Plan) -> list[Path]:
    """Copy the finished study to results/; returns the files that changed.

    Raises:
        RedistillError: the study is not finished.
    """
    missing = plan.missing()
    if missing:
        first = missing[0]
        raise RedistillError(
            f"the study is not finished: {len(missing)} things are missing, the first is {first.kind} {first.title}. "
            "Run `snakemake --cores all`"
        )
    folder = plan.target.folder(plan.root)
    store.trust(plan.root, folder)
    return copy_out(plan.root, plan.target.title, folder)


def to_publish(plan: Plan) -> bool:
    """Whether the study is finished and results/ shows another: an edited cell, or a value that was changed back."""
    folder = plan.target.folder(plan.root)
    return store.is_done(folder) and bool(differences(plan.root, plan.target.title, folder))
