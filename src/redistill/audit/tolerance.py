"""What counts as the same where bytes cannot: made elsewhere, in a study that is not portable."""

from pathlib import Path
from typing import Any

from redistill.audit.again import Answer
from redistill.audit.report import Report
from redistill.config.schema import Reproduction
from redistill.errors import RedistillError
from redistill.job import PORTABLE
from redistill.provenance import record
from redistill.provenance.published import Thing

SAME_KIND = ("vendor", "features", "devices")  # of a machine: what can matter to the bytes


def why_not_bytes(root: Path, thing: Thing, answer: Answer) -> str | None:
    """Why other bytes may come out here than were published; None if they must be the same."""
    runtime = thing.parts["config"].get("runtime", PORTABLE)
    if runtime["portable"]:
        return None
    try:
        made_on: dict[str, Any] = record.read(record.place(root, thing.key))["machine"]
    except (OSError, RedistillError, LookupError):
        return "no record says on what machine it was made"
    for name in SAME_KIND:
        if made_on.get(name) != answer.machine_here.get(name):
            here, there = (_said(machine.get(name)) for machine in (answer.machine_here, made_on))
            return f"it was made on a machine whose {name} are {there}, here they are {here}, and it is not portable"
    return None


def _said(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value or "not known")


def judge(level: str, thing: Thing, answer: Answer, why: str, rule: Reproduction, report: Report) -> None:
    """Compare the metrics, and say that this rule was applied."""
    if not answer.scores:
        said = f"{thing}: other bytes come out, and nothing scores it; {why}"
        report.say_unchecked(level, thing.place, said, thing.key)
        return
    shown = ", ".join(f"{metric} {old:.6f}, now {new:.6f}" for metric, (old, new) in answer.scores.items())
    said = f"{thing}: {shown}; within {rule.tolerance:g} counts as the same, as {why}"
    if all(abs(new - old) <= rule.tolerance for old, new in answer.scores.values()):
        report.notes.append(said)
    else:
        report.say_wrong(level, thing.place, said, thing.key)
