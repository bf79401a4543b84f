"""The pictures of a report, by Altair: each a function of rows, or of the name that a page gives its rows.

Fields have fixed names, so what data calls itself never becomes a part of a specification.
"""

import math
from typing import Any, TypeAlias

import altair as alt

from redistill.report import style

Rows: TypeAlias = list[dict[str, Any]]
Chart: TypeAlias = Any  # altair's charts, of whatever composition
ROWS = "rows"
X_TITLE, Y_TITLE = "{x}", "{y}"  # which a page replaces
LINE = 17  # pixels a row of a chart


def data(rows: Rows | None) -> alt.Data | alt.NamedData:
    """Rows, or the name under which a page puts them in."""
    return alt.NamedData(name=ROWS) if rows is None else alt.Data(values=rows)


def finished(chart: Chart, description: str, paper: bool = False) -> dict[str, Any]:
    """A chart as Vega-Lite's specification."""
    specification: dict[str, Any] = chart.properties(description=description).to_dict()
    if specification.get("width") == "container":
        specification["autosize"] = {"type": "fit-x", "contains": "padding"}
    return {**specification, "config": style.look(paper)}


def _roles() -> dict[str, Any]:
    shown = alt.Legend(title=None, orient="top")
    return {
        "color": alt.Color("role:N", scale=alt.Scale(domain=style.ROLES, range=style.ROLE_COLOURS), legend=shown),
        "shape": alt.Shape("role:N", scale=alt.Scale(domain=style.ROLES, range=style.ROLE_SHAPES), legend=shown),
    }


def pareto(rows: Rows | None = None, x: str = X_TITLE, y: str = Y_TITLE, width: Any = "container") -> Chart:
    """Score against what a model costs. Rows: x, y, low, high, label, role, front (whether none is better and cheaper);
    `at`, where the name stands, and its `side`, from `named`.

    The line joins those of the front.
    """
    base = alt.Chart(data(rows))
    along = alt.X(
        "x:Q", title=x, scale=alt.Scale(type="log", nice=False, padding=30), axis=alt.Axis(format="~s", tickCount=6)
    )
    up = alt.Y("y:Q", title=y, scale=alt.Scale(zero=False, padding=16))
    spread = base.mark_rule(opacity=0.3, strokeWidth=1.5).encode(along, alt.Y("low:Q", title=y), y2="high:Q")
    front = base.transform_filter("datum.front").mark_line(
        interpolate="step-after", strokeDash=[5, 4], opacity=0.7, strokeWidth=1.3, color=style.GREY
    ).encode(along, up)  # fmt: skip
    points = base.mark_point(filled=True, size=95, cursor="pointer").encode(
        along, up, **_roles(), tooltip=_tips(("label", "row"), ("role", "part"), ("shown", "score"), ("cost", "cost")),
    )  # fmt: skip
    names = [
        base.transform_filter(f"datum.side == '{side}'").mark_text(
            align=side, dx=11 if side == "left" else -11, baseline="middle", fontSize=11, limit=260
        ).encode(along, alt.Y("at:Q", title=y), text="label:N")
        for side in ("left", "right")
    ]  # fmt: skip
    return alt.layer(spread, front, points, *names).properties(width=width, height=360)


def named(rows: Rows, every: bool) -> Rows:
    """Rows of `pareto` with places for their names, so that none lies on another; of many rows, only the front's."""
    low, high = min(row["low"] for row in rows), max(row["high"] for row in rows)
    least, most = min(row["x"] for row in rows), max(row["x"] for row in rows)
    apart, last = max(high - low, 1e-9) * 0.05, {"left": math.inf, "right": math.inf}
    for row in sorted(rows, key=lambda row: -row["y"]):
        if every or row["front"]:
            far = math.log(row["x"] / least) / math.log(most / least) if most > least else 0.0
            row["side"] = "left" if far < 0.6 else "right"  # text is aligned so, hence beyond the point
            row["at"] = last[row["side"]] = min(row["y"], last[row["side"]] - apart)
    return rows


def bars(rows: Rows | None = None, y: str = Y_TITLE, width: Any = "container") -> Chart:
    """Means with their 95 % intervals, a line a row. Rows: label, y, low, high, role, shown; published, if any."""
    base = alt.Chart(data(rows))
    place = alt.Y("label:N", sort=None, title=None, axis=alt.Axis(grid=True, ticks=False, domain=False))
    scale = alt.Scale(zero=False, padding=12)
    spread = base.mark_rule(strokeWidth=1.8, opacity=0.4).encode(
        place, alt.X("low:Q", title=y, scale=scale), x2="high:Q"
    )
    points = base.mark_point(filled=True, size=80, cursor="pointer").encode(
        place, alt.X("y:Q", title=y, scale=scale), **_roles(), tooltip=_tips(("label", "row"), ("shown", "score")),
    )  # fmt: skip
    claimed = base.transform_filter("isValid(datum.published)").mark_point(
        shape="cross", angle=45, size=90, filled=True, color=style.PURPLE
    ).encode(
        place, alt.X("published:Q", title=y, scale=scale), tooltip=_tips(("label", "row"), ("published", "published"))
    )  # fmt: skip
    return alt.layer(spread, points, claimed).properties(width=width, height=alt.Step(LINE))


