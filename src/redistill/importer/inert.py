"""Read YAML with tags as inert data: a tag is remembered as text, and nothing that it names is imported or called.

Unlike the project's own configs, these are YAML 1.1 as PyYAML reads it, with merge keys, duplicate keys (the last one
counts) and tags. `!join` of plain values is text, so it is computed. Sizes, aliases and depths are bounded.
"""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from yaml.constructor import SafeConstructor

from redistill.config.parse import MAX_BYTES, MAX_DEPTH, MAX_VALUES, Document, KeyPath, Place
from redistill.errors import ConfigError, Problem

MAX_JOINED = 10_000  # characters: joined text can be joined again
_PLAIN = "tag:yaml.org,2002:"
_PLAIN_TAGS = {
    f"{_PLAIN}{kind}" for kind in ("str", "int", "float", "bool", "null", "map", "seq", "timestamp", "value")
}
_CONSTRUCT = SafeConstructor()
_SCALARS = {
    f"{_PLAIN}int": _CONSTRUCT.construct_yaml_int,
    f"{_PLAIN}float": _CONSTRUCT.construct_yaml_float,
    f"{_PLAIN}bool": _CONSTRUCT.construct_yaml_bool,
    f"{_PLAIN}null": lambda node: None,
}


@dataclass(frozen=True)
class Tagged:
    """A value with a tag, such as `!import_call`; what it would do is not done."""

    tag: str
    value: Any

    def __str__(self) -> str:
        inner = self.value
        if isinstance(inner, dict):
            inner = inner.get("key", inner.get("method_name", "..."))
        elif isinstance(inner, list):
            inner = ", ".join(str(item) for item in inner[:4] if not isinstance(item, dict | list))
        return printable(f"{self.tag} {inner}")


@dataclass
class Inert:
    """A source file as inert data: its values with their places, and the keys that stood twice."""

    document: Document
    repeated: list[tuple[KeyPath, int]]
    tags: dict[str, KeyPath]  # where each first stands


def read(file: Path) -> Inert:
    """Read one file.

    Raises:
        ConfigError: it is missing, not UTF-8, not YAML, too large or too deep, or no mapping at its top.
    """
    name = printable_path(file)
    node = _compose(file, name)
    if not isinstance(node, yaml.MappingNode):
        raise ConfigError([Problem(name, 1, 1, "", "must be a mapping of keys to values")])
    builder = _Builder(name)
    builder.document.data = builder.value(node, ())
    return Inert(builder.document, builder.repeated, builder.tags)


def _compose(file: Path, name: str) -> yaml.Node | None:
    try:
        with file.open("rb") as stream:
            raw = stream.read(MAX_BYTES + 1)
        if len(raw) > MAX_BYTES:
            raise ConfigError([Problem(name, 1, 1, "", f"is larger than {MAX_BYTES} bytes")])
        return yaml.compose(raw.decode("utf-8"), Loader=yaml.SafeLoader)
    except OSError as error:
        message = f"cannot be read: {error.strerror}"
    except UnicodeDecodeError:
        message = "is not UTF-8 text"
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
        raise ConfigError([Problem(name, line, column, "", f"is not valid YAML: {error.problem}")]) from None
    except (yaml.YAMLError, RecursionError, ValueError, OverflowError) as error:
        first = str(error).splitlines()[0] if str(error) else "nested too deeply"
        message = f"is not valid YAML: {first}"
    raise ConfigError([Problem(name, 1, 1, "", message)])


