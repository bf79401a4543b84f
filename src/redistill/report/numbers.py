"""Numbers as a report prints them."""

from typing import Any

from redistill.performance.units import seconds_of
from redistill.tables.render import STAR_P

UNITS = (("T", 1e12), ("G", 1e9), ("M", 1e6), ("k", 1e3))


def points(value: float | None, sign: str = "-") -> str:
    """A score times 100, with one decimal: no `-0.0`."""
    return "" if value is None else format(round(100 * float(value), 1) + 0.0, f"{sign}.1f")


def short(value: float | None) -> str:
    """A large number in three digits and a letter."""
    if value is None:
        return ""
    for letter, size in UNITS:
        if abs(value) >= size:
            return f"{value / size:.3g} {letter}"
    return f"{value:.3g}"


def size(value: float | None) -> str:
    """Bytes."""
    return "" if value is None else f"{short(value)}B" if value >= 1000 else f"{value:.0f} B"


def p_of(value: float) -> str:
    return "p < 0.001" if value < 0.001 else f"p = {value:.3f}"


def sure(p: float) -> bool:
    return p < STAR_P


def finite(value: Any) -> Any:
    """The same value, with null for what JSON cannot hold."""
    if isinstance(value, float):
        return value if value == value and abs(value) != float("inf") else None
    if isinstance(value, dict):
        return {str(key): finite(inner) for key, inner in value.items()}
    return [finite(inner) for inner in value] if isinstance(value, (list, tuple)) else value


__all__ = ["finite", "p_of", "points", "seconds_of", "short", "size", "sure"]
