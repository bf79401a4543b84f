"""Writes one table as CSV, Markdown, LaTeX and JSON: the same table gives the same bytes."""

import csv
import io
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from redistill.tables.statistics import Difference

NO_RUN = "no run"
NO_DATA = "no data"
METRIC_NAMES = {"pearson_spearman": "mean of Pearson and Spearman"}
NOT_SAID = "-"
STAR_P = 0.05
STAR_SEEDS = 5
_CSV_HEADINGS = (
    "row",
    "label",
    "column",
    "metric",
    "mean",
    "std",
    "n_seeds",
    "low",
    "high",
    "n_examples",
    "runs",
)


@dataclass(frozen=True)
class Cell:
    """One number with the runs that it aggregates, on the metric's own scale (0.813, not 81.3)."""

    mean: float
    std: float | None
    n: int
    low: float | None
    high: float | None
    n_examples: int
    runs: Sequence[str]
    key: str


@dataclass(frozen=True)
class Row:
    """notes: how the row was made ("start": "layers 1, 3, 5"). A cell that is None or absent has no run."""

    name: str
    label: str
    notes: Mapping[str, str]
    cells: Mapping[str, Cell | None]


@dataclass(frozen=True)
class Comparison:
    """Row minus `against` in one column, with the p-value after Holm's correction over the table."""

    row: str
    against: str
    column: str
    difference: Difference
    adjusted_p: float


@dataclass(frozen=True)
class Table:
    """What every writer here takes. columns: (key, heading, metric name); footer: study, data, seeds, split; no_data:
    columns for which the user's folder has no data.

    Raises ValueError for a name used twice, a cell or comparison of a row or column that the table lacks, and
    a table without a footer.
    """

    name: str
    title: str
    columns: Sequence[tuple[str, str, str]]
    rows: Sequence[Row]
    comparisons: Sequence[Comparison]
    footer: Sequence[str]
    no_data: Sequence[str] = ()

    def __post_init__(self) -> None:
        columns = [key for key, _, _ in self.columns]
        rows = [row.name for row in self.rows]
        for kind, names in (("column", columns), ("row", rows)):
            if len(set(names)) < len(names):
                raise ValueError(f"table {self.name}: two {kind}s have the same name among {names}")
        used_columns = {key for row in self.rows for key in row.cells} | {c.column for c in self.comparisons}
        used_rows = {name for c in self.comparisons for name in (c.row, c.against)}
        for kind, used, known in (("column", used_columns, columns), ("row", used_rows, rows)):
            if unknown := sorted(used - set(known)):
                raise ValueError(f"table {self.name}: no {kind} {unknown[0]!r}; there is {', '.join(known)}")
        if not self.footer:
            raise ValueError(f"table {self.name}: the footer must say study, data, seeds and split")


def starred(comparison: Comparison) -> bool:
    """Whether a comparison earns a star: adjusted p under 0.05, from 5 seeds or more on both sides."""
    return comparison.adjusted_p < STAR_P and comparison.difference.n_seeds >= STAR_SEEDS


def to_csv(table: Table) -> str:
    """One line a cell, on the metric's own scale with 6 decimals; a cell without a run has n_seeds 0."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(_CSV_HEADINGS)
    for row in table.rows:
        for key, _, metric in table.columns:
            start = [_flat(row.name), _flat(row.label), _flat(key), _flat(metric)]
            cell = row.cells.get(key)
            if cell is None:
                writer.writerow([*start, "", "", 0, "", "", 0, ""])
                continue
            mean, std, low, high = map(_decimals, (cell.mean, cell.std, cell.low, cell.high))
            writer.writerow([*start, mean, std, cell.n, low, high, cell.n_examples, " ".join(cell.runs)])
    return out.getvalue()


def to_json(table: Table) -> str:
    """Everything in the table, numbers on the metric's own scale to 6 decimals; a cell without a run is null.

    Raises ValueError for a number that is not finite, which JSON cannot hold.
    """
    content = {
        "name": table.name,
        "title": table.title,
        "columns": [{"key": key, "heading": heading, "metric": metric} for key, heading, metric in table.columns],
        "rows": [
            {
                "name": row.name,
                "label": row.label,
                "notes": dict(row.notes),
                "cells": {key: _cell_content(row.cells.get(key)) for key, _, _ in table.columns},
            }
            for row in table.rows
        ],
        "comparisons": [_comparison_content(comparison) for comparison in table.comparisons],
        "footer": list(table.footer),
        "no_data": list(table.no_data),
    }
    return json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def to_markdown(table: Table) -> str:
    """GitHub's Markdown: the table, the line that says where it comes from, the declared comparisons."""
    blocks = [f"### {_markdown(table.title)}", _markdown_grid(*_cells_grid(table))]
    blocks.append(f"*{_markdown(_footer(table))}*")
    if table.comparisons:
        blocks.append(_markdown_grid(*_comparisons_grid(table)))
        blocks.append(f"*{_markdown(_star_line())}*")
    return "\n\n".join(blocks) + "\n"


