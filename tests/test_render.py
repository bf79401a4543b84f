"""Tables as text: exact bytes, escapes, stars, and cells that nobody has run."""

import csv
import io
import json
import re
from collections.abc import Mapping
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from redistill.tables.render import (
    WRITERS,
    Cell,
    Comparison,
    Row,
    Table,
    starred,
    to_csv,
    to_json,
    to_latex,
    to_markdown,
)
from redistill.tables.statistics import Difference

FOOTER = ("study embedded", "data VADER 2.5 (movie, tweets)", "seeds 1, 2, 3", "split dev")
MANY = Cell(0.8126, 0.0094, 3, 0.7893, 0.83594, 1061, ("aaaa", "bbbb", "cccc"), "dddd")
ONE = Cell(0.5, None, 1, None, None, 1061, ("eeee",), "ffff")


def comparison(p: float = 0.0123, n_seeds: int = 3, difference: float = 0.0126) -> Comparison:
    return Comparison("kd", "none", "movie", Difference(difference, -0.0004, 0.03, p, 0.02, n_seeds, 1061), p)


def table(
    label: str = "KD",
    notes: Mapping[str, str] | None = None,
    comparisons: tuple[Comparison, ...] = (comparison(),),
) -> Table:
    return Table(
        name="text",
        title="Text",
        columns=[("movie", "Movie", "accuracy"), ("tweets", "Tweets", "pearson")],
        rows=[
            Row("none", "no teacher", {}, {"movie": ONE, "tweets": None}),
            Row(
                "kd",
                label,
                {"start": "layers 1, 3, 5", "steps": "60"} if notes is None else notes,
                {"movie": MANY},
            ),
        ],
        comparisons=comparisons,
        footer=FOOTER,
    )


# --- exact text --------------------------------------------------------------------------------------------


def test_markdown_is_exactly_this() -> None:
    expected = """\
### Text

| row | start | steps | Movie (accuracy) | Tweets (pearson) |
| --- | --- | --- | ---: | ---: |
| no teacher | - | - | 50.0 (1) | no run |
| KD | layers 1, 3, 5 | 60 | 81.3 ± 0.9 (3) | no run |

*study embedded; data VADER 2.5 (movie, tweets); seeds 1, 2, 3; split dev; \
mean ± standard deviation (seeds), times 100; examples: Movie 1061*

| row | against | column | difference in points | 95 % interval |\
 p (Holm) | smallest detectable | seeds | examples |
| --- | --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |
| KD | no teacher | Movie | +1.3 | 0.0 to 3.0 | 0.012 | 2.0 | 3 | 1061 |

*Hierarchical paired bootstrap over seeds and examples. Star: Holm-adjusted p \\< 0.05 and at least 5 seeds.*
"""
    assert to_markdown(table()) == expected


def test_latex_is_exactly_this() -> None:
    # A ~ at the end of a line joins it to the next.
    expected = r"""\begin{table}[t]
\centering
\caption{Text}
\label{tab:text}
\begin{tabular}{lllrr}
\toprule
row & start & steps & Movie (accuracy) & Tweets (pearson) \\
\midrule
no teacher & - & - & 50.0 (1) & no run \\
KD & layers 1, 3, 5 & 60 & 81.3 $\pm$ 0.9 (3) & no run \\
\bottomrule
\end{tabular}
\par\smallskip
{\footnotesize study embedded; data VADER 2.5 (movie, tweets); seeds 1, 2, 3; split dev; ~
mean $\pm$ standard deviation (seeds), times 100; examples: Movie 1061\par}
\medskip
\begin{tabular}{lllrrrrrr}
\toprule
row & against & column & difference in points & 95 \% interval ~
& p (Holm) & smallest detectable & seeds & examples \\
\midrule
KD & no teacher & Movie & +1.3 & 0.0 to 3.0 & 0.012 & 2.0 & 3 & 1061 \\
\bottomrule
\end{tabular}
\par\smallskip
{\footnotesize Hierarchical paired bootstrap over seeds and examples. ~
Star: Holm-adjusted p \textless{} 0.05 and at least 5 seeds.\par}
\end{table}
"""
    assert to_latex(table()) == expected.replace("~\n", "")


