"""On how many machines, of how many families of processors, a study's cells were reproduced: from its attestations."""

from collections import defaultdict
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from redistill.claims import attest, envelopes
from redistill.errors import RedistillError
from redistill.provenance.keys import canonical
from redistill.provenance.published import Published
from redistill.questions.kinds import plural
from redistill.questions.state import whole

KIND = ("system", "machine", "processor", "vendor", "family", "model", "features", "devices")  # of a machine


class Reproduced(NamedTuple):
    """`machines` and `families` of processors on which every run behind a cell was made again to the same bytes.

    `runs` of the `of` runs behind it were so on some machine or other; `contradicted` counts the machines on which a
    run came out different.
    """

    machines: int
    families: int
    runs: int
    of: int
    contradicted: int

    def __str__(self) -> str:
        machines = f"{self.machines} {plural('machine', self.machines)}"
        families = f"{self.families} {plural('processor family', self.families)}"
        said = f"{machines}, {families}; {self.runs} of {self.of} runs made again somewhere"
        other = f"; other bytes on {self.contradicted} {plural('machine', self.contradicted)}"
        return said + other if self.contradicted else said


@dataclass(frozen=True)
class Attestation:
    """A counter-record whose signature is right."""

    file: Path
    key: str
    value: dict[str, Any]

    @property
    def family(self) -> str:
        """Vendor and family of the processor."""
        machine = self.value["machine"]
        return f"{machine.get('vendor') or machine['machine']} {machine.get('family', '')}".strip()

    @property
    def machine(self) -> str:
        """As far as it can be told apart: a kind of machine that one key speaks for counts as one machine."""
        kind = {name: self.value["machine"].get(name) for name in KIND}
        return canonical([self.key, kind])

    def content(self, trusted: Collection[str] | None) -> dict[str, Any]:
        """For JSON: who says what of which machine."""
        return {"file": self.file.name, "key": self.key, "trusted": trusted is not None and self.key in trusted,
                **{name: self.value[name] for name in ("date", "root", "machine", "sample", "runs")}}  # fmt: skip

    def line(self, trusted: Collection[str] | None) -> str:
        """The same, for people."""
        outcomes = [run["outcome"] for run in self.value["runs"]]
        said = ", ".join(f"{outcomes.count(one)} {one}" for one in dict.fromkeys(outcomes))
        mark = "" if trusted is None else " (trusted)" if self.key in trusted else " (not trusted, not counted)"
        return f"{self.value['date']}  {self.family}  {said}  by {self.key}{mark}"

    def outcomes(self, made: Published) -> Iterator[tuple[str, str]]:
        """Key and outcome of the runs that are still those of the study: of changed ones it says nothing."""
        for run in self.value["runs"]:
            thing = made.things.get(run["key"])
            if thing is not None and thing.digest == run["digest"]:
                yield thing.key, run["outcome"]


def attestations(root: Path, study: str) -> tuple[list[Attestation], list[str]]:
    """The attestations of a study, oldest first; and what is wrong with files that are none."""
    found, problems = [], []
    for file in sorted((envelopes.folder(root, study) / "attestations").glob("*.json")):
        name = file.relative_to(root)
        try:
            value, key = envelopes.read(file, attest.PAYLOAD_TYPE)
            one = Attestation(file, key, value)
            _ = one.family, [(run["key"], run["digest"], run["outcome"]) for run in value["runs"]], value["date"]
        except RedistillError as error:
            problems.append(str(error).replace(f"{root}/", ""))
            continue
        except (LookupError, TypeError, AttributeError):
            problems.append(f"{name}: holds no attestation that can be read")
            continue
        if value.get("schema") != attest.SCHEMA or value.get("study") != study:
            problems.append(f"{name}: is an attestation of {value.get('study')}, schema {value.get('schema')}")
        else:
            found.append(one)
    return sorted(found, key=lambda one: one.value["date"]), problems


def reproductions(root: Path, study: str, trusted: Collection[str] | None = None) -> dict[str, Reproduced]:
    """By cell, `TABLE / ROW / COLUMN`, where it was reproduced; by the keys that are `trusted`, or by all.

    A cell was reproduced on a machine if all runs behind it, its teachers' too, were made again there to the same
    bytes, in whichever attestations.

    Raises:
        RedistillError: the study has no results.
    """
    made = whole(root, study)
    same: dict[str, set[str]] = defaultdict(set)  # runs by machine
    apart: dict[str, set[str]] = defaultdict(set)
    families: dict[str, str] = {}
    for one in attestations(root, study)[0]:
        if trusted is None or one.key in trusted:
            families[one.machine] = one.family
            for key, outcome in one.outcomes(made):
                if outcome in (attest.SAME, attest.DIFFERS):
                    (same if outcome == attest.SAME else apart)[one.machine].add(key)
    found = {}
    for place, cell in sorted(made.cells.items()):
        runs = {run.key for run in attest.runs_behind(made, [cell.key])}
        there = [machine for machine, keys in same.items() if runs <= keys - apart[machine]]
        somewhere = runs & set().union(*same.values())
        found[" / ".join(place)] = Reproduced(
            len(there), len({families[machine] for machine in there}), len(somewhere), len(runs),
            sum(bool(runs & keys) for keys in apart.values()),
        )  # fmt: skip
    return found
