"""Configuration: what is read, where a mistake is said to stand, and what is refused before anything is made."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from glue_folder import write_official
from hypothesis import given, settings
from hypothesis import strategies as st

from redistill.config import compose, schema
from redistill.config.parse import MAX_BYTES, MAX_DEPTH, MAX_VALUES, Document, Place, load
from redistill.errors import ConfigError, Problem, nearest


@pytest.fixture
def parse(tmp_path: Path) -> Callable[[str | bytes], Document]:
    def run(text: str | bytes) -> Document:
        file = tmp_path / "some.yaml"
        file.write_bytes(text if isinstance(text, bytes) else text.encode())
        return load(file, "some.yaml")

    return run


def refused(parse: Callable[[str | bytes], Document], text: str | bytes) -> Problem:
    """The one problem with which the text is refused."""
    with pytest.raises(ConfigError) as caught:
        parse(text)
    (problem,) = caught.value.problems
    assert str(caught.value).startswith(f"some.yaml:{problem.line}:{problem.column}:")
    return problem


# --- parse -----------------------------------------------------------------------------------------------------------


def test_places_are_those_of_keys_and_list_items(parse):
    document = parse("# a comment\na: 1\nb:\n  c: [x,  y]\n\n  d:\n  - e: 1\n    f: 2\n")
    assert document.data == {"a": 1, "b": {"c": ["x", "y"], "d": [{"e": 1, "f": 2}]}}
    places = {path: (place.line, place.column) for path, place in document.places.items() if path}
    assert places == {
        ("a",): (2, 1),
        ("b",): (3, 1),
        ("b", "c"): (4, 3),
        ("b", "c", 0): (4, 7),
        ("b", "c", 1): (4, 11),
        ("b", "d"): (6, 3),
        ("b", "d", 0): (7, 5),
        ("b", "d", 0, "e"): (7, 5),
        ("b", "d", 0, "f"): (8, 5),
    }


def test_place_of_what_is_not_there_is_the_nearest_around_it(parse):
    document = parse("a:\n  b: 1\n")
    assert document.place(("a", "b", "c", 3)).line == 2
    assert document.problem(("a", "x"), "is odd") == Problem("some.yaml", 1, 1, "a.x", "is odd")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("no", "no"), ("yes", "yes"), ("on", "on"), ("True", True), ("false", False), ("~", None), ("", None),
        ("1e-4", 1e-4), ("1e3", 1000.0), (".5", 0.5), ("+1", 1), ("-12", -12), ("0012", 12), ("1.", 1.0),
        ("'1'", "1"), ('"1e-4"', "1e-4"), ("'true'", "true"), ("'null'", "null"), ("|\n  1", "1"),
        ("2001-01-01", "2001-01-01"), ("12:30:00", "12:30:00"), ("1_000", "1_000"), ("0x10", "0x10"), ("0o7", "0o7"),
        (".nan", ".nan"), (".inf", ".inf"), ("1e", "1e"), (".", "."),
    ],
)  # fmt: skip
def test_scalars_follow_yaml_1_2_and_quoted_ones_stay_strings(parse, text, value):
    found = parse(f"a: {text}").data["a"]
    assert found == value
    assert type(found) is type(value)


def test_keys_are_always_strings(parse):
    assert parse("1: a\ntrue: b\n~: c\n").data == {"1": "a", "true": "b", "~": "c"}


@pytest.mark.parametrize("text", ["", "\n\n", "# only a comment\n", "---\n"])
def test_an_empty_file_is_an_empty_mapping(parse, text):
    document = parse(text)
    assert document.data in ({}, None)
    assert document.place(()).line >= 1


@pytest.mark.parametrize(
    ("text", "line", "column", "words"),
    [
        ("a: 1\nb: 2\na: 3\n", 3, 1, "twice"),
        ("a: {x: 1, x: 2}", 1, 11, "twice"),
        ("a: 1\n'a': 2\n", 2, 1, "twice"),
        ("base: &b {x: 1}\nc:\n  <<: *b\n", 3, 3, "merge keys"),
        ("? [1]\n: 2\n", 1, 3, "plain word"),
        ("a: 1\nb: [1\n", 3, 1, "not valid YAML"),
        ("a: b: c\n", 1, 5, "not valid YAML"),
        ("a: *nowhere\n", 1, 4, "undefined alias"),
        ("a: 1\n---\nb: 2\n", 2, 1, "another document"),
        ("a:\n\t- 1\n", 2, 1, "not valid YAML"),
    ],
)
def test_what_is_outside_the_subset_is_refused_where_it_stands(parse, text, line, column, words):
    problem = refused(parse, text)
    assert (problem.line, problem.column) == (line, column)
    assert words in problem.message


@pytest.mark.parametrize(
    "value",
    [
        "!!python/object:os.system {}", "!!python/object/apply:os.system [ls]", "!!python/name:os.system ''",
        "!foo x", "!binary x", "!!binary aGVsbG8=", "!!set {a}", "!!omap [a: 1]",
        "!!python/none x", "!!python/tuple [1]", "!!foo 5", "!!str 5", "!!timestamp 2001-01-01", "! 5",
    ],
)  # fmt: skip
def test_every_tag_is_refused(parse, value):
    problem = refused(parse, f"b: 1\na: {value}")
    assert problem.line == 2
    assert "tag" in problem.message


def test_alias_bombs_are_refused(parse):
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 9)]
    assert f"more than {MAX_VALUES} values" in refused(parse, "\n".join(lines)).message


@pytest.mark.parametrize("text", ["&a [*a]", "&a {b: *a}", "a: &x\n  b: [*x]\n"])
def test_aliases_that_hold_themselves_are_refused(parse, text):
    assert "nested deeper" in refused(parse, text).message


@pytest.mark.parametrize("bracket", ["[", "{", "- ", "? "])
def test_endless_nesting_is_refused(parse, bracket):
    refused(parse, bracket * 20_000)


def test_nesting_is_bounded(parse):
    def deep(n: int) -> str:
        return "[" * n + "]" * n

    parse(deep(MAX_DEPTH))
    assert f"deeper than {MAX_DEPTH}" in refused(parse, deep(MAX_DEPTH + 2)).message


def test_large_files_are_refused_unread(parse):
    assert "larger" in refused(parse, b"#" * (MAX_BYTES + 1)).message


@pytest.mark.parametrize("raw", [b"\xff\xfea: 1", b"a: \xe9", b"\x80"])
def test_other_encodings_are_refused(parse, raw):
    assert refused(parse, raw).message == "is not UTF-8 text"


@pytest.mark.parametrize(
    "raw",
    [
        b"\x00", b"a: \x07", b"\x89PNG\r\n\x1a\n\x00", "\ufffe".encode(),
        b'a: "\\UFFFFFFFF"', b'a: "\\U00110000"',  # beyond Unicode
        b'a: "\\uD800"', b'"\\uDFFF": 1',  # half a surrogate pair: text that no file can hold
        b"%YAML 1." + b"1" * 5000 + b"\n--- a",
        b"a: 1e999", b"a: -1e999",  # infinite, once read
    ],
)  # fmt: skip
def test_what_no_config_can_mean_is_refused(parse, raw):
    refused(parse, raw)


def test_a_missing_file_and_a_folder_are_refused(tmp_path):
    for path in (tmp_path / "none.yaml", tmp_path):
        with pytest.raises(ConfigError, match="cannot be read"):
            load(path)


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("parse") / "some.yaml"


YAMLISH = st.text("ab01.:-[]{}&*!#|>'\"%@\\ \n\tUx,?<~eE+/", max_size=60)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(raw=st.one_of(st.binary(max_size=60), st.text(max_size=60).map(str.encode), YAMLISH.map(str.encode)))
def test_whatever_is_read_gives_plain_data_or_a_config_error(scratch: Path, raw: bytes):
    scratch.write_bytes(raw)
    try:
        document = load(scratch, "some.yaml")
    except ConfigError as error:
        document = Document(None, {(p.key,): Place(p.file, p.line, p.column) for p in error.problems})
    json.dumps(document.data, ensure_ascii=False, allow_nan=False).encode("utf-8")
    lines = raw.count(b"\n") + raw.count(b"\r") + raw.count(b"\xc2\x85") + raw.count(b"\xe2\x80") + 1
    assert document.places
    assert all(1 <= place.line <= lines and place.column >= 1 for place in document.places.values())


PRINTABLE = st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs", "Cn", "Co", "Cf", "Zl", "Zp")),
                    max_size=8)  # fmt: skip
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**15), 10**15),
    st.floats(allow_nan=False, allow_infinity=False),
    PRINTABLE,
)
DATA = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(PRINTABLE.filter(lambda k: k != "<<"), inner, max_size=4)
    ),
    max_leaves=15,
)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(data=st.dictionaries(PRINTABLE.filter(lambda k: k != "<<"), DATA, max_size=4))
def test_json_is_read_as_what_it_says(scratch: Path, data: dict[str, Any]):
    scratch.write_text(json.dumps(data, ensure_ascii=False, indent=1), encoding="utf-8")
    assert load(scratch).data == data


def test_nearest_names_the_closest_or_what_there_is():
    assert nearest("tempratur", ["temperature", "t_squared"]) == "did you mean `temperature`?"
    assert nearest("xyz", ["b", "a"]) == "known: `a`, `b`"
    assert nearest("xyz", []) == "there are none"
    assert nearest("q", [f"name{i:02}" for i in range(30)]).endswith("`name11` ...")


# --- compose ---------------------------------------------------------------------------------------------------------


def test_extends_merges_mappings_replaces_the_rest_and_null_removes(project):
    base = "label: Base\nnotes: {a: x, b: y}\nstages: [1, 2]\n"
    project.experiments(base=base, over="extends: base\nnotes:\n  b: null\n  c: z\nstages: [3]\n")
    document = compose.read(project.root, "experiments", "over")
    assert document.data == {"label": "Base", "notes": {"a": "x", "c": "z"}, "stages": [3]}


def test_what_is_extended_keeps_the_place_where_it_was_written(project):
    base = "label: Base\nnotes: {a: x, b: y}\nstages: [1, 2]\n"
    project.experiments(base=base, over="extends: base\nnotes:\n  c: z\nstages: [3]\n")
    document = compose.read(project.root, "experiments", "over")

    def where(*path: str | int) -> str:
        place = document.place(path)
        return f"{Path(place.file).name}:{place.line}:{place.column}"

    assert [where("label"), where("notes", "a")] == ["base.yaml:1:1", "base.yaml:2:9"]
    assert [where("notes"), where("notes", "c"), where("stages", 0)] == [
        "over.yaml:2:1",
        "over.yaml:3:3",
        "over.yaml:4:10",
    ]
    assert where("stages", 1) == "over.yaml:4:1"


@pytest.mark.parametrize(
    "base",
    ["../../../outside", "/etc/hostname", "nowhere", "[a]", "3", "~", "a" * 300, '"a\\0b"', '"../sources.yaml"'],
)
def test_extends_of_anything_but_a_config_is_refused(project, base):
    (project.root.parent / "outside.yaml").write_text("label: x\n", encoding="utf-8")
    project.experiments(over=f"label: x\nextends: {base}\n")
    with pytest.raises(ConfigError) as caught:
        compose.read(project.root, "experiments", "over")
    (problem,) = caught.value.problems
    assert (problem.file, problem.line, problem.key) == ("configs/experiments/over.yaml", 2, "extends")


def test_circular_extends_are_refused(project):
    project.experiments(
        one="extends: two\n", two="label: x\nextends: three\n", three="extends: one\n", me="extends: me\n"
    )
    with pytest.raises(ConfigError, match=r"three.yaml:1:1: extends: goes round in a circle"):
        compose.read(project.root, "experiments", "one")
    with pytest.raises(ConfigError, match=r"me.yaml:1:1: extends: goes round in a circle"):
        compose.read(project.root, "experiments", "me")


@pytest.mark.parametrize("text", ["- a\n", "word\n", "3\n"])
def test_a_file_that_is_no_mapping_is_refused(project, text):
    project.experiments(odd=text)
    with pytest.raises(ConfigError, match=r"odd.yaml:1:1: must be a mapping"):
        compose.read(project.root, "experiments", "odd")


def test_the_project_is_found_from_below(project):
    assert compose.find_root(project.file("experiments")) == project.root.resolve()


# --- check -----------------------------------------------------------------------------------------------------------

STUDY, EMPTY = "studies/embedded.yaml", ""
KD, BASE, DIGITS = "experiments/image/student-kd.yaml", "experiments/image/base.yaml", "tasks/digits.yaml"
LONG = "experiments/text/student-finetuned-long.yaml"

# name -> file, what is replaced, by what; where the mistake is said to stand (file, words on the line, key); words
MISTAKES: dict[str, tuple[str, str, str, str, str, str, str]] = {
    "key of a study": (STUDY, "portable: true", "portble: true", STUDY, "portble", "runtime.portble", "`portable`?"),
    "key of a row": (STUDY, "{experiment: image/teacher, seeds:", "{experiment: image/teacher, seed:", STUDY,
                     "{experiment: image/teacher", "tables.image.rows.2.seed", "`seeds`?"),
    "key of an experiment": (KD, "  stages.0.data:", "  stages.0.dta: x\n  stages.0.data:", KD, "stages.0.dta:",
                             "stages.0.dta", "`data`?"),
    "key of a stage": (BASE, "    clip_norm:", "    clip_nrm:", BASE, "clip_nrm:", "stages.0.clip_nrm", "`clip_norm`?"),
    "key of a shared file": (BASE, "student:", "evaluate: {}\nstudent:", BASE, "evaluate:", "evaluate", "`evaluation`"),
    "key of a task": (DIGITS, "metric:", "metrc:", DIGITS, "metrc", "metrc", "`metric`?"),
    "unknown task": (STUDY, "tasks: [digits]", "tasks: [digts]", STUDY, "[digts]", "tables.image.tasks.0", "`digits`?"),
    "unknown experiment": (STUDY, "experiment: text/tfidf", "experiment: text/tfdf", STUDY, "text/tfdf",
                           "tables.text.rows.1.experiment", "`text/tfidf`?"),
    "unknown teacher": (KD, "experiment: image/teacher", "experiment: image/teachr", KD, "teachr", "teacher.experiment",
                        "`image/teacher`?"),
    "unknown source": (DIGITS, "source: digits", "source: digit", DIGITS, "source:", "source", "`digits`?"),
    "unknown reader": (DIGITS, "method: digits", "method: digit", DIGITS, "reader:", "reader.method", "`digits`?"),
    "unknown architecture": (BASE, "method: cnn", "method: cn", BASE, "architecture:", "student.architecture.method",
                             "`cnn`?"),
    "unknown pretrained model": ("experiments/text/agnostic.yaml", "teacher:\n  source: minilm",
                                 "teacher:\n  source: minilmm", "experiments/text/agnostic.yaml", "minilmm",
                                 "teacher.source", "`minilm`?"),
    "a data set as a pretrained model": ("experiments/text/agnostic.yaml", "teacher:\n  source: minilm",
                                         "teacher:\n  source: vader", "experiments/text/agnostic.yaml", "source: vader",
                                         "teacher.source", "`minilm`"),
    "missing teacher": (KD, "teacher:\n  experiment: image/teacher\n", EMPTY, KD, "soft:", "stages.0.loss.soft",
                        "needs a `teacher`"),
    "unknown loss": (KD, "method: kd", "method: kdd", KD, "kdd", "stages.0.loss.soft.method", "`kd`?"),
    "unknown setting": (KD, "temperature:", "temprature:", KD, "temprature", "stages.0.loss.soft.temprature",
                        "`temperature`?"),
    "setting of the wrong type": (KD, "temperature: 4.0", "temperature: hot", KD, "hot",
                                  "stages.0.loss.soft.temperature", "must be float, but it is `hot`"),
    "quoted number as a setting": (KD, "temperature: 4.0", "temperature: '4.0'", KD, "'4.0'",
                                   "stages.0.loss.soft.temperature", "must be float"),
    "setting out of its bounds": (KD, "temperature: 4.0", "temperature: 0", KD, "temperature: 0",
                                  "stages.0.loss.soft.temperature", "must be larger than 0, but it is `0`"),
    "list setting of the wrong type": (BASE, "channels: [6, 12]", "channels: [6, wide]", BASE, "channels",
                                       "student.architecture.channels", "list[int]"),
    "needed setting missing": (BASE, "channels: [6, 12], ", EMPTY, BASE, "architecture:", "student.architecture",
                               "needs the setting `channels`"),
    "value of the wrong type": (BASE, "batch_size: 32", "batch_size: '32'", BASE, "batch_size", "stages.0.batch_size",
                                "but it is `32`"),
    "float for an int": (LONG, "steps: 100\n", "steps: 100.5\n", LONG, "100.5", "stages.0.steps", "valid integer"),
    "impossible value": (BASE, "rate: 3.0e-3", "rate: -1", BASE, "learning_rate", "stages.0.optimiser.learning_rate",
                         "greater than 0"),
    "missing key": (BASE, "    batch_size: 32\n", EMPTY, BASE, "- data:", "stages.0.batch_size", "is missing"),
    "epochs and steps": (KD, "  stages.0.data:", "  stages.0.epochs: 1\n  stages.0.data:", BASE, "- data:", "stages.0",
                         "either `epochs` or `steps`"),
    "no such split": (KD, "[train, transfer]", "[train, tranfer]", KD, "tranfer", "stages.0.data.1", "'transfer'"),
    "name outside the alphabet": (STUDY, "experiment: text/tfidf", "experiment: ../tfidf", STUDY, "../tfidf",
                                  "tables.text.rows.1.experiment", "pattern"),
    "digest of the wrong length": ("sources.yaml", "inner_sha256: d5", "inner_sha256: d", "sources.yaml",
                                   "inner_sha256", "vader.inner_sha256", "pattern"),
    "duplicate seed": (STUDY, "[0, 1, 2, 3, 4]", "[0, 1, 2, 2, 4]", STUDY, "[0, 1, 2, 2, 4]", "tables.image.seeds.3",
                       "`2` stands twice"),
    "row twice": (STUDY, "{experiment: image/linear, seeds: [0]}", "{experiment: image/majority, seeds: [1]}",STUDY,
                      "image/majority, seeds: [1]", "tables.image.rows.1", "a row `image/majority` already"),
    "comparison of no row": (STUDY, "against: image/student-finetuned", "against: image/student-finetune",
                                              STUDY, "against: image/student-finetune",
                                              "tables.image.comparisons.0.against", "`image/student-finetuned`?"),
    "row of a column that is not there": (STUDY, "{experiment: image/linear, seeds: [0]}",
                                          "{experiment: image/linear, seeds: [0], tasks: [movie]}", STUDY,
                                          "{experiment: image/linear", "tables.image.rows.1.tasks.0", "column `movie`"),
    "dev trained on": (KD, "[train, transfer]", "[train, dev]", KD, "[train, dev]", "stages.0.data.1", "never trained"),
    "task without transfer": (DIGITS, "  transfer: 600\n", EMPTY, KD, "stages.0.data:", "stages.0.data.1",
                              "task `digits` has no `transfer` split"),
    "labels of what has none": (KD, "[train, transfer]", "[transfer]", KD, "hard:", "stages.0.loss.hard", "labels"),
    "file that extends itself": ("experiments/image/linear.yaml", "label:", "extends: linear\nlabel:",
                                 "experiments/image/linear.yaml", "extends:", "extends", "in a circle"),
    "metric of another kind": (DIGITS, "metric: accuracy", "metric: pearson", DIGITS, "metric:", "metric",
                               "does not measure classification"),
    "unknown metric": (DIGITS, "metric: accuracy", "metric: acuracy", DIGITS, "metric:", "metric", "`accuracy`?"),
    "one label": (DIGITS, '["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"]', '["0"]', DIGITS, "labels:", "labels",
                  "at least two labels"),
    "duplicate key": (DIGITS, "metric: accuracy", "metric: accuracy\nmetric: accuracy", DIGITS, "", "metric", "twice"),
    "broken YAML": (DIGITS, "splits:\n", "splits: [\n", DIGITS, "", "", "not valid YAML"),
    "teacher that is a baseline": (KD, "experiment: image/teacher", "experiment: image/linear", KD, "image/linear",
                                   "teacher.experiment", "is a baseline"),
    "start that is a baseline": ("experiments/text/student-agnostic-kd.yaml", "experiment: text/agnostic",
                                 "experiment: text/majority", "experiments/text/student-agnostic-kd.yaml",
                                 "text/majority", "student.start.experiment", "is a baseline"),
    "pool of itself": ("tasks/all-text.yaml", "tasks: [movie,", "tasks: [all-text, movie,", "tasks/all-text.yaml",
                       "[all-text,", "pool.tasks.0", "a pool itself"),
    "pool of what is reported on": ("tasks/all-text.yaml", "[train, transfer]", "[train, dev]", "tasks/all-text.yaml",
                                    "[train, dev]", "pool.splits.1", "never trained on"),
    "row without seeds": (STUDY, "image/majority, seeds: [0]", "image/majority, seeds: []", STUDY, "seeds: []",
                          "tables.image.rows.0.seeds", "at least 1"),
}  # fmt: skip


def test_the_projects_own_studies_are_right(project, tmp_path, monkeypatch):
    write_official(tmp_path / "glue", {"train": 30, "dev": 12, "test": 8})
    monkeypatch.setenv("GLUE_DIR", str(tmp_path / "glue"))
    for split in ("train", "test"):
        (tmp_path / f"{split}-00000-of-00001.parquet").touch()
    monkeypatch.setenv("CIFAR10_DIR", str(tmp_path))
    names = compose.known(project.root, "studies")
    assert "embedded" in names
    for name in names:
        assert project.problems(name) == []


def test_every_experiment_and_task_on_disk_is_valid(project):
    for folder, model in (("experiments", schema.Experiment), ("tasks", schema.Task)):
        for name in compose.known(project.root, folder):
            compose.validate(model, compose.read(project.root, folder, name))


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_said_once_with_its_line_and_key(project, name):
    file, old, new, where, words, key, message = MISTAKES[name]
    project.edit(file, old, new)
    problems = project.problems()
    (problem,) = [problem for problem in problems if problem.file == f"configs/{where}"]
    assert {other.message for other in problems} == {problem.message}  # of experiments that share it, in each
    if words:
        assert problem.line == project.line(where, words)
    assert problem.key == key
    assert message in problem.message


def test_the_column_is_that_of_the_list_item(project):
    project.edit(STUDY, "[0, 1, 2, 3, 4]", "[0, 1, 2, 2, 4]")
    (problem,) = project.problems()
    line = project.file(STUDY).read_text(encoding="utf-8").splitlines()[problem.line - 1]
    assert line[problem.column - 1 :] == "2, 4]"


def test_a_start_that_needs_itself_is_refused(project):
    file = "experiments/text/teacher.yaml"
    project.edit(file, "notes:", "student: {start: {source: null, experiment: text/teacher}}\nnotes:")
    problems = project.problems()
    assert problems
    line = project.line(file, "student:")
    assert {(p.file, p.line, p.key) for p in problems} == {(f"configs/{file}", line, "student.start.experiment")}
    assert all("in a circle" in p.message for p in problems)


def test_a_circle_of_two_teachers_is_refused(project):
    project.edit("experiments/image/teacher.yaml", "notes:", "teacher: {experiment: image/student-kd}\nnotes:")
    assert any("in a circle" in p.message for p in project.problems())


def test_a_column_without_a_metric_is_refused(project):
    table = "    title: x\n    tasks: [all-text]\n    seeds: [0]\n    rows: [{experiment: text/agnostic}]\n"
    text = f"title: t\ntables:\n  x:\n{table}"
    project.file("studies/odd.yaml").write_text(text, encoding="utf-8")
    (problem,) = project.problems("odd")
    assert (problem.file, problem.line, problem.key) == ("configs/studies/odd.yaml", 5, "tables.x.tasks.0")
    assert "metric" in problem.message


def test_mistakes_in_several_files_are_said_at_once(project):
    project.edit(KD, "temperature:", "temprature:")
    project.edit("experiments/text/tfidf.yaml", "tfidf_linear", "tfidf_linea")
    project.edit("tasks/movie.yaml", "title:", "titel:")
    project.edit(STUDY, "[0, 1, 2, 3, 4]", "[0, 1, 2, 2, 4]")
    assert {Path(p.file).name for p in project.problems()} == {
        "student-kd.yaml", "tfidf.yaml", "movie.yaml", "embedded.yaml"
    }  # fmt: skip


def test_mistakes_in_sources_and_in_a_study_are_said_at_once(project):
    project.edit("sources.yaml", "licence: MIT", "license: MIT")
    project.edit("sources.yaml", "licence: Apache-2.0", "licence: 2")
    project.edit(STUDY, "portable: true", "portble: true")
    keys = {(Path(p.file).name, p.key) for p in project.problems()}
    assert keys == {
        ("sources.yaml", "vader.licence"), ("sources.yaml", "vader.license"), ("sources.yaml", "minilm.licence"),
        ("embedded.yaml", "runtime.portble"),
    }  # fmt: skip


def test_a_mistake_in_a_shared_file_is_said_once(project):
    project.edit("experiments/text/base.yaml", "max_length: 40", "max_lenght: 40")
    (problem,) = project.problems()
    assert problem.file == "configs/experiments/text/base.yaml"


def test_an_unknown_study_names_the_nearest(project):
    (problem,) = project.problems("embeded")
    assert problem.message == "there is no study `embeded`; did you mean `embedded`?"


@settings(max_examples=60, deadline=None, derandomize=True)
@given(data=DATA)
def test_no_data_crashes_the_schema(data: Any):
    for model in (schema.Study, schema.Experiment, schema.Task, schema.Source):
        document = Document(data, {(): Place("some.yaml", 1, 1)})
        try:
            compose.validate(model, document)
        except ConfigError as error:
            print(error)


@pytest.mark.parametrize("name", ["key of an experiment", "unknown task", "missing teacher"])
def test_the_command_line_says_file_and_line_and_exits_2(project, python, name):
    file, old, new, where, words, key, message = MISTAKES[name]
    project.edit(file, old, new)
    done = python("-m", "redistill", "check", cwd=project.root)
    assert done.returncode == 2
    assert f"configs/{where}:{project.line(where, words)}:" in done.stderr
    assert key in done.stderr
    assert message in done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    assert not (project.root / "store").exists()
