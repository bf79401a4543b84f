"""redistill: reproducible knowledge-distillation studies, from data to audited tables."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from redistill.api import Run as Run
    from redistill.api import Study as Study
    from redistill.api import load_study as load_study

__version__ = "0.1.0"

__all__ = ["Run", "Study", "__version__", "load_study"]


def __getattr__(name: str) -> Any:
    """The API, imported when it is asked for: the command line's start must stay quick."""
    if name in ("Run", "Study", "load_study"):
        from redistill import api

        return getattr(api, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
