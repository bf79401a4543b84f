"""docs/defaults.yaml: every key of an experiment and of a study, every component's settings, with their defaults."""

import json
import re
import textwrap
import typing
from collections.abc import Callable, Iterator
from typing import Any

from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from redistill import registry
from redistill.config import schema

HEAD = """\
# Every key of an experiment and of a study with its default, and every component with those of its settings; written by
# docs/reference.py. This is no recipe: keys that exclude each other stand side by side. A value that is empty is
# required, or is none unless it is given; a section whose default is none is shown with the defaults that its keys have
# once it is given.
"""
Words = Callable[[Any], str]


def defaults(in_words: Words) -> str:
    """The file, with types in the words of `in_words`."""
    lines = [*HEAD.splitlines(), "", "experiment:", *_keys(schema.Experiment, "  ", in_words)]
    lines += ["", "study:", *_keys(schema.Study, "  ", in_words), "", "components:", *_components()]
    return "\n".join(lines) + "\n"


def _keys(model: type[BaseModel], indent: str, in_words: Words) -> Iterator[str]:
    hints = typing.get_type_hints(model, include_extras=True)
    for key, field in model.model_fields.items():
        default = None if field.default is PydanticUndefined else field.default
        sections = list(_sections(hints[key]))
        what = _plain(in_words(hints[key]))
        said = "required" if field.default is PydanticUndefined else "default: none" if default is None else ""
        yield from _comment(f"{field.description or 'Which kind it is'} ({what}{'; ' if said else ''}{said})", indent)
        if not sections:
            yield f"{indent}{key}: {_value(default)}".rstrip()
            continue
        yield f"{indent}{key}:"
        for section in sections[:1]:
            yield from _nested(section, hints[key], f"{indent}  ", in_words)


def _nested(section: type[BaseModel], hint: Any, indent: str, in_words: Words) -> Iterator[str]:
    """A section's keys: as they are, below a name, or as the one entry of a list."""
    shape = _shape(hint)
    if shape is dict:
        yield f"{indent}name:"
        yield from _keys(section, f"{indent}  ", in_words)
    elif shape is list:
        lines = list(_keys(section, f"{indent}  ", in_words))
        first = next(i for i, line in enumerate(lines) if not line.lstrip().startswith("#"))
        yield from (line[2:] for line in lines[:first])
        yield f"{indent}- {lines[first].lstrip()}"
        yield from lines[first + 1 :]
    else:
        yield from _keys(section, indent, in_words)


def _sections(hint: Any) -> Iterator[type[BaseModel]]:
    """The models within a type."""
    if isinstance(hint, type) and issubclass(hint, BaseModel):
        yield hint
    for argument in typing.get_args(hint):
        yield from _sections(argument)


def _shape(hint: Any) -> type | None:
    """Whether the models within a type are in a mapping, in a list, or neither."""
    origin = typing.get_origin(hint)
    if origin in (dict, list):
        return origin if list(_sections(hint)) else None
    return next((found for argument in typing.get_args(hint) if (found := _shape(argument))), None)


def _components() -> Iterator[str]:
    for kind in registry.PACKAGES:
        yield f"  {kind}:"
        for name in registry.names(kind):
            settings = registry.signature(kind, name).settings
            if registry.plugin(kind, name) is None:
                yield f"    {name}:{'' if settings else ' {}'}"
                for key, setting in settings.items():
                    value = f"      {key}: {_value(setting.default)}".rstrip()
                    yield f"{value}  # required" if setting.required else value


def _plain(words: str) -> str:
    """Words without links and code."""
    return re.sub(r"\[(\w+)\]\(#\w+\)", r"\1", words).replace("`", "")


def _comment(text: str, indent: str) -> list[str]:
    return textwrap.wrap(text, 118, initial_indent=f"{indent}# ", subsequent_indent=f"{indent}# ")


def _value(value: Any) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) and value else json.dumps(value)
