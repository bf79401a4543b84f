"""Make one thing of a plan: verify its inputs, run its stage in a work folder, put the result into the store."""

import atexit
import importlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack, nullcontext
from pathlib import Path
from typing import Any

from redistill import environment, failures, forge, gpus, interruption, progress, ranks, reach, tracking
from redistill.errors import RedistillError
from redistill.job import PORTABLE
from redistill.plan import Node, Plan
from redistill.provenance import attempts, lease, record, shared, store
from redistill.specification import Specification, read_specification, write_specifications
from redistill.standing import values_in_words
from redistill.tables.publish import differences
from redistill.tables.publish import publish as copy_out

STDERR = 2  # the file descriptor
# kind -> the function that makes it: (config, input folders, work folder) -> what to note in the record
STAGES = {
    "data": "redistill.data.fetch:fetch",
    "model": "redistill.data.fetch:fetch",
    "dataset": "redistill.data.prepare:prepare",
    "tokens": "redistill.data.tokenise:tokenise",
    "baseline": "redistill.models.fit:fit",
    "teacher": "redistill.training.run:run",
    "student": "redistill.training.run:run",
    "outputs": "redistill.distill.outputs:make_outputs",
    "choice": "redistill.evaluation.evaluate:choose",
    "cell": "redistill.evaluation.evaluate:evaluate",
    "table": "redistill.tables.make:make_table",
    "submission": "redistill.evaluation.submit:submit",
    "scores": "redistill.tables.scores:make_scores",
    "study": "redistill.tables.publish:gather",
}


def make(root: Path, key: str) -> Path:
    """Make the thing that was planned under `key`, or find it made, and return its folder.

    Raises:
        RedistillError: it cannot be made, or could not be a moment ago; the message says what to do.
        IntegrityError: an input is not what its manifest says.
        Interrupted: SIGTERM came; the same call goes on.
    """
    told = read_specification(root, key)
    folder = told.node.folder(root)
    if ranks.is_one():
        ranks.be_one(lambda: _join(root, told), lambda error: failures.note(root, key, error))
    if int(os.environ.get("RANK", 0)):
        if not store.is_done(folder):
            with failures.noted(root, key):
                _join(root, told)
        return folder
    with store.locked(root / "store", key) as scratch:
        if not store.is_done(folder) and not store.recovered(folder):
            failures.refuse(root, key, told.node.title)
            progress.beside(lambda: values_in_words(scratch / "progress"))
            with (
                tracking.followed(root, key, told.node.kind, told.tracking),
                failures.noted(root, key),
                attempts.noted(root, key, told.node.title),
            ):
                _make(root, told, folder, scratch)
            progress.beside(None)
            attempts.forget(root, key)
        shutil.rmtree(root / "store" / "work" / key, ignore_errors=True)  # now, or where it was stopped just before
    return folder


def _make(root: Path, told: Specification, folder: Path, scratch: Path) -> None:
    node = told.node
    runtime = node.config.get("runtime", PORTABLE)
    environment.pin(runtime)
    used = dict[str, str]()
    for role, path in told.inputs.items():
        if not store.is_done(path):
            raise RedistillError(f"{node.title}: its {role} is not there ({path.relative_to(root)}); make that first")
        used[role] = store.trust(root, path)
    start = record.started(root, runtime["device"])
    work = scratch / "result"
    shutil.rmtree(work, ignore_errors=True)  # what an attempt before has left; a run goes on from `progress`
    work.mkdir(parents=True)
    with gpus.held(runtime) if node.kind in ranks.KINDS else nullcontext():
        if several(node.kind, runtime):
            command = [sys.executable, "-m", "redistill", "make", node.key]
            start["peak_memory_mib"] = ranks.together(root, command, environment.devices(runtime))
        else:
            _compute(told, work)
    resumes = record.resumes(scratch / "progress")

    def write_record(manifest: str) -> None:
        record.write(root, record.finished(start, root, node.title, node.parts, used, manifest, resumes))

    store.put(root, work, folder, node.parts, write_record)
    if node.kind == "study":
        copy_out(root, node.title, folder)
    if node.kind == "student":
        from redistill.pictures import show  # for people; nothing that is made depends on it

        show.after(root, node.key, node.config)


