"""Pictures of a study for papers: SVG, PDF and PNG by the same charts as the report's, and tables for LaTeX."""

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from redistill.errors import RedistillError, nearest
from redistill.questions.state import Place
from redistill.report import charts, costs
from redistill.report.columns import Looked, looked
from redistill.report.curves import curves
from redistill.report.latex import latex
from redistill.report.numbers import points, short
from redistill.report.reading import Content, Study, metric_name, read
from redistill.report.rows import Part, parts
from redistill.report.said import calibration, confusion, said

WIDTH = 460  # points of a picture: a page's text is about as wide
FORMATS = ("svg", "pdf", "png", "tex")
TABLE = "table"


class NothingToDrawError(RedistillError):
    """What a figure would show is not there."""


class Asked:
    """What a figure is of: a table, and within it a column and a row; the first ones if not given.

    Raises:
        RedistillError: the study has none of that name; says what is near.
    """

    def __init__(self, study: Study, table: str | None, column: str | None, row: str | None):
        self.study = study
        self.table = _one(study, "table", table, list(study.tables))
        self.content = study.tables[self.table]
        self.columns = {c["key"]: c for c in self.content["columns"]}
        self.given = column
        self.column = _one(study, "column", column, list(self.columns))
        self.rows = {r["name"]: r for r in study.rows(self.table)}
        if row is not None:
            _one(study, "row", row, list(self.rows))
        self.row = row

    @property
    def title(self) -> str:
        column = self.columns[self.column]
        return f"{column['heading']}, {metric_name(column['metric'])} × 100"

    def place(self) -> Place:
        """The cell that was asked for; that of the last row with one, if no row was."""
        cells = [(self.table, name, self.column) for name in ([self.row] if self.row else reversed(self.rows))]
        place = next((cell for cell in cells if cell in self.study.published.cells), None)
        if place is None:
            raise RedistillError(
                f"{self.study.name} has no number in {self.table} / {self.row or 'any row'} / {self.column}"
            )
        return place


def _one(study: Study, what: str, asked: str | None, known: list[str]) -> str:
    if not known:
        raise RedistillError(f"{study.name} has no {what}")
    if asked is None:
        return known[0]
    if asked not in known:
        raise RedistillError(f"{study.name} has no {what} `{asked}`; {nearest(asked, known)}")
    return asked


def draw(
    root: Path, study: str, name: str, form: str, to: Path | None = None, table: str | None = None,
    column: str | None = None, row: str | None = None, cost: str = "parameters",
) -> Path:  # fmt: skip
    """Draw one figure of a study and return its file, NAME.FORM here if none is given.

    Args:
        name: one of FIGURES, or `table`, for LaTeX.
        cost: of `pareto`: parameters, operations, bytes or milliseconds.

    Raises:
        RedistillError: there is no such figure, or nothing to draw it from.
        IntegrityError: a file of the store is not what was published.
    """
    if name not in (*FIGURES, TABLE):
        raise RedistillError(f"there is no figure `{name}`; {nearest(name, [*FIGURES, TABLE])}")
    if form not in FORMATS or (form == "tex") != (name == TABLE):
        given = "tex" if name == TABLE else "svg, pdf or png"
        raise RedistillError(f"`{name}` is written as {given}, not as `{form}`: say --format {given.split(',')[0]}")
    asked = Asked(read(root, study), table, column, row)
    file = to if to is not None else Path(f"{study}-{name}.{form}")
    content: str | bytes
    if name == TABLE:
        content = latex(asked.study, looked(asked.study, asked.table))
    else:
        chart = FIGURES[name](asked, cost) if name == "pareto" else FIGURES[name](asked)
        content = rendered(charts.finished(chart, f"{study}: {name}", paper=True), form)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content.encode() if isinstance(content, str) else content)
    except OSError as error:
        raise RedistillError(f"{file}: cannot be written ({error.strerror})") from None
    return file


