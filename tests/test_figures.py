"""Figures for papers: in every format, of what there is, and tables for LaTeX with what is best marked."""

from itertools import pairwise
from pathlib import Path

import pytest
from published_study import STUDY, PublishedStudy, publish_study

pytest.importorskip("altair", reason="altair is not installed: `make setup` does")
pytest.importorskip("vl_convert", reason="vl-convert-python is not installed: `make setup` does")

from redistill.errors import RedistillError
from redistill.report import figures
from redistill.report.columns import looked
from redistill.report.figures import FIGURES, draw
from redistill.report.latex import latex
from redistill.report.marks import BEST, SECOND
from redistill.report.reading import read

BEGINS = {"svg": b"<svg", "pdf": b"%PDF", "png": b"\x89PNG"}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> PublishedStudy:
    return publish_study(tmp_path_factory.mktemp("figures") / "project", content=3)


@pytest.mark.parametrize("form", BEGINS)
def test_a_figure_is_what_its_format_says(made: PublishedStudy, tmp_path: Path, form: str) -> None:
    file = draw(made.root, STUDY, "bars", form, tmp_path / "new" / f"a.{form}")
    assert file.read_bytes().startswith(BEGINS[form])
    assert b"http" not in file.read_bytes().replace(b"http://www.w3.org", b"") or form != "svg"


@pytest.mark.parametrize("name", [n for n in FIGURES if n not in ("bars", "gap", "pareto")])
def test_each_figure_can_be_drawn(made: PublishedStudy, tmp_path: Path, name: str) -> None:
    text = draw(
        made.root, STUDY, name, "svg", tmp_path / "a.svg", row="taught" if name not in ("pairs",) else None
    ).read_text()
    assert text.startswith("<svg")
    assert "NaN" not in text


def test_names_do_not_lie_on_each_other() -> None:
    from redistill.report.charts import named

    rows = [{"x": x, "y": 70 + 0.1 * x, "low": 70.0, "high": 80.0, "front": False} for x in (1, 2, 3, 50, 60)]
    placed = named(rows, every=True)
    left = sorted(row["at"] for row in placed if row["side"] == "left")
    assert [row["side"] for row in placed] == ["left", "left", "left", "right", "right"]
    assert all(b - a >= 0.5 - 1e-9 for a, b in pairwise(left))


@pytest.mark.parametrize(
    ("name", "form", "more", "words"),
    [
        ("bar", "svg", {}, "did you mean `bars`"),
        ("bars", "tex", {}, "is written as svg, pdf or png"),
        ("table", "svg", {}, "is written as tex"),
        ("bars", "svg", {"table": "picture"}, "no table `picture`; did you mean `pictures`"),
        ("bars", "svg", {"column": "mark"}, "no column `mark`; did you mean `marks`"),
        ("curves", "svg", {"row": "plane"}, "no row `plane`; did you mean `plain`"),
        ("curves", "svg", {"row": "floor"}, "there is nothing to draw"),
        ("pareto", "svg", {"cost": "money"}, "no cost `money`"),
        ("pareto", "svg", {"cost": "milliseconds"}, "different milliseconds for one batch are not known"),
        ("gap", "svg", {"table": "texts"}, "there is nothing to draw"),
    ],
)
def test_a_mistake_is_answered(
    made: PublishedStudy, tmp_path: Path, name: str, form: str, more: dict[str, str], words: str
) -> None:
    with pytest.raises(RedistillError, match=words):
        draw(made.root, STUDY, name, form, tmp_path / "a", **more)
    assert not (tmp_path / "a").exists()


def test_a_table_for_a_paper_marks_what_is_surely_best(made: PublishedStudy) -> None:
    study = read(made.root, STUDY)
    of = looked(study, "pictures")
    plain = latex(study, of)
    assert r"\textbf" not in plain
    assert plain.count(r"\midrule") == 3  # floors, teachers, students
    of.marks.update({("taught", "marks"): BEST, ("plain", "marks"): SECOND})
    marked = latex(study, of)
    rows = {row["label"]: f"{100 * row['cells']['marks']['mean']:.1f}" for row in study.rows("pictures")}
    assert rf"\textbf{{{rows['Taught']}}}" in marked
    assert rf"\underline{{{rows['Plain']}}}" in marked
    assert "Best student bold" in marked
    assert r"\usepackage{booktabs}" in marked
    study.tables["pictures"]["rows"][0]["label"] = "50 % & more_of $it"
    assert r"50 \% \& more\_of \$it" in latex(study, of)


def test_pictures_of_a_table_are_those_that_there_is_something_for(made: PublishedStudy) -> None:
    study = read(made.root, STUDY)
    assert "bars" in figures.of_table(study, looked(study, "pictures"))
    assert "gap" not in figures.of_table(study, looked(study, "texts"))
