"""A study on a table of one's own: what is written passes `check`; what cannot be is said, and nothing is left."""

import csv
import json
import os
import pty
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from hub_server import Hub, Repository, serving
from picture_sets import picture, put

from redistill import new
from redistill.config.check import check, check_experiment
from redistill.data.prepare import prepare
from redistill.data.readers.table import table
from redistill.errors import ConfigError, RedistillError
from redistill.new import texts
from redistill.new.images import Images
from redistill.new.texts import Table
from redistill.plan import lay_out, make_plan
from redistill.training.check import check_models

REPOSITORY = Path(__file__).parents[1]
OF_TABLE = ("file", "text", "label", "pair", "scores")
ROWS = [(f"film number {i} was {'fine' if i % 3 else 'dull'}", "good" if i % 3 else "bad", f"{i / 7:.3f}")
        for i in range(200)]  # fmt: skip


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """The project's configurations, alone."""
    shutil.copytree(REPOSITORY / "configs", tmp_path / "project" / "configs")
    return tmp_path / "project"


def written(
    file: Path, rows: list[tuple[str, ...]] = ROWS, heading: tuple[str, ...] = ("review", "stars", "points")
) -> Path:
    with file.open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream, delimiter="\t" if file.suffix == ".tsv" else ",").writerows([heading, *rows])
    return file


def write(root: Path, file: Path, **changes: Any) -> list[Path]:
    """Write a study on a table."""
    data = {"file": file, "text": "review", "label": "stars"} | {k: v for k, v in changes.items() if k in OF_TABLE}
    wish = {"name": "reviews"} | {k: v for k, v in changes.items() if k not in OF_TABLE}
    return new.write(root, new.Wish(**wish), Table(**data))


def state(root: Path) -> dict[str, bytes]:
    return {str(file.relative_to(root)): file.read_bytes() for file in root.rglob("*") if file.is_file()}


@pytest.mark.parametrize("ending", [".csv", ".tsv"])
def test_a_study_on_a_table_passes_check_and_has_what_was_wished(root: Path, tmp_path: Path, ending: str) -> None:
    file = written(tmp_path / f"mine{ending}")
    made = write(root, file, methods=("kd", "dkd"), students=("0,5",), seeds=2)
    assert {str(f.relative_to(root)) for f in made} >= {"configs/studies/reviews.yaml", f"data/reviews/mine{ending}"}
    found = check(root, "reviews")
    rows = found.study.tables["main"].rows
    assert [row.experiment for row in rows] == [
        "text/majority", "text/tfidf", "reviews/teacher", "reviews/student", "reviews/student-kd",
        "reviews/student-dkd",
    ]  # fmt: skip
    plan = make_plan(root, "reviews")
    runs = [node for node in plan.nodes.values() if node.kind == "student"]
    assert len(runs) == 3 * 2
    assert {tuple(node.config["student"]["start"]["layers"]) for node in runs} == {(0, 5)}
    task = found.tasks["reviews"]
    assert task.labels == ["bad", "good"]
    assert sum((task.splits.train, task.splits.select, task.splits.dev)) == len(ROWS)


def test_scores_and_pairs_are_studies_too(root: Path, tmp_path: Path) -> None:
    rows = [(text, label, points, f"{text}, they say") for text, label, points in ROWS]
    file = written(tmp_path / "mine.csv", rows, ("review", "stars", "points", "other"))
    write(root, file, label="points", scores=True, pair="other")
    task = check(root, "reviews").tasks["reviews"]
    assert (task.type, task.metric) == ("regression", "pearson_spearman")
    config = next(n for n in make_plan(root, "reviews").nodes.values() if n.kind == "dataset").config
    (tmp_path / "work").mkdir()
    prepare(config, {"source": root / "data" / "reviews"}, tmp_path / "work")
    import pandas as pd

    train = pd.read_parquet(tmp_path / "work" / "train.parquet")
    assert (train["text_pair"] == train["text"] + ", they say").all()
    points = {row[0]: float(row[2]) for row in rows}
    assert train["label"].tolist() == [points[text] for text in train["text"]]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"name": "Reviews!"}, "is no name"),
        ({"name": "vader"}, "sources.yaml has a `vader` already"),
        ({"name": "movie"}, "configs/tasks has a `movie` already"),
        ({"text": "revew"}, "has no column `revew`; did you mean `review`"),
        ({"label": "review"}, "200 different values, which are no classes"),
        ({"students": ("1,9",)}, "has layers 0 to 5"),
        ({"students": ("one",)}, "whole numbers with commas between"),
        ({"teacher": "minilmm"}, "no pretrained model of texts `minilmm`; did you mean `minilm`"),
        ({"teacher": "efficientnet-lite0"}, "no pretrained model of texts"),
        ({"methods": ("kdd",)}, "no method `kdd` of distillation"),
        ({"methods": ("fitnet",)}, "`fitnet` needs more than its name"),
        ({"methods": ("hard",)}, "no method `hard`"),
        ({"file": Path("nothing.csv")}, "there is no such file"),
        ({"file": Path("nothing.xls")}, "ends in .csv or .tsv"),
    ],
)
def test_what_cannot_be_is_said_and_nothing_is_left(
    root: Path, tmp_path: Path, changes: dict[str, Any], words: str
) -> None:
    file, before = written(tmp_path / "mine.csv"), state(root)
    with pytest.raises(RedistillError, match=words):
        write(root, **{"file": file} | changes)
    assert state(root) == before


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        (ROWS[:30], "has 30 different rows; a study needs 100 at least"),
        ([*ROWS[:3], ("a film", "", "1"), *ROWS[3:]], "row 4: has nothing in `stars`"),
        ([(text, "good", points) for text, _, points in ROWS], "one value in every row"),
    ],
)
def test_a_table_that_is_no_study_is_refused(
    root: Path, tmp_path: Path, rows: list[tuple[str, ...]], words: str
) -> None:
    before = state(root)
    with pytest.raises(RedistillError, match=words):
        write(root, written(tmp_path / "mine.csv", rows))
    assert state(root) == before


