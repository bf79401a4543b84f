"""Attestations: a sample of a study's runs trained again on this machine, and a signed word on what came of it.

results/<study>/signed/attestations/<digest>.json says which runs, under which root, whether the bytes were the same,
and on what kind of machine; no name of a host or a user.
"""

import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from redistill.audit import again as making
from redistill.audit.comparable import differences
from redistill.audit.sample import drawn
from redistill.claims import envelopes, parted, traces
from redistill.claims.declared import RUNS
from redistill.claims.steps import traced
from redistill.errors import RedistillError
from redistill.provenance import scrub, store
from redistill.provenance.attempts import iso
from redistill.provenance.checkout import code
from redistill.provenance.keys import canonical, sha256_text
from redistill.provenance.machine import environment, machine
from redistill.provenance.published import Published, Thing

PAYLOAD_TYPE = "application/vnd.redistill.attestation+json"
SCHEMA = 1
SAME, DIFFERS, NOT_MADE = "same bytes", "differs", "not made"
SAMPLE = "5%"


def runs_behind(made: Published, cells: Iterable[str] | None = None) -> list[Thing]:
    """The runs and baselines behind cells, by their keys, or behind everything: teachers among them."""
    reached = made.things.values() if cells is None else made.upstream(cells)
    return [thing for thing in reached if thing.kind in RUNS]


def attest(
    made: Published, key_file: Path, among: Sequence[Thing], asked: str = SAMPLE, seed: int = 0, trace: bool = False
) -> Path:
    """Make a sample of these runs again and sign what came of it; with `trace`, publish the digests of their steps too.

    Where a run comes out different, its steps are traced and compared with what others have published.

    Args:
        asked: how many are taken, such as `3` or `5%`. They are drawn by the seed and the study's root: whoever knows
            both can tell that none was left out for what it gave.

    Raises:
        SignatureError: the file of the key is no private key.
        RedistillError: `asked` is no number and no share; or not one of the runs could be made again, which says why.
            Nothing is signed then.
    """
    envelopes.signed({}, PAYLOAD_TYPE, key_file)  # a key that cannot sign is refused before anything is trained
    runs = drawn(among, asked, seed, made.digest)
    found = [_again(made, run, trace) for run in runs]
    if all(run["outcome"] == NOT_MADE for run in found):
        why = f": {found[0]['said']}" if found else ""
        raise RedistillError(f"{made.study}: none of {len(found)} runs could be made again, so nothing was signed{why}")
    value = {
        "schema": SCHEMA,
        "study": made.study,
        "root": made.digest,
        "date": iso(time.time()),
        "sample": {"asked": asked, "seed": seed, "of": len(among)},
        "code": code(made.root),
        "machine": _machine(runs),
        "environment": {name: environment(made.root)[name] for name in ("python", "libc", "lock", "image")},
        "runs": found,
    }
    file = envelopes.folder(made.root, made.study) / "attestations" / f"{sha256_text(canonical(value))[:16]}.json"
    envelopes.write(file, value, PAYLOAD_TYPE, key_file)
    return file


def _machine(runs: Iterable[Thing]) -> dict[str, Any]:
    """The kind of this machine, devices included where they were computed on."""
    if any(run.parts["config"]["runtime"]["device"] == "cuda" for run in runs):
        import torch  # noqa: F401  # what is loaded is asked for its devices

    return machine()


def _again(made: Published, run: Thing, trace: bool) -> dict[str, Any]:
    """What came of making a run again."""
    print(f"{run.title} ({run.key})", file=sys.stderr, flush=True)
    said: dict[str, Any] = {"key": run.key, "title": run.title, "digest": run.digest}
    other = differences(run.parts)
    if other:
        return {**said, "outcome": NOT_MADE, "said": f"it was made by other code or packages: {'; '.join(other[:3])}"}
    try:
        with making.scratch(made.root) as folder:
            differ = making.again(made.root, run, folder)
            scores = _scores(made, run, folder) if differ else {}
    except RedistillError as error:
        return {**said, "outcome": NOT_MADE, "said": scrub.text(str(error), made.root)}
    said |= {"outcome": DIFFERS if differ else SAME, "files": differ}
    if scores:
        said["metrics"] = scores
    if differ or trace:
        said |= _traced(made, run, bool(differ))
    return said


def _scores(made: Published, run: Thing, folder: Path) -> dict[str, dict[str, float | None]]:
    """By each metric that the run's cells have: what was published, and what it is now."""
    from redistill.evaluation.evaluate import score

    metrics = {cell.parts["config"]["metric"] for cell in made.downstream([run.key]) if cell.kind == "cell"}
    found: dict[str, dict[str, float | None]] = {}
    for metric in sorted(metrics):
        sides = {"published": run.folder(made.root), "again": folder}
        try:
            found[metric] = {name: float(score(side, metric, "dev")["value"]) for name, side in sides.items()}
        except (OSError, RedistillError, ValueError, LookupError):
            continue  # of another task, or without predictions: the bytes have been compared all the same
    return found


def _traced(made: Published, run: Thing, differs: bool) -> dict[str, Any]:
    """The traces that were published of a run, and where it parts from the others' if it differs."""
    where: dict[str, Any] = {}
    try:
        if differs:
            found = parted.parting(made, run)
            written, where["words"] = found.written, found.words
            if (at := found.at) is not None:
                where |= {"stage": at.stage, "step": at.step, "tensors": list(at.tensors[: traces.NAMED])}
        else:
            written = [traces.write_steps(made.root, made.study, run.key, traced(made.root, run))]
    except RedistillError as error:  # a baseline has no steps
        return {"parted": {"words": [scrub.text(str(error), made.root)]}} if differs else {}
    traced_in = {"traces": {file.name: store.sha256_file(file) for file in written}}
    return {"parted": where, **traced_in} if differs else traced_in
