"""Verdicts on published numbers: the statistics, what is comparable, and our own earlier results."""

import dataclasses
import json
import math
import shutil
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from published_study import PublishedStudy, publish_study

from redistill.claims import against, numbers, verdict
from redistill.claims.claimed import DEFAULT_MARGIN, of_study
from redistill.claims.decide import NOT_REPRODUCED, REPRODUCED, UNDECIDED, Sample, decide, several
from redistill.claims.resample import variance
from redistill.config.check import check
from redistill.errors import ConfigError, IntegrityError, RedistillError
from redistill.provenance import published
from redistill.tables.statistics import summarise

ROOT = Path(__file__).parents[1]


# --- the statistics --------------------------------------------------------------------------------------------------


def test_the_interval_is_the_one_that_tables_print() -> None:
    values = [81.0, 83.5, 82.2, 80.9]
    decision, printed = decide(Sample(values), 80.0, 1.0), summarise(values)
    assert decision.low is not None
    assert decision.high is not None
    assert printed.low is not None
    assert printed.high is not None
    assert (80 + decision.low, 80 + decision.high) == pytest.approx((printed.low, printed.high))


@pytest.mark.parametrize(
    ("values", "claimed", "expected"),
    [
        ([70.0, 70.1, 69.9], 70.3, REPRODUCED),
        ([70.0, 70.1, 69.9], 72.0, NOT_REPRODUCED),
        ([70.0, 70.1, 69.9], 68.0, NOT_REPRODUCED),
        ([70.0, 70.1, 69.9], 71.0, UNDECIDED),  # the interval has the edge in it
        ([69.0, 71.0], 70.0, UNDECIDED),
    ],
)
def test_a_mean_is_within_the_margin_or_outside_or_neither(values: list[float], claimed: float, expected: str) -> None:
    assert decide(Sample(values), claimed, 1.0).verdict == expected


def test_one_run_decides_nothing_unless_nothing_is_drawn_at_random() -> None:
    alone = decide(Sample([70.0]), 70.0, 1.0)
    assert (alone.verdict, alone.low, alone.more) == (UNDECIDED, None, None)
    assert "one run says nothing of the spread between seeds" in alone.reason
    by_examples = decide(Sample([70.0]), 90.0, 1.0, examples=0.25)
    assert by_examples.verdict == UNDECIDED
    assert "-20.00, ± 0.98 by the examples" in by_examples.reason
    assert "one run there" in decide(Sample([70.0, 70.1]), Sample([70.0]), 1.0).reason
    fixed = decide(Sample([70.4], drawn=False), 70.0, 1.0)
    assert (fixed.verdict, fixed.low, fixed.high) == (REPRODUCED, pytest.approx(0.4), pytest.approx(0.4))
    assert decide(Sample([71.4], drawn=False), 70.0, 1.0).verdict == NOT_REPRODUCED


def test_where_the_examples_are_too_few_no_number_of_seeds_is_named() -> None:
    close = decide(Sample([70.0, 70.2, 69.8]), 70.0, 1.0, examples=1.0)
    assert (close.verdict, close.more) == (UNDECIDED, None)
    assert "the examples are too few" in close.reason
    edge = decide(Sample([71.0, 71.4, 70.6]), 70.0, 1.0)
    assert (edge.verdict, edge.more) == (UNDECIDED, None)
    assert "so near the edge of the margin" in edge.reason


def test_seeds_that_agree_to_the_last_example_are_not_known_to_agree_further() -> None:
    assert decide(Sample([70.0, 70.0], step=0.1), 70.0, 1.0).verdict == REPRODUCED
    assert decide(Sample([70.0, 70.0], step=5.0), 70.0, 1.0).verdict == UNDECIDED


def simulated(mean: float, spread: float, seeds: int, examples: float, studies: int) -> dict[str, float]:
    """How often each verdict comes of studies of a claim of 0 ± 1, whose truth is `mean`."""
    draw = np.random.default_rng(round(1000 * mean) + seeds)
    found = dict.fromkeys((REPRODUCED, NOT_REPRODUCED, UNDECIDED), 0)
    for _ in range(studies):
        values = draw.normal(mean, spread, seeds) + draw.normal(0, math.sqrt(examples))
        found[decide(Sample(values.tolist()), 0.0, 1.0, examples).verdict] += 1
    return {name: count / studies for name, count in found.items()}


