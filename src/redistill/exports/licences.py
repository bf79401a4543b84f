"""What everything that a study used asks for: licences and citations of its sources, of packages, and of the project.

A package's licence is what its installed metadata states; nobody's lawyer has read it.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from importlib.metadata import PackageMetadata, PackageNotFoundError, metadata
from pathlib import Path
from typing import Any

import yaml

from redistill.errors import RedistillError
from redistill.exports.facts import Study, page_of_package

UNKNOWN = "unknown"
GROUPS = {
    "project": "The project",
    "data": "Data",
    "model": "Pretrained models",
    "package": "Packages that the numbers depend on",
    "installed": "Packages that were installed too",
}
# What a user should look at before results, weights or data are passed on.
FLAGS = {
    "unknown": r"unknown|not (stated|specified|known)|^none$|^-?$|see |^other$",
    "research only": r"research|non-?commercial|academic|educational|(^|[ -])nc([ -]|$)",
    "proprietary": r"proprietary|eula|all rights reserved",
}


@dataclass(frozen=True)
class Owed:
    """One thing that was used. `note` says where its licence was read off."""

    group: str
    name: str
    version: str
    licence: str
    citation: str
    url: str
    note: str = ""

    @property
    def flags(self) -> tuple[str, ...]:
        return flags(self.licence)


def report(study: Study) -> list[Owed]:
    """Everything that a study used: the project, its sources, and packages; those first that its numbers depend on."""
    found = [*_project(study.root), *_sources(study)]
    counted = {(p, v) for thing in study.things for p, v in thing.parts["packages"].items()}
    installed = {(p, v) for made in study.made.values() for p, v in made.packages.items()}
    names = {_normal(package) for package, _ in counted}
    found += _packages("package", counted)
    found += _packages("installed", {(p, v) for p, v in installed if _normal(p) not in names})
    return found


def flags(licence: str) -> tuple[str, ...]:
    """Why a licence should be looked at; nothing where it is a usual one."""
    return tuple(flag for flag, words in FLAGS.items() if re.search(words, licence.strip().lower()))


def of_project(root: Path) -> str | None:
    """The licence that CITATION.cff names."""
    said = _citation(root).get("license")
    return str(said) if said else None


def _citation(root: Path) -> dict[str, Any]:
    file = root / "CITATION.cff"
    try:
        said = yaml.safe_load(file.read_text(encoding="utf-8")) if file.is_file() else {}
    except (ValueError, yaml.YAMLError):
        raise RedistillError(f"{file}: this is no YAML, and says the project's licence and what to cite") from None
    return said if isinstance(said, dict) else {}


def _project(root: Path) -> Iterator[Owed]:
    """The project, and the works that it asks to be cited with it."""
    cited = _citation(root)
    for said in (cited, *cited.get("references", ())) if cited else ():
        authors = ", ".join(
            one.get("name") or " ".join(filter(None, (one.get("given-names"), one.get("family-names"))))
            for one in said.get("authors", ())
        )
        ids = [str(one.get("value", "")) for one in said.get("identifiers", ())]
        parts = (authors, str(said.get("year", "")), said.get("title", ""), *ids)
        licence = str(said.get("license", "")) or UNKNOWN if said is cited else "to be cited"
        yield Owed(
            "project", str(said.get("title", "")), str(said.get("version", "")), licence,
            ", ".join(part for part in parts if part), str(said.get("url", "")),
        )  # fmt: skip


def _sources(study: Study) -> Iterator[Owed]:
    for source in sorted(study.sources.values(), key=lambda source: (source.kind, source.name)):
        url = source.url or ""
        yield Owed(source.kind, source.name, "", source.licence, source.citation, url, source.note)


def _normal(package: str) -> str:
    return re.sub(r"[-_.]+", "-", package).lower()


def _packages(group: str, packages: Iterable[tuple[str, str]]) -> Iterator[Owed]:
    for package, version in sorted(packages, key=lambda pair: (_normal(pair[0]), pair[1])):
        url = page_of_package(package, version)
        try:
            said = metadata(package)
        except PackageNotFoundError:
            yield Owed(group, package, version, UNKNOWN, "", url, "not installed here")
            continue
        here = said["Version"]
        note = "" if here == version else f"licence of version {here}, which is installed here"
        citation = ", ".join(part for part in (_author(said), f"{package} {version}", url) if part)
        yield Owed(group, package, version, _licence(said), citation, url, note)


def _licence(said: PackageMetadata) -> str:
    """The licence that a package's metadata states: an expression, a classifier, or a line of text."""
    every = said.json
    if expression := str(every.get("license_expression") or "").strip():
        return expression
    names = [str(c).split(" :: ")[-1] for c in every.get("classifier", ()) if str(c).startswith("License :: ")]
    names = [name for name in names if name != "OSI Approved"]
    if names:
        return "; ".join(dict.fromkeys(names))
    text = str(every.get("license") or "").strip()
    lines = text.splitlines()
    if len(lines) == 1 and len(text) < 100:
        return text
    return f"{lines[0].strip()} (its text is in the package)" if lines else UNKNOWN


def _author(said: PackageMetadata) -> str:
    every = said.json
    for name in ("author", "maintainer", "author_email", "maintainer_email"):
        text = str(every.get(name) or "").strip()
        if text:
            return re.sub(r"\s*<[^>]*>", "", text).strip('" ')
    return ""


def as_json(found: list[Owed]) -> list[dict[str, Any]]:
    return [{**asdict(owed), "flags": list(owed.flags)} for owed in found]


def markdown(found: list[Owed]) -> str:
    """The report for people: first what to look at, then everything by group."""
    flagged = [owed for owed in found if owed.flags]
    lines = ["# What was used, and what it asks for", ""]
    if flagged:
        lines += [f"{len(flagged)} of {len(found)} should be looked at before anything is passed on:", ""]
        lines += [f"- {_said(owed)}: {', '.join(owed.flags)} ({owed.licence})" for owed in flagged]
    else:
        lines.append(f"None of {len(found)} has a licence that is unknown, for research only or proprietary.")
    for group, heading in GROUPS.items():
        here = [owed for owed in found if owed.group == group]
        if here:
            lines += ["", f"## {heading}", "", "| what | licence | to cite |", "|---|---|---|"]
            lines += [f"| {_cell(_said(owed))} | {_cell(_with_note(owed))} | {_cell(owed.citation)} |" for owed in here]
    return "\n".join(lines) + "\n"


def _said(owed: Owed) -> str:
    return f"{owed.name} {owed.version}".strip()


def _with_note(owed: Owed) -> str:
    return f"{owed.licence}; {owed.note}" if owed.note else owed.licence


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "\\|").split())
