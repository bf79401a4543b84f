"""Which numbers depend on a file, a data set, a package, a commit, an experiment, a method or a thing in the store."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from redistill.errors import RedistillError, nearest
from redistill.provenance import published
from redistill.provenance.published import Published
from redistill.questions import meanings
from redistill.questions.kinds import counted
from redistill.questions.meanings import Meaning
from redistill.questions.state import Place, by_row, whole


@dataclass(frozen=True)
class Use:
    """What of one study depends on it: cells, tables, and the things in between, counted by kind."""

    study: str
    cells: tuple[Place, ...]
    tables: tuple[str, ...]
    things: dict[str, int]
    all_cells: int


@dataclass(frozen=True)
class Answer:
    """What was asked for, as what it was understood, and what depends on it in each study. `hint` is there if nothing
    does.
    """

    what: str
    meanings: tuple[str, ...]
    uses: tuple[Use, ...]
    hint: str
    studies: tuple[str, ...]


def used_by(root: Path, what: str) -> Answer:
    """What depends on something, in all studies that have results.

    Args:
        what: a file of the project, the store or the results; a module; a source or a task; a package, maybe with its
            version (`torch==2.14.1`); a commit; a key; an experiment; or a method.

    Raises:
        RedistillError: nobody knows such a thing; says what is near.
    """
    names = published.studies(root)
    if not names:
        raise RedistillError(
            "no study has results, so nothing is used by a number yet; `snakemake --cores all` makes one"
        )
    reads = [whole(root, name) for name in names]
    found = meanings.of(root, what, reads)
    if not found:
        known = sorted({name for read in reads for name in meanings.names(read)})
        raise RedistillError(
            f"`{what}` is no file, data set, package, commit, key, experiment or method that a study with results has; "
            f"{nearest(what, known)}"
        )
    uses = [use for read in reads if (use := _use(read, found)).things or use.cells or use.tables]
    hint = next((meaning.hint for meaning in found if meaning.hint), "")
    return Answer(what, tuple(meaning.said for meaning in found), tuple(uses), hint, tuple(names))


def _use(read: Published, found: list[Meaning]) -> Use:
    first = dict.fromkeys(key for meaning in found for key in meaning.keys(read))
    reached = read.downstream(first)
    keys = {thing.key for thing in reached}
    cells = sorted(place for place, thing in read.cells.items() if thing.key in keys)
    tables = sorted(name for name, thing in read.tables.items() if thing.key in keys)
    return Use(read.study, tuple(cells), tuple(tables), dict(sorted(Counter(t.kind for t in reached).items())),
               len(read.cells))  # fmt: skip


def in_text(answer: Answer) -> str:
    """The answer as lines of text."""
    lines = [f"{answer.what}: {'; '.join(answer.meanings)}"]
    for use in answer.uses:
        kinds = counted(use.things)
        depend = "depends" if len(use.cells) == 1 else "depend"
        way = f", by way of {kinds}" if kinds else ""
        lines.append(f"{use.study}: {len(use.cells)} of {use.all_cells} cells {depend} on it{way}")
        lines += by_row(use.cells)
        lines += [f"  what is written in table {name} beside its numbers" for name in use.tables
                  if name not in {table for table, _, _ in use.cells}]  # fmt: skip
    if not answer.uses:
        lines.append(
            f"no number of {', '.join(answer.studies)} depends on it" + (f": {answer.hint}" if answer.hint else "")
        )
    return "\n".join(lines) + "\n"


def content(answer: Answer) -> dict[str, Any]:
    """The answer as JSON has it."""
    return {
        "what": answer.what, "meanings": list(answer.meanings), "hint": answer.hint, "studies": list(answer.studies),
        "uses": [
            {"study": use.study, "cells": [" / ".join(place) for place in use.cells], "of": use.all_cells,
             "tables": list(use.tables), "things": use.things}
            for use in answer.uses
        ],
    }  # fmt: skip