def test_csv_is_exactly_this() -> None:
    expected = """\
row,label,column,metric,mean,std,n_seeds,low,high,n_examples,runs
none,no teacher,movie,accuracy,0.500000,,1,,,1061,eeee
none,no teacher,tweets,pearson,,,0,,,0,
kd,KD,movie,accuracy,0.812600,0.009400,3,0.789300,0.835940,1061,aaaa bbbb cccc
kd,KD,tweets,pearson,,,0,,,0,
"""
    assert to_csv(table()) == expected


def test_json_holds_the_raw_scale_to_six_decimals() -> None:
    precise = replace(MANY, mean=0.81234567, low=-1e-9)
    content = json.loads(to_json(replace(table(), rows=[Row("kd", "KD", {}, {"movie": precise})], comparisons=())))
    assert content["rows"][0]["cells"] == {
        "movie": {
            "mean": 0.812346,
            "std": 0.0094,
            "n_seeds": 3,
            "low": 0.0,
            "high": 0.83594,
            "n_examples": 1061,
            "runs": ["aaaa", "bbbb", "cccc"],
            "key": "dddd",
        },
        "tweets": None,
    }
    assert "-0.0" not in to_json(replace(table(), rows=[Row("kd", "KD", {}, {"movie": precise})], comparisons=()))
    found = json.loads(to_json(table()))
    assert found["footer"] == list(FOOTER)
    assert found["comparisons"][0]["adjusted_p"] == 0.0123
    assert found["comparisons"][0]["star"] is False


def test_json_refuses_what_is_not_a_number() -> None:
    broken = Row("kd", "KD", {}, {"movie": replace(MANY, mean=float("nan"))})
    with pytest.raises(ValueError, match="not JSON compliant"):
        to_json(replace(table(), rows=[broken], comparisons=()))


@pytest.mark.parametrize("value", [-0.0004, 0.0004, -0.0, 0.0])
def test_nothing_is_printed_as_minus_zero(value: float) -> None:
    text = to_markdown(table(comparisons=(comparison(difference=value),)))
    assert "| +0.0 |" in text
    assert "-0.0" not in text


def test_negative_numbers_have_a_minus_sign_in_latex() -> None:
    text = to_latex(table(label="2019-2020", comparisons=(comparison(difference=-0.0126),)))
    assert "& $-$1.3 &" in text
    assert "2019-2020" in text


def test_a_tiny_p_value_is_not_printed_as_zero() -> None:
    assert r"| \< 0.001 |" in to_markdown(table(comparisons=(comparison(p=0.0002),)))


# --- rules -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("p", "n_seeds", "star"),
    [(0.04, 5, True), (0.0499, 9, True), (0.05, 5, False), (0.0001, 4, False), (0.2, 10, False)],
)
def test_a_star_needs_a_small_adjusted_p_and_five_seeds(p: float, n_seeds: int, star: bool) -> None:
    found = comparison(p, n_seeds)
    assert starred(found) is star
    rendered = table(comparisons=(found,))
    assert (r"+1.3\*" in to_markdown(rendered)) is star
    assert ("+1.3{*}" in to_latex(rendered)) is star
    assert json.loads(to_json(rendered))["comparisons"][0]["star"] is star


def test_a_star_is_given_for_the_adjusted_p_not_the_raw_one() -> None:
    assert not starred(replace(comparison(p=0.01, n_seeds=5), adjusted_p=0.06))


def test_a_table_without_comparisons_has_no_second_table() -> None:
    assert "Holm" not in to_markdown(table(comparisons=()))
    assert to_latex(table(comparisons=())).count("tabular") == 2


@pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS)
def test_text_ends_with_one_newline(write: object) -> None:
    assert callable(write)
    text = write(table())
    assert text.endswith("\n")
    assert not text.endswith("\n\n")
    assert "\r" not in text


@pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS)
def test_equal_tables_give_equal_bytes(write: object) -> None:
    assert callable(write)
    kinds = table()
    same = replace(
        kinds,
        columns=tuple(kinds.columns),
        rows=tuple(replace(row, cells=dict(reversed(list(row.cells.items())))) for row in kinds.rows),
        footer=list(kinds.footer),
    )
    assert write(kinds) == write(same)