def to_latex(table: Table) -> str:
    r"""A `table` for LaTeX with booktabs (`\usepackage{booktabs}`); holds what `to_markdown` holds."""
    lines = [r"\begin{table}[t]", r"\centering", rf"\caption{{{_latex(table.title)}}}"]
    # A label is a name to LaTeX, not text: escapes do not work in it.
    lines.append(rf"\label{{tab:{re.sub('[^A-Za-z0-9.-]', '-', table.name)}}}")
    lines += _latex_grid(*_cells_grid(table))
    lines += [r"\par\smallskip", rf"{{\footnotesize {_latex(_footer(table))}\par}}"]
    if table.comparisons:
        lines += [r"\medskip", *_latex_grid(*_comparisons_grid(table))]
        lines += [r"\par\smallskip", rf"{{\footnotesize {_latex(_star_line())}\par}}"]
    return "\n".join([*lines, r"\end{table}"]) + "\n"


def markdown_table(title: str, headings: list[str], rows: list[list[str]], footer: Sequence[str]) -> str:
    """A table of texts, whose first column is words."""
    return f"### {_markdown(title)}\n\n{_markdown_grid(headings, rows, 1)}\n\n*{_markdown('; '.join(footer))}*\n"


def latex_table(name: str, title: str, headings: list[str], rows: list[list[str]], footer: Sequence[str]) -> str:
    """What `markdown_table` holds, for LaTeX with booktabs."""
    lines = [r"\begin{table}[t]", r"\centering", rf"\caption{{{_latex(title)}}}", rf"\label{{tab:{name}}}"]
    lines += _latex_grid(headings, rows, 1)
    return "\n".join([*lines, rf"{{\footnotesize {_latex('; '.join(footer))}\par}}", r"\end{table}"]) + "\n"


# A grid is what Markdown and LaTeX share: headings, rows of plain text, and how many first columns are words.
Grid = tuple[list[str], list[list[str]], int]


def _cells_grid(table: Table) -> Grid:
    notes = list(dict.fromkeys(note for row in table.rows for note in row.notes))
    headings = [
        "row",
        *notes,
        *(f"{heading} ({METRIC_NAMES.get(metric, metric)})" for _, heading, metric in table.columns),
    ]
    rows = [
        [row.label]
        + [_flat(row.notes.get(note, "")) or NOT_SAID for note in notes]
        + [_cell_text(row.cells.get(key), NO_DATA if key in table.no_data else NO_RUN) for key, _, _ in table.columns]
        for row in table.rows
    ]
    return headings, rows, 1 + len(notes)


def _comparisons_grid(table: Table) -> Grid:
    labels = {row.name: row.label for row in table.rows}
    columns = {key: heading for key, heading, _ in table.columns}
    headings = ["row", "against", "column", "difference in points", "95 % interval", "p (Holm)"]
    headings += ["smallest detectable", "seeds", "examples"]
    rows = [
        [
            labels[comparison.row],
            labels[comparison.against],
            columns[comparison.column],
            _points(comparison.difference.difference, sign="+") + ("*" if starred(comparison) else ""),
            f"{_points(comparison.difference.low)} to {_points(comparison.difference.high)}",
            _p_text(comparison.adjusted_p),
            _points(comparison.difference.smallest_detectable),
            str(comparison.difference.n_seeds),
            str(comparison.difference.n_examples),
        ]
        for comparison in table.comparisons
    ]
    return headings, rows, 3


