"""From a source's files to batches: what is mended and left out, how it is split, tokenised and put together."""

import gzip
from collections import Counter
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from redistill.data import examples, prepare
from redistill.data.readers.digits import digits
from redistill.data.readers.vader import vader
from redistill.data.tokenise import tokenise
from redistill.errors import RedistillError

MOVIE, NYT = "movie_GroundTruth.txt", "nyt_GroundTruth.txt"


def write(folder: Path, name: str, *lines: str | bytes, end: bytes = b"\n") -> None:
    raw = [line if isinstance(line, bytes) else line.encode() for line in lines]
    (folder / name).write_bytes(end.join([*raw, b""]))


def texts(found: tuple[list[dict[str, Any]], Counter[str]]) -> list[str]:
    return [example["text"] for example in found[0]]


# --- VADER's files ---------------------------------------------------------------------------------------------------


def test_a_line_is_an_id_a_valence_and_a_sentence(tmp_path):
    write(tmp_path, MOVIE, "1_1\t2.5\tA fine film .", "", "1_2\t-1.25\t  Far   too long ", end=b"\r\n")
    rows, counts = vader(tmp_path, file=MOVIE)
    assert rows == [
        {"id": "movie-1_1", "text": "A fine film .", "label": 2.5},
        {"id": "movie-1_2", "text": "Far too long", "label": -1.25},
    ]
    assert counts == {"rows": 2}


@pytest.mark.parametrize(
    ("raw", "text", "counted"),
    [
        ("caf\xe9 cr\xe8me".encode("latin-1"), "café crème", "lines in Latin-1"),
        ("café crème".encode(), "café crème", "lines with letters beyond ASCII"),
        ("café crème".encode().decode("latin-1").encode(), "café crème", "lines encoded twice, undone"),
        ("it’s – “quoted”".encode(), "it’s – “quoted”", "lines with letters beyond ASCII"),
        ("it’s".encode().decode("latin-1").encode(), "it’s", "lines encoded twice, undone"),
        (b"Tom &amp; Jerry &quot;again&quot; &#39;s", "Tom & Jerry \"again\" 's", "with HTML entities"),
        (b"a\xa0b\xe9", "a bé", "lines in Latin-1"),
    ],
)  # fmt: skip
def test_encodings_and_entities_are_mended_and_counted(tmp_path, raw, text, counted):
    write(tmp_path, MOVIE, b"1\t1.0\t" + raw, "2\t1.0\tplain")
    found = vader(tmp_path, file=MOVIE)
    assert texts(found) == [text, "plain"]
    assert found[1] == {"rows": 2, counted: 1}


def test_a_sentence_is_kept_once_within_a_file_and_across_files(tmp_path):
    write(tmp_path, MOVIE, "1\t1\tThe same words!", "2\t2\tthe  SAME words ...", "3\t3\tOther words")
    write(tmp_path, NYT, "1\t1\tOwn words", "2\t2\tThe same &quot;words&quot;", "3\t3\t ?! ")
    movie, nyt = vader(tmp_path, file=MOVIE), vader(tmp_path, file=NYT)
    assert texts(movie) == ["The same words!", "Other words"]
    assert texts(nyt) == ["Own words"]
    assert movie[1]["duplicates or empty, left out"] == 1
    assert nyt[1]["duplicates or empty, left out"] == 2


def test_classes_are_signs_and_what_is_near_zero_is_left_out(tmp_path):
    write(tmp_path, MOVIE, "1\t0.25\ta", "2\t-0.25\tb", "3\t0.2\tc", "4\t-0.1\td", "5\t3\te")
    found, counts = vader(tmp_path, file=MOVIE, classes=True, neutral=0.25)
    assert [(e["text"], e["label"]) for e in found] == [("a", 1), ("b", 0), ("e", 1)]
    assert counts == {"rows": 5, "neutral, left out": 2}


@pytest.mark.parametrize("line", ["1\t1.0", "1\t1.0\ttext\tmore", "no tabs", "1\tpositive\ttext"])
def test_a_line_with_wrong_columns_is_named(tmp_path, line):
    write(tmp_path, MOVIE, "1\t1.0\tright", line)
    with pytest.raises(RedistillError, match=f"^{MOVIE}:2: "):
        vader(tmp_path, file=MOVIE)


def test_a_missing_or_empty_file_is_named(tmp_path):
    write(tmp_path, NYT, "1\t1.0\tright")
    write(tmp_path, MOVIE)
    for name in (MOVIE, "other_GroundTruth.txt"):
        with pytest.raises(RedistillError, match=f"no file `{name}` with sentences"):
            vader(tmp_path, file=name)


