"""What is looked at in each column of a table: its drawn samples, the pairs of its rows, the marks, the gaps."""

from dataclasses import dataclass

from redistill.report.gap import gaps
from redistill.report.marks import marks
from redistill.report.pairs import pairs
from redistill.report.reading import Content, Study
from redistill.report.rows import Part, parts
from redistill.report.samples import Column, column


@dataclass(frozen=True)
class Looked:
    """A table with what was found out about it. `pairs` are by column; of a column that is a mean there are none."""

    name: str
    roles: dict[str, Part]
    samples: dict[str, Column | None]
    pairs: dict[str, list[Content]]
    marks: dict[tuple[str, str], str]
    gaps: list[Content]


def looked(study: Study, table: str) -> Looked:
    """Look at a table.

    Raises:
        IntegrityError: a file of the store is not what was published.
    """
    rows, roles = study.rows(table), parts(study, table)
    keys = [c["key"] for c in study.tables[table]["columns"]]
    samples = {key: column(study, table, key, [row["name"] for row in rows if row["cells"].get(key)]) for key in keys}
    means = {key: {row["name"]: row["cells"][key]["mean"] for row in rows if row["cells"].get(key)} for key in keys}
    return Looked(
        table, roles, samples, {key: pairs(of, means[key]) for key, of in samples.items() if of is not None},
        marks(study, table, roles, samples), gaps(study, table, roles, samples),
    )  # fmt: skip