@pytest.mark.parametrize("examples", [0.0, 0.04])
@pytest.mark.parametrize("seeds", [2, 3, 5])
def test_at_most_five_verdicts_in_a_hundred_are_wrong(seeds: int, examples: float) -> None:
    """Just inside and just outside the margin, where it is hardest; 1500 studies err by 1.2 points, twice."""
    for spread in (0.3, 1.0):
        inside = simulated(0.999, spread, seeds, examples, 1500)
        outside = simulated(1.001, spread, seeds, examples, 1500)
        assert inside[NOT_REPRODUCED] <= 0.05
        assert outside[REPRODUCED] <= 0.05


def test_a_narrow_margin_errs_no_more_often() -> None:
    """Both edges are near then, and a wrong verdict may come from either."""
    draw, wrong = np.random.default_rng(5), 0
    for _ in range(1500):
        wrong += decide(Sample(draw.normal(0, 1, 4).tolist()), 0.0, 0.02).verdict == NOT_REPRODUCED
    assert wrong / 1500 <= 0.062  # 0.05, and twice what 1500 studies err by


@pytest.mark.parametrize(("seeds", "least"), [(2, 0.5), (3, 0.55), (5, 0.6)])
def test_the_number_of_seeds_that_is_named_decides_in_most_studies(seeds: int, least: float) -> None:
    """Of studies whose truth may lie anywhere within two margins of the claim."""
    draw, named, decided = np.random.default_rng(seeds), 0, 0
    for _ in range(600):
        mean, spread = draw.uniform(-2, 2), draw.uniform(0.2, 1.5)
        values = draw.normal(mean, spread, seeds)
        first = decide(Sample(values.tolist()), 0.0, 1.0)
        if first.more is not None:
            named += 1
            more = np.concatenate([values, draw.normal(mean, spread, first.more)])
            decided += decide(Sample(more.tolist()), 0.0, 1.0).verdict != UNDECIDED
    assert named > 200
    assert decided / named >= least


