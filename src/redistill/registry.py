"""Components by name: a component called `kd` of kind `loss` is the function `kd` in `redistill/distill/kd.py`.

A new component is a new file; nothing central changes. Signatures are read from the syntax tree, so that a study is
checked, and its keys are computed, without importing torch. Positional parameters are what the component is given by
the engine; keyword-only parameters are its settings in a config.
"""

import ast
import importlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

PACKAGES = {
    "loss": "redistill.distill",
    "architecture": "redistill.models.architectures",
    "baseline": "redistill.models.baselines",
    "reader": "redistill.data.readers",
}
_ROOT = Path(__file__).parent
_TYPES: dict[str, Any] = {
    "float": (int, float),
    "int": int,
    "bool": bool,
    "str": str,
    "list[int]": list,
    "list[str]": list,
}


@dataclass(frozen=True)
class Setting:
    """One keyword-only parameter: its annotation as written, and whether it must be given."""

    annotation: str
    required: bool
    default: Any = None


@dataclass(frozen=True)
class Signature:
    """What a component is given (`inputs`) and what a config may set (`settings`)."""

    inputs: tuple[str, ...]
    settings: dict[str, Setting]


def module_name(kind: str, name: str) -> str:
    return f"{PACKAGES[kind]}.{name}"


def _folder(kind: str) -> Path:
    return _ROOT.joinpath(*PACKAGES[kind].split(".")[1:])


@cache
def names(kind: str) -> tuple[str, ...]:
    """The components of a kind: the modules that define a function of their own name."""
    files = sorted(_folder(kind).glob("[a-z]*.py"))
    return tuple(file.stem for file in files if _function(kind, file.stem) is not None)


@cache
def _function(kind: str, name: str) -> ast.FunctionDef | None:
    tree = ast.parse((_folder(kind) / f"{name}.py").read_text(encoding="utf-8"))
    functions = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == name]
    return functions[0] if functions else None


@cache
def signature(kind: str, name: str) -> Signature:
    """Read a component's signature without importing it. `name` must be one of `names(kind)`."""
    function = _function(kind, name)
    if function is None:
        raise KeyError(f"no {kind} called {name}")
    arguments = function.args
    settings = {}
    for argument, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True):
        annotation = ast.unparse(argument.annotation) if argument.annotation else "str"
        value = ast.literal_eval(default) if default is not None else None
        settings[argument.arg] = Setting(annotation, default is None, value)
    return Signature(tuple(a.arg for a in (*arguments.posonlyargs, *arguments.args)), settings)


def mistyped(annotation: str, value: Any) -> bool:
    """Whether `value` is not what `annotation` asks for. An annotation outside the small table accepts anything."""
    expected = _TYPES.get(annotation)
    if expected is None:
        return False
    if isinstance(value, bool) and expected is not bool:
        return True
    if not isinstance(value, expected):
        return True
    inner = {"list[int]": int, "list[str]": str}.get(annotation)
    if inner is None:
        return False
    return any(isinstance(v, bool) or not isinstance(v, inner) for v in list(value))


def with_defaults(kind: str, name: str, settings: dict[str, Any]) -> dict[str, Any]:
    """The settings with every default written out, in the order of the signature."""
    known = signature(kind, name).settings
    return {key: settings.get(key, setting.default) for key, setting in known.items()}


def get(kind: str, name: str) -> Callable[..., Any]:
    """Import a component and return its function."""
    module = importlib.import_module(module_name(kind, name))
    function: Callable[..., Any] = getattr(module, name)
    return function
