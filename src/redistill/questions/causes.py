"""Why a thing has another key: what of its own parts, or of what it is made of, is not as it was."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from redistill.changes import ABSENT, changes
from redistill.provenance.published import Thing

KINDS = ("config", "data", "code", "environment", "seed", "input")
_TRIAL = re.compile(r"trial ([0-9]+) (seed [0-9]+)")
_SEED = re.compile(r"(?:.* )?seed ([0-9]+)")
_OWN = ("data", "model")  # kinds of things that are sources: what they are told is data
_SAID = {"outputs": "run", "dataset": "data set"}  # what an input is called that another one stands for
Things = dict[str, Thing]


@dataclass(frozen=True, order=True)
class Cause:
    """Something that a key is made of and that differs.

    `kind` is `config`, `data` (what a source is, down to a file's digest), `code` (a module), `environment` (a
    package), `seed` (of a number, or of a teacher), or `input` (another thing is taken: `name` says in what place).
    `old` and `new` are JSON, "" where there is nothing; `path` is the place in the config of the thing.
    """

    kind: str
    name: str
    old: str
    new: str
    path: tuple[str, ...] = ()

    def __str__(self) -> str:
        if self.kind == "code":
            return self.name + (" (new)" if not self.old else " (gone)" if not self.new else "")
        if not self.old or not self.new:
            return f"{self.name}: {'added' if not self.old else 'removed'}{self._value()}"
        old, new = _short(self.old), _short(self.new)
        return f"{self.name}: {old} -> {new}" if old != new else f"{self.name}: differs"

    def _value(self) -> str:
        value = self.new or self.old
        return "" if self.kind == "seed" else f" ({_short(value)})"


@dataclass(frozen=True)
class Reason:
    """A cause, and the thing in which it was found: an experiment, a data set, a source."""

    cause: Cause
    where: str


Reasons = frozenset[Reason]


class Explainer:
    """Says why things differ between two sets of things; what two cells have in common is looked at once."""

    def __init__(self, old: Things, new: Things):
        self.old, self.new = old, new
        self._known: dict[tuple[str, str], Reasons] = {}

    def why(self, old: str, new: str) -> Reasons:
        """All causes that make the one key the other: its own, and those of what it is made of."""
        if old == new:
            return frozenset()
        if (old, new) not in self._known:
            self._known[old, new] = frozenset(self._reasons(self.old[old], self.new[new]))
        return self._known[old, new]

    def itself(self, old: str, new: str) -> Reasons:
        """The causes in a thing itself, whatever it is made of."""
        return frozenset(own(self.old[old], self.new[new]))

    def _reasons(self, old: Thing, new: Thing) -> Iterator[Reason]:
        mine = list(own(old, new))
        yield from mine
        before, after = _roles(old), _roles(new)
        for role in before.keys() & after.keys():
            a, b = self.old[before[role]], self.new[after[role]]
            if a.key == b.key:
                continue
            if _number(role) is None and _name(a) != _name(b):
                yield _taken(role, new, a, b)
            else:
                yield from self.why(a.key, b.key)
        for role in sorted(before.keys() ^ after.keys()):
            if (seed := _number(role)) is not None:
                if seed not in set(map(_number, before.keys() & after.keys())):
                    sides = (_text(int(seed)), "") if role in before else ("", _text(int(seed)))
                    yield Reason(Cause("seed", f"seed {seed}", *sides), _name(new))
            elif not mine:  # else it follows from what the thing itself is told
                there = (self.old[before[role]], None) if role in before else (None, self.new[after[role]])
                yield _taken(role, new, *there)


def own(old: Thing, new: Thing) -> Iterator[Reason]:
    """The causes in what a thing itself is told, in its code and packages."""
    a, b = ({name: part for name, part in thing.parts.items() if name != "inputs"} for thing in (old, new))
    if new.kind == old.kind == "table":
        a, b = ({**part, "config": _as_table(part["config"], other["config"])} for part, other in ((a, b), (b, a)))
    for change in changes(a, b):
        if new.kind == "table" and change.path[:2] in (("config", "rows"), ("config", "columns")) and change.path[3:]:
            what = f"{'.'.join(change.path[3:])} of a {change.path[1].removesuffix('s')}"  # the same of many is one
            yield Reason(Cause("config", what, _text(change.old), _text(change.new), change.path[3:]), change.path[2])
            continue
        name, sides = ".".join(change.path[1:]) or change.path[0], (_text(change.old), _text(change.new))
        if change.path[0] == "code":
            yield Reason(Cause("code", name, *sides), _name(new))
        elif change.path[0] == "packages":
            yield Reason(Cause("environment", name, *sides), _name(new))
        elif change.path == ("config", "seed"):
            yield Reason(Cause("seed", f"seed of {_name(new)}", *sides), _name(new))
        elif new.kind in _OWN:
            what = f"file {'.'.join(change.path[2:])}" if change.path[1] == "files" and change.path[2:] else name
            yield Reason(Cause("data", f"{_name(new)}: {what}", *sides, change.path[1:]), _name(new))
        else:
            yield Reason(Cause("config", name, *sides, change.path[1:]), _name(new))


def _as_table(config: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """A table's config without what its cells say: which there are, their seeds, how many examples they read."""
    theirs = {row["experiment"] for row in other["rows"]}, {column["task"] for column in other["columns"]}
    rows = [row for row in config["rows"] if row["experiment"] in theirs[0]]
    columns = [column for column in config["columns"] if column["task"] in theirs[1]]
    kept = {row["experiment"]: {k: v for k, v in row.items() if k not in ("tasks", "seeds", "trials")} for row in rows}
    shown = {c["task"]: {k: v for k, v in c.items() if k not in ("no_data", "sample", "metric")} for c in columns}
    order = {"of rows": list(kept), "of columns": list(shown), "by": config.get("order")}
    return {**config, "rows": kept, "columns": shown, "order": order}