def gap(rows: Rows | None = None, width: Any = "container") -> Chart:
    """Share of the gap that is closed. Rows: label, column, share, low, high, said."""
    base = alt.Chart(data(rows))
    place = alt.Y("label:N", sort=None, title=None, axis=alt.Axis(ticks=False, domain=False))
    columns = alt.Color(
        "column:N", sort=None, scale=alt.Scale(range=style.SERIES), legend=alt.Legend(title=None, orient="top")
    )
    shapes = alt.Shape("column:N", sort=None, legend=alt.Legend(title=None, orient="top"))
    apart = alt.YOffset("column:N", sort=None)
    scale = alt.Scale(padding=14)
    title = "gap between student alone and teacher that is closed, percent"
    marks = base.transform_calculate(nothing="0", everything="100")
    lines = [
        marks.mark_rule(strokeDash=[4, 3], opacity=0.5).encode(x=alt.X(f"mean({name}):Q", title=title, scale=scale))
        for name in ("nothing", "everything")
    ]
    spread = base.mark_rule(strokeWidth=1.8, opacity=0.4).encode(
        place, alt.X("low:Q", title=title, scale=scale), x2="high:Q", yOffset=apart
    )
    points = base.mark_point(filled=True, size=80).encode(
        place, alt.X("share:Q", title=title, scale=scale), color=columns, shape=shapes, yOffset=apart,
        tooltip=_tips(("label", "row"), ("column", "column"), ("said", "closed")),
    )  # fmt: skip
    return alt.layer(*lines, spread, points).properties(width=width, height=alt.Step(16, **{"for": "offset"}))


def pairs(rows: Rows | None = None, width: Any = "container", size: int = 26) -> Chart:
    """Every row against every other. Rows: a, b, their places, kind, text (the difference in points), said."""
    base = alt.Chart(data(rows))
    first, then = (alt.EncodingSortField(field=name, op="min") for name in ("place_a", "place_b"))
    down = alt.Y("a:N", sort=first, title=None, axis=alt.Axis(grid=False, ticks=False, domain=False))
    across = alt.X("b:N", sort=then, title=None,
                   axis=alt.Axis(grid=False, ticks=False, domain=False, labelAngle=-40, labelLimit=170))  # fmt: skip
    scale = alt.Scale(domain=["better", "worse", "may be chance"], range=[style.BLUE, style.ORANGE, "#8a8f9833"])
    boxes = base.mark_rect(cornerRadius=3).encode(
        across, down, alt.Color("kind:N", scale=scale, legend=alt.Legend(title="row against column", orient="top")),
        tooltip=_tips(("a", "row"), ("b", "against"), ("said", "difference")),
    )  # fmt: skip
    inks = alt.Scale(domain=scale.domain, range=["#ffffff", "#1f2328", "currentColor"])
    words = base.mark_text(fontSize=10).encode(
        across, down, alt.Color("kind:N", scale=inks, legend=None), text="text:N"
    )
    shown = alt.layer(boxes, words).resolve_scale(color="independent")
    return shown.properties(width=width, height=alt.Step(size))


