"""From a source's files to batches: what is mended and left out, how it is split, tokenised and put together."""

import gzip
import hashlib
import io
import json
import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from huggingface_hub import constants
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pydantic import ValidationError
from safetensors.torch import load
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from torch import nn

from redistill import registry
from redistill.config import compose, schema
from redistill.data import examples, fetch, prepare, unpickle
from redistill.data.readers.digits import digits
from redistill.data.readers.parquet import parquet
from redistill.data.readers.vader import vader
from redistill.data.tokenise import tokenise
from redistill.errors import IntegrityError, RedistillError
from redistill.training.sampler import Batches

REPOSITORY = Path(__file__).parents[1]
SHARED_DATA = os.environ.get("REDISTILL_SHARED_DATA")  # a folder with `glue_hub` and `cifar10`, as hubs lay them out
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


# --- parquet files of a hub ------------------------------------------------------------------------------------------


def png(pixels: np.ndarray, mode: str | None = None) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(stream, "PNG") if mode else Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


def table(folder: Path, name: str, **columns: Any) -> None:
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), folder / name)


def test_a_parquet_file_gives_texts_pairs_and_labels_in_order(tmp_path):
    table(tmp_path, "rte/train.parquet", a=["one", "two"], b=["eins", "zwei"], label=[1, 0], idx=[7, 8])
    table(tmp_path, "rte/more.parquet", a=["three"], b=["drei"], label=[1])
    files = {"train": ["rte/train.parquet", "rte/more.parquet"], "validation": "rte/more.parquet"}
    found, counts = parquet(tmp_path, files=files, text="a", text_pair="b", label="label")
    assert found == {
        "train": [
            {"id": "train-0", "text": "one", "text_pair": "eins", "label": 1},
            {"id": "train-1", "text": "two", "text_pair": "zwei", "label": 0},
            {"id": "train-2", "text": "three", "text_pair": "drei", "label": 1},
        ],
        "validation": [{"id": "validation-0", "text": "three", "text_pair": "drei", "label": 1}],
    }
    assert counts == {"rows": 4}


@pytest.mark.parametrize(("mode", "channels", "plane"), [("RGB", 3, 3), ("L", 1, 1), ("P", 3, 3), ("RGB", 1, 1)])
def test_an_image_is_channels_by_height_by_width(tmp_path, mode, channels, plane):
    pixels = np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3)
    encoded = [{"bytes": png(pixels, mode), "path": "x.png"}]
    table(tmp_path, "train.parquet", img=encoded, label=[0])
    found, _ = parquet(tmp_path, files={"train": "train.parquet"}, image="img", channels=channels, label="label")
    image = found["train"][0]["image"]
    assert image.shape == (plane, 4, 6)
    assert image.dtype == np.uint8
    if mode == "RGB" and channels == 3:
        assert np.array_equal(image, pixels.transpose(2, 0, 1))


def test_labels_that_are_hidden_are_none(tmp_path):
    table(tmp_path, "t.parquet", s=list("abcd"), label=[1.5, -1.0, None, float("nan")])
    for hidden, expected in ((-1, [1.5, None, None, None]), (None, [1.5, -1.0, None, None])):
        found, _ = parquet(tmp_path, files={"t": "t.parquet"}, text="s", label="label", hidden=hidden)
        assert [example["label"] for example in found["t"]] == expected


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            {"files": {"train": "no.parquet"}},
            "no.parquet: the source has no such file; .*: broken.parquet, empty",
        ),
        ({"files": {"train": "broken.parquet"}}, "broken.parquet: is not a parquet file .*: fetch it again"),
        ({"files": {"train": "empty.parquet"}}, "empty.parquet: holds no rows, so the split `train` is empty"),
        ({"text": "sentence"}, "t.parquet: has no column `sentence`; it has s, word, n, label: name one of these"),
        ({"text": "n"}, "t.parquet, row 0, column `n`: holds a int, not a text"),
        ({"text": "s"}, "t.parquet, row 1, column `s`: holds nothing, not a text"),
        ({"label": "word"}, "t.parquet, row 0, column `word`: holds a str, not a number"),
        (
            {"text": None, "image": "word"},
            "row 0, column `word`: holds a str in the place of an image's bytes",
        ),
        ({"image": "word"}, "give the column of the `text` .* or of the `image`"),
        ({"text": None}, "give the column of the `text` .* or of the `image`"),
    ],
)
def test_what_a_parquet_file_lacks_is_named(tmp_path, change, words):
    table(tmp_path, "t.parquet", s=["a", None], word=["a", "b"], n=[1, 2], label=[0, 1])
    table(tmp_path, "empty.parquet", word=pa.array([], pa.string()), label=pa.array([], pa.int64()))
    (tmp_path / "broken.parquet").write_bytes(b"PAR1 is not enough")
    with pytest.raises(RedistillError, match=words):
        parquet(tmp_path, **{"files": {"train": "t.parquet"}, "text": "word", "label": "label", **change})


