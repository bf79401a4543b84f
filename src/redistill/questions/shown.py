"""Differences between two states of a study, for people and as JSON: each cause, then the cells that it reaches."""

from collections.abc import Iterable, Iterator
from typing import Any

from redistill.questions import places
from redistill.questions.causes import Cause
from redistill.questions.diff import Differences, Group, Unexplained, error_of
from redistill.questions.kinds import counted, plural
from redistill.questions.state import Place, by_row, points

MOST_CAUSES, MOST_CELLS = 20, 40  # of one group that are printed; JSON has all


def in_text(found: Differences) -> str:
    """All that was found, as lines of text."""
    parts = [_head(found), *(_group(found, group) for group in found.groups)]
    parts += [_unexplained(found, said) for said in found.unexplained]
    parts += [_listed("the number of a table is another, and every file behind it the same: the table was edited, or "
                      "what computes it", found.edited, found)]  # fmt: skip
    would = "would " if found.new.plan else ""
    appeared, vanished = ("appear", "vanish") if would else ("appeared", "vanished")
    parts.append(_listed(f"{would}{appeared}", found.appeared, found))
    parts.append(_listed(f"{would}{vanished}", found.vanished, found))
    renamed = [f"  {' / '.join(a)} -> {' / '.join(b)}" for a, b in sorted(found.moved.items())]
    parts.append("\n".join(["the same cell under another name:", *renamed]) if renamed else "")
    why = "; ".join(sorted(set(found.no_data.values())))
    parts.append(_listed(f"not compared, as there is no data for them here ({why})", found.no_data, found))
    return "\n\n".join(part for part in parts if part) + "\n"


def _head(found: Differences) -> str:
    total = len(found.old.cells)
    cells = f"{len(found.changed)} of {total} cells {'is' if len(found.changed) == 1 else 'are'}"
    if found.new.plan is not None:
        compared = total - len(found.no_data)
        if found.same:
            return f"{found.old.study}: its {compared} cells are what today's configs and code give; nothing is stale"
        made = counted(found.remade)
        more = f"; {made} would be made" if made else ""
        return f"{found.old.study}: {cells} stale{_more(found)}{more}"
    if found.same:
        return f"{found.old.said} and {found.new.said}: {total} cells, and nothing differs"
    another = sum(not cell.same_number for cell in found.changed.values())
    numbers = f", {another or 'none'} with another number" if found.changed else ""
    return f"{found.old.said} -> {found.new.said}: {cells} made of something else{numbers}{_more(found)}"


def _more(found: Differences) -> str:
    would = found.new.plan is not None
    said = [(len(found.appeared), "appear" if would else "appeared"), (len(found.moved), "renamed"),
            (len(found.vanished), "vanish" if would else "vanished")]  # fmt: skip
    tables = sorted({name for group in found.groups for name in group.tables})
    beside = f", and words of {plural('table', len(tables))} {', '.join(tables)}" if tables else ""
    return "".join(f", {count} {word}" for count, word in said if count) + beside


# --- causes ----------------------------------------------------------------------------------------------------------


def _group(found: Differences, group: Group) -> str:
    shown = [_cause(found, group, cause, where) for cause, where in list(group.causes.items())[:MOST_CAUSES]]
    if len(group.causes) > MOST_CAUSES:
        shown.append(f"and {len(group.causes) - MOST_CAUSES} more; --json lists them")
    return "\n".join([*shown, *_data(found, group), *_reach(found, group)])


def _cause(found: Differences, group: Group, cause: Cause, where: Iterable[str]) -> str:
    names = sorted(where)
    of = ""
    if cause.kind == "config":
        of = f"  ({', '.join(names[:4])}{f' and {len(names) - 4} more' if len(names) > 4 else ''})"
    said = _places(found, group, cause, names)
    return f"{cause.kind:<11} {cause}{of}" + (
        f"  {', '.join(said[:3])}{' ...' if len(said) > 3 else ''}" if said else ""
    )


def _places(found: Differences, group: Group, cause: Cause, where: Iterable[str]) -> list[str]:
    if found.new.plan is None:
        return []
    return places.of_cause(found.new.plan, cause, where, group.cells)


def _data(found: Differences, group: Group) -> Iterator[str]:
    """What of the data sets differs that such a cause reaches."""
    said: dict[str, list[str]] = {}
    for name in _data_sets(found, group):
        said.setdefault(found.data[name], []).append(name)
    yield from (f"{'':<11} {plural('data set', len(names))} {', '.join(names)}: {what}" for what, names in said.items())


def _data_sets(found: Differences, group: Group) -> list[str]:
    if not any(cause.kind == "data" or set(where) & found.data.keys() for cause, where in group.causes.items()):
        return []
    keys = found.new.behind(found.new.cells[place] for place in group.cells)
    return sorted({found.new.things[key].title for key in keys} & found.data.keys())


