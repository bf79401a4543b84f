"""What is sent to GLUE's server and what comes back, against GLUE's own rules, written down once more here."""

import hashlib
import json
import math
import re
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from redistill.errors import RedistillError
from redistill.evaluation.submission import Predictions, glue_score, read_scores, write

# From GLUE's page of instructions and the test sets: file, examples, what may stand in the column `prediction`.
RULES = """
CoLA.tsv     1063    0 1
SST-2.tsv    1821    0 1
MRPC.tsv     1725    0 1
STS-B.tsv    1379    0.000 to 5.000
QQP.tsv      390965  0 1
MNLI-m.tsv   9796    entailment neutral contradiction
MNLI-mm.tsv  9847    entailment neutral contradiction
QNLI.tsv     5463    entailment not_entailment
RTE.tsv      3000    entailment not_entailment
WNLI.tsv     146     0 1
AX.tsv       1104    entailment neutral contradiction
"""
NAMES = {
    "CoLA": ["unacceptable", "acceptable"],
    "SST-2": ["negative", "positive"],
    "MRPC": ["not_equivalent", "equivalent"],
    "STS-B": [],
    "QQP": ["not_duplicate", "duplicate"],
    "MNLI-m": ["entailment", "neutral", "contradiction"],
    "MNLI-mm": ["entailment", "neutral", "contradiction"],
    "QNLI": ["entailment", "not_entailment"],
    "RTE": ["entailment", "not_entailment"],
    "WNLI": ["not_entailment", "entailment"],
    "AX": ["entailment", "neutral", "contradiction"],
}
COUNTS = {line.split()[0].removesuffix(".tsv"): int(line.split()[1]) for line in RULES.strip().splitlines()}


def made(seed: int = 0) -> dict[str, Predictions]:
    rng = np.random.default_rng(seed)
    return {
        name: Predictions(rng.integers(0, len(names), COUNTS[name]), names)
        if names
        else Predictions(rng.normal(2.5, 2, COUNTS[name]).astype(np.float32))
        for name, names in NAMES.items()
    }


def columns(file: Path) -> dict[str, list[str]]:
    """The predictions in each file of a submission; fails where GLUE's rules are broken."""
    rules = {line.split()[0]: line.split()[1:] for line in RULES.strip().splitlines()}
    found = {}
    with zipfile.ZipFile(file) as archive:
        assert archive.testzip() is None
        assert sorted(archive.namelist()) == sorted(rules)
        for name, (count, *allowed) in rules.items():
            header, *lines = archive.read(name).decode("ascii").split("\n")
            assert header == "index\tprediction"
            assert lines.pop() == "", "the last line ends too"
            rows = [line.split("\t") for line in lines]
            assert {len(row) for row in rows} == {2}
            assert [index for index, _ in rows] == [str(i) for i in range(int(count))]
            found[name] = [prediction for _, prediction in rows]
            if name == "STS-B.tsv":
                assert all(re.fullmatch(r"\d\.\d{3}", text) and 0 <= float(text) <= 5 for text in found[name])
            else:
                assert set(found[name]) == set(allowed)
    return found


def refused(predictions: dict[str, Predictions], folder: Path) -> list[str]:
    """What is said of predictions that are not written, line by line."""
    with pytest.raises(RedistillError) as refusal:
        write(predictions, folder / "glue.zip")
    assert list(folder.iterdir()) == []
    first, *lines = str(refusal.value).split("\n  ")
    assert first == f"{folder / 'glue.zip'}: not written, because GLUE would refuse it:"
    return lines


# --- the zip file ----------------------------------------------------------------------------------------------------


def test_a_submission_keeps_glue_s_rules_at_full_size(tmp_path):
    predictions = made()
    write(predictions, tmp_path / "new" / "glue.zip")
    found = columns(tmp_path / "new" / "glue.zip")
    assert [file.name for file in (tmp_path / "new").iterdir()] == ["glue.zip"]
    for name in ("QNLI", "MNLI-mm", "AX"):
        assert found[f"{name}.tsv"] == [NAMES[name][index] for index in predictions[name].values]
    assert found["QQP.tsv"] == [str(index) for index in predictions["QQP"].values]


def test_labels_follow_the_names_in_whatever_order_they_are(tmp_path):
    predictions, turned = made(), made()
    for name, given in predictions.items():
        if given.names:
            turned[name] = Predictions(len(given.names) - 1 - np.asarray(given.values), list(given.names)[::-1])
    write(predictions, tmp_path / "one.zip")
    write(turned, tmp_path / "other.zip")
    assert columns(tmp_path / "one.zip") == columns(tmp_path / "other.zip")