def several(kind: str, runtime: dict[str, Any]) -> bool:
    """Whether processes are to be started for a thing that several devices make: unless a launcher has started them."""
    return kind in ranks.KINDS and environment.devices(runtime) > 1 and "WORLD_SIZE" not in os.environ


def _compute(told: Specification, work: Path) -> None:
    """Run the stage's function; of several processes, the first one writes what was counted."""
    counted = _stage(told, work)
    if not int(os.environ.get("RANK", 0)):
        (work / "counts.json").write_text(store.pretty(counted), encoding="utf-8")


def _stage(told: Specification, work: Path) -> dict[str, Any]:
    function = function_of(told.node.kind)
    trains = told.node.kind in ("teacher", "student")
    more: dict[str, Any] = {"every": told.checkpoints} if trains else {}
    more |= {"workers": told.workers} if trains or told.node.kind == "outputs" else {}
    counted: dict[str, Any] = function(told.node.config, told.inputs | told.given, work, **more)
    return counted


def function_of(kind: str) -> Callable[..., dict[str, Any]]:
    """The function that makes things of a kind; a `run`, as manifests call teachers and students, is trained."""
    module, name = STAGES["student" if kind == "run" else kind].split(":")
    function: Callable[..., dict[str, Any]] = getattr(importlib.import_module(module), name)
    return function


def _join(root: Path, told: Specification) -> None:
    """Make a thing as one of several processes; another one keeps the books."""
    environment.pin(told.node.config["runtime"])
    _compute(told, lease.scratch_now(root / "store", told.node.key) / "result")


def _check_note(plan: Plan) -> Path:
    return plan.root / "store" / "work" / "checked" / plan.target.key


def models_checked(plan: Plan) -> bool:
    """Whether the models of this very study were found right before; known without torch."""
    return _check_note(plan).is_file()


def note_models_checked(plan: Plan) -> None:
    store.write_atomically(_check_note(plan), f"{plan.checked.name}\n")


def begin(plan: Plan, here: bool = True) -> None:
    """What a new command of Snakemake does once: check the models, if any is to be trained, in a process that may
    import torch, and forget what failed before.

    Args:
        here: whether its jobs run on this machine.

    Raises:
        RedistillError: the models are wrong, or this machine lacks the device.
    """
    shared.take(plan.root)
    tracking.refuse_without_packages(plan.checked.study.tracking.model_dump())
    reach.note(plan)
    missing = plan.missing()
    if here:
        refuse_without_device(plan, missing)
    if any(node.kind in ("teacher", "student") for node in missing) and not models_checked(plan):
        done = subprocess.run(
            [sys.executable, "-m", "redistill", "check", plan.checked.name], cwd=plan.root, stdout=sys.stderr
        )
        if done.returncode:
            raise RedistillError(f"the study `{plan.checked.name}` was refused; see above")
    failures.forget(plan.root, [node.key for node in missing])


def refuse_without_device(plan: Plan, missing: list[Node]) -> None:
    """Refuse to begin what would fail at its first job that computes.

    Raises:
        RedistillError: GPUs are asked for, and there is none.
    """
    wanted = any(node.kind in ranks.KINDS and node.config["runtime"]["device"] == "cuda" for node in missing)
    if not wanted or gpus.names():
        return
    asked = [sys.executable, "-c", "import sys, torch; sys.exit(not torch.cuda.is_available())"]
    if subprocess.run(asked, capture_output=True).returncode:
        raise RedistillError(
            f"{plan.checked.name}: runtime.device of the study is `cuda`, and this machine has no GPU that torch can "
            "use (`nvidia-smi` lists them): run it where there is one, or set `device: cpu` in the study's file below "
            "configs/studies/, which makes other runs, under other keys"
        )


def bring(plan: Plan, remote: str) -> None:
    """Bring what others have pushed of a study to a remote of DVC's, so that it is not made again.

    Raises:
        RedistillError: the remote cannot be read, or something in it is not what was published.
    """
    from redistill.provenance.versions import pull

    shared.take(plan.root)
    moved = pull(plan.root, [], remote, also=plan.nodes)
    print(f"{moved.things} things of the study were brought from the remote `{remote}`", file=sys.stderr)


def keep_warm(plan: Plan) -> None:
    """Let this process' jobs find a forge for what is missing, until it ends."""
    until_the_end = ExitStack()
    until_the_end.enter_context(_warm(plan.root, plan.missing()))
    atexit.register(until_the_end.close)


