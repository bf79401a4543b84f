"""Which runtime is fastest on this machine: measured in processes of their own, and proposed. Nothing is changed."""

import difflib
import json
import os
import re
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.table import Table

from redistill.errors import RedistillError
from redistill.performance.cost import Known
from redistill.performance.units import bounded
from redistill.plan import Node, Plan
from redistill.provenance import record

BFLOAT16 = {"avx512_bf16", "amx_bf16"}  # of a processor that computes in it
BUSY = 0.3  # load of a core at which others disturb
NOISE = 1.05  # a choice must be faster by this factor to be proposed
PATIENCE = 300  # seconds that a measurement may take, its start included
KEEPS = "keeps precision and the bytes' reach"


@dataclass(frozen=True)
class Choice:
    """A runtime, and how many runs with it are trained side by side."""

    precision: str
    portable: bool
    device: str
    threads: int
    devices: int
    runs: int
    strategy: str = "ddp"

    @property
    def runtime(self) -> dict[str, Any]:
        return {key: value for key, value in asdict(self).items() if key != "runs"}

    def __str__(self) -> str:
        what = [f"{self.runs} {'run' if self.runs == 1 else 'runs at once'}"]
        if self.devices > 1:
            what.append(f"{self.devices} devices")
        what.append(f"{self.threads} {'thread' if self.threads == 1 else 'threads'}")
        return ", ".join(what)


def cores() -> int:
    return len(os.sched_getaffinity(0))


