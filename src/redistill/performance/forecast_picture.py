"""A picture of a simulated study: one lane a job at a time, node by node, the longest chain in frames. SVG, by hand."""

from collections import defaultdict
from html import escape
from pathlib import Path

from redistill.performance import gantt
from redistill.performance.forecast import Forecast
from redistill.performance.gantt import LEFT, TOP, WIDTH
from redistill.performance.simulate import Placed
from redistill.performance.times import Bar
from redistill.performance.units import seconds_of
from redistill.provenance.store import write_atomically

NAMES = 120  # of the picture, kept to the left for names of nodes
TALL = 1400  # of all lanes together, at most, as far as a lane keeps two pixels
GAP = 6  # between two nodes
HARDLY = 0.01  # of the whole time: lanes that are busy for less share one, in which bars may lie on one another
LEAST = 0.4  # pixels under which bars of a kind that touch are drawn as one


def write(found: Forecast, file: Path) -> None:
    """Draw a forecast into a file."""
    write_atomically(file, draw(found))


def draw(found: Forecast) -> str:
    """The picture of a forecast."""
    lanes = {place: _together(its, found.schedule.end) for place, its in _lanes(found.schedule.placed).items()}
    count = sum(len(of_place) for of_place in lanes.values())
    pitch = max(2, min(gantt.LANE, TALL // max(count, 1)))
    x0, end = float(LEFT + NAMES), max(found.schedule.end, 1e-9)
    scale = (WIDTH - LEFT - x0) / end
    bottom = TOP + count * pitch + GAP * max(len(lanes) - 1, 0)
    step = next((s for s in (*gantt.STEPS, *_days()) if s * scale >= 55), gantt.STEPS[-1])
    lines, y, chain = gantt.axis(x0, end, scale, step, bottom), float(TOP), set(found.chain)
    for place in sorted(lanes):
        name = found.schedule.places[place].name
        lines.append(f'<text x="{LEFT}" y="{y + max(pitch, 10) - 2:.1f}">{escape(name)}</text>')
        for lane in lanes[place]:
            lines += _lane(found, lane, chain, y, pitch, x0, scale)
            y += pitch
        y += GAP
    head = (
        f"{found.study} on {found.name}, simulated: {len(found.needs)} things in {seconds_of(found.schedule.end)}, "
        f"the longest chain {seconds_of(found.chain_seconds)}"
    )
    bars = [_bar(found, placed) for placed in found.schedule.placed]
    return gantt.page(head, [*gantt.legend(bars), *lines], bottom + 12)


def _days() -> tuple[int, ...]:
    return tuple(86400 * days for days in (2, 5, 10, 30, 100, 365, 1000))


def _lanes(placed: list[Placed]) -> dict[int, list[list[Placed]]]:
    """The jobs of each node, each in the first lane that is free when it begins."""
    lanes: dict[int, list[list[Placed]]] = defaultdict(list)
    for job in sorted(placed, key=lambda p: (p.begin, p.end)):
        mine = lanes[job.place]
        free = next((lane for lane in mine if lane[-1].end <= job.begin), None)
        if free is None:
            mine.append([job])
        else:
            free.append(job)
    return lanes


def _together(lanes: list[list[Placed]], end: float) -> list[list[Placed]]:
    """The lanes of a node, the busiest first, and in a last one all that are hardly busy."""
    busy = [(sum(p.end - p.begin for p in lane), lane) for lane in lanes]
    kept = [lane for seconds, lane in sorted(busy, key=lambda pair: -pair[0]) if seconds >= HARDLY * end]
    rest = [p for seconds, lane in busy if seconds < HARDLY * end for p in lane]
    return [*kept, *([sorted(rest, key=lambda p: p.begin)] if rest else [])]


def _lane(
    found: Forecast, lane: list[Placed], chain: set[str], y: float, pitch: int, x0: float, scale: float
) -> list[str]:
    lines, until, kind = list[str](), -1.0, ""
    for placed in lane:
        bar = _bar(found, placed)
        x, width = x0 + placed.begin * scale, (placed.end - placed.begin) * scale
        framed = placed.job.key in chain
        if width < LEAST and x - until < LEAST and bar.kind == kind and not framed:
            continue
        until, kind = x + max(width, LEAST), bar.kind
        lines += gantt.drawn(bar, x, y, max(width, LEAST), pitch, False, framed)
    return lines


def _bar(found: Forecast, placed: Placed) -> Bar:
    need = found.needs[placed.job.key]
    seconds = placed.end - placed.begin
    return Bar(need.node.kind, need.node.title, placed.begin, placed.end, seconds * placed.job.needs.cores,
               placed.job.needs.memory >> 20)  # fmt: skip
