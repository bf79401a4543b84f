"""What chance may have done to a column: every row's metric on the same drawn examples and seeds.

The procedure of `redistill.tables.statistics.bootstrap`, for all rows of a column at once and with fewer draws: what
tables declare has the numbers of the tables; this is for looking around.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from redistill.errors import RedistillError
from redistill.evaluation.metrics import METRICS
from redistill.questions.state import Place
from redistill.report.reading import Study
from redistill.tables.sampled import of_runs
from redistill.tables.statistics import Sampled

DRAWS, DRAWS_OF_BOXES = 4_000, 200
Numbers = NDArray[np.float64]


@dataclass(frozen=True)
class Column:
    """A column's rows, in their order, on D drawn samples: (rows, D), and how many seeds and examples there are."""

    rows: list[str]
    values: Numbers
    seeds: list[int]
    examples: int


def column(study: Study, table: str, name: str, rows: list[str]) -> Column | None:
    """What rows of a column might have been; None where their predictions are not in the store, or of other examples.

    Raises:
        IntegrityError: predictions are not what was published.
    """
    metric = next(c["metric"] for c in study.tables[table]["columns"] if c["key"] == name)
    if metric not in METRICS:
        return None
    found: dict[str, list[Sampled]] = {}
    counts = set()
    for row in rows:
        place = (table, row, name)
        read = _sampled(study, place, metric) if place in study.published.cells else None
        if read is not None:
            found[row], examples = read
            counts.add(examples)
    if len(found) < 2 or len(counts) != 1:
        return None
    (examples,) = counts
    draws = DRAWS_OF_BOXES if METRICS[metric][0] == "detection" else DRAWS
    return Column(
        list(found), _drawn(list(found.values()), examples, draws), [len(s) for s in found.values()], examples
    )


def _sampled(study: Study, place: Place, metric: str) -> tuple[list[Sampled], int] | None:
    runs = study.runs_of(place)
    for run in runs.values():
        files = [study.file(run, name) for name in ("predictions.parquet", "logits.npy")]
        if not any(files):
            return None
    dataset = study.published.cells[place].inputs.get("dataset")
    if not runs or (dataset is not None and study.file(study.things[dataset], "dev.parquet") is None):
        return None
    order = sorted(runs.items(), key=lambda item: int(item[0].split()[-1]))
    try:
        return of_runs(study.root / "store", [run.key for _, run in order], metric, dataset)
    except (RedistillError, StopIteration, KeyError):
        return None


def _drawn(rows: list[list[Sampled]], n: int, draws: int) -> Numbers:
    """Each row's mean over drawn seeds, on the same drawn examples: (rows, draws). Rows with as many seeds draw the
    same ones, since equal seeds are equal orders of the data.
    """
    seed_stream, example_stream = (
        np.random.Generator(np.random.PCG64(stream)) for stream in np.random.SeedSequence(0).spawn(2)
    )
    shares = {s: _shares(s, draws, seed_stream) for s in sorted({len(row) for row in rows})}
    values = np.empty((len(rows), draws))
    step = max(1, 2**18 // n)
    for start in range(0, draws, step):
        part = slice(start, min(start + step, draws))
        picked = example_stream.integers(0, n, size=(part.stop - part.start, n))
        for i, row in enumerate(rows):
            of_seeds = np.stack([sampled(picked) for sampled in row], axis=1)
            values[i, part] = (of_seeds * shares[len(row)][part]).sum(axis=1)
    return values


def _shares(seeds: int, draws: int, generator: np.random.Generator) -> Numbers:
    picked = generator.integers(0, seeds, size=(draws, seeds)) + seeds * np.arange(draws)[:, None]
    return np.bincount(picked.ravel(), minlength=draws * seeds).reshape(draws, seeds) / seeds


def p_of(differences: Numbers) -> float:
    """Two-sided p of drawn differences, one added to each count (Davison and Hinkley 1997)."""
    rounded = np.round(differences, 12) + 0.0
    tail = min(np.count_nonzero(rounded <= 0), np.count_nonzero(rounded >= 0))
    return float(min(1.0, 2 * (tail + 1) / (len(rounded) + 1)))


def interval(values: Numbers) -> tuple[float, float]:
    """2.5 and 97.5 percentiles."""
    low, high = np.percentile(values, [2.5, 97.5])
    return float(low), float(high)


Of = Callable[[str, str], Column | None]
"""The sample of a table's column, read once."""
