"""Experiments as YAML text that the project's own parser reads back to the same values."""

import re
from typing import Any

import yaml

from redistill.importer.report import LeftOut, Report

WIDTH = 112


class _Dumper(yaml.SafeDumper):
    """Quotes every text that is not plainly a word, since YAML 1.1 and 1.2 disagree on what is a number."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _text(dumper: yaml.SafeDumper, value: str) -> yaml.Node:
    plain = re.fullmatch(r"[A-Za-z][A-Za-z0-9_./ -]*(:[a-z]+)?(?<! )", value)
    word = value.lower() in ("true", "false", "null", "yes", "no", "on", "off", "y", "n")
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=None if plain and not word else '"')


_Dumper.add_representer(str, _text)


def experiment_text(data: dict[str, Any], report: Report, origin: str) -> str:
    """The file of an experiment: where it comes from, the recipe, and what is not in it."""
    lines = [f"# Imported by `redistill import-torchdistill` from {origin}, made for the task {report.task}."]
    lines += _listed("What it still needs:", report.to_do)
    lines += _listed("Where the original does not do what it seems to:", report.warnings)
    body = yaml.dump(data, Dumper=_Dumper, sort_keys=False, default_flow_style=None, width=WIDTH, allow_unicode=True)
    return "\n".join([*lines, body, *_not_carried(report)]).rstrip("\n") + "\n"


def _listed(title: str, items: list[str]) -> list[str]:
    return [f"# {title}", *(f"# - {item}" for item in items)] if items else []


def _not_carried(report: Report) -> list[str]:
    """The values of the source that are not above, grouped by the reason."""
    lines: list[str] = []
    reasons: dict[str, list[LeftOut]] = {}
    for item in report.left_out:
        reasons.setdefault(item.reason, []).append(item)
    if reasons:
        lines.append("# Not carried over, with the lines of the source:")
    for reason, items in reasons.items():
        lines.append(f"# - {reason}:")
        lines += [f"#     {item.line}: {item.key}" + (f" = {item.value}" if item.value else "") for item in items]
    if report.without_influence:
        lines.append(f"# Without influence on any number: {', '.join(report.without_influence)}.")
    return lines