def test_a_broken_image_is_named(tmp_path):
    whole = png(np.zeros((8, 8, 3), dtype=np.uint8))
    for broken in (whole[:40], b"no image", whole[:-30]):
        table(tmp_path, "train.parquet", img=[{"bytes": whole}, {"bytes": broken}], label=[0, 1])
        with pytest.raises(RedistillError, match="train.parquet, row 1, column `img`: the image cannot be decoded"):
            parquet(tmp_path, files={"train": "train.parquet"}, image="img", label="label")


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
        "type": "classification", "input": "text", "labels": ["negative", "positive"], "split_seed": 0, "splits": sizes,
        "reader": {"method": "vader", "settings": {"file": MOVIE, "neutral": 0.25, "classes": True}},
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


def official(folder: Path, rows: int = 20, **splits: Any) -> dict[str, Any]:
    """A source with the splits `train`, of so many rows, and `validation`, and the config of a task on it."""
    table(folder, "train.parquet", s=[f"train {i}" for i in range(rows)], label=[i % 2 for i in range(rows)])
    table(folder, "validation.parquet", s=["x", "y"], label=[1, 0])
    files = {"train": "train.parquet", "validation": "validation.parquet"}
    said = {"official": {"train": "train", "dev": "validation"}, "rows": {"train": rows, "validation": 2}, **splits}
    return {
        "type": "classification", "input": "text", "labels": ["no", "yes"], "split_seed": 0,
        "splits": schema.OfficialSplits.model_validate(said).model_dump(),
        "reader": {"method": "parquet", "settings": {"files": files, "text": "s", "label": "label"}},
    }  # fmt: skip


