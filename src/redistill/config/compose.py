"""Find configuration files by name, merge what they extend, and validate them with the place of every mistake."""

import copy
import json
import re
from dataclasses import replace
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from redistill.config import schema
from redistill.config.parse import MAX_DEPTH, Document, KeyPath, Place, load, parse, paths
from redistill.errors import ConfigError, Problem, RedistillError, nearest

Model = TypeVar("Model", bound=BaseModel)
MAX_PROBLEMS = 100  # that are told of one section; nobody reads more
_INDEX = re.compile(r"[0-9]{1,6}")


def find_root(start: Path | None = None) -> Path:
    """The project folder: the nearest one at or above `start` that has `configs/sources.yaml`."""
    here = (start or Path.cwd()).resolve()
    for folder in (here, *here.parents):
        if (folder / "configs" / "sources.yaml").is_file():
            return folder
    raise RedistillError(f"{here} is not inside a redistill project: no configs/sources.yaml here or above")


def name_of(folder: str, written: str) -> str:
    """A configuration file's name, also where its path is given: `configs/studies/paper.yaml` is `paper`."""
    return written.removeprefix("./").removeprefix(f"configs/{folder}/").removesuffix(".yaml")


def known(root: Path, folder: str) -> list[str]:
    """Names of the configuration files below `configs/<folder>`."""
    base = root / "configs" / folder
    return sorted(str(f.relative_to(base).with_suffix("")) for f in base.rglob("*.yaml"))


def read(root: Path, folder: str, name: str, referrer: Problem | None = None) -> Document:
    """Read `configs/<folder>/<name>.yaml` with all that it extends.

    `referrer` is where the name was written; its message is replaced when the file does not exist.
    """
    configs = (root / "configs").resolve()
    file = configs / folder / f"{name}.yaml"
    if str(PurePosixPath(name)) != name or ".." in PurePosixPath(name).parts or not _is_file(file):
        what = {"studies": "study"}.get(folder, folder.removesuffix("s"))
        message = f"there is no {what} `{name}`; {nearest(name, known(root, folder))}"
        place = referrer or Problem(f"configs/{folder}", 1, 1, "", "")
        raise ConfigError([Problem(place.file, place.line, place.column, place.key, message)])
    return _extended(configs, file, ())


def _is_file(file: Path) -> bool:
    try:
        return file.is_file()
    except (OSError, ValueError):  # a name that no file system takes
        return False


def _extended(configs: Path, file: Path, seen: tuple[Path, ...]) -> Document:
    parsed = load(file, f"configs/{file.relative_to(configs).as_posix()}")
    if not isinstance(parsed.data, dict):
        raise ConfigError([parsed.problem((), "must be a mapping of keys to values")])
    document = Document(dict(parsed.data), parsed.places)
    changes = _popped(document, "set")
    if "extends" in document.data:
        document = merge(_base(configs, file, document, seen), document)
    return document if changes is None else override(document, changes)


def _base(configs: Path, file: Path, document: Document, seen: tuple[Path, ...]) -> Document:
    """What a file extends, taken out of it."""
    base_name = document.data.pop("extends")
    base = below(configs, file.parent / f"{base_name}.yaml") if isinstance(base_name, str) else None
    if base is None or not _is_file(base):
        raise ConfigError([document.problem(("extends",), f"`{base_name}` is no file beside this one, below configs/")])
    if base in (*seen, file.resolve()):
        raise ConfigError([document.problem(("extends",), "goes round in a circle")])
    if len(seen) > MAX_DEPTH:
        raise ConfigError([document.problem(("extends",), f"is the end of a chain of more than {MAX_DEPTH} files")])
    return _extended(configs, base, (*seen, file.resolve()))


def below(folder: Path, file: Path) -> Path | None:
    """Where a file really is, or would be; None if that is not below the folder."""
    try:
        found = file.resolve()
    except (OSError, ValueError, RuntimeError):  # a name that no file system takes, or a link to itself
        return None
    return found if found.is_relative_to(folder) else None


def _popped(document: Document, key: str) -> Document | None:
    """Take a mapping of paths to values out of a document."""
    if key not in document.data:
        return None
    part = document.sub(key)
    del document.data[key]
    if not isinstance(part.data, dict):
        raise ConfigError(
            [part.problem((), f"`{key}` must be a mapping of paths, such as `stages.0.epochs`, to values")]
        )
    return part


