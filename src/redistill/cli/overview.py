"""What `redistill --help` says: one screen, by what one wants to do; and the options that all commands have.

A command stands in the group that its `rich_help_panel` names. The ones below have a line of their own, all others are
named after them, so a new command is shown without being added here.
"""

from typing import Any

from rich.console import Console, Group
from rich.padding import Padding
from rich.table import Table
from rich.text import Text
from typer.core import TyperGroup

STUDY, RUN, LOOK, AUDIT, SHARE = "Study", "Run", "Look", "Audit", "Share"
GROUPS = (STUDY, RUN, LOOK, AUDIT, SHARE)
WIDEST = 100  # columns
QUIETLY = ("--quiet", "-q")
LINES = {
    "new": "write a study on your own data",
    "check": "read a study and all that it names; every mistake at once",
    "plan": "what is there, what is to be made and why, what it costs",
    "run": "train an experiment, with values changed if wanted",
    "table": "make one table, with all that it needs",
    "status": "how far a study is, what failed and why; --watch",
    "report": "a study as one page that opens anywhere",
    "why": "the chain behind a number, down to data and code",
    "audit": "is it true? links, digests, what comes out once more",
    "stale": "what today's configs and code would no longer give",
    "verdict": "was each published number reproduced",
    "predict": "what a finished run says of your texts or pictures",
    "export": "a finished run as a folder, with a model card",
    "push": "the store to DVC's remote; `pull` brings it back",
}
OPTIONS = (
    ("-q, --quiet", "no progress: only the answer, and what is wrong"),
    ("--json", "the answer as JSON, of commands that answer something"),
    ("--help", "of a command: all about it; also --version"),
)


class Commands(TyperGroup):
    """All commands: shown in one screen. `--quiet` may stand anywhere, as it concerns them all."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        end = args.index("--") if "--" in args else len(args)
        quiet = any(one in QUIETLY for one in args[:end])
        rest = [*(one for one in args[:end] if one not in QUIETLY), *args[end:]]
        parsed: list[str] = super().parse_args(ctx, [*([QUIETLY[0]] if quiet else []), *rest])
        return parsed

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Print the screen; the formatter gets nothing."""
        console = Console(highlight=False, markup=False, soft_wrap=False)
        console.width = min(console.width, WIDEST)
        console.print(Padding(_screen(self, ctx), (0, 1)))


def _screen(group: Commands, ctx: Any) -> Group:
    """Usage, the groups with their commands, and the options."""
    lines = [Text(ctx.command.get_usage(ctx), style="bold"), Text(group.help or ""), Text("")]
    commands = _grid()
    for name, names in grouped(group).items():
        said = [(one, LINES[one], "cyan") for one in LINES if one in names]
        others = ", ".join(sorted(one for one in names if one not in LINES))
        for i, (command, text, style) in enumerate([*said, *([("also", others, "")] if others else [])]):
            commands.add_row(Text("" if i else name, style="bold"), Text(command, style=style), text)
    options = _grid()
    for i, (option, text) in enumerate(OPTIONS):
        options.add_row(Text("" if i else "Options", style="bold"), Text(option, style="cyan"), text)
    return Group(*lines, commands, options)


def _grid() -> Table:
    return Table.grid(padding=(0, 2, 0, 0))


def grouped(group: Commands) -> dict[str, list[str]]:
    """Names of the commands by group: the known groups first, in their order."""
    found: dict[str, list[str]] = {name: [] for name in GROUPS}
    for name, command in group.commands.items():
        if not command.hidden:
            found.setdefault(str(getattr(command, "rich_help_panel", None) or "More"), []).append(name)
    return {name: commands for name, commands in found.items() if commands}
