"""Which part each row of a table plays: teacher, student, floor; who taught it, and what it is compared with."""

from dataclasses import dataclass

from redistill.report.reading import TRAINED, Content, Study, teachers_of

FLOOR, TEACHER, STUDENT, ALONE = "floor", "teacher", "distilled", "trained alone"
Row = tuple[str, str]  # table and name


@dataclass(frozen=True)
class Part:
    """A row's part. `teacher` is the row of the same table whose run taught it, `alone` the row of a student like it
    that nobody taught; None where the table has none.
    """

    role: str
    teacher: str | None = None
    alone: str | None = None


def parts(study: Study, table: str) -> dict[str, Part]:
    """The part of each row of a table, by its name."""
    keys = _keys(study, table)
    owner = {key: name for name, runs in keys.items() for key in runs}
    taught = {name: _teachers(study, runs) for name, runs in keys.items()}
    teaching = {
        key for other in study.tables for runs in _keys(study, other).values() for key in _teachers(study, runs)
    }
    found = {}
    for name, runs in keys.items():
        teacher = next((owner[key] for key in taught[name] if key in owner and owner[key] != name), None)
        if runs and all(study.things[key].kind == "baseline" for key in runs):
            role = FLOOR
        elif taught[name]:
            role = STUDENT
        else:
            role = TEACHER if teaching & set(runs) or not _trained(study, runs) else ALONE
        found[name] = Part(role, teacher)
    return {
        name: Part(part.role, part.teacher, _alone(study, table, name, found) if part.role == STUDENT else None)
        for name, part in found.items()
    }


def _keys(study: Study, table: str) -> dict[str, list[str]]:
    """Keys of the runs of each row."""
    return {
        row["name"]: [k for cell in row["cells"].values() if cell for k in cell["runs"] if k in study.things]
        for row in study.rows(table)
    }


def _teachers(study: Study, runs: list[str]) -> list[str]:
    return list(dict.fromkeys(key for run in runs for key in teachers_of(study.things, study.things[run])))


def _trained(study: Study, runs: list[str]) -> bool:
    """Whether any of these runs was trained, rather than taken as it is."""
    things = [study.things[key] for key in runs]
    return any(t.kind == TRAINED and t.parts["config"].get("stages") for t in things)


def _alone(study: Study, table: str, name: str, found: dict[str, Part]) -> str | None:
    """What a distilled row is declared to be compared with, by one step or several, that nobody taught; where nothing
    is declared, the one row alone in the table that has as many parameters.
    """
    declared: dict[str, list[str]] = {}
    for one in study.tables[table]["comparisons"]:
        against = declared.setdefault(one["row"], [])
        if one["against"] not in against:
            against.append(one["against"])
    waiting, seen = [name], {name}
    while waiting:
        for other in declared.get(waiting.pop(0), ()):
            if found[other].role == ALONE:
                return other
            if other not in seen:
                seen.add(other)
                waiting.append(other)
    size = parameters_of(study, table, name)
    alike = [n for n, part in found.items() if part.role == ALONE and size is not None
             and parameters_of(study, table, n) == size]  # fmt: skip
    return alike[0] if len(alike) == 1 else None


def parameters_of(study: Study, table: str, name: str) -> int | None:
    """How many parameters a row's model has, as it was counted; None where that is not here."""
    row: Content = next(row for row in study.rows(table) if row["name"] == name)
    for cell in row["cells"].values():
        for key in cell["runs"] if cell else ():
            if key in study.things and (said := study.counts(study.things[key]).get("parameters")) is not None:
                return int(said)
    return None
