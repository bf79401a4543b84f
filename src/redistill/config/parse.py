"""Read YAML as plain data that remembers where each value stood.

The language is a subset of YAML 1.2: mappings with string keys, sequences, and scalars of the core schema (so `no` is a
string and `1e-4` a number). Tags and duplicate keys are refused; aliases and sizes are bounded.
"""

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

from redistill.errors import ConfigError, Problem

MAX_BYTES = 1_000_000
MAX_VALUES = 50_000
MAX_DEPTH = 50

# YAML 1.2 core schema, section 10.3.2
_NULL = re.compile(r"(~|null|Null|NULL|)")
_BOOL = re.compile(r"(true|True|TRUE|false|False|FALSE)")
_INT = re.compile(r"[-+]?[0-9]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")

KeyPath = tuple[str | int, ...]


@dataclass(frozen=True)
class Place:
    """A position in a file, counted from 1."""

    file: str
    line: int
    column: int


@dataclass
class Document:
    """Plain data with the place of every value, by its path of keys and indices."""

    data: Any
    places: dict[KeyPath, Place] = field(default_factory=dict)

    def place(self, path: KeyPath) -> Place:
        """The place of the value at `path`, or of the nearest value around it."""
        while path and path not in self.places:
            path = path[:-1]
        return self.places[path]

    def problem(self, path: KeyPath, message: str) -> Problem:
        place = self.place(path)
        return Problem(place.file, place.line, place.column, ".".join(map(str, path)), message)

    def sub(self, *path: str | int) -> "Document":
        """The part of the document under `path`, as a document of its own."""
        data = self.data
        for step in path:
            data = data[step]
        places = {inner: self.places[*path, *inner] for inner in paths(data) if (*path, *inner) in self.places}
        return Document(data, {(): self.place(path), **places})


def paths(data: Any, path: KeyPath = ()) -> Iterator[KeyPath]:
    """The path of a value and of every value in it."""
    yield path
    for step, value in data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ():
        yield from paths(value, (*path, step))


def load(file: Path, shown_as: str | None = None) -> Document:
    """Parse one file.

    Raises:
        ConfigError: the file cannot be read, or `parse` refuses it.
    """
    name = shown_as or str(file)
    try:
        if file.exists() and not file.is_file():
            raise ConfigError([Problem(name, 1, 1, "", "cannot be read: it is no file")])
        with file.open("rb") as opened:
            raw = opened.read(MAX_BYTES + 1)
    except OSError as error:
        raise ConfigError([Problem(name, 1, 1, "", f"cannot be read: {error.strerror}")]) from None
    return parse(raw, name)


@lru_cache(maxsize=512)  # what many experiments extend is parsed once
def parse(raw: bytes, name: str) -> Document:
    """Parse the content of a file, or a value of the command line; `name` is what problems call it.

    What it returns is shared: it is laid over and copied, never changed.

    Raises:
        ConfigError: it is not UTF-8, too large, or not in the subset described above.
    """
    if len(raw) > MAX_BYTES:
        raise ConfigError([Problem(name, 1, 1, "", f"is larger than {MAX_BYTES} bytes")])
    try:
        text = raw.decode("utf-8")
        node = yaml.compose(text, Loader=_Loader)
    except UnicodeDecodeError:
        raise ConfigError([Problem(name, 1, 1, "", "is not UTF-8 text")]) from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
        raise ConfigError([Problem(name, line, column, "", f"is not valid YAML: {error.problem}")]) from None
    except yaml.reader.ReaderError as error:
        line, column = text.count("\n", 0, error.position) + 1, error.position - text.rfind("\n", 0, error.position)
        message = f"is not valid YAML: the character U+{error.character:04X} is not allowed"
        raise ConfigError([Problem(name, line, column, "", message)]) from None
    except (yaml.YAMLError, ValueError, OverflowError):
        message = "is not valid YAML: the number of a character or of a version is out of range"
        raise ConfigError([Problem(name, 1, 1, "", message)]) from None
    if node is None:
        return Document({}, {(): Place(name, 1, 1)})
    return _Builder(name).build(node)