def test_digits_are_scaled_and_kept_once(tmp_path):
    rows = [[0] * 63 + [16, 3], [8] * 64 + [5], [0] * 63 + [16, 4]]
    with gzip.open(tmp_path / "digits.csv.gz", "wt") as stream:
        stream.writelines(",".join(f"{value:.18e}" for value in row) + "\n" for row in rows)
    found, counts = digits(tmp_path)
    assert [(e["id"], e["label"], e["image"][-1]) for e in found] == [("digit-0", 3, 1.0), ("digit-1", 5, 0.5)]
    assert all(len(e["image"]) == 64 for e in found)
    assert counts == {"rows": 3, "duplicates or empty, left out": 1}


# --- splits ----------------------------------------------------------------------------------------------------------

LABELS = st.lists(st.integers(0, 3), min_size=1, max_size=80)


def drawn(labels: list[int], shares: list[float], seed: int, by_class: bool = True) -> tuple[dict[str, int], Any]:
    rows = [{"id": f"{i:03}", "label": label} for i, label in enumerate(labels)]
    sizes, left = {}, len(rows)
    for name, share in zip(("train", "select", "dev", "transfer"), shares, strict=True):
        sizes[name] = int(share * left)
        left -= sizes[name]
    return sizes, prepare.draw(rows, sizes, seed, by_class)


SHARES = st.lists(st.floats(0, 1), min_size=4, max_size=4)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(labels=LABELS, shares=SHARES, seed=st.integers(0, 2**32 - 1), by_class=st.booleans())
def test_splits_are_disjoint_of_the_sizes_asked_for_and_the_same_again(labels, shares, seed, by_class):
    sizes, splits = drawn(labels, shares, seed, by_class)
    assert {name: len(rows) for name, rows in splits.items()} == {name: size for name, size in sizes.items() if size}
    ids = [row["id"] for rows in splits.values() for row in rows]
    assert len(ids) == len(set(ids))
    assert all(row["label"] == labels[int(row["id"])] for rows in splits.values() for row in rows)
    assert drawn(labels, shares, seed, by_class)[1] == splits


@settings(max_examples=60, deadline=None, derandomize=True)
@given(labels=LABELS, shares=SHARES, seed=st.integers(0, 2**32 - 1))
def test_splits_have_the_proportions_of_the_classes(labels, shares, seed):
    _, splits = drawn(labels, shares, seed)
    totals = Counter(labels)
    for rows in splits.values():
        have = Counter(row["label"] for row in rows)
        for label, total in totals.items():
            share = total / len(labels)
            # each end of the stretch is off by half an example of the class, and by half of each class in the length
            assert abs(have[label] - share * len(rows)) <= 1 + share * len(totals) + 1e-9


def test_another_seed_draws_other_splits():
    labels = [0, 1] * 50
    assert drawn(labels, [0.5, 0, 0.5, 0], 0)[1] != drawn(labels, [0.5, 0, 0.5, 0], 1)[1]


def test_splits_do_not_depend_on_the_order_in_which_sizes_are_named():
    rows = [{"id": f"{i:03}", "label": i % 2} for i in range(40)]
    sizes = {"train": 10, "select": 5, "dev": 8, "transfer": 12}
    assert prepare.draw(rows, sizes, 0, True) == prepare.draw(rows, dict(reversed(sizes.items())), 0, True)


def test_too_few_examples_are_an_error_with_both_numbers():
    with pytest.raises(RedistillError, match="ask for 3 examples, the source has 2"):
        prepare.draw([{"id": "a"}, {"id": "b"}], {"train": 2, "dev": 1}, 0, False)


def movie_config(**sizes: int) -> dict[str, Any]:
    return {
        "type": "classification", "input": "text", "reader": "vader", "split_seed": 0, "splits": sizes,
        "options": {"file": MOVIE, "neutral": 0.25, "classes": True},
    }  # fmt: skip


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "source"
    folder.mkdir()
    rows = [f"{i}\t{2 if i % 2 else -2}\tsentence number {i}" for i in range(20)]
    write(folder, MOVIE, *rows, "20\t0.1\tneither here nor there")
    return folder


def prepared(source: Path, work: Path, **sizes: int) -> dict[str, Any]:
    work.mkdir()
    return prepare.prepare(movie_config(**sizes), {"source": source}, work)


