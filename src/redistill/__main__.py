"""`python -m redistill`: says so where it is another Python than the one that has redistill's packages."""

import sys

if sys.version_info < (3, 11):  # noqa: UP036 - whoever runs it from its sources may have any
    sys.exit(
        f"redistill needs Python 3.11 or newer, and {sys.executable} is {sys.version.split()[0]}: use "
        ".venv/bin/redistill, which `make setup` makes"
    )
try:
    from redistill.cli import main
except ModuleNotFoundError as error:
    sys.exit(
        f"redistill: the package `{error.name}` is not installed for {sys.executable}: use .venv/bin/redistill, which "
        "`make setup` makes"
    )

main()
