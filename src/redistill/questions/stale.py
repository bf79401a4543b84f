"""What of a study's results today's configs and code would no longer give."""

from pathlib import Path

from redistill.plan import make_plan
from redistill.questions.diff import Differences, compare
from redistill.questions.state import as_planned, as_published, whole


def stale(root: Path, study: str) -> Differences:
    """The results of a study, compared with its plan. Keys tell: nothing is made, and nothing need be in the store.

    Raises:
        ConfigError: the study, or a file that it reaches, has mistakes.
        RedistillError: it has no results, or they cannot be read.
    """
    plan = make_plan(root, study)
    return compare(as_published(whole(root, study)), as_planned(plan), root)
