"""`redistill ...`: thin, one function a command. What is imported is imported when its command runs."""

import sys
from importlib import import_module

from redistill.cli.application import app
from redistill.errors import ConfigError, RedistillError
from redistill.interruption import EXIT, Interrupted

__all__ = ["app", "main"]

# as --help shows them
GROUPS = ("studies", "surroundings", "picturing", "reporting", "making", "auditing", "asking", "claims", "sharing",
          "exporting")  # fmt: skip
for group in GROUPS:
    import_module(f"redistill.cli.{group}")


def main() -> None:
    """Run the command line; a mistake that the user can mend is a sentence, never a traceback."""
    try:
        app()
    except ConfigError as error:
        print(f"{error}\nNothing was started.", file=sys.stderr)
        sys.exit(2)
    except Interrupted as error:
        print(f"redistill: {error}", file=sys.stderr)
        sys.exit(EXIT)
    except RedistillError as error:
        print(f"redistill: {error}", file=sys.stderr)
        sys.exit(1)