def of_table(study: Study, of: Looked) -> dict[str, charts.Chart]:
    """The pictures of a table's first column, and its gaps, as far as there is something to draw."""
    asked, found = Asked(study, of.name, None, None), dict[str, charts.Chart]()
    for name, made in (
        ("bars", _bars),
        ("pareto", lambda one: _pareto(one, "parameters")),
        ("gap", lambda one: _gap(one, of)),
    ):
        with suppress(NothingToDrawError):
            found[name] = made(asked)
    return found


def rendered(specification: dict[str, Any], form: str) -> str | bytes:
    """A chart as SVG, PDF or PNG. Nothing is fetched for it: its rows are in it."""
    import vl_convert

    if form == "svg":
        return str(vl_convert.vegalite_to_svg(specification, allowed_base_urls=[]))
    if form == "pdf":
        return bytes(vl_convert.vegalite_to_pdf(specification, allowed_base_urls=[]))
    return bytes(vl_convert.vegalite_to_png(specification, scale=3.0, allowed_base_urls=[]))


def _row(cell: Content, label: str, part: Part) -> Content:
    mean, low, high = (100 * (cell["mean"] if cell[end] is None else cell[end]) for end in ("mean", "low", "high"))
    spread = "" if cell["std"] is None else f" ± {points(cell['std'])}"
    return {
        "label": label,
        "role": part.role,
        "y": mean,
        "low": low,
        "high": high,
        "shown": points(cell["mean"]) + spread,
    }


def _bars(asked: Asked) -> charts.Chart:
    roles = parts(asked.study, asked.table)
    rows = [
        _row(cell, row["label"], roles[name])
        for name, row in asked.rows.items()
        if (cell := row["cells"].get(asked.column))
    ]
    _some(rows, asked, "no row has a number in this column")
    return charts.bars(rows, asked.title, WIDTH)


def _pareto(asked: Asked, cost: str) -> charts.Chart:
    measures: dict[str, tuple[str, Callable[[str], float | None]]] = {
        "parameters": ("parameters", lambda name: _first(asked, name).get("parameters")),
        "bytes": ("bytes of the weights", lambda name: _first(asked, name).get("bytes")),
        "operations": ("operations of one example", lambda name: flops.get((name, asked.column))),
        "milliseconds": ("milliseconds for one batch", lambda name: _speed(asked, name)),
    }
    if cost not in measures:
        raise RedistillError(f"there is no cost `{cost}`; {nearest(cost, list(measures))}")
    flops = costs.operations(asked.study) if cost == "operations" else {}
    title, of = measures[cost]
    roles, rows = parts(asked.study, asked.table), list[Content]()
    for name, row in asked.rows.items():
        cell, x = row["cells"].get(asked.column), of(name)
        if cell and x:
            spread = 100 * (cell["std"] or 0.0)
            drawn = _row(cell, row["label"], roles[name])
            rows.append({**drawn, "low": drawn["y"] - spread, "high": drawn["y"] + spread, "x": x, "cost": short(x)})
    different = len({row["x"] for row in rows}) > 1
    _some(rows if different else [], asked, f"two rows or more with different {title} are not known here")
    best = float("-inf")
    for one in sorted(rows, key=lambda row: (row["x"], -row["y"])):
        one["front"] = one["y"] > best
        best = max(best, one["y"])
    return charts.pareto(charts.named(rows, len(rows) <= 14), title, asked.title, WIDTH)


def _first(asked: Asked, name: str) -> Content:
    cell = asked.rows[name]["cells"].get(asked.column)
    return costs.of_run(asked.study, cell["runs"][0]) if cell and cell["runs"] else {}


def _speed(asked: Asked, name: str) -> float | None:
    cell = asked.rows[name]["cells"].get(asked.column)
    lines = [line for key in cell["runs"] for line in costs.speed(asked.study, key)] if cell else []
    return float(lines[0]["milliseconds"]) if lines else None


