"""How much of the gap between a student alone and its teacher each distilled row has closed, in percent.

100 (distilled - alone) / (teacher - alone). A gap that may be none has no share that means anything.
"""

from typing import Any

import numpy as np

from redistill.report.reading import Content, Study
from redistill.report.rows import STUDENT, Part
from redistill.report.samples import Column, interval

NO_GAP = "the teacher is not surely better than the student alone"


def gaps(study: Study, table: str, roles: dict[str, Part], columns: dict[str, Column | None]) -> list[Content]:
    """A line for each distilled row and column whose teacher and student alone are in the table.

    `columns` are drawn samples by column; without them there is no interval.
    """
    found = []
    rows = {row["name"]: row for row in study.rows(table)}
    for name, part in roles.items():
        if part.role != STUDENT or part.teacher is None or part.alone is None:
            continue
        for column in (c["key"] for c in study.tables[table]["columns"]):
            cells = [rows[of]["cells"].get(column) for of in (name, part.alone, part.teacher)]
            if all(cells):
                own, alone, teacher = (cell["mean"] for cell in cells)
                said = _share(own, alone, teacher) | _drawn(columns.get(column), name, part)
                found.append({"table": table, "row": name, "column": column, "alone": part.alone,
                              "teacher": part.teacher, **said})  # fmt: skip
    return found


def _share(own: float, alone: float, teacher: float) -> dict[str, Any]:
    gap = teacher - alone
    return {"gap": gap, "share": 100 * (own - alone) / gap if gap > 0 else None, "low": None, "high": None,
            "why": "" if gap > 0 else NO_GAP}  # fmt: skip


def _drawn(column: Column | None, name: str, part: Part) -> dict[str, Any]:
    """The interval of the share, where the gap is surely one; no share at all where it is not."""
    if column is None or not {name, part.alone, part.teacher} <= set(column.rows):
        return {}
    own, alone, teacher = (column.values[column.rows.index(str(of))] for of in (name, part.alone, part.teacher))
    gap = teacher - alone
    if interval(gap)[0] <= 0:
        return {"share": None, "why": NO_GAP}
    # the few draws in which there is no gap have no share
    low, high = interval(100 * (own - alone)[gap > 0] / gap[gap > 0])
    return {"low": float(np.round(low, 4)), "high": float(np.round(high, 4))}