def _warm(root: Path, nodes: list[Node]) -> AbstractContextManager[None]:
    return forge.lit(root, [(node.kind, node.config) for node in nodes])


def make_all(plan: Plan, keys: list[str]) -> None:
    """Make these nodes of a plan and all that they need, one after the other, in this process' children."""
    tracking.refuse_without_packages(plan.checked.study.tracking.model_dump())
    reach.note(plan)
    write_specifications(plan, keys)
    missing = plan.missing(keys)
    refuse_without_device(plan, missing)
    failures.forget(plan.root, [node.key for node in missing])
    with _warm(plan.root, missing):
        for node in missing:
            if progress.wanted():
                print(f"{node.kind}: {node.title} ({node.key})", file=sys.stderr, flush=True)
            # a process each: a runtime is pinned before numpy and torch are imported, and only then
            status = _ran(plan.root, node.key)
            if status == interruption.EXIT:
                raise interruption.Interrupted(f"{node.title}: stopped; the same command goes on")
            if status:
                attempts.note_killed(plan.root, node.key, node.title)
                raise RedistillError(_not_made(node, status))


def _not_made(node: Node, status: int) -> str:
    """What is said last of a job that did not make it; it has said why, unless it was killed."""
    what = f"{node.kind} {node.title} ({node.key})"
    if status < 0:
        more = ", as the system does where memory is not enough" if -status == signal.SIGKILL else ""
        return (
            f"{what}: killed by {signal.Signals(-status).name}{more}. The same command goes on from its last "
            "checkpoint; if it happens again, docs/faq.md says what takes less memory"
        )
    return (
        f"{what}: could not be made; see above, and store/work/failed/{node.key}.json. Mend it and give the same "
        "command again: what is finished is kept"
    )


def _ran(root: Path, key: str) -> int:
    """The exit status of a job. SIGTERM is passed on to it, so that it can save what it has done. What it says of its
    progress is no answer of the command that wants it, so it does not go to standard output.
    """
    to = STDERR if progress.wanted() else subprocess.DEVNULL
    with subprocess.Popen([sys.executable, "-m", "redistill.job", "make", key], cwd=root, stdout=to) as job:
        before = signal.signal(signal.SIGTERM, lambda *_: job.terminate())
        try:
            return job.wait()
        finally:
            signal.signal(signal.SIGTERM, before)


def traced(plan: Plan, node: Node, file: Path, stage: int, step: int | None) -> None:
    """Train a run in a scratch folder, its store untouched, and write the digests of its steps to `file`."""
    environment.pin(node.config["runtime"])
    from redistill.training.run import SAVED, run
    from redistill.training.trace import Trace

    inputs = {role: plan.nodes[key].folder(plan.root) for role, key in node.inputs.items()}
    with tempfile.TemporaryDirectory() as scratch, file.open("w", encoding="utf-8") as stream:
        work = Path(scratch) / "result"
        work.mkdir()
        run(node.config, inputs, work, SAVED, (Trace(stream, stage, step),))


def publish(plan: Plan) -> list[Path]:
    """Copy the finished study to results/; returns the files that changed.

    Raises:
        RedistillError: the study is not finished.
    """
    missing = plan.missing()
    if missing:
        first = missing[0]
        raise RedistillError(
            f"the study is not finished: {len(missing)} things are missing, the first is {first.kind} {first.title}. "
            "Run `snakemake --cores all`"
        )
    folder = plan.target.folder(plan.root)
    store.trust(plan.root, folder)
    return copy_out(plan.root, plan.target.title, folder)


def to_publish(plan: Plan) -> bool:
    """Whether the study is finished and results/ shows another: an edited cell, or a value that was changed back."""
    folder = plan.target.folder(plan.root)
    return store.is_done(folder) and bool(differences(plan.root, plan.target.title, folder))


def to_show(plan: Plan) -> bool:
    """Whether the report of a finished study is made, and results/ has another one, or none."""
    made = plan.root / "store" / "reports" / plan.target.key / "report.html"
    shown = plan.root / "results" / plan.target.title / "report.html"
    return made.is_file() and (not shown.is_file() or shown.read_bytes() != made.read_bytes())
