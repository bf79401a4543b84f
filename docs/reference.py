"""Write what follows from the schema, the components and the metrics; `--check` only compares.

docs/config.md and docs/cli.md between their markers, docs/defaults.yaml, docs/methods.md, docs/commands.md, and
configs/schema/*.json for editors.
"""

import ast
import json
import re
import sys
import types
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import commands
from defaults import defaults
from methods import page
from pydantic import BaseModel
from pydantic_core import PydanticUndefined
from schemas import schemas

from redistill import registry
from redistill.catalogue import setting_in_words
from redistill.config import schema
from redistill.evaluation.metrics import METRICS

ROOT = Path(__file__).parents[1]
BLOCK = re.compile(r"(<!-- reference: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)
WORDS = {"str": "text", "int": "integer", "float": "number", "bool": "`true` or `false`", "Any": "any value"}
NAMED = {
    schema.Name: "name", schema.Word: "word", schema.Digest: "SHA-256", schema.Seed: "seed", schema.Split: "split"
}  # fmt: skip
HEADINGS = {kind: {"loss": "losses", "module": "auxiliary-modules"}.get(kind, f"{kind}s") for kind in registry.PACKAGES}


def files() -> dict[Path, str]:
    """Every file that is written, with what belongs into it."""
    written = {
        page: BLOCK.sub(lambda m: f"{m[1]}\n{_block(m[2])}\n\n{m[3]}", page.read_text(encoding="utf-8"))
        for page in (ROOT / "docs" / "config.md", ROOT / "docs" / "cli.md")
    }
    written |= {
        ROOT / "docs" / "defaults.yaml": defaults(in_words),
        ROOT / "docs" / "methods.md": page(),
        ROOT / "docs" / "commands.md": commands.page(),
    }
    for name, value in schemas().items():
        text = json.dumps(value, indent=1, ensure_ascii=False) + "\n"
        written[ROOT / "configs" / "schema" / f"{name}.schema.json"] = text
    return written


def _block(name: str) -> str:
    if name == "exits":
        return _table(("code", "meaning"), commands.exits())
    if name == "answers":
        return commands.answers()
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
        yield f"`{key}`", in_words(hints[key]), default, field.description or "Which kind it is"
    if issubclass(model, schema.Component):
        yield "...", "", "", f"The settings of the component: see the [{HEADINGS[model.kind]}](#{HEADINGS[model.kind]})"


def _default(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, BaseModel):
        return "its defaults"
    return f"`{value if isinstance(value, str) and value else json.dumps(value)}`"


def in_words(hint: Any) -> str:
    """A type in words; a model of the schema by its name."""
    for named, word in NAMED.items():
        if hint == named:
            return word
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Annotated:
        bounds = [f"{sign} {bound}" for m in arguments[1:] for sign, bound in _bounds(m)]
        return " ".join([in_words(arguments[0]), ", ".join(bounds)]).strip()
    if origin is typing.Literal:
        return " or ".join(f"`{value}`" for value in arguments)
    if origin in (typing.Union, types.UnionType):
        return " or ".join(in_words(a) for a in arguments if a is not type(None))
    if origin is list:
        return f"list of {_plural(in_words(arguments[0]))}"
    if origin is dict:
        return f"{in_words(arguments[0])} to {in_words(arguments[1])}"
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
        if registry.plugin(kind, name) is not None:  # installed on this machine only
            continue
        signature = registry.signature(kind, name)
        settings = [f"`{key}`: {setting_in_words(setting, '`')}" for key, setting in signature.settings.items()]
        module = ast.parse(registry.source_file(kind, name).read_text(encoding="utf-8"))
        what = (ast.get_docstring(module) or "").split("\n\n")[0]
        yield f"`{name}`", ", ".join(f"`{i}`" for i in signature.inputs), "; ".join(settings) or "none", what


def _first(function: Any) -> str:
    return re.split(r"\.(?:\s+[A-Z]|$)", str(function.__doc__).strip())[0]


def _table(headings: tuple[str, ...], rows: typing.Iterable[tuple[str, ...]]) -> str:
    lines = [headings, ("---",) * len(headings), *rows]
    return "\n".join(f"| {' | '.join(' '.join(cell.split()) for cell in line)} |" for line in lines)


def main() -> None:
    for file, text in files().items():
        before = file.read_text(encoding="utf-8") if file.is_file() else ""
        if "--check" in sys.argv[1:] and before != text:
            name = file.relative_to(ROOT)
            sys.exit(f"{name} is not what the code says; run `.venv/bin/python docs/reference.py`")
        if before != text:
            file.parent.mkdir(exist_ok=True)
            file.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
