"""Whether what was published is what today's configs and code ask for; what is not is stale, and says where."""

from collections.abc import Iterator

from redistill.audit.asked import Scope
from redistill.audit.report import Finding, Report
from redistill.config import compose
from redistill.errors import ConfigError, RedistillError
from redistill.plan import Plan, make_plan
from redistill.questions import places
from redistill.questions.causes import Cause
from redistill.questions.diff import Group, compare
from redistill.questions.state import Place, State, as_planned

LEVEL = "trace"


def planned(scope: Scope, report: Report) -> Plan | None:
    """The study as its configs have it today; None if they cannot be read."""
    if not scope.study or scope.study not in compose.known(scope.root, "studies"):
        said = "there is no such study any more, so nothing says what today's configs ask for"
        if scope.study:
            report.say_unchecked(LEVEL, f"configs/studies/{scope.study}.yaml", said)
        return None
    try:
        return make_plan(scope.root, scope.study)
    except ConfigError as error:
        for problem in error.problems:
            where = f"{problem.file}:{problem.line}"
            report.stale.append(Finding(LEVEL, where, f"{problem.key}: {problem.message}".removeprefix(": ")))
    except RedistillError as error:
        report.say_unchecked(LEVEL, f"configs/studies/{scope.study}.yaml", f"cannot be planned: {error}")
    return None


def stale(scope: Scope, plan: Plan, report: Report) -> None:
    """Note what differs between the published things and the plan, where it begins."""
    read = scope.published
    counted, asked = report.count(LEVEL, "things that configs and code ask for"), plan.nodes.keys() - {plan.target.key}
    counted.checked = counted.of = len(scope.things)
    if _same(scope, plan, asked):
        return
    if scope.lost or report.broken & {thing.key for thing in scope.things if thing.key not in asked}:
        counted.checked = 0
        report.say_unchecked(LEVEL, "", "the chain is broken, so it is not compared with today's configs and code")
        return
    tables = {name: thing.key for name, thing in read.tables.items()}
    cells = {place: thing.key for place, thing in read.cells.items()}
    found = compare(State(scope.study, "", read.things, cells, tables), as_planned(plan))
    before = len(report.stale)
    for group in found.groups:
        if scope.whole or _reaches(scope, group, cells):
            report.stale += _findings(plan, group)
    if scope.whole:
        report.stale += _others(scope, plan, len(report.stale) > before)


def _same(scope: Scope, plan: Plan, asked: set[str]) -> bool:
    keys = {thing.key for thing in scope.things}
    if not scope.whole:
        return keys <= asked
    titles = {thing.key: thing.title for thing in scope.things}
    return (
        keys == set(_behind(plan))
        and scope.published.runs == plan.runs
        and all(plan.nodes[key].title == title for key, title in titles.items())
    )


def _behind(plan: Plan) -> list[str]:
    """What the planned tables are made of, and they."""
    return [node.key for node in plan.upstream(plan.target.inputs.values())]


def _reaches(scope: Scope, group: Group, cells: dict[Place, str]) -> bool:
    """Whether a group of causes reaches what is looked at."""
    keys = {thing.key for thing in scope.things}
    tables = {scope.published.tables[name].key for name in group.tables if name in scope.published.tables}
    return bool(keys & tables) or any(cells.get(place) in keys for place in group.cells)


def _findings(plan: Plan, group: Group) -> Iterator[Finding]:
    reach = f"{len(group.cells)} cells" if len(group.cells) != 1 else " / ".join(group.cells[0])
    if not group.cells:
        reach = f"the table {', '.join(group.tables)}"
    for cause, where in group.causes.items():
        found = places.of_cause(plan, cause, where, group.cells) or list(_files(plan, cause, where))
        named = ", ".join(where) if len(where) <= 3 else f"{where[0]} and {len(where) - 1} others"
        yield Finding(LEVEL, " ".join(found), f"{named}: {cause} (published -> today); it reaches {reach}")


def _files(plan: Plan, cause: Cause, where: tuple[str, ...]) -> Iterator[str]:
    """Files that have to do with a cause that no line says: code, or the file of an experiment that lacks a value."""
    if cause.kind == "code":
        path = "src/" + cause.name.replace(".", "/")
        names = (f"{path}.py", f"{path}/__init__.py")
        yield next((name for name in names if (plan.root / name).is_file()), cause.name)
        return
    if cause.kind == "environment":
        yield "envs/requirements.lock"
        return
    of_recipes = {r.document.place(()).file for (n, _), r in plan.checked.recipes.items() if n.split("@")[0] in where}
    yield from sorted(of_recipes) or [f"configs/studies/{plan.checked.name}.yaml"]


def _others(scope: Scope, plan: Plan, explained: bool) -> Iterator[Finding]:
    """Cells that came or went, and what no cell tells."""
    file = f"configs/studies/{scope.study}.yaml"
    today, read = as_planned(plan).cells, scope.published.cells
    for place in sorted(today.keys() - read.keys()):
        yield Finding(LEVEL, file, f"asks for {' / '.join(place)}, which was not published")
    for place in sorted(read.keys() - today.keys()):
        yield Finding(LEVEL, file, f"does not ask for {' / '.join(place)} any more", read[place].key)
    if explained or read.keys() != today.keys():
        return
    other = [key for key in _behind(plan) if key not in scope.published.things]
    if other:
        said = f"asks for {len(other)} other things, the first is {plan.nodes[other[0]].title}"
        yield Finding(LEVEL, file, said)
        return
    for thing in scope.things:
        if thing.key in plan.nodes and plan.nodes[thing.key].title != thing.title:
            said = f"calls {thing.key} `{thing.title}`, and today's configs `{plan.nodes[thing.key].title}`"
            yield Finding(LEVEL, f"results/{scope.study}/manifests.json", said, thing.key)
    if scope.published.runs != plan.runs:
        yield Finding(LEVEL, f"results/{scope.study}/runs.tsv", "has not the lines that today's configs ask for")
