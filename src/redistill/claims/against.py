"""Has a rerun reproduced our own earlier results? Of another commit, or of another study: the same bytes, or close?"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from redistill.claims import numbers
from redistill.claims.claimed import DEFAULT_MARGIN
from redistill.claims.decide import NOT_REPRODUCED, REPRODUCED, UNDECIDED, Decision, decide
from redistill.claims.numbers import Number
from redistill.claims.verdict import NOT_COMPARED, variance_of_examples
from redistill.errors import RedistillError
from redistill.provenance.published import Published
from redistill.questions.sides import side
from redistill.questions.state import Place, whole

SAME_BYTES = "same bytes"
ORDER = (SAME_BYTES, REPRODUCED, NOT_REPRODUCED, UNDECIDED, NOT_COMPARED)


@dataclass(frozen=True)
class Rerun:
    """A cell here and there. Numbers are in points; `low` and `high` are the 95 % interval of the difference."""

    place: Place
    verdict: str
    here: float | None = None
    there: float | None = None
    low: float | None = None
    high: float | None = None
    more: int | None = None
    reason: str = ""

    def content(self) -> dict[str, Any]:
        """For JSON, numbers to 4 decimals."""
        shown = {"here": self.here, "there": self.there, "low": self.low, "high": self.high}
        return {
            "table": self.place[0], "row": self.place[1], "column": self.place[2], "verdict": self.verdict,
            "more_seeds": self.more, "reason": self.reason,
            **{name: None if value is None else round(value, 4) for name, value in shown.items()},
        }  # fmt: skip

    def __str__(self) -> str:
        both = "" if self.here is None or self.there is None else f": {self.there:.2f} there, {self.here:.2f} here"
        between = "" if self.low is None or self.high is None else f", {self.low:+.2f} to {self.high:+.2f} off"
        return f"{self.verdict:14}  {' / '.join(self.place)}{both}{between}{'; ' * bool(self.reason)}{self.reason}"


def against(
    root: Path, study: str, other: str, table: str | None = None, margin: float = DEFAULT_MARGIN
) -> list[Rerun]:
    """Every cell of a study against the cell in the same place of `other`: a commit, another study, or STUDY@COMMIT.

    Raises:
        RedistillError: there are no such results, no such table, or no place is in both.
    """
    here, there = whole(root, study), side(root, other, study)
    if table is not None:
        here.find_cells(table, None, None)
    ours, theirs = (numbers.of_cells(side, table) for side in (here, there))
    if not ours.keys() & theirs.keys():
        raise RedistillError(f"{other} has no cell in a place in which {study} has one: there is nothing to compare")
    found = [_compared(here, ours[p], there, theirs[p], margin) for p in ours if p in theirs]
    found += [Rerun(place, NOT_COMPARED, reason="it is only here") for place in ours.keys() - theirs.keys()]
    found += [Rerun(place, NOT_COMPARED, reason=f"it is only in {other}") for place in theirs.keys() - ours.keys()]
    return sorted(found, key=lambda one: (ORDER.index(one.verdict), one.place))


def _compared(here: Published, ours: Number, there: Published, theirs: Number, margin: float) -> Rerun:
    means = ours.sample.mean, theirs.sample.mean
    if (ours.metric, ours.task) != (theirs.metric, theirs.task):
        return Rerun(ours.place, NOT_COMPARED, *means, reason=f"it is {theirs.metric} there, and {ours.metric} here")
    if ours.key == theirs.key and ours.digest == theirs.digest and _same_runs(here, there, ours):
        return Rerun(ours.place, SAME_BYTES, *means)
    if ours.values == theirs.values and ours.examples == theirs.examples:
        return Rerun(ours.place, REPRODUCED, *means, 0.0, 0.0, reason="other bytes, the same number of every run")
    decision = _decided(here, ours, there, theirs, margin)
    return Rerun(ours.place, decision.verdict, *means, decision.low, decision.high, decision.more, decision.reason)


def _same_runs(here: Published, there: Published, cell: Number) -> bool:
    """Whether what is behind a cell has the same bytes too: equal numbers may come from other weights."""
    upstream = here.upstream([cell.key])
    return all((other := there.things.get(t.key)) is not None and other.digest == t.digest for t in upstream)


def _decided(here: Published, ours: Number, there: Published, theirs: Number, margin: float) -> Decision:
    if _dataset(here, ours) == _dataset(there, theirs):
        examples: float | None = 0.0
    else:
        both = [variance_of_examples(side, replace(n, whole=False)) for side, n in ((here, ours), (there, theirs))]
        examples = None if None in both else sum(variance for variance in both if variance is not None)
    if examples is None:
        why = "the examples are others, and how far that moves the number only predictions tell"
        return Decision(UNDECIDED, None, None, None, why)
    return decide(ours.sample, theirs.sample, margin, examples)


def _dataset(of: Published, number: Number) -> set[str]:
    """The digests of the `dev` of a cell's runs: equal ones have the same examples."""
    cell = of.things[number.key]
    data = [thing.inputs.get(role) for thing in (cell, *(of.things[key] for key in cell.inputs.values()))
            for role in ("dataset", "dev")]  # fmt: skip
    files = [of.things[key].files for key in data if key is not None]
    return {held["dev.parquet"]["sha256"] for held in files if "dev.parquet" in held}
