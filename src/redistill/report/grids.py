"""The tables of a report beside those of the study: gaps, costs, comparisons, published numbers, times, licences."""

import csv
import io
import json
from typing import Any
from urllib.parse import urlsplit

from redistill.errors import RedistillError
from redistill.exports import facts, licences
from redistill.report.content import Report
from redistill.report.costs import exported
from redistill.report.numbers import p_of, points, seconds_of, short, size
from redistill.report.reading import Content
from redistill.report.rows import TEACHER

BADGES = {"reproduced": "good", "not reproduced": "bad"}
DECLARED = (
    "Declared comparisons were named in the study before it was made: hierarchical paired bootstrap over seeds and "
    "examples, p after Holm's correction over the table; significant from 5 seeds on."
)
UNDECLARED = (
    "The picture has every row against every other, which nobody declared beforehand: it is for looking around, with "
    "fewer draws, and with p corrected over all pairs of the column."
)
PUBLISHED = (
    "Published numbers are others' own; they are marked as published wherever they stand. The margin is how far a "
    "number may lie from the published one and still count as reproduced."
)
COST_NOTE = (
    "The dashed line joins what nothing else beats: no row is both cheaper and better than a row on it. A point "
    "opens its number."
)


def value(text: Any, number: float | None = None, link: str | None = None, badge: str | None = None) -> Content:
    """A cell: its text, what it sorts by, and where it leads."""
    safe = link if link is not None and link.startswith(("https://", "http://")) else None
    return {"text": str(text), "number": number, "link": safe, "badge": badge}


def part(name: str, caption: str, headings: list[str], rows: list[list[Content]], numeric: set[int] = frozenset(),  # type: ignore[assignment]
         folded: str = "") -> Content:  # fmt: skip
    """A table of a section; `folded` is what is pressed to see it."""
    return {"id": name, "caption": caption, "headings": headings, "rows": rows, "numeric": numeric, "folded": folded,
            "filter": len(rows) > 15}  # fmt: skip


def grids(report: Report) -> list[Content]:
    """All sections after the study's own tables."""
    found = [_gaps(report), _costs(report), _pairs(report), _claims(report), _submissions(report), _making(report),
             _licences(report)]  # fmt: skip
    return [section for section in found if section is not None]


def _section(name: str, title: str, said: list[str], parts: list[Content], draws: str = "", caption: str = "",
             rows: list[Content] | None = None) -> Content:  # fmt: skip
    return {"id": name, "title": title, "said": said, "parts": parts, "draws": draws, "caption_drawn": caption,
            "rows_drawn": json.dumps(rows, allow_nan=False) if rows is not None else ""}  # fmt: skip


def gap_rows(report: Report) -> list[Content]:
    """Shares of gaps as a picture has them: rows of every table whose share says something."""
    found = []
    for name, of in report.looked.items():
        labels, columns = _labels(report, name), _headings(report, name)
        for one in of.gaps:
            if one["share"] is not None:
                share = one["share"]
                low, high = (share if end is None else end for end in (one["low"], one["high"]))
                found.append({"table": report.study.tables[name]["title"], "label": labels[one["row"]],
                              "column": columns[one["column"]], "share": share,
                              "low": max(low, -100.0), "high": min(high, 250.0), "said": _percent(one)})  # fmt: skip
    return found


def _percent(one: Content) -> str:
    if one["share"] is None:
        return ""
    between = "" if one["low"] is None else f" ({one['low']:.0f} to {one['high']:.0f})"
    return f"{one['share']:.0f} %{between}"


def _gaps(report: Report) -> Content | None:
    lines = []
    for name, of in report.looked.items():
        labels, columns = _labels(report, name), _headings(report, name)
        for one in of.gaps:
            lines.append([
                value(labels[one["row"]]), value(columns[one["column"]]), value(labels[one["alone"]]),
                value(labels[one["teacher"]]), value(points(one["gap"], "+"), one["gap"]),
                value(_percent(one) or "–", one["share"]), value(one["why"]),
            ])  # fmt: skip
    if not lines:
        return None
    said = [
        "How much of the way from the student alone to its teacher each distilled student has gone: 0 % is the student "
        "trained alone, 100 % the teacher. In brackets the 95 % interval by the paired bootstrap; a gap that may be "
        "none has no share.",
    ]
    headings = ["row", "column", "student alone", "teacher", "gap in points", "closed", "remark"]
    grid = part("gaps-grid", "Teacher-student gap that is closed", headings, lines, {4, 5})
    return _section("gap", "Gap recovered", said, [grid], "gap" if gap_rows(report) else "",
                    "Share of the gap that is closed, with 95 % intervals", gap_rows(report))  # fmt: skip


