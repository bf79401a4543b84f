"""The chain behind a number: its runs, what each was told, and all that they are made of, down to the sources."""

import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from redistill.config import compose, schema
from redistill.errors import ConfigError, RedistillError, nearest
from redistill.plan import Plan, make_plan
from redistill.provenance import record, store
from redistill.provenance.keys import canonical
from redistill.provenance.published import Published, Thing
from redistill.questions import places, sides, words
from redistill.questions.state import Number, Place, json_of, numbers, thing_with, whole

_SEED = re.compile(r" · seed ([0-9]+)")
_RUNS = re.compile(r"(?:trial [0-9]+ )?seed [0-9]+")  # roles of what a number is the mean of


@dataclass(frozen=True)
class Line:
    """Something about a link in words, and the places in the configs that say it, if they still say the same."""

    what: str
    words: str
    places: tuple[str, ...] = ()


@dataclass(frozen=True)
class Member:
    """One thing of a link: its seed, what it scored if the number is the mean of such, and whether the store has it."""

    key: str
    seed: int | None
    score: float | None
    here: bool


@dataclass(frozen=True)
class Link:
    """A thing of the chain, or several that differ in nothing but seeds. `inputs` are other links by role."""

    name: str
    kind: str
    title: str
    members: tuple[Member, ...]
    lines: tuple[Line, ...]
    inputs: dict[str, tuple[str, ...]]


@dataclass(frozen=True)
class Making:
    """Where things were made, from their records: by which commit, on which machine."""

    commit: str
    clean: bool | None
    processor: str
    python: str


