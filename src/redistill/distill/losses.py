"""Every method by name, for a loop of one's own: `from redistill.distill import losses; losses.kd(ours, theirs)`."""

from collections.abc import Callable
from typing import Any

from redistill import registry
from redistill.errors import nearest


def __getattr__(name: str) -> Callable[..., Any]:
    if name not in registry.names("loss"):
        raise AttributeError(f"there is no method `{name}`; {nearest(name, registry.names('loss'))}")
    return registry.get("loss", name)


def __dir__() -> list[str]:
    return list(registry.names("loss"))