def _footer(table: Table) -> str:
    examples = []
    for key, heading, _ in table.columns:
        cells = [cell for row in table.rows if (cell := row.cells.get(key)) is not None]
        if cells:
            examples.append(f"{heading} {' or '.join(map(str, sorted({cell.n_examples for cell in cells})))}")
    said = [*table.footer, "mean ± standard deviation (seeds), times 100"]
    return "; ".join(said + ([f"examples: {', '.join(examples)}"] if examples else []))


def _star_line() -> str:
    return (
        "Hierarchical paired bootstrap over seeds and examples. "
        f"Star: Holm-adjusted p < {STAR_P} and at least {STAR_SEEDS} seeds."
    )


def _cell_text(cell: Cell | None, nothing: str) -> str:
    if cell is None:
        return nothing
    spread = "" if cell.std is None else f" ± {_points(cell.std)}"
    return f"{_points(cell.mean)}{spread} ({cell.n})"


def _points(value: float, sign: str = "-") -> str:
    """A value in points, as 81.3. Rounding first, and adding 0.0, keeps "-0.0" from being printed."""
    return format(round(100 * float(value), 1) + 0.0, f"{sign}.1f")


def _p_text(p: float) -> str:
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(float(value), 6) + 0.0


def _decimals(value: float | None) -> str:
    return "" if value is None else f"{_rounded(value):.6f}"


def _cell_content(cell: Cell | None) -> dict[str, object] | None:
    if cell is None:
        return None
    return {
        "mean": _rounded(cell.mean),
        "std": _rounded(cell.std),
        "n_seeds": int(cell.n),
        "low": _rounded(cell.low),
        "high": _rounded(cell.high),
        "n_examples": int(cell.n_examples),
        "runs": list(cell.runs),
        "key": cell.key,
    }


def _comparison_content(comparison: Comparison) -> dict[str, object]:
    difference = comparison.difference
    return {
        "row": comparison.row,
        "against": comparison.against,
        "column": comparison.column,
        "difference": _rounded(difference.difference),
        "low": _rounded(difference.low),
        "high": _rounded(difference.high),
        "p": _rounded(difference.p),
        "adjusted_p": _rounded(comparison.adjusted_p),
        "smallest_detectable": _rounded(difference.smallest_detectable),
        "n_seeds": int(difference.n_seeds),
        "n_examples": int(difference.n_examples),
        "star": starred(comparison),
    }


def _flat(text: str) -> str:
    """One line of text: a line break in a label would end the table's line."""
    return " ".join(text.split())


def _markdown(text: str) -> str:
    # What could end a cell, or turn a label into emphasis, code, a link, HTML or an entity.
    return re.sub(r"([\\|`*_~<>\[\]&#!$])", r"\\\1", _flat(text))


_LATEX = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "`": r"\textasciigrave{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\textquotedbl{}",
    "±": r"$\pm$",
    **{character: "\\" + character for character in "&%$#_{}"},
    # At the start of a row LaTeX would take these as arguments of the \\ before it.
    **{character: f"{{{character}}}" for character in "[]*"},
}


def _latex(text: str) -> str:
    escaped = "".join(_LATEX.get(character, character) for character in _flat(text))
    # A hyphen before a number is a minus sign, unless it joins (2019-2020).
    return re.sub(r"(?<![\w-])-(?=\d)", "$-$", escaped)


def _markdown_grid(headings: list[str], rows: list[list[str]], n_words: int) -> str:
    rule = ["---" if i < n_words else "---:" for i in range(len(headings))]
    escaped = [[_markdown(text) for text in line] for line in (headings, *rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in (escaped[0], rule, *escaped[1:]))


def _latex_grid(headings: list[str], rows: list[list[str]], n_words: int) -> list[str]:
    def line(texts: list[str]) -> str:
        return " & ".join(map(_latex, texts)) + r" \\"

    alignment = "l" * n_words + "r" * (len(headings) - n_words)
    top = [rf"\begin{{tabular}}{{{alignment}}}", r"\toprule", line(headings), r"\midrule"]
    return [*top, *map(line, rows), r"\bottomrule", r"\end{tabular}"]


WRITERS: dict[str, Callable[[Table], str]] = {
    "csv": to_csv,
    "md": to_markdown,
    "tex": to_latex,
    "json": to_json,
}
"""File name ending to the function that writes it."""
