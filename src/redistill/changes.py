"""Why something is to be made: which part of its key differs from what was made before under the same name."""

from pathlib import Path
from typing import Any

from redistill.plan import Plan
from redistill.provenance import record

SHOWN = 3  # differences of one key


def what_changed(plan: Plan, missing: set[str]) -> dict[str, str]:
    """For each missing key, the parts in which it differs from the latest thing of the same name, or `new`."""
    before = _latest(plan.root) if missing else {}
    reasons = {}
    for key in missing:
        node = plan.nodes[key]
        old = before.get((node.parts["kind"], node.title))
        reasons[key] = _shortened(differences(old, node.parts)) if old else "new"
        if old == node.parts:
            reasons[key] = "was made, and is not in the store"
    return reasons


def _shortened(changes: list[str]) -> str:
    more = f"; and {len(changes) - SHOWN} more" if len(changes) > SHOWN else ""
    return "; ".join(changes[:SHOWN]) + more


def _latest(root: Path) -> dict[tuple[str, str], dict[str, Any]]:
    """Parts of the key of the latest thing made under each name, from the records."""
    records = [record.read(file) for file in (root / "store" / "records").glob("*.json")]
    records.sort(key=lambda r: str(r["end"]))
    return {(r["key_parts"]["kind"], r["what"]): r["key_parts"] for r in records}


def differences(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """The paths at which two sets of parts differ, such as `config.stages.0.loss.soft.settings.temperature: 2 -> 4`."""
    found: list[str] = []

    def compare(path: str, a: Any, b: Any) -> None:
        if isinstance(a, dict) and isinstance(b, dict):
            for key in sorted(a.keys() | b.keys()):
                compare(f"{path}.{key}" if path else key, a.get(key), b.get(key))
        elif isinstance(a, list) and isinstance(b, list) and len(a) == len(b):
            for i, (x, y) in enumerate(zip(a, b, strict=True)):
                compare(f"{path}.{i}", x, y)
        elif a != b:
            shown = path if path.startswith("code.") else f"{path}: {a} -> {b}"
            found.append(shown if len(shown) < 160 else path)

    compare("", old, new)
    return found