def _gap(asked: Asked, of: Looked | None = None) -> charts.Chart:
    of, rows = of or looked(asked.study, asked.table), list[Content]()
    for one in of.gaps:
        if one["share"] is not None and (asked.given is None or one["column"] == asked.column):
            low, high = (one["share"] if one[end] is None else one[end] for end in ("low", "high"))
            rows.append({"label": asked.rows[one["row"]]["label"], "column": asked.columns[one["column"]]["heading"],
                         "share": one["share"], "low": low, "high": high, "said": f"{one['share']:.0f} %"})  # fmt: skip
    _some(rows, asked, "no distilled row has its teacher and a student alone beside it, with a gap between them")
    return charts.gap(rows, WIDTH)


def _pairs(asked: Asked) -> charts.Chart:
    of = looked(asked.study, asked.table)
    rows = []
    order = list(dict.fromkeys(name for one in of.pairs.get(asked.column, ()) for name in (one["a"], one["b"])))
    for one in of.pairs.get(asked.column, ()):
        for a, b, sign in ((one["a"], one["b"], 1), (one["b"], one["a"], -1)):
            kind = "may be chance" if one["p"] >= 0.05 else "better" if sign > 0 else "worse"
            text = points(sign * one["difference"], "+")
            rows.append({"a": asked.rows[a]["label"], "b": asked.rows[b]["label"], "kind": kind, "text": text,
                         "said": text, "place_a": order.index(a), "place_b": order.index(b)})  # fmt: skip
    _some(rows, asked, "the predictions of two rows or more are not in the store")
    return charts.pairs(rows, across_of(len(order)), 24)


def across_of(rows: int) -> int:
    """Width of a picture with so many columns."""
    return max(200, 40 * rows)


def _curves(asked: Asked) -> charts.Chart:
    place = asked.place()
    rows = []
    for role, run in asked.study.runs_of(place).items():
        file = asked.study.file(run, "log.jsonl")
        for series, line in (curves(file, 200)["loss"] if file else {}).items():
            rows += [{"step": step, "value": value, "series": series, "seed": role.split()[-1]} for step, value in line]
    _some(rows, asked, f"{' / '.join(place)} has no logs in the store: give --row")
    return charts.lines(rows, "loss", WIDTH)


def _reliability(asked: Asked) -> charts.Chart:
    found = calibration(_said(asked))
    rows = [{"confidence": c, "share": s, "count": n} for c, s, n in found["bins"]] if found else []
    _some(rows, asked, f"{' / '.join(asked.place())} has no logits of classes in the store: give --row")
    return charts.reliability(rows, 300, 300)


def _confusion(asked: Asked) -> charts.Chart:
    place, study = asked.place(), asked.study
    first = next(iter(study.runs_of(place).values()), None)
    labels = [str(label) for label in (first.parts["config"].get("task", {}).get("labels") or [])] if first else []
    found = confusion(_said(asked), labels)
    rows = []
    if found and found["labels"]:
        for i, line in enumerate(found["counts"]):
            for j, count in enumerate(line):
                share = count / sum(line) if sum(line) else 0.0
                rows.append({"label": labels[i], "said": labels[j], "count": count, "share": share,
                             "strong": share > 0.55, "text": f"{100 * share:.1f} %",
                             "short": _mean_count(count, found["runs"])})  # fmt: skip
    _some(rows, asked, f"{' / '.join(place)} has no classes that a matrix can show: give --row")
    return charts.confusion(rows, angle=-40 if any(len(label) > 4 for label in labels) else 0)


def _mean_count(count: int, runs: int) -> str:
    return "" if not count else "<1" if count < runs / 2 else short(round(count / runs))


def _said(asked: Asked) -> list[Any]:
    place = asked.place()
    runs = asked.study.runs_of(place).values()
    read = [said(asked.study, run, asked.study.dataset_of(place, run)) for run in runs]
    return [one for one in read if one is not None]


def _some(rows: list[Content], asked: Asked, why: str) -> None:
    if not rows:
        raise NothingToDrawError(f"{asked.study.name}, {asked.table}, {asked.column}: there is nothing to draw: {why}")


FIGURES: dict[str, Callable[..., charts.Chart]] = {
    "bars": _bars, "pareto": _pareto, "gap": _gap, "pairs": _pairs, "curves": _curves, "reliability": _reliability,
    "confusion": _confusion,
}  # fmt: skip