def test_what_check_refuses_is_taken_back(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = state(root)
    monkeypatch.setattr(texts, "task_of", lambda *_: {"title": "mine", "input": "text", "sorce": "mine"})
    with pytest.raises(RedistillError, match="sorce"):
        write(root, written(tmp_path / "mine.csv"))
    assert state(root) == before


def test_the_command_asks_at_a_terminal_and_says_what_is_missing_elsewhere(root: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "redistill", "new", "reviews", "--from-csv", str(written(tmp_path / "mine.csv"))]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=120)
    assert (done.returncode, done.stderr) == (
        1, "redistill: say which column has the text, by --text; there are review, stars, points\n",
    )  # fmt: skip
    ours, theirs = pty.openpty()
    with os.fdopen(ours, "wb", buffering=0) as typed:
        typed.write(b"review\nstars\n")
        done = subprocess.run(command, cwd=root, capture_output=True, text=True, stdin=theirs, timeout=120)
    os.close(theirs)
    assert done.returncode == 0, done.stderr
    assert "snakemake --cores all --config study=reviews" in done.stdout
    assert yaml.safe_load((root / "configs" / "tasks" / "reviews.yaml").read_text())["reader"]["text"] == "review"


def test_who_names_no_data_is_asked_for_all_at_a_terminal(root: Path, tmp_path: Path) -> None:
    file = written(tmp_path / "My reviews.csv", heading=("text", "label", "points"))
    ours, theirs = pty.openpty()
    with os.fdopen(ours, "wb", buffering=0) as typed:
        typed.write(f"{file}\n\nminilm\n0,5 1,3,5\nkd dkd\n2\n".encode())
        done = subprocess.run([sys.executable, "-m", "redistill", "new"], cwd=root, capture_output=True, text=True,
                              stdin=theirs, timeout=120)  # fmt: skip
    os.close(theirs)
    assert done.returncode == 0, done.stderr
    rows = check(root, "my-reviews").study.tables["main"].rows
    assert [row.experiment for row in rows][3:] == [
        f"my-reviews/student-{layers}{method}" for layers in ("0-5", "1-3-5") for method in ("", "-kd", "-dkd")
    ]  # fmt: skip
    assert check(root, "my-reviews").study.tables["main"].seeds == [0, 1]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ([], "say what the study is on: --from-csv FILE, --from-images FOLDER, or --from-hub OWNER/NAME"),
        (["--from-csv", "a.csv", "--from-images", "b"], "one of --from-csv, --from-images and --from-hub"),
    ],
)
def test_one_kind_of_data_is_named(root: Path, given: list[str], words: str) -> None:
    command = [sys.executable, "-m", "redistill", "new", "mine", *given]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=120)
    assert done.returncode == 1
    assert words in done.stderr


@pytest.mark.parametrize(("data", "name"), [
    ("there/My reviews (2).csv", "my-reviews-2"), ("photos/", "photos"), ("owner/Some.Set", "some"), ("...", "mine"),
])  # fmt: skip
def test_a_study_is_called_as_its_data(data: str, name: str) -> None:
    assert new.name_from(data) == name


# --- images ----------------------------------------------------------------------------------------------------------


def photos(folder: Path, number: int = 60, side: int = 70) -> Path:
    return put(
        folder, {f"{name}/{i}.png": picture(side + 10, side, i) for name in ("cat", "dog") for i in range(number)}
    )