def test_equal_predictions_give_equal_bytes_however_they_are_held(tmp_path):
    predictions = made()
    write(predictions, tmp_path / "one.zip")
    lists = {
        name: Predictions(np.asarray(given.values).tolist(), tuple(given.names)) for name, given in predictions.items()
    }
    write(dict(reversed(lists.items())), tmp_path / "other.zip")
    one = (tmp_path / "one.zip").read_bytes()
    assert one == (tmp_path / "other.zip").read_bytes()
    write(made(seed=1), tmp_path / "other.zip")
    assert one != (tmp_path / "other.zip").read_bytes()


def test_the_bytes_are_those_of_every_other_machine_and_day(tmp_path):
    plain = {name: Predictions(np.arange(n) % (len(NAMES[name]) or 6), NAMES[name]) for name, n in COUNTS.items()}
    write(plain, tmp_path / "glue.zip")
    assert (
        hashlib.sha256((tmp_path / "glue.zip").read_bytes()).hexdigest()
        == "72a3822831affbed0d26cb7b88216510a29f7a7e19a6b345054061f0e4529f89"
    )


def test_scores_are_clipped_and_have_three_decimals(tmp_path):
    values = np.full(1379, 2.0)
    values[:8] = [-1e9, -0.0, -0.0001, 0.0004, 1.23456, 4.9996, 5.1, 7e30]
    write({**made(), "STS-B": Predictions(values)}, tmp_path / "glue.zip")
    found = columns(tmp_path / "glue.zip")["STS-B.tsv"]
    assert found[:9] == ["0.000", "0.000", "0.000", "0.000", "1.235", "5.000", "5.000", "5.000", "2.000"]


def classes(name: str, first: Any = 0, names: list[str] | None = None) -> dict[str, Predictions]:
    values = [first] + [0] * (COUNTS[name] - 1)
    return {name: Predictions(values, NAMES[name] if names is None else names)}


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"RTE": Predictions([0, 1], NAMES["RTE"])},
         "RTE: holds 2 predictions, expected 3000; predict the whole official test set"),
        ({"AX": Predictions([], NAMES["AX"])},
         "AX: holds 0 predictions, expected 1104; predict the whole official test set"),
        ({"STS-B": Predictions([2.0] * 1378 + [math.nan])},
         "STS-B: prediction 1378 (nan) is not finite; look for the run that diverged"),
        ({"STS-B": Predictions([math.inf] + [2.0] * 1378)},
         "STS-B: prediction 0 (inf) is not finite; look for the run that diverged"),
        ({"STS-B": Predictions([2.0] * 1379, ["a", "b"])},
         "STS-B: has names of classes, but is scored by numbers from 0 to 5; give a regression's scores"),
        (classes("CoLA", math.nan), "CoLA: prediction 0 (nan) is not finite; look for the run that diverged"),
        (classes("CoLA", 2), "CoLA: prediction 0 (2) is a class without a name; it has 2 names, from 0 on"),
        (classes("CoLA", -1), "CoLA: prediction 0 (-1) is a class without a name; it has 2 names, from 0 on"),
        (classes("CoLA", 0.7),
         "CoLA: prediction 0 (0.7) is no class; give class indices, not scores or probabilities"),
        (classes("CoLA", "0"),
         "CoLA: holds no list of numbers; give its class indices, in the order of the official test file"),
        ({"CoLA": Predictions([[0.1, 0.9]] * 1063, NAMES["CoLA"])},
         "CoLA: holds no list of numbers; give its class indices, in the order of the official test file"),
        ({"CoLA": Predictions([[0], [0, 1]], NAMES["CoLA"])},
         "CoLA: holds no list of numbers; give its class indices, in the order of the official test file"),
        (classes("QNLI", names=["entailment", "not-entailment"]),
         "QNLI: GLUE knows no class `not-entailment` here; did you mean `not_entailment`?"),
        (classes("WNLI", names=["0", "entailment"]),
         "WNLI: GLUE knows no class `0` here; known: `entailment`, `not_entailment`"),
        (classes("SST-2", names=["negative", "negative"]),
         "SST-2: its classes are named `negative`, `negative`; name each of `negative`, `positive` once, "
         "in the order of the indices"),
        (classes("MNLI-m", names=["entailment", "contradiction"]),
         "MNLI-m: its classes are named `entailment`, `contradiction`; name each of `entailment`, `neutral`, "
         "`contradiction` once, in the order of the indices"),
        (classes("MRPC", names=[]),
         "MRPC: its classes are named none; name each of `not_equivalent`, `equivalent` once, "
         "in the order of the indices"),
        ({"MNLI": Predictions([0])}, "MNLI: is not known; did you mean `MNLI-m`?"),
    ],
)  # fmt: skip
def test_what_glue_would_refuse_is_not_written(given, said, tmp_path):
    assert refused({**made(), **given}, tmp_path) == [said]


