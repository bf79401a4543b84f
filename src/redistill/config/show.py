"""Show a recipe as it is resolved: every value written out, each with the place that it came from."""

from collections.abc import Iterator
from typing import Any

import yaml
from pydantic import BaseModel

from redistill import registry
from redistill.config import schema
from redistill.config.checked import Recipe
from redistill.config.parse import Document, KeyPath


def show(recipe: Recipe) -> str:
    """The recipe as YAML that can be read again, with `# file:line` or `# default` behind each value."""
    shown = list(_mapping(_fields(recipe.experiment), (), recipe.document))
    width = min(max(len(text) for text, _ in shown), 72)
    return "\n".join(f"{text:<{width}}  # {origin}" if origin else text for text, origin in shown) + "\n"


def _fields(model: BaseModel) -> dict[str, Any]:
    """The keys of a section, a component's settings among them; what is not given and has no default is left out."""
    values = {name: getattr(model, name) for name in type(model).model_fields}
    if isinstance(model, schema.Component):
        values |= registry.with_defaults(model.kind, model.method, model.settings)
    return {name: value for name, value in values.items() if value is not None and name != "per_task"}


def _mapping(values: dict[str, Any], path: KeyPath, document: Document) -> Iterator[tuple[str, str]]:
    for key, value in values.items():
        head = f"{'  ' * len(path)}{_scalar(key)}:"
        yield from _value(head, value, (*path, key), document)


def _value(head: str, value: Any, path: KeyPath, document: Document) -> Iterator[tuple[str, str]]:
    if isinstance(value, BaseModel):
        value = _fields(value)
    if isinstance(value, dict) and value:
        yield head, ""
        yield from _mapping(value, path, document)
    elif isinstance(value, list) and any(isinstance(v, BaseModel | dict) for v in value):
        yield head, ""
        for i, entry in enumerate(value):
            keys = _fields(entry) if isinstance(entry, BaseModel) else entry
            (first, origin), *rest = _mapping(keys, (*path, i), document)
            indent = "  " * (len(path) + 1)
            yield f"{indent[:-2]}- {first.removeprefix(indent)}", origin
            yield from rest
    else:
        yield f"{head} {_scalar(value)}", _origin(path, document)


def _scalar(value: Any) -> str:
    """A plain value, or a list of them, on one line."""
    text = yaml.safe_dump(value, default_flow_style=True, width=10**6, allow_unicode=True)
    return text.removesuffix("\n").removesuffix("\n...").strip()


def _origin(path: KeyPath, document: Document) -> str:
    if path in document.places:
        place = document.places[path]
        return f"{place.file}:{place.line}"
    return "default"
