"""Components by name: a component called `kd` of kind `loss` is the function `kd` in `redistill/distill/kd.py`.

A new component is a new file; nothing central changes. Signatures are read from the syntax tree, so that a study is
checked, and its keys are computed, without importing torch. Positional parameters are what the component is given by
the engine; keyword-only parameters are its settings in a config. An annotation such as `Annotated[float, Gt(0)]` or
`Literal["a", "b"]` bounds a setting.

Components from outside are an installed package's entry points (group `redistill.loss`, say), or files that a study
names with their digests. Their syntax is read by anyone; they are imported only with the user's word.
"""

import ast
import hashlib
import importlib
import importlib.util
import json
import operator
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import cache
from importlib.machinery import PathFinder
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, TypeAlias

from redistill.errors import RedistillError

PACKAGES = {
    "loss": "redistill.distill",
    "architecture": "redistill.models.architectures",
    "module": "redistill.models.auxiliary",
    "optimiser": "redistill.training.optimisers",
    "schedule": "redistill.training.schedules",
    "baseline": "redistill.models.baselines",
    "reader": "redistill.data.readers",
    "transform": "redistill.data.transforms",
}
Architecture: TypeAlias = dict[str, Any]  # a setting that is an architecture: its `method`, and settings beside it
NESTED = {"Architecture": "architecture"}  # annotations of settings that are components themselves, and of which kind
BUILDER = "build_own"  # of a loss: makes what it learns or remembers
OVER = "OVER"  # of a loss: what it is a mean over, see `Signature.over`
MEANS = ("batch", "examples", "labels", "tokens")
TRUST = "REDISTILL_TRUST_PLUGINS"  # set for the processes of a command that was given --trust-plugins
_ROOT = Path(__file__).parent
_TYPES: dict[str, Any] = {
    "float": (int, float),
    "int": int,
    "bool": bool,
    "str": str,
    "dict": dict,
    "list[int]": list,
    "list[float]": list,
    "list[str]": list,
}
_INNER: dict[str, Any] = {"list[int]": int, "list[float]": (int, float), "list[str]": str}
_BOUNDS = {"Gt": ("larger than", operator.gt), "Ge": ("at least", operator.ge),
           "Lt": ("smaller than", operator.lt), "Le": ("at most", operator.le)}  # fmt: skip


@dataclass(frozen=True)
class Setting:
    """One keyword-only parameter: its type as written, its bounds, whether it must be given."""

    annotation: str
    required: bool
    default: Any = None
    bounds: tuple[tuple[str, float], ...] = ()
    choices: tuple[Any, ...] = ()


@dataclass(frozen=True)
class Signature:
    """What a component is given (`inputs`, annotated as in `shapes`) and what a config may set (`settings`).

    Of the settings, some are of the function, and some of `build_own`, which makes the module that the function is
    given as `own`; None where there is no such function.

    `over` is what a loss is a mean over, and so how several devices compute it together: its `examples`, those of them
    that have `labels`, or their `tokens`, so that each device computes its part; or the `batch`, as is taken for
    granted of a file that does not say `OVER`, so that each is given the whole.
    """

    inputs: tuple[str, ...]
    settings: dict[str, Setting]
    shapes: dict[str, str] = field(default_factory=dict)
    called_with: tuple[str, ...] = ()
    built_with: tuple[str, ...] | None = None
    over: str = MEANS[0]


@dataclass(frozen=True)
class Plugin:
    """A component from outside: where its code is, and the digest that it must have."""

    kind: str
    name: str
    file: Path
    sha256: str


_from_study: dict[tuple[str, str], Plugin] = {}


def use(plugins: Iterable[Plugin]) -> None:
    """Know these plugins, and no others, beside what is installed: the files that a study names.

    Raises:
        RedistillError: a name is taken, a file has another digest, or does not hold the function of its name.
    """
    _from_study.clear()
    for plugin in plugins:
        what = f"{plugin.kind} `{plugin.name}`"
        if plugin.name in names(plugin.kind):
            raise RedistillError(f"there is a {what} already: give the plugin's file and function another name")
        found = digest(plugin.file)
        if found != plugin.sha256:
            raise RedistillError(f"{plugin.file}: SHA-256 is {found}, the study says {plugin.sha256}")
        if _function(plugin.file, plugin.name, found) is None:
            raise RedistillError(f"{plugin.file}: defines no function `{plugin.name}`")
        _signature(plugin.file, plugin.name, found)
        _from_study[plugin.kind, plugin.name] = plugin


def plugin(kind: str, name: str) -> Plugin | None:
    """The plugin behind a name; None for a component of the package itself."""
    return _from_study.get((kind, name)) or (None if name in _own(kind) else _installed().get((kind, name)))