def making(rows: Rows | None = None, lanes: int = 1, width: Any = "container") -> Chart:
    """Who ran when. Rows: begin, end (minutes), lane, kind, title, seconds."""
    kinds = style.KIND_COLOURS
    colour = alt.Color("kind:N", sort=list(kinds), scale=alt.Scale(domain=list(kinds), range=list(kinds.values())),
                       legend=alt.Legend(title=None, orient="top", columns=7))  # fmt: skip
    return alt.Chart(data(rows)).mark_rect(stroke="currentColor", strokeWidth=0.25, strokeOpacity=0.6).encode(
        alt.X("begin:Q", title="minutes of making, pauses left out", scale=alt.Scale(nice=False)), alt.X2("end:Q"),
        alt.Y("lane:O", title="at the same time", axis=alt.Axis(grid=False, ticks=False, domain=False)), colour,
        tooltip=_tips(("kind", "kind"), ("title", "what"), ("seconds", "seconds"), ("memory", "MiB at its peak")),
    ).properties(width=width, height=max(40, min(22, 600 // max(lanes, 1)) * lanes))  # fmt: skip


# --- what opens behind a number --------------------------------------------------------------------------------------


def lines(rows: Rows | None = None, y: str = Y_TITLE, width: Any = "container", log: bool = False) -> Chart:
    """Curves of training, a line a seed. Rows: step, value, series, seed."""
    scale = alt.Scale(type="log") if log else alt.Scale(zero=False)
    above = alt.Legend(title=None, orient="top", symbolType="stroke", symbolStrokeWidth=2)
    return alt.Chart(data(rows)).mark_line(strokeWidth=1.6, point={"size": 14, "filled": True}).encode(
        alt.X("step:Q", title="step", axis=alt.Axis(format="~s", grid=False)),
        alt.Y("value:Q", title=y, scale=scale),
        alt.Color("series:N", sort=None, scale=alt.Scale(range=style.SERIES), legend=above),
        strokeDash=alt.StrokeDash("series:N", sort=None, scale=alt.Scale(range=style.DASHES), legend=above),
        detail="seed:N",
        opacity=alt.value(0.85),
        tooltip=_tips(("series", "what"), ("seed", "seed"), ("step", "step"), ("value", "value")),
    ).properties(width=width, height=210)  # fmt: skip


def reliability(rows: Rows | None = None, width: Any = "container", height: int = 260) -> Chart:
    """How often it was right when it was so sure. Rows: confidence, share (both 0 to 1), count."""
    base = alt.Chart(data(rows))
    unit = alt.Scale(domain=[0, 1])
    even = alt.Chart(alt.Data(values=[{"x": 0, "y": 0}, {"x": 1, "y": 1}])).mark_line(
        strokeDash=[4, 3], opacity=0.6, color=style.GREY, strokeWidth=1.3
    ).encode(alt.X("x:Q", scale=unit, title="how sure"), alt.Y("y:Q", scale=unit, title="how often right"))  # fmt: skip
    off = base.mark_rule(color=style.RED, opacity=0.55, strokeWidth=2).encode(
        alt.X("confidence:Q", scale=unit), alt.Y("share:Q", scale=unit), y2="confidence:Q"
    )
    points = base.mark_point(filled=True, color=style.BLUE).encode(
        alt.X("confidence:Q", scale=unit, title="how sure"), alt.Y("share:Q", scale=unit, title="how often right"),
        alt.Size("count:Q", legend=alt.Legend(title="examples"), scale=alt.Scale(range=[20, 320])),
        tooltip=_tips(("confidence", "how sure"), ("share", "how often right"), ("count", "examples")),
    )  # fmt: skip
    return alt.layer(even, off, points).properties(width=width, height=height)


def confusion(rows: Rows | None = None, size: int = 34, angle: int = 0) -> Chart:
    """What was taken for what. Rows: label, said, count, share (of the label's own), strong. Long names stand at an
    angle.
    """
    base = alt.Chart(data(rows))
    across = alt.X("said:N", sort=None, title="said", axis=alt.Axis(orient="top", grid=False, ticks=False, domain=False,
                                                                    labelAngle=angle, labelLimit=110))  # fmt: skip
    down = alt.Y("label:N", sort=None, title="is", axis=alt.Axis(grid=False, ticks=False, domain=False, labelLimit=140))
    boxes = base.mark_rect(cornerRadius=2).encode(
        across, down,
        alt.Color("share:Q", legend=None, scale=alt.Scale(domain=[0, 1], range=["#8a8f981f", style.BLUE])),
        tooltip=_tips(("label", "is"), ("said", "said"), ("count", "count"), ("text", "of its class")),
    )  # fmt: skip
    words = base.mark_text(fontSize=10).encode(
        across, down, text="short:N",
        color=alt.condition("datum.strong", alt.value("#ffffff"), alt.value("currentColor")),
    )  # fmt: skip
    return alt.layer(boxes, words).properties(width=alt.Step(size), height=alt.Step(size if size < 30 else 30))


def scatter(rows: Rows | None = None, width: Any = "container") -> Chart:
    """Scores against labels. Rows: label, said."""
    return alt.Chart(data(rows)).mark_point(size=22, color=style.BLUE, opacity=0.6, filled=True).encode(
        alt.X("label:Q", title="label", scale=alt.Scale(zero=False)),
        alt.Y("said:Q", title="said", scale=alt.Scale(zero=False)),
        tooltip=_tips(("label", "label"), ("said", "said")),
    ).properties(width=width, height=260)  # fmt: skip


def _tips(*named: tuple[str, str]) -> list[alt.Tooltip]:
    return [alt.Tooltip(field=field, type="nominal", title=title) for field, title in named]