def test_a_quarter_of_the_seeds_that_are_named_decide_less_often() -> None:
    """The number is no mere upper bound."""
    draw, named, decided = np.random.default_rng(1), 0, {1: 0, 4: 0}
    for _ in range(300):
        values = draw.normal(0, 1, 4)
        first = decide(Sample(values.tolist()), 0.0, 1.0)
        if first.more is not None and first.more > 3:
            named += 1
            for part in decided:
                more = np.concatenate([values, draw.normal(0, 1, first.more // part)])
                decided[part] += decide(Sample(more.tolist()), 0.0, 1.0).verdict != UNDECIDED
    assert named > 100
    assert decided[4] / named < decided[1] / named - 0.3


def test_the_spread_of_examples_is_that_of_a_share() -> None:
    labels = np.zeros(400, dtype=int)
    said = np.stack([np.arange(400) % 4 == 0] * 2).astype(int)  # three quarters are right, in both runs
    assert variance(said, labels, "accuracy", 4000) == pytest.approx(1e4 * 0.75 * 0.25 / 400, rel=0.1)


def test_the_default_margin_is_what_two_groups_agree_within() -> None:
    rows = check_references()["rows"]
    apart = [
        abs(rows[name]["scores"][column] - rows[f"{name}-devlin"]["scores"][column])
        for name in ("bert-base", "bert-large")
        for column in rows[f"{name}-devlin"]["scores"]
    ]
    assert (sum(round(points, 2) <= DEFAULT_MARGIN for points in apart), len(apart)) == (14, 18)


def check_references() -> dict:
    from redistill.config.parse import load

    data: dict = load(ROOT / "configs" / "references" / "glue-test.yaml").data
    return data


# --- claims of a study -----------------------------------------------------------------------------------------------

REFERENCES = """
columns: {Marks: accuracy, Words: accuracy, Wide: accuracy}
source: Nobody 2020, table 3
split: SPLIT
tasks: {Marks: marks, Words: words}
metrics: {Marks: METRIC, Words: accuracy}
margins: {Words: 5.0}
rows:
  plain: {label: Plain of Nobody, scores: {Marks: VALUE, Words: 60.0, Wide: 1.0}}
"""
CLAIM = "{row: ROW, reference: nobody, published: plain}"


def claim(
    study: PublishedStudy, row: str = "plain", value: float = 30.0, split: str = "dev", metric: str = "accuracy",
    claims: str = CLAIM,
) -> None:  # fmt: skip
    """Let the study's table of pictures claim a published row."""
    text = REFERENCES.replace("SPLIT", split).replace("METRIC", metric).replace("VALUE", str(value))
    (study.root / "configs" / "references").mkdir()
    (study.root / "configs" / "references" / "nobody.yaml").write_text(text, encoding="utf-8")
    file = study.root / "configs" / "studies" / "small.yaml"
    written = file.read_text(encoding="utf-8")
    old = "    comparisons:\n      - {row: taught, against: plain}\n"
    assert old in written
    file.write_text(written.replace(old, f"{old}    claims: [{claims.replace('ROW', row)}]\n"), encoding="utf-8")


def mean_of(study: PublishedStudy, row: str, column: str = "marks", table: str = "pictures") -> float:
    cells = numbers.of_cells(published.read(study.root, "small"))
    return cells[table, row, column].sample.mean


def test_a_claim_is_judged_by_the_cell_in_its_place(study: PublishedStudy) -> None:
    claim(study, value=mean_of(study, "plain"))
    (one,) = verdict.verdicts(study.root, "small")
    assert one.claim.place == ("pictures", "plain", "marks")
    assert (one.claim.margin, one.claim.source) == (1.0, "Nobody 2020, table 3")
    assert (one.verdict, one.seeds) == (UNDECIDED, 2)
    assert one.mean == pytest.approx(one.claim.value)
    assert one.reason
    assert "pictures / plain / marks (accuracy, dev)" in str(one)
    assert json.loads(json.dumps(one.content()))["verdict"] == "undecided"


def test_claims_change_no_key_and_no_table(study: PublishedStudy) -> None:
    from redistill.plan import make_plan

    claim(study)
    assert make_plan(study.root, "small").target.key == study.plan.target.key


def test_a_claim_far_off_is_not_reproduced_and_the_command_fails(
    study: PublishedStudy, python: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    claim(study, value=-500.0)
    done = python("-m", "redistill", "verdict", "small", cwd=study.root)
    assert done.returncode == 1, done.stderr
    assert done.stdout.splitlines()[-1] == "1 not reproduced"
    as_json = python("-m", "redistill", "verdict", "small", "--table", "pictures", "--json", cwd=study.root)
    assert json.loads(as_json.stdout)[0]["verdict"] == NOT_REPRODUCED
    unknown = python("-m", "redistill", "verdict", "small", "--table", "picture", cwd=study.root)
    assert "did you mean `pictures`?" in unknown.stderr
    nothing = python("-m", "redistill", "verdict", "small", "--table", "texts", cwd=study.root)
    assert nothing.returncode == 0
    assert "names no published numbers" in nothing.stdout


def test_one_seed_is_undecided_and_a_baseline_is_not(study: PublishedStudy) -> None:
    claim(study, row="teacher")
    (one,) = verdict.verdicts(study.root, "small")
    assert one.verdict == UNDECIDED
    assert "one run says nothing" in one.reason


def test_a_baseline_needs_no_seeds_but_examples(study: PublishedStudy) -> None:
    claim(study, row="floor", value=mean_of(study, "floor"))
    (one,) = verdict.verdicts(study.root, "small")
    assert one.verdict == UNDECIDED  # 60 examples, cut from the source by us: others would give another number
    assert "the examples are too few" in one.reason


def test_a_file_may_say_that_its_numbers_are_of_the_same_examples(study: PublishedStudy) -> None:
    claim(study, row="floor", value=mean_of(study, "floor"))
    file = study.root / "configs" / "references" / "nobody.yaml"
    file.write_text(file.read_text(encoding="utf-8") + "examples: same\n", encoding="utf-8")
    (one,) = verdict.verdicts(study.root, "small")
    assert (one.verdict, one.low) == (REPRODUCED, pytest.approx(one.mean))
    assert "one run is enough" in one.reason


def test_examples_count_without_the_store_too(study: PublishedStudy) -> None:
    made = published.read(study.root, "small")
    number = numbers.of_cells(made)["pictures", "plain", "marks"]
    drawn = verdict.variance_of_examples(made, number)
    shutil.rmtree(study.root / "store" / "runs")
    share = number.sample.mean / 100
    assert verdict.variance_of_examples(made, number) == pytest.approx(1e4 * share * (1 - share) / 60)
    assert drawn == pytest.approx(1e4 * share * (1 - share) / 60, rel=0.7)  # of two runs on the same examples: less
    assert drawn is not None
    assert drawn < 1e4 * share * (1 - share) / 60
    assert verdict.variance_of_examples(made, dataclasses.replace(number, metric="f1")) is None
    claim(study)
    assert verdict.verdicts(study.root, "small")[0].verdict in (UNDECIDED, NOT_REPRODUCED)


def test_the_whole_dev_split_of_a_source_is_no_sample(study: PublishedStudy) -> None:
    cells = numbers.of_cells(published.read(study.root, "small"))
    assert cells["texts", "floor", "words"].whole
    assert not cells["pictures", "floor", "marks"].whole
    assert [cells["pictures", row, "marks"].drawn for row in ("floor", "plain")] == [False, True]
    assert cells["tuned", "tuned", "marks"].drawn


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"split": "test"}, "the claim is a number of test, and ours is one of dev"),
        ({"metric": "f1"}, "the claim is f1, and ours is accuracy"),
    ],
)
def test_what_is_not_of_the_same_thing_is_not_compared(study: PublishedStudy, change: dict, words: str) -> None:
    claim(study, **change)
    (one,) = verdict.verdicts(study.root, "small")
    assert (one.verdict, one.mean) == (verdict.NOT_COMPARED, None)
    assert words in one.reason


