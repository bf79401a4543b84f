"""A source file whose every leaf is accounted for: used, without influence on numbers, or left out with a reason."""

import math
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from redistill.config.parse import KeyPath
from redistill.importer.inert import Inert, Tagged, printable, read, shown
from redistill.importer.report import LeftOut, Report

UNKNOWN = "not known to the importer"

# Keys that change no number: where files lie, how fast data is loaded, what is printed, how models are wrapped.
WITHOUT_INFLUENCE = frozenset({
    "log_freq", "num_workers", "pin_memory", "prefetch_factor", "persistent_workers", "cache_output", "requires_supp",
    "wrapper", "root", "download", "img_dir_path", "ann_file_path", "train_file_path", "valid_file_path", "dst_ckpt",
    "experiment", "progress", "memory_efficient", "use_fast", "do_lower", "do_lower_case", "filters_params",
    "pad_to_max_length", "find_unused_parameters",
})  # fmt: skip
WITHOUT_INFLUENCE_SECTIONS = frozenset({"test", "private"})  # evaluated after training


class Source:
    """A source file, what became of each of its leaves, and what there is to say about it."""

    def __init__(self, file: Path):
        inert: Inert = read(file)
        self.file, self.document = file, inert.document
        self.used: set[KeyPath] = set()
        self.left: dict[KeyPath, str] = {}
        self.warnings: list[str] = []
        self.to_do: list[str] = []
        self.repeated = inert.repeated
        if "!setattr" in inert.tags:
            self.warn(inert.tags["!setattr"], "torchdistill registers `!setattr` as `!getattr`: nothing is set")

    def top(self) -> "Section":
        return Section(self, ())

    def at(self, path: KeyPath) -> Any:
        """The value at a path, through tags; None where there is none."""
        data = self.document.data
        for step in path:
            data = data.value if isinstance(data, Tagged) else data
            in_mapping = isinstance(data, dict) and step in data
            if not in_mapping and not (isinstance(data, list) and isinstance(step, int) and step < len(data)):
                return None
            data = data[step]
        return data

    def warn(self, path: KeyPath, message: str) -> None:
        self._say(self.warnings, f"line {self.document.place(path).line}, {shown(path)}: {message}")

    def needs(self, message: str) -> None:
        """Note what the experiment still needs before it can be used."""
        self._say(self.to_do, message)

    def _say(self, messages: list[str], message: str) -> None:
        if message not in messages:
            messages.append(message)

    def report(self, task: str) -> Report:
        """Where every leaf of the source went; the unknown ones are left out as such."""
        ignored: set[str] = set()
        left = [
            LeftOut(shown(path), line, "", "stands twice: only the last one counts") for path, line in self.repeated
        ]
        for path in leaves(self.document.data):
            if path in self.used:
                continue
            if path not in self.left and _without_influence(path):
                ignored.add("names of anchors" if any(_is_anchor(step) for step in path) else _first(path))
                continue
            line = self.document.place(path).line
            left.append(LeftOut(shown(path), line, printable(self.at(path)), self.left.get(path, UNKNOWN)))
        return Report(self.file, task, [], left, self.warnings, self.to_do, sorted(ignored))


