"""Masks as files: a PNG whose grey, or whose place in a palette, is the class of each pixel."""

import io
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from PIL.Image import Image

VOID = 255  # the class of a pixel that has none


def png(classes: np.ndarray) -> bytes:
    """Classes (H, W), uint8, as a grey PNG."""
    from PIL import Image

    stream = io.BytesIO()
    Image.fromarray(classes).save(stream, "PNG")
    return stream.getvalue()


def classes_of(opened: "Image") -> np.ndarray:
    """The classes (H, W) of an opened mask; a palette is for people: the class is its index."""
    return np.array(opened if opened.mode == "P" else opened.convert("L"))


def read(encoded: bytes) -> np.ndarray:
    """The classes (H, W) of a mask that was checked, or written here."""
    from PIL import Image

    with Image.open(io.BytesIO(encoded)) as opened:
        return classes_of(opened)
