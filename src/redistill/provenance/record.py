"""Records: how a thing came to be. Times, machine and environment; no user, host or path of a machine."""

import calendar
import json
import platform
import resource
import subprocess
import sys
import time
from contextlib import suppress
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

SCHEMA = 1


def started() -> dict[str, Any]:
    """What is noted when a job starts."""
    return {"start": time.time(), "cpu": _cpu_seconds()}


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
    start: dict[str, Any], root: Path, title: str, parts: dict[str, Any], resumed: list[dict[str, int]]
) -> dict[str, Any]:
    """The record of a job that `started()` noted."""
    end = time.time()
    return {
        "schema": SCHEMA,
        "what": title,
        "key_parts": parts,
        "start": _iso(start["start"]),
        "end": _iso(end),
        "resumed": resumed,
        "seconds": round(end - start["start"], 3),
        "core_seconds": round(_cpu_seconds() - start["cpu"], 3),
        "peak_memory_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        "machine": machine(),
        "environment": environment(root),
        "code": commit(root),
    }


def _iso(seconds: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


def begin(noted: dict[str, Any]) -> float:
    """When a thing was begun, in seconds since the epoch, to half a second: records have whole ones."""
    return calendar.timegm(time.strptime(noted["start"], "%Y-%m-%dT%H:%M:%SZ")) + 0.5


def machine() -> dict[str, Any]:
    """The processor, as far as it can matter to numbers and speed."""
    found: dict[str, Any] = {"system": platform.system(), "machine": platform.machine(), "processor": ""}
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        lines = dict(line.split(":", 1) for line in cpuinfo.read_text().split("\n\n")[0].splitlines() if ":" in line)
        entries = {key.strip(): value.strip() for key, value in lines.items()}
        found["processor"] = entries.get("model name", "")
        found["vendor"] = entries.get("vendor_id", "")
        wanted = ("avx2", "avx512f", "avx512_bf16", "amx_bf16", "fma")
        found["features"] = [flag for flag in wanted if flag in entries.get("flags", "").split()]
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        found["devices"] = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return found


def environment(root: Path) -> dict[str, Any]:
    """Python, every installed distribution, and the digest of the lock file."""
    from redistill.provenance.store import sha256_file

    lock = root / "envs" / "requirements.lock"
    return {
        "python": platform.python_version(),
        "lock": sha256_file(lock) if lock.is_file() else None,
        "packages": _installed(),
    }


def _installed() -> dict[str, str]:
    """Every installed package's version, from the head of its metadata: to parse all of it would take half a second."""
    found = {}
    for package in distributions():
        head = (package.read_text("METADATA") or package.read_text("PKG-INFO") or "").partition("\n\n")[0]
        said = dict(line.partition(": ")[::2] for line in head.splitlines())
        found[said.get("Name", "")] = said.get("Version", "")
    return dict(sorted(found.items()))


def commit(root: Path) -> dict[str, Any]:
    """The git commit, and whether tracked files differ from it."""

    def git(*arguments: str) -> str | None:
        try:
            done = subprocess.run(("git", "-C", str(root), *arguments), capture_output=True, text=True, timeout=20)
        except (OSError, subprocess.TimeoutExpired):
            return None
        return done.stdout.strip() if done.returncode == 0 else None

    status = git("status", "--porcelain", "--untracked-files=no")
    return {"commit": git("rev-parse", "HEAD"), "clean": None if status is None else status == ""}


def read(file: Path) -> dict[str, Any]:
    record: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return record