def _costs(report: Report) -> Content | None:
    lines = []
    for table in report.overview["tables"]:
        roles = report.looked[table["name"]].roles
        teachers = [row for row in table["rows"] if row["role"] == TEACHER and row.get("parameters")]
        for row in table["rows"]:
            whose = roles[row["name"]].teacher
            big = next((t for t in teachers if t["name"] == whose), teachers[0] if len(teachers) == 1 else None)
            share = row["parameters"] / big["parameters"] if big and row.get("parameters") and big is not row else None
            flops = max(row.get("operations", {}).values(), default=None)
            speed = row.get("speed", [])
            lines.append([
                value(row["label"]), value(table["title"]), value(row["role"]),
                value(short(row.get("parameters")), row.get("parameters")),
                value(f"{100 * share:.0f} %" if share else "", share), value(size(row.get("bytes")), row.get("bytes")),
                value(short(flops), flops), value(_time(row.get("seconds")), row.get("seconds")),
                value("; ".join(map(_speed, speed)), speed[0]["milliseconds"] if speed else None),
            ])  # fmt: skip
    if not any(cell["number"] for line in lines for cell in line):
        return None
    headings = ["row", "table", "part", "parameters", "of teacher's", "weights", "FLOPs of one example",
                "mean time to make a run", "latency"]  # fmt: skip
    numeric = {3, 4, 5, 6, 7, 8}
    if not any(line[8]["text"] for line in lines):
        lines, headings, numeric = [line[:8] for line in lines], headings[:8], numeric - {8}
    said = [COST_NOTE, "FLOPs are those of one forward pass, a text as long as its task lets it be."]
    grid = part("costs-grid", "What each row's model costs", headings, lines, numeric)
    grids = [grid, exports] if (exports := _exports(report)) else [grid]
    return _section("costs", "Size, speed and score", said, grids, "pareto", "Score against cost")


def _exports(report: Report) -> Content | None:
    """Every export of a run, beside it."""
    lines = []
    for table in report.study.tables.values():
        for row, column in ((row, column) for row in table["rows"] for column in table["columns"]):
            cell = row["cells"].get(column["key"])
            for key in cell["runs"] if cell else ():
                for one in exported(report.study, key, column["metric"]):
                    lines.append([
                        value(row["label"]), value(column["heading"]), value(key), value(one["form"]),
                        value(points(one["run"]), one["run"]), value(points(one["export"]), one["export"]),
                        value(points(one["export"] - one["run"], "+"), one["export"] - one["run"]),
                        value("" if one["agree"] is None else f"{100 * one['agree']:.2f} %", one["agree"]),
                    ])  # fmt: skip
    headings = ["row", "column", "run", "form", "run's score", "export's score", "difference in points", "same answers"]
    return part("exports-grid", "Exports beside their runs, on dev", headings, lines, {4, 5, 6, 7}) if lines else None


def _speed(line: Content) -> str:
    form = f"{line['form']}: " if line.get("form") else ""
    batch = f" (batch of {line['batch_size']})" if line.get("batch_size") else ""
    return f"{form}{line['milliseconds']:.3g} ms{batch}"


def _pairs(report: Report) -> Content | None:
    lines = []
    for name, table in report.study.tables.items():
        labels, columns = _labels(report, name), _headings(report, name)
        for one in table["comparisons"]:
            star = "star" if one["star"] else ""
            verdict = "significant" if star else "too few seeds" if one["adjusted_p"] < 0.05 else "may be chance"
            lines.append([
                value(labels[one["row"]]), value(labels[one["against"]]), value(columns[one["column"]]),
                value(points(one["difference"], "+"), one["difference"]),
                value(f"{points(one['low'], '+')} to {points(one['high'], '+')}"),
                value(p_of(one["adjusted_p"]), one["adjusted_p"]),
                value(points(one["smallest_detectable"]), one["smallest_detectable"]),
                value(one["n_seeds"], one["n_seeds"]), value(verdict, badge="good" if star else "open"),
            ])  # fmt: skip
    if not lines and not report.overview["pairs"]:
        return None
    said = []
    parts = []
    if lines:
        said.append(DECLARED)
        headings = ["row", "against", "column", "difference in points", "95 % interval", "p (Holm)",
                    "smallest detectable", "seeds", "verdict"]  # fmt: skip
        parts.append(part("pairs-grid", "Declared comparisons", headings, lines, {3, 5, 6, 7}))
    if report.overview["pairs"]:
        said.append(UNDECLARED)
    return _section("significance", "Significance between rows", said, parts,
                    "pairs" if report.overview["pairs"] else "",
                    "Every row against every other, in points")  # fmt: skip


