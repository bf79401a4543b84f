"""Whether a mean over seeds lies within a margin of a number, and how many seeds would tell: the statistics alone.

Equivalence by two one-sided tests (Schuirmann 1987): a mean is reproduced if its whole interval lies within value ±
margin, and is not if it lies wholly outside; else that is undecided. The interval is the two-sided 95 % one that tables
print, so either answer is wrong in at most 5 % of all studies, whatever is true. Everything is in one unit, points.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from statistics import fmean, stdev

from redistill.questions.kinds import plural

LEVEL = 0.95
POWER = 0.8  # with which the number of seeds that is told would decide, were mean and spread what they seem
MOST = 1000  # seeds that anybody would run
REPRODUCED, NOT_REPRODUCED, UNDECIDED = "reproduced", "not reproduced", "undecided"


@dataclass(frozen=True)
class Sample:
    """Runs of one thing: a number each. Where nothing is drawn at random, one run says all that seeds could."""

    values: Sequence[float]
    drawn: bool = True
    step: float = 0.0  # the least difference that the metric can show, such as that of one example

    @property
    def mean(self) -> float:
        return fmean(self.values)

    @property
    def known(self) -> bool:
        """Whether anything is known of the spread between its runs."""
        return not self.drawn or len(self.values) > 1

    @property
    def spread(self) -> float:
        """Standard deviation between seeds. Runs that agree to the last example are not known to agree further."""
        return max(stdev(self.values), self.step / math.sqrt(12)) if self.drawn else 0.0


@dataclass(frozen=True)
class Decision:
    """`more` is the number of seeds to add; None where no number was found, or none is needed. `reason` is in words."""

    verdict: str
    low: float | None
    high: float | None
    more: int | None
    reason: str


def decide(ours: Sample, claimed: float | Sample, margin: float, examples: float = 0.0) -> Decision:
    """Whether our mean is within `margin` of what is claimed.

    `claimed` is a number, or runs of somebody else's. `examples` is the variance of the difference that comes from
    which examples were taken: 0 where both numbers are of the very same ones.
    """
    theirs = claimed if isinstance(claimed, Sample) else Sample([claimed], drawn=False)
    difference = ours.mean - theirs.mean
    for who, sample in (("", ours), (" there", theirs)):
        if not sample.known:
            return Decision(UNDECIDED, None, None, None, _one_run(who, difference, margin, examples))
    half = _half(_variances(ours, theirs, examples), (1 + LEVEL) / 2)
    low, high = difference - half, difference + half
    certain = "" if ours.drawn or theirs.drawn or examples else "nothing in it is drawn at random: one run is enough"
    if -margin <= low and high <= margin:
        return Decision(REPRODUCED, low, high, None, certain)
    if low > margin or high < -margin:
        return Decision(NOT_REPRODUCED, low, high, None, certain)
    more = seeds_to_add(ours, theirs, margin, examples)
    return Decision(UNDECIDED, low, high, more, _why_undecided(ours, theirs, more, examples))


def seeds_to_add(ours: Sample, theirs: Sample, margin: float, examples: float = 0.0) -> int | None:
    """The seeds that ours would need beyond those that it has, to be decided; None if there is no such number.

    The smallest S for which (t(0.975) + t(0.8)) s / sqrt(S) is at most the distance of the mean from the nearer edge of
    the margin: what an equivalence test needs for a power of 0.8 (Chow, Shao and Wang 2008), with t of the S - 1
    degrees of freedom that there would be. What seeds do not change adds to both half widths.
    """
    distance = abs(margin - abs(ours.mean - theirs.mean))
    has = len(ours.values)
    if not ours.drawn or not _enough(ours, theirs, examples, distance, MOST):
        return None
    low, high = has, MOST  # not enough, and enough: the error shrinks with every seed
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if _enough(ours, theirs, examples, distance, middle) else (middle, high)
    return high - has


def _enough(ours: Sample, theirs: Sample, examples: float, distance: float, seeds: int) -> bool:
    variances = _variances(ours, theirs, examples, seeds)
    return _half(variances, (1 + LEVEL) / 2) + _half(variances, POWER) <= distance


Variances = list[tuple[float, float]]
"""Independent variances of a difference, each with its degrees of freedom."""


def _variances(ours: Sample, theirs: Sample, examples: float, seeds: int | None = None) -> Variances:
    """`seeds` is how many ours has, or would have."""
    found: Variances = [(examples, math.inf)]
    for sample, n in ((ours, seeds or len(ours.values)), (theirs, len(theirs.values))):
        if sample.drawn:
            found.append((sample.spread**2 / n, n - 1))
    return found


def _half(variances: Variances, p: float) -> float:
    """Half the width of the interval of a sum: its parts' half widths, squared and added (Howe 1974).

    Unlike one t for all, with degrees of freedom by Satterthwaite, this holds where a part is known of two seeds.
    """
    return math.sqrt(sum(_quantile(freedom, p) ** 2 * variance for variance, freedom in variances))


@cache
def _quantile(freedom: float, p: float) -> float:
    """Student's t; the normal one where nothing is estimated from few."""
    from scipy.special import ndtri, stdtrit

    return float(ndtri(p) if math.isinf(freedom) else stdtrit(freedom, p))


def several(intervals: Iterable[tuple[float | None, float | None]]) -> str:
    """A line for whoever reads many verdicts: none is corrected for their number."""
    count = sum(low is not None and low != high for low, high in intervals)
    if count < 2:
        return ""
    return f"{count} verdicts rest on 95 % intervals, not corrected for their number: up to 5 of 100 such are wrong\n"


def _one_run(who: str, difference: float, margin: float, examples: float) -> str:
    """Examples alone cannot decide: the spread between seeds comes on top of theirs, and nobody knows it."""
    where = "within" if abs(difference) <= margin else "outside"
    alone = f", ± {_quantile(math.inf, (1 + LEVEL) / 2) * math.sqrt(examples):.2f} by the examples" if examples else ""
    return (
        f"one run{who} says nothing of the spread between seeds; it lies {difference:+.2f}{alone} off, {where} the "
        f"margin; a second seed would tell how many decide"
    )


def _why_undecided(ours: Sample, theirs: Sample, more: int | None, examples: float) -> str:
    if more is not None:
        return f"{more} more {plural('seed', more)} would decide"
    if ours.drawn and not examples and not theirs.drawn:
        return f"the mean lies so near the edge of the margin that {MOST} seeds would not decide"
    few = "examples" if examples else "runs there"
    return f"no number of seeds would decide: the {few} are too few for this margin, so near its edge"
