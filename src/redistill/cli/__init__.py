"""`redistill ...`: thin, one function a command. What is imported is imported when its command runs."""

import sys
from importlib import import_module

from redistill.cli.application import app
from redistill.errors import ConfigError, RedistillError
from redistill.exits import Exit
from redistill.failures import explained
from redistill.interruption import Interrupted
from redistill.provenance import lease

__all__ = ["app", "main"]

for group in ("studies", "surroundings", "picturing", "reporting", "starting", "making", "measuring", "auditing",
              "asking", "claims", "sharing", "exporting", "tracking"):  # fmt: skip
    import_module(f"redistill.cli.{group}")


def main() -> None:
    """Run the command line; a mistake that the user can mend is a sentence, never a traceback."""
    try:
        app()
    except SystemExit as end:
        if end.code == Exit.ABORTED and sys.argv[1:2] != ["make"]:  # a job's end is said by what has started it
            print("redistill: stopped by Ctrl-C; the same command goes on", file=sys.stderr)
        raise
    except ConfigError as error:
        print(f"{error}\nNothing was started.", file=sys.stderr)
        sys.exit(Exit.REFUSED)
    except Interrupted as error:
        print(f"redistill: {error}", file=sys.stderr, flush=True)
        lease.stay()
        sys.exit(Exit.STOPPED)
    except RedistillError as error:
        print(f"redistill: {error}", file=sys.stderr)
        sys.exit(Exit.WRONG)
    except ModuleNotFoundError as error:
        missing = f"the package `{error.name}` is not installed for {sys.executable}: run `make setup`"
        print(f"redistill: {missing}, and use .venv/bin/redistill", file=sys.stderr)
        sys.exit(Exit.WRONG)
    except OSError as error:
        print(f"redistill: {explained(error)}", file=sys.stderr)
        sys.exit(Exit.WRONG)
