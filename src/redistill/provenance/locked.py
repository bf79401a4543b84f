"""How the environment that runs differs from the lock file, and what that means for the bytes of what is made."""

import platform
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

from redistill.errors import RedistillError

LOCK = Path("envs", "requirements.lock")
PYTHON = "3.11"  # what the lock is made for, by envs/lock.sh
_PIN = re.compile(r"^([A-Za-z0-9][A-Za-z0-9._-]*)==([^\s;\\]+)")


@dataclass(frozen=True)
class Difference:
    """A package that is not as the lock has it. No version stands for a package that is not there, or not locked.

    `things` are the kinds of things whose keys have its version; of how many things, `of`.
    """

    name: str
    locked: str | None
    here: str | None
    things: int = 0


def normal(name: str) -> str:
    """A package's name as indexes compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def locked(root: Path, lock: Path = LOCK) -> dict[str, str]:
    """Versions in a lock file.

    Raises:
        RedistillError: it is not there, or pins nothing.
    """
    file = root / lock
    try:
        pins = [found for line in file.read_text(encoding="utf-8").splitlines() if (found := _PIN.match(line))]
    except OSError:
        raise RedistillError(f"there is no lock file {lock}: name one with --lock") from None
    if not pins:
        raise RedistillError(f"{lock} pins no package: `make lock` makes envs/requirements.lock")
    return {normal(pin[1]): pin[2] for pin in pins}


def here() -> dict[str, str]:
    """Versions of what is installed, but redistill itself; of two with a name, the one that is imported."""
    found: dict[str, str] = {}
    for package in distributions():
        name = package.metadata["Name"]
        if name and normal(name) != "redistill":
            found.setdefault(normal(name), package.version)
    return found


def differences(
    wanted: Mapping[str, str], found: Mapping[str, str], used: Iterable[Iterable[str]] = ()
) -> list[Difference]:
    """What differs, with how many things each package is in the keys of.

    Args:
        wanted: versions of the lock.
        found: versions of what is installed.
        used: for each thing of a study, the packages in its key.
    """
    keyed = [{normal(name) for name in packages} for packages in used]
    return [
        Difference(name, wanted.get(name), found.get(name), sum(name in packages for packages in keyed))
        for name in sorted({*wanted, *found})
        if wanted.get(name) != found.get(name)
    ]


def python_differs() -> str | None:
    """What it means that Python is none of the lock's series; None if it is."""
    if platform.python_version().startswith(f"{PYTHON}."):
        return None
    return f"Python {platform.python_version()}: the lock is made for {PYTHON}, and nothing was tried on another"


def processor(machine: Mapping[str, Any], proven: Iterable[str]) -> str:
    """What is known of the bytes on a processor, as `redistill.provenance.machine` describes it.

    Args:
        proven: vendors and families on which the tests' study is known to have the same bytes.
    """
    family = f"{machine.get('vendor') or 'unknown'} {machine.get('family') or ''}".strip()
    if machine["machine"] != "x86_64" or "avx2" not in machine.get("features", ()):
        return f"{family} ({machine['machine']}) has no AVX2: other kernels, and other bytes"
    if family in proven:
        return f"{family}: the tests' study has the same bytes here, as tests/nano_digests.json says"
    return f"{family}: not among those on which the tests' study was compared; `portable: true` is meant to hold here"
