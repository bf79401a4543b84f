"""Numbers as people read them."""

from typing import Any


def seconds_of(seconds: float) -> str:
    """A length of time."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 3 * 86400 else f"{seconds / 86400:.1f} days"


def bounded(value: Any) -> Any:
    """The same value with numbers of five digits: a clock has no more to say."""
    if isinstance(value, float):
        return float(f"{value:.5g}")
    if isinstance(value, dict):
        return {key: bounded(inner) for key, inner in value.items()}
    return [bounded(inner) for inner in value] if isinstance(value, list) else value