class _Builder:
    """Turns nodes into data; a class because every step shares the count and the places."""

    def __init__(self, name: str):
        self.name, self.values = name, 0
        self.document = Document(None)
        self.repeated: list[tuple[KeyPath, int]] = []
        self.tags: dict[str, KeyPath] = {}

    def value(self, node: yaml.Node, path: KeyPath) -> Any:
        self._count(node, path)
        self.document.places[path] = Place(self.name, node.start_mark.line + 1, node.start_mark.column + 1)
        plain: Any
        if isinstance(node, yaml.MappingNode):
            plain = self._mapping(node, path)
        elif isinstance(node, yaml.SequenceNode):
            plain = [self.value(child, (*path, i)) for i, child in enumerate(node.value)]
        else:
            plain = self._scalar(node, path)
        if node.tag in _PLAIN_TAGS:
            return plain
        self.tags.setdefault(node.tag, path)
        if node.tag == "!join" and isinstance(plain, list) and not any(_nested(item) for item in plain):
            return self._joined(node, plain, path)
        return Tagged(node.tag, plain)

    def _refuse(self, node: yaml.Node, path: KeyPath, message: str) -> ConfigError:
        mark = node.start_mark
        return ConfigError([Problem(self.name, mark.line + 1, mark.column + 1, shown(path), message)])

    def _count(self, node: yaml.Node, path: KeyPath, depth: int = 0) -> None:
        self.values += 1
        if self.values > MAX_VALUES:
            raise self._refuse(node, path, f"holds more than {MAX_VALUES} values (aliases counted as often as used)")
        if len(path) + depth > MAX_DEPTH:
            raise self._refuse(node, path, f"is nested deeper than {MAX_DEPTH} levels")

    def _mapping(self, node: yaml.MappingNode, path: KeyPath) -> dict[str, Any]:
        mapping: dict[str, Any] = {}
        own: set[str] = set()
        for key_node, value_node, merged in self._pairs(node, path, 0):
            key = self._key(key_node, path)
            if merged and key in own:
                continue
            if not merged and key in own:
                self.repeated.append(((*path, key), key_node.start_mark.line + 1))
            if not merged:
                own.add(key)
            if key in mapping:
                self._forget((*path, key))
            mapping[key] = self.value(value_node, (*path, key))
            mark = key_node.start_mark
            self.document.places[*path, key] = Place(self.name, mark.line + 1, mark.column + 1)
        return mapping

    def _forget(self, path: KeyPath) -> None:
        for old in [place for place in self.document.places if place[: len(path)] == path]:
            del self.document.places[old]

    def _pairs(self, node: yaml.MappingNode, path: KeyPath, depth: int) -> list[tuple[yaml.Node, yaml.Node, bool]]:
        """Keys with their values: what is merged in first, so that a mapping's own keys win."""
        self._count(node, path, depth)
        merged: list[tuple[yaml.Node, yaml.Node, bool]] = []
        own: list[tuple[yaml.Node, yaml.Node, bool]] = []
        for key_node, value_node in node.value:
            if key_node.tag != f"{_PLAIN}merge":
                own.append((key_node, value_node, False))
                continue
            parts = value_node.value if isinstance(value_node, yaml.SequenceNode) else [value_node]
            for part in reversed(parts):
                if not isinstance(part, yaml.MappingNode):
                    raise self._refuse(key_node, path, "merges something that is no mapping")
                inner = self._pairs(part, path, depth + 1)
                self.values += len(inner)
                merged += [(key, value, True) for key, value, _ in inner]
        return [*merged, *own]

    def _key(self, node: yaml.Node, path: KeyPath) -> str:
        if isinstance(node, yaml.SequenceNode) and node.tag == "!join":
            parts = [self._scalar(item, path) for item in node.value if isinstance(item, yaml.ScalarNode)]
            joined = [self._key(item, path) for item in node.value if not isinstance(item, yaml.ScalarNode)]
            if not joined:
                return self._joined(node, parts, path)
        if not isinstance(node, yaml.ScalarNode):
            raise self._refuse(node, path, "a key must be a plain word")
        return self._text(node, node.value, path)

    def _joined(self, node: yaml.Node, parts: list[Any], path: KeyPath) -> str:
        text = "".join(str(part) for part in parts)
        if len(text) > MAX_JOINED:
            raise self._refuse(node, path, f"joins to more than {MAX_JOINED} characters")
        return text

    def _scalar(self, node: yaml.Node, path: KeyPath) -> Any:
        text = self._text(node, node.value, path)
        if node.tag not in _SCALARS:
            return text
        try:
            value = _SCALARS[node.tag](node)  # type: ignore[arg-type]
        except (ValueError, KeyError, IndexError, OverflowError):
            return text
        if isinstance(value, float) and not math.isfinite(value):
            return text
        return text if isinstance(value, int) and abs(value) >= 10**18 else value

    def _text(self, node: yaml.Node, text: str, path: KeyPath) -> str:
        if any("\ud800" <= character <= "\udfff" for character in text):
            raise self._refuse(node, path, "holds half a surrogate pair, which is no text")
        return text


def _nested(value: Any) -> bool:
    return isinstance(value, dict | list | Tagged)


LONGEST = 80


def printable(text: object) -> str:
    """Text as it may stand in a report or a comment: one line, no control characters, not long."""
    line = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in str(text)[: LONGEST + 1])
    return line if len(line) <= LONGEST else f"{line[:LONGEST]}..."


def printable_path(file: Path) -> str:
    """A file's path on one line."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in str(file))


def shown(path: KeyPath) -> str:
    """A path of keys as it is printed."""
    return ".".join(printable(step) for step in path)