class _Loader(yaml.SafeLoader):
    """PyYAML's parser, told to refuse what a node no longer shows, a tag that was written out; and to stop in time."""

    nodes, depth = 0, 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        event = self.peek_event()
        self.nodes += 1
        self.depth += 1
        problem = ""
        if self.nodes > 2 * MAX_VALUES:  # keys are nodes too
            problem = f"it holds more than {MAX_VALUES} values"
        elif self.depth > 2 * MAX_DEPTH:
            problem = f"it is nested deeper than {MAX_DEPTH} levels"
        elif getattr(event, "tag", None) is not None:
            problem = f"the tag {event.tag} is not allowed: a config is plain data"
        if problem:
            raise yaml.MarkedYAMLError(problem=problem, problem_mark=event.start_mark)
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node


class _Builder:
    """Turns PyYAML's nodes into data; kept as a class because every step shares the file's name and the count."""

    def __init__(self, name: str):
        self.name, self.values, self.characters = name, 0, 0
        self.document = Document(None)

    def build(self, node: yaml.Node) -> Document:
        self.document.data = self._value(node, ())
        return self.document

    def _refuse(self, node: yaml.Node, path: KeyPath, message: str) -> ConfigError:
        mark = node.start_mark
        key = ".".join(map(str, path))
        return ConfigError([Problem(self.name, mark.line + 1, mark.column + 1, key, message)])

    def _value(self, node: yaml.Node, path: KeyPath) -> Any:
        self.values += 1
        if self.values > MAX_VALUES:
            raise self._refuse(node, path, f"holds more than {MAX_VALUES} values (aliases counted as often as used)")
        if len(path) > MAX_DEPTH:
            raise self._refuse(node, path, f"is nested deeper than {MAX_DEPTH} levels")
        self.document.places[path] = Place(self.name, node.start_mark.line + 1, node.start_mark.column + 1)
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, path)
        if isinstance(node, yaml.SequenceNode):
            return [self._value(child, (*path, i)) for i, child in enumerate(node.value)]
        assert isinstance(node, yaml.ScalarNode)
        self._count(node, path)
        value = _scalar(node)
        if isinstance(value, float) and not math.isfinite(value):
            raise self._refuse(node, path, f"`{node.value}` is larger than a number can be")
        if isinstance(value, str) and not _encodable(value):
            raise self._refuse(node, path, "holds half a surrogate pair, which is no text")
        return value

    def _count(self, node: yaml.ScalarNode, path: KeyPath) -> None:
        self.characters += len(node.value)
        if self.characters > MAX_BYTES:
            raise self._refuse(node, path, f"holds more than {MAX_BYTES} characters (aliases counted as often as used)")

    def _mapping(self, node: yaml.MappingNode, path: KeyPath) -> dict[str, Any]:
        mapping: dict[str, Any] = {}
        for key_node, value_node in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                raise self._refuse(key_node, path, "a key must be a plain word")
            key = str(key_node.value)
            self._count(key_node, path)
            if not _encodable(key):
                raise self._refuse(key_node, path, "holds half a surrogate pair, which is no text")
            if key == "<<":
                raise self._refuse(key_node, path, "merge keys are not allowed; use `extends`")
            if key in mapping:
                raise self._refuse(key_node, (*path, key), "stands twice in the same mapping")
            mapping[key] = self._value(value_node, (*path, key))
            # a mistake in a key or its value is looked for where the key stands
            mark = key_node.start_mark
            self.document.places[(*path, key)] = Place(self.name, mark.line + 1, mark.column + 1)
        return mapping


def _encodable(text: str) -> bool:
    return not any("\ud800" <= character <= "\udfff" for character in text)


def _scalar(node: yaml.ScalarNode) -> Any:
    text: str = node.value
    if node.style is not None:
        return text
    if _NULL.fullmatch(text):
        return None
    if _BOOL.fullmatch(text):
        return text.lower() == "true"
    if _INT.fullmatch(text) and len(text) < 20:
        return int(text)
    if _FLOAT.fullmatch(text) and len(text) < 40:
        return float(text)
    return text
