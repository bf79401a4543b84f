"""Verdicts: which published numbers a study has reproduced, which it has not, and what it would take to know."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from redistill.claims import claimed, numbers
from redistill.claims.claimed import Claim
from redistill.claims.decide import UNDECIDED, Decision, Sample, decide
from redistill.claims.numbers import SUBMISSIONS, Number
from redistill.config.check import check
from redistill.config.checked import Checked
from redistill.errors import RedistillError, nearest
from redistill.provenance.published import Published
from redistill.questions.kinds import plural
from redistill.questions.state import Place, whole

NOT_COMPARED = "not compared"


@dataclass(frozen=True)
class Verdict:
    """What became of a claim. Numbers are in points; `low` and `high` are the 95 % interval of our mean.

    `verdict` is reproduced, not reproduced, undecided or not compared; `reason` says why it is one of the last two.
    """

    claim: Claim
    verdict: str
    mean: float | None = None
    low: float | None = None
    high: float | None = None
    seeds: int = 0
    more: int | None = None
    reason: str = ""

    def content(self) -> dict[str, Any]:
        """For JSON, numbers to 4 decimals."""
        claim = self.claim
        shown = {"mean": self.mean, "low": self.low, "high": self.high}
        return {
            "table": claim.place[0], "row": claim.place[1], "column": claim.place[2], "task": claim.task,
            "claimed": claim.value, "margin": claim.margin, "metric": claim.metric, "split": claim.split,
            "label": claim.label, "source": claim.source, "verdict": self.verdict, "seeds": self.seeds,
            "more_seeds": self.more, "reason": self.reason,
            **{name: None if value is None else round(value, 4) for name, value in shown.items()},
        }  # fmt: skip

    def __str__(self) -> str:
        claim = self.claim
        measured = f"{claim.metric or 'metric not said'}, {claim.split or 'split not said'}"
        said = f"{' / '.join(claim.place)} ({measured}): {claim.value:g} ± {claim.margin:g} ({claim.label})"
        here = "" if self.mean is None else f"; here {self.mean:.2f}{_interval(self)}"
        return f"{self.verdict:14}  {said}{here}{'; ' * bool(self.reason)}{self.reason}"


def _interval(of: Verdict) -> str:
    between = "" if of.low is None or of.high is None else f", 95 % from {of.low:.2f} to {of.high:.2f}"
    return f"{between} ({of.seeds} {plural('run', of.seeds)})"


def verdicts(root: Path, study: str, table: str | None = None) -> list[Verdict]:
    """A verdict on every claim of a study, or of one of its tables (`submissions` among them).

    Raises:
        ConfigError: the study has mistakes.
        RedistillError: it has no such table; or there are no results that can be read.
    """
    checked = check(root, study)
    known = [*checked.study.tables, *([SUBMISSIONS] if checked.study.submissions else [])]
    if table is not None and table not in known:
        raise RedistillError(f"the study has no table `{table}`; {nearest(table, known)}")
    claims = [claim for claim in claimed.of_study(checked) if table in (None, claim.place[0])]
    if not claims:
        return []
    made = whole(root, study)
    there = numbers.of_cells(made)
    said = {(number.place, number.metric): number for number in numbers.of_submissions(made, _files(checked))}
    return [_judged(made, claim, _found(claim, there, said)) for claim in claims]


def _files(checked: Checked) -> dict[str, str]:
    """The tasks that GLUE's files are of, as submissions have them."""
    named = [task for said in checked.study.submissions.values() for task in said.tasks]
    return {str(checked.tasks[task].submitted_as): task for task in named}


def _found(claim: Claim, cells: Mapping[Place, Number], scores: Mapping[tuple[Place, str], Number]) -> Number | None:
    if claim.place[0] != SUBMISSIONS:
        return cells.get(claim.place)
    alike = [number for (place, _), number in scores.items() if place == claim.place]
    return next((number for number in alike if number.metric == claim.metric), alike[0] if alike else None)


def _judged(made: Published, claim: Claim, number: Number | None) -> Verdict:
    if number is None:
        recorded = "no score of the server is recorded" if claim.place[0] == SUBMISSIONS else "there is no such cell"
        return Verdict(claim, NOT_COMPARED, reason=recorded)
    if (why := _other(claim, number)) is not None:
        return Verdict(claim, NOT_COMPARED, reason=why)
    if claim.examples is not None:
        number = replace(number, whole=claim.examples == "same")
    examples = variance_of_examples(made, number)
    if examples is None:
        why = "its examples are a sample, whose spread only predictions tell: `redistill pull` brings them"
        decision = Decision(UNDECIDED, None, None, None, why)
    else:
        decision = decide(number.sample, claim.value, claim.margin, examples)
    low, high = (None if end is None else claim.value + end for end in (decision.low, decision.high))
    return Verdict(
        claim, decision.verdict, number.sample.mean, low, high, len(number.values), decision.more, decision.reason
    )


def _other(claim: Claim, number: Number) -> str | None:
    """Why a claim and a number are not of the same thing, in words; None if they are."""
    if claim.split is None:
        return "the file of the claim does not say which split it is of"
    if claim.split != number.split:
        return f"the claim is a number of {claim.split}, and ours is one of {number.split}: these are other examples"
    if claim.metric is None:
        return "it was not said which metric the claim is"
    if claim.metric != number.metric:
        return f"the claim is {claim.metric}, and ours is {number.metric}"
    if claim.task != number.task:
        return f"the claim is of {claim.task}, and ours is of {number.task}"
    return None


def variance_of_examples(made: Published, number: Number) -> float | None:
    """How far the choice of examples moves the number, squared points: 0 where they are all that the source has.

    By the bootstrap over examples where the predictions are in the store; without them, accuracy has p (1 - p) / n.
    None if it is not known.
    """
    if number.whole:
        return 0.0
    if (drawn := _by_bootstrap(made, number)) is not None:
        return drawn
    if number.metric == "accuracy":
        share = Sample(list(number.values.values())).mean / 100
        return 1e4 * share * (1 - share) / number.examples
    return None


def _by_bootstrap(made: Published, number: Number) -> float | None:
    folder = made.things[number.key].folder(made.root)
    if made.commit is not None or not (folder / "metrics.json").is_file():
        return None
    from redistill.claims.resample import variance_of_cell

    return variance_of_cell(folder, number.metric)
