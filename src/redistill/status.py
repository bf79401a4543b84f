"""How far a study is: what is made, what is in the making and where it stands, what failed and why, how long it takes.

It looks and touches nothing: a job is in the making while somebody holds its key's lock, or its lease elsewhere.
"""

import time
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from redistill import failures
from redistill.performance.units import seconds_of
from redistill.plan import Node, Plan
from redistill.provenance import attempts, lease
from redistill.provenance.prune import is_held
from redistill.standing import Standing, standing

EVERY = 2.0  # seconds between two looks
MOST = 8  # things of a list that are shown
NAMED = 3  # cells that wait for a thing
SAID = 300  # characters of what a failed job said that are shown; --json has all


@dataclass(frozen=True)
class Running:
    """A job in the making: for how many seconds, and where it stands, if it says: in words too."""

    key: str
    kind: str
    title: str
    seconds: float
    where: str
    standing: Standing | None = None


@dataclass(frozen=True)
class Failed:
    """A job whose last attempt did not make it: how it ended (failed, stopped, killed), what it said, how often it was
    tried, and which cells wait for it.
    """

    key: str
    kind: str
    title: str
    outcome: str
    said: str
    end: str
    attempts: int
    cells: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Status:
    """Where a study stands. `waiting` things are to be made and nobody is at work on them; `seconds_left` is the time
    that the rest takes on this machine, None if nothing like it was made here.
    """

    study: str
    things: int
    made: int
    waiting: int
    running: list[Running] = field(default_factory=list)
    failed: list[Failed] = field(default_factory=list)
    seconds_left: float | None = None

    @property
    def finished(self) -> bool:
        return self.made == self.things


def status(plan: Plan) -> Status:
    """Where a study stands now."""
    missing = plan.missing()
    running = [job for node in missing if (job := _running(plan.root, node))]
    at_work = {job.key for job in running}
    failed = [one for node in missing if node.key not in at_work and (one := _failed(plan, node))]
    return Status(
        plan.checked.name, len(plan.nodes), len(plan.nodes) - len(missing),
        len(missing) - len(running) - len(failed), running, failed, _left(plan, missing, running),
    )  # fmt: skip


def _running(root: Path, node: Node) -> Running | None:
    store = root / "store"
    lock = store / "work" / f"{node.key}.lock"
    if not (lock.is_file() and is_held(lock)) and not lease.is_elsewhere(lease.file_of(store, node.key)):
        return None
    begin, scratch = time.time(), lease.scratch_now(store, node.key)
    with suppress(OSError, ValueError):
        begin = float((scratch / "begun").read_text(encoding="utf-8"))
    seconds = round(time.time() - begin, 1)
    stands = standing(node.config, scratch / "progress", seconds) if "stages" in node.config else None
    return Running(node.key, node.kind, node.title, seconds, str(stands or ""), stands)


def _failed(plan: Plan, node: Node) -> Failed | None:
    root = plan.root
    tried = attempts.of(root, node.key)
    if not tried:
        return None
    last = tried[-1]
    said = failures.first_said(root, node.key) or last["said"]
    return Failed(node.key, node.kind, node.title, last["outcome"], said, last["end"], len(tried), _cells(plan, node))


def _cells(plan: Plan, node: Node) -> list[str]:
    """Titles of the cells that need a thing: nodes come after all that they are made of."""
    reached = {node.key}
    for other in plan.nodes.values():
        if not reached.isdisjoint(other.inputs.values()):
            reached.add(other.key)
    return [plan.nodes[key].title for key in plan.nodes if key in reached and plan.nodes[key].kind == "cell"]


def _left(plan: Plan, missing: list[Node], running: list[Running]) -> float | None:
    """What is known of the rest's time, less what the jobs at work have already had."""
    from redistill.estimate import estimate

    if not missing:
        return 0.0
    rest = estimate(plan, missing)
    if not rest.known:
        return None
    had = sum(job.seconds for job in running) / max(rest.cores, 1)
    return round(max(rest.wall - had, 0.0), 1)


def as_json(found: Status) -> dict[str, Any]:
    return {**asdict(found), "finished": found.finished}


def in_words(found: Status) -> Group:
    """The status as people read it: one screen, whatever the study's size."""
    parts: list[Any] = [Text(_headline(found))]
    if found.running:
        table = Table("in the making", "for", "where", box=None, pad_edge=False)
        for job in found.running[:MOST]:
            table.add_row(f"{job.kind}: {job.title}", seconds_of(job.seconds), job.where)
        parts += [table, *_more(found.running)]
    for one in found.failed[:MOST]:
        often = f", attempt {one.attempts}" if one.attempts > 1 else ""
        parts.append(Text(f"{one.outcome}: {one.kind} {one.title} ({one.key}), {one.end}{often}\n  {one.said[:SAID]}"))
        if one.cells:
            more = f" and {len(one.cells) - NAMED} more" if len(one.cells) > NAMED else ""
            parts.append(Text(f"  wait for it: {'; '.join(one.cells[:NAMED])}{more}"))
    parts += _more(found.failed)
    if found.failed:
        parts.append(Text(_advice(found)))
    return Group(*parts)


def _headline(found: Status) -> str:
    share = found.made / found.things if found.things else 1.0
    said = f"{found.study}: {found.made} of {found.things} made ({share:.0%})"
    if found.finished:
        return f"{said}: finished"
    counts = ((len(found.running), "in the making"), (found.waiting, "waiting"), (len(found.failed), "did not make it"))
    said += "".join(f", {count} {what}" for count, what in counts if count)
    return f"{said}; about {seconds_of(found.seconds_left)} left" if found.seconds_left else said


def _more(jobs: list[Any]) -> list[Text]:
    return [Text(f"and {len(jobs) - MOST} more, which --json lists")] if len(jobs) > MOST else []


def _advice(found: Status) -> str:
    command = f"`snakemake --cores all --config study={found.study}`"
    if all(job.outcome != "failed" for job in found.failed):
        return f"they go on from where they were stopped: {command}"
    first = next(job for job in found.failed if job.outcome == "failed")
    return (
        f"mend what is said, then {command}; `redistill make {first.key}` tries the first alone, and "
        f"store/work/failed/{first.key}.json has all that it said"
    )


def say_what_failed(plan: Plan) -> None:
    """What Snakemake's user reads last: what did not make it, why, which cells wait for it, and what to type."""
    found = status(plan)
    if found.failed:
        Console(stderr=True, soft_wrap=True, markup=False, highlight=False).print(in_words(found))


def show(plan: Plan, watch: bool) -> Status:
    """Print the status; with `watch`, again and again until nobody is at work, then once more."""
    console = Console(width=None if Console().is_terminal else 120, soft_wrap=True, markup=False, highlight=False)
    found = status(plan)
    if watch and found.running and console.is_terminal:
        with Live(in_words(found), console=console, transient=True) as live:
            while found.running:
                time.sleep(EVERY)
                found = status(plan)
                live.update(in_words(found))
    console.print(in_words(found))
    return found