def test_a_prepared_task_has_its_splits_and_transfer_has_no_labels(tmp_path, source):
    counted = prepared(source, tmp_path / "movie", train=6, select=0, dev=8, transfer=4)
    assert counted["counts"] == {"neutral, left out": 1, "rows": 21}
    assert counted["not used"] == 2
    files = {file.stem: pq.read_table(file).to_pydict() for file in (tmp_path / "movie").glob("*.parquet")}
    assert {name: len(columns["id"]) for name, columns in files.items()} == {"train": 6, "dev": 8, "transfer": 4}
    assert Counter(files["train"]["label"]) == {0: 3, 1: 3}
    assert files["transfer"]["label"] == [None] * 4
    for columns in files.values():
        assert columns["text"] == [f"sentence number {i.removeprefix('movie-')}" for i in columns["id"]]
    prepared(source, tmp_path / "again", train=6, select=0, dev=8, transfer=4)
    for name in files:
        again = (tmp_path / "again" / f"{name}.parquet").read_bytes()
        assert again == (tmp_path / "movie" / f"{name}.parquet").read_bytes()


def test_a_pool_takes_inputs_without_labels(tmp_path, source):
    prepared(source, tmp_path / "movie", train=6, dev=8, transfer=4)
    prepared(source, tmp_path / "other", train=3, dev=8)
    (tmp_path / "pool").mkdir()
    config = {"type": "unlabelled", "input": "text", "pool": ["train", "transfer"]}
    inputs = {"other": tmp_path / "other", "movie": tmp_path / "movie"}
    assert prepare.prepare(config, inputs, tmp_path / "pool") == {
        "counts": {"movie train": 6, "movie transfer": 4, "other train": 3}, "splits": {"transfer": 13}
    }  # fmt: skip
    assert [file.name for file in (tmp_path / "pool").iterdir()] == ["transfer.parquet"]
    pooled = pq.read_table(tmp_path / "pool" / "transfer.parquet").to_pydict()
    dev = set(pq.read_table(tmp_path / "movie" / "dev.parquet")["id"].to_pylist())
    assert not dev & set(pooled["id"][:10])
    assert pooled["label"] == [None] * 13
    with pytest.raises(RedistillError, match="none of the pooled tasks"):
        prepare.prepare({**config, "pool": ["select"]}, inputs, tmp_path / "pool")


# --- tokens, examples and batches ------------------------------------------------------------------------------------