def test_examples_that_differ_between_rows_are_all_said() -> None:
    fewer = Row("few", "few", {}, {"movie": replace(ONE, n_examples=900)})
    assert "examples: Movie 900 or 1061" in to_markdown(replace(table(), rows=[*table().rows, fewer]))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"footer": ()}, "footer must say"),
        ({"columns": [("movie", "Movie", "accuracy")]}, "no column 'tweets'; there is movie"),
        ({"rows": [Row("kd", "KD", {}, {})]}, "no row 'none'; there is kd"),
        ({"rows": [Row("kd", "KD", {}, {})] * 2}, "two rows have the same name"),
        ({"columns": [("a", "A", "x"), ("a", "B", "x")]}, "two columns have the same name"),
    ],
)
def test_a_table_that_contradicts_itself_is_refused(change: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(table(), **change)  # type: ignore[arg-type]


# --- escapes -----------------------------------------------------------------------------------------------

# Every printable ASCII character, most of all those that mean something to Markdown, LaTeX or CSV.
labels = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=12) | st.text(
    st.sampled_from("\\|`*_~<>[]()&#!$%^{}\"',-1a \n\r\té±"), max_size=12
)


def one_line(text: str) -> str:
    return " ".join(text.split())


@settings(deadline=None)
@given(labels, labels)
def test_csv_gives_back_every_label(label: str, note: str) -> None:
    lines = list(csv.DictReader(io.StringIO(to_csv(table(label, {"start": note})))))
    assert [line["label"] for line in lines] == ["no teacher"] * 2 + [one_line(label)] * 2


@settings(deadline=None)
@given(labels, labels)
def test_json_gives_back_every_label(label: str, note: str) -> None:
    row = json.loads(to_json(table(label, {"start": note})))["rows"][1]
    assert (row["label"], row["notes"]) == (label, {"start": note})


@settings(deadline=None)
@given(labels, labels)
def test_a_markdown_reader_sees_every_label_as_it_was(label: str, note: str) -> None:
    markdown_it = pytest.importorskip("markdown_it")
    tokens = markdown_it.MarkdownIt("commonmark").enable("table").parse(to_markdown(table(label, {"start": note})))
    assert sum(token.type == "table_open" for token in tokens) == 2
    inline = [token for token in tokens if token.type == "inline"]
    cells = [
        "".join(child.content for child in token.children)
        for before, token in pairwise(tokens)
        if token in inline and before.type == "td_open"
    ]
    kinds = {child.type for token in inline for child in token.children} - {"em_open", "em_close"}
    assert kinds <= {"text", "text_special"}
    assert cells[4:8] == [one_line(label), one_line(note) or "-", "81.3 ± 0.9 (3)", "no run"]
    assert len(cells) == 8 + 9


@settings(deadline=None)
@given(labels, labels)
def test_latex_holds_no_active_character_but_its_own(label: str, note: str) -> None:
    text = to_latex(table(label, {"start": note}))
    rows = re.search(r"\\midrule\n(.*?)\n\\bottomrule", text, re.DOTALL)
    assert rows is not None
    lines = rows[1].split("\n")
    assert len(lines) == 2
    body = lines[1].removesuffix(r" \\")
    # Taking away every escape leaves only what LaTeX prints as it is, and the three column separators.
    commands = ["backslash", "asciitilde", "asciicircum", "asciigrave", "less", "greater", "bar", "quotedbl"]
    for known in [rf"\text{command}{{}}" for command in commands] + [r"$\pm$", "$-$", "{[}", "{]}", "{*}"]:
        body = body.replace(known, "")
    plain = re.sub(r"\\[&%$#_{}]", "", body)
    assert plain.count("&") == 3
    assert not set(plain) & set('\\%$#_{}~^`<>|"[]*')


def test_latex_escapes_by_name() -> None:
    text = to_latex(table(label=r"a_b & 50% {x} \y ~ ^ #1 $2"))
    assert r"a\_b \& 50\% \{x\} \textbackslash{}y \textasciitilde{} \textasciicircum{} \#1 \$2 &" in text


def test_markdown_escapes_pipes() -> None:
    assert r"| a\|b |" in to_markdown(table(label="a|b"))


def test_a_latex_label_is_a_safe_name() -> None:
    assert r"\label{tab:a-b--c}" in to_latex(replace(table(), name="a_b%}c"))
