"""A report as a page: one file with all that it needs, or several for hosting. No request leaves it.

Whatever comes from data is text: escaped where the page is written, and made by `textContent` where it is unpacked. The
policy lets only these very scripts and styles run, by their digests, and lets nothing be fetched.
"""

import base64
import hashlib
from functools import cache
from pathlib import Path
from typing import Any

import altair
import vl_convert
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from redistill import __version__
from redistill.report import charts
from redistill.report.content import Report
from redistill.report.grids import grids
from redistill.report.making import machines
from redistill.report.marks import BEST, SAID
from redistill.report.numbers import points, seconds_of, short
from redistill.report.pack import packed
from redistill.report.reading import Content
from redistill.report.rows import ALONE, FLOOR, STUDENT, TEACHER
from redistill.tables.render import NO_DATA, NO_RUN

ASSETS = Path(__file__).parent / "assets"
SCRIPTS = ("dom.js", "data.js", "charts.js", "tables.js", "chain.js", "cell.js", "main.js")
CLASSES = {STUDENT: "distilled", ALONE: "alone", TEACHER: "teacher", FLOOR: "floor"}
STYLE, VEGA, SCRIPT, INDEX = "report.css", "vega.js", "report.js", "index.html"


def one_file(report: Report) -> str:
    """The whole report as one HTML file."""
    style, vega, script = _style(), _vega(), _script()
    blocks = [f'<script type="application/json/octet" id="data-{name}">{text}</script>' for name, text in _data(report)]
    head = f"<style>{style}</style>"
    tail = "\n".join([*blocks, f"<script>{vega}</script>", f"<script>{script}</script>"])
    policy = _policy([_digest(vega), _digest(script)], [_digest(style)], "'none'")
    return _rendered(report, policy, head, tail)


def pages(report: Report) -> dict[str, str]:
    """The same as files, by name: for a web server, from which the parts are fetched as they are looked at."""
    files = {STYLE: _style(), VEGA: _vega(), SCRIPT: _script()}
    digests = {name: _digest(text) for name, text in files.items()}
    head = f'<link rel="stylesheet" href="{STYLE}" integrity="{digests[STYLE].strip(chr(39))}">'
    tail = "\n".join(
        f'<script src="{name}" integrity="{digests[name].strip(chr(39))}" defer></script>' for name in (VEGA, SCRIPT)
    )
    data = {f"data/{name}.json": unpacked for name, unpacked in _unpacked(report)}
    policy = _policy(["'self'"], ["'self'"], "'self'")
    return {**files, **data, INDEX: _rendered(report, policy, head, tail)}


def _data(report: Report) -> list[tuple[str, str]]:
    overview = {**report.overview, "specifications": specifications()}
    return [("overview", packed(overview)), ("making", packed(report.making)), *report.parts.items()]


def _unpacked(report: Report) -> list[tuple[str, str]]:
    import gzip

    return [(name, gzip.decompress(base64.b64decode(text)).decode()) for name, text in _data(report)]


def specifications() -> dict[str, Any]:
    """The charts of a page, without rows."""
    made = {
        "bars": charts.bars(), "pareto": charts.pareto(), "gap": charts.gap(), "pairs": charts.pairs(),
        "making": charts.making(), "lines": charts.lines(), "reliability": charts.reliability(),
        "confusion": charts.confusion(), "confusion-long": charts.confusion(angle=-40), "scatter": charts.scatter(),
    }  # fmt: skip
    return {name: charts.finished(chart, name) for name, chart in made.items()}


# --- what runs in the page -------------------------------------------------------------------------------------------


def _style() -> str:
    return (ASSETS / "style.css").read_text(encoding="utf-8")


def _script() -> str:
    text = "\n".join((ASSETS / name).read_text(encoding="utf-8") for name in SCRIPTS)
    return f'(() => {{\n"use strict";\n{text}}})();\n'


@cache
def _vega() -> str:
    """Vega, Vega-Lite and its embedding, as the package that draws them for papers has them."""
    version = altair.SCHEMA_VERSION.removeprefix("v")
    known = vl_convert.get_vegalite_versions()
    chosen = next((v for v in reversed(known) if version.startswith(f"{v}.")), known[-1])
    bundle = vl_convert.javascript_bundle(vl_version=chosen)  # type: ignore[call-arg]  # all that it takes may be left out
    return f"(() => {{\n{bundle}\n}})();\n".replace("</script", r"<\/script").replace("<!--", r"<\!--")


