"""The chain behind a number as a picture: a box a link, from the sources at the left to the number. SVG, by hand.

It can be read on light and on dark pages: it has its own background, and follows what the reader prefers.
"""

from collections.abc import Iterator
from html import escape
from pathlib import Path

from redistill.errors import RedistillError
from redistill.performance.gantt import COLOURS
from redistill.provenance.store import write_atomically
from redistill.questions.kinds import NAMES, plural
from redistill.questions.layout import place
from redistill.questions.state import points
from redistill.questions.tree import by_link
from redistill.questions.why import Chain, Link

BOX, ACROSS, BETWEEN = 214.0, 46.0, 18.0  # width of a box, room beside and below it
SIZE, PITCH, PAD = 11.0, 15.0, 9.0  # of text, from line to line, and around it
MARGIN, HEAD = 18.0, 58.0
MOST_LINES, MOST_SEEDS = 7, 5  # of a box
SHOWN = {  # which lines of a link are in its box
    "run": ("student", "training", "loss"), "baseline": ("baseline",), "dataset": ("examples",),
    "tokens": ("length",), "data": ("from", "licence", "citation"), "model": ("from", "licence", "citation"),
    "outputs": ("split",), "choice": ("by",), "cell": (),
}  # fmt: skip
STYLE = """
text { font-size: 11px; fill: #1f2328; }
.head { font-size: 15px; font-weight: 600; } .name { font-weight: 600; }
.kind { font-size: 10px; } .dim, .kind { fill: #57606a; }
.page { fill: #fff; } .box { fill: #f6f8fa; stroke: #d0d7de; }
.edge { fill: none; stroke: #8c959f; stroke-width: 1.2; } .tip { fill: #8c959f; }
@media (prefers-color-scheme: dark) {
text { fill: #e6edf3; } .dim, .kind { fill: #9da7b1; }
.page { fill: #0d1117; } .box { fill: #161b22; stroke: #3d444d; }
.edge { stroke: #7d8590; } .tip { fill: #7d8590; }
}
"""
# Widths of letters in DejaVu Sans, the widest font that is likely to be taken, as parts of the size.
_WIDTHS = {
    letter: width
    for letters, width in {
        "'ijl": 0.28, "IJ": 0.3, " ,.·": 0.32, "/:;\\|f": 0.35, "-()[]t": 0.39, "!r": 0.41, '"*_`': 0.5, "sz?c": 0.55,
        "LFkvxyP": 0.6, "TYaoe": 0.62, "ESbdghnpqu$0123456789{}": 0.64, "KAVBRXZC": 0.7, "UHNDG&": 0.78, "OQw": 0.82,
        "#+<=>^~M±": 0.86, "%mW@": 1.0,
    }.items()
    for letter in letters
}  # fmt: skip
BOLD = 1.15


def write(chain: Chain, file: Path) -> None:
    """Draw a chain into a file.

    Raises:
        RedistillError: it cannot be written.
    """
    try:
        write_atomically(file, draw(chain))
    except OSError as error:
        raise RedistillError(f"{file}: cannot be written ({error.strerror})") from None


def draw(chain: Chain) -> str:
    """The picture of a chain."""
    boxes = {name: list(_lines(link, chain)) for name, link in chain.links.items()}
    heights = {name: 2 * PAD + PITCH * len(lines) - 3 for name, lines in boxes.items()}
    edges = [(inner, name) for name, link in chain.links.items() for inner in by_link(link)]
    placed = place(heights, edges, BOX, ACROSS, BETWEEN)
    title, below = _titles(chain)
    width = max(placed.width, width_of(title, 15.0) * BOLD, width_of(below, SIZE)) + 2 * MARGIN
    height = placed.height + HEAD + MARGIN
    left = (width - placed.width) / 2
    lines = [_edge([(x + left, y + HEAD) for x, y in line]) for line in placed.lines.values()]
    for name, (x, y) in placed.corners.items():
        lines += _box(chain.links[name], boxes[name], x + left, y + HEAD, heights[name])
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" width="{width:.0f}" '
            f'height="{height:.0f}" role="img" aria-labelledby="title" '
            "font-family=\"system-ui, -apple-system, 'Segoe UI', 'DejaVu Sans', sans-serif\">",
            f'<title id="title">{escape(f"{title}: {below}")}</title>',
            f"<style>{STYLE}</style>",
            f'<rect width="{width:.0f}" height="{height:.0f}" class="page"/>',
            f'<text x="{MARGIN}" y="26" class="head">{escape(title)}</text>',
            f'<text x="{MARGIN}" y="43" class="dim">{escape(below)}</text>',
            *lines,
            "</svg>\n",
        ]
    )


