"""Whether runs.tsv has the runs behind each cell, under the seeds that they have."""

from collections.abc import Iterator

from redistill.provenance.keys import key_of
from redistill.provenance.published import Published, Thing

COLUMNS = ("table", "experiment", "task", "seed", "key")
Problem = tuple[str, str, str]  # file, what is wrong, and the key of the thing that it is about, or ""


def disagreements(read: Published, text: str) -> Iterator[Problem]:
    """Everything in which runs.tsv, whose text this is, does not agree with manifests.json."""
    lines = ["\t".join(COLUMNS), *(f"{r.table}\t{r.experiment}\t{r.task}\t{r.seed}\t{r.key}" for r in read.runs)]
    where = f"results/{read.study}/runs.tsv"
    if text != "\n".join(lines) + "\n":
        yield where, "is not written as it was published", ""
    listed = {(run.table, run.seed, run.key) for run in read.runs}
    named = {(run.table, run.experiment, run.task, run.seed): run.key for run in read.runs}
    behind = set[tuple[str, int, str]]()
    for (table, row, column), cell in sorted(read.cells.items()):
        for seed, key, own in _seeds(read, cell):
            behind.add((table, seed, key))
            if (table, seed, key) not in listed:
                yield where, f"lacks the run {key} with seed {seed}, which is behind {table} / {row} / {column}", key
            if own and named.get((table, row, column, seed), key) != key:
                yield where, f"{table} / {row} / {column}: the run with seed {seed} is {key}", key
    rows = {(table, row) for table, row, _ in read.cells}
    for run in read.runs:
        known = read.things.get(run.key)
        seed = known.parts["config"].get("seed") if known is not None else run.seed
        beside = (run.table, run.experiment) in rows and (run.table, run.seed, run.key) not in behind
        if seed != run.seed or beside:
            said = f"{run.table}, {run.experiment}, {run.task}: {run.key} is not its run with seed {run.seed}"
            yield where, said, run.key


def _seeds(read: Published, cell: Thing) -> Iterator[tuple[int, str, bool]]:
    """Seeds and keys of the runs behind a cell, and whether they are the row's own; others were chosen from."""
    for role, key in cell.inputs.items():
        thing = read.things.get(key)
        if thing is None:
            continue
        if role == "choice":
            yield from _seeds(read, thing)
        elif "seed " in role:
            yield int(role.rpartition(" ")[2]), _trained(thing), role.startswith("seed ")


def _trained(thing: Thing) -> str:
    """The key of the run that said what a cell reads, where that is what a run says of another task's data."""
    if thing.kind == "outputs":
        return thing.inputs.get("teacher", thing.key)
    if thing.kind == "baseline" and "dev" in thing.inputs:
        inputs = {role: key for role, key in thing.inputs.items() if role != "dev"}
        return key_of({**thing.parts, "inputs": inputs})
    return thing.key
