"""What differs between two states of a study, cell by cell, and which changed inputs explain it."""

import math
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from redistill.provenance.published import Thing
from redistill.questions import rows
from redistill.questions.causes import Cause, Explainer, Reasons
from redistill.questions.state import Number, Place, State


@dataclass(frozen=True)
class Changed:
    """A cell that has another key on each side."""

    place: Place
    before: Place  # where it stands on the old side; elsewhere only between two studies
    old_key: str
    new_key: str
    old: Number | None
    new: Number | None

    @property
    def same_number(self) -> bool:
        """Whether it has the same number nevertheless, seed by seed."""
        return self.old is not None and self.new is not None and self.old.content() == self.new.content()


@dataclass(frozen=True)
class Group:
    """Causes that reach the same cells and tables. `where` are the experiments, data sets or sources of each cause."""

    causes: dict[Cause, tuple[str, ...]]
    cells: tuple[Place, ...]
    tables: tuple[str, ...]  # that are another one by themselves: their words, tests or code


@dataclass(frozen=True)
class Unexplained:
    """Things with the same key and other bytes, the first on their way, and cells whose numbers are others for it.

    Nothing that a key is made of differs: another kind of machine made it, or somebody changed it.
    """

    thing: Thing
    files: tuple[str, ...]
    cells: tuple[Place, ...]


@dataclass(frozen=True)
class Differences:
    """What `compare` found. `edited` are cells whose number differs while every file behind it is the same."""

    old: State
    new: State
    changed: dict[Place, Changed]
    appeared: tuple[Place, ...]
    vanished: tuple[Place, ...]
    moved: dict[Place, Place]  # the same key under another name: from, to
    no_data: dict[Place, str]  # not compared, and why: a folder of the user's lacks the data
    groups: tuple[Group, ...]
    unexplained: tuple[Unexplained, ...]
    edited: tuple[Place, ...]
    remade: dict[str, int] = field(default_factory=dict)  # by kind, how many things behind the cells are others
    data: dict[str, str] = field(default_factory=dict)  # by data set: how many rows differ, in words

    @property
    def same(self) -> bool:
        """Whether nothing differs that anybody could look at."""
        found = (self.changed, self.appeared, self.vanished, self.moved, self.groups, self.unexplained, self.edited)
        return not any(found)


def compare(old: State, new: State, root: Path | None = None) -> Differences:
    """Compare two states; with the project's folder, rows of data sets that are in its store are compared too."""
    explainer = Explainer(old.things, new.things)
    pairs = dict(_pairs(old, new))
    differing = {to: origin for origin, to in pairs.items() if old.cells[origin] != new.cells[to]}
    found = {
        place: Changed(place, before, old.cells[before], new.cells[place], old.numbers.get(before),
                       new.numbers.get(place))
        for place, before in sorted(differing.items())
    }  # fmt: skip
    lacking = {place: _lacks(explainer.why(cell.old_key, cell.new_key), new.no_data) for place, cell in found.items()}
    changed = {place: cell for place, cell in found.items() if not lacking[place]}
    gone = {place for place in old.cells if place not in pairs}
    lacking |= {place: new.no_data.get(place[2], "") for place in gone}
    no_data = {place: why for place, why in sorted(lacking.items()) if why}
    vanished, appeared = gone - no_data.keys(), set(new.cells) - set(pairs.values())
    moved = dict(_moved(old, new, vanished, appeared))
    unexplained, edited = _same_key(old, new, pairs)
    return Differences(
        old, new, changed, tuple(sorted(appeared - set(moved.values()))), tuple(sorted(vanished - moved.keys())),
        moved, no_data, tuple(_groups(explainer, changed, old, new)), unexplained, edited,
        _remade(old, new, [*(c.new_key for c in changed.values()), *(new.cells[place] for place in appeared)]),
        rows.differing(root, old, new) if root is not None else {},
    )  # fmt: skip


# --- which cells belong together -------------------------------------------------------------------------------------


def _pairs(old: State, new: State) -> Iterator[tuple[Place, Place]]:
    """Cells of the same name; between two studies, what is left by row and column, as far as that is clear."""
    same = old.cells.keys() & new.cells.keys()
    yield from ((place, place) for place in sorted(same))
    if old.study != new.study:
        left, right = (_alone(state.cells.keys() - same) for state in (old, new))
        yield from ((left[name], right[name]) for name in sorted(left.keys() & right.keys()))


def _alone(places: Iterable[Place]) -> dict[tuple[str, str], Place]:
    by_name: dict[tuple[str, str], list[Place]] = {}
    for place in places:
        by_name.setdefault(place[1:], []).append(place)
    return {name: found[0] for name, found in by_name.items() if len(found) == 1}