def made(config: dict[str, Any], source: Path, work: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    work.mkdir()
    counted = prepare.prepare(config, {"source": source}, work)
    return counted, {file.stem: pq.read_table(file).to_pydict() for file in work.glob("*.parquet")}


def test_official_splits_are_taken_as_they_are(tmp_path):
    counted, files = made(official(tmp_path), tmp_path, tmp_path / "work")
    assert counted == {"counts": {"rows": 22}, "splits": {"dev": 2, "train": 20}, "not used": 0}
    assert files["train"]["text"] == [f"train {i}" for i in range(20)]
    assert files["dev"] == {"id": ["validation-0", "validation-1"], "text": ["x", "y"], "label": [1, 0]}


def test_select_is_cut_from_train_in_the_classes_own_proportions(tmp_path):
    counted, files = made(official(tmp_path, select=6), tmp_path, tmp_path / "work")
    assert counted["splits"] == {"dev": 2, "select": 6, "train": 14}
    assert Counter(files["select"]["label"]) == {0: 3, 1: 3}
    assert sorted(files["train"]["text"] + files["select"]["text"]) == sorted(f"train {i}" for i in range(20))
    _, other = made({**official(tmp_path, select=6), "split_seed": 1}, tmp_path, tmp_path / "other")
    assert other["select"]["id"] != files["select"]["id"]


def test_other_row_counts_than_published_are_refused(tmp_path):
    published = {"train": 30, "validation": 2}
    with pytest.raises(RedistillError, match="`train` has 20 rows, but 30 were published: take the whole file, or say"):
        made(official(tmp_path, rows=20) | {"splits": splits(rows=published)}, tmp_path, tmp_path / "short")
    counted, _ = made(
        official(tmp_path) | {"splits": splits(rows=published, sample=True)}, tmp_path, tmp_path / "sample"
    )
    assert counted["splits"]["train"] == 20
    rows = {"train": 20, "validation": 1}
    for sample in (False, True):
        with pytest.raises(RedistillError, match="`validation` has 2 rows, but 1 were published: take that file"):
            made(
                official(tmp_path) | {"splits": splits(rows=rows, sample=sample)}, tmp_path, tmp_path / f"long-{sample}"
            )


def splits(**said: Any) -> dict[str, Any]:
    return {"official": {"train": "train", "dev": "validation"}, "select": 0, "sample": False, "at_most": {}, **said}


def test_splits_that_the_reader_does_not_have_are_named(tmp_path, source):
    config = official(tmp_path)
    del config["reader"]["settings"]["files"]["validation"]
    with pytest.raises(RedistillError, match="reader `parquet` is given no split `validation`, only `train`"):
        made(config, tmp_path, tmp_path / "work")
    with pytest.raises(RedistillError, match="reader `vader` knows no official splits: give the sizes of `train`"):
        made({**movie_config(), "splits": config["splits"]}, source, tmp_path / "movie")


def test_sizes_are_drawn_from_all_the_files_of_a_source(tmp_path):
    counted, files = made(
        official(tmp_path) | {"splits": {"train": 9, "select": 3, "dev": 4}}, tmp_path, tmp_path / "w"
    )
    assert counted["not used"] == 6
    assert [len(files[split]["id"]) for split in ("train", "select", "dev")] == [9, 3, 4]


@pytest.mark.parametrize("label", [2, -1, 0.5])
def test_a_label_that_the_task_does_not_name_is_refused(tmp_path, label):
    config = official(tmp_path)
    table(tmp_path, "validation.parquet", s=["x", "y"], label=[0, label])
    with pytest.raises(RedistillError, match=f"`dev`, example `validation-1`: its label is {label}, .* names 2 labels"):
        made(config, tmp_path, tmp_path / "work")


def test_labels_are_checked_whatever_the_reader(tmp_path, source):
    with pytest.raises(RedistillError, match="example `movie-.*`: its label is 1, but the task names 1 labels"):
        made({**movie_config(train=6, dev=8), "labels": ["negative"]}, source, tmp_path / "work")


def test_hidden_labels_are_for_transfer_alone(tmp_path):
    config = official(tmp_path)
    config["reader"]["settings"]["hidden"] = -1
    table(tmp_path, "validation.parquet", s=["x", "y"], label=[-1, -1])
    with pytest.raises(
        RedistillError, match="`dev`, example `validation-0`: has no label, so it can only be in `transfer`"
    ):
        made(config, tmp_path, tmp_path / "work")
    config["splits"]["official"] = {"dev": "train", "transfer": "validation"}
    _, files = made(config, tmp_path, tmp_path / "more")
    assert files["transfer"]["label"] == [None, None]
    with pytest.raises(RedistillError, match="has no label"):
        made({**config, "splits": {"train": 19, "dev": 3}}, tmp_path, tmp_path / "drawn")


def test_a_score_that_is_no_number_is_refused(tmp_path, source):
    config = official(tmp_path) | {"type": "regression", "labels": []}
    table(tmp_path, "validation.parquet", s=["x", "y"], label=[1.0, float("inf")])
    with pytest.raises(RedistillError, match="`dev`, example `validation-1`: its label is inf, not a number"):
        made(config, tmp_path, tmp_path / "work")


def image_task(folder: Path, shape: list[int]) -> dict[str, Any]:
    images = [np.full((4, 6, 3), [i, 2 * i, 3 * i], dtype=np.uint8) for i in range(10)]
    table(folder, "train.parquet", img=[{"bytes": png(image)} for image in images], label=[i % 2 for i in range(10)])
    settings = {"files": {"train": "train.parquet"}, "image": "img", "label": "label"}
    return {
        "type": "classification", "input": "image", "image_shape": shape, "labels": ["no", "yes"], "split_seed": 0,
        "splits": {"train": 6, "dev": 4}, "reader": {"method": "parquet", "settings": settings},
    }  # fmt: skip


def test_images_are_stored_as_bytes_and_come_as_shares_of_255(tmp_path):
    config = image_task(tmp_path, [3, 4, 6])
    made(config, tmp_path, tmp_path / "work")
    assert pq.read_schema(tmp_path / "work" / "train.parquet").field("image").type.value_type == pa.uint8()
    data = examples.load(config, {"dataset": tmp_path / "work"}, ["train", "dev"])
    assert data.images is not None
    assert (data.images.dtype, data.images.shape) == (torch.uint8, (10, 3, 4, 6))
    batch = data.batch(np.array([9, 2]))
    assert batch["image"].dtype == torch.float32
    for image, index in zip(batch["image"], (9, 2), strict=True):
        value = int(data.ids[index].removeprefix("train-"))
        for channel in range(3):
            assert image[channel].unique().tolist() == pytest.approx([(channel + 1) * value / 255])


def test_an_image_of_another_shape_is_refused(tmp_path):
    words = r"example `train-\d`: its image has the shape \[3, 4, 6\], but the task's `image_shape` is \[3, 6, 4\]"
    with pytest.raises(RedistillError, match=words):
        made(image_task(tmp_path, [3, 6, 4]), tmp_path, tmp_path / "work")


def test_a_pool_may_mix_pairs_and_single_texts(tmp_path):
    made(official(tmp_path), tmp_path, tmp_path / "single")
    config = official(tmp_path)
    config["reader"]["settings"]["text_pair"] = "s"
    made(config, tmp_path, tmp_path / "paired")
    inputs = {"paired": tmp_path / "paired", "single": tmp_path / "single"}
    (tmp_path / "pool").mkdir()
    pool = {"type": "unlabelled", "input": "text", "pool": ["dev"]}
    assert prepare.prepare(pool, inputs, tmp_path / "pool")["splits"] == {"transfer": 4}
    assert pq.read_table(tmp_path / "pool" / "transfer.parquet")["text_pair"].to_pylist() == ["x", "y", None, None]


# --- what a task may say of its splits -------------------------------------------------------------------------------


def official_splits(**changes: Any) -> schema.OfficialSplits:
    said = {"official": {"train": "train", "dev": "test"}, "rows": {"train": 9, "test": 3}, **changes}
    return schema.OfficialSplits.model_validate(said)


def test_sizes_of_splits_are_known_before_they_are_made():
    drawn_sizes = schema.Splits(train=4, select=0, dev=2)
    assert [drawn_sizes.has(split) for split in ("train", "select", "dev", "transfer")] == [True, False, True, False]
    cut = official_splits(select=2)
    assert [cut.size(split) for split in ("train", "select", "dev", "transfer")] == [7, 2, 3, 0]
    assert [cut.has(split) for split in ("train", "select", "dev", "transfer")] == [True, True, True, False]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"official": {"train": "train"}}, "must say which split `dev` is"),
        ({"official": {"train": "test", "dev": "test"}}, "`test` stands for two splits of the task"),
        ({"official": {"train": "all", "dev": "test"}}, "`rows` must give the published row count of `all`"),
        ({"official": {"train": "train", "select": "x", "dev": "test"}, "rows": {"train": 9, "test": 3, "x": 1},
          "select": 1}, "`select` is cut from `train` or is a split of the source, not both"),
        ({"select": 9}, "`select` is cut from `train`, and must leave some of it"),
        ({"official": {"dev": "test"}, "select": 1}, "`select` is cut from `train`, and must leave some of it"),
    ],
)  # fmt: skip
def test_official_splits_that_cannot_be_are_refused(changes, words):
    with pytest.raises(ValidationError, match=words):
        official_splits(**changes)


