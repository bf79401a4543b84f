"""Curves and scores of runs in TensorBoard and MLflow, for who looks there. Nothing that is made depends on it.

A study says `tracking: {tensorboard: true, mlflow: URI}`. Beside each of its runs a process follows the run's log as it
grows, and writes the scores when the run is made; what fails there fails no run. `redistill track` does the same of
runs that are there.
"""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from redistill.errors import RedistillError
from redistill.extras import missed

SECONDS = 60  # for which the end of a run waits until all is written
FOLLOWER = ("-m", "redistill.tracking.follow")
PACKAGES = {"tensorboard": "tensorboard", "mlflow": "mlflow"}  # by the key that asks for it


def is_asked(tracking: dict[str, Any]) -> bool:
    return any(tracking.get(name) for name in PACKAGES)


def refuse_without_packages(tracking: dict[str, Any]) -> None:
    """Raises:
    RedistillError: a package that the study's `tracking` needs is not installed.
    """
    for name, package in PACKAGES.items():
        if tracking.get(name) and find_spec(package) is None:
            raise RedistillError(missed(package, "tracking", f"`tracking.{name}`"))


@contextmanager
def followed(root: Path, key: str, kind: str, tracking: dict[str, Any]) -> Iterator[None]:
    """While a run is made, let another process write its curves; at the end, wait until it has written all."""
    if kind not in ("teacher", "student") or not is_asked(tracking):
        yield
        return
    with subprocess.Popen(
        [sys.executable, *FOLLOWER, key], cwd=root, stdin=subprocess.PIPE, stdout=sys.stderr
    ) as process:
        try:
            yield
        finally:
            with suppress(OSError, subprocess.TimeoutExpired):
                process.communicate(timeout=SECONDS)
            _end(process)


def _end(process: "subprocess.Popen[bytes]") -> None:
    if process.poll() is None:
        process.kill()
        print(f"tracking: not all was written in {SECONDS} s; `redistill track` writes it", file=sys.stderr)
