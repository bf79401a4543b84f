"""What exports say of a study: what was made and of what, how each thing came to be, and what its sources ask for."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from redistill.config import compose, schema
from redistill.errors import IntegrityError, RedistillError
from redistill.provenance import published, record, store
from redistill.provenance.published import Published, Thing

UNKNOWN = "unknown: not in configs/sources.yaml any more"
# What makes a thing of each kind does, in the order in which a study makes them.
DOES = {
    "data": "Fetch data and verify it",
    "model": "Fetch a pretrained model and verify it",
    "dataset": "Read a task's examples and split them",
    "tokens": "Tokenise a task's texts",
    "baseline": "Fit a baseline",
    "run": "Train a model: fine-tune a teacher, or a student, or distil one",
    "outputs": "Store what a model says of a split",
    "choice": "Choose among trials on the split for choices",
    "cell": "Compute the metric of runs from their predictions",
    "table": "Make a table, with statistics, from cells",
    "submission": "Write predictions as a server takes them",
    "scores": "Make the table of what a server said",
}


@dataclass(frozen=True)
class Source:
    """Where data or weights came from, and what configs/sources.yaml says of them today."""

    name: str
    kind: str
    licence: str
    citation: str
    note: str
    url: str | None


@dataclass(frozen=True)
class Made:
    """How a thing came to be, as its record says."""

    start: str
    end: str
    resumed: int
    attempts: int
    usage: dict[str, float]
    machine: dict[str, str]
    python: str
    packages: dict[str, str]
    image: str | None
    commit: str | None
    clean: bool | None


@dataclass(frozen=True)
class Study:
    """A published study with its records and its sources, by key. A thing without a record is not in `made`."""

    published: Published
    title: str
    made: dict[str, Made]
    sources: dict[str, Source]

    @property
    def root(self) -> Path:
        return self.published.root

    @property
    def name(self) -> str:
        return self.published.study

    @cached_property
    def things(self) -> list[Thing]:
        """All things, inputs before what is made of them; as they stand in git, so the order is the same everywhere."""
        return self.published.upstream(sorted(self.published.things))

    @cached_property
    def dates(self) -> tuple[str, str] | None:
        """When the first thing was begun and the last one finished."""
        if not self.made:
            return None
        return min(m.start for m in self.made.values()), max(m.end for m in self.made.values())

    def record(self, key: str) -> Path:
        return record.place(self.root, key)


def read(root: Path, study: str) -> Study:
    """A study from results/, store/records and configs/.

    Raises:
        RedistillError: it has no results, a file of them or a record cannot be read, or what a key is made of is not
            what the file says.
        ConfigError: configs/sources.yaml has mistakes.
    """
    found = published.read(root, study)
    wrong = [mistake for thing in found.things.values() for mistake in published.mistakes(thing)]
    if wrong:
        raise RedistillError(f"results/{study}/{wrong[0]}; nothing was exported: `redistill audit {study}` says more")
    made = {key: _made(file) for key in found.things if (file := record.place(root, key)).is_file()}
    known = sources_on_file(root)
    sources = {
        thing.key: source(known, thing.kind, thing.title, thing.parts["config"])
        for thing in found.things.values()
        if thing.kind in ("data", "model")
    }
    return Study(found, _title(found), made, sources)


def _title(found: Published) -> str:
    """The study's title, which each of its tables was made with."""
    titles = {t.parts["config"].get("study") for t in found.tables.values()}
    return str(next(iter(titles))) if len(titles) == 1 else found.study


def _made(file: Path) -> Made:
    try:
        return _from(record.read(file))
    except record.RecordError:
        raise
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise RedistillError(
            f"{file}: this is no record that can be read ({error.__class__.__name__}: {error}); `redistill pull` "
            "brings it again, or remove it, and exports say that there is none"
        ) from None


def _from(noted: dict[str, Any]) -> Made:
    """Of a record of any schema; what an older one did not note is not said."""
    environment, code = noted["environment"], noted["code"]
    usage = {name: float(noted[name]) for name in ("seconds", "core_seconds", "peak_memory_mib")}
    for counted, joules in (noted.get("energy_joules") or {}).items():
        if joules is not None:
            usage[f"energy_of_{counted}"] = float(joules)
    return Made(
        _moment(noted["start"]), _moment(noted["end"]), len(noted["resumed"]), len(noted.get("attempts", ())), usage,
        dict(_hardware(noted["machine"])), environment["python"], environment["packages"], environment.get("image"),
        code["commit"], code["clean"],
    )  # fmt: skip


def _moment(said: str) -> str:
    return said.replace("Z", "+00:00")


def _hardware(machine: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for name in ("processor", "vendor", "machine", "system", "cores"):
        if machine.get(name):
            yield name, str(machine[name])
    for name in ("features", "devices"):
        if machine.get(name):
            yield name, ", ".join(machine[name])


def sources_on_file(root: Path) -> list[schema.Source]:
    """What configs/sources.yaml has today."""
    known = compose.load(root / "configs" / "sources.yaml", "configs/sources.yaml")
    return [compose.validate(schema.Source, known.sub(name), name) for name in known.data]


def source(known: list[schema.Source], kind: str, title: str, fetched: dict[str, Any]) -> Source:
    """What is known of a source that was fetched as `fetched` says."""
    said = next((one for one in known if one.is_fetched_by(fetched)), None)
    licence, citation, note = (said.licence, said.citation, said.note) if said else (UNKNOWN, UNKNOWN, "")
    return Source(title, kind, licence, citation, note, _page(fetched["origin"]))


def _page(origin: dict[str, Any]) -> str | None:
    """Where a source is from; None where it is a folder of the user's."""
    if origin["type"] == "hub":
        folder = "datasets/" if origin["form"] == "dataset" else ""
        tree = "" if origin["revision"] == "unpinned" else f"/tree/{origin['revision']}"
        return f"https://huggingface.co/{folder}{origin['repository']}{tree}"
    return page_of_package(origin["package"], origin.get("version", "")) if "package" in origin else None


def page_of_package(package: str, version: str) -> str:
    return f"https://pypi.org/project/{package}/{version}/" if version else f"https://pypi.org/project/{package}/"


def leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Paths and values of a config, as `redistill show` writes them; an empty list or mapping is a value."""
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    empty = True
    for name, inner in pairs:
        empty = False
        yield from leaves(inner, f"{path}.{name}" if path else str(name))
    if empty:
        yield path, value


def number(root: Path, cell: Thing) -> tuple[float, int, str]:
    """A cell's number, of how many runs it is the mean, and its metric.

    Raises:
        IntegrityError: its file is not the one that results/ knows.
        RedistillError: it is not in the store.
    """
    file = cell.folder(root) / "metrics.json"
    if not file.is_file():
        raise RedistillError(
            f"{file} is not there, and belongs to {cell.kind} {cell.title}: `redistill pull` brings it, or "
            "`snakemake --cores all` makes it"
        )
    found, expected = store.sha256_file(file), cell.files[file.name]["sha256"]
    if found != expected:
        raise IntegrityError(file, expected, found, store.BROKEN)
    said = json.loads(file.read_text(encoding="utf-8"))
    values = [score["value"] for score in said["dev"].values()]
    return round(sum(values) / len(values), 6), len(values), str(said["metric"])
