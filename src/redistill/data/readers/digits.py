"""Handwritten digits, 8 x 8 pixels in 0..16 (Alpaydin and Kaynak 1998), as scikit-learn ships them."""

import csv
import gzip
from collections import Counter
from pathlib import Path
from typing import Any

Example = dict[str, Any]


def digits(folder: Path) -> tuple[list[Example], Counter[str]]:
    """Examples `{"id", "image", "label"}`; image is 64 floats in [0, 1], row by row. Repeated images are kept once."""
    counts: Counter[str] = Counter()
    seen = set[tuple[str, ...]]()
    examples: list[Example] = []
    with gzip.open(folder / "digits.csv.gz", "rt", encoding="ascii") as stream:
        for number, fields in enumerate(csv.reader(stream)):
            counts["rows"] += 1
            pixels = tuple(fields[:64])
            if pixels in seen:
                counts["duplicates or empty, left out"] += 1
                continue
            seen.add(pixels)
            image = [float(pixel) / 16 for pixel in pixels]
            examples.append({"id": f"digit-{number}", "image": image, "label": int(float(fields[64]))})
    return examples, counts
