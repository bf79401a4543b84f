"""The files below a folder, one line each, and what differs between two such lists. Needs the standard library alone.

python envs/files.py list FOLDER              path, type and mode, owner, size, SHA-256 or target
python envs/files.py compare LIST LIST        the lines that only one has; exit status 1 if there are any
"""

import hashlib
import os
import stat
import sys
from collections.abc import Iterator
from pathlib import Path

SHOWN = 50  # lines of a comparison


def lines(top: Path) -> Iterator[str]:
    """One line for each entry below `top`, in the order of paths; times are left out."""
    paths = [Path(folder, name) for folder, folders, names in os.walk(top) for name in (*folders, *names)]
    for path in sorted(paths, key=os.fsencode):
        state = path.lstat()
        said, size = "-", 0
        if stat.S_ISLNK(state.st_mode):
            said = os.readlink(path)
        elif stat.S_ISREG(state.st_mode):
            with path.open("rb") as file:
                said, size = hashlib.file_digest(file, "sha256").hexdigest(), state.st_size
        name = os.fsencode(path.relative_to(top)).decode("utf-8", "backslashreplace")
        yield f"/{name}\t{stat.filemode(state.st_mode)}\t{state.st_uid}:{state.st_gid}\t{size}\t{said}"


def differences(first: list[str], second: list[str]) -> list[str]:
    """The lines of the first list that the second has not, after `-`, and the other way round, after `+`; by path."""
    only = [(line, "-") for line in set(first) - set(second)] + [(line, "+") for line in set(second) - set(first)]
    return [f"{sign} {line}" for line, sign in sorted(only, key=lambda each: (each[0].split("\t")[0], each[1]))]


def main(arguments: list[str]) -> int:
    if len(arguments) == 2 and arguments[0] == "list":
        for line in lines(Path(arguments[1])):
            print(line)
        return 0
    if len(arguments) == 3 and arguments[0] == "compare":
        first, second = (Path(name).read_text(encoding="utf-8").splitlines() for name in arguments[1:])
        found = differences(first, second)
        print("\n".join([*found[:SHOWN], f"{len(found)} lines differ, of {len(first)} and {len(second)} files"]))
        return 1 if found else 0
    print(__doc__, file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
