"""What became of a sealed plan: every row, seed, comparison and setting that is another, every run beside it."""

from collections import defaultdict
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from redistill.changes import changes
from redistill.claims import declared, sealed_plan
from redistill.claims.declared import RUNS, Declared
from redistill.claims.sealed_plan import Seal
from redistill.config import compose
from redistill.errors import RedistillError
from redistill.plan import Plan, make_plan
from redistill.provenance import attempts, published
from redistill.provenance.record import Record
from redistill.questions.why import record_of

SEED = " · seed "


@dataclass(frozen=True)
class Deviation:
    """`kind` is seal, row, column, metric, seed, comparison, setting, run or rerun; `what` says it in words.

    `sealed` is when it was sealed after all, in a later seal: "" if never.
    """

    kind: str
    what: str
    sealed: str = ""

    def __str__(self) -> str:
        return f"{self.kind}: {self.what}" + (f" (sealed on {self.sealed}, after results)" if self.sealed else "")


def deviations(plan: Plan) -> list[Deviation]:
    """How a study, as its configs and the store have it, departs from its sealed plan; nothing if it was followed.

    Raises:
        RedistillError: no plan was sealed, or the seals do not hold together.
    """
    root, study = plan.root, plan.checked.name
    seals = sealed_plan.chain(root, study)
    if not seals:
        raise RedistillError(f"no plan of {study} was sealed; `redistill plan {study} --seal --key FILE` does that")
    counts, today = sealed_plan.reference(seals), declared.declared(plan)
    later = seals[: seals.index(counts)][::-1]
    amended = {one: seal.date for seal in reversed(later) for one in differences(counts.declared, seal.declared)}
    found = list(_of_seals(root, study, seals, counts, later))
    found += [Deviation(one.kind, one.what, amended.get(one, "")) for one in differences(counts.declared, today)]
    found += _of_runs(root, study, seals, counts, today)
    return list(dict.fromkeys(found))


def _of_seals(root: Path, study: str, seals: list[Seal], counts: Seal, later: list[Seal]) -> Iterator[Deviation]:
    made = [key for key in declared.runs_of(counts.declared) if key in counts.made_before]
    if made:
        of = len(declared.runs_of(counts.declared))
        yield Deviation("seal", f"{len(made)} of {of} runs were made before the plan was sealed on {counts.date}")
    for seal in later:
        if seal.made_before:
            by = "" if seal.key == counts.key else f", by another key ({seal.key})"
            yield Deviation("seal", f"the plan was sealed anew on {seal.date}, after {len(seal.made_before)} runs{by}")
    for commit, seal in sealed_plan.unnamed(root, study, seals):
        yield Deviation("seal", f"git has a plan sealed on {seal.date} ({commit[:12]}) that no later seal names")


def differences(old: Declared, new: Declared) -> list[Deviation]:
    """What one declared plan has otherwise than another."""
    found = list(_of_tables(old["tables"], new["tables"]))
    for name in ("submissions", "stopping"):
        found += [Deviation("setting", str(change)) for change in changes({name: old[name]}, {name: new[name]})]
    found += _of_stopping(new)
    return [*found, *_of_things(old, new)]


def _of_tables(old: Declared, new: Declared) -> Iterator[Deviation]:
    for name in [*old, *(name for name in new if name not in old)]:
        if name not in new or name not in old:
            rows = ", ".join((old if name in old else new)[name]["rows"])
            yield Deviation("row", f"table {name} was {'dropped' if name in old else 'added'}, with its rows {rows}")
        else:
            yield from _of_table(name, old[name], new[name])


def _of_table(name: str, old: Declared, new: Declared) -> Iterator[Deviation]:
    for what, row in _gone_and_new(old["rows"], new["rows"]):
        yield Deviation("row", f"{row} was {what} in table {name}")
    for what, task in _gone_and_new(old["columns"], new["columns"]):
        yield Deviation("column", f"{task} was {what} in table {name}")
    for task in old["columns"].keys() & new["columns"].keys():
        before, after = old["columns"][task], new["columns"][task]
        if before != after:
            yield Deviation("metric", f"{task} in table {name}: {before} -> {after}")
    for row in [row for row in old["rows"] if row in new["rows"]]:
        for kind, word in (("seeds", "seed"), ("tasks", "column")):
            for what, one in _gone_and_new(old["rows"][row][kind], new["rows"][row][kind]):
                if kind == "seeds" or one in old["columns"].keys() & new["columns"].keys():  # else it was told already
                    yield Deviation(word, f"{one} was {what} in row {row} of table {name}")
    for what, one in _gone_and_new(old["comparisons"], new["comparisons"]):
        yield Deviation("comparison", f"{one} was {what} in table {name}")
    for key in ("choose", "means", "claims"):
        for change in changes({key: old[key]}, {key: new[key]}, ("tables", name)):
            yield Deviation("setting", str(change))


