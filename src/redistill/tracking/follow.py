"""Follow a run that is being made: `python -m redistill.tracking.follow KEY`, until its standard input ends.

It reads the run's log as it grows, and writes the scores if the run was made by then. It ends with the process that
started it.
"""

import json
import os
import select
import sys
from pathlib import Path

from redistill import interruption
from redistill.errors import RedistillError
from redistill.provenance import lease, store
from redistill.tracking.curves import Curves
from redistill.tracking.write import Writers, scores

EVERY = 2.0  # seconds between two looks


def follow(root: Path, key: str) -> None:
    """Follow the run that was planned under `key`."""
    told = json.loads((root / "store" / "work" / "plans" / f"{key}.json").read_text(encoding="utf-8"))
    writers = Writers(root, told["tracking"], key, told["title"], told["parts"]["config"])
    curves, ended = Curves(), False
    while not ended:
        ended = bool(select.select([sys.stdin], [], [], EVERY)[0]) and not os.read(0, 1024)
        writers.add(list(curves.new(lease.scratch_now(root / "store", key) / "progress" / "log.jsonl")))
    folder = root / "store" / "runs" / key
    if not store.is_done(folder):
        writers.close(None)
        return
    writers.add(list(curves.new(folder / "log.jsonl")))
    writers.add(scores(folder, curves.before + curves.last))
    writers.close(store.digest_of(store.read_manifest(folder)))


if __name__ == "__main__":
    interruption.die_with_parent()
    try:
        follow(Path.cwd(), sys.argv[1])
    except Exception as error:  # the run goes on, whatever a server or a library says
        said = str(error) if isinstance(error, RedistillError) else f"{type(error).__name__}: {error}"
        print(f"tracking: {said.splitlines()[0]}", file=sys.stderr)
