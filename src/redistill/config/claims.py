"""Check what a study claims to reproduce: the rows of its tables against files of published numbers."""

from collections.abc import Iterator
from pathlib import Path

from redistill.config import compose, schema
from redistill.config.checked import Checked, Findings
from redistill.config.parse import Document, KeyPath
from redistill.errors import ConfigError, nearest
from redistill.evaluation.metrics import METRICS

GLUE_TEST = "glue-test"  # what stands beside submissions


def check_claims(root: Path, findings: Findings, checked: Checked, document: Document) -> None:
    """Read the files that a study's claims name into `checked.claimed`, and tell what is wrong with either."""
    if any(said.published for said in checked.study.submissions.values()):
        _take(root, findings, checked, document, ("submissions",), GLUE_TEST)
    for name, table in checked.study.tables.items():
        for i, claim in enumerate(table.claims):
            path: KeyPath = ("tables", name, "claims", i)
            _take(root, findings, checked, document, (*path, "reference"), claim.reference)
            for key, message in _mistakes(checked, name, claim):
                findings.say(document, (*path, key), message)


def _take(root: Path, findings: Findings, checked: Checked, document: Document, path: KeyPath, name: str) -> None:
    if name in checked.claimed:
        return
    try:
        file = compose.read(root, "references", name, document.problem(path, ""))
        checked.claimed[name] = compose.validate(schema.References, file)
    except ConfigError as error:
        findings.tell(error.problems)
        return
    for where, message in _own_mistakes(checked.claimed[name]):
        findings.say(file, where, message)


def _own_mistakes(said: schema.References) -> Iterator[tuple[KeyPath, str]]:
    """What is wrong within a file of published numbers."""
    columns: list[tuple[KeyPath, list[str]]] = [
        (("tasks",), list(said.tasks)), (("metrics",), list(said.metrics)), (("margins",), list(said.margins))
    ]  # fmt: skip
    for name, row in said.rows.items():
        columns += [(("rows", name, "scores"), list(row.scores)), (("rows", name, "metrics"), list(row.metrics))]
    for path, names in columns:
        for column in names:
            if column not in said.columns:
                yield (*path, column), f"there is no column `{column}`; {nearest(column, said.columns)}"
    metrics: list[tuple[KeyPath, dict[str, str]]] = [(("metrics",), said.metrics)]
    metrics += [(("rows", name, "metrics"), row.metrics) for name, row in said.rows.items()]
    for path, named in metrics:
        for column, metric in named.items():
            if metric not in METRICS:
                yield (*path, column), f"no metric `{metric}`; {nearest(metric, METRICS)}"


def _mistakes(checked: Checked, table: str, claim: schema.Claim) -> Iterator[tuple[str, str]]:
    """What is wrong with a claim of a table: under which key, and the words."""
    rows = {row.name: row for row in checked.rows.get(table, [])}
    if rows and claim.row not in rows:
        yield "row", f"the table has no row `{claim.row}`; {nearest(claim.row, rows)}"
    for task in claim.tasks or []:
        if claim.row in rows and task not in rows[claim.row].tasks and task not in checked.no_data:
            yield "tasks", f"row `{claim.row}` has no `{task}`; {nearest(task, rows[claim.row].tasks)}"
    file = checked.claimed.get(claim.reference)
    if file is None:
        return
    if claim.published not in file.rows:
        yield "published", f"no published row `{claim.published}`; {nearest(claim.published, file.rows)}"
        return
    of = {task for column, task in file.tasks.items() if column in file.rows[claim.published].scores}
    for task in claim.tasks or []:
        if task not in of:
            yield "tasks", f"`{claim.published}` has no number of `{task}`; {nearest(task, of)}"
    if claim.tasks is None and not of & set(checked.study.tables[table].tasks):
        yield "published", f"`{claim.published}` has no number of a task of this table; it has {_listed(of)}"


def _listed(tasks: set[str]) -> str:
    return ", ".join(f"`{task}`" for task in sorted(tasks)) or "none: the file does not say which `tasks` it is of"
