"""The real makespan of the embedded study beside the simulated one, on an idle machine: 1 core, then 2.

python benchmarks/makespan.py [CORES...]     writes benchmarks/results/makespan.json; about half an hour

Each time the study is made from nothing, in a store of its own, by `snakemake --cores N`; its makespan is what the
clock says from the command to its end. It is simulated on configs/machines/two-cores.yaml with N cores, three times:
from the records that the project's own store had before, as `redistill plan --profile` does; from the records of the
runs with another number of cores; and from its own records, which leaves the order and the pace alone to be wrong.
"""

import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from redistill.config import schema
from redistill.config.machines import read_machine
from redistill.performance import times
from redistill.performance.forecast import forecast
from redistill.performance.units import bounded
from redistill.plan import Plan, make_plan
from redistill.provenance import record, store

ROOT = Path(__file__).resolve().parents[1]
SCRATCH = ROOT / "benchmarks" / "scratch"
STUDY, PROFILE, CORES, LIMIT = "embedded", "two-cores", (1, 2), 5400  # seconds that one study may take
AIM = 0.2  # how far off the simulated makespan may be, as a share of the real one


def lay_out(cores: int) -> Path:
    """A project without a store."""
    project = SCRATCH / f"makespan-{cores}"
    shutil.rmtree(project, ignore_errors=True)
    for name in ("configs", "envs", "workflow", "profiles"):
        shutil.copytree(ROOT / name, project / name)
    shutil.copyfile(ROOT / "Snakefile", project / "Snakefile")
    return project


def made(project: Path, cores: int) -> tuple[float, float]:
    """When the study was begun and done, seconds since the epoch."""
    command = [sys.executable, "-m", "snakemake", "--cores", str(cores), "--config", f"study={STUDY}"]
    begin = time.time()
    with (project / "snakemake.log").open("w") as log:
        done = subprocess.run(command, cwd=project, stdout=log, stderr=log, timeout=LIMIT)
    if done.returncode:
        sys.exit(f"the study was not made, see {project / 'snakemake.log'}")
    return begin, time.time()


def machine_with(cores: int) -> schema.Machine:
    """The profile, with so many cores."""
    _, machine = read_machine(ROOT, PROFILE)
    nodes = {name: node.model_copy(update={"cores": cores}) for name, node in machine.nodes.items()}
    return machine.model_copy(update={"nodes": nodes})


def simulated(plan: Plan, cores: int, quiet: bool = True) -> dict[str, Any] | None:
    """The makespan from the records that are beside this plan; None if there are none."""
    found = forecast(plan, machine_with(cores), PROFILE, anew=True, quiet=quiet)
    said = found.numbers()
    unknown = len(said["unknown"])
    if unknown == said["things"]:
        return None
    return {"seconds": found.schedule.end, "jobs_seconds": said["core_hours"] * 3600, "unknown": unknown}


def pace(bars: list[times.Bar], begin: float, end: float) -> dict[str, float]:
    """What a run took beside its jobs; records know when a thing was begun to half a second."""
    return {
        "start": bars[0].begin - begin, "between_jobs": times.between(bars),
        "end": end - max(bar.end for bar in bars),
    }  # fmt: skip


def main() -> None:
    asked = [int(text) for text in sys.argv[1:]] or list(CORES)
    before = {cores: simulated(make_plan(ROOT, STUDY), cores) for cores in asked}
    real, plans, runs = dict[int, float](), dict[int, Plan](), dict[str, Any]()
    for cores in asked:
        project = lay_out(cores)
        begin, end = made(project, cores)
        plans[cores], real[cores] = make_plan(project, STUDY), end - begin
        bars = times.bars_of(plans[cores])
        runs[str(cores)] = {
            "real_seconds": real[cores], "things": len(bars), "jobs_seconds": sum(bar.seconds for bar in bars),
            "core_seconds": sum(bar.core_seconds for bar in bars), "pace": pace(bars, begin, end),
        }  # fmt: skip
        print(f"{cores} cores: {real[cores]:.0f} s, {runs[str(cores)]['pace']}", flush=True)
    for cores in asked:
        others = [other for other in asked if other != cores]
        ways = {
            "from the records before": before[cores],
            **{f"from the run on {other}": simulated(plans[other], cores) for other in others},
            "from its own records": simulated(plans[cores], cores, quiet=False),
        }
        runs[str(cores)]["simulated"] = {way: found for way, found in ways.items() if found is not None}
        for found in runs[str(cores)]["simulated"].values():
            found["over_real"] = found["seconds"] / real[cores]
    result = {
        "command": " ".join(["python benchmarks/makespan.py", *sys.argv[1:]]), "machine": record.machine(),
        "study": STUDY, "profile": PROFILE, "aim": AIM, "cores": runs,
    }  # fmt: skip
    store.write_atomically(ROOT / "benchmarks" / "results" / "makespan.json", store.pretty(bounded(result)))


if __name__ == "__main__":
    main()
