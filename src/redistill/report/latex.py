r"""A table for LaTeX with booktabs, best and second best students marked where they surely are.

results/STUDY/TABLE.tex has the whole table as it was published, with every note; this is the one for a paper.
"""

from redistill.report.columns import Looked
from redistill.report.marks import BEST, SAID, SECOND
from redistill.report.numbers import points
from redistill.report.reading import Content, Study, metric_name
from redistill.report.rows import FLOOR, TEACHER
from redistill.tables.render import NO_DATA, NO_RUN
from redistill.tables.render import _latex as escaped  # its module is in the keys of tables, so it stays as it is

MARKS = {BEST: r"\textbf{%s}", SECOND: r"\underline{%s}"}


def latex(study: Study, of: Looked) -> str:
    """A table: floors, teachers and students apart, a rule between them, and what the marks mean."""
    table = study.tables[of.name]
    columns = table["columns"]
    lines = [
        r"% \usepackage{booktabs}", rf"% redistill figure {study.name} table --table {of.name} --format tex",
        rf"% Merkle root {study.published.digest}", r"\begin{table}[t]", r"\centering",
        rf"\caption{{{escaped(table['title'])}. {escaped(_caption(table, of))}}}",
        rf"\label{{tab:{''.join(c if c.isalnum() or c in '.-' else '-' for c in of.name)}}}",
        rf"\begin{{tabular}}{{l{'r' * len(columns)}}}", r"\toprule",
        " & ".join(["", *(escaped(column["heading"]) for column in columns)]) + r" \\",
        " & ".join(["", *(rf"{{\footnotesize {escaped(metric_name(c['metric']))}}}" for c in columns)]) + r" \\",
    ]  # fmt: skip
    for group in _groups(study, of):
        lines.append(r"\midrule")
        lines += [_line(row, table, of) for row in group]
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", r"\end{table}"]) + "\n"


def _groups(study: Study, of: Looked) -> list[list[Content]]:
    """Rows of floors, of teachers, and the rest, in the order of the study."""
    rows = study.rows(of.name)
    apart = [[row for row in rows if of.roles[row["name"]].role == role] for role in (FLOOR, TEACHER)]
    rest = [row for row in rows if of.roles[row["name"]].role not in (FLOOR, TEACHER)]
    return [group for group in (*apart, rest) if group]


def _line(row: Content, table: Content, of: Looked) -> str:
    texts = [escaped(row["label"])]
    for column in table["columns"]:
        cell, mark = row["cells"].get(column["key"]), of.marks.get((row["name"], column["key"]))
        if cell is None:
            texts.append(NO_DATA if column["key"] in table["no_data"] else NO_RUN)
            continue
        number = escaped(points(cell["mean"]))
        number = MARKS[mark] % number if mark else number
        spread = "" if cell["std"] is None else rf"\,{{\footnotesize$\pm$\,{points(cell['std'])}}}"
        texts.append(number + spread)
    return " & ".join(texts) + r" \\"


def _caption(table: Content, of: Looked) -> str:
    seeds = sorted({cell["n_seeds"] for row in table["rows"] for cell in row["cells"].values() if cell})
    over = f"{seeds[0]}" if len(seeds) == 1 else f"{seeds[0]} to {seeds[-1]}" if seeds else "no"
    said = f"Mean ± standard deviation over {over} seeds, times 100, on dev."
    return f"{said} {SAID}" if of.marks else said
