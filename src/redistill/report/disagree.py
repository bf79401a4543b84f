"""Examples on which teacher and student disagree: what they are, what is there, and what each said."""

import base64
import io
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray
from PIL import Image

from redistill.provenance.published import Thing
from redistill.report.reading import Content, Study
from redistill.report.said import Said

LONGEST = 320  # letters of a text
SIDE = 64  # pixels of the longer side of an image
BOTH, TEACHER_RIGHT, STUDENT_RIGHT = "both wrong", "teacher right", "student right"


def disagreements(teacher: Said, students: list[Said], scores: bool) -> list[Content]:
    """Every example on which the students' usual answer is not the teacher's, those to look at first in front: where
    the teacher alone is right, where the student is, and where both are wrong, in turn; of scores, by distance.
    """
    if not students or any(one.ids != teacher.ids or not len(one.labels) for one in [teacher, *students]):
        return []
    together = np.stack([one.predictions for one in students])
    if scores:
        distance = np.abs(together.mean(axis=0) - teacher.predictions)
        order = np.argsort(-distance, kind="stable")
        return [_said(teacher, together, i, "", 4) for i in order]
    usual = _usual(together)
    kinds: dict[str, list[int]] = {TEACHER_RIGHT: [], STUDENT_RIGHT: [], BOTH: []}
    sure = together == teacher.predictions[None]
    for i in np.argsort(sure.sum(axis=0), kind="stable"):  # where all seeds differ from the teacher, first
        if usual[i] != teacher.predictions[i]:
            right = [teacher.predictions[i] == teacher.labels[i], usual[i] == teacher.labels[i]]
            kinds[TEACHER_RIGHT if right[0] else STUDENT_RIGHT if right[1] else BOTH].append(int(i))
    return [_said(teacher, together, i, kind, 0) for kind, i in _in_turn(kinds)]


def _usual(together: NDArray[Any]) -> NDArray[Any]:
    """What most runs (S, n) said of each example; of equals, the smallest."""
    classes = np.unique(together)
    votes = np.stack([(together == c).sum(axis=0) for c in classes])
    usual: NDArray[Any] = classes[votes.argmax(axis=0)]
    return usual


def _in_turn(kinds: dict[str, list[int]]) -> Iterator[tuple[str, int]]:
    for place in range(max(map(len, kinds.values()))):
        for kind, found in kinds.items():
            if place < len(found):
                yield kind, found[place]


def _said(teacher: Said, together: NDArray[Any], i: int, kind: str, digits: int) -> Content:
    def plain(value: Any) -> float | int:
        return float(f"{float(value):.{digits}g}") if digits else int(value)

    return {"id": teacher.ids[i], "label": plain(teacher.labels[i]), "teacher": plain(teacher.predictions[i]),
            "students": [plain(value) for value in together[:, i]], "kind": kind}  # fmt: skip


def inputs(study: Study, dataset: Thing, task: dict[str, Any], wanted: set[str]) -> dict[str, Content]:
    """Texts, or pictures as `data:` addresses, of these examples of a data set's `dev`.

    Raises:
        IntegrityError: a file is not what was published.
    """
    file = study.file(dataset, "dev.parquet")
    if file is None or not wanted:
        return {}
    names = pq.read_schema(file).names
    kept = [name for name in ("id", "text", "text_pair", "image") if name in names]
    table = pq.read_table(file, columns=kept)
    found: dict[str, Content] = {}
    for place, row in enumerate(table["id"].to_pylist()):
        if row not in wanted:
            continue
        content: Content = {}
        for name in ("text", "text_pair"):
            if name in names and (text := table[name][place].as_py()) is not None:
                content[name] = text if len(text) <= LONGEST else f"{text[:LONGEST]} …"
        if task.get("input") == "image" and (drawn := _picture(study, dataset, table, names, task, place)) is not None:
            content["image"] = drawn
        found[row] = content
    return found


def _picture(study: Study, dataset: Thing, table: Any, names: list[str], task: Any, place: int) -> str | None:
    if "image" in names:
        pixels = np.array(table["image"][place].as_py(), dtype=np.float32).reshape(task["image_shape"])
        whole = pixels.max(initial=0.0) > 1.0  # kept as whole numbers to 255, or as shares
        return address(Image.fromarray(_rgb(pixels if whole else 255 * pixels)))
    starts, packed = (study.file(dataset, name) for name in ("dev.images.starts.npy", "dev.images"))
    if starts is None or packed is None:
        return None
    begin, end = np.load(starts)[place : place + 2]
    with packed.open("rb") as stream:
        stream.seek(int(begin))
        return address(Image.open(io.BytesIO(stream.read(int(end - begin)))).convert("RGB"))


def _rgb(pixels: NDArray[np.float32]) -> NDArray[np.uint8]:
    """An image (C, H, W) as (H, W) of greys or (H, W, 3)."""
    shown = np.clip(pixels, 0, 255).astype(np.uint8)
    return shown[0] if len(shown) != 3 else shown.transpose(1, 2, 0)


def address(image: Image.Image) -> str:
    """A picture, made small, as a `data:` address."""
    image.thumbnail((SIDE, SIDE))
    stream = io.BytesIO()
    image.save(stream, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(stream.getvalue()).decode()
