"""Panels side by side: an image with its label, boxes with names, or a mask in colour. Equal input, equal bytes."""

import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

Pixels = NDArray[np.uint8]  # (H, W, 3)
Colour = tuple[int, int, int]

SIDE = 400  # pixels of the longer side of a panel, about
TEXT, LINE, GAP = 13, 17, 8  # of letters, from line to line, and between panels
INK, PAPER, RIGHT, WRONG, PLAIN = (31, 35, 40), (255, 255, 255), (26, 127, 55), (207, 34, 46), (87, 96, 106)
COVER = 0.6  # how much of a pixel is its class's colour
NAMED = 24  # classes in a legend


@dataclass(frozen=True)
class Box:
    """A box (left, top, right, bottom, in pixels) with what is written at it."""

    place: Sequence[float]
    of: int
    said: str


@dataclass(frozen=True)
class Panel:
    """An image with what one model says of it, or with what is there.

    Args:
        lines: texts below the image, each with whether it is right; None is neither.
        mask: the class of each pixel (H, W), with `void` where there is none.
    """

    title: str
    image: Pixels
    lines: Sequence[tuple[str, bool | None]] = ()
    boxes: Sequence[Box] = ()
    mask: NDArray[Any] | None = None
    void: int = 255


def colour(of: int) -> Colour:
    """Of a class: those of Pascal VOC's masks, in which the bits of its number are spread over red, green and blue."""
    channels = [0, 0, 0]
    for bit in range(8):
        for channel in range(3):
            channels[channel] |= (of >> channel & 1) << (7 - bit)
        of >>= 3
    return channels[0], channels[1], channels[2]


def sheet(panels: Sequence[Panel], names: Sequence[str] = ()) -> bytes:
    """Panels beside one another as a PNG, with a legend of the classes (by `names`) that their masks have."""
    drawn = [_panel(panel) for panel in panels]
    width = sum(one.width + GAP for one in drawn) + GAP
    height = max(one.height for one in drawn) + 2 * GAP
    legend = list(_legend(panels, names))
    rows = _rows(legend, width)
    whole = Image.new("RGB", (width, height + LINE * len(rows) + (GAP if rows else 0)), PAPER)
    left = GAP
    for one in drawn:
        whole.paste(one, (left, GAP))
        left += one.width + GAP
    pen = ImageDraw.Draw(whole)
    for number, row in enumerate(rows):
        for x, name, of in row:
            top = height + LINE * number
            pen.rectangle((x, top, x + TEXT, top + TEXT), fill=of, outline=PLAIN)
            pen.text((x + TEXT + 5, top - 1), name, fill=INK, font=_font())
    return _png(whole)


def _png(image: Image.Image) -> bytes:
    stream = io.BytesIO()
    image.save(stream, "PNG")
    return stream.getvalue()


def _font() -> Any:
    return ImageFont.load_default(TEXT)


def _panel(panel: Panel) -> Image.Image:
    image = Image.fromarray(panel.image if panel.mask is None else covered(panel.image, panel.mask, panel.void))
    scale = _scale(image.size)
    width, height = (max(1, round(side * scale)) for side in image.size)
    image = image.resize((width, height), Image.Resampling.NEAREST if scale >= 1 else Image.Resampling.BILINEAR)
    _draw_boxes(image, panel.boxes, scale)
    texts = [(panel.title, INK), *((text, _ink(right)) for text, right in panel.lines)]
    width = max([image.width, *(round(_font().getlength(text)) for text, _ in texts)])
    drawn = Image.new("RGB", (width, image.height + LINE * len(texts)), PAPER)
    drawn.paste(image, (0, LINE))
    pen = ImageDraw.Draw(drawn)
    for number, (text, ink) in enumerate(texts):
        pen.text((0, 0 if number == 0 else image.height + LINE * number), text, fill=ink, font=_font())
    return drawn


def _scale(size: tuple[int, int]) -> float:
    """Small images become a whole number of times as large, so that their pixels can be told apart."""
    longer = max(size)
    return float(max(1, SIDE // longer)) if longer <= SIDE else SIDE / longer


def _ink(right: bool | None) -> Colour:
    return PLAIN if right is None else RIGHT if right else WRONG


def covered(image: Pixels, mask: NDArray[Any], void: int) -> Pixels:
    """An image (H, W, 3) with each pixel coloured by its class (H, W); those of none stay as they are."""
    colours = np.array([colour(of) for of in range(256)], dtype=np.float64)
    mixed = image * (1 - COVER) + colours[np.clip(mask, 0, 255)] * COVER
    blended: Pixels = np.where((mask == void)[..., None], image, np.rint(mixed)).astype(np.uint8)
    return blended


def _draw_boxes(image: Image.Image, boxes: Sequence[Box], scale: float) -> None:
    pen = ImageDraw.Draw(image)
    for box in boxes:
        left, top, right, bottom = (round(side * scale) for side in box.place)
        pen.rectangle((left, top, max(left, right - 1), max(top, bottom - 1)), outline=_of(box), width=2)
    for box in boxes:  # names are over all lines
        left, top, of = round(box.place[0] * scale), round(box.place[1] * scale), _of(box)
        length = round(_font().getlength(box.said))
        x, y = max(0, min(left, image.width - length - 4)), max(0, top - LINE)
        pen.rectangle((x, y, x + length + 3, y + LINE - 2), fill=of)
        pen.text((x + 2, y), box.said, fill=_on(of), font=_font())


def _of(box: Box) -> Colour:
    return colour(box.of + 1)  # the first would be black


def _on(paper: Colour) -> Colour:
    """Letters that can be read on a colour."""
    red, green, blue = paper
    return INK if 0.299 * red + 0.587 * green + 0.114 * blue > 140 else PAPER


def _legend(panels: Iterable[Panel], names: Sequence[str]) -> Iterable[tuple[str, Colour]]:
    masks = [panel.mask[panel.mask != panel.void] for panel in panels if panel.mask is not None]
    classes = sorted({int(of) for mask in masks for of in np.unique(mask)})
    for of in classes[:NAMED]:
        yield names[of], colour(of)
    if len(classes) > NAMED:
        yield f"and {len(classes) - NAMED} more", PAPER


def _rows(legend: Iterable[tuple[str, Colour]], width: int) -> list[list[tuple[int, str, Colour]]]:
    """Where each entry of a legend begins, in as many rows as it takes."""
    rows: list[list[tuple[int, str, Colour]]] = []
    x = width
    for name, of in legend:
        takes = TEXT + 5 + round(_font().getlength(name)) + 2 * GAP
        if x + takes > width:
            rows.append([])
            x = GAP
        rows[-1].append((x, name, of))
        x += takes
    return rows
