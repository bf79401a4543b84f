"""Snakemake over a study beside a bare Snakemake workflow of the same shape: `snakemake -n` with many jobs.

python benchmarks/dag.py [SIZE...]     writes benchmarks/results/dag.json; without sizes, 100 to 10,000 jobs

The study is `embedded` with more seeds. The bare workflow has its jobs, with the same names, inputs and rules, but
knows them from one file: what it takes is Snakemake's own time. Both run with the profile of the project, twice: with
everything to make, and with nothing to do. They take turns, REPEATS times. Nothing is made: what is there are empty
marks.
"""

import json
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from speed import spread

from redistill.plan import KINDS, Plan, make_plan
from redistill.provenance import record, store

ROOT = Path(__file__).resolve().parents[1]
SCRATCH = ROOT / "benchmarks" / "scratch" / "dag"
SIZES, REPEATS, LIMIT = (100, 1000, 5000, 10000), 3, 600  # jobs; turns; seconds that one command may take
SEEDS = ("seeds: [0, 1, 2]\n", "seeds: [0, 1, 2, 3, 4]\n")  # of the two tables of the embedded study


def lay_out(size: int) -> tuple[Path, Path, Plan]:
    """A project whose study has about so many jobs, a bare workflow of the same shape, and the plan of both."""
    ours, bare = SCRATCH / f"study-{size}", SCRATCH / f"bare-{size}"
    for folder in (ours, bare):
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(ROOT / "profiles", folder / "profiles")
    for name in ("configs", "envs", "workflow"):
        shutil.copytree(ROOT / name, ours / name)
    shutil.copyfile(ROOT / "Snakefile", ours / "Snakefile")
    plan = with_seeds(ours, 1)
    each = len(with_seeds(ours, 2).nodes) - len(plan.nodes)
    plan = with_seeds(ours, max(1, 1 + round((size - len(plan.nodes)) / each)))
    _write_bare(bare, plan)
    (ours / "store" / "work" / "checked").mkdir(parents=True)
    (ours / "store" / "work" / "checked" / plan.target.key).touch()  # models are checked once a study, not every time
    return ours, bare, plan


def with_seeds(project: Path, seeds: int) -> Plan:
    """The plan of the embedded study with so many seeds, once its file in a project says so."""
    text = (ROOT / "configs" / "studies" / "embedded.yaml").read_text(encoding="utf-8")
    for few in SEEDS:
        text = text.replace(few, f"seeds: {list(range(seeds))}\n")
    (project / "configs" / "studies" / "embedded.yaml").write_text(text, encoding="utf-8")
    return make_plan(project, "embedded")


def _write_bare(folder: Path, plan: Plan) -> None:
    inputs = {node.key: [_done(plan, key) for key in node.inputs.values()] for node in plan.nodes.values()}
    (folder / "jobs.json").write_text(json.dumps(inputs), encoding="utf-8")
    rules = ["import json", "JOBS = json.load(open('jobs.json'))", f"rule all:\n    input: {_done(plan)!r}"]
    for kind in KINDS:
        rules.append(
            f"rule {kind}:\n"
            "    input: lambda w: JOBS[w.key]\n"
            f"    output: 'store/{kind}/{{key}}/done.json'\n"
            "    shell: 'touch {output}'"
        )
    (folder / "Snakefile").write_text("\n\n\n".join(rules) + "\n", encoding="utf-8")


def _done(plan: Plan, key: str | None = None) -> str:
    """A bare job's output; a folder a kind, so that no rule needs to know keys."""
    node = plan.nodes[key] if key else plan.target
    return f"store/{node.kind}/{node.key}/done.json"


def _mark_done(ours: Path, bare: Path, plan: Plan) -> None:
    """Let everything be there, inputs before what is made of them."""
    for node in plan.nodes.values():
        for file in (node.folder(ours) / "done.json", bare / _done(plan, node.key)):
            file.parent.mkdir(parents=True)
            file.write_text("{}\n", encoding="utf-8")
    store.write_atomically(plan.target.folder(ours) / "manifest.json", store.pretty({"files": []}))


def timed(folder: Path, said: str) -> float:
    """Seconds of a dry run that says what is expected."""
    began = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "snakemake", "--cores", "2", "-n", "--quiet", "rules"],
        cwd=folder, capture_output=True, text=True, timeout=LIMIT,
    )  # fmt: skip
    seconds = time.perf_counter() - began
    if done.returncode or said not in done.stdout + done.stderr:
        sys.exit(
            f"{folder.name}: exit status {done.returncode}, without `{said}`\n{(done.stdout + done.stderr)[-2000:]}"
        )
    return seconds


def measure(size: int) -> dict[str, Any]:
    ours, bare, plan = lay_out(size)
    found: dict[str, Any] = {"jobs": len(plan.nodes)}
    for what, said in (("everything to make", f"{len(plan.nodes) + 1}"), ("nothing to do", "Nothing to be done")):
        if what == "nothing to do":
            _mark_done(ours, bare, plan)
        seconds: dict[str, list[float]] = {"study": [], "bare": []}
        for _ in range(REPEATS):
            for name, folder in (("study", ours), ("bare", bare)):
                seconds[name].append(timed(folder, said))
        ratios = [a / b for a, b in zip(seconds["study"], seconds["bare"], strict=True)]
        found[what] = {name: spread(values) for name, values in {**seconds, "ratio": ratios}.items()}
        print(f"{found['jobs']} jobs, {what}: {found[what]}", flush=True)
    return found


def main() -> None:
    sizes = [int(size) for size in sys.argv[1:]] or list(SIZES)
    result = {
        "command": " ".join(["python benchmarks/dag.py", *sys.argv[1:]]), "machine": record.machine(),
        "repeats": REPEATS, "sizes": [measure(size) for size in sizes],
    }  # fmt: skip
    store.write_atomically(ROOT / "benchmarks" / "results" / "dag.json", store.pretty(result))


if __name__ == "__main__":
    main()
