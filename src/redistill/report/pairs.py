"""Every row against every other in a column: how far apart, and whether that may be chance. Not declared beforehand."""

from itertools import combinations

from redistill.report.reading import Content
from redistill.report.samples import Column, interval, p_of
from redistill.tables.statistics import holm

MOST = 12  # rows of a column that are compared with each other: the best ones; of more pairs, draws could tell nothing


def pairs(column: Column, means: dict[str, float]) -> list[Content]:
    """All pairs of the column's best rows, with p after Holm's correction over them; `a` is the better one."""
    best = sorted(column.rows, key=lambda row: -means[row])[:MOST]
    found = list[Content]()
    for a, b in combinations(best, 2):
        differences = column.values[column.rows.index(a)] - column.values[column.rows.index(b)]
        low, high = interval(differences)
        seeds = min(column.seeds[column.rows.index(row)] for row in (a, b))
        found.append({"a": a, "b": b, "difference": means[a] - means[b], "low": low, "high": high,
                      "p": p_of(differences), "seeds": seeds})  # fmt: skip
    for one, adjusted in zip(found, holm([one["p"] for one in found]), strict=True):
        one["p"] = adjusted
    return found