def test_a_file_that_does_not_say_its_split_or_metric_is_not_compared(study: PublishedStudy) -> None:
    claim(study)
    file = study.root / "configs" / "references" / "nobody.yaml"
    whole = file.read_text(encoding="utf-8")
    file.write_text(whole.replace("split: dev\n", ""), encoding="utf-8")
    assert "does not say which split" in verdict.verdicts(study.root, "small")[0].reason
    file.write_text(whole.replace("metrics: {Marks: accuracy, Words", "metrics: {Words"), encoding="utf-8")
    assert "not said which metric" in verdict.verdicts(study.root, "small")[0].reason


def test_a_claim_without_a_cell_is_listed(study: PublishedStudy) -> None:
    claim(study)
    file = study.root / "configs" / "studies" / "small.yaml"
    text = file.read_text(encoding="utf-8")
    file.write_text(text.replace("- {experiment: taught}", "- {experiment: taught}\n      - {experiment: plain, "
                    "name: new}").replace("row: plain, ref", "row: new, ref"), encoding="utf-8")  # fmt: skip
    (one,) = verdict.verdicts(study.root, "small")
    assert (one.verdict, one.reason) == (verdict.NOT_COMPARED, "there is no such cell")


def test_metrics_that_are_not_those_of_the_manifest_are_refused(study: PublishedStudy) -> None:
    claim(study)
    file = study.results / "pictures.proof.json"
    text = file.read_text(encoding="utf-8")
    spoiled = text.replace(r"\"value\": 0.", r"\"value\": 0.9", 1)
    assert spoiled != text
    file.write_text(spoiled, encoding="utf-8")
    with pytest.raises(IntegrityError, match="metrics.json"):
        verdict.verdicts(study.root, "small")
    file.unlink()
    with pytest.raises(RedistillError, match="redistill publish small"):
        verdict.verdicts(study.root, "small")


@pytest.mark.parametrize(
    ("claims", "key", "words"),
    [
        ("{row: plan, reference: nobody, published: plain}", "row", "did you mean `plain`?"),
        ("{row: plain, reference: nobdy, published: plain}", "reference", "did you mean `nobody`?"),
        ("{row: plain, reference: nobody, published: plan}", "published", "did you mean `plain`?"),
        ("{row: plain, reference: nobody, published: plain, tasks: [words]}", "tasks", "row `plain` has no `words`"),
        ("{row: plain, reference: nobody, published: plain, margin: 0}", "margin", "greater than 0"),
    ],
)
def test_a_mistake_in_a_claim_is_told_with_its_place(
    study: PublishedStudy, claims: str, key: str, words: str
) -> None:  # fmt: skip
    claim(study, claims=claims)
    with pytest.raises(ConfigError) as caught:
        check(study.root, "small")
    assert any(p.key == f"tables.pictures.claims.0.{key}" and words in p.message for p in caught.value.problems), (
        caught.value.problems
    )


