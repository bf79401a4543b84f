"""What a plan will cost, from the records of what was made before: time of one process, and disk."""

import json
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from redistill.plan import Node, Plan
from redistill.provenance import record


@dataclass(frozen=True)
class Estimate:
    """Sums over the things of which something is known, and how many those are."""

    seconds: float
    size: int
    known: int
    asked: int

    def __str__(self) -> str:
        if not self.known:
            return "nothing like it was made here before, so nobody knows how long it takes"
        more = (
            ""
            if self.known == self.asked
            else f", for {self.known} of the {self.asked}; of the others nothing is known"
        )
        return (
            f"about {_time(self.seconds)} of one process and {self.size / 1e6:,.0f} MB{more} (from earlier runs here)"
        )


def _time(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def estimate(plan: Plan, nodes: list[Node]) -> Estimate:
    """Each thing costs what it did before: the same thing, else the same recipe on other data, else its kind."""
    costs: dict[str, list[tuple[float, int]]] = {}
    for file in (plan.root / "store" / "records").glob("*.json"):
        try:
            noted = record.read(file)
            cost = float(noted["seconds"]), _size(plan.root, file.stem)
        except (OSError, ValueError, KeyError):
            continue
        for name in _names(noted["key_parts"]["kind"], noted["what"]):
            costs.setdefault(name, []).append(cost)
    found = [next((costs[n] for n in _names(node.parts["kind"], node.title) if n in costs), None) for node in nodes]
    known = [cost for cost in found if cost is not None]
    return Estimate(
        sum(median(seconds for seconds, _ in cost) for cost in known),
        round(sum(median(size for _, size in cost) for cost in known)), len(known), len(nodes),
    )  # fmt: skip


def _names(kind: str, title: str) -> list[str]:
    """From the narrowest to the widest: without the seed, the recipe alone, the kind alone."""
    parts = [part for part in title.split(" · ") if not part.startswith("seed ")]
    return [" · ".join((kind, *parts)), f"{kind} · {parts[0].partition('@')[0]}", kind]


def _size(root: Path, key: str) -> int:
    for manifest in (root / "store").glob(f"*/{key}/manifest.json"):
        value: dict[str, Any] = json.loads(manifest.read_text(encoding="utf-8"))
        return sum(entry["size"] for entry in value["files"].values())
    return 0