@pytest.fixture
def task(tmp_path: Path, source: Path) -> dict[str, Path]:
    """A prepared task and its tokens, at most 4 a text."""
    prepared(source, tmp_path / "movie", train=6, dev=8, transfer=4)
    words = {"[PAD]": 0, "[CLS]": 1, "[SEP]": 2, "[UNK]": 3, "sentence": 4, "number": 5}
    tokenizer = Tokenizer(models.WordLevel({**words, **{str(i): 6 + i for i in range(20)}}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        "[CLS] $A [SEP]", special_tokens=[("[CLS]", 1), ("[SEP]", 2)]
    )
    tokenizer.enable_padding()
    (tmp_path / "tokenizer").mkdir()
    tokenizer.save(str(tmp_path / "tokenizer" / "tokenizer.json"))
    return {"dataset": tmp_path / "movie", "tokenizer": tmp_path / "tokenizer"}


def tokenised(task: dict[str, Path], max_length: int) -> tuple[dict[str, Path], dict[str, Any]]:
    work = task["dataset"].parent / f"tokens-{max_length}"
    work.mkdir()
    return {**task, "tokens": work}, tokenise({"max_length": max_length}, task, work)


TEXT = {"type": "classification", "input": "text", "labels": ["negative", "positive"]}


def test_tokens_are_the_texts_and_no_padding(task):
    inputs, counted = tokenised(task, 10)
    assert counted == {"texts": 18, "tokens": 90, "cut": 0}
    data = examples.load(TEXT, inputs, ["train", "transfer"])
    assert data.splits == ["train"] * 6 + ["transfer"] * 4
    assert data.labels.tolist()[6:] == [examples.NO_CLASS] * 4
    assert set(data.labels.tolist()[:6]) == {0, 1}
    assert data.tokens is not None
    for name, tokens in zip(data.ids, data.tokens, strict=True):
        assert tokens.tolist() == [1, 4, 5, 6 + int(name.removeprefix("movie-")), 2]


def test_long_texts_are_cut_keep_their_special_tokens_and_are_counted(task):
    inputs, counted = tokenised(task, 4)
    assert counted == {"texts": 18, "tokens": 72, "cut": 18}
    data = examples.load(TEXT, inputs, ["dev"])
    assert data.tokens is not None
    assert all(tokens.tolist() == [1, 4, 5, 2] for tokens in data.tokens)


def test_missing_scores_are_not_a_number(task):
    inputs, _ = tokenised(task, 10)
    data = examples.load({**TEXT, "type": "regression"}, inputs, ["transfer", "train"])
    assert data.labels.dtype == torch.float32
    assert data.labels.isnan().tolist() == [True] * 4 + [False] * 6


def made_up(lengths: list[int]) -> examples.Examples:
    tokens = [np.arange(1, length + 1, dtype=np.int32) * 10 + i for i, length in enumerate(lengths)]
    n = len(lengths)
    return examples.Examples(
        [str(i) for i in range(n)], ["train"] * n, torch.arange(n), np.array(lengths), tokens=tokens
    )


@settings(max_examples=40, deadline=None, derandomize=True)
@given(data=st.data(), lengths=st.lists(st.integers(1, 9), min_size=1, max_size=12))
def test_a_batch_is_padded_to_its_longest_and_masked(data, lengths):
    indices = data.draw(st.lists(st.integers(0, len(lengths) - 1), min_size=1, max_size=6))
    batch = made_up(lengths).batch(np.array(indices))
    width = max(lengths[i] for i in indices)
    assert batch["input_ids"].shape == batch["attention_mask"].shape == (len(indices), width)
    assert batch["index"].tolist() == batch["labels"].tolist() == indices
    for row, i in enumerate(indices):
        own = [10 * position + i for position in range(1, lengths[i] + 1)]
        assert batch["input_ids"][row].tolist() == own + [0] * (width - lengths[i])
        assert batch["attention_mask"][row].tolist() == [1] * lengths[i] + [0] * (width - lengths[i])


def test_a_batch_of_images_has_their_pixels(tmp_path):
    with gzip.open(tmp_path / "digits.csv.gz", "wt") as stream:
        stream.writelines(",".join(map(str, [(i + j) % 17 for j in range(64)] + [i % 10])) + "\n" for i in range(12))
    work = tmp_path / "work"
    work.mkdir()
    config = {"type": "classification", "input": "image", "reader": "digits", "options": {}, "split_seed": 3}
    prepare.prepare({**config, "splits": {"train": 5, "dev": 7}}, {"source": tmp_path}, work)
    data = examples.load(config, {"dataset": work}, ["train"])
    batch = data.batch(np.array([4, 0]))
    assert batch["image"].shape == (2, 1, 8, 8)
    assert set(batch) == {"image", "index", "labels"}
    for image, index in zip(batch["image"], (4, 0), strict=True):
        number = int(data.ids[index].removeprefix("digit-"))
        assert image.flatten().tolist() == [(number + j) % 17 / 16 for j in range(64)]
        assert data.labels[index] == number % 10


LENGTHS = st.lists(st.integers(1, 50), min_size=1, max_size=120).map(np.array)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(lengths=LENGTHS, size=st.integers(1, 9), seed=st.integers(0, 2**32 - 1))
def test_every_epoch_has_each_example_once_and_the_same_seed_the_same_batches(lengths, size, seed):
    def batches() -> list[list[int]]:
        endless = examples.shuffled_batches(lengths, size, np.random.Generator(np.random.PCG64(seed)))
        return [batch.tolist() for batch in islice(endless, 2 * per_epoch)]

    per_epoch = -(-len(lengths) // size)
    found = batches()
    for epoch in (found[:per_epoch], found[per_epoch:]):
        assert sorted(i for batch in epoch for i in batch) == list(range(len(lengths)))
        assert sorted(map(len, epoch), reverse=True)[:-1] == [size] * (per_epoch - 1)
    assert batches() == found


def test_batches_hold_examples_of_like_length_and_epochs_differ():
    lengths = np.arange(64) // 4 + 1
    endless = examples.shuffled_batches(lengths, 4, np.random.Generator(np.random.PCG64(0)))
    first, second = ([batch.tolist() for batch in islice(endless, 16)] for _ in range(2))
    assert all(len(set(lengths[batch])) == 1 for batch in first + second)
    assert first != second


@settings(max_examples=40, deadline=None, derandomize=True)
@given(lengths=LENGTHS, size=st.integers(1, 9))
def test_batches_of_evaluation_hold_each_example_once_short_ones_first(lengths, size):
    found = np.concatenate(examples.ordered_batches(lengths, size))
    assert sorted(found) == list(range(len(lengths)))
    assert (np.diff(lengths[found]) >= 0).all()
