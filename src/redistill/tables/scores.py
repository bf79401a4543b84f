"""The table of test scores: what GLUE's server said of submissions, as far as recorded, beside what was published."""

import csv
import io
import json
from pathlib import Path
from typing import Any

from redistill.evaluation.submission import SIZES, glue_score
from redistill.tables.render import latex_table, markdown_table

NOT_SUBMITTED = ""  # a test column stays empty until the server's scores are recorded
SCORE, WITHOUT_WNLI = "score", "without WNLI"


def make_scores(config: dict[str, Any], inputs: dict[str, Path], work: Path) -> dict[str, Any]:
    """Write `submissions.csv`, `.md`, `.tex` and `.json`. `inputs` are the folders of the submissions, by name."""
    headings = ["row", *SIZES, SCORE, WITHOUT_WNLI]
    rows, notes = [], []
    for row in config["rows"]:
        rows.append([f"{row['label']} (seed {row['seed']})", *_recorded(row["recorded"])])
        for published in row["published"]:
            rows.append([f"published: {published['label']}", *_published(published["scores"])])
            if published["correlation"]:
                notes.append(f"{published['label']}: its STS-B is {published['correlation']}")
    footer = [
        f"Study: {config['study']}",
        "Split: test, whose labels GLUE's server alone has",
        "A submission's row is empty until `redistill submit --record` brings the server's scores",
        "in percent; of several metrics of a task, recorded rows show all, published rows the one that was published",
        *([f"published: {', '.join(f'{c} {m}' for c, m in config['columns'].items())}"] if config["columns"] else []),
        *dict.fromkeys(notes),
    ]
    content = {"rows": config["rows"], "submissions": {name: folder.name for name, folder in inputs.items()}}
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows([headings, *rows])
    title = "GLUE, test"
    for suffix, text in {
        "csv": out.getvalue(), "md": markdown_table(title, headings, rows, footer),
        "tex": latex_table("submissions", title, headings, rows, footer),
        "json": json.dumps(content, indent=2, ensure_ascii=False) + "\n",
    }.items():  # fmt: skip
        (work / f"submissions.{suffix}").write_text(text, encoding="utf-8")
    return {"rows": len(rows), "recorded": sum(row["recorded"] is not None for row in config["rows"])}


def _recorded(scores: dict[str, Any] | None) -> list[str]:
    if scores is None:
        return [NOT_SUBMITTED] * (len(SIZES) + 2)
    shown = [
        " / ".join(f"{value:.1f}" for value in (said.values() if isinstance(said, dict) else [said]))
        for said in (scores[name] for name in SIZES)
    ]
    return [*shown, f"{glue_score(scores):.1f}", f"{glue_score(scores, without_wnli=True):.1f}"]


def _published(scores: dict[str, float]) -> list[str]:
    """What was published, and no mean of it: published metrics are not those that the score is made of."""
    return [f"{scores[name]:.1f}" if name in scores else "" for name in SIZES] + ["", ""]