@dataclass(frozen=True)
class Chain:
    """A number, or another thing, and all that is behind it; the first link is the thing itself."""

    study: str
    commit: str | None
    top: str
    place: Place | None
    number: Number | None
    links: dict[str, Link]
    packages: dict[str, list[str]]
    modules: dict[str, list[str]]
    made: dict[Making, list[str]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def things(self) -> int:
        return len({member.key for link in self.links.values() for member in link.members})


def why(
    root: Path, study: str, what: str | None = None, table: str | None = None, row: str | None = None,
    column: str | None = None, commit: str | None = None,
) -> Chain:  # fmt: skip
    """The chain behind a cell, or behind the thing with a key.

    Args:
        what: the cell as TABLE/ROW/COLUMN or ROW/COLUMN, or the key of anything behind it, or how that begins.
        commit: the results as this commit has them.

    Raises:
        RedistillError: there is no such cell or key, or several; or the study has no results.
    """
    read = whole(root, study, sides.commit(root, commit) if commit is not None else None)
    place, thing = _found(read, what, table, row, column)
    return _Builder(read, place, thing).chain()


# --- which cell is meant ---------------------------------------------------------------------------------------------


def _found(
    read: Published, what: str | None, table: str | None, row: str | None, column: str | None
) -> tuple[Place | None, Thing]:
    if what is not None and (thing := thing_with(read.things, what)):
        return next((place for place, cell in read.cells.items() if cell.key == thing.key), None), thing
    cells = read.find_cells(table, row, column)
    if what is not None:
        cells = _named(read, cells, what)
    if len(cells) > 1:
        some = ", ".join(f"`{'/'.join(place)}`" for place in sorted(cells)[:6])
        raise RedistillError(
            f"{len(cells)} cells are meant: say which, as TABLE/ROW/COLUMN or with --table, --row and --column. "
            f"There are {some}{' ...' if len(cells) > 6 else ''}"
        )
    return next(iter(cells.items()))


def _named(read: Published, cells: dict[Place, Thing], what: str) -> dict[Place, Thing]:
    """The cells that are written so; the table's name may be left out."""
    wanted = "/".join(part.strip() for part in what.split(" / ")) if " / " in what else what
    for parts in (slice(0, 3), slice(1, 3)):
        found = {place: thing for place, thing in cells.items() if "/".join(place[parts]) == wanted}
        if found:
            return found
    names = ["/".join(place) for place in cells]
    raise RedistillError(
        f"{read.study} has no cell `{what}`, and nothing whose key begins so; {nearest(wanted, names)}"
    )


# --- the chain -------------------------------------------------------------------------------------------------------


class _Builder:
    """Puts things that differ in nothing but seeds into one link, from the number down to the sources."""

    def __init__(self, read: Published, place: Place | None, thing: Thing):
        self.read, self.place, self.thing = read, place, thing
        self.number = numbers(read).get(place) if place is not None else None
        self.counted: dict[str, Any] = json_of(read, "data")
        self.sources, self.notes = _sources(read.root), list[str]()
        self.plan = self._planned()
        self.links: dict[str, Link] = {}
        self._shapes: dict[str, str] = {}

    def chain(self) -> Chain:
        top = self._link([self.thing.key], ())
        things = self.read.upstream([self.thing.key])
        made, unknown = _made(self.read.root, things)
        if unknown:
            self.notes.append(
                f"by which commit and on which machine {unknown} of {len(things)} things were made is not known here: "
                "their records are not in store/records; `redistill pull` brings those of the remote"
            )
        away = sum(not member.here for link in self.links.values() for member in link.members)
        if away:
            self.notes.append(f"{away} of {len(things)} things are not in the store here, only what git has of them")
        order = {name: self.links[name] for name in _from(top, self.links)}
        return Chain(
            self.read.study, self.read.commit, top, self.place, self.number, order,
            _versions(t.parts["packages"] for t in things), _versions(t.parts["code"] for t in things), made,
            tuple(self.notes),
        )  # fmt: skip

    def _planned(self) -> Plan | None:
        """Today's plan, for the places of values; the chain can be told without."""
        try:
            plan = make_plan(self.read.root, self.read.study)
        except RedistillError as error:
            first = str(error).splitlines()[0]
            self.notes.append(f"where values stand is not said, as today's configs cannot be read: {first}")
            return None
        if self.thing.key not in plan.nodes:
            self.notes.append(
                "today's configs and code give something else in its place: `redistill stale` says what and why"
            )
        return plan

    def _link(self, keys: list[str], below: tuple[str, ...]) -> str:
        """The name of the link of these things, which is added with all that it is made of."""
        things = [self.read.things[key] for key in keys]
        name = keys[0] if len(keys) == 1 else f"{keys[0]}+{len(keys) - 1}"
        if name in self.links:
            return name
        first = things[0]
        title = _SEED.sub("", first.title) if len(things) > 1 else first.title
        trial = "choice" in below  # of whose recipes there are many: they are named only
        self.links[name] = Link(name, first.kind, title, tuple(map(self._member, things)),
                                () if trial else tuple(self._lines(first)), {})  # fmt: skip
        roles: dict[str, list[str]] = {}
        for thing in things:
            for role, key in thing.inputs.items():
                roles.setdefault("runs" if _RUNS.fullmatch(role) else role, []).append(key)
        for role, inner in roles.items():
            groups: dict[str, list[str]] = {}
            for key in dict.fromkeys(inner):
                groups.setdefault(self._shape(key), []).append(key)
            self.links[name].inputs[role] = tuple(self._link(g, (first.kind, *below)) for g in groups.values())
        return name

    def _shape(self, key: str) -> str:
        """What is alike for things that differ in nothing but seeds."""
        if key not in self._shapes:
            parts = self.read.things[key].parts
            config = {name: value for name, value in parts["config"].items() if name != "seed"}
            inputs = {role: self._shape(inner) for role, inner in parts["inputs"].items()}
            self._shapes[key] = canonical({**parts, "config": config, "inputs": inputs})
        return self._shapes[key]

    def _member(self, thing: Thing) -> Member:
        seed = _seed(thing)
        behind = self.number is not None and thing.key in self.number.runs
        score = self.number.scores.get(f"seed {seed}") if behind and self.number is not None else None
        return Member(thing.key, seed, score, store.is_done(thing.folder(self.read.root)))

    def _lines(self, thing: Thing) -> Iterator[Line]:
        known = self.plan if self.plan is not None and thing.key in self.plan.nodes else None
        names = {role: self.read.things[key].title for role, key in thing.inputs.items()}
        for said in words.of(thing.kind, thing.parts["config"], self.counted.get(thing.key, {}), names):
            found = places.of_values(known, thing.title, said.paths) if known and said.paths else []
            yield Line(said.what, said.words, tuple(found))
        if thing.kind in ("data", "model"):
            yield from self._licence(thing)

    def _licence(self, thing: Thing) -> Iterator[Line]:
        """What configs/sources.yaml says of a source."""
        same = [name for name, source in self.sources.items() if source.is_fetched_by(thing.parts["config"])]
        name = same[0] if same else thing.title
        if name not in self.sources:
            yield Line("licence", "not known: it is not in configs/sources.yaml any more")
            return
        source, there = self.sources[name], compose.load(self.read.root / "configs" / "sources.yaml",
                                                         "configs/sources.yaml")  # fmt: skip
        for what in ("licence", "citation"):
            place = there.place((name, what))
            yield Line(what, str(getattr(source, what)), (f"{place.file}:{place.line}",))


def _seed(thing: Thing) -> int | None:
    seed = thing.parts["config"].get("seed")
    found = _SEED.search(thing.title)
    return seed if isinstance(seed, int) else int(found[1]) if found else None


def _sources(root: Path) -> dict[str, schema.Source]:
    """The sources of configs/sources.yaml that are right."""
    found: dict[str, schema.Source] = {}
    with suppress(ConfigError):
        known = compose.load(root / "configs" / "sources.yaml", "configs/sources.yaml")
        for name in known.data:
            with suppress(ConfigError):
                found[name] = compose.validate(schema.Source, known.sub(name), name)
    return found


def _made(root: Path, things: Iterable[Thing]) -> tuple[dict[Making, list[str]], int]:
    """Keys of what was made in the same place, those of most things first; and of how many there is no record."""
    made: dict[Making, list[str]] = {}
    unknown = 0
    for thing in things:
        noted = record_of(root, thing.key)
        if noted is None:
            unknown += 1
            continue
        code, machine = noted.get("code") or {}, noted.get("machine") or {}
        python = (noted.get("environment") or {}).get("python", "")
        devices = ", ".join([str(machine.get("processor") or machine.get("machine", "")), *machine.get("devices", [])])
        where = Making(str(code.get("commit") or ""), code.get("clean"), devices, str(python))
        made.setdefault(where, []).append(thing.key)
    return dict(sorted(made.items(), key=lambda item: -len(item[1]))), unknown


def record_of(root: Path, key: str) -> dict[str, Any] | None:
    """The record of a thing, if it is here and can be read."""
    try:
        return record.read(record.place(root, key))
    except (OSError, ValueError, RedistillError):
        return None


def _versions(said: Iterable[dict[str, str]]) -> dict[str, list[str]]:
    """Each name with everything that is said of it."""
    found: dict[str, set[str]] = {}
    for one in said:
        for name, value in one.items():
            found.setdefault(name, set()).add(value)
    return {name: sorted(values) for name, values in sorted(found.items())}


def _from(top: str, links: dict[str, Link]) -> list[str]:
    """Links, each before what it is made of, as a reader meets them."""
    order, waiting = dict[str, None](), [top]
    while waiting:
        name = waiting.pop()
        if name not in order:
            order[name] = None
            waiting.extend(reversed([inner for names in links[name].inputs.values() for inner in names]))
    return list(order)