def assignments(written: list[str]) -> Document | None:
    """Values by their path, as `--set stages.0.epochs=5` writes them; None if there are none.

    Raises:
        ConfigError: one has no `=`, or its value is no YAML.
    """
    changes = Document({}, {(): Place("--set", 1, 1)})
    for text in written:
        path, equals, value = text.partition("=")
        if not equals or not path:
            raise ConfigError([Problem("--set", 1, 1, text, "must be PATH=VALUE, such as stages.0.epochs=5")])
        parsed = parse(value.encode(), f"--set {path}")
        changes.data[path] = parsed.data
        changes.places.update({(path, *inner): place for inner, place in parsed.places.items()})
    return changes if written else None


def override(document: Document, changes: Document) -> Document:
    """Put each value of `changes` at its path, such as `stages.0.epochs`; `null` removes a key of a mapping.

    Raises:
        ConfigError: a path leads nowhere; says what there is.
    """
    result = Document(copy.deepcopy(document.data), dict(document.places))
    problems: list[Problem] = []
    for path, value in changes.data.items():
        try:
            _put(result, path, value, changes)
        except ConfigError as error:
            problems += error.problems
    if problems:
        raise ConfigError(problems)
    return result


def _put(document: Document, path: str, value: Any, changes: Document) -> None:
    here: KeyPath = ()
    data = document.data
    steps = path.split(".")
    if len(steps) > MAX_DEPTH:
        raise ConfigError([changes.problem((path,), f"has more than {MAX_DEPTH} steps")])
    for last, written in ((i == len(steps) - 1, step) for i, step in enumerate(steps)):
        step = int(written) if isinstance(data, list) and _INDEX.fullmatch(written) else written
        if isinstance(data, list) and not (isinstance(step, int) and step < len(data)):
            known = f"it has {len(data)} entries, counted from 0"
            raise ConfigError(
                [changes.problem((path,), f"there is no `{written}` in `{'.'.join(map(str, here))}`: {known}")]
            )
        if not isinstance(data, list | dict):
            there = ".".join(map(str, here))
            raise ConfigError([changes.problem((path,), f"`{there}` is a plain value: it has no `{written}` in it")])
        here = (*here, step)
        if not last and isinstance(data, dict) and step not in data:
            data[str(step)] = {}
            document.places[here] = changes.place((path,))
        if not last:
            data = data[step]
    before = data.get(str(here[-1])) if isinstance(data, dict) else data[here[-1]]
    for inner in paths(before, here):
        document.places.pop(inner, None)
    if value is None and isinstance(data, dict):
        data.pop(str(here[-1]), None)
        return
    data[here[-1]] = copy.deepcopy(value)
    for inner, place in changes.sub(path).places.items():
        document.places[*here, *inner] = place


def merge(base: Document, over: Document) -> Document:
    """Lay `over` on `base`: mappings are merged key by key, everything else is replaced; `null` removes a key."""
    places = dict(base.places)
    places[()] = over.places[()]

    def lay(below: dict[str, Any], above: dict[str, Any], path: KeyPath) -> dict[str, Any]:
        result = dict(below)
        for key, value in above.items():
            here = (*path, key)
            if value is None:
                result.pop(key, None)
            elif isinstance(value, dict) and isinstance(result.get(key), dict):
                places[here] = over.places[here]
                result[key] = lay(result[key], value, here)
            else:
                for old in paths(result.get(key), here):
                    places.pop(old, None)
                places.update({new: over.places[new] for new in paths(value, here)})
                result[key] = value
        return result

    return Document(lay(base.data, over.data, ()), places)


def validate(model: type[Model], document: Document, prefix: str = "") -> Model:
    """Check a document against its model.

    Raises:
        ConfigError: every mistake at once, each with its file, line and the path of the key.
    """
    try:
        return model.model_validate(document.data)
    except ValidationError as error:
        problems = [_problem(model, document, details) for details in error.errors()[:MAX_PROBLEMS]]
        raise ConfigError([replace(p, key=f"{prefix}.{p.key}".strip(".")) for p in problems]) from None


