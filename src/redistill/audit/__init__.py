"""Is a number true? Levels, from "every link is there" to "trained again"; needs no Snakemake."""

from redistill.audit.levels import audit
from redistill.audit.report import LEVELS, Report

__all__ = ["LEVELS", "Report", "audit"]
