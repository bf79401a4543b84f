"""The numbers of a published study, as runs that can be judged: its cells, and what the server said of submissions."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from redistill.claims.decide import Sample
from redistill.errors import IntegrityError, RedistillError
from redistill.provenance.published import Published, Thing
from redistill.questions.state import Place, json_of

SUBMISSIONS = "submissions"
# What the server calls the one number that it gives of a file; of the others it names what it gives.
SERVER = {"CoLA": "matthews", "AX": "matthews"}


@dataclass(frozen=True)
class Number:
    """What stands in one place of a study: each run's metric on a split of a task, times 100, by role or submission.

    Unlike the number of `questions.state`, which is what a table prints, it is checked against the cell's manifest.
    `whole` tells whether the examples are all that its source has in that split: those that others report on.
    """

    place: Place
    task: str
    metric: str
    split: str
    values: dict[str, float]
    examples: int
    drawn: bool
    whole: bool
    key: str = ""
    digest: str = ""

    @property
    def sample(self) -> Sample:
        return Sample(list(self.values.values()), self.drawn, 100 / self.examples)


def of_cells(published: Published, table: str | None = None) -> dict[Place, Number]:
    """The cells of a study, or of a table.

    Raises:
        RedistillError: a table's proof is not there, or is no JSON.
        IntegrityError: a cell's metrics are not those that its manifest says.
    """
    found: dict[Place, Number] = {}
    proofs: dict[str, Any] = {}
    for place, thing in published.cells.items():
        if table in (None, place[0]):
            if place[0] not in proofs:
                proofs[place[0]] = json_of(published, f"{place[0]}.proof")
            found[place] = _number(published, place, thing, _metrics(published, proofs[place[0]], place, thing))
    return found


def _metrics(published: Published, proof: dict[str, Any], place: Place, thing: Thing) -> dict[str, Any]:
    """A cell's metrics.json, of which the table's proof has a copy."""
    where = f"results/{published.study}/{place[0]}.proof.json"
    try:
        text: str = proof["cells"][place[1]][place[2]]["metrics.json"]
    except (LookupError, TypeError):
        raise RedistillError(
            f"{where} has no cell {' / '.join(place[1:])}; `redistill publish {published.study}` writes it again"
        ) from None
    digest, expected = hashlib.sha256(text.encode()).hexdigest(), thing.files["metrics.json"]["sha256"]
    if digest != expected:
        advice = f"Those of {' / '.join(place[1:])}; `redistill publish {published.study}` writes the file again"
        raise IntegrityError(f"{where}, metrics.json", expected, digest, advice)
    metrics: dict[str, Any] = json.loads(text)
    return metrics


def _number(published: Published, place: Place, thing: Thing, metrics: dict[str, Any]) -> Number:
    runs = [published.things[key] for key in metrics["runs"].values()]
    values = {role: 100 * score["value"] for role, score in metrics["dev"].items()}
    examples = next(score["examples"] for score in metrics["dev"].values())
    return Number(
        place, place[2], metrics["metric"], "dev", values, examples, any(_draws(published, run) for run in runs),
        _whole(published, runs[0], metrics.get("dataset")), thing.key, thing.digest,
    )  # fmt: skip


def _draws(published: Published, thing: Thing) -> bool:
    """Whether another seed would give another number: not of a baseline, nor of a model that is taken as it is."""
    if thing.kind == "outputs":
        return _draws(published, published.things[thing.inputs["teacher"]])
    return thing.kind != "baseline" and bool(thing.parts["config"].get("stages") or "trials" in thing.parts["config"])


def _whole(published: Published, run: Thing, dataset: str | None) -> bool:
    """Whether dev is the whole of what the source's authors call so."""
    found = published.things.get(dataset or run.inputs.get("dataset", ""))
    splits = found.parts["config"].get("splits", {}) if found else {}
    return bool("official" in splits and not splits.get("sample") and "dev" not in splits.get("at_most", {}))


def of_submissions(published: Published, tasks: Mapping[str, str]) -> list[Number]:
    """What the server said of submissions, where it was recorded: submissions of one recipe are its seeds.

    `tasks` are the tasks that GLUE's files, such as `CoLA`, are of.
    """
    from redistill.evaluation.submission import SIZES

    table = published.tables.get(SUBMISSIONS)
    if table is None:
        return []
    said: dict[tuple[str, str, str], dict[str, float]] = {}
    drawn = set[str]()
    for row in table.parts["config"]["rows"]:
        runs = [run for run in published.runs if run.table == row["name"]]
        recipe = runs[0].experiment if runs else row["name"]
        if any(_draws(published, published.things[run.key]) for run in runs):
            drawn.add(recipe)
        for column, value in (row["recorded"] or {}).items():
            for metric, score in _scores(column, value).items():
                said.setdefault((recipe, column, metric), {})[row["name"]] = score
    return [
        Number((SUBMISSIONS, recipe, column), tasks.get(column, column), metric, "test", values, SIZES[column],
               recipe in drawn, True, table.key, table.digest)
        for (recipe, column, metric), values in said.items()
    ]  # fmt: skip


def _scores(column: str, value: Any) -> dict[str, float]:
    return dict(value) if isinstance(value, dict) else {SERVER.get(column, "accuracy"): float(value)}