def _digest(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _policy(scripts: list[str], styles: list[str], connect: str) -> str:
    return (
        f"default-src 'none'; script-src {' '.join(scripts)}; style-src {' '.join(styles)}; img-src data:; "
        f"connect-src {connect}; base-uri 'none'; form-action 'none'; object-src 'none'; frame-src 'none'"
    )


# --- what stands in it -----------------------------------------------------------------------------------------------


def _rendered(report: Report, policy: str, head: str, tail: str) -> str:
    environment = Environment(
        loader=FileSystemLoader(ASSETS),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    tables = [_table(report, number) for number in range(len(report.overview["tables"]))]
    sections = grids(report)
    contents = [*({"id": one["id"], "title": one["title"]} for one in (*tables, *sections)),
                {"id": "about", "title": "About this page"}]  # fmt: skip
    study = report.study
    return environment.get_template("page.html.j2").render(
        policy=policy, head=Markup(head), tail=Markup(tail), tables=tables, grids=sections, contents=contents,
        cards=_cards(report), about=_about(report), marks_said=SAID,
        study={"name": study.name, "title": study.title, "root": study.published.digest, "key": study.published.digest},
    )  # fmt: skip


def _cards(report: Report) -> list[Content]:
    study, making = report.study, report.making
    runs = {run.key for run in study.published.runs}
    found = [
        {"what": "numbers", "number": f"{len(report.overview['cells']):,}",
         "note": f"in {_many(len(study.tables), 'table')}"},
        {"what": "runs", "number": f"{len(runs):,}", "note": f"{len(study.things):,} things in all"},
    ]  # fmt: skip
    best = _best_gap(report)
    if best is not None:
        found.append(best)
    small = _smallest(report)
    if small is not None:
        found.append(small)
    if making.get("recorded"):
        found.append(
            {
                "what": "made in",
                "number": seconds_of(making["wall"]),
                "note": f"{seconds_of(making['core_seconds'])} of cores",
            }
        )
    if report.claims:
        right = sum(one["verdict"] == "reproduced" for one in report.claims)
        found.append({"what": "published numbers reproduced", "number": f"{right} of {len(report.claims)}", "note": ""})
    return found


def _best_gap(report: Report) -> Content | None:
    """The share of the gap that a row closes in the mean over the columns that have one."""
    shares: dict[tuple[str, str], list[float]] = {}
    for name, of in report.looked.items():
        for one in of.gaps:
            if one["share"] is not None:
                shares.setdefault((name, one["row"]), []).append(one["share"])
    if not shares:
        return None
    (table, row), of_row = max(shares.items(), key=lambda item: (len(item[1]), sum(item[1]) / len(item[1])))
    label = next(r["label"] for r in report.study.rows(table) if r["name"] == row)
    columns = f", mean of {len(of_row)} columns" if len(of_row) > 1 else ""
    return {"what": "gap closed", "number": f"{sum(of_row) / len(of_row):.0f} %", "note": f"{label}{columns}"}


def _smallest(report: Report) -> Content | None:
    """How small the students are beside their teacher."""
    for table in report.overview["tables"]:
        roles = report.looked[table["name"]].roles
        sizes = {row["name"]: row.get("parameters") for row in table["rows"]}
        for name, part in roles.items():
            big, own = sizes.get(part.teacher or ""), sizes.get(name)
            if big and own and big > own:
                return {
                    "what": "student beside teacher",
                    "number": f"{100 * own / big:.0f} %",
                    "note": f"{short(own)} of {short(big)} parameters",
                }
    return None


def _many(count: int, word: str) -> str:
    return f"{count} {word}{'s' * (count != 1)}"


def _table(report: Report, number: int) -> Content:
    shown, published = report.overview["tables"][number], report.study.tables[report.overview["tables"][number]["name"]]
    cells = report.overview["cells"]
    notes = list(dict.fromkeys(note for row in published["rows"] for note in row["notes"]))
    means = {c["key"]: [cells[i]["mean"] for row in shown["rows"] if (i := row["cells"].get(c["key"])) is not None]
             for c in shown["columns"]}  # fmt: skip
    rows = []
    for line, row in zip(shown["rows"], published["rows"], strict=True):
        rows.append({
            "label": row["label"], "name": row["name"], "role": line["role"], "role_class": CLASSES[line["role"]],
            "notes": [str(row["notes"].get(note, "")) for note in notes],
            "cells": [_cell(cells, line["cells"].get(c["key"]), means[c["key"]]) for c in shown["columns"]],
        })  # fmt: skip
    return {
        "id": f"table-{number}", "title": published["title"], "notes": notes, "rows": rows, "columns": shown["columns"],
        "footer": [*published["footer"], *_star_lines(published)],
        "spread": any(cell["std"] is not None for cell in cells), "marked": bool(report.looked[shown["name"]].marks),
        "nothing": [NO_DATA if c["key"] in published["no_data"] else NO_RUN for c in shown["columns"]],
    }  # fmt: skip


def _star_lines(published: Content) -> list[str]:
    examples = []
    for column in published["columns"]:
        counts = sorted({cell["n_examples"] for row in published["rows"] if (cell := row["cells"].get(column["key"]))})
        if counts:
            examples.append(f"{column['heading']} {' or '.join(map(str, counts))}")
    return [f"Examples: {', '.join(examples)}"] if examples else []


def _cell(cells: list[Content], number: int | None, means: list[float]) -> Content | None:
    if number is None:
        return None
    cell = cells[number]
    low, high = min(means), max(means)
    share = round(6 + 94 * (cell["mean"] - low) / (high - low)) if high > low else 0
    return {
        "number": number, "mean": cell["mean"], "text": points(cell["mean"]), "n_seeds": cell["n_seeds"],
        "share": share, "std": points(cell["std"]) if cell["std"] is not None else "", "mark": cell["mark"],
        "mark_class": "best" if cell["mark"] == BEST else "second",
        "published": f"{cell['published']:g}" if cell.get("published") is not None else "",
    }  # fmt: skip


def _about(report: Report) -> list[str]:
    study = report.study
    made_on = machines(study)
    found = [
        f"Made by redistill {__version__} from results/{study.name}/ and the store. Of what was read from the store, "
        f"every file was found to be what the published manifests say: {len(study.hashed)} files.",
        "It is one file, opens offline, and asks for nothing from anywhere: its content security policy forbids it.",
    ]
    if made_on:
        found.append(f"The study was made on: {'; '.join(made_on[:4])}{' and others' if len(made_on) > 4 else ''}.")
    found += report.cut
    opened = [run for run in study.published.runs if study.file(study.things[run.key], "predictions.parquet") is None]
    if opened:
        found.append(
            f"Of {len(opened)} of {len(study.published.runs)} runs nothing is in this store, so what they said is not "
            "shown: `redistill pull` brings it."
        )
    return found
