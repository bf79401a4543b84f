"""What a study claims to reproduce: each published number with its metric, split, task, margin and source."""

from collections.abc import Iterator
from dataclasses import dataclass

from redistill.claims.numbers import SUBMISSIONS
from redistill.config import schema
from redistill.config.checked import Checked
from redistill.config.claims import GLUE_TEST
from redistill.questions.state import Place

# Two groups that fine-tune the same BERT by the same recipe agree within a point in 14 of 18 published test scores, and
# what methods gain over each other is often one to two: a wider margin would call many a gain reproduced that is gone.
DEFAULT_MARGIN = 1.0


@dataclass(frozen=True)
class Claim:
    """A published number in points, and the place in our tables where it is to be reproduced.

    `metric` and `split` are None where nobody said which; `examples` says whether it is of the `same` ones as ours or
    of `others`, where somebody said that.
    """

    place: Place
    task: str
    value: float
    metric: str | None
    split: str | None
    margin: float
    label: str
    source: str
    examples: str | None = None


def of_study(checked: Checked) -> list[Claim]:
    """All claims of a study, in the order of its tables and submissions."""
    return [*_of_tables(checked), *_of_submissions(checked)]


def _of_tables(checked: Checked) -> Iterator[Claim]:
    for name, table in checked.study.tables.items():
        for said in table.claims:
            file = checked.claimed[said.reference]
            row = file.rows[said.published]
            for column in row.scores:
                task = file.tasks.get(column)
                if task is not None and task in (said.tasks or table.tasks):
                    yield _claim((name, said.row, task), task, file, row, column, said.margin)


def _of_submissions(checked: Checked) -> Iterator[Claim]:
    """Of submissions of one recipe, which are its seeds, each claim stands once."""
    found: dict[tuple[str, str], Claim] = {}
    for said in checked.study.submissions.values():
        for published in said.published:
            file = checked.claimed[GLUE_TEST]
            for column in (row := file.rows[published]).scores:
                place = (SUBMISSIONS, said.experiment, column)
                claim = _claim(place, file.tasks.get(column, column), file, row, column, said.margin)
                found.setdefault((f"{said.experiment} {published}", column), claim)
    yield from found.values()


def _claim(
    place: Place, task: str, file: schema.References, row: schema.Reference, column: str, margin: float | None
) -> Claim:
    metric = {**file.metrics, **row.metrics}.get(column)
    points = margin or file.margins.get(column, DEFAULT_MARGIN)
    source = row.source or file.source or row.label
    return Claim(place, task, row.scores[column], metric, file.split, points, row.label, source, file.examples)
