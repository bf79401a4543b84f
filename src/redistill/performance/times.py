"""Where a study's time went, from the records of what it is made of: by kind, by thing, and side by side."""

import json
from collections import defaultdict
from dataclasses import dataclass, replace
from statistics import median
from typing import Any

from rich.console import Console, Group
from rich.table import Table

from redistill.errors import RedistillError
from redistill.performance.units import bounded, seconds_of
from redistill.plan import KINDS, Plan
from redistill.provenance import record

SITTING = 300.0  # seconds in which nothing was made, after which another sitting begins
LONGEST = 10  # things that are listed
WORK = ("teacher", "outputs", "student", "baseline", "choice", "cell")  # training, teacher passes and evaluation
BETWEEN = 5.0  # seconds after which what kept a job from starting was something else than its start


@dataclass(frozen=True)
class Bar:
    """A thing in time: seconds since the epoch at which it was begun and done, to half a second. `lane` is its place
    among those that were made at the same time.
    """

    kind: str
    title: str
    begin: float
    end: float
    core_seconds: float
    peak_mib: int
    lane: int = 0

    @property
    def seconds(self) -> float:
        return self.end - self.begin


def bars_of(plan: Plan) -> list[Bar]:
    """What has been made of a study, in the order of its making.

    Raises:
        RedistillError: nothing has.
    """
    found = []
    for node in plan.nodes.values():
        file = plan.root / "store" / "records" / f"{node.key}.json"
        if not file.is_file():
            continue
        noted = record.read(file)
        begin = record.begin(noted)
        found.append(
            Bar(node.kind, node.title, begin, begin + noted["seconds"], noted["core_seconds"], noted["peak_memory_mib"])
        )
    if not found:
        raise RedistillError(
            f"the study `{plan.checked.name}` has no records here, so nobody knows where its time went: make it first"
        )
    return in_lanes(sorted(found, key=lambda bar: (bar.begin, bar.end)))


def in_lanes(bars: list[Bar]) -> list[Bar]:
    """Bars in the order of their begin, each in the first lane that is free."""
    free: list[float] = []
    placed = []
    for bar in bars:
        # a second's grace: begins are known to a second only
        lane = next((i for i, until in enumerate(free) if until <= bar.begin + 1.0), len(free))
        free[lane:] = [bar.end, *free[lane + 1 :]]
        placed.append(replace(bar, lane=lane))
    return placed


def sittings(bars: list[Bar]) -> list[list[Bar]]:
    """The bars, apart where for minutes nothing was made."""
    found: list[list[Bar]] = []
    until = float("-inf")
    for bar in bars:
        if bar.begin - until > SITTING:
            found.append([])
        found[-1].append(bar)
        until = max(until, bar.end)
    return found


def between(bars: list[Bar]) -> float:
    """Seconds from the end of a job to the begin of the next one in its place, as a rule: what starting jobs costs."""
    gaps, until = [], dict[int, float]()
    for bar in bars:
        if bar.lane in until and bar.begin - until[bar.lane] < BETWEEN:
            gaps.append(max(bar.begin - until[bar.lane], 0.0))
        until[bar.lane] = max(bar.end, until.get(bar.lane, 0.0))
    return sum(gaps) / len(gaps) if gaps else 0.0


def covered(bars: list[Bar]) -> float:
    """Seconds in which at least one of these was in the making."""
    total, until = 0.0, float("-inf")
    for bar in sorted(bars, key=lambda bar: bar.begin):
        total += max(bar.end - max(bar.begin, until), 0.0)
        until = max(until, bar.end)
    return total


def summary(plan: Plan) -> dict[str, Any]:
    """The times of a study as a table has them.

    Raises:
        RedistillError: nothing of it was made.
    """
    bars = bars_of(plan)
    kinds: dict[str, list[Bar]] = defaultdict(list)
    for bar in bars:
        kinds[bar.kind].append(bar)
    parts = sittings(bars)
    wall = sum(max(bar.end for bar in part) - part[0].begin for part in parts)
    work = covered([bar for bar in bars if bar.kind in WORK])
    return {
        "study": plan.checked.name, "things": len(plan.nodes), "made": len(bars), "sittings": len(parts),
        "seconds": sum(bar.seconds for bar in bars), "core_seconds": sum(bar.core_seconds for bar in bars),
        "wall_seconds": wall, "not_work_share": 1 - work / wall if wall else 0.0,
        "between_jobs_seconds": between(bars),
        "kinds": {kind: _row(kinds[kind]) for kind in KINDS if kind in kinds},
        "longest": [
            {"kind": bar.kind, "title": bar.title, "seconds": bar.seconds, "core_seconds": bar.core_seconds}
            for bar in sorted(bars, key=lambda bar: -bar.seconds)[:LONGEST]
        ],
    }  # fmt: skip


def _row(bars: list[Bar]) -> dict[str, Any]:
    return {
        "things": len(bars), "seconds": sum(bar.seconds for bar in bars),
        "median_seconds": median(bar.seconds for bar in bars),
        "core_seconds": sum(bar.core_seconds for bar in bars), "peak_memory_mib": max(bar.peak_mib for bar in bars),
    }  # fmt: skip


def report(found: dict[str, Any]) -> Group:
    """The times as tables, and in a few sentences."""
    table = Table(title=f"{found['study']}: {found['made']} of {found['things']} things made", title_justify="left")
    for name in ("kind", "things", "seconds", "share", "median", "core-seconds", "peak MiB"):
        table.add_column(name, justify="left" if name == "kind" else "right")
    for kind, row in found["kinds"].items():
        table.add_row(
            kind, str(row["things"]), f"{row['seconds']:.1f}", f"{row['seconds'] / found['seconds']:.1%}",
            f"{row['median_seconds']:.1f}", f"{row['core_seconds']:.1f}", str(row["peak_memory_mib"]),
        )  # fmt: skip
    longest = Table(title="The longest", title_justify="left")
    for name in ("thing", "seconds", "core-seconds"):
        longest.add_column(name, justify="left" if name == "thing" else "right")
    for thing in found["longest"]:
        longest.add_row(f"{thing['kind']}: {thing['title']}", f"{thing['seconds']:.1f}", f"{thing['core_seconds']:.1f}")
    wall, often = found["wall_seconds"], found["sittings"]
    said = (
        f"{seconds_of(found['seconds'])} of jobs in {seconds_of(wall)} of wall time"
        + (f" ({often} sittings)" if often > 1 else "")
        + f": {found['seconds'] / wall:.1f} jobs at once, {found['core_seconds'] / wall:.1f} cores busy. "
        f"In {found['not_work_share']:.1%} of the wall time nothing was trained, said by a teacher, fitted or "
        f"evaluated; from a job to the next one in its place, {found['between_jobs_seconds']:.1f} s."
    )
    return Group(table, longest, said)


def show(plan: Plan, as_json: bool = False) -> None:
    """Print a study's times."""
    if as_json:
        print(json.dumps(bounded(summary(plan)), indent=1))
        return
    console = Console(width=None if Console().is_terminal else 120, soft_wrap=True, markup=False)
    console.print(report(summary(plan)))