def now(plan: Plan, available: int) -> Choice:
    """What the study says, with as many runs side by side as Snakemake would start with all cores."""
    said = plan.checked.study.runtime
    runs = max(1, available // (said.threads * said.devices)) if said.device == "cpu" else 1
    return Choice(said.precision, said.portable, said.device, said.threads, said.devices, runs, said.strategy)


def choices(said: Choice, available: int, features: list[str]) -> list[Choice]:
    """What is measured, what says most first; the study's own runtime before all."""
    if said.device == "cuda":
        return list(dict.fromkeys([said, *(replace(said, precision=p) for p in ("float32", "bfloat16", "float16"))]))
    modes = dict.fromkeys([(said.precision, said.portable), ("float32", True), ("float32", False), ("bfloat16", False)])
    if not BFLOAT16.intersection(features) and said.precision == "float32":
        modes.pop(("bfloat16", False))  # it would be emulated, at a tenth of the speed
    found = [said]
    for threads, devices, runs in ((1, 1, available), (available, 1, 1), (1, available, 1), (1, 1, 1)):
        for precision, portable in modes:
            own = (precision, portable) == (said.precision, said.portable)
            if own or devices == 1:
                strategy = said.strategy if devices > 1 else "ddp"
                found.append(Choice(precision, portable, said.device, threads, devices, runs, strategy))
    return list(dict.fromkeys(found))


def commonest(plan: Plan) -> Node:
    """A run of the kind that the study has most of; one for which nothing must be trained first, if there is one.

    Raises:
        RedistillError: the study trains nothing.
    """
    known = Known(plan.root, [(node.key, node.parts) for node in plan.nodes.values()])
    alike: dict[str, list[Node]] = defaultdict(list)
    for node in plan.nodes.values():
        if node.parts["kind"] == "run" and node.config["stages"]:
            alike[known.step(node.key)["the same kind of step"]].append(node)
    if not alike:
        raise RedistillError(f"the study `{plan.checked.name}` trains nothing: there is nothing to tune")
    ordered = [node for group in sorted(alike.values(), key=len, reverse=True) for node in group]
    untrained = [n for n in ordered if all(plan.nodes[k].kind in _CHEAP or plan.done(k) for k in n.inputs.values())]
    return (untrained or ordered)[0]


_CHEAP = ("data", "model", "dataset", "tokens")


def tune(plan: Plan, seconds: float, minutes: float) -> dict[str, Any]:
    """Measure this machine with the study's commonest kind of run, whose inputs are made where they are missing.

    Args:
        seconds: of each measurement.
        minutes: after which nothing more is begun.
    """
    from redistill.jobs import make_all

    available, node = cores(), commonest(plan)
    make_all(plan, list(node.inputs.values()))
    said = now(plan, available)
    measured, products, left = list[dict[str, Any]](), list[dict[str, Any]](), list[str]()
    load, machine, began = os.getloadavg()[0], record.machine(), time.monotonic()
    for choice in choices(said, available, machine.get("features", [])):
        if measured and time.monotonic() - began > 60 * minutes:
            left.append(f"{choice.precision}, portable {choice.portable}, {choice}")
            continue
        print(f"measuring: {choice.precision}, portable {choice.portable}, {choice}", file=sys.stderr, flush=True)
        found = measure(plan, node, choice, seconds)
        measured.append({"choice": asdict(choice), **found[0]})
        products += [{"threads": choice.threads, "portable": choice.portable, **p} for p in found[1]]
    return {
        "study": plan.checked.name, "run": node.title, "machine": machine, "cores": available, "load": load,
        "seconds_each": seconds, "now": asdict(said), "measured": measured, "products": products, "left_out": left,
    }  # fmt: skip


def measure(plan: Plan, node: Node, choice: Choice, seconds: float) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Steps a second of each run and of all, and memory; and, for one run in one process, speeds of products.

    Where several devices train one run, all must do the same number of steps: a few, by the first one's count.

    Raises:
        RedistillError: a measurement failed.
    """
    products = []
    if choice.runs == choice.devices == 1 and choice.precision == "float32":
        products = ["float32"] if choice.portable else ["float32", "bfloat16"]
    asked = {
        "config": node.config, "runtime": choice.runtime, "seconds": seconds, "products": products,
        "steps": max(3, round(3 * seconds)) if choice.devices > 1 else None,
        "inputs": {role: str(plan.nodes[key].folder(plan.root)) for role, key in node.inputs.items()},
        "plugins": [
            {"kind": p.kind, "name": p.name, "file": str(p.file), "sha256": p.sha256} for p in plan.checked.plugins
        ],
    }  # fmt: skip
    jobs = [_Job(plan.root, variables) for variables in _variables(choice)]
    try:
        for job in jobs:
            job.tell(json.dumps(asked))
        for job in jobs:
            job.answer()  # ready
        for job in jobs:
            job.tell("go")
        found = [json.loads(job.answer()) for job in jobs]
    finally:
        for job in jobs:
            job.end()
    each = [one["steps_a_second"] for one in found]
    together = each[0] if choice.devices > 1 else sum(each)
    return {
        "steps_a_second": sum(each) / len(each), "steps_a_second_in_all": together,
        "examples_a_second": together * found[0]["batch_size"],
        "memory_mib": sum(one["peak_memory_mib"] for one in found),
    }, found[0].get("products", [])  # fmt: skip


def _variables(choice: Choice) -> list[dict[str, str]]:
    """Environment variables of each process: those of torch's launcher, where several train one run."""
    if choice.devices == 1:
        return [{}] * choice.runs
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(choice.devices)}
    return [{**shared, "RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in range(choice.devices)]


class _Job:
    """A measuring process: it is told a line, and answers with lines; what it says beside goes to a file."""

    def __init__(self, root: Path, variables: dict[str, str]):
        self.said = tempfile.TemporaryFile("w+", encoding="utf-8")  # noqa: SIM115  closed in `end`
        self.process = subprocess.Popen(
            [sys.executable, "-m", "redistill.performance.measure"], cwd=root, env={**os.environ, **variables},
            text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.said,
        )  # fmt: skip
        self.timer = threading.Timer(PATIENCE, self.process.kill)
        self.timer.start()

    def tell(self, line: str) -> None:
        assert self.process.stdin is not None
        with suppress(BrokenPipeError):  # it is gone; what it has not answered says so
            self.process.stdin.write(line + "\n")
            self.process.stdin.flush()

    def answer(self) -> str:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            self.process.wait()
            self.said.seek(0)
            last = (self.said.read().strip().splitlines() or ["it said nothing, or took too long"])[-1]
            raise RedistillError(f"a measurement failed: {last.removeprefix('redistill.errors.RedistillError: ')}")
        return line

    def end(self) -> None:
        self.timer.cancel()
        self.process.kill()
        self.process.communicate()
        self.said.close()


# --- what follows from it --------------------------------------------------------------------------------------------


def proposals(result: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """What is measured to be faster than what the study says, by more than noise: of that which keeps precision and
    `portable`, and of all; by a title.
    """
    said = result["now"]
    speed = {i: m["steps_a_second_in_all"] for i, m in enumerate(result["measured"])}
    mine = next(i for i, m in enumerate(result["measured"]) if m["choice"] == said)
    found = dict[str, dict[str, Any]]()
    for title, kept in ((KEEPS, ("precision", "portable")), ("fastest of all", ())):
        fit = [
            i
            for i, choice in enumerate(m["choice"] for m in result["measured"])
            if i == mine or (_fills(choice, result["cores"]) and all(choice[key] == said[key] for key in kept))
        ]
        best = max(fit, key=speed.__getitem__)
        if speed[best] > NOISE * speed[mine] and all(other["choice"] != best for other in found.values()):
            changed = {k: v for k, v in result["measured"][best]["choice"].items() if k != "runs" and v != said[k]}
            if changed:
                found[title] = {"choice": best, "factor": speed[best] / speed[mine], "runtime": changed}
    return found


def _fills(choice: dict[str, Any], available: int) -> bool:
    """Whether no core is left idle, as Snakemake would leave none while there is another run to make."""
    cores_used: int = choice["runs"] * choice["threads"] * choice["devices"]
    return choice["device"] != "cpu" or cores_used >= available


def meaning(changes: dict[str, Any]) -> list[str]:
    """What an edit of a runtime means for bytes."""
    said = {
        "threads": "another number of threads sums in another order: other last digits",
        "devices": "each device sees a part of each batch: other last digits, and other numbers with batch norm",
        "strategy": "sums in another order: other last digits",
        "precision": "16-bit arithmetic: other numbers, not only other last digits; weights stay float32",
    }
    lines = [said[key] for key in said if key in changes]
    if "portable" in changes:
        lines.append(
            "every processor with AVX2 gives the same bytes"
            if changes["portable"]
            else "the same bytes on this kind of processor only; another kind gives others"
        )
    return lines


def edit(text: str, changes: dict[str, Any], file: str) -> str:
    """The lines of a study's file that say these values, as a unified diff."""
    lines = text.splitlines()
    begin = next((i for i, line in enumerate(lines) if re.match(r"runtime\s*:", line)), None)
    after = list(lines)
    written = {key: str(value).lower() for key, value in changes.items()}
    if begin is None:
        place = next((i + 1 for i, line in enumerate(lines) if re.match(r"title\s*:", line)), 0)
        after[place:place] = ["runtime:", *(f"  {key}: {value}" for key, value in written.items())]
    elif flow := re.match(r"(runtime\s*:\s*\{)(.*)(\}.*)", lines[begin]):
        inside = flow[2].strip()
        for key, value in written.items():
            replaced, times = re.subn(rf"\b{key}\s*:\s*[^,\s]+", f"{key}: {value}", inside)
            inside = replaced if times else f"{inside}, {key}: {value}".removeprefix(", ")
        after[begin] = f"{flow[1]}{inside}{flow[3]}"
    else:
        end = next((i for i in range(begin + 1, len(lines)) if re.match(r"\S", lines[i])), len(lines))
        while end > begin + 1 and not lines[end - 1].strip():
            end -= 1
        new = list[str]()
        for key, value in written.items():
            at = next((i for i in range(begin + 1, end) if re.match(rf"\s+{key}\s*:", lines[i])), None)
            if at is None:
                new.append(f"  {key}: {value}")
            else:
                after[at] = re.sub(r":\s*[^\s#]+", f": {value}", lines[at], count=1)
        after[end:end] = new
    return "\n".join(difflib.unified_diff(lines, after, file, file, lineterm=""))


def report(result: dict[str, Any], plan: Plan) -> Group:
    """What was measured, and what follows."""
    own = next(m for m in result["measured"] if m["choice"] == result["now"])["steps_a_second_in_all"]
    table = Table(title=f"Steps of {result['run']} on {result['cores']} cores", title_justify="left")
    for name in ("precision", "portable", "what", "steps/s of a run", "in all", "memory", "to now"):
        table.add_column(name, justify="left" if name in ("precision", "portable", "what") else "right")
    for m in result["measured"]:
        choice = Choice(**m["choice"])
        mark = " (now)" if m["choice"] == result["now"] else ""
        table.add_row(
            choice.precision, "yes" if choice.portable else "no", f"{choice}{mark}", f"{m['steps_a_second']:.2f}",
            f"{m['steps_a_second_in_all']:.2f}", f"{m['memory_mib'] / 1024:.1f} GiB",
            f"{m['steps_a_second_in_all'] / own:.2f}",
        )  # fmt: skip
    products = Table(title="Its largest products, forward, in GFLOP/s", title_justify="left")
    for name in ("rows x inner x columns", "precision", "portable", "threads", "GFLOP/s"):
        products.add_column(name, justify="right" if name in ("threads", "GFLOP/s") else "left")
    for p in sorted(result["products"], key=_by_work):
        products.add_row(
            f"{p['rows']} x {p['inner']} x {p['columns']}", p["precision"], "yes" if p["portable"] else "no",
            str(p["threads"]), f"{p['gflops']:.0f}",
        )  # fmt: skip
    return Group(table, *([products] if result["products"] else []), *_said(result, plan))


def _by_work(product: dict[str, Any]) -> tuple[Any, ...]:
    size = product["rows"], product["inner"], product["columns"]
    return -size[0] * size[1] * size[2], size, product["threads"], product["portable"], product["precision"]


def _said(result: dict[str, Any], plan: Plan) -> list[RenderableType]:
    said = [f"Not measured, because time was up: {left}" for left in result["left_out"]]
    if result["load"] > BUSY * result["cores"]:
        said.append(
            f"The machine was busy before (load {result['load']:.1f} on {result['cores']} cores): measure again when "
            "it is not, before you believe this."
        )
    cost = portable_costs(result)
    if cost is not None:
        said.append(f"portable costs {cost:.0%} of the speed here, for bytes that do not depend on the processor.")
    file = f"configs/studies/{result['study']}.yaml"
    text = (plan.root / file).read_text(encoding="utf-8")
    found = proposals(result)
    if KEEPS not in found:
        said.append(f"Nothing that {KEEPS} is faster than what {file} says, by more than noise.")
    for title, proposal in found.items():
        said.append(f"\n{proposal['factor']:.2f} times as many steps a second; {title}:")
        said.append(edit(text, proposal["runtime"], file))
        said += [f"  {line}" for line in meaning(proposal["runtime"])]
    if found:
        made = sum("runtime" in node.config and plan.done(node.key) for node in plan.nodes.values())
        said.append(
            f"\nAny of these changes the keys of every run and of all that is made from them: {made} runs and teacher "
            "outputs that are in the store would be made anew. Nothing was changed."
        )
    return list(said)


def portable_costs(result: dict[str, Any]) -> float | None:
    """Share of the speed that `portable` takes, with float32 and everything else alike; None if it was not measured."""
    speeds: dict[tuple[Any, ...], dict[bool, float]] = defaultdict(dict)
    for m in result["measured"]:
        choice = m["choice"]
        if choice["precision"] == "float32":
            way = choice["device"], choice["threads"], choice["devices"], choice["runs"]
            speeds[way][choice["portable"]] = m["steps_a_second_in_all"]
    both = [(way, s) for way, s in speeds.items() if len(s) == 2]
    if not both:
        return None
    _, most_at_once = max(both, key=lambda pair: pair[0][3])
    return 1 - most_at_once[True] / most_at_once[False]


def show(plan: Plan, seconds: float, minutes: float, as_json: bool) -> None:
    """Measure, and print what was found."""
    result = tune(plan, seconds, minutes)
    result["proposals"] = proposals(result)
    if as_json:
        print(json.dumps(bounded(result), indent=1))
        return
    Console(width=None if Console().is_terminal else 120, soft_wrap=True, highlight=False, markup=False).print(
        report(result, plan)
    )