def test_its_runs_are_those_that_the_commands_of_one_recipe_mean(root: Path, tmp_path: Path) -> None:
    write(root, written(tmp_path / "mine.csv"))
    new.write(root, new.Wish("pets"), Images(photos(tmp_path / "p")))
    for study in ("reviews", "pets"):
        alone = lay_out(root, check_experiment(root, f"{study}/student-kd", [study], [0], study))
        assert alone.runs[0].key in make_plan(root, study).nodes
    (root / "data" / "reviews").rename(root / "elsewhere")
    with pytest.raises(ConfigError, match=r"configs/studies/reviews\.yaml:\d+:\d+: folders\.reviews: there is"):
        check_experiment(root, "reviews/student-kd", ["reviews"], [0], "reviews")


def test_a_study_on_a_folder_of_images_passes_check_models_and_all(root: Path, tmp_path: Path) -> None:
    new.write(
        root, new.Wish("pets", students=("mobilenetv2_035", "resnet10t"), seeds=2), Images(photos(tmp_path / "p"))
    )
    found = check(root, "pets")
    assert found.tasks["pets"].labels == ["cat", "dog"]
    assert found.tasks["pets"].image_shape == [3, 96, 96]
    plan = make_plan(root, "pets")
    assert check_models(plan) == []
    rows = [row.experiment for row in found.study.tables["main"].rows]
    assert rows == [
        "floors/majority", "pets/teacher", "pets/student-mobilenetv2-035", "pets/student-mobilenetv2-035-kd",
        "pets/student-resnet10t", "pets/student-resnet10t-kd",
    ]  # fmt: skip
    (teacher,) = (node for node in plan.nodes.values() if node.kind == "teacher")
    assert teacher.config["student"]["start"]["fresh"] == ["classifier"]


@pytest.mark.parametrize(
    ("files", "wish", "words"),
    [
        (None, {}, "there is no such folder"),
        ({"cat/1.png": picture()}, {}, "has 1 folders, and one for each class is needed"),
        ({"cat/1.png": picture(), "dog/a.txt": "a"}, {}, "`dog`: no image is there"),
        ({"cat/1.png": picture(), "dog/1.png": "no picture"}, {}, r"1\.png: cannot be read as an image"),
        ({"cat/1.png": picture(), "dog/1.png": picture()}, {}, "has 2 images; a study needs 100 at least"),
        ("photos", {"teacher": "minilm"}, "no pretrained classifier of images `minilm`"),
        ("photos", {"students": ("resnet10",)}, "timm has no model `resnet10`"),
    ],
)
def test_images_that_are_no_study_are_refused(
    root: Path, tmp_path: Path, files: Any, wish: dict[str, Any], words: str
) -> None:
    folder, before = tmp_path / "p", state(root)
    if files == "photos":
        photos(folder)
    elif files is not None:
        put(folder, files)
    with pytest.raises(RedistillError, match=words):
        new.write(root, new.Wish("pets", **wish), Images(folder))
    assert state(root) == before


# --- the hub ---------------------------------------------------------------------------------------------------------