# --- tokens, examples and batches ------------------------------------------------------------------------------------


@pytest.fixture
def task(tmp_path: Path, source: Path) -> dict[str, Path]:
    """A prepared task and its tokens, at most 4 a text."""
    prepared(source, tmp_path / "movie", train=6, dev=8, transfer=4)
    words = {"[PAD]": 0, "[CLS]": 1, "[SEP]": 2, "[UNK]": 3, "sentence": 4, "number": 5}
    tokenizer = Tokenizer(models.WordLevel({**words, **{str(i): 6 + i for i in range(20)}}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        "[CLS] $A [SEP]", "[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 1), ("[SEP]", 2)]
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


@pytest.fixture
def pairs(tmp_path: Path, task: dict[str, Path]) -> dict[str, Path]:
    """A prepared task of text pairs, of which one has no second text."""
    (tmp_path / "pairs").mkdir()
    table(
        tmp_path / "pairs", "train.parquet", id=["a", "b", "c"], label=[0, 1, 0],
        text=["sentence 1", "number number number", "sentence"], text_pair=["number", "sentence 2", None],
    )  # fmt: skip
    return {**task, "dataset": tmp_path / "pairs"}


def test_pairs_are_encoded_together_with_the_segment_of_each_token(pairs):
    inputs, counted = tokenised(pairs, 10)
    assert counted == {"texts": 3, "tokens": 6 + 8 + 3, "cut": 0}
    batch = examples.load(TEXT, inputs, ["train"]).batch(np.array([0, 1, 2]))
    assert batch["input_ids"].tolist() == [
        [1, 4, 7, 2, 5, 2, 0, 0], [1, 5, 5, 5, 2, 4, 8, 2], [1, 4, 2, 0, 0, 0, 0, 0]
    ]  # fmt: skip
    assert batch["token_type_ids"].tolist() == [
        [0, 0, 0, 0, 1, 1, 0, 0], [0, 0, 0, 0, 0, 1, 1, 1], [0, 0, 0, 0, 0, 0, 0, 0]
    ]  # fmt: skip
    assert batch["attention_mask"].sum(1).tolist() == [6, 8, 3]


def test_a_long_pair_is_cut_at_its_longer_text(pairs):
    inputs, counted = tokenised(pairs, 6)
    assert counted["cut"] == 1
    batch = examples.load(TEXT, inputs, ["train"]).batch(np.array([1]))
    assert batch["input_ids"].tolist()[0].count(5) < 3
    assert {4, 2} < set(batch["input_ids"].tolist()[0])


def test_single_texts_have_no_segments(task):
    inputs, _ = tokenised(task, 10)
    assert not list(inputs["tokens"].glob("*.types.npy"))
    assert set(examples.load(TEXT, inputs, ["train"]).batch(np.array([0]))) == {
        "index", "labels", "input_ids", "attention_mask"
    }  # fmt: skip


def test_texts_that_are_encoded_in_parts_give_the_same_tokens(task, monkeypatch):
    whole, counted = tokenised(task, 4)
    before = {file.name: file.read_bytes() for file in whole["tokens"].iterdir()}
    monkeypatch.setattr("redistill.data.tokenise.AT_ONCE", 5)
    whole["tokens"].rename(whole["tokens"].with_name("before"))
    parts, again = tokenised(task, 4)
    assert again == counted
    assert {file.name: file.read_bytes() for file in parts["tokens"].iterdir()} == before


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
    config = {
        "type": "classification", "input": "image", "image_shape": [1, 8, 8], "labels": list("0123456789"),
        "reader": {"method": "digits", "settings": {}}, "split_seed": 3, "splits": {"train": 5, "dev": 7},
    }  # fmt: skip
    prepare.prepare(config, {"source": tmp_path}, work)
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
    per_epoch = -(-len(lengths) // size)
    found = taken(Batches(lengths, size, seed), 2 * per_epoch)
    for epoch in (found[:per_epoch], found[per_epoch:]):
        assert sorted(i for batch in epoch for i in batch) == list(range(len(lengths)))
        assert sorted(map(len, epoch), reverse=True)[:-1] == [size] * (per_epoch - 1)
    assert taken(Batches(lengths, size, seed), 2 * per_epoch) == found


def taken(batches: Batches, number: int) -> list[list[int]]:
    return [next(batches).tolist() for _ in range(number)]


@settings(max_examples=40, deadline=None, derandomize=True)
@given(lengths=LENGTHS, size=st.integers(1, 9), before=st.integers(0, 60))
def test_the_order_goes_on_from_a_position_that_was_written_down_as_json(lengths, size, before):
    batches, again = Batches(lengths, size, 3), Batches(lengths, size, 4)
    taken(batches, before)
    again.restore(json.loads(json.dumps(batches.state())))
    assert taken(again, 30) == taken(batches, 30)


def test_batches_hold_examples_of_like_length_and_epochs_differ():
    lengths = np.arange(64) // 4 + 1
    batches = Batches(lengths, 4, 0)
    first, second = taken(batches, 16), taken(batches, 16)
    assert all(len(set(lengths[batch])) == 1 for batch in first + second)
    assert first != second


@settings(max_examples=40, deadline=None, derandomize=True)
@given(lengths=LENGTHS, size=st.integers(1, 9))
def test_batches_of_evaluation_hold_each_example_once_short_ones_first(lengths, size):
    found = np.concatenate(examples.ordered_batches(lengths, size))
    assert sorted(found) == list(range(len(lengths)))
    assert (np.diff(lengths[found]) >= 0).all()


# --- sources: a hub's repository, a folder of the user's -------------------------------------------------------------


COMMIT = "0123456789abcdef0123456789abcdef01234567"
SHAPE = {"model_type": "bert", "hidden_size": 8}
FILES = {"config.json": json.dumps({**SHAPE, "vocab_size": 30}).encode(), "data/train.parquet": b"rows"}


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A hub that cannot be reached, with one repository in its cache; and a source that is there."""
    snapshot = tmp_path / "cache" / "models--owner--name" / "snapshots" / COMMIT
    for name, content in FILES.items():
        (snapshot / name).parent.mkdir(parents=True, exist_ok=True)
        (snapshot / name).write_bytes(content)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    origin = {"type": "hub", "repository": "owner/name", "revision": COMMIT, "form": "model", "files": [*FILES]}
    return {"origin": origin, "files": {"config.json": digest(FILES["config.json"])}, "config": SHAPE}


def fetched(config: dict[str, Any], work: Path) -> dict[str, bytes]:
    work.mkdir()
    counted = fetch.fetch(config, {}, work)
    found = {file.relative_to(work).as_posix(): file.read_bytes() for file in work.rglob("*") if file.is_file()}
    assert counted == {"files": len(found)}
    return found


def test_files_of_a_hub_are_taken_from_its_cache_at_the_pinned_commit(tmp_path, hub):
    assert fetched(hub, tmp_path / "work") == FILES


@pytest.mark.parametrize("change", [{"revision": "f" * 40}, {"repository": "owner/other"}, {"form": "dataset"}])
def test_a_hub_out_of_reach_is_one_sentence_with_both_ways_out(tmp_path, hub, change):
    hub["origin"] |= change
    with pytest.raises(RedistillError) as caught:
        fetched(hub, tmp_path / "work")
    message = str(caught.value)
    assert message.startswith(f"{hub['origin']['repository']}: config.json: the hub cannot be reached")
    assert hub["origin"]["revision"] in message
    assert "Connect once and start again; or" in message
    assert "`origin: {type: folder, variable: NAME, path: ...}`" in message
    assert "\n" not in message


def test_a_file_of_a_hub_with_another_digest_is_refused(tmp_path, hub):
    with pytest.raises(
        IntegrityError, match=f"config.json: SHA-256 is {digest(FILES['config.json'])}, expected {'0' * 64}"
    ):
        fetched({**hub, "files": {"config.json": "0" * 64}}, tmp_path / "work")


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ({"hidden_size": 16}, "config.json: `hidden_size` is 8, but configs/sources.yaml says 16: it is another model"),
        ({"model_type": "bert", "layers": 2}, "config.json has no `layers`; configs/sources.yaml says it is 2"),
    ],
)
def test_a_model_of_another_shape_is_refused(tmp_path, hub, said, words):
    with pytest.raises(RedistillError, match=words):
        fetched({**hub, "config": said}, tmp_path / "work")
    hub["origin"]["files"] = ["data/train.parquet"]
    with pytest.raises(RedistillError, match="no config.json to compare its `config` with"):
        fetched({**hub, "files": {}}, tmp_path / "more")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    for name, content in FILES.items():
        (tmp_path / "mine" / "inside" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "mine" / "inside" / name).write_bytes(content)
    monkeypatch.setenv("MY_DATA", str(tmp_path / "mine"))
    origin = {"type": "folder", "variable": "MY_DATA", "path": "inside"}
    return {"origin": origin, "files": {name: digest(content) for name, content in FILES.items()}}


def test_files_of_a_folder_are_copied_and_verified(tmp_path, folder):
    assert fetched(folder, tmp_path / "work") == FILES
    (tmp_path / "mine" / "inside" / "config.json").write_bytes(b"{}")
    with pytest.raises(IntegrityError, match="config.json: SHA-256 is"):
        fetched(folder, tmp_path / "again")


def test_a_folder_that_is_not_named_or_not_right_is_said(tmp_path, folder, monkeypatch):
    folder["origin"]["path"] = "elsewhere"
    with pytest.raises(RedistillError, match="the folder that MY_DATA names has no file elsewhere/config.json"):
        fetched(folder, tmp_path / "work")
    monkeypatch.delenv("MY_DATA")
    with pytest.raises(
        RedistillError, match="MY_DATA is not set: let it name the folder that has elsewhere/config.json"
    ):
        fetched(folder, tmp_path / "more")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"files": {}}, "a folder's `files` are needed, with their digests"),
        ({"origin": {"type": "folder", "variable": "MY_DATA", "path": "../up"}}, "must be a path inside"),
        ({"origin": {"type": "folder", "variable": "my data"}}, "String should match pattern"),
        ({"files": {"/etc/passwd": "0" * 64}}, "must be a path inside"),
        (
            {"origin": {"type": "hub", "repository": "a/b", "revision": COMMIT, "files": ["b"]}},
            "`a` has a digest but",
        ),
        ({"origin": {"type": "hub", "repository": "a/b", "revision": "main", "files": ["a"]}}, "String should match"),
    ],
)
def test_a_source_that_cannot_be_is_refused(change, words):
    said: dict[str, Any] = {
        "kind": "data", "origin": {"type": "folder", "variable": "MY_DATA"}, "files": {"a": "0" * 64}, "licence": "x",
        "citation": "x",
    }  # fmt: skip
    schema.Source.model_validate(said)
    with pytest.raises(ValidationError, match=words):
        schema.Source.model_validate({**said, **change})


# --- models whose weights are a pickle -------------------------------------------------------------------------------


class Spoilt:
    """Would make a file where it is unpickled."""

    def __init__(self, file: Path):
        self.file = file

    def __reduce__(self) -> Any:
        return os.mknod, (str(self.file),)


@pytest.fixture
def pickled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict[str, Any]]:
    """Puts something into a folder's pytorch_model.bin, and gives the source that takes its weights out."""

    def source(holds: Any, **files: bytes) -> dict[str, Any]:
        folder = tmp_path / "mine"
        folder.mkdir()
        if isinstance(holds, bytes):
            (folder / "pytorch_model.bin").write_bytes(holds)
        else:
            torch.save(holds, folder / "pytorch_model.bin")
        (folder / "config.json").write_bytes(files.get("config", FILES["config.json"]))
        monkeypatch.setenv("MY_DATA", str(folder))
        return {
            "kind": "model", "origin": {"type": "folder", "variable": "MY_DATA", "path": ""},
            "files": {file.name: digest(file.read_bytes()) for file in folder.iterdir()}, "format": "torch-pickle",
        }  # fmt: skip

    return source


def test_weights_of_a_pickle_are_kept_as_safetensors_with_both_digests(tmp_path, pickled):
    weight = torch.arange(6.0).reshape(2, 3)
    source = pickled({"a": weight, "tied": weight, "turned": weight.t(), "part": weight[1], "steps": torch.tensor(7)})
    (tmp_path / "work").mkdir()
    counted = fetch.fetch(source, {}, tmp_path / "work")
    found = {file.name: file.read_bytes() for file in (tmp_path / "work").iterdir()}
    assert sorted(found) == ["config.json", "model.safetensors"]
    assert counted["files"] == 2
    assert counted["converted"] == {
        "pytorch_model.bin": source["files"]["pytorch_model.bin"],
        "model.safetensors": digest(found["model.safetensors"]),
    }
    weights = load(found["model.safetensors"])
    assert {name: tensor.tolist() for name, tensor in weights.items()} == {
        "a": weight.tolist(), "tied": weight.tolist(), "turned": weight.t().tolist(), "part": [3, 4, 5], "steps": 7
    }  # fmt: skip
    unpickle.convert(tmp_path / "mine" / "pytorch_model.bin", tmp_path / "again.safetensors")
    assert (tmp_path / "again.safetensors").read_bytes() == found["model.safetensors"]


@pytest.mark.parametrize(
    ("holds", "words"),
    [
        (nn.Linear(2, 2), "wants `torch.nn.modules.linear.Linear` beside weights, so nothing of it was used"),
        ({"state_dict": {"a": torch.ones(1)}}, "`state_dict` in it is no dense tensor with a name"),
        ([torch.ones(1)], "holds a list in the place of named tensors"),
        (
            {"a": torch.ones(1, dtype=torch.complex128)},
            "holds tensors of torch.complex128, which",
        ),
        (b"no pickle", "is no pickle of weights alone, so nothing of it was used"),
        (b"", r"cannot be read \(EOFError\): it is cut short"),
    ],
)
def test_a_pickle_of_anything_but_weights_is_refused(tmp_path, pickled, holds, words):
    pickled(holds)
    with pytest.raises(RedistillError, match=f"^{words}"):
        unpickle.convert(tmp_path / "mine" / "pytorch_model.bin", tmp_path / "model.safetensors")
    assert not (tmp_path / "model.safetensors").exists()


def test_code_in_a_pickle_is_not_run(tmp_path, pickled):
    (tmp_path / "work").mkdir()
    with pytest.raises(RedistillError, match="^pytorch_model.bin: wants `posix.mknod` beside weights") as caught:
        fetch.fetch(pickled({"a": torch.ones(1), "b": Spoilt(tmp_path / "spoilt")}), {}, tmp_path / "work")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "spoilt").exists()


def test_a_pickle_is_not_opened_before_its_digest_is_right(tmp_path, pickled, monkeypatch):
    source = pickled({"a": torch.ones(1)})
    source["files"]["pytorch_model.bin"] = "0" * 64
    monkeypatch.setattr(fetch.subprocess, "run", lambda *_, **__: pytest.fail("the pickle was opened"))
    (tmp_path / "work").mkdir()
    with pytest.raises(IntegrityError, match="pytorch_model.bin"):
        fetch.fetch(source, {}, tmp_path / "work")


def test_a_model_whose_config_names_code_is_refused(tmp_path, pickled):
    source = pickled({"a": torch.ones(1)}, config=json.dumps({"auto_map": {"AutoModel": "own.Model"}}).encode())
    (tmp_path / "work").mkdir()
    with pytest.raises(RedistillError, match="config.json has `auto_map`: the model needs code that it brings along"):
        fetch.fetch(source, {}, tmp_path / "work")


NAMES_OF_MODELS = [
    (["config.json", "pytorch_model.bin"], {}, "`pytorch_model.bin` is a pickle, which can run code"),
    (["pytorch_model-00001-of-00002.bin"], {"format": "torch-pickle"}, "in one file pytorch_model.bin, .* name that"),
    (["pytorch_model.bin", "model.safetensors"], {"format": "torch-pickle"}, "leave it out, and the pickle"),
    (["model.safetensors"], {"kind": "data", "format": "torch-pickle"}, "only a model has a `format`"),
    (["model.safetensors", "own/model.py"], {}, "`own/model.py` is code that the model brings along"),
    (["model.safetensors"], {"config": {"auto_map": {}}}, "`auto_map` is code that the model brings along"),
    (["model.safetensors"], {"format": "pickle"}, "Input should be 'safetensors' or 'torch-pickle'"),
]


@pytest.mark.parametrize(("names", "said", "words"), NAMES_OF_MODELS)
@pytest.mark.parametrize("hub", [False, True])
def test_pickles_and_code_are_refused_by_their_names(names, said, words, hub):
    origin = {"type": "hub", "repository": "a/b", "revision": COMMIT, "files": names}
    files = {} if hub else dict.fromkeys(names, "0" * 64)
    folder = {"type": "folder", "variable": "MY_DATA"}
    source = {"kind": "model", "origin": origin if hub else folder, "files": files, "licence": "x", "citation": "x"}
    with pytest.raises(ValidationError, match=words):
        schema.Source.model_validate({**source, **said})


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["model.safetensors", "training_args.bin"], {}),
        (["config.json", "tokenizer.json"], {}),
        (["pytorch_model.bin"], {"format": "torch-pickle"}),
        (["rows.bin", "read.py"], {"kind": "data"}),
    ],
)
def test_models_without_pickles_and_code_are_taken(names, said):
    files, origin = dict.fromkeys(names, "0" * 64), {"type": "folder", "variable": "MY_DATA"}
    schema.Source.model_validate(
        {"kind": "model", "origin": origin, "files": files, "licence": "x", "citation": "x", **said}
    )


