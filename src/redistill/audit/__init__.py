"""Is a number true? Levels, from "every link is there" to "trained again"; needs no Snakemake."""

from redistill.audit.levels import audit
from redistill.audit.report import LEVELS, NOT_CHECKED, RIGHT, WRONG, Report

__all__ = ["LEVELS", "NOT_CHECKED", "RIGHT", "WRONG", "Report", "audit"]
