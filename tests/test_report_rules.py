"""Snakemake makes the report with the study, and takes tables and pictures into its own."""

import os
import subprocess
import sys

import pytest
from published_study import STUDY, PublishedStudy

pytest.importorskip("altair", reason="altair is not installed: `make setup` does")
pytest.importorskip("vl_convert", reason="vl-convert-python is not installed: `make setup` does")


def snakemake(study: PublishedStudy, *arguments: str) -> str:
    command = [sys.executable, "-m", "snakemake", "--config", f"study={STUDY}", *arguments]
    done = subprocess.run(command, cwd=study.root, env=dict(os.environ), capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_snakemake_makes_the_report_once_and_puts_it_right(versioned_study: PublishedStudy) -> None:
    page = versioned_study.results / "report.html"
    target = versioned_study.plan.target
    assert "Nothing to be done" in snakemake(versioned_study, "--cores", "1"), "a study that was pulled has none"
    snakemake(versioned_study, "--cores", "1", "--", f"store/reports/{target.key}/report.html")
    text = page.read_text(encoding="utf-8")
    assert target.title in text
    assert "Nothing to be done" in snakemake(versioned_study, "--cores", "1")
    page.write_text("spoilt", encoding="utf-8")
    snakemake(versioned_study, "--cores", "1")
    assert page.read_text(encoding="utf-8") == text
    snakemake(versioned_study, "--report", "own.html")
    own = (versioned_study.root / "own.html").read_text(encoding="utf-8")
    for said in ("Tables", "Pictures", "pictures.csv", "pictures-bars.svg", "one line a cell"):
        assert said in own, said