def _reach(found: Differences, group: Group) -> Iterator[str]:
    if group.cells:
        same = [place for place in group.cells if found.changed[place].same_number]
        other = [place for place in group.cells if place not in same]
        counted = f"-> {len(group.cells)} {plural('cell', len(group.cells))}"
        yield counted if not same else f"{counted}, {len(other) or 'none'} with another number"
        yield from _cells(found, other)
        if same and other:
            yield "  and with the same number as before:"
        yield from by_row(same)
    if group.tables:
        names = ", ".join(group.tables)
        yield f"-> what is written in {plural('table', len(group.tables))} {names}, beside numbers"


def _cells(found: Differences, cells: Iterable[Place]) -> list[str]:
    places = list(cells)
    lines = [(" / ".join(place), *_numbers(found, place)) for place in places[:MOST_CELLS]]
    widths = [max((len(line[i]) for line in lines), default=0) for i in range(3)]
    shown = ["  " + "  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip()
             for line in lines]  # fmt: skip
    more = len(places) - MOST_CELLS
    return [*shown, f"  and {more} more; --json lists them"] if more > 0 else shown


def _numbers(found: Differences, place: Place) -> tuple[str, str]:
    """A cell's numbers on both sides, and their difference with its standard error."""
    cell = found.changed.get(place)
    old, new = (cell.old, cell.new) if cell else (found.old.numbers.get(place), found.new.numbers.get(place))
    if old is None or new is None:
        return str(old or new or ""), ""
    error = error_of(old, new)
    spread = f" ± {points(error)}" if error is not None else " (of one run)"
    return f"{old} -> {new}", f"{points(new.mean - old.mean, '+')}{spread}"


def _unexplained(found: Differences, said: Unexplained) -> str:
    thing = said.thing
    head = (
        f"same key     {thing.kind} {thing.title} ({thing.key}) has other bytes in {', '.join(said.files)}, and "
        "all that it is made of is the same: another kind of machine made it, or it was changed by hand; "
        "`redistill audit` tells"
    )
    return "\n".join([head, f"-> {len(said.cells)} numbers differ for it", *_cells(found, said.cells)])


def _listed(head: str, cells: Iterable[Place], found: Differences) -> str:
    there = list(cells)
    return "\n".join([f"{head}:", *_cells(found, there)]) if there else ""


# --- JSON ------------------------------------------------------------------------------------------------------------


def content(found: Differences) -> dict[str, Any]:
    """All that was found, as JSON has it. Cells are named `TABLE / ROW / COLUMN`."""
    return {
        "old": found.old.said, "new": found.new.said, "study": [found.old.study, found.new.study],
        "cells": [len(found.old.cells), len(found.new.cells)], "same": found.same,
        "changed": {_name(place): _changed(found, place) for place in found.changed},
        "appeared": list(map(_name, found.appeared)), "vanished": list(map(_name, found.vanished)),
        "renamed": {_name(a): _name(b) for a, b in found.moved.items()},
        "no_data": {_name(place): why for place, why in found.no_data.items()},
        "groups": [_group_content(found, group) for group in found.groups],
        "same_key": [
            {"key": u.thing.key, "kind": u.thing.kind, "title": u.thing.title, "files": list(u.files),
             "cells": {_name(place): _both(found, place) for place in u.cells}}
            for u in found.unexplained
        ],
        "edited": {_name(place): _both(found, place) for place in found.edited},
        "made_anew": found.remade, "data": found.data,
    }  # fmt: skip


def _name(place: Place) -> str:
    return " / ".join(place)


def _changed(found: Differences, place: Place) -> dict[str, Any]:
    cell = found.changed[place]
    before = {"was": _name(cell.before)} if cell.before != place else {}
    keys = {"old_key": cell.old_key, "new_key": cell.new_key, "same_number": cell.same_number}
    return before | keys | _both(found, place)


def _both(found: Differences, place: Place) -> dict[str, Any]:
    cell = found.changed.get(place)
    old, new = (cell.old, cell.new) if cell else (found.old.numbers.get(place), found.new.numbers.get(place))
    said: dict[str, Any] = {"old": old and old.content(), "new": new and new.content()}
    if old is not None and new is not None:
        said |= {"difference": round(new.mean - old.mean, 6), "standard_error": error_of(old, new)}
    return said


def _group_content(found: Differences, group: Group) -> dict[str, Any]:
    return {
        "causes": [
            {"kind": cause.kind, "name": cause.name, "old": cause.old, "new": cause.new, "where": list(where),
             "places": _places(found, group, cause, where), "said": str(cause)}
            for cause, where in group.causes.items()
        ],
        "cells": list(map(_name, group.cells)), "tables": list(group.tables), "data_sets": _data_sets(found, group),
    }  # fmt: skip