def _claims(report: Report) -> Content | None:
    if not report.claims:
        return None
    lines = []
    for one in report.claims:
        title, row, column = one["table"], one["row"], one["column"]
        if one["table"] in report.study.tables:
            title = report.study.tables[one["table"]]["title"]
            row = _labels(report, one["table"]).get(row, row)
            column = _headings(report, one["table"]).get(column, column)
        own = "" if one["mean"] is None else f"{one['mean']:.1f}"
        between = "" if one["low"] is None else f" ({one['low']:.1f} to {one['high']:.1f})"
        lines.append([
            value(row), value(title), value(column), value(f"{one['claimed']:g} ± {one['margin']:g}", one["claimed"]),
            value(own + between, one["mean"]), value(one["verdict"], badge=BADGES.get(one["verdict"], "open")),
            value(one["label"]), value(one["source"]), value(one["reason"]),
        ])  # fmt: skip
    headings = ["row", "table", "column", "published", "here", "verdict", "whose", "source", "why"]
    return _section(
        "published",
        "Published numbers",
        [PUBLISHED],
        [part("claims-grid", "Published numbers beside the study's own", headings, lines, {3, 4})],
    )


def _submissions(report: Report) -> Content | None:
    file = report.study.root / "results" / report.study.name / "submissions.csv"
    if "submissions" not in report.study.published.tables or not file.is_file():
        return None
    headings, *rows = csv.reader(io.StringIO(file.read_text(encoding="utf-8")))
    lines = [[value(text) for text in row] for row in rows]
    said = ["What GLUE's server said of submissions. Rows that begin with “published” are others' numbers."]
    return _section("submissions", "Test scores", said, [part("submissions-grid", "GLUE, test", headings, lines)])


def _making(report: Report) -> Content:
    making = report.making
    lines = [
        [value(one["kind"]), value(one["things"], one["things"]), value(_time(one["seconds"]), one["seconds"])]
        for one in making["kinds"]
    ]
    said = []
    if making.get("recorded"):
        at_once = making["seconds"] / max(making["wall"], 1e-9)
        said.append(
            f"{making['recorded']} things took {seconds_of(making['seconds'])} of jobs in "
            f"{seconds_of(making['wall'])}, "
            f"{at_once:.1f} at once, and {seconds_of(making['core_seconds'])} of cores."
        )
        if making["cut"]:
            said.append(f"The picture has the longest {len(making['bars'])}; {making['cut']} short ones are left out.")
    else:
        said.append("There are no records of its making here: `redistill pull` brings them.")
    grid = part(
        "making-grid", "Things by kind", ["kind", "things", "time"], lines, {1, 2}, folded="Things by kind, as a table"
    )
    return _section("making", "How it was made", said, [grid], "making", "What is made of what, and who was made when")


def _licences(report: Report) -> Content | None:
    try:
        owed = licences.report(_facts(report))
    except (RedistillError, OSError):
        return None
    groups = licences.GROUPS
    lines = [
        [value(one.name), value(groups[one.group]), value(one.version), value(one.licence),
         value("; ".join(one.flags), badge="bad" if one.flags else None), value(one.citation),
         value(_host(one.url), link=one.url)]
        for one in owed
    ]  # fmt: skip
    for line in lines:
        if not line[4]["text"]:
            line[4]["badge"] = None
    flagged = sum(bool(one.flags) for one in owed)
    said = [f"{flagged} of {len(owed)} should be looked at before anything is passed on." if flagged
            else f"None of {len(owed)} has a licence that is unknown, for research only or proprietary.",
            "A package's licence is what its metadata states."]  # fmt: skip
    headings = ["what", "group", "version", "licence", "look at", "to cite", "page"]
    return _section(
        "licences",
        "Licences and citations",
        said,
        [part("licences-grid", "What was used, and what it asks for", headings, lines)],
    )


def _facts(report: Report) -> facts.Study:
    study = report.study
    known = facts.sources_on_file(study.root)
    sources = {key: facts.source(known, t.kind, t.title, t.parts["config"])
               for key, t in study.things.items() if t.kind in ("data", "model")}  # fmt: skip
    return facts.Study(study.published, study.title, {}, sources)


def _host(address: str) -> str:
    return urlsplit(address).hostname or ""


def _time(seconds: float | None) -> str:
    return "" if not seconds else seconds_of(seconds) if seconds >= 10 else f"{seconds:.1f} s"


def _labels(report: Report, table: str) -> dict[str, str]:
    return {row["name"]: row["label"] for row in report.study.rows(table)}


def _headings(report: Report, table: str) -> dict[str, str]:
    return {column["key"]: column["heading"] for column in report.study.tables[table]["columns"]}
