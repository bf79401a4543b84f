"""Packages that only some commands need: imported when they are asked for, and missed in a sentence."""

import importlib
from types import ModuleType

from redistill.errors import RedistillError


def bring(module: str, extra: str, what: str) -> ModuleType:
    """Import a module of a package that is installed with `pip install "redistill[EXTRA]"` only.

    Args:
        what: what needs it, as the beginning of a sentence.

    Raises:
        RedistillError: it is not installed; says how it is.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise RedistillError(missed((error.name or module).split(".")[0], extra, what)) from None


def missed(package: str, extra: str, what: str) -> str:
    """The sentence that says of a package that it is not installed, and how it is."""
    return (
        f'{what} needs the package `{package}`, which is not installed: `pip install "redistill[{extra}]"`, or '
        f'`pip install -e ".[{extra}]"` in a checkout'
    )
