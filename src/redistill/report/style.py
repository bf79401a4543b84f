"""How pictures look: colours that the colour-blind tell apart (Okabe and Ito 2008), shapes and dashes beside them."""

from typing import Any

from redistill.report.rows import ALONE, FLOOR, STUDENT, TEACHER

BLUE, ORANGE, GREEN, RED, PURPLE, SKY, GREY = (
    "#0072b2", "#e69f00", "#009e73", "#d55e00", "#cc79a7", "#56b4e9", "#8a8f98",
)  # fmt: skip
SERIES = [BLUE, ORANGE, GREEN, RED, PURPLE, SKY, GREY]
DASHES = [[1, 0], [6, 3], [2, 2], [8, 3, 2, 3], [1, 3], [10, 4], [4, 4]]
ROLES = [STUDENT, ALONE, TEACHER, FLOOR]
ROLE_COLOURS = [BLUE, ORANGE, GREEN, GREY]
ROLE_SHAPES = ["circle", "square", "triangle-up", "diamond"]
KIND_COLOURS = {
    "data": "#8a8f98", "model": "#5f6570", "dataset": "#9cc3e0", "tokens": "#5f9fcc", "teacher": GREEN,
    "outputs": "#7fc9b0", "student": BLUE, "baseline": "#b8912f", "choice": SKY, "cell": ORANGE, "table": RED,
    "submission": PURPLE, "scores": "#a8577f",
}  # fmt: skip
SCREEN_FONT = "system-ui, -apple-system, 'Segoe UI', 'DejaVu Sans', sans-serif"
PAPER_FONT = "DejaVu Sans, Liberation Sans, sans-serif"


def look(paper: bool = False) -> dict[str, Any]:
    """Vega-Lite's config. On screens, ink is the page's own, so that it follows light, dark and print."""
    ink = "#1f2328" if paper else "currentColor"
    axis = {
        "labelColor": ink, "titleColor": ink, "domainColor": ink, "tickColor": ink, "gridColor": ink,
        "gridOpacity": 0.13, "domainOpacity": 0.35, "tickOpacity": 0.35, "labelFontSize": 11, "titleFontSize": 11,
        "titleFontWeight": "normal", "labelLimit": 320, "titlePadding": 8, "aria": False,
    }  # fmt: skip
    head = {"labelColor": ink, "titleColor": ink, "labelFontSize": 12, "titleFontSize": 12, "labelFontWeight": "bold"}
    return {
        # a picture is one thing to a screen reader, with its description; tables say the rest
        "aria": False,
        "mark": {"aria": False},
        "background": "#ffffff" if paper else "transparent",
        "font": PAPER_FONT if paper else SCREEN_FONT,
        "view": {"stroke": None},
        "axis": axis,
        "legend": {"labelColor": ink, "titleColor": ink, "labelFontSize": 11, "titleFontSize": 11, "labelLimit": 300,
                   "titleFontWeight": "normal", "symbolSize": 80, "aria": False},
        "header": head,
        "title": {"color": ink, "fontSize": 13, "anchor": "start", "aria": False},
        "text": {"color": ink, "fontSize": 11},
        "rule": {"color": ink},
        "point": {"size": 70, "opacity": 1},
    }  # fmt: skip
