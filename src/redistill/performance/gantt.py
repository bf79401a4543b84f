"""A picture of a study's making: one bar a thing, from its begin to its end, coloured by its kind. SVG, by hand."""

from html import escape
from pathlib import Path

from redistill.performance.times import Bar, bars_of, sittings
from redistill.performance.units import seconds_of
from redistill.plan import KINDS, Plan
from redistill.provenance.store import write_atomically

WIDTH, LEFT, LABEL = 1100, 16, 330  # of the picture, beside the bars, and kept to their right for titles
TOP, ROW, LANE = 96, 13, 22  # above the bars; height of a row of its own, and of a lane that is shared
ROWS = 240  # things up to which each has a row of its own; beyond, they share lanes
GAP = 26  # between two sittings
LETTER = 5.4  # width of a letter of a title, about
STEPS = (1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200, 14400, 36000, 86400)  # of the time axis
COLOURS = {
    "data": "#8c8c8c", "model": "#5d5d5d", "dataset": "#a6bddb", "tokens": "#6a93c1", "baseline": "#b39b6d",
    "teacher": "#c0392b", "outputs": "#e08a3c", "student": "#2f7fbf", "choice": "#8bbf56", "cell": "#58a55c",
    "table": "#2c6e49", "submission": "#9a6fb0", "scores": "#b08fc0", "study": "#7d4ea8",
}  # fmt: skip


def write(plan: Plan, file: Path) -> None:
    """Draw what has been made of a study into a file.

    Raises:
        RedistillError: nothing has.
    """
    write_atomically(file, draw(plan.checked.name, sittings(bars_of(plan))))


def draw(name: str, parts: list[list[Bar]]) -> str:
    """The picture of a study, its sittings side by side, with the time between them left out."""
    bars = [bar for part in parts for bar in part]
    own_rows = len(bars) <= ROWS
    spans = [(part[0].begin, max(bar.end for bar in part)) for part in parts]
    width = WIDTH - 2 * LEFT - (LABEL if own_rows else 0) - GAP * (len(spans) - 1)
    scale = width / max(sum(end - begin for begin, end in spans), 1e-9)
    step = next((s for s in STEPS if s * scale >= 55), STEPS[-1])
    rows = len(bars) if own_rows else max(bar.lane for bar in bars) + 1
    pitch = ROW if own_rows else LANE
    bottom = TOP + rows * pitch
    lines, row, x0 = list[str](), 0, float(LEFT)
    for part, (begin, end) in zip(parts, spans, strict=True):
        lines += axis(x0, end - begin, scale, step, bottom)
        for bar in part:
            x, y = x0 + (bar.begin - begin) * scale, TOP + (row if own_rows else bar.lane) * pitch
            lines += drawn(bar, x, y, max(bar.seconds * scale, 1.0), pitch, own_rows)
            row += 1
        x0 += (end - begin) * scale + GAP
    total = sum(end - begin for begin, end in spans)
    title = f"{name}: {len(bars)} things, {seconds_of(sum(b.seconds for b in bars))} of jobs in {seconds_of(total)}"
    return page(title, [*legend(bars), *lines], bottom + 12)


def page(title: str, lines: list[str], height: float) -> str:
    """A whole picture: its head, and what is drawn below."""
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:g}" width="{WIDTH}" '
            f'height="{height:g}" role="img" aria-labelledby="title" '
            "font-family=\"system-ui, -apple-system, 'Segoe UI', 'DejaVu Sans', sans-serif\">",
            f'<title id="title">{escape(title)}</title>',
            "<style>text { font-size: 10px; fill: #57606a; } .head { font-size: 14px; font-weight: 600; } "
            ".grid { stroke: #d0d7de; } .in { fill: #fff; } .framed { stroke: #1f2328; }</style>",
            f'<rect width="{WIDTH}" height="{height:g}" fill="#fff"/>',
            f'<text x="{LEFT}" y="24" class="head">{escape(title)}</text>',
            *lines,
            "</svg>\n",
        ]
    )


def legend(bars: list[Bar]) -> list[str]:
    """The kinds that there are, with their colours."""
    lines, x, y = [], float(LEFT), 38
    for kind in KINDS:
        its = [bar for bar in bars if bar.kind == kind]
        if its:
            said = f"{kind}: {len(its)}, {seconds_of(sum(bar.seconds for bar in its))}"
            wide = 26 + LETTER * len(said)
            if x + wide > WIDTH and x > LEFT:
                x, y = float(LEFT), y + 16
            lines.append(f'<rect x="{x:.1f}" y="{y}" width="10" height="10" rx="2" fill="{COLOURS[kind]}"/>')
            lines.append(f'<text x="{x + 14:.1f}" y="{y + 9}">{said}</text>')
            x += wide
    return lines


def axis(x0: float, span: float, scale: float, step: int, bottom: float) -> list[str]:
    """A line each `step` seconds."""
    lines = []
    for i in range(int(span // step) + 1):
        x = x0 + i * step * scale
        seconds = i * step
        said = f"{seconds} s" if step < 60 else f"{seconds // 60} min" if step < 3600 else _hours(seconds, step)
        lines.append(f'<line x1="{x:.1f}" y1="{TOP - 8}" x2="{x:.1f}" y2="{bottom:g}" class="grid"/>')
        lines.append(f'<text x="{x:.1f}" y="{TOP - 13}">{said}</text>')
    return lines


def _hours(seconds: int, step: int) -> str:
    return f"{seconds // 3600} h" if step < 86400 else f"{seconds // 86400} d"


def drawn(bar: Bar, x: float, y: float, width: float, pitch: int, own_row: bool, framed: bool = False) -> list[str]:
    """One thing, with its title beside it or, where there is room, within."""
    said = f"{bar.title}, {bar.seconds:.1f} s"
    hint = f"{bar.kind}: {said}, {bar.core_seconds:.1f} core-seconds, {bar.peak_mib} MiB"
    height, look = max(pitch - 3, 1), f'fill="{COLOURS[bar.kind]}"' + ' class="framed"' * framed
    lines = [
        f'<rect x="{x:.1f}" y="{y + 1:g}" width="{width:.1f}" height="{height}" rx="2" {look}>'
        f"<title>{escape(hint)}</title></rect>"
    ]
    if own_row:
        shown = said if len(said) * LETTER < LABEL else f"{said[: int(LABEL / LETTER) - 3]}..."
        lines.append(f'<text x="{x + width + 4:.1f}" y="{y + pitch - 4}">{escape(shown)}</text>')
    elif len(said) * LETTER < width - 6 and pitch > 12:
        lines.append(f'<text x="{x + 4:.1f}" y="{y + pitch / 2 + 3}" class="in">{escape(said)}</text>')
    return lines
