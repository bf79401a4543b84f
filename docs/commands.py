"""The pages of the command line, docs/commands.md and the exit codes of docs/cli.md, from the commands themselves."""

import textwrap
from collections.abc import Iterator
from typing import Any

import typer

from redistill.cli import app
from redistill.cli.overview import GROUPS, grouped
from redistill.exits import Exit

INTRODUCTION = """# Commands

Written by `docs/reference.py` from the commands themselves; `redistill COMMAND --help` says the same. [cli.md](cli.md)
says what holds for all of them: exit codes, `--quiet`, `--json`, completion.
"""


def page() -> str:
    """docs/commands.md."""
    group: Any = typer.main.get_command(app)
    parts = [INTRODUCTION]
    for name, commands in grouped(group).items():
        parts.append(f"## {name if name in GROUPS else 'More'}\n")
        parts += ["\n".join(_command(one, group.commands[one])) for one in commands]
    return "\n".join(parts)


def exits() -> Iterator[tuple[str, str]]:
    """Code and meaning of each exit code."""
    for code in Exit:
        yield str(int(code)), code.meaning


def answers() -> str:
    """The commands that answer as JSON, for docs/cli.md."""
    group: Any = typer.main.get_command(app)
    asked = sorted(name for name, one in group.commands.items() if any("--json" in p.opts for p in one.params))
    return textwrap.fill(", ".join(f"`{name}`" for name in asked), 120) + "."


def _command(name: str, command: Any) -> Iterator[str]:
    arguments = [p for p in command.params if p.param_type_name == "argument"]
    usage = " ".join([f"redistill {name}", *map(_usage, arguments), "[OPTIONS]"])
    yield f"### {name}\n"
    yield f"{' '.join((command.help or '').split())}\n"
    yield f"```\n{usage}\n```\n"
    said = [p for p in command.params if not getattr(p, "hidden", False) and p.name != "help"]
    if said:
        yield "| given | what | default |\n| --- | --- | --- |"
        for one in said:
            yield f"| {_given(one)} | {_text(one.help or '')} | {_default(one)} |"
    yield ""


def _usage(argument: Any) -> str:
    word = (argument.metavar or argument.name).upper()
    word = f"{word}..." if argument.nargs == -1 else word
    return word if argument.required else f"[{word}]"


def _given(one: Any) -> str:
    if one.param_type_name == "argument":
        return f"`{(one.metavar or one.name).upper()}`"
    return ", ".join(f"`{option}`" for option in one.opts)


def _default(one: Any) -> str:
    if one.required:
        return "required"
    if one.default in (None, False, (), []):
        return ""
    return f"`{one.default}`"


def _text(text: str) -> str:
    return " ".join(text.replace("|", "\\|").split())
