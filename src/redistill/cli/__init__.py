"""`redistill ...`: thin, one function a command. What is imported is imported when its command runs."""

import sys
from importlib import import_module

from redistill.cli.application import app
from redistill.errors import ConfigError, RedistillError
from redistill.exits import Exit
from redistill.interruption import Interrupted

__all__ = ["app", "main"]

for group in ("studies", "surroundings", "picturing", "making", "auditing", "asking", "claims", "sharing", "exporting"):
    import_module(f"redistill.cli.{group}")


def main() -> None:
    """Run the command line; a mistake that the user can mend is a sentence, never a traceback."""
    try:
        app()
    except ConfigError as error:
        print(f"{error}\nNothing was started.", file=sys.stderr)
        sys.exit(Exit.REFUSED)
    except Interrupted as error:
        print(f"redistill: {error}", file=sys.stderr)
        sys.exit(Exit.STOPPED)
    except RedistillError as error:
        print(f"redistill: {error}", file=sys.stderr)
        sys.exit(Exit.WRONG)
