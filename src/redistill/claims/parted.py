"""Where does a run that comes out different part from the same run on another machine? Step, tensor, operation."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from redistill.claims import traces
from redistill.claims.declared import RUNS
from redistill.claims.steps import WEIGHTS, Traced, traced
from redistill.claims.traces import Parted
from redistill.errors import RedistillError
from redistill.provenance.published import Published, Thing
from redistill.questions.state import thing_with


@dataclass(frozen=True)
class Parting:
    """What was found, and what to do next, in words; and the traces that were written for others to compare with."""

    at: Parted | None
    words: list[str]
    written: list[Path]


def parting(made: Published, thing: Thing) -> Parting:
    """Trace a run here, compare it with the traces that others have published, and look into the step where they part.

    Raises:
        RedistillError: it has no steps, cannot be trained here, or a trace cannot be read.
    """
    root, study = made.root, made.study
    trace = traced(root, thing)
    others = [(file, head["weights"], lines) for file, head, lines in traces.published(root, study, thing.key)]
    mine = traces.write_steps(root, study, thing.key, trace)
    own = next(lines for file, _, lines in traces.published(root, study, thing.key) if file == mine)
    compared = [(weights, traces.first_difference(own, lines)) for file, weights, lines in others if file != mine]
    told = thing.files[WEIGHTS]["sha256"]
    # What was published is what one wants to know about; a third machine may part from both elsewhere.
    known = [at for weights, at in compared if at is not None and weights == told] or [
        at for _, at in compared if at is not None
    ]
    if not known:
        return Parting(None, [_nobody(study, thing, trace, bool(compared))], [mine])
    at = known[0]
    if at.step is None:
        return Parting(at, [f"{at}: the models differ before anything is trained"], [mine])
    inner = into(made, thing, at.stage, at.step)
    return Parting(at, [str(at), *inner.words], [mine, *inner.written])


def _nobody(study: str, thing: Thing, trace: Traced, compared: bool) -> str:
    if trace.weights == thing.files[WEIGHTS]["sha256"]:
        return f"{thing.title}: trained with a trace, it gives the weights that were published"
    if compared:
        return f"{thing.title}: it is the same in every step that was traced elsewhere, and different only afterwards"
    return (
        f"{thing.title}: nobody has published a trace of it. Where it comes out as published, "
        f"`redistill parted {thing.key} {study}` writes one; bring it here and give the same command"
    )


def into(made: Published, thing: Thing, stage: int, step: int) -> Parting:
    """Trace every operation of one step, and compare them with those that others have published."""
    root, study = made.root, made.study
    there = traces.operations(root, study, thing.key, stage, step)
    mine = traces.write_operations(root, study, thing.key, stage, step, traced(root, thing, stage, step))
    said = _compared(mine, [file for file in there if file != mine])
    if not said:
        command = f"redistill parted {thing.key} {study} --stage {stage} --step {step}"
        said = [f"`{command}` on the other machine, with {mine.relative_to(root)}, names the operation"]
    return Parting(Parted(stage, step, (), 0), said, [mine])


def _compared(mine: Path, others: Iterable[Path]) -> list[str]:
    from redistill.training.trace import compare

    return [f"against {file.name}: {compare(mine, file)}" for file in others]


def run_of(made: Published, key: str) -> Thing:
    """The run or baseline whose key is this, or begins so.

    Raises:
        RedistillError: the study has none, or several.
    """
    thing = thing_with(made.things, key)
    if thing is None or thing.kind not in RUNS:
        what = f"it is the {thing.kind} {thing.title}; " if thing else ""
        raise RedistillError(f"{made.study} has no run {key}: {what}results/{made.study}/runs.tsv lists its runs")
    return thing
