"""Audit: is everything behind a number there, unchanged, and what today's configs and code give? Needs no Snakemake."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from redistill.errors import RedistillError, nearest
from redistill.plan import Node, Plan
from redistill.provenance import store


@dataclass
class Report:
    """What an audit found: the chain, from the study down to its sources, and every problem."""

    chain: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    things: int = 0
    files: int = 0


def audit(plan: Plan, table: str | None = None, row: str | None = None, column: str | None = None) -> Report:
    """Verify a study, a table, a row or a cell.

    Raises:
        RedistillError: the study has no such table, row or column.
    """
    report = Report()
    published = _published(plan, report)
    top = _top(plan, table, row, column)
    for node in reversed(plan.upstream(node.key for node in top)):
        _check(plan, node, published, report)
    for node in top:
        _print(plan, node, report, 0, set())
    _check_results(plan, report)
    return report


def _published(plan: Plan, report: Report) -> dict[str, Any]:
    file = plan.root / "results" / plan.target.title / "manifests.json"
    try:
        manifests: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        return manifests
    except (OSError, ValueError) as error:
        report.problems.append(f"{file.relative_to(plan.root)}: cannot be read ({error.__class__.__name__})")
        return {}


def _top(plan: Plan, table: str | None, row: str | None, column: str | None) -> list[Node]:
    """The nodes that were asked for: cells, tables, or the study."""
    tables = plan.checked.study.tables
    if table is None and row is None and column is None:
        return [plan.target]
    if table is not None and table not in tables:
        raise RedistillError(f"the study has no table `{table}`; {nearest(table, tables)}")
    chosen = [n for n in plan.nodes.values() if n.kind == "table" and table in (None, n.title)]
    if row is None and column is None:
        return chosen
    inputs = {name: plan.nodes[key] for node in chosen for name, key in node.inputs.items()}
    cells = {name: node for name, node in inputs.items() if node.kind == "cell"}
    found = [
        cell
        for name, cell in cells.items()
        if (row is None or name.rpartition(":")[0] == row) and (column is None or name.rpartition(":")[2] == column)
    ]
    if not found:
        rows, columns = ({name.rpartition(":")[side] for name in cells} for side in (0, 2))
        hint = nearest(row, rows) if row is not None and row not in rows else nearest(str(column), columns)
        raise RedistillError(f"no cell has row `{row}` and column `{column}`; {hint}")
    return found


def _check(plan: Plan, node: Node, published: dict[str, Any], report: Report) -> None:
    """One thing: it is there, its manifest is sealed and known to git, its parts give its key, its files are right."""
    folder = node.folder(plan.root)
    name = f"{folder.relative_to(plan.root)} ({node.kind} {node.title})"
    report.things += 1
    if published and node.key not in published and node is not plan.target:
        report.problems.append(f"{name}: configs and code ask for it, and results/{plan.target.title} does not know it")
    try:
        manifest = store.read_manifest(folder)
        sealed = json.loads((folder / "done.json").read_text(encoding="utf-8"))["manifest"]
    except (OSError, ValueError, KeyError) as error:
        report.problems.append(f"{name}: is not there, or is not finished ({error})".replace(f"{plan.root}/", ""))
        return
    digest = store.digest_of(manifest)
    if digest != sealed:
        report.problems.append(f"{folder.relative_to(plan.root)}/manifest.json: is not what done.json seals")
    if digest != published.get(node.key, {"digest": digest})["digest"]:
        report.problems.append(f"{folder.relative_to(plan.root)}/manifest.json: is not what results/ says")
    if manifest.get("key_parts") != node.parts:
        report.problems.append(f"{folder.relative_to(plan.root)}/manifest.json: its parts do not give the key")
    report.files += len(manifest["files"])
    for problem in store.problems(folder, manifest):
        where = Path(problem.file).relative_to(plan.root)
        report.problems.append(f"{where}: SHA-256 is {problem.found}, the manifest says {problem.expected}")


def _check_results(plan: Plan, report: Report) -> None:
    """results/<study>/ is what the study's last job gathered."""
    folder = plan.target.folder(plan.root)
    if not store.is_done(folder):
        return
    for name, entry in store.read_manifest(folder)["files"].items():
        file = plan.root / "results" / plan.target.title / name
        if name == "counts.json":
            continue
        found = store.sha256_file(file) if file.is_file() else "missing"
        report.files += 1
        if found != entry["sha256"]:
            where = file.relative_to(plan.root)
            report.problems.append(f"{where}: SHA-256 is {found}, the study made {entry['sha256']}")


def _print(plan: Plan, node: Node, report: Report, depth: int, seen: set[str]) -> None:
    """The chain as a tree; what was shown before is named only."""
    again = node.key in seen
    seen.add(node.key)
    source = plan.checked.sources.get(node.title) if node.kind in ("data", "model") else None
    licence = f", {source.licence}: {source.citation}" if source else ""
    report.chain.append(f"{'  ' * depth}{node.kind} {node.title}  {node.key}{licence}{'  (above)' if again else ''}")
    if not again:
        for key in node.inputs.values():
            _print(plan, plan.nodes[key], report, depth + 1, seen)
