"""Exports: a finished run as a folder that transformers opens, with a card made from the store, and its upload."""

import json
import os
import pty
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import torch
from hub_stub import hub
from huggingface_hub import ModelCard
from nano_study import Nano
from tiny_project import LONGEST, key_of, made_tiny

import redistill
from redistill import card, export, lineage
from redistill.errors import IntegrityError, RedistillError
from redistill.evaluation.evaluate import score
from redistill.predict import predict
from redistill.provenance import store

RUNS = {
    "mood": "tiny/student · mood · seed 0", "score": "tiny/teacher · score · seed 0",
    "pairs": "tiny/teacher · pairs · seed 0", "image": "nano/image-teacher · nano-digits · seed 0",
}  # fmt: skip
NOWHERE = "http://127.0.0.1:9"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nano]:
    """The tiny study, with a run of every kind."""
    with made_tiny(tmp_path_factory.mktemp("tiny")) as project:
        yield project


@pytest.fixture(scope="module")
def mood(made: Nano, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The export of the student that tells moods apart."""
    folder, written = export.export(made.root, key_of(made, RUNS["mood"]), tmp_path_factory.mktemp("exports") / "mood")
    assert written
    return folder


def bytes_of(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


# --- the same in Python -----------------------------------------------------------------------------------------------


def test_a_model_and_tokenizer_of_the_api_give_the_predictions_on_file(made: Nano, tmp_path: Path) -> None:
    root = tmp_path / "project"
    shutil.copytree(made.root, root, symlinks=True)
    published = Nano(root).command(sys.executable, "-m", "snakemake", "--cores", "1", "--config", "study=tiny")
    assert published.returncode == 0, published.stderr
    run = redistill.load_study("tiny", root).run(key_of(made, RUNS["mood"]))
    said = run.predictions().head(4)
    rows = pd.read_parquet(root / "store" / "data" / run.thing.inputs["dataset"] / "dev.parquet").set_index("id")
    tokens = run.tokenizer()(rows.loc[said["id"], "text"].tolist(), padding=True, truncation=True, return_tensors="pt")
    with torch.inference_mode():
        logits = run.model()(**tokens).logits
    np.testing.assert_allclose(logits.numpy(), np.stack(said["logits"].tolist()), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("task", ["mood", "score", "pairs"])
def test_predict_says_what_is_on_file(made: Nano, tmp_path: Path, task: str) -> None:
    key = key_of(made, RUNS[task])
    on_file = pd.read_parquet(made.root / "store" / "runs" / key / "predictions.parquet").query("split == 'dev'")
    dataset = lineage.finished(made.root, key).parts["inputs"]["dataset"]
    rows = pd.read_parquet(made.root / "store" / "data" / dataset / "dev.parquet").set_index("id").loc[on_file["id"]]
    pair = ["--pair", "text_pair"] if task == "pairs" else []
    rows.rename(columns={"text": "words"})[["words", *pair[1:]]].to_csv(tmp_path / "mine.csv", index=False)
    done = made.redistill("predict", key, str(tmp_path / "mine.csv"), "--text", "words", *pair, "-o",
                          str(tmp_path / "said" / "out.csv"))  # fmt: skip
    assert done.returncode == 0, done.stderr
    said = pd.read_csv(tmp_path / "said" / "out.csv")
    assert said["words"].tolist() == rows["text"].tolist()
    if task == "score":
        np.testing.assert_allclose(said["prediction"], on_file["prediction"], atol=1e-4)
    else:
        labels = [column.removeprefix("probability of ") for column in said if column.startswith("probability of ")]
        assert said["prediction"].tolist() == [labels[i] for i in on_file["prediction"]]
        logits = np.stack(on_file["logits"].tolist())
        shares = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
        np.testing.assert_allclose(said[[f"probability of {label}" for label in labels]], shares, atol=1e-4)
    assert "were cut" in done.stderr


@pytest.mark.parametrize(
    ("file", "content", "words"),
    [
        ("none.csv", None, "none.csv: there is no such file"),
        ("mine.doc", "a", r"is to be one of .csv, .tsv, .jsonl, .parquet"),
        ("mine.csv", "txt\nfine\n", "no column `text`; did you mean `txt`.: name the text's with --text"),
        ("mine.csv", 'text\nfine\n" "\n', "row 2 has nothing in `text`"),
        ("mine.parquet", "text", "mine.parquet: cannot be read as a table"),
        ("mine.csv", "", "mine.csv: cannot be read as a table"),
    ],
)
def test_what_cannot_be_predicted_is_said(
    made: Nano, tmp_path: Path, file: str, content: str | None, words: str
) -> None:
    if content is not None:
        (tmp_path / file).write_text(content)
    with pytest.raises(RedistillError, match=words):
        predict(lineage.finished(made.root, key_of(made, RUNS["mood"])), tmp_path / file)


def test_an_empty_table_gets_no_predictions_and_arrays_are_no_pictures(made: Nano, tmp_path: Path) -> None:
    assert predict(lineage.finished(made.root, key_of(made, RUNS["mood"])), pd.DataFrame({"text": []})).empty
    with pytest.raises(RedistillError, match="sees arrays as its data set has them"):
        predict(lineage.finished(made.root, key_of(made, RUNS["image"])), tmp_path)


# --- what transformers and the hub read -------------------------------------------------------------------------------


@pytest.mark.parametrize("task", ["mood", "score", "pairs"])
def test_transformers_pipeline_gives_the_predictions_on_file(made: Nano, tmp_path: Path, task: str) -> None:
    from transformers import pipeline

    key = key_of(made, RUNS[task])
    run = made.root / "store" / "runs" / key
    folder, _ = export.export(made.root, key, tmp_path / task)
    dataset = json.loads((run / "manifest.json").read_text())["key_parts"]["inputs"]["dataset"]
    parts = ("text", "text_pair")
    rows = {row["id"]: {part: row[part] for part in parts if row.get(part)}
            for row in pq.read_table(made.root / "store" / "data" / dataset / "dev.parquet").to_pylist()}  # fmt: skip
    assert any(len(row["text"].split()) + 2 > LONGEST for row in rows.values()), "no text is long enough to be cut"
    on_file = pq.read_table(run / "predictions.parquet").to_pylist()
    assert len(on_file) == len(rows) == 40
    said = pipeline("text-classification", model=str(folder))([rows[line["id"]] for line in on_file], truncation=True)
    if task == "score":
        assert [one["score"] for one in said] == pytest.approx([line["prediction"] for line in on_file], abs=1e-5)
        return
    names = ["negative", "positive"]
    assert [one["label"] for one in said] == [names[line["prediction"]] for line in on_file]
    assert {line["prediction"] for line in on_file} == {0, 1}, "it says the same of all: that shows little"


@pytest.mark.parametrize(("task", "metrics"), [("mood", ["accuracy", "matthews", "f1", "accuracy_f1"]),
                                               ("score", ["pearson", "spearman", "pearson_spearman"])])  # fmt: skip
def test_the_numbers_of_the_card_are_those_of_the_stored_predictions(
    made: Nano, tmp_path: Path, task: str, metrics: list[str]
) -> None:
    key = key_of(made, RUNS[task])
    folder, _ = export.export(made.root, key, tmp_path / task, language="en")
    read = ModelCard.load(folder / "README.md")
    results = read.data.eval_results
    assert [result.metric_name for result in results] == metrics
    for result in results:
        expected = score(made.root / "store" / "runs" / key, result.metric_name, "dev")
        assert result.metric_value == expected["value"]
        assert f"| `{result.metric_name}` | {expected['value']:.4f} | 40 |" in read.text
    assert {result.dataset_split for result in results} == {"dev"}
    assert read.data.language == "en"
    assert read.data.pipeline_tag == "text-classification"
    assert read.data.library_name == "transformers"
    assert ("knowledge-distillation" in read.data.tags) == (task == "mood"), "the other one has no teacher"


def test_the_card_names_sources_licences_keys_and_digests(made: Nano, mood: Path) -> None:
    key = key_of(made, RUNS["mood"])
    read = ModelCard.load(mood / "README.md")
    assert (read.data.license, read.data.license_name) == ("other", "several-see-below")
    manifest = store.read_manifest(made.root / "store" / "runs" / key)
    teacher = key_of(made, "tiny/teacher · mood · seed 0")
    for words in ("CC BY 4.0", "Nobody 2020, Words", "Apache-2.0", "Nobody 2021, A tiny BERT", "only reported on",
                  "temperature: 1.0", teacher, key, *manifest["key_parts"]["inputs"].values(),
                  *(entry["sha256"] for entry in manifest["files"].values())):  # fmt: skip
        assert words in read.text, words
    said = json.loads((mood / "provenance.json").read_text())
    assert said["key_parts"] == manifest["key_parts"]
    assert said["files"] == manifest["files"]
    assert said["made"]["machine"]["system"] == "Linux"
    assert [source["name"] for source in said["sources"]] == ["tiny-words", "tiny-bert"]
    assert str(made.root) not in (mood / "README.md").read_text() + (mood / "provenance.json").read_text()
    config = json.loads((mood / "config.json").read_text())
    assert config["id2label"] == {"0": "negative", "1": "positive"}


def test_hub_repositories_are_the_base_model_and_the_data_sets(made: Nano) -> None:
    run = lineage.finished(made.root, key_of(made, RUNS["mood"]))
    names = {"tiny-words": "owner/words", "tiny-bert": "owner/bert"}
    run = replace(run, origins=[replace(origin, repository=names[origin.name]) for origin in run.origins])
    data = card.model_card(run, card.scores(run), 1, None, None).data
    assert (data.base_model, data.datasets) == ("owner/bert", ["owner/words"])
    assert {result.dataset_type for result in data.eval_results} == {"owner/words"}
    run.config["student"]["start"]["random"] = True
    assert card.model_card(run, card.scores(run), 1, None, None).data.base_model is None


@pytest.mark.parametrize(
    ("licences", "given", "expected"),
    [
        (["MIT", "MIT"], None, {"license": "mit"}),
        (["CC BY 4.0"], None, {"license": "cc-by-4.0"}),
        (["MIT", "Apache-2.0"], None, {"license": "other", "license_name": "several-see-below"}),
        (["its authors' terms, research use"], None, {"license": "other", "license_name": "several-see-below"}),
        (["MIT", "Apache-2.0"], "apache-2.0", {"license": "apache-2.0"}),
        (["MIT"], "Ours, all of it!", {"license": "other", "license_name": "ours-all-of-it"}),
    ],
)
def test_the_licence_is_the_sources_where_they_agree_else_other(
    licences: list[str], given: str | None, expected: dict[str, str]
) -> None:
    origins = [lineage.Origin("a", "b", "data", None, licence, "c") for licence in licences]
    assert card.licence_of(origins, given) == expected


def test_an_image_run_says_that_transformers_does_not_open_it(made: Nano, tmp_path: Path) -> None:
    folder, _ = export.export(made.root, key_of(made, RUNS["image"]), tmp_path / "image")
    assert sorted(bytes_of(folder)) == ["README.md", "model.safetensors", "provenance.json", "resolved.json"]
    read = ModelCard.load(folder / "README.md")
    assert "transformers does not open this model" in read.text
    assert (read.data.pipeline_tag, read.data.library_name) == ("image-classification", None)
    assert read.data.license == "cc-by-4.0"
    assert read.data.tags == ["redistill"], "it has no teacher"


# --- the folder -------------------------------------------------------------------------------------------------------


def test_exporting_again_gives_the_same_bytes_and_what_differs_is_replaced_only_by_force(
    made: Nano, mood: Path, tmp_path: Path
) -> None:
    key, folder = key_of(made, RUNS["mood"]), tmp_path / "again"
    folder.mkdir()  # an empty one may be there
    assert export.export(made.root, key, folder) == (folder, True)
    assert bytes_of(folder) == bytes_of(mood)
    assert export.export(made.root, key, folder) == (folder, False)
    (folder / "README.md").write_text("mine", encoding="utf-8")
    with pytest.raises(RedistillError, match=r"README\.md is not what would be exported now.*--force"):
        export.export(made.root, key, folder)
    assert (folder / "README.md").read_text() == "mine"
    assert export.export(made.root, key, folder, force=True) == (folder, True)
    assert bytes_of(folder) == bytes_of(mood)
    assert [file.name for file in tmp_path.iterdir()] == ["again"]


@pytest.mark.parametrize("force", [False, True])
def test_nothing_that_is_no_export_is_written_over(made: Nano, tmp_path: Path, force: bool) -> None:
    key = key_of(made, RUNS["mood"])
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter").write_text("one", encoding="utf-8")
    (tmp_path / "link").symlink_to(tmp_path / "thesis")
    (tmp_path / "file").write_text("two", encoding="utf-8")
    inside = made.root / "store" / "runs" / key
    for place, words in (("thesis", "chapter is no file of an export"), ("link", "is no folder"),
                         ("file", "is no folder"), (str(inside), "is in the store")):  # fmt: skip
        with pytest.raises(RedistillError, match=words):
            export.export(made.root, key, tmp_path / place, force=force)
    assert (tmp_path / "thesis" / "chapter").read_text() == "one"
    assert len(list(tmp_path.iterdir())) == 3


@pytest.mark.parametrize(("name", "old", "new", "words"), [
    ("config.json", '"0": "negative",\n    "1": "positive"', '"0": "positive",\n    "1": "negative"', "on file is"),
    ("config.json", '"1": "positive"', '"1": "good"', "pipeline does not take it"),
    ("tokenizer.json", '"good": ', '"better": ', "on file is"),
])  # fmt: skip
def test_an_export_that_says_something_else_than_what_is_on_file_is_not_put_in_place(
    made: Nano, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, old: str, new: str, words: str
) -> None:
    def spoil(run: lineage.Finished, folder: Path) -> None:
        copy(run, folder)
        text = (folder / name).read_text(encoding="utf-8")
        assert old in text
        (folder / name).write_text(text.replace(old, new), encoding="utf-8")

    copy = export._copy
    monkeypatch.setattr(export, "_copy", spoil)
    with pytest.raises(RedistillError, match=words):
        export.export(made.root, key_of(made, RUNS["mood"]), tmp_path / "spoilt")
    assert list(tmp_path.iterdir()) == []


# --- what cannot be exported ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("title", "words"),
    [
        ("text/majority · mood · seed 0", "is a baseline: it has no weights"),
        ("mood", "it is of the kind `dataset`; give the key of a run"),
        (None, "no finished run here has the key 0123456789abcdef: `redistill plan` lists keys"),
    ],
)
def test_what_is_no_trained_run_is_a_sentence(made: Nano, tmp_path: Path, title: str | None, words: str) -> None:
    key = key_of(made, title) if title else "0123456789abcdef"
    with pytest.raises(RedistillError, match=words):
        export.export(made.root, key, tmp_path / "no")
    assert list(tmp_path.iterdir()) == []


def test_a_run_that_was_changed_is_not_exported(made: Nano, tmp_path: Path) -> None:
    file = made.root / "store" / "runs" / key_of(made, RUNS["pairs"]) / "model.safetensors"
    raw = file.read_bytes()
    try:
        file.write_bytes(raw[:-1] + bytes([raw[-1] ^ 1]))
        with pytest.raises(IntegrityError, match=r"model\.safetensors"):
            export.export(made.root, key_of(made, RUNS["pairs"]), tmp_path / "no")
    finally:
        file.write_bytes(raw)


def test_what_a_run_came_from_is_told_by_records_where_it_is_gone_and_missed_where_there_is_none(
    made: Nano, tmp_path: Path
) -> None:
    key, teacher = key_of(made, RUNS["mood"]), key_of(made, "tiny/teacher · mood · seed 0")
    shutil.copytree(made.root / "store", tmp_path / "project" / "store")
    shutil.copytree(made.root / "configs", tmp_path / "project" / "configs")
    before = lineage.finished(made.root, key)
    shutil.rmtree(tmp_path / "project" / "store" / "runs" / teacher)
    assert lineage.finished(tmp_path / "project", key).upstream == before.upstream
    (tmp_path / "project" / "store" / "records" / f"{teacher}.json").unlink()
    with pytest.raises(RedistillError, match=f"of {teacher}, which it came from, there is neither"):
        lineage.finished(tmp_path / "project", key)


def test_a_source_that_no_file_names_any_more_has_no_licence(made: Nano, tmp_path: Path) -> None:
    shutil.copytree(made.root / "store", tmp_path / "project" / "store")
    (tmp_path / "project" / "configs").mkdir()
    (tmp_path / "project" / "configs" / "sources.yaml").write_text("{}\n", encoding="utf-8")
    run = lineage.finished(tmp_path / "project", key_of(made, RUNS["mood"]))
    assert {origin.licence for origin in run.origins} == {lineage.UNKNOWN}
    assert card.licence_of(run.origins, None)["license"] == "other"


# --- the command line -------------------------------------------------------------------------------------------------


def test_an_experiments_run_is_exported_by_command_and_one_that_is_not_there_is_a_sentence(
    made: Nano, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", NOWHERE)
    command = ("export", "tiny/student", "--study", "tiny", "--task", "mood", "-o", str(tmp_path / "by-command"))
    done = made.redistill(*command)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{tmp_path / 'by-command'}: written\n"
    missing = made.redistill(*command, "--seed", "7")
    assert missing.returncode == 1
    assert "no finished run here has the key" in missing.stderr
    assert "Traceback" not in missing.stderr


def test_the_modules_of_exports_import_no_torch(made: Nano) -> None:
    program = "import sys; sys.modules['torch'] = None; import redistill.card, redistill.export, redistill.upload"
    done = made.command(sys.executable, "-c", program)
    assert done.returncode == 0, done.stderr


# --- the hub ----------------------------------------------------------------------------------------------------------


def upload(made: Nano, folder: Path, *more: str, endpoint: str = NOWHERE, token: str | None = "hf_test",
           answer: str | None = None) -> subprocess.CompletedProcess[str]:  # fmt: skip
    """Run `redistill upload`; with an answer, at a terminal."""
    environment = {**made.environment(), "HF_ENDPOINT": endpoint, "HF_HUB_DISABLE_XET": "1",
                   "HF_HOME": str(made.root / "hub"), "HF_HUB_DISABLE_PROGRESS_BARS": "1"}  # fmt: skip
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_HUB_OFFLINE"):
        environment.pop(name, None)
    if token:
        environment["HF_TOKEN"] = token
    ours, theirs = pty.openpty()
    try:
        os.write(ours, f"{answer}\n".encode())
        command = (sys.executable, "-m", "redistill", "upload", str(folder), *more)
        stdin = subprocess.DEVNULL if answer is None else theirs
        return subprocess.run(
            command, cwd=made.root, env=environment, stdin=stdin, capture_output=True, text=True, timeout=60
        )
    finally:
        os.close(ours)
        os.close(theirs)


@pytest.mark.parametrize(("said", "created"), [
    ((["--yes"], None), {"name": "name", "organization": "owner"}),
    ((["--private"], "y"), {"name": "name", "organization": "owner", "visibility": "private"}),
])  # fmt: skip
def test_what_the_hub_has_is_byte_for_byte_what_the_folder_has(
    made: Nano, mood: Path, said: Any, created: dict[str, Any]
) -> None:
    options, answer = said
    with hub() as server:
        done = upload(made, mood, "owner/name", *options, endpoint=server.address, answer=answer)
        assert done.returncode == 0, done.stderr
        assert server.files == bytes_of(mood)
        assert created.items() <= server.created.items()
        assert list(server.stored.values()) == [(mood / "model.safetensors").read_bytes()], "weights go by LFS"
    assert "/owner/name/commit/" in done.stdout.splitlines()[-1]


def test_a_dry_run_lists_files_with_sizes_and_needs_neither_network_nor_token(made: Nano, mood: Path) -> None:
    done = upload(made, mood, "owner/name", "--dry-run", token=None)
    assert done.returncode == 0, done.stderr
    sizes = {line.rsplit(maxsplit=2)[0]: line.split()[-2] for line in done.stdout.splitlines() if "bytes" in line}
    total = sum(len(raw) for raw in bytes_of(mood).values())
    expected = {name: f"{len(raw):,}" for name, raw in bytes_of(mood).items()}
    assert sizes == {**expected, f"{len(expected)} files": f"{total:,}"}


def test_without_the_users_word_nothing_is_uploaded(made: Nano, mood: Path) -> None:
    with hub() as server:
        for answer, status, words in ((None, 1, "say --yes"), ("n", 0, "Nothing was uploaded.")):
            done = upload(made, mood, "owner/name", endpoint=server.address, answer=answer)
            assert done.returncode == status
            assert words in done.stdout + done.stderr
        assert server.requests == []


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (401, "the hub does not know who you are (401)"),
        (403, "you may not write there (403)"),
        (404, "no such owner or repository"),
        (418, "the hub refuses (418)"),
    ],
)
def test_a_hub_that_refuses_is_one_sentence(made: Nano, mood: Path, status: int, words: str) -> None:
    with hub(refuses=status) as server:
        done = upload(made, mood, "owner/name", "--yes", endpoint=server.address)
    assert done.returncode == 1
    assert words in done.stderr
    assert "Traceback" not in done.stderr
    assert "hf_test" not in done.stdout + done.stderr


def test_no_network_and_no_token_are_sentences(made: Nano, mood: Path) -> None:
    done = upload(made, mood, "owner/name", "--yes")
    assert "the hub cannot be reached" in done.stderr
    assert "Traceback" not in done.stderr
    done = upload(made, mood, "owner/name", "--yes", token=None)
    assert "nobody is logged in to the hub" in done.stderr


@pytest.mark.parametrize("name", ["name", "owner/name/more", "owner/na me", "owner/na--me", "", "owner/"])
def test_a_name_that_is_none_is_refused_before_anything_is_read(name: str) -> None:
    from redistill.upload import refuse_name

    with pytest.raises(RedistillError, match="is no repository of the hub: give it as OWNER/NAME"):
        refuse_name(name)


def test_only_a_whole_export_and_nothing_beside_it_is_uploaded(mood: Path, tmp_path: Path) -> None:
    from redistill.upload import files_of

    with pytest.raises(RedistillError, match=r"is no export: it has no README\.md"):
        files_of(tmp_path)
    folder = tmp_path / "export"
    shutil.copytree(mood, folder)
    (folder / "secret.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(RedistillError, match=r"secret\.txt is no file of an export"):
        files_of(folder)
    (folder / "secret.txt").unlink()
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes() + b"0")
    with pytest.raises(IntegrityError, match="is of other weights"):
        files_of(folder)
    weights.unlink()
    weights.symlink_to(mood / "model.safetensors")
    with pytest.raises(RedistillError, match="is no file of an export"):
        files_of(folder)
