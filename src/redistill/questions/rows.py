"""How many rows of a data set differ between two versions of it, where both are in the store."""

from collections import Counter
from pathlib import Path

from redistill.provenance import store
from redistill.provenance.published import Thing
from redistill.questions.state import State

NAMED = 3  # rows of a split that are named by their ids


def differing(root: Path, old: State, new: State) -> dict[str, str]:
    """In words, by the name of each data set that has another key on each side."""
    before, after = ({t.title: t for t in state.things.values() if t.kind == "dataset"} for state in (old, new))
    both = sorted(before.keys() & after.keys())
    return {name: in_words(root, before[name], after[name]) for name in both if before[name].key != after[name].key}


def in_words(root: Path, old: Thing, new: Thing) -> str:
    """What of a data set's rows differs, split by split."""
    there = [store.is_done(thing.folder(root)) for thing in (old, new)]
    if not all(there):
        return (
            "rows not compared, as " + ("one version is not" if any(there) else "neither version is") + " in the store"
        )
    splits = sorted({file.stem for thing in (old, new) for file in thing.folder(root).glob("*.parquet")})
    said = []
    for split in splits:
        a, b = (_rows(thing.folder(root) / f"{split}.parquet") for thing in (old, new))
        gone, come = (Counter(x.values()) - Counter(y.values()) for x, y in ((a, b), (b, a)))
        if gone or come:
            ids = sorted({i for rows, others in ((a, gone), (b, come)) for i, row in rows.items() if row in others})
            named = f" (id {', '.join(ids)})" if len(ids) <= NAMED else ""
            said.append(f"{split} {max(gone.total(), come.total())} of {max(len(a), len(b))}{named}")
    return f"rows that differ: {', '.join(said)}" if said else "every row is the same"


def _rows(file: Path) -> dict[str, str]:
    """What rows say, by their ids. Ids alone do not make rows differ: they may be line numbers."""
    if not file.is_file():
        return {}
    import pyarrow.parquet as pq

    table = pq.read_table(file)
    names = [name for name in table.column_names if name != "id"]
    rows = zip(*(table[name].to_pylist() for name in names), strict=True)
    return dict(zip(table["id"].to_pylist(), map(repr, rows), strict=True))