def _problem(model: type[BaseModel], document: Document, details: ErrorDetails) -> Problem:
    # pydantic puts the tag of a discriminated union into the path, or `[key]`; the file has no such key
    path: KeyPath = ()
    data = document.data
    for step in details["loc"]:
        if path and isinstance(data, dict) and data.get("type") == step:
            continue
        inside = (isinstance(data, dict) and step in data) or (isinstance(data, list) and isinstance(step, int))
        if inside:
            path, data = (*path, step), data[step]  # type: ignore[index]
    problem = document.problem(path, _message(model, details))
    if details["type"] == "missing":
        return replace(problem, key=".".join(map(str, (*path, details["loc"][-1]))))
    return problem


def _message(model: type[BaseModel], details: ErrorDetails) -> str:
    kind, value = details["type"], details.get("input")
    if kind == "extra_forbidden":
        return _unknown(model, details["loc"])
    if kind == "missing":
        return "is missing"
    if kind == "value_error":
        return str(details["ctx"]["error"])
    if kind == "union_tag_not_found":
        return "must be a mapping that says its `type`"
    if kind == "union_tag_invalid":
        return f"`type` must be one of {details['ctx']['expected_tags']}, but it is `{details['ctx']['tag']}`"
    if kind in _WORDS:
        return f"{_WORDS[kind].format(**details.get('ctx', {}))}, but it is {_shown(value)}"
    if kind == "string_type" and isinstance(value, bool | int | float):
        return f"must be text: put `{json.dumps(value)}` in quotes"
    text = details["msg"].removeprefix("Input ")
    return f"{text[0].lower()}{text[1:]}, but it is {_shown(value)}"


def _unknown(model: type[BaseModel], loc: tuple[int | str, ...]) -> str:
    """What is said of a key that the model does not have: in which files it would be one, or the nearest one."""
    key = str(loc[-1])
    kinds: dict[str, type[BaseModel]] = {
        "studies": schema.Study, "experiments": schema.Experiment, "tasks": schema.Task
    }  # fmt: skip
    if len(loc) == 1 and model in kinds.values():
        for folder, other in kinds.items():
            if key in other.model_fields:
                return f"unknown key here; it is one of the files in configs/{folder}"
    return f"unknown key; {nearest(key, _fields_at(model, loc[:-1]))}"


_WORDS = {
    "model_type": "must be a mapping of keys to values",
    "dict_type": "must be a mapping of keys to values",
    "list_type": "must be a list",
    "too_short": "must hold at least {min_length}",
    "too_long": "must hold at most {max_length}",
}


def _shown(value: Any) -> str:
    """A value, or what kind of value it is."""
    if value is None:
        return "empty"
    if isinstance(value, list | dict):
        return f"{'a' if value else 'an empty'} {'list' if isinstance(value, list) else 'mapping'}"
    return f"`{value}`"


@cache
def _json_schema(model: type[BaseModel]) -> dict[str, Any]:
    return model.model_json_schema()


def _fields_at(model: type[BaseModel], loc: tuple[int | str, ...]) -> set[str]:
    """Names of the fields of the model that the path leads to, found in the model's own JSON schema."""
    schema = _json_schema(model)
    definitions = schema.get("$defs", {})

    def resolve(nodes: list[dict[str, Any]]) -> list[dict[str, Any]]:
        found = []
        for node in nodes:
            if "$ref" in node:
                found += resolve([definitions[node["$ref"].rpartition("/")[2]]])
            elif "anyOf" in node or "oneOf" in node:
                found += resolve(node.get("anyOf", []) + node.get("oneOf", []))
            else:
                found.append(node)
        return found

    nodes = resolve([schema])
    for step in loc:
        following = []
        for node in nodes:
            if isinstance(step, int):
                following += [node["items"]] if "items" in node else []
            elif step in node.get("properties", {}):
                following.append(node["properties"][step])
            elif isinstance(node.get("additionalProperties"), dict):
                following.append(node["additionalProperties"])
            elif "patternProperties" in node:
                following += list(node["patternProperties"].values())
        nodes = resolve(following) or nodes
    return {name for node in nodes for name in node.get("properties", {})}
