"""VADER's human-rated sentences (Hutto and Gilbert 2014): id, mean valence in [-4, 4], sentence, separated by tabs."""

import html
import re
from collections import Counter
from pathlib import Path
from typing import Any

from redistill.errors import RedistillError

Example = dict[str, Any]


def vader(
    folder: Path, *, file: str, neutral: float = 0.0, classes: bool = False
) -> tuple[list[Example], Counter[str]]:
    """Read one domain.

    A sentence that stands in several domains, or twice in one, is kept once: in the first file by name, on its first
    line. Without that, a sentence could be trained on in one place and reported on in another.

    Args:
        folder: folder of the four `*_GroundTruth.txt` files.
        file: the domain's file.
        neutral: with `classes`, sentences whose valence is nearer to zero than this are left out.
        classes: label 1 for positive valence and 0 for negative, instead of the valence itself.

    Returns:
        Examples `{"id", "text", "label"}` in the order of the file, and counts of what was mended or left out.
    """
    counts: Counter[str] = Counter()
    seen = set[str]()
    examples: list[Example] = []
    for path in sorted(folder.glob("*_GroundTruth.txt")):
        here = path.name == file
        for number, raw in enumerate(path.read_bytes().split(b"\n"), 1):
            if not raw.strip():
                continue
            line, mended = _decode(raw)
            fields = line.rstrip("\r").split("\t")
            if len(fields) != 3:
                raise RedistillError(f"{path.name}:{number}: {len(fields)} columns, expected id, valence, sentence")
            text = _clean(fields[2])
            fold = re.sub(r"\W+", " ", text.casefold()).strip()
            duplicate = fold in seen
            seen.add(fold)
            if not here:
                continue
            counts["rows"] += 1
            counts[mended] += mended != ""
            counts["with HTML entities"] += text != _spaces(fields[2])
            if duplicate or not fold:
                counts["duplicates or empty, left out"] += 1
                continue
            try:
                valence = float(fields[1])
            except ValueError:
                raise RedistillError(f"{path.name}:{number}: the valence `{fields[1]}` is no number") from None
            if classes and abs(valence) < neutral:
                counts["neutral, left out"] += 1
                continue
            label = int(valence > 0) if classes else valence
            examples.append({"id": f"{path.name.split('_')[0]}-{fields[0]}", "text": text, "label": label})
    if not examples:
        raise RedistillError(f"{folder}: no file `{file}` with sentences")
    return examples, +counts


def _decode(raw: bytes) -> tuple[str, str]:
    """The files are UTF-8 but for stray Latin-1 bytes; text that was UTF-8 read as Latin-1 is undone."""
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError:
        return raw.decode("latin-1"), "lines in Latin-1"
    try:
        undone = text.encode("latin-1").decode("utf-8")
    except (UnicodeEncodeError, UnicodeDecodeError):
        undone = text
    if undone != text:
        return undone, "lines encoded twice, undone"
    return text, "" if text.isascii() else "lines with letters beyond ASCII"


def _spaces(text: str) -> str:
    return " ".join(text.split())


def _clean(text: str) -> str:
    return _spaces(html.unescape(text))