def test_a_mistake_in_a_file_of_published_numbers_is_told_with_its_place(study: PublishedStudy) -> None:
    claim(study, metric="acuracy")
    file = study.root / "configs" / "references" / "nobody.yaml"
    file.write_text(file.read_text(encoding="utf-8").replace("margins: {Words", "margins: {Word"), encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        check(study.root, "small")
    said = {p.key: (p.file, p.message) for p in caught.value.problems}
    assert said["metrics.Marks"] == (
        "configs/references/nobody.yaml", "no metric `acuracy`; did you mean `accuracy`?"
    )  # fmt: skip
    assert "did you mean `Words`?" in said["margins.Word"][1]


def test_the_margin_of_the_study_goes_before_that_of_the_file(study: PublishedStudy) -> None:
    words = "{row: reader, reference: nobody, published: plain, margin: 2.5}"
    claim(study)
    file = study.root / "configs" / "studies" / "small.yaml"
    text = file.read_text(encoding="utf-8")
    old = "      - {experiment: reader}\n"
    file.write_text(text.replace(old, f"{old}    claims: [{words}]\n"), encoding="utf-8")
    assert [(c.place, c.margin) for c in of_study(check(study.root, "small"))] == [
        (("pictures", "plain", "marks"), 1.0), (("texts", "reader", "words"), 2.5)
    ]  # fmt: skip
    file.write_text(text.replace(old, f"{old}    claims: [{words.replace(', margin: 2.5', '')}]\n"), encoding="utf-8")
    assert of_study(check(study.root, "small"))[1].margin == 5.0


# --- what the server said of submissions -----------------------------------------------------------------------------


def submitted(recorded: Sequence[dict | None], stages: list) -> published.Published:
    """A study of submissions of one recipe, with what was recorded of each."""
    config = {"rows": [{"name": f"s{i}", "recorded": said} for i, said in enumerate(recorded)]}
    run = published.Thing("r", "run", "r", "runs", "d", {}, {}, {"config": {"stages": stages}})
    scores = published.Thing("t", "scores", "submissions", "results", "d", {}, {}, {"config": config})
    runs = tuple(published.Run(f"s{i}", "recipe", "glue/cola", i, "r") for i in range(len(recorded)))
    return published.Published(Path(), "x", None, {}, {"r": run, "t": scores}, runs)


def test_submissions_of_one_recipe_are_its_seeds() -> None:
    said = [{"CoLA": 57.0 + i, "MRPC": {"f1": 80.0 + i, "accuracy": 75.0}} for i in range(3)]
    found = {(n.place[2], n.metric): n for n in numbers.of_submissions(submitted(said, [{}]), {"CoLA": "glue/cola"})}
    assert found.keys() == {("CoLA", "matthews"), ("MRPC", "f1"), ("MRPC", "accuracy")}
    cola = found["CoLA", "matthews"]
    assert (cola.task, cola.split, cola.drawn, cola.whole) == ("glue/cola", "test", True, True)
    assert cola.values == {"s0": 57.0, "s1": 58.0, "s2": 59.0}
    assert not numbers.of_submissions(submitted([None], []), {})
    (fixed,) = numbers.of_submissions(submitted([{"CoLA": 57.0}], []), {})
    assert not fixed.drawn  # a published checkpoint as it is: one submission says all


def test_the_projects_own_claims_on_glue_are_whole() -> None:
    """Every number of the file has a task, and but for one correlation a metric; no score is recorded yet."""
    checked = check(ROOT, "published")
    claims = of_study(checked)
    assert len(claims) == 48
    assert {claim.split for claim in claims} == {"test"}
    assert {claim.task for claim in claims} >= {"glue/cola", "glue/mnli-mm"}
    unsaid = {(claim.label, claim.place[2]) for claim in claims if claim.metric is None}
    assert {column for _, column in unsaid} == {"STS-B"}
    assert all("Matsubara" in label for label, _ in unsaid)


def test_recorded_scores_are_judged_by_claims_of_test(monkeypatch: pytest.MonkeyPatch) -> None:
    """The project's own study: published checkpoints as they are, so that one submission decides."""
    scores = {"CoLA": 57.3, "MRPC": {"f1": 80.0, "accuracy": 75.0}, "STS-B": {"pearson": 85.6, "spearman": 85.0}}
    config = {"rows": [{"name": "bert-base-kd", "recorded": scores}, {"name": "bert-base", "recorded": None}]}
    run = published.Thing("r", "run", "r", "runs", "d", {}, {}, {"config": {"stages": []}})
    table = published.Thing("t", "scores", "submissions", "results", "d", {}, {}, {"config": config})
    runs = (published.Run("bert-base-kd", "published/bert-base-kd", "glue/cola", 0, "r"),)
    made = published.Published(ROOT, "published", None, {}, {"r": run, "t": table}, runs)
    monkeypatch.setattr(verdict, "whole", lambda *_: made)
    found = {one.claim.place[1:]: one for one in verdict.verdicts(ROOT, "published", "submissions")}
    kd = {column: one for (recipe, column), one in found.items() if recipe == "published/bert-base-kd"}
    assert (kd["CoLA"].verdict, kd["CoLA"].claim.value) == (REPRODUCED, 57.0)
    assert (kd["MRPC"].verdict, kd["MRPC"].mean) == (NOT_REPRODUCED, 80.0)  # by F1, as it was published
    assert (kd["STS-B"].verdict, kd["STS-B"].reason) == (
        verdict.NOT_COMPARED, "it was not said which metric the claim is"
    )  # fmt: skip
    assert kd["RTE"].reason == "no score of the server is recorded"
    assert found["published/bert-base", "CoLA"].verdict == verdict.NOT_COMPARED


# --- our own earlier results -----------------------------------------------------------------------------------------


def test_a_rerun_with_the_same_digests_has_the_same_bytes(study: PublishedStudy) -> None:
    found = against.against(study.root, "small", "HEAD")
    assert {one.verdict for one in found} == {against.SAME_BYTES}
    assert len(found) == 7


def test_other_bytes_are_judged_by_their_numbers(tmp_path: Path, study: PublishedStudy) -> None:
    """The same configs over other data, so other keys, other examples and other numbers."""
    other = publish_study(tmp_path / "other", content=4)
    for file in study.results.iterdir():
        file.unlink()
    for file in other.results.iterdir():
        (study.results / file.name).write_bytes(file.read_bytes())
    found = {one.place: one for one in against.against(study.root, "small", "HEAD")}
    one = found["pictures", "plain", "marks"]
    assert one.verdict == UNDECIDED
    assert one.there == pytest.approx(mean_of(PublishedStudy(tmp_path / "other", other.plan), "plain"), abs=50)
    assert one.here != one.there
    assert one.low is not None
    assert one.low < 0 < (one.high or 0)
    wide = {one.place: one for one in against.against(study.root, "small", "HEAD", margin=300.0)}
    assert wide["pictures", "plain", "marks"].verdict == REPRODUCED


def test_equal_numbers_from_other_weights_are_not_called_the_same_bytes(study: PublishedStudy) -> None:
    file = study.results / "manifests.json"
    manifests = json.loads(file.read_text(encoding="utf-8"))
    run = study.node("student", "plain · marks · seed 0")
    manifests[run.key]["files"]["model.safetensors"]["sha256"] = "0" * 64
    manifests[run.key]["digest"] = "1" * 64
    file.write_text(json.dumps(manifests), encoding="utf-8")
    found = {one.place[:2]: one for one in against.against(study.root, "small", "HEAD")}
    assert found["pictures", "plain"].verdict == REPRODUCED
    assert "other bytes, the same number" in found["pictures", "plain"].reason
    assert found["pictures", "taught"].verdict == against.SAME_BYTES


def test_another_study_is_compared_place_by_place(study: PublishedStudy) -> None:
    shutil.copytree(study.results, study.root / "results" / "again")
    assert {one.verdict for one in against.against(study.root, "small", "again")} == {against.SAME_BYTES}
    for other, table, words in (
        ("nowhere", None, "`nowhere` is neither a study with results nor a commit"),
        ("again", "picture", "has no table `picture`; did you mean `pictures`?"),
    ):
        with pytest.raises(RedistillError, match=words):
            against.against(study.root, "small", other, table)


def test_the_command_compares_with_a_commit(
    study: PublishedStudy, python: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    done = python("-m", "redistill", "verdict", "small", "--against", "HEAD", cwd=study.root)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "7 same bytes"
    alone = python("-m", "redistill", "verdict", "small", "--margin", "2", cwd=study.root)
    assert (alone.returncode, "--margin is for --against" in alone.stderr) == (1, True)


def test_many_verdicts_are_said_to_be_uncorrected() -> None:
    assert several([(1.0, 2.0), (None, None), (3.0, 3.0)]) == ""  # one alone, one that is none, one without chance
    assert several([(1.0, 2.0), (0.5, 0.7)]).startswith("2 verdicts rest on 95 % intervals, not corrected")