def _gone_and_new(old: Any, new: Any) -> Iterator[tuple[str, Any]]:
    yield from (("dropped", one) for one in old if one not in new)
    yield from (("added", one) for one in new if one not in old)


def _of_stopping(said: Declared) -> Iterator[Deviation]:
    """Rows that have more seeds than the plan's own rule allows."""
    most = (said["stopping"] or {}).get("seeds")
    for name, table in said["tables"].items():
        for row, has in table["rows"].items():
            if most is not None and len(has["seeds"]) > most:
                many = len(has["seeds"])
                yield Deviation("seed", f"row {row} of table {name} has {many}, and the stopping rule says {most}")


def _of_things(old: Declared, new: Declared) -> Iterator[Deviation]:
    """Values, code and packages that differ, each with the things in which it does; seeds are told of above."""
    gone, come = (_by_name(side, other) for side, other in ((old, new), (new, old)))
    differing: dict[str, list[str]] = defaultdict(list)
    for name in gone.keys() & come.keys():
        for before, after in zip(gone[name], come[name], strict=False):
            for change in changes(_own(old, before), _own(new, after)):
                differing[str(change)].append(name[1].partition(SEED)[0])
    for what, titles in sorted(differing.items()):
        unique = sorted(dict.fromkeys(titles))
        where = ", ".join(unique[:3]) + (f" and {len(unique) - 3} more" if len(unique) > 3 else "")
        yield Deviation("setting", f"{what}, in {where}")


def _by_name(said: Declared, other: Declared) -> dict[tuple[str, str], list[str]]:
    """Keys that the other plan does not have, by kind and title."""
    found: dict[tuple[str, str], list[str]] = defaultdict(list)
    for key, thing in said["things"].items():
        if key not in other["things"]:
            found[thing["kind"], thing["title"]].append(key)
    return found


def _own(said: Declared, key: str) -> dict[str, Any]:
    """The parts of a thing's key that are its own: its inputs are things too, but that it has them is its own."""
    whole = declared.parts_of(said, key)
    return {**{name: whole[name] for name in ("config", "code", "packages")}, "inputs": sorted(whole["inputs"])}


# --- what was run ----------------------------------------------------------------------------------------------------


def _of_runs(root: Path, study: str, seals: list[Seal], counts: Seal, today: Declared) -> Iterator[Deviation]:
    planned = declared.runs_of(today)
    for seal in seals:
        planned |= declared.runs_of(seal.declared)
    for key, title in planned.items():
        yield from _again(root, key, title, counts.date)
    names = {_recipe(title) for title in planned.values()}
    beside = [
        noted
        for noted in _records(root)
        if noted["key"] not in planned and _recipe(noted["what"]) in names and str(noted["end"]) >= counts.date
    ]
    others = _of_others(root, study) if beside else set()
    for noted in beside:
        if noted["key"] not in others:
            what = f"{noted['what']} ({noted['key']}) was made on {noted['end']} and is in no sealed plan"
            yield Deviation("run", what)


def _of_others(root: Path, study: str) -> set[str]:
    """Keys of what other studies have made, or plan: the store is theirs too."""
    found = set[str]()
    for other in published.studies(root):
        if other != study:
            with suppress(RedistillError):
                found |= set(published.read(root, other).things)
    for other in compose.known(root, "studies"):
        if other != study:
            with suppress(RedistillError):
                found |= set(make_plan(root, other).nodes)
    return found


def _again(root: Path, key: str, title: str, sealed: str) -> Iterator[Deviation]:
    """How often a run was made again, or failed, since the plan was sealed."""
    noted = record_of(root, key) or {}
    for before in noted.get("made_before", []):
        if str(before["end"]) >= sealed:
            same = before["manifest"] == noted["output"]["manifest"]
            bytes_ = "the same bytes" if same else "other bytes" if before["manifest"] else "bytes that nobody knows of"
            yield Deviation("rerun", f"{title} ({key}) was made again after {before['end']}; it had {bytes_} then")
    failed = [*noted.get("attempts", []), *([] if noted else attempts.of(root, key))]
    for attempt in failed:
        if attempt["outcome"] == "failed" and str(attempt["end"]) >= sealed:
            yield Deviation("rerun", f"{title} ({key}) failed on {attempt['end']}: {attempt['said'][:200]}")


def _records(root: Path) -> Iterator[Record]:
    """The records of runs, in the order of their making."""
    found = [(file.stem, record_of(root, file.stem)) for file in (root / "store" / "records").glob("*.json")]
    of_runs = [{**noted, "key": key} for key, noted in found if noted and noted["key_parts"]["kind"] in RUNS]
    yield from sorted(of_runs, key=lambda noted: str(noted["end"]))


def _recipe(title: str) -> tuple[str, str]:
    """Experiment and task of a run's title."""
    recipe, _, rest = title.partition(" · ")
    return recipe.partition("@")[0], rest.partition(SEED)[0]