def test_all_that_is_wrong_is_said_at_once(tmp_path):
    given = {**made(), **classes("CoLA", 5), "RTE": Predictions([9], ["yes", "not_entailment"])}
    del given["WNLI"]
    lines = refused(given, tmp_path)
    assert [line.split(":")[0] for line in lines] == ["CoLA", "RTE", "RTE", "RTE", "WNLI"]
    assert lines[-1] == "WNLI: there are no predictions; GLUE scores whole submissions only, so make them"
    assert len(refused({}, tmp_path)) == 11


@pytest.mark.parametrize("step", ["write_bytes", "replace"])
def test_a_write_that_fails_leaves_what_was_there(step, tmp_path, monkeypatch):
    file = tmp_path / "glue.zip"
    file.write_bytes(b"older")

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, step, full)
    with pytest.raises(
        RedistillError, match=r"glue.zip: cannot be written: No space left on device; name another file"
    ):
        write(made(), file)
    assert list(tmp_path.iterdir()) == [file]
    assert file.read_bytes() == b"older"


def test_a_file_below_a_file_cannot_be_written(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(RedistillError, match="cannot be written"):
        write(made(), tmp_path / "file" / "glue.zip")


# --- the scores ------------------------------------------------------------------------------------------------------

# BERT-base and BERT-large on the leaderboard (Devlin et al. 2019), which shows 78.3 and 80.5.
BASE: dict[str, Any] = {
    "CoLA": 52.1, "SST-2": 93.5, "MRPC": {"f1": 88.9, "accuracy": 84.8}, "STS-B": {"pearson": 87.1, "spearman": 85.8},
    "QQP": {"f1": 71.2, "accuracy": 89.2}, "MNLI-m": 84.6, "MNLI-mm": 83.4, "QNLI": 90.5, "RTE": 66.4, "WNLI": 65.1,
    "AX": 34.2,
}  # fmt: skip
LARGE: dict[str, Any] = {
    "CoLA": 60.5, "SST-2": 94.9, "MRPC": {"f1": 89.3, "accuracy": 85.4}, "STS-B": {"pearson": 87.6, "spearman": 86.5},
    "QQP": {"f1": 72.1, "accuracy": 89.3}, "MNLI-m": 86.7, "MNLI-mm": 85.9, "QNLI": 92.7, "RTE": 70.1, "WNLI": 65.1,
    "AX": 39.6,
}  # fmt: skip


def complaints(text: str, folder: Path) -> list[str]:
    file = folder / "SCORES.json"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(RedistillError) as refusal:
        read_scores(file)
    first, *lines = str(refusal.value).split("\n  ")
    assert first == f"{file}: these are no scores of GLUE's leaderboard:"
    return lines


def test_scores_are_read_as_they_were_typed(tmp_path):
    file = tmp_path / "SCORES.json"
    for encoding in ("utf-8", "utf-8-sig"):
        file.write_text(json.dumps(BASE), encoding=encoding)
        assert read_scores(file) == BASE
    for extreme in (-100, 0, 100):
        file.write_text(json.dumps({**BASE, "CoLA": extreme, "AX": extreme}), encoding="utf-8")
        assert read_scores(file)["CoLA"] == extreme


def test_the_glue_score_is_the_leaderboards():
    assert round(glue_score(BASE), 1) == 78.3
    assert round(glue_score(LARGE), 1) == 80.5


def test_the_glue_score_is_a_mean_of_tasks():
    mnli, mrpc = (84.6 + 83.4) / 2, (88.9 + 84.8) / 2
    stsb, qqp = (87.1 + 85.8) / 2, (71.2 + 89.2) / 2
    eight = 52.1 + 93.5 + mrpc + stsb + qqp + mnli + 90.5 + 66.4
    assert glue_score(BASE) == pytest.approx((eight + 65.1) / 9)
    assert glue_score(BASE, without_wnli=True) == pytest.approx(eight / 8)
    assert glue_score({**BASE, "AX": 0.0}) == glue_score(BASE)
    dev = {name: (np.mean(list(of.values())) if isinstance(of, dict) else of) / 100 for name, of in BASE.items()}
    assert glue_score(dev) == pytest.approx(glue_score(BASE) / 100)


def test_a_glue_score_needs_every_task():
    without = {name: score for name, score in BASE.items() if name not in ("MNLI-mm", "WNLI", "AX")}
    with pytest.raises(RedistillError, match="there is no score for `MNLI-mm`, `WNLI`; add it"):
        glue_score(without)
    with pytest.raises(RedistillError, match="there is no score for `MNLI-mm`; add it"):
        glue_score(without, without_wnli=True)


@pytest.mark.parametrize(
    ("name", "score", "said"),
    [
        ("MNLI", 84.0, "MNLI: is not known; did you mean `MNLI-m`?"),
        ("RTE", None, "RTE: is missing; write what the leaderboard shows, in percent"),
        ("RTE", 100.5, "RTE: 100.5 lies outside 0 to 100; write it in percent"),
        ("RTE", -1, "RTE: -1 lies outside 0 to 100; write it in percent"),
        ("RTE", 10**400, f"RTE: {10**39} lies outside 0 to 100; write it in percent"),
        ("CoLA", -100.1, "CoLA: -100.1 lies outside -100 to 100; write it in percent"),
        ("AX", 101, "AX: 101 lies outside -100 to 100; write it in percent"),
        ("RTE", True, "RTE: true is not a number; write what the leaderboard shows, in percent"),
        ("RTE", "66.4", 'RTE: "66.4" is not a number; write what the leaderboard shows, in percent'),
        ("RTE", math.nan, "RTE: NaN is not a number; write what the leaderboard shows, in percent"),
        ("RTE", math.inf, "RTE: Infinity is not a number; write what the leaderboard shows, in percent"),
        ("RTE", {"accuracy": 66.4},
         'RTE: {"accuracy": 66.4} is not a number; write what the leaderboard shows, in percent'),
        ("QQP", None, 'QQP: is missing; write {"f1": ..., "accuracy": ...}, in percent'),
        ("QQP", 89.2, 'QQP: is not a mapping; write {"f1": ..., "accuracy": ...}, in percent'),
        ("QQP", {"f1": 71.2}, "QQP.accuracy: is missing; write what the leaderboard shows, in percent"),
        ("QQP", {"f1": 71.2, "accuracy": -3}, "QQP.accuracy: -3 lies outside 0 to 100; write it in percent"),
        ("MRPC", {"f1": 1, "accuracy": 2, "acuracy": 3}, "MRPC.acuracy: is not known; did you mean `accuracy`?"),
        ("STS-B", {"pearson": -100, "spearman": False},
         "STS-B.spearman: false is not a number; write what the leaderboard shows, in percent"),
    ],
)  # fmt: skip
def test_a_score_that_cannot_be_is_refused(name, score, said, tmp_path):
    assert complaints(json.dumps({**BASE, name: score}), tmp_path) == [said]


def test_all_that_is_wrong_with_scores_is_said_at_once(tmp_path):
    assert [line.split(":")[0] for line in complaints("{}", tmp_path)] == list(BASE)
    text = json.dumps({**BASE, "RTE": 166.4, "WMLI": 1})[:-1] + ', "AX": 35, "QQP": {"f1": 1, "f1": 2, "accuracy": 3}}'
    assert complaints(text, tmp_path) == [
        "f1: stands twice in the same mapping; keep one", "QQP: stands twice in the same mapping; keep one",
        "AX: stands twice in the same mapping; keep one", "WMLI: is not known; did you mean `WNLI`?",
        "RTE: 166.4 lies outside 0 to 100; write it in percent",
    ]  # fmt: skip


def test_shares_are_not_taken_for_percent(tmp_path):
    shares = {
        name: {m: v / 100 for m, v in of.items()} if isinstance(of, dict) else of / 100 for name, of in BASE.items()
    }
    said = "every score lies between -1 and 1; write them in percent, as the leaderboard shows them"
    assert complaints(json.dumps(shares), tmp_path) == [said]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b'{"CoLA": 52.1,\n "RTE": }', ":2:9: is not valid JSON: Expecting value"),
        (b"", ":1:1: is not valid JSON: Expecting value"),
        (b"\xff\xfe", ": is not valid JSON in UTF-8; write scores by the names of GLUE's files"),
        (b"[" * 100_000, ": is not valid JSON in UTF-8; write scores by the names of GLUE's files"),
        (b"1" * 5000, ": is not valid JSON in UTF-8; write scores by the names of GLUE's files"),
        (b"[52.1]", ': holds no mapping; write {"CoLA": 52.1, ...}, scores by the names of the files'),
        (None, ": cannot be read: No such file or directory"),
    ],
)
def test_a_file_that_holds_no_scores_is_refused(content, said, tmp_path):
    file = tmp_path / "SCORES.json"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(RedistillError) as refusal:
        read_scores(file)
    assert str(refusal.value) == f"{file}{said}"
