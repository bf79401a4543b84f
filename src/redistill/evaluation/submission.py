"""GLUE's hidden test sets: the zip file that its server takes, and the scores that come back (Wang et al. 2019)."""

import io
import json
import math
import os
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from redistill.errors import RedistillError, nearest

# The files of a submission, without their ending, and how many examples each official test set has.
SIZES = {
    "CoLA": 1063, "SST-2": 1821, "MRPC": 1725, "STS-B": 1379, "QQP": 390965, "MNLI-m": 9796, "MNLI-mm": 9847,
    "QNLI": 5463, "RTE": 3000, "WNLI": 146, "AX": 1104,
}  # fmt: skip

_INFERENCE = {name: name for name in ("entailment", "neutral", "contradiction")}
_ENTAILED = {name: name for name in ("entailment", "not_entailment")}
# What a class may be called in a task's `labels` -> what GLUE wants to read. STS-B has scores.
LABELS: dict[str, dict[str, str]] = {
    "CoLA": {"unacceptable": "0", "acceptable": "1"},
    "SST-2": {"negative": "0", "positive": "1"},
    "MRPC": {"not_equivalent": "0", "equivalent": "1"},
    "QQP": {"not_duplicate": "0", "duplicate": "1"},
    "MNLI-m": _INFERENCE,
    "MNLI-mm": _INFERENCE,
    "QNLI": _ENTAILED,
    "RTE": _ENTAILED,
    "WNLI": {"not_entailment": "0", "entailment": "1"},
    "AX": _INFERENCE,
}

# What the leaderboard shows of each file, in percent, and the least that it can be.
_CORRELATIONS = {"pearson": -100, "spearman": -100}
_SHOWN: dict[str, dict[str, int]] = {
    **{name: {"": 0} for name in SIZES},  # one number without a name
    "CoLA": {"": -100},
    "MRPC": {"f1": 0, "accuracy": 0},
    "STS-B": _CORRELATIONS,
    "QQP": {"f1": 0, "accuracy": 0},
    "AX": {"": -100},
}
# The nine tasks of the GLUE score and their files. AX is a diagnosis, not a task.
_TASKS = [("CoLA",), ("SST-2",), ("MRPC",), ("STS-B",), ("QQP",), ("MNLI-m", "MNLI-mm"), ("QNLI",), ("RTE",), ("WNLI",)]

Scores: TypeAlias = Mapping[str, float | Mapping[str, float]]
"""A file's score, or its scores by metric."""


@dataclass(frozen=True)
class Predictions:
    """What is predicted for one test set: class indices or scores (n,), in the order of the official file.

    `names` are those of the classes, in the order of the indices; none for scores.
    """

    values: Sequence[float] | NDArray[Any]
    names: Sequence[str] = ()


# --- the zip file ----------------------------------------------------------------------------------------------------


def write(predictions: Mapping[str, Predictions], file: Path) -> None:
    """Write the zip file that GLUE's server takes, from the predictions for all of `SIZES`; equal ones, equal bytes.

    Raises:
        RedistillError: says of every file what is missing or wrong, and nothing is written; or `file` cannot be.
    """
    problems, texts = _unknown(predictions, SIZES), dict[str, str]()
    for name in SIZES:
        if name not in predictions:
            problems.append(f"{name}: there are no predictions; GLUE scores whole submissions only, so make them")
            continue
        values, found = _checked(name, predictions[name])
        problems += [f"{name}: {problem}" for problem in found]
        if not found:
            texts[f"{name}.tsv"] = _tsv(name, values, predictions[name].names)
    if problems:
        raise RedistillError("\n  ".join([f"{file}: not written, because GLUE would refuse it:", *problems]))
    _put(_zipped(texts), file)


