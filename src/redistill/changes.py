"""What differs between two keys, part by part; and why something is to be made, going by what was made before."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from redistill.plan import Plan
from redistill.provenance import record

SHOWN = 3  # differences of one key
ABSENT = "(absent)"


@dataclass(frozen=True)
class Change:
    """A place in which two sets of parts differ. A side that does not have it is `ABSENT`."""

    path: tuple[str, ...]
    old: Any
    new: Any

    def __str__(self) -> str:
        path = ".".join(self.path)
        shown = path if self.path[0] == "code" else f"{path}: {self.old} -> {self.new}"
        return shown if len(shown) < 160 else path


def what_changed(plan: Plan, missing: set[str]) -> dict[str, str]:
    """For each missing key, the parts in which it differs from the latest thing of the same name, or `new`."""
    before = _latest(plan.root) if missing else {}
    reasons = {}
    for key in missing:
        node = plan.nodes[key]
        old = before.get((node.parts["kind"], node.title))
        said = list(map(str, changes(old, node.parts))) if old else ["new"]
        more = f"; and {len(said) - SHOWN} more" if len(said) > SHOWN else ""
        reasons[key] = "; ".join(said[:SHOWN]) + more or "was made, and is not in the store"
    return reasons


def _latest(root: Path) -> dict[tuple[str, str], dict[str, Any]]:
    """Parts of the key of the latest thing made under each name, from the records."""
    records = [record.read(file) for file in (root / "store" / "records").glob("*.json")]
    records.sort(key=lambda r: str(r["end"]))
    return {(r["key_parts"]["kind"], r["what"]): r["key_parts"] for r in records}


def changes(old: Any, new: Any, path: tuple[str, ...] = ()) -> Iterator[Change]:
    """The places in which two sets of parts differ, such as `config.stages.0.loss.soft.settings.temperature`.

    Lists of different lengths differ as a whole. No places: equal keys.
    """
    if isinstance(old, dict) and isinstance(new, dict):
        for key in sorted(old.keys() | new.keys()):
            yield from changes(old.get(key, ABSENT), new.get(key, ABSENT), (*path, key))
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for i, (x, y) in enumerate(zip(old, new, strict=True)):
            yield from changes(x, y, (*path, str(i)))
    elif old != new or type(old) is not type(new):
        yield Change(path, old, new)
