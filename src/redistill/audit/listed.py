"""Whether runs.tsv has the runs behind each cell, under the seeds that they have."""

from collections import Counter
from collections.abc import Iterator

from redistill.provenance.keys import key_of
from redistill.provenance.published import Published, Thing

COLUMNS = ("table", "experiment", "task", "seed", "key")
Line = tuple[str, str, str, int, str]
Problem = tuple[str, str, str]  # file, what is wrong, and the key of the thing that it is about, or ""


def disagreements(read: Published, text: str) -> Iterator[Problem]:
    """Everything in which runs.tsv, whose text this is, does not agree with manifests.json."""
    lines = ["\t".join(COLUMNS), *(f"{r.table}\t{r.experiment}\t{r.task}\t{r.seed}\t{r.key}" for r in read.runs)]
    where = f"results/{read.study}/runs.tsv"
    if text != "\n".join(lines) + "\n":
        yield where, "is not written as it was published", ""
    lines_there = [(r.table, r.experiment, r.task, r.seed, r.key) for r in read.runs]
    own, chosen_from = _behind(read)
    for line in sorted(own - set(lines_there)):
        yield where, f"lacks the run {line[4]} with seed {line[3]}, which is behind {' / '.join(line[:3])}", line[4]
    for table, column, seed, key in sorted(chosen_from - {(t, c, s, k) for t, _, c, s, k in lines_there}):
        yield where, f"lacks the run {key} with seed {seed}, from which {table} / {column} was chosen", key
    columns = {(table, column) for table, _, column in read.cells}
    for line, times in Counter(lines_there).items():
        table, experiment, column, seed, key = line
        if times > 1:
            yield where, f"{table}, {experiment}, {column}, {seed}: stands {times} times", key
        if (table, column) in columns and line not in own and (table, column, seed, key) not in chosen_from:
            yield where, f"{table}, {experiment}, {column}: {key} is not its run with seed {seed}", key
        known = read.things.get(key)
        if known is not None and known.parts["config"].get("seed") != seed:
            yield where, f"{table}, {experiment}, {column}: the seed of {key} is not {seed}", key


def _behind(read: Published) -> tuple[set[Line], set[tuple[str, str, int, str]]]:
    """The lines of the cells' own runs; and table, column, seed and key of those that they were chosen from."""
    own, chosen_from = set[Line](), set[tuple[str, str, int, str]]()
    for (table, row, column), cell in read.cells.items():
        for seed, key, is_own in _seeds(read, cell):
            if is_own:
                own.add((table, row, column, seed, key))
            else:
                chosen_from.add((table, column, seed, key))
    return own, chosen_from


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
