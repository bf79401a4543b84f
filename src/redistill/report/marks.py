"""The best and the second best student of each column, where they surely are: what papers print bold and underlined.

Surely, as in the tables: better than the next one with a Holm-adjusted p under 0.05, from 5 seeds or more of both. What
a table declares has its p from there; other pairs are drawn, and corrected for how many of them are looked at.
"""

from redistill.report.reading import Content, Study
from redistill.report.rows import FLOOR, TEACHER, Part
from redistill.report.samples import Column, p_of
from redistill.tables.render import STAR_P, STAR_SEEDS
from redistill.tables.statistics import holm

BEST, SECOND = "best", "second best"
SAID = (
    f"Best student bold, second best underlined: only where it is better than the next one with p < {STAR_P} (Holm) "
    f"from {STAR_SEEDS} seeds or more. Teachers and floors are not ranked."
)


def ranked(study: Study, table: str, roles: dict[str, Part], column: str) -> list[tuple[str, Content]]:
    """Students with a number in a column, the best one first."""
    cells = [(row["name"], row["cells"].get(column)) for row in study.rows(table)
             if roles[row["name"]].role not in (FLOOR, TEACHER)]  # fmt: skip
    return sorted([(name, cell) for name, cell in cells if cell], key=lambda pair: -pair[1]["mean"])


def marks(
    study: Study, table: str, roles: dict[str, Part], columns: dict[str, Column | None]
) -> dict[tuple[str, str], str]:  # fmt: skip
    """`best` and `second best` by row and column."""
    declared = {(c["row"], c["against"], c["column"]): c for c in study.tables[table]["comparisons"]}
    found, drawn = dict[tuple[str, str], str](), list[tuple[tuple[str, str], str, float]]()
    for column in (c["key"] for c in study.tables[table]["columns"]):
        order = ranked(study, table, roles, column)
        for place, mark in enumerate((BEST, SECOND)):
            if len(order) < place + 2:
                continue
            (better, ours), (other, theirs) = order[place : place + 2]
            said = declared.get((better, other, column)) or declared.get((other, better, column))
            if min(ours["n_seeds"], theirs["n_seeds"]) < STAR_SEEDS or ours["mean"] == theirs["mean"]:
                continue
            if said is not None:
                if said["adjusted_p"] < STAR_P:
                    found[better, column] = mark
            elif (of := columns.get(column)) is not None and {better, other} <= set(of.rows):
                a, b = (of.values[of.rows.index(name)] for name in (better, other))
                drawn.append(((better, column), mark, p_of(a - b)))
    for (where, mark, _), p in zip(drawn, holm([p for *_, p in drawn]), strict=True):
        if p < STAR_P:
            found[where] = mark
    return found