def _checked(name: str, given: Predictions) -> tuple[NDArray[Any], list[str]]:
    """The predictions as an array, and what is wrong with them."""
    try:
        values = np.asarray(given.values)
    except ValueError:  # rows of different lengths
        values = np.empty(0, dtype=object)
    wanted = "scores" if name == "STS-B" else "class indices"
    if values.ndim != 1 or values.dtype.kind not in "iuf":
        return values, [f"holds no list of numbers; give its {wanted}, in the order of the official test file"]
    problems = _names(name, list(given.names))
    if len(values) != SIZES[name]:
        problems.append(f"holds {len(values)} predictions, expected {SIZES[name]}; predict the whole official test set")
    wrong = ~np.isfinite(values)
    if wrong.any():
        return values, [*problems, f"{_first(values, wrong)} is not finite; look for the run that diverged"]
    if name == "STS-B":
        return values, problems
    wrong = values % 1 != 0
    if wrong.any():
        problems.append(f"{_first(values, wrong)} is no class; give class indices, not scores or probabilities")
    wrong = ~wrong & ((values < 0) | (values >= len(given.names)))
    if wrong.any() and given.names:
        problems.append(
            f"{_first(values, wrong)} is a class without a name; it has {len(given.names)} names, from 0 on"
        )
    return values, problems


def _first(values: NDArray[Any], wrong: NDArray[np.bool_]) -> str:
    index = int(wrong.argmax())
    return f"prediction {index} ({values[index]})"


def _names(name: str, names: list[str]) -> list[str]:
    """What is wrong with the names of the classes: GLUE's have to be there, each once, in whatever order."""
    if name == "STS-B":
        return (
            ["has names of classes, but is scored by numbers from 0 to 5; give a regression's scores"] if names else []
        )
    known = LABELS[name]
    problems = [f"GLUE knows no class `{n}` here; {nearest(n, known)}" for n in names if n not in known]
    if not problems and sorted(names) != sorted(known):
        said, wanted = (", ".join(f"`{n}`" for n in some) or "none" for some in (names, known))
        problems.append(f"its classes are named {said}; name each of {wanted} once, in the order of the indices")
    return problems


def _tsv(name: str, values: NDArray[Any], names: Sequence[str]) -> str:
    if name == "STS-B":
        # Adding nothing makes a zero of -0.
        said = [f"{value:.3f}" for value in (np.clip(values.astype(float), 0, 5) + 0.0).tolist()]
    else:
        labels = [LABELS[name][n] for n in names]
        said = [labels[index] for index in values.astype(int).tolist()]
    return "".join(["index\tprediction\n", *(f"{index}\t{text}\n" for index, text in enumerate(said))])


