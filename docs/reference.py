"""Write the tables of docs/config.md from the schema, the components and the metrics; `--check` only compares."""

import ast
import json
import re
import sys
import types
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from redistill import registry
from redistill.config import schema
from redistill.evaluation.metrics import METRICS

PAGE = Path(__file__).with_name("config.md")
BLOCK = re.compile(r"(<!-- reference: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)
WORDS = {"str": "text", "int": "integer", "float": "number", "bool": "`true` or `false`", "Any": "any value"}
NAMED = {schema.Name: "name", schema.Digest: "SHA-256", schema.Seed: "seed", schema.Split: "split"}


def reference(page: str) -> str:
    """The page with each block between markers written anew."""
    return BLOCK.sub(lambda match: f"{match[1]}\n{_block(match[2])}\n\n{match[3]}", page)


def _block(name: str) -> str:
    if name in registry.PACKAGES:
        return _table(("name", "is given", "settings", "what"), _components(name))
    if name == "metric":
        return _table(("name", "for", "what"), ((f"`{n}`", kind, _first(f)) for n, (kind, f) in METRICS.items()))
    model: type[BaseModel] = getattr(schema, name)
    said = f"{(model.__doc__ or '').strip()}\n\n"
    return said + _table(("key", "type", "default", "what"), _fields(model))


def _fields(model: type[BaseModel]) -> Iterator[tuple[str, ...]]:
    hints = typing.get_type_hints(model, include_extras=True)
    for key, field in model.model_fields.items():
        default = "required" if field.default is PydanticUndefined else _default(field.default)
        yield f"`{key}`", _type(hints[key]), default, field.description or "Which kind it is"


def _default(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, BaseModel):
        return "its defaults"
    return f"`{value if isinstance(value, str) and value else json.dumps(value)}`"


def _type(hint: Any) -> str:
    """A type in words; a model of the schema by its name."""
    for named, word in NAMED.items():
        if hint == named:
            return word
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Annotated:
        bounds = [f"{sign} {bound}" for m in arguments[1:] for sign, bound in _bounds(m)]
        return " ".join([_type(arguments[0]), ", ".join(bounds)]).strip()
    if origin is typing.Literal:
        return " or ".join(f"`{value}`" for value in arguments)
    if origin in (typing.Union, types.UnionType):
        return " or ".join(_type(a) for a in arguments if a is not type(None))
    if origin is list:
        return f"list of {_plural(_type(arguments[0]))}"
    if origin is dict:
        return f"{_type(arguments[0])} to {_type(arguments[1])}"
    return WORDS.get(hint.__name__, f"[{hint.__name__}](#{hint.__name__.lower()})")


def _plural(words: str) -> str:
    return (
        words if words.startswith("[") else re.sub(r"^\w+", lambda m: "text" if m[0] == "text" else f"{m[0]}s", words)
    )


def _bounds(metadata: Any) -> Iterator[tuple[str, Any]]:
    for part in (metadata, *getattr(metadata, "metadata", ())):
        yield from ((s, b) for s, n in ((">", "gt"), (">=", "ge"), ("<", "lt"), ("<=", "le"))
                    if (b := getattr(part, n, None)) is not None)  # fmt: skip


def _components(kind: str) -> Iterator[tuple[str, ...]]:
    for name in registry.names(kind):
        signature = registry.signature(kind, name)
        settings = [
            f"`{key}`: {s.annotation}, {'required' if s.required else _default(s.default)}"
            for key, s in signature.settings.items()
        ]
        file = Path(registry.__file__).parent.joinpath(*registry.module_name(kind, name).split(".")[1:])
        module = ast.parse(file.with_suffix(".py").read_text(encoding="utf-8"))
        what = (ast.get_docstring(module) or "").split("\n\n")[0]
        yield f"`{name}`", ", ".join(f"`{i}`" for i in signature.inputs), "; ".join(settings) or "none", what


def _first(function: Any) -> str:
    return re.split(r"\.(?:\s+[A-Z]|$)", str(function.__doc__).strip())[0]


def _table(headings: tuple[str, ...], rows: typing.Iterable[tuple[str, ...]]) -> str:
    lines = [headings, ("---",) * len(headings), *rows]
    return "\n".join(f"| {' | '.join(' '.join(cell.split()) for cell in line)} |" for line in lines)


def main() -> None:
    before = PAGE.read_text(encoding="utf-8")
    after = reference(before)
    if "--check" not in sys.argv[1:]:
        PAGE.write_text(after, encoding="utf-8")
    elif after != before:
        sys.exit("docs/config.md is not what the code says; run `.venv/bin/python docs/reference.py`")


if __name__ == "__main__":
    main()