def digest(file: Path) -> str:
    """SHA-256 of a plugin's file.

    Raises:
        RedistillError: it cannot be read.
    """
    try:
        return hashlib.sha256(file.read_bytes()).hexdigest()
    except OSError as error:
        raise RedistillError(f"{file}: cannot be read: {error.strerror}") from None


@cache
def _installed() -> dict[tuple[str, str], Plugin]:
    """Components that installed packages declare, found without importing them."""
    found = {}
    for kind in PACKAGES:
        for entry in entry_points(group=f"redistill.{kind}"):
            file = _source_of(entry.module)
            if file is not None and _function(file, entry.name) is not None:
                found[kind, entry.name] = Plugin(kind, entry.name, file, digest(file))
    return found


def _source_of(module: str) -> Path | None:
    spec, path = None, None
    parts = module.split(".")
    for depth in range(len(parts)):
        spec = PathFinder.find_spec(".".join(parts[: depth + 1]), path)
        if spec is None:
            return None
        path = list(spec.submodule_search_locations or [])
    return Path(spec.origin) if spec is not None and spec.origin else None


def module_name(kind: str, name: str) -> str:
    return f"{PACKAGES[kind]}.{name}"


def source_file(kind: str, name: str) -> Path:
    """The file that defines a component."""
    outside = plugin(kind, name)
    return outside.file if outside else _folder(kind) / f"{name}.py"


@cache
def _folder(kind: str) -> Path:
    return _ROOT.joinpath(*PACKAGES[kind].split(".")[1:])


@cache
def _own(kind: str) -> tuple[str, ...]:
    files = sorted(_folder(kind).glob("[a-z]*.py"))
    return tuple(file.stem for file in files if _function(file, file.stem) is not None)


def names(kind: str) -> tuple[str, ...]:
    """The components of a kind: the modules that define a function of their own name, and those from outside."""
    outside = {name for k, name in (*_installed(), *_from_study) if k == kind}
    return tuple(sorted({*_own(kind), *outside}))


@cache
def _tree(file: Path, sha256: str = "") -> ast.Module:
    """The syntax of a file, empty where there is none that can be read."""
    try:
        return ast.parse(file.read_text(encoding="utf-8"))
    except (OSError, SyntaxError, ValueError, RecursionError, MemoryError):
        return ast.Module([], [])


@cache
def _function(file: Path, name: str, sha256: str = "") -> ast.FunctionDef | None:
    """The syntax of a function; `sha256` tells a plugin's file from what stood there before."""
    functions = [node for node in _tree(file, sha256).body if isinstance(node, ast.FunctionDef) and node.name == name]
    return functions[0] if functions else None


def _over(file: Path, sha256: str) -> str:
    """What a loss says that it is a mean over; what is no plain text is no such word."""
    for node in _tree(file, sha256).body:
        if isinstance(node, ast.Assign) and any(isinstance(t, ast.Name) and t.id == OVER for t in node.targets):
            return str(node.value.value) if isinstance(node.value, ast.Constant) else ast.unparse(node.value)
    return MEANS[0]


def signature(kind: str, name: str) -> Signature:
    """Read a component's signature without importing it. `name` must be one of `names(kind)`.

    Raises:
        RedistillError: a default or a bound is no plain value.
    """
    outside = plugin(kind, name)
    return _signature(source_file(kind, name), name, outside.sha256 if outside else "")


@cache
def _signature(file: Path, name: str, sha256: str) -> Signature:
    function = _function(file, name, sha256)
    if function is None:
        raise KeyError(f"no component called {name}")
    builder = _function(file, BUILDER, sha256)
    try:
        called, built = _settings(function), _settings(builder) if builder else None
    except (AssertionError, LookupError, TypeError, ValueError, RecursionError, MemoryError):
        advice = "is read, not run: write its defaults and bounds as plain values"
        raise RedistillError(f"{file}: the signature of `{name}` {advice}") from None
    for setting in called.keys() & (built or {}).keys():
        if called[setting] != (built or {})[setting]:
            raise RedistillError(f"{file}: `{setting}` of `{name}` and of `{BUILDER}` differ: one setting, one default")
    over = _over(file, sha256)
    if over not in MEANS:
        raise RedistillError(f"{file}: `{OVER}` must be one of {', '.join(map(repr, MEANS))}")
    inputs = [*function.args.posonlyargs, *function.args.args]
    shapes = {argument.arg: ast.unparse(argument.annotation) for argument in inputs if argument.annotation}
    return Signature(tuple(argument.arg for argument in inputs), called | (built or {}), shapes,
                     tuple(called), None if built is None else tuple(built), over)  # fmt: skip


def _settings(function: ast.FunctionDef) -> dict[str, Setting]:
    arguments = function.args
    return {
        argument.arg: _setting(argument.annotation, default)
        for argument, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)
    }