def _moved(old: State, new: State, vanished: set[Place], appeared: set[Place]) -> Iterator[tuple[Place, Place]]:
    """Cells that only have another name: the same key stands elsewhere, once."""
    there: dict[str, list[Place]] = {}
    for place in appeared:
        there.setdefault(new.cells[place], []).append(place)
    for place in sorted(vanished):
        found = there.get(old.cells[place], [])
        if len(found) == 1:
            yield place, there.pop(old.cells[place])[0]


def _lacks(reasons: Reasons, no_data: dict[str, str]) -> str:
    """Which data would be needed to compare a cell, if nothing else makes it another: a pool goes without a task that
    a folder lacks.
    """
    causes = {reason.cause for reason in reasons}
    tasks = {cause.name.partition(" of ")[0] for cause in causes if cause.kind == "input" and not cause.new}
    if len(tasks) < len(causes) or not tasks <= no_data.keys():
        return ""
    return ", ".join(no_data[task] for task in sorted(tasks))


# --- why -------------------------------------------------------------------------------------------------------------


def _groups(explainer: Explainer, changed: dict[Place, Changed], old: State, new: State) -> list[Group]:
    """The causes of everything that differs, those together that reach the same; the narrowest first."""
    cells: dict[Cause, set[Place]] = {}
    tables: dict[Cause, set[str]] = {}
    where: dict[Cause, set[str]] = {}

    def note(reasons: Reasons, reached: dict[Cause, set[Any]], what: Any) -> None:
        for reason in reasons:
            where.setdefault(reason.cause, set()).add(reason.where)
            reached.setdefault(reason.cause, set()).add(what)

    for place, cell in changed.items():
        note(explainer.why(cell.old_key, cell.new_key), cells, place)
    for name in old.tables.keys() & new.tables.keys():
        a, b = old.tables[name], new.tables[name]
        if a != b:
            whole = new.things[b].kind == "scores"  # has no cells
            note(explainer.why(a, b) if whole else explainer.itself(a, b), tables, name)
    alike: dict[tuple[tuple[Place, ...], tuple[str, ...]], list[Cause]] = {}
    for cause in sorted(where):
        reach = tuple(sorted(cells.get(cause, ()))), tuple(sorted(tables.get(cause, ())))
        alike.setdefault(reach, []).append(cause)
    ordered = sorted(alike.items(), key=lambda item: (not item[0][0], len(item[0][0]), item))
    return [Group({c: tuple(sorted(where[c])) for c in causes}, *reach) for reach, causes in ordered]


def _remade(old: State, new: State, cells: Iterable[str]) -> dict[str, int]:
    """How many things behind these cells the old side does not have, by kind."""
    return dict(sorted(Counter(new.things[key].kind for key in new.behind(cells) - old.things.keys()).items()))


# --- the same key, and yet -------------------------------------------------------------------------------------------


def _same_key(old: State, new: State, pairs: dict[Place, Place]) -> tuple[tuple[Unexplained, ...], tuple[Place, ...]]:
    """Things with one key and other files, where they begin to differ; and cells whose number alone differs."""
    if new.plan is not None:
        return (), ()
    common = old.things.keys() & new.things.keys()
    files = {key: _differing(old.things[key], new.things[key]) for key in common}
    other = {key for key, names in files.items() if names}
    first = [key for key in other if not other & set(new.things[key].inputs.values())]
    same = {to: origin for origin, to in pairs.items() if old.cells[origin] == new.cells[to]}
    differ = [to for to, origin in same.items() if old.numbers.get(origin) != new.numbers.get(to)]
    reached = {key: new.behind([key]) & other for key in {new.cells[place] for place in differ}}
    found = []
    for key in sorted(first, key=lambda k: (new.things[k].kind, new.things[k].title)):
        cells = sorted(place for place in differ if key in reached[new.cells[place]])
        found.append(Unexplained(new.things[key], files[key], tuple(cells)))
    return tuple(found), tuple(sorted(place for place in differ if not reached[new.cells[place]]))


def _differing(old: Thing, new: Thing) -> tuple[str, ...]:
    if old.kind in ("table", "scores"):  # follow from their cells
        return ()
    names = sorted(old.files.keys() | new.files.keys())
    return tuple(name for name in names if old.files.get(name) != new.files.get(name))


def error_of(old: Number, new: Number) -> float | None:
    """The standard error of the difference of two means, from the spread of their seeds; None if a side has one run."""
    if old.error is None or new.error is None:
        return None
    return math.hypot(old.error, new.error)
