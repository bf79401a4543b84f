"""A run's resolved config as lines, and what of it differs from that of the row above."""

from typing import Any

from redistill.exports.facts import leaves

Line = list[str]


def lines(config: dict[str, Any]) -> list[Line]:
    """Paths and values, without the run's own seed."""
    return [[path, shown(value)] for path, value in leaves(config) if path != "seed"]


def differing(above: dict[str, Any], here: dict[str, Any]) -> list[Line]:
    """Path, value above and value here of what is not the same; an empty text where it is not there."""
    old, new = dict(lines(above)), dict(lines(here))
    paths = [*new, *(path for path in old if path not in new)]
    return [[path, old.get(path, ""), new.get(path, "")] for path in paths if old.get(path) != new.get(path)]


def shown(value: Any) -> str:
    """A value as YAML has it."""
    if value is None:
        return "null"
    return str(value).lower() if isinstance(value, bool) else str(value)