class Section:
    """A mapping of the source, or the place where one would be. Whatever is taken from it counts as used."""

    def __init__(self, source: Source, path: KeyPath):
        self.source, self.path = source, path

    @property
    def data(self) -> dict[str, Any]:
        value = self.source.at(self.path)
        value = value.value if isinstance(value, Tagged) else value
        return value if isinstance(value, dict) else {}

    def has(self, *names: str) -> bool:
        return any(name in self.data for name in names)

    def says(self, name: str, words: Iterable[str]) -> bool:
        """Whether one of these words stands under a name."""
        value = self.data.get(name)
        return isinstance(value, str) and value in words

    def rest(self) -> list[str]:
        """The keys that hold something which was neither used nor left out yet."""
        source = self.source
        return [
            key
            for key in self.data
            if any(not (p in source.used or p in source.left or _without_influence(p)) for p in self._leaves(key))
        ]

    def section(self, *names: str) -> "Section":
        """The mapping under the first of these names that is there."""
        name = self._first(names)
        inner = Section(self.source, (*self.path, name))
        value = self.source.at(inner.path)
        if value is None and self.has(name):
            self.source.used.add(inner.path)
        elif isinstance(value, Tagged):
            self.leave(f"is made by code, {value}, which is not run", name)
            return Section(self.source, (*inner.path, "nothing"))
        elif value is not None and not isinstance(value, dict):
            self.leave("is no mapping", name)
        elif value == {}:
            self.source.used.add(inner.path)
        return inner

    def entries(self, name: str) -> list["Section"]:
        """The mappings in the list under a name."""
        value = self.source.at((*self.path, name))
        if not isinstance(value, list):
            return []
        if not value:
            self.source.used.add((*self.path, name))
        return [Section(self.source, (*self.path, name, i)) for i, item in enumerate(value) if isinstance(item, dict)]

    def value(self, *names: str) -> Any:
        """The first of these that is there, as it stands; None if none is."""
        name = self._first(names)
        if not self.has(name):
            return None
        self.use(name)
        return self.source.at((*self.path, name))

    def plain(self, name: str) -> Any:
        """A number, text, boolean, or list of such; anything else is left out, and None."""
        value = self.source.at((*self.path, name))
        items = value if isinstance(value, list) else [value]
        if not all(isinstance(item, str | int | float | None) for item in items):
            why = f"is made by code, {value}, which is not run" if isinstance(value, Tagged) else "is no plain value"
            self.leave(why, name)
            return None
        return self.value(name)

    def text(self, *names: str) -> str | None:
        return self._typed(names, str, "text")

    def flag(self, *names: str) -> bool | None:
        return self._typed(names, bool, "true or false")

    def texts(self, name: str) -> list[str]:
        """A list of texts; empty where there is none."""
        value = self.source.at((*self.path, name))
        if isinstance(value, list) and all(isinstance(item, str) for item in value):
            return list(self.value(name))
        if value is not None:
            self.leave("is no list of texts", name)
        elif self.has(name):
            self.use(name)
        return []

    def number(self, *names: str) -> float | None:
        """A number. YAML 1.1 takes `1e-4` for text, as torchdistill does; it is read, and said."""
        name = self._first(names)
        value = self.source.at((*self.path, name))
        if isinstance(value, str):
            try:
                number = float(value)
            except ValueError:
                number = math.inf
            if abs(number) < 1e30:
                self.use(name)
                self.source.warn(
                    (*self.path, name),
                    f"YAML 1.1 reads `{printable(value)}` as text, and torchdistill stops; read as a number",
                )
                return number
        return self._typed((name,), (int, float), "a number")

    def integer(self, *names: str, least: int = 1) -> int | None:
        name = self._first(names)
        value = self.source.at((*self.path, name))
        if isinstance(value, int) and not isinstance(value, bool) and value < least:
            self.leave(f"is below {least}", name)
            return None
        return self._typed((name,), int, "a whole number")

    def _typed(self, names: tuple[str, ...], kind: Any, words: str) -> Any:
        name = self._first(names)
        value = self.source.at((*self.path, name))
        if value is None or (isinstance(value, kind) and (kind is bool or not isinstance(value, bool))):
            return self.value(name)
        made = f"is made by code, {value}, which is not run" if isinstance(value, Tagged) else f"is not {words}"
        self.leave(made, name)
        return None

    def use(self, *names: str) -> None:
        """Everything under these names has been taken over, or is what redistill does anyway."""
        for name in names or tuple(self.data):
            self.source.used.update(self._leaves(name))

    def leave(self, reason: str, *names: str) -> None:
        """What is not used yet under these names (under all, if none is given) is left out for this reason."""
        for name in names or tuple(self.data):
            for path in self._leaves(name):
                if path not in self.source.used and not _without_influence(path):
                    self.source.left.setdefault(path, reason)

    def warn(self, message: str, *names: str) -> None:
        self.source.warn((*self.path, *names), message)

    def _first(self, names: tuple[str, ...]) -> str:
        return next((name for name in names if name in self.data), names[0])

    def _leaves(self, name: str) -> list[KeyPath]:
        if name not in self.data:
            return []
        return list(leaves(self.data[name], (*self.path, name)))


def leaves(value: Any, path: KeyPath = ()) -> Iterator[KeyPath]:
    """The paths of all plain values, and of mappings and lists that are empty."""
    value = value.value if isinstance(value, Tagged) else value
    inner: list[tuple[str | int, Any]] = []
    if isinstance(value, dict):
        inner = list(value.items())
    elif isinstance(value, list):
        inner = list(enumerate(value))
    if not inner:
        yield path
    for step, item in inner:
        yield from leaves(item, (*path, step))


def _is_anchor(step: str | int) -> bool:
    return isinstance(step, str) and step.startswith("_")


def _first(path: KeyPath) -> str:
    if path[:1] and path[0] in WITHOUT_INFLUENCE_SECTIONS:
        return str(path[0])
    return next(str(step) for step in path if step in WITHOUT_INFLUENCE)


def _without_influence(path: KeyPath) -> bool:
    known = any(step in WITHOUT_INFLUENCE or _is_anchor(step) for step in path)
    return bool(path) and (path[0] in WITHOUT_INFLUENCE_SECTIONS or known)