def _setting(annotation: ast.expr | None, default: ast.expr | None) -> Setting:
    bounds: list[tuple[str, float]] = []
    choices: tuple[Any, ...] = ()
    if isinstance(annotation, ast.BinOp) and isinstance(annotation.op, ast.BitOr):  # X | None
        annotation = annotation.left
    if isinstance(annotation, ast.Subscript) and ast.unparse(annotation.value) == "Annotated":
        assert isinstance(annotation.slice, ast.Tuple)
        inner, *constraints = annotation.slice.elts
        for call in constraints:
            assert isinstance(call, ast.Call)
            bounds.append((ast.unparse(call.func), ast.literal_eval(call.args[0])))
            assert bounds[-1][0] in _BOUNDS
            assert isinstance(bounds[-1][1], int | float)
        annotation = inner
    if isinstance(annotation, ast.Subscript) and ast.unparse(annotation.value) == "Literal":
        values = annotation.slice.elts if isinstance(annotation.slice, ast.Tuple) else [annotation.slice]
        choices = tuple(ast.literal_eval(value) for value in values)
    written = ast.unparse(annotation) if annotation else "str"
    value = ast.literal_eval(default) if default is not None else None
    json.dumps([value, choices], allow_nan=False)  # what a key is made of
    return Setting(written, default is None, value, tuple(bounds), choices)


def mistake(setting: Setting, value: Any) -> str | None:
    """What is wrong with a value for a setting; None if nothing. An annotation outside the table takes anything."""
    if value is None and setting.default is None and not setting.required:
        return None
    if setting.choices:
        among = any(type(value) is type(choice) and value == choice for choice in setting.choices)
        return None if among else f"must be one of {', '.join(map(repr, setting.choices))}"
    if setting.annotation in NESTED:
        named = isinstance(value, dict) and isinstance(value.get("method"), str)
        return None if named else "must be a mapping with a `method`, and the settings of that beside it"
    expected = _TYPES.get(setting.annotation)
    if expected is None:
        return None
    inner = _INNER.get(setting.annotation)
    if not _is(value, expected) or not all(_is(v, inner) for v in (value if inner else [])):
        return f"must be {setting.annotation}"
    for bound, limit in setting.bounds:
        words, holds = _BOUNDS[bound]
        if not all(holds(v, limit) for v in (value if inner else [value])):
            return f"must be {words} {limit}"
    return None


def _is(value: Any, expected: Any) -> bool:
    return isinstance(value, expected) and (expected is bool or not isinstance(value, bool))


def with_defaults(kind: str, name: str, settings: dict[str, Any]) -> dict[str, Any]:
    """The settings with every default written out, in the order of the signature; numbers as their type has them."""
    known = signature(kind, name).settings
    return {key: _exact(setting, settings.get(key, setting.default)) for key, setting in known.items()}


def _exact(setting: Setting, value: Any) -> Any:
    """2 and 2.0 are one value where a number is wanted, and give one key."""
    if setting.annotation == "float" and value is not None:
        return float(value)
    if setting.annotation in NESTED and value is not None:
        return {"method": value["method"], **with_defaults(NESTED[setting.annotation], *apart(value))}
    return [float(v) for v in value] if setting.annotation == "list[float]" and value is not None else value


def apart(said: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """The method and the settings of a component whose settings stand beside its `method`."""
    return said["method"], {key: value for key, value in said.items() if key != "method"}


def all_of(kind: str, name: str, settings: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Kind and name of a component, and of the components that its settings are."""
    yield kind, name
    for key, setting in signature(kind, name).settings.items():
        if setting.annotation in NESTED and settings.get(key) is not None:
            yield from all_of(NESTED[setting.annotation], *apart(settings[key]))


def get(kind: str, name: str) -> Callable[..., Any]:
    """Import a component and return its function.

    Raises:
        RedistillError: it comes from outside and the user has not said that it may be imported, or it cannot be.
    """
    function: Callable[..., Any] = getattr(_module(kind, name), name)
    return function


def builder(name: str) -> Callable[..., Any]:
    """What makes the module that a loss learns or remembers with; see `Signature.built_with`."""
    function: Callable[..., Any] = getattr(_module("loss", name), BUILDER)
    return function


def _module(kind: str, name: str) -> Any:
    outside = plugin(kind, name)
    return importlib.import_module(module_name(kind, name)) if outside is None else _imported(outside)


def _imported(outside: Plugin) -> Any:
    what = f"{outside.kind} `{outside.name}` ({outside.file})"
    if not os.environ.get(TRUST):
        raise RedistillError(
            f"{what} is code from outside: read it, and say --trust-plugins "
            "(with Snakemake, --config trust_plugins=true)"
        )
    if digest(outside.file) != outside.sha256:
        raise RedistillError(f"{what} has changed since the study was planned")
    spec = importlib.util.spec_from_file_location(f"redistill_plugin_{outside.name}", outside.file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise RedistillError(f"{what} cannot be imported: {error.__class__.__name__}: {error}") from error
    return module