# --- the real files, where they are ----------------------------------------------------------------------------------


def shipped(name: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """A task that ships, as it is prepared, and its source, as it is fetched from a folder."""
    task = compose.validate(schema.Task, compose.read(REPOSITORY, "tasks", name))
    assert task.reader is not None
    assert task.splits is not None
    assert task.source is not None
    settings = registry.with_defaults("reader", task.reader.method, task.reader.settings)
    config = {
        "type": task.type, "input": task.input, "labels": task.labels, "image_shape": task.image_shape,
        "splits": task.splits.model_dump(), "split_seed": 0,
        "reader": {"method": task.reader.method, "settings": settings},
    }  # fmt: skip
    source = compose.load(REPOSITORY / "configs" / "sources.yaml").data[task.source]
    return config, {**source, "origin": {"type": "folder", "variable": "REDISTILL_SHARED_DATA", "path": "glue_hub"}}


@pytest.mark.skipif(SHARED_DATA is None, reason="REDISTILL_SHARED_DATA names no folder")
@pytest.mark.parametrize(
    ("name", "rows", "paired"),
    [("cola", (8551, 1043), False), ("sst2", (67349, 872), False), ("mrpc", (3668, 408), True),
     ("stsb", (5749, 1500), True), ("rte", (2490, 277), True)],
)  # fmt: skip
def test_glue_is_prepared_from_the_real_files_with_the_digests_that_ship(tmp_path, name, rows, paired):
    config, source = shipped(f"glue/{name}")
    (tmp_path / "source").mkdir()
    fetch.fetch(source, {}, tmp_path / "source")
    counted, files = made(config, tmp_path / "source", tmp_path / "work")
    assert (counted["splits"]["train"], counted["splits"]["dev"]) == rows
    assert all(("text_pair" in columns) == paired for columns in files.values())


@pytest.mark.skipif(SHARED_DATA is None, reason="REDISTILL_SHARED_DATA names no folder")
def test_cifar_is_prepared_from_the_real_files_where_a_sample_is_said_to_be_one(tmp_path):
    config, _ = shipped("cifar/cifar10")
    source = {"source": Path(str(SHARED_DATA)) / "cifar10"}
    with pytest.raises(RedistillError, match="`train` has 20000 rows, but 50000 were published"):
        prepare.prepare(config, source, tmp_path)
    config["splits"]["sample"] = True
    counted = prepare.prepare(config, source, tmp_path)
    assert counted["splits"] == {"train": 20_000, "dev": 10_000}
    data = examples.load(config, {"dataset": tmp_path}, ["dev"])
    assert data.batch(np.arange(2))["image"].shape == (2, 3, 32, 32)
    assert set(data.labels.tolist()) == set(range(10))