def _titles(chain: Chain) -> tuple[str, str]:
    where = f"results/{chain.study}" + (f" at {chain.commit}" if chain.commit else "")
    if chain.place is None:
        link = chain.links[chain.top]
        return f"{NAMES.get(link.kind, link.kind)} {link.title}", f"key {link.members[0].key}, {where}"
    number = f"{chain.number}, {chain.number.metric} on dev, {where}" if chain.number else where
    return " / ".join(chain.place), number


Text = tuple[str, str]  # words and their class


def _lines(link: Link, chain: Chain) -> Iterator[Text]:
    """What stands in a box: its kind, its title, and what matters of it."""
    count = len(link.members)
    kind = NAMES.get(link.kind, link.kind)
    yield (f"{count} {plural(kind, count)}" if count > 1 else kind), "kind"
    yield from ((part, "name") for part in wrapped(link.title, 2, BOLD))
    if link.name == chain.top and chain.number is not None:
        yield str(chain.number), "name"
    if count > 1:
        for member in link.members[: MOST_SEEDS if count > MOST_SEEDS + 1 else count]:
            score = f": {points(member.score)}" if member.score is not None else ""
            yield f"seed {member.seed}{score}", "dim"
        if count > MOST_SEEDS + 1:
            yield f"and {count - MOST_SEEDS} seeds more", "dim"
    left = MOST_LINES
    for line in link.lines:
        if left > 0 and line.what.rpartition(", ")[2].startswith(SHOWN.get(link.kind, ())):
            for part in wrapped(_short(line.what, line.words), min(left, 3), 1.0):
                left -= 1
                yield part, ""


def _short(what: str, words: str) -> str:
    """A line of a box: its heading only where the words alone would not say what they are."""
    return f"{what}: {words}" if what.rpartition(", ")[2].startswith(("loss", "licence", "split")) else words


def width_of(text: str, size: float) -> float:
    """How wide a text can be, whichever font is taken."""
    return size * sum(_WIDTHS.get(letter, 1.0) for letter in text)


def wrapped(text: str, most: int, factor: float) -> list[str]:
    """A text in at most so many lines that fit a box; what is cut ends in dots."""
    room = (BOX - 2 * PAD - 4) / factor
    lines, line = list[str](), ""
    for word in text.split():
        for piece in _pieces(word, room):
            tried = f"{line} {piece}".strip()
            if line and width_of(tried, SIZE) > room:
                lines.append(line)
                tried = piece
            line = tried
    lines.append(line)
    if len(lines) > most:
        kept = lines[:most]
        while width_of(f"{kept[-1]} ...", SIZE) > room:
            kept[-1] = kept[-1][:-1]
        return [*kept[:-1], f"{kept[-1]} ..."]
    return lines


def _pieces(word: str, room: float) -> Iterator[str]:
    """A word, in parts if it alone is too wide."""
    while width_of(word, SIZE) > room:
        end = len(word)
        while width_of(word[:end], SIZE) > room:
            end -= 1
        yield word[:end]
        word = word[end:]
    yield word


def _box(link: Link, lines: list[Text], x: float, y: float, height: float) -> list[str]:
    colour = COLOURS.get({"run": "student"}.get(link.kind, link.kind), COLOURS["study"])
    keys = ", ".join(member.key for member in link.members)
    hint = "\n".join([f"{link.title} ({keys})", *(f"{line.what}: {line.words}" for line in link.lines)])
    drawn = [
        f'<g><title>{escape(hint)}</title><rect x="{x:.1f}" y="{y:.1f}" width="{BOX:.0f}" height="{height:.1f}" rx="4" '
        f'class="box"/><rect x="{x:.1f}" y="{y:.1f}" width="4" height="{height:.1f}" rx="2" fill="{colour}"/>'
    ]
    for i, (words, kind) in enumerate(lines):
        said = f' class="{kind}"' if kind else ""
        drawn.append(f'<text x="{x + PAD + 4:.1f}" y="{y + PAD + 9 + i * PITCH:.1f}"{said}>{escape(words)}</text>')
    return [*drawn, "</g>"]


def _edge(line: list[tuple[float, float]]) -> str:
    """A line through the columns: curves between them, straight where it passes one; and its tip."""
    (x, y), *rest = line
    path = f"M{x:.1f} {y:.1f}"
    for i, (to_x, to_y) in enumerate(rest):
        half = (to_x - x) / 2
        bent = f"C{x + half:.1f} {y:.1f} {to_x - half:.1f} {to_y:.1f} {to_x:.1f} {to_y:.1f}"
        path += bent if i % 2 == 0 else f"L{to_x:.1f} {to_y:.1f}"
        x, y = to_x, to_y
    tip = f"M{x:.1f} {y:.1f}l-7 -3.5v7z"
    return f'<path d="{path}" class="edge"/><path d="{tip}" class="tip"/>'
