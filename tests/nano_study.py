"""A project of its own for each end-to-end test: configurations, rules and sources, copied to a temporary folder.

python tests/nano_study.py     makes the nano study here and writes its digests, and this processor's family as proven
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
DIGESTS = ROOT / "tests" / "nano_digests.json"
TIMEOUT = 600  # seconds that any one command may take


class Nano:
    """A copy of the project in which the nano study is known, with its own source tree and store."""

    def __init__(self, root: Path):
        self.root = root

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a command in the project and return it, finished, with its output."""
        return subprocess.run(
            arguments, cwd=self.root, env=self.environment(), capture_output=True, text=True, timeout=TIMEOUT
        )

    def environment(self) -> dict[str, str]:
        return {**os.environ, "PYTHONPATH": str(self.root / "src")}

    def redistill(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return self.command(sys.executable, "-m", "redistill", *arguments)

    def snakemake(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Without the report, which takes seconds and has tests of its own."""
        return self.command(sys.executable, "-m", "snakemake", "--config", "study=nano", "report=no", *arguments)

    def to_make(self) -> dict[str, str]:
        """Title and kind of what the plan would make."""
        planned = self.redistill("plan", "nano")
        assert planned.returncode == 0, planned.stderr
        lines = [line.split(maxsplit=4) for line in planned.stdout.splitlines() if "  to make " in line]
        return {line[4].partition("  [")[0]: line[3] for line in lines}

    def edit(self, file: str, old: str, new: str) -> None:
        path = self.root / file
        text = path.read_text(encoding="utf-8")
        assert old in text, f"{file} has no {old!r}"
        path.write_text(text.replace(old, new), encoding="utf-8")

    def things(self, area: str) -> dict[str, float]:
        """Keys in an area of the store, with the time at which each was finished."""
        return {f.parent.name: f.stat().st_mtime for f in (self.root / "store" / area).glob("*/done.json")}


def copy_project(target: Path) -> Nano:
    """The project's own files, with the nano study laid over its configurations."""
    target.mkdir(parents=True)
    shutil.copyfile(ROOT / "Snakefile", target / "Snakefile")
    ignore = shutil.ignore_patterns("__pycache__", "*.egg-info")
    for folder in ("configs", "envs", "workflow", "profiles", "src"):
        shutil.copytree(ROOT / folder, target / folder, ignore=ignore)
    shutil.copytree(ROOT / "tests" / "nano", target / "configs", dirs_exist_ok=True)
    return Nano(target)


def family() -> str:
    """The processor's vendor and family, such as `GenuineIntel 6`."""
    lines = Path("/proc/cpuinfo").read_text().split("\n\n")[0].splitlines()
    entries = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
    return f"{entries.get('vendor_id', 'unknown')} {entries.get('cpu family', '')}".strip()


def digests(nano: Nano) -> dict[str, dict[str, str]]:
    """SHA-256 of weights and predictions of every run of the finished nano study, by what it is."""
    results = nano.root / "results" / "nano"
    manifests = json.loads((results / "manifests.json").read_text())
    runs = [line.split("\t") for line in (results / "runs.tsv").read_text().splitlines()[1:]]
    kept = ("model.safetensors", "predictions.parquet", "log.jsonl")
    files = {key: manifests[key]["files"] for *_, key in runs}
    return {
        f"{experiment} {task} {seed}": {name: f["sha256"] for name, f in files[key].items() if name in kept}
        for _, experiment, task, seed, key in runs
    }


def main() -> None:
    with tempfile.TemporaryDirectory() as scratch:
        nano = copy_project(Path(scratch) / "nano")
        done = nano.snakemake("--cores", "2")
        assert done.returncode == 0, done.stderr
        made = digests(nano)
    before = json.loads(DIGESTS.read_text()) if DIGESTS.is_file() else {"digests": {}, "proven": []}
    proven = set(before["proven"]) if before["digests"] == made else set()
    value = {"digests": made, "proven": sorted({*proven, family()})}
    DIGESTS.write_text(json.dumps(value, indent=1, sort_keys=True) + "\n")
    print(f"{DIGESTS.name}: {len(made)} runs, proven on {', '.join(value['proven'])}")


if __name__ == "__main__":
    main()
