"""How a command ends: the exit codes of `redistill`, for scripts. docs/cli.md has them as a table."""

from enum import IntEnum

from redistill import interruption


class Exit(IntEnum):
    """What a command's end means. Each has what a script may conclude from it."""

    RIGHT = 0, "done, and nothing wrong was found"
    WRONG = 1, "it failed, or what was asked about is not right: a job, an audit, a verdict, stale results"
    REFUSED = 2, "the command line or a configuration has a mistake; nothing was started"
    NOT_CHECKED = 3, "`audit` found nothing wrong, and could not check all of it"
    STOPPED = interruption.EXIT, "asked to stop (SIGTERM); what was done is kept, and the same command goes on"
    ABORTED = 130, "Ctrl-C; what was done is kept, and the same command goes on"

    meaning: str

    def __new__(cls, code: int, meaning: str) -> "Exit":
        member = int.__new__(cls, code)
        member._value_, member.meaning = code, meaning
        return member
