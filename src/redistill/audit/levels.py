"""The audit itself: what was asked for, level by level."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from redistill.audit.asked import Scope, asked
from redistill.audit.integrity import integrity
from redistill.audit.links import chain, trace
from redistill.audit.remade import remade
from redistill.audit.report import LEVELS, Report
from redistill.audit.sample import count
from redistill.audit.today import planned, stale
from redistill.config import compose
from redistill.config.schema import Reproduction, Study
from redistill.errors import ConfigError, RedistillError, nearest


def audit(
    root: Path,
    what: str = "embedded",
    level: str = "integrity",
    *,
    table: str | None = None,
    row: str | None = None,
    column: str | None = None,
    sample: str | None = None,
    seed: int = 0,
    trusted: str | None = None,
) -> Report:
    """Is it true? Audit a study, a part of it, the thing with a key, or what a file belongs to.

    Args:
        level: how far: trace, integrity, recompute, replay or rerun, each with those before.
        table, row, column: of the study `what`, only these.
        sample: of what is made again at replay and rerun, so many things, or a share such as `5%`; all if None.
        seed: by which they are drawn.
        trusted: the public key (`ed25519:...`) that alone is believed to have sealed the study.

    Raises:
        RedistillError: there is no such study, thing, cell, level or sample.
    """
    if level not in LEVELS:
        raise RedistillError(f"there is no level `{level}`; {nearest(level, LEVELS)}")
    if sample is not None:
        count(sample, 1)
    scope = asked(root, what, table, row, column)
    report = Report(scope.what, level, scope.study)
    for file, message in scope.unreadable:
        report.say_wrong("trace", file, message)
    if scope.unreadable:
        return report
    report.root = scope.published.digest if scope.study else ""
    report.sample = {"asked": sample, "seed": seed} if sample is not None else None
    plan = None
    with _guarded(report, "trace"):
        trace(scope, report)
        plan = planned(scope, report)
        if plan is not None:
            stale(scope, plan, report)
    if not scope.whole:
        report.chain += chain(scope)
    for one in LEVELS[1 : LEVELS.index(level) + 1]:
        with _guarded(report, one):
            if one == "integrity":
                integrity(scope, report, plan.target.key if plan is not None else None, trusted)
            else:
                remade(scope, one, report, _rule(scope))
    return report


@contextmanager
def _guarded(report: Report, level: str) -> Iterator[None]:
    """Do a part of an audit. Where something is wrong already, what is read may have any form: then it ends there."""
    try:
        yield
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        if not report.wrong:
            raise
        said = f"what is wrong keeps the rest of this level from being checked ({type(error).__name__}: {error})"
        report.say_unchecked(level, "", said)


def _rule(scope: Scope) -> Reproduction:
    """What the study takes for the same; the defaults where it is not there, or has mistakes."""
    try:
        return compose.validate(Study, compose.read(scope.root, "studies", scope.study)).reproduction
    except ConfigError:
        return Reproduction()
