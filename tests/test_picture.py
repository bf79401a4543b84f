"""The picture of a chain: nothing overlaps, nothing runs over, the same bytes each time, readable light and dark."""

import itertools
import random
import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
from PIL import ImageFont
from published_study import STUDY, PublishedStudy

from redistill.errors import RedistillError
from redistill.questions import picture
from redistill.questions.layout import Edge, Placed, place
from redistill.questions.why import why

SVG = "{http://www.w3.org/2000/svg}"
WIDTH, ACROSS, BETWEEN = 100.0, 40.0, 15.0


def drawn_at_random(draw: random.Random) -> tuple[dict[str, float], list[Edge]]:
    """Boxes of some heights, each but the first part of one or more of those before it."""
    heights = {f"box{i}": draw.uniform(20, 150) for i in range(draw.randint(1, 14))}
    names, edges = list(heights), list[Edge]()
    for i in range(1, len(names)):
        edges += [(names[i], user) for user in draw.sample(names[:i], k=draw.randint(1, min(i, 4)))]
    return heights, edges


def overlap(a: tuple[float, float, float], b: tuple[float, float, float]) -> bool:
    """Whether two boxes of one width touch; x, y, height."""
    apart = a[0] + WIDTH <= b[0] or b[0] + WIDTH <= a[0] or a[1] + a[2] <= b[1] or b[1] + b[2] <= a[1]
    return not apart


@pytest.mark.parametrize("number", range(40))
def test_boxes_are_apart_and_lines_go_through_none(number: int) -> None:
    heights, edges = drawn_at_random(random.Random(number))
    placed: Placed = place(heights, edges, WIDTH, ACROSS, BETWEEN)
    boxes = {name: (*placed.corners[name], height) for name, height in heights.items()}
    for (one, a), (other, b) in itertools.combinations(boxes.items(), 2):
        assert not overlap(a, b), (one, other)
    for inner, outer in edges:
        line = placed.lines[inner, outer]
        assert line[0][0] == boxes[inner][0] + WIDTH
        assert line[-1][0] == boxes[outer][0]
        assert boxes[outer][1] <= line[-1][1] <= boxes[outer][1] + boxes[outer][2]
        assert [x for x, _ in line] == sorted(x for x, _ in line)
        for (x, y), (to_x, to_y) in itertools.pairwise(line):
            if to_x - x == WIDTH:  # it passes a column
                assert y == to_y
                assert not any(bx == x and by < y < by + h for bx, by, h in boxes.values())
            else:
                assert to_x - x == ACROSS
    for x, y, height in boxes.values():
        assert 0 <= x <= placed.width - WIDTH + 1e-6
        assert -1e-6 <= y <= placed.height - height + 1e-6
    assert place(heights, edges, WIDTH, ACROSS, BETWEEN) == placed


@pytest.mark.parametrize("cell", ["pictures/taught/marks", "texts/reader/words", "tuned/tuned/marks", "source"])
def test_words_stay_in_their_boxes(published_project: PublishedStudy, cell: str) -> None:
    chain = why(published_project.root, STUDY, published_project.node("model").key if cell == "source" else cell)
    drawn = ElementTree.fromstring(picture.draw(chain))
    boxes = drawn.findall(f"{SVG}g")
    assert len(boxes) == len(chain.links)
    for box in boxes:
        frame = box.find(f"{SVG}rect")
        assert frame is not None
        x, y, width, height = (float(frame.attrib[name]) for name in ("x", "y", "width", "height"))
        rows = []
        for text in box.findall(f"{SVG}text"):
            size = 10 if text.attrib.get("class") == "kind" else 11
            words = ImageFont.load_default(size).getlength(text.text or "")
            assert float(text.attrib["x"]) + words <= x + width
            assert y + size * 0.7 <= float(text.attrib["y"]) <= y + height - size * 0.25
            rows.append(float(text.attrib["y"]))
        assert all(below - above >= 12 for above, below in itertools.pairwise(rows))


@pytest.mark.parametrize(
    "text", ["W" * 200, "a word " * 40, "text/a-very-long-name-of-an-experiment · " * 3, "x", "mm 漢字 é" * 20]
)
def test_any_text_fits(text: str) -> None:
    room = picture.BOX - 2 * picture.PAD
    for factor in (1.0, picture.BOLD):
        lines = picture.wrapped(text, 3, factor)
        assert 1 <= len(lines) <= 3
        assert all(picture.width_of(line, picture.SIZE) * factor <= room for line in lines)
    assert "".join(picture.wrapped(text, 1000, 1.0)).replace(" ", "") == text.replace(" ", "")


def test_the_picture_stands_alone_is_the_same_each_time_and_follows_the_page(
    published_project: PublishedStudy, tmp_path: Path
) -> None:
    chain = why(published_project.root, STUDY, "taught/marks")
    picture.write(chain, tmp_path / "chain.svg")
    with pytest.raises(RedistillError, match="cannot be written"):
        picture.write(chain, tmp_path)
    text = (tmp_path / "chain.svg").read_text(encoding="utf-8")
    assert text == picture.draw(why(published_project.root, STUDY, "taught/marks"))
    assert "prefers-color-scheme: dark" in text
    assert not re.search(r"href|url\(|<script|<image|@import", text)
    assert str(published_project.root) not in text
    assert chain.number is not None
    assert str(chain.number) in text
    colours = re.findall(r"(?:fill|stroke): (#[0-9a-f]+)", text)
    light, dark = text.split("@media")
    for half, page in ((light, "#fff"), (dark, "#0d1117")):
        assert f".page {{ fill: {page}; }}" in half
        for name in ("text", r"\.dim, \.kind"):
            colour = re.search(rf"{name} {{[^}}]*fill: (#[0-9a-f]+)", half)
            assert colour is not None
            assert contrast(colour[1], page) >= 4.5
    assert colours


def contrast(one: str, other: str) -> float:
    """Of two colours, as WCAG 2 defines it."""

    def light(colour: str) -> float:
        digits = colour[1:] if len(colour) == 7 else "".join(2 * digit for digit in colour[1:])
        parts = [int(digits[i : i + 2], 16) / 255 for i in (0, 2, 4)]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    high, low = sorted((light(one), light(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)
