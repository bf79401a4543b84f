"""Records: how a thing came to be. Times, machine, environment, code, and what went wrong on the way.

docs/records.md and configs/schema/record.schema.json say what is in them. What a record must not say, such as a user's
name, is taken out by `scrub.write`, which writes it. Nothing in a record counts for a number.
"""

import calendar
import json
import resource
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from redistill.errors import RedistillError
from redistill.provenance import attempts, scrub, store
from redistill.provenance.attempts import iso
from redistill.provenance.checkout import code
from redistill.provenance.energy import Meter
from redistill.provenance.keys import key_of
from redistill.provenance.machine import environment, machine

SCHEMA = 2
Record = dict[str, Any]


class RecordError(RedistillError, ValueError):
    """A file that is no record, or not one that this version can read."""


def place(root: Path, key: str) -> Path:
    """The file of a thing's record."""
    return root / "store" / "records" / f"{key}.json"


def started(root: Path, device: str = "cpu") -> dict[str, Any]:
    """What is noted when a job starts: the code as it is now, and where clocks and counters stand."""
    return {
        "start": time.time(), "clock": time.monotonic(), "cpu": _cpu_seconds(), "code": code(root), "device": device,
        "energy": Meter(device),
    }  # fmt: skip


def _cpu_seconds() -> float:
    usage = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(u.ru_utime + u.ru_stime for u in usage)


def resumes(progress: Path) -> list[dict[str, int]]:
    """From which stage and step a run was taken up again, each time that it was."""
    found = []
    with suppress(OSError, ValueError):  # no such file, or a line that was cut short
        for line in (progress / "resumes.jsonl").read_text(encoding="utf-8").splitlines():
            found.append(json.loads(line))
    return found


def finished(
    begun: dict[str, Any], root: Path, title: str, parts: dict[str, Any], inputs: dict[str, str], manifest: str,
    resumed: list[dict[str, int]],
) -> Record:  # fmt: skip
    """The record of a job that `started()` noted.

    Args:
        inputs: the digest of the manifest that each input had when it was used, by role.
        manifest: the digest of what was made.
        resumed: as `resumes()` found it.
    """
    cpu, seconds = _cpu_seconds() - begun["cpu"], time.monotonic() - begun["clock"]
    key = key_of(parts)
    return {
        "schema": SCHEMA,
        "key": key,
        "what": title,
        "key_parts": parts,
        "inputs": {role: {"key": parts["inputs"][role], "manifest": digest} for role, digest in inputs.items()},
        "output": {"manifest": manifest},
        "command": f"redistill make {key}",
        "start": iso(begun["start"]),
        "end": iso(begun["start"] + seconds),
        "seconds": round(seconds, 3),
        "core_seconds": round(cpu, 3),
        "peak_memory_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        "energy_joules": begun["energy"].joules(),
        "resumed": resumed,
        "attempts": attempts.of(root, key),
        "made_before": _made_before(place(root, key)),
        "machine": machine(),
        "environment": environment(root, begun["device"]),
        "code": begun["code"],
    }


def _made_before(file: Path) -> list[dict[str, Any]]:
    """When the same thing was made before, and removed since: from the record that is to be replaced."""
    try:
        old: Record = json.loads(file.read_text(encoding="utf-8"))
        made = {name: old[name] for name in ("start", "end")}
        manifest = old["output"]["manifest"] if "output" in old else None  # records of schema 1 do not know it
        return [*old.get("made_before", []), {**made, "manifest": manifest, "commit": old["code"]["commit"]}]
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return []


def write(root: Path, noted: Record) -> None:
    """Put a record into the store, without what it should not say."""
    scrub.write(place(root, noted["key"]), noted, root)


def read(file: Path) -> Record:
    """A record, as its schema says; those of schema 1 as they are.

    Raises:
        RecordError: it is none, or one of a later schema.
        OSError: it is not there.
    """
    try:
        noted = json.loads(file.read_text(encoding="utf-8"))
    except ValueError:
        raise RecordError(f"{file} is no record: it cannot be read as JSON") from None
    if not isinstance(noted, dict):
        raise RecordError(f"{file} is no record: it holds no object")
    schema = noted.get("schema", 1)
    if schema == SCHEMA:
        from redistill.provenance.record_schema import mistake

        wrong = mistake(noted)
        if wrong:
            raise RecordError(f"{file} is no record of schema {SCHEMA}: {wrong}")
    elif schema != 1:
        raise RecordError(f"{file} is a record of schema {schema}, which this version of redistill does not know")
    return noted


def begin(noted: Record) -> float:
    """When a thing was begun, in seconds since the epoch, to half a second: records have whole ones."""
    return calendar.timegm(time.strptime(noted["start"], "%Y-%m-%dT%H:%M:%SZ")) + 0.5


def mistakes(noted: Record, key: str, digests: dict[str, str]) -> list[str]:
    """What in a record of this key does not agree with itself, or with the digests of manifests by key.

    A thing that `digests` does not have is not compared. Records of schema 1 know no digests.
    """
    found = []
    parts = noted.get("key_parts")
    if not isinstance(parts, dict) or key_of(parts) != key:
        found.append("what it was made of gives another key")
    if noted.get("schema", 1) == 1:
        return found
    if noted["key"] != key:
        found.append(f"it is the record of {noted['key']}")
    made = noted["output"]["manifest"]
    if digests.get(key, made) != made:
        found.append(f"it says that the manifest {made} was made, and {digests[key]} is published")
    said = {role: used["key"] for role, used in noted["inputs"].items()}
    if isinstance(parts, dict) and said != parts.get("inputs"):
        found.append("its inputs are not those of its key")
    for role, used in noted["inputs"].items():
        if digests.get(used["key"], used["manifest"]) != used["manifest"]:
            found.append(f"its {role} was another than is published ({used['key']})")
    return found


def disagreements(root: Path, key: str, digests: dict[str, str]) -> list[str]:
    """What is wrong with the record of a thing, which is there: `mistakes` in it, or that it cannot be read."""
    file = place(root, key)
    try:
        noted = read(file)
        found = mistakes(noted, key, digests)
        return (
            found if file.read_text(encoding="utf-8") == store.pretty(noted) else [*found, "is not written as it was"]
        )
    except RecordError as error:
        return [str(error).removeprefix(f"{file} ")]
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        return [f"cannot be read ({error.__class__.__name__})"]