def _zipped(texts: dict[str, str]) -> bytes:
    """The same bytes everywhere: no time, no system's own attributes, and stored, for compressors differ."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name, text in texts.items():
            entry = zipfile.ZipInfo(name)
            entry.create_system, entry.external_attr = 3, 0o644 << 16
            archive.writestr(entry, text)
    return buffer.getvalue()


def _put(content: bytes, file: Path) -> None:
    """Write beside and rename: there is a whole file or none."""
    beside = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        try:
            beside.write_bytes(content)
            beside.replace(file)
        finally:
            beside.unlink(missing_ok=True)
    except OSError as error:
        raise RedistillError(f"{file}: cannot be written: {error.strerror}; name another file") from None


# --- the scores ------------------------------------------------------------------------------------------------------


def read_scores(file: Path) -> dict[str, float | dict[str, float]]:
    """What the leaderboard showed after a submission, in percent, from a JSON file that somebody typed.

    `{"CoLA": 52.1, "MRPC": {"f1": 88.9, "accuracy": 84.8}, ...}`: for all of `SIZES` a number, or for MRPC and QQP
    `f1` and `accuracy`, for STS-B `pearson` and `spearman`.

    Raises:
        RedistillError: the file cannot be read, or says of each name what is missing or wrong.
    """
    problems = list[str]()
    scores = _parsed(file, problems)
    problems += _unknown(scores, SIZES)
    for name, shown in _SHOWN.items():
        problems += [f"{name}{problem}" for problem in _score_problems(scores.get(name), shown)]
    if not problems and all(abs(value) <= 1 for of_file in scores.values() for value in _values(of_file)):
        problems.append("every score lies between -1 and 1; write them in percent, as the leaderboard shows them")
    if problems:
        raise RedistillError("\n  ".join([f"{file}: these are no scores of GLUE's leaderboard:", *problems]))
    return scores


def _parsed(file: Path, problems: list[str]) -> dict[str, Any]:
    """The mapping in the file; a key that stands twice is a problem."""

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        names = [name for name, _ in pairs]
        problems.extend(f"{n}: stands twice in the same mapping; keep one" for n in names if names.count(n) > 1)
        problems[:] = dict.fromkeys(problems)
        return dict(pairs)

    try:
        scores = json.loads(file.read_text(encoding="utf-8-sig"), object_pairs_hook=once)
    except OSError as error:
        raise RedistillError(f"{file}: cannot be read: {error.strerror}") from None
    except json.JSONDecodeError as error:
        raise RedistillError(f"{file}:{error.lineno}:{error.colno}: is not valid JSON: {error.msg}") from None
    except (ValueError, RecursionError):
        raise RedistillError(f"{file}: is not valid JSON in UTF-8; write scores by the names of GLUE's files") from None
    if not isinstance(scores, dict):
        raise RedistillError(f'{file}: holds no mapping; write {{"CoLA": 52.1, ...}}, scores by the names of the files')
    return scores


def _score_problems(score: Any, shown: dict[str, int]) -> list[str]:
    """What is wrong with the score of a file, each to be put behind the file's name."""
    if "" in shown:
        return _number_problems(score, shown[""])
    if not isinstance(score, dict):
        wanted = ", ".join(f'"{metric}": ...' for metric in shown)
        return [f": {'is missing' if score is None else 'is not a mapping'}; write {{{wanted}}}, in percent"]
    problems = [f".{problem}" for problem in _unknown(score, shown)]
    for metric, least in shown.items():
        problems += [f".{metric}{problem}" for problem in _number_problems(score.get(metric), least)]
    return problems


def _number_problems(value: Any, least: int) -> list[str]:
    if value is None:
        return [": is missing; write what the leaderboard shows, in percent"]
    said = json.dumps(value)[:40]
    # True is a number to Python; NaN and Infinity are JSON to it.
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value or abs(value) == math.inf:
        return [f": {said} is not a number; write what the leaderboard shows, in percent"]
    return [] if least <= value <= 100 else [f": {said} lies outside {least} to 100; write it in percent"]


def glue_score(scores: Scores, without_wnli: bool = False) -> float:
    """The GLUE score: the mean over nine tasks of the mean of a task's scores, on their scale (Wang et al. 2019).

    MNLI-m and MNLI-mm are one task; AX is none. `without_wnli` leaves out that task, as Devlin et al. (2019) do (who
    print an average of other scores in their table: MNLI-m and MNLI-mm count as two, MRPC, QQP and STS-B by one
    metric). Scores on dev of the same names have the same mean.

    Raises:
        RedistillError: a file of a task has no score.
    """
    tasks = [task for task in _TASKS if not (without_wnli and task == ("WNLI",))]
    missing = [name for task in tasks for name in task if name not in scores]
    if missing:
        named = ", ".join(f"`{name}`" for name in missing)
        raise RedistillError(f"the GLUE score is a mean over all tasks, and there is no score for {named}; add it")
    return fmean(fmean(fmean(_values(scores[name])) for name in task) for task in tasks)


def _values(score: float | Mapping[str, float]) -> list[float]:
    return list(score.values()) if isinstance(score, Mapping) else [score]


def _unknown(given: Mapping[str, Any], known: Mapping[str, Any]) -> list[str]:
    return [f"{name}: is not known; {nearest(name, known)}" for name in given if name not in known]
