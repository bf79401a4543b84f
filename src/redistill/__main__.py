"""`python -m redistill` is the command line."""

from redistill.cli import main

main()