def parquet_of(rows: list[tuple[str, int]], names: list[str]) -> bytes:
    """A shard as the `datasets` library writes it, with the names of the classes beside."""
    table = pa.table({"sentence": [text for text, _ in rows], "label": [label for _, label in rows]})
    features = {"sentence": {"dtype": "string"}, "label": {"names": names, "_type": "ClassLabel"}} if names else {}
    table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    stream = pa.BufferOutputStream()
    pq.write_table(table, stream)
    return stream.getvalue().to_pybytes()


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A hub with a data set of two folders, one of which has no names of classes."""
    with serving(Hub()) as running:
        for name in (name for name in os.environ if name.startswith("HF_")):
            monkeypatch.delenv(name)
        rows = [(f"sentence {i} is {'fine' if i % 2 else 'dull'}", i % 2) for i in range(300)]
        files = {
            f"{folder}/{split}-00000-of-00001.parquet": parquet_of(part, names)
            for folder, names in (("first", ["bad", "good"]), ("second", []))
            for split, part in (("train", rows[:200]), ("validation", rows[200:]))
        }
        running.repositories["datasets/owner/opinions"] = Repository("a" * 40, {**files, "README.md": b"# Opinions"})
        yield running


def on_hub(root: Path, tmp_path: Path, hub: Hub, *given: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "redistill", "new", *given]
    return subprocess.run(command, cwd=root, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=120,
                          env={**os.environ, **hub.environment(tmp_path / "home")})  # fmt: skip


def test_a_study_on_a_data_set_of_the_hub_is_pinned_and_passes_check(root: Path, tmp_path: Path, hub: Hub) -> None:
    done = on_hub(root, tmp_path, hub, "opinions", "--from-hub", "owner/opinions/first", "--text", "sentence")
    assert done.returncode == 0, done.stderr
    task = check(root, "opinions").tasks["opinions"]
    assert task.labels == ["bad", "good"]
    assert (task.splits.rows, task.splits.select) == ({"train": 200, "validation": 100}, 20)
    source = yaml.safe_load((root / "configs" / "sources.yaml").read_text())["opinions"]
    assert source["origin"]["revision"] == "a" * 40
    assert set(source["files"]) == {f"first/{split}-00000-of-00001.parquet" for split in ("train", "validation")}
    make_plan(root, "opinions")


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (["owner/opinions"], "name one of its folders: owner/opinions/first, owner/opinions/second"),
        (["owner/opinions/third"], "has no folder `third`"),
        (["owner/nothing"], "the hub has no such data set"),
        (["opinions"], "is no data set of the hub: give it as OWNER/NAME"),
        (["owner/opinions/second", "--text", "sentence"], "name the classes in their order, such as --labels"),
        (["owner/opinions/first"], "say which column has the text, by --text; there are sentence, label"),
        (["owner/opinions/first", "--text", "sentnce"], "has no column `sentnce`; did you mean `sentence`"),
    ],
)
def test_a_data_set_of_the_hub_that_is_no_study_is_refused(
    root: Path, tmp_path: Path, hub: Hub, given: list[str], words: str
) -> None:
    before = state(root)
    done = on_hub(root, tmp_path, hub, "mine", "--from-hub", *given)
    assert done.returncode == 1, done.stdout
    assert words in done.stderr
    assert state(root) == before


def test_a_hub_that_does_not_answer_is_a_sentence(root: Path, tmp_path: Path, hub: Hub) -> None:
    hub.url = "http://127.0.0.1:9"
    done = on_hub(root, tmp_path, hub, "mine", "--from-hub", "owner/opinions/first", "--text", "sentence")
    assert done.returncode == 1
    assert "the hub did not answer" in done.stderr
    assert "Traceback" not in done.stderr


# --- the reader ------------------------------------------------------------------------------------------------------


def test_a_table_is_read_with_marks_quotes_and_what_is_there_twice(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(
        '\ufefftext,label\n"a, ""quoted""\nline",yes\n  padded  ,no\npadded,yes\nNA,no\n', encoding="utf-8"
    )
    found, counts = table(tmp_path, ["no", "yes"], "classification", label="label", text="text", file="a.csv")
    assert [(e["id"], e["text"], e["label"]) for e in found] == [
        ("1", 'a, "quoted"\nline', 1), ("2", "padded", 0), ("4", "NA", 0),
    ]  # fmt: skip
    assert counts == {"rows": 4, "there twice": 1}


def test_tables_for_splits_keep_their_names(tmp_path: Path) -> None:
    written(tmp_path / "a.tsv", [("x", "1.5")], ("text", "score"))
    written(tmp_path / "b.tsv", [("y", "2")], ("text", "score"))
    found, _ = table(tmp_path, [], "regression", label="score", text="text", files={"train": "a.tsv", "dev": "b.tsv"})
    assert found == {"train": [{"id": "train-1", "text": "x", "label": 1.5}],
                     "dev": [{"id": "dev-1", "text": "y", "label": 2.0}]}  # fmt: skip


@pytest.mark.parametrize(
    ("content", "type_", "words"),
    [
        ("text,label\n ,yes\n", "classification", "a.csv, row 1: has nothing in `text`"),
        ("text,label\na,maybe\n", "classification", "row 1, `label`: `maybe` is no label of the task"),
        ("text,label\na,b\n", "regression", "`b` is no number"),
        ("txt,label\na,yes\n", "classification", "no column `text`; did you mean `txt`"),
        ("text,label\n", "classification", "has no rows"),
        ("", "classification", "cannot be read as a table"),
        ('text,label\n"a,yes\n', "classification", "cannot be read as a table"),
    ],
)
def test_a_faulty_table_is_refused_with_its_place(tmp_path: Path, content: str, type_: str, words: str) -> None:
    (tmp_path / "a.csv").write_text(content, encoding="utf-8")
    with pytest.raises(RedistillError, match=words):
        table(tmp_path, ["no", "yes"], type_, label="label", text="text", file="a.csv")


def test_one_table_or_one_for_each_split(tmp_path: Path) -> None:
    with pytest.raises(RedistillError, match="give a `file`"):
        table(tmp_path, [], "regression", label="label", text="text")
    with pytest.raises(RedistillError, match=r"is to end in .csv or .tsv"):
        table(tmp_path, [], "regression", label="label", text="text", file="a.txt")
