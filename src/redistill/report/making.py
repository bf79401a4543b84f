"""How a study was made: its things by kind with their times, who ran when, and what its making took."""

from collections import Counter, defaultdict
from typing import Any

from redistill.performance.times import Bar, covered, in_lanes, sittings
from redistill.provenance import record
from redistill.report.reading import Content, Study

MOST_BARS = 1_500
ORDER = ("data", "model", "dataset", "tokens", "teacher", "outputs", "student", "baseline", "choice", "cell", "table",
         "submission", "scores")  # fmt: skip


def kind_of(study: Study, key: str, teaching: set[str]) -> str:
    """A thing's kind, runs parted into teachers and students."""
    kind = study.things[key].kind
    return ("teacher" if key in teaching else "student") if kind == "run" else kind


def teaching(study: Study) -> set[str]:
    """Keys of the runs that others learn from."""
    found = set()
    for thing in study.things.values():
        for role, key in thing.inputs.items():
            if role.startswith("teacher"):  # of a run, or of teacher outputs
                found.add(key)
    return found


def making(study: Study) -> Content:
    """The graph of kinds with counts and seconds, bars of who ran when, and the sums."""
    taught = teaching(study)
    kinds = {key: kind_of(study, key, taught) for key in study.things}
    counts, edges = Counter(kinds.values()), Counter[tuple[str, str]]()
    for key, thing in study.things.items():
        for source in {kinds[one] for one in thing.inputs.values()}:
            edges[source, kinds[key]] += 1
    seconds: dict[str, float] = defaultdict(float)
    bars = []
    for key in study.things:
        if (noted := study.record(key)) is not None:
            begin = record.begin(noted)
            bars.append(Bar(kinds[key], study.things[key].title, begin, begin + noted["seconds"],
                            noted["core_seconds"], noted["peak_memory_mib"]))  # fmt: skip
            seconds[kinds[key]] += noted["seconds"]
    drawn, said = _bars(bars)
    return {
        "kinds": [{"kind": kind, "things": counts[kind], "seconds": round(seconds[kind], 1)}
                  for kind in [*ORDER, *sorted(set(counts) - set(ORDER))] if counts[kind]],
        "edges": [[source, target, n] for (source, target), n in sorted(edges.items()) if source != target],
        "bars": drawn, **said,
    }  # fmt: skip


def _bars(bars: list[Bar]) -> tuple[list[Content], Content]:
    """Bars in minutes since the start, pauses between sittings left out; the longest ones if they are too many."""
    if not bars:
        return [], {"recorded": 0}
    placed = in_lanes(sorted(bars, key=lambda bar: (bar.begin, bar.end)))
    parts = sittings(placed)
    longest = {id(bar) for bar in sorted(placed, key=lambda bar: -bar.seconds)[:MOST_BARS]}
    drawn, offset = list[Content](), 0.0
    for part in parts:
        start, end = part[0].begin, max(bar.end for bar in part)
        drawn += [
            {"kind": bar.kind, "title": bar.title, "lane": bar.lane + 1, "seconds": round(bar.seconds, 1),
             "begin": round((offset + bar.begin - start) / 60, 3), "end": round((offset + bar.end - start) / 60, 3),
             "memory": bar.peak_mib}
            for bar in part if id(bar) in longest
        ]  # fmt: skip
        offset += end - start
    return drawn, {
        "recorded": len(bars), "sittings": len(parts), "wall": round(offset, 1),
        "seconds": round(sum(bar.seconds for bar in bars), 1), "busy": round(covered(bars), 1),
        "core_seconds": round(sum(bar.core_seconds for bar in bars), 1), "cut": max(0, len(bars) - MOST_BARS),
    }  # fmt: skip


def machines(study: Study) -> list[str]:
    """The machines that things were made on, as people call them."""
    found: Counter[str] = Counter()
    for key in study.things:
        if (noted := study.record(key)) is not None:
            found[_machine(noted["machine"], noted["environment"])] += 1
    return [name for name, _ in found.most_common()]


def _machine(machine: dict[str, Any], environment: dict[str, Any]) -> str:
    devices = Counter(machine.get("devices", ()))
    named = [f"{n} × {name}" if n > 1 else name for name, n in devices.items()]
    cores = f"{machine['cores']} cores" if machine.get("cores") else ""
    parts = [machine.get("processor") or machine.get("machine", ""), cores,
             *named, machine.get("system", ""), f"Python {environment.get('python', '')}"]  # fmt: skip
    return ", ".join(part for part in parts if part)