def _roles(thing: Thing) -> dict[str, str]:
    """Inputs by role; a trial is known by what it tries, not by its place in the grid."""
    trials = thing.parts["config"].get("trials")
    if not isinstance(trials, list):
        return thing.inputs
    named = {}
    for role, key in thing.inputs.items():
        found = _TRIAL.fullmatch(role)
        named[f"trial {trials[int(found[1])]} {found[2]}" if found and int(found[1]) < len(trials) else role] = key
    return named


def _number(role: str) -> str | None:
    """The seed that a role of a number's runs stands for."""
    found = _SEED.fullmatch(role)
    return found[1] if found else None


def _name(thing: Thing) -> str:
    """The experiment, data set or source that a thing belongs to."""
    return thing.title.split(" · ")[0]


def _taken(role: str, of: Thing, old: Thing | None, new: Thing | None) -> Reason:
    """Another thing stands in this place, or one more, or none."""
    words = role.split(" ")
    place = words[1] if words[0] in ("outputs", "teacher") and len(words) > 1 else role  # a teacher's name
    before, after = ("" if thing is None else _text(f"{_SAID.get(thing.kind, thing.kind)} {_name(thing)}")
                     for thing in (old, new))  # fmt: skip
    return Reason(Cause("input", f"{place} of {_name(of)}", before, after), _name(of))


def _text(value: Any) -> str:
    return "" if value == ABSENT else json.dumps(value, sort_keys=True, ensure_ascii=False)


def _short(text: str) -> str:
    """A value as it can stand in a line: long texts and digests are cut."""
    shown = str(json.loads(text)) if text.startswith('"') else text
    if re.fullmatch("[0-9a-f]{32,}", shown):
        return f"{shown[:12]}..."
    return shown if len(shown) <= 60 else f"{shown[:40]} ... {shown[-12:]}"
