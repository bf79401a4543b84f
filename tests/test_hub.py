"""The Hugging Face hub through its own libraries, against a stand-in on this machine: see hub_server.py."""

import hashlib
import io
import json
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hub_server import Hub, Repository, serving
from safetensors.torch import load
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import BertConfig, BertModel

COMMIT, OTHER = "bcdcba79d07bc864c1c254ccfcedcce55bcc9a8c", "f" * 40
TRAIN, VALIDATION = "rte/train-00000-of-00001.parquet", "rte/validation-00000-of-00001.parquet"
LARGE = bytes(range(256)) * (11 << 12)  # 11 MiB; the library writes 10 MiB at once
CARD = """---
configs:
- config_name: rte
  data_files:
  - {split: train, path: rte/train-*}
  - {split: validation, path: rte/validation-*}
---
"""
AT_ONCE = {"Retry-After": "0"}

# fetches one source after the other, and does not wait where the library does between its tries
FETCH = """
import json, sys, time
from pathlib import Path
from redistill.data.fetch import fetch
from redistill.errors import RedistillError

time.sleep = lambda _: None
for name, config in json.loads(sys.argv[1]).items():
    work = Path(name)
    work.mkdir(parents=True)
    try:
        said = fetch(config, {}, work)
    except RedistillError as error:
        said = f"{type(error).__name__}: {error}"
    print(json.dumps([name, said]))
"""

Python = Callable[..., CompletedProcess[str]]


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def rows(*sentences: str) -> bytes:
    stream = io.BytesIO()
    numbers = list(range(len(sentences)))
    columns = {"sentence1": sentences, "sentence2": sentences, "label": [n % 2 for n in numbers], "idx": numbers}
    pq.write_table(pa.table({name: list(values) for name, values in columns.items()}), stream)
    return stream.getvalue()


GLUE = {"README.md": CARD.encode(), TRAIN: rows("one", "two", "three", "four"), VALIDATION: rows("five", "six")}


@pytest.fixture
def hub() -> Iterator[Hub]:
    with serving(Hub()) as running:
        running.repositories["datasets/nyu-mll/glue"] = Repository(COMMIT, GLUE)
        yield running


@pytest.fixture
def alone(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Hub:
    """The hub that the processes of a test see, whatever the user's own settings are."""
    for name in os.environ:
        if name.startswith(("HF_", "HUGGING", "TRANSFORMERS_")) or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    for name, value in hub.environment(tmp_path / "home").items():
        monkeypatch.setenv(name, value)
    return hub


def source(repository: str = "nyu-mll/glue", form: str = "dataset", **changes: Any) -> dict[str, Any]:
    files = changes.pop("files", {})
    origin = {"type": "hub", "repository": repository, "form": form, "revision": COMMIT, "files": [TRAIN], **changes}
    return {"kind": "data", "origin": origin, "files": files}


def fetched(python: Python, **sources: dict[str, Any]) -> dict[str, Any]:
    """What `fetch` gave or said, by the name of the source."""
    done = python("-c", FETCH, json.dumps(sources))
    assert done.returncode == 0, done.stderr
    return dict(json.loads(line) for line in done.stdout.splitlines())


def downloads(hub: Hub) -> list[tuple[str, str | None]]:
    return [(path, part) for method, path, part in hub.asked if method == "GET"]


def test_files_are_fetched_at_the_pinned_commit_and_taken_from_the_cache_when_the_hub_is_gone(
    alone, python, tmp_path, monkeypatch
):
    pinned = source(files={TRAIN: digest(GLUE[TRAIN])})
    assert fetched(python, first=pinned) == {"first": {"files": 1}}
    assert (tmp_path / "first" / TRAIN).read_bytes() == GLUE[TRAIN]
    assert downloads(alone) == [(f"datasets/nyu-mll/glue/resolve/{COMMIT}/{TRAIN}", None)]
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    said = fetched(python, second=pinned, third=source(files={TRAIN: digest(GLUE[TRAIN])}, revision=OTHER))
    assert said["second"] == {"files": 1}
    assert (tmp_path / "second" / TRAIN).read_bytes() == GLUE[TRAIN]
    assert said["third"].startswith(f"RedistillError: nyu-mll/glue: {TRAIN}: the hub cannot be reached, and its cache")
    assert OTHER in said["third"]
    assert "Connect once and start again; or, if you have the files, take them from a folder" in said["third"]
    assert "\n" not in said["third"]


def test_a_download_that_breaks_off_goes_on_and_is_whole_in_the_end(alone, python, tmp_path):
    alone.repositories["datasets/owner/large"] = Repository(COMMIT, {"large.bin": LARGE}, cuts=[len(LARGE) - 9, 5, 0])
    origin = source("owner/large")["origin"] | {"files": ["large.bin"]}
    wanted = {"kind": "data", "origin": origin, "files": {"large.bin": digest(LARGE)}}
    assert fetched(python, large=wanted) == {"large": {"files": 1}}
    assert (tmp_path / "large" / "large.bin").read_bytes() == LARGE
    where = f"datasets/owner/large/resolve/{COMMIT}/large.bin"
    assert downloads(alone) == [(where, None)] + [(where, f"bytes={10 << 20}-")] * 3


FAULTS: dict[str, tuple[Repository | None, dict[str, Any], str]] = {
    "no file": (Repository(COMMIT, {}), {}, f"commit {COMMIT} has no such file: mend `files` in the origin in configs"),
    "no commit": (Repository(OTHER, GLUE), {}, f"the repository has no commit {COMMIT}: mend `revision`"),
    "no repository": (None, {}, "the hub has no such dataset, or asks for a log-in: mend `repository` or `form`"),
    "no name": (None, {"repository": "a/b/c"}, "the hub has no such names: mend `repository`"),
    "private": (
        Repository(COMMIT, GLUE, 401, {"X-Error-Message": "Invalid username or password."}), {},
        "the hub has no such dataset, or asks for a log-in: .* or log in with `hf auth login`",
    ),
    "gated": (
        Repository(COMMIT, GLUE, 401, {"X-Error-Code": "GatedRepo"}), {},
        "its authors ask for their terms to be accepted: do so on the repository's page, and log in with",
    ),
    "forbidden": (
        Repository(COMMIT, GLUE, 403, {"X-Error-Message": "not in the authorized list"}), {},
        r"the hub, or a proxy before it, refuses it \(status 403\): log in with `hf auth login` as somebody who may",
    ),
    "too often": (
        Repository(COMMIT, GLUE, 429, AT_ONCE), {},
        "too many requests have come from here: wait for some minutes and start again",
    ),
    "broken": (
        Repository(COMMIT, GLUE, 500, AT_ONCE), {},
        r"the hub has a fault of its own \(status 500\): wait for some minutes and start again",
    ),
    "somebody else": (
        Repository(COMMIT, GLUE, 200), {}, "what answered is not the hub: see what HF_ENDPOINT and the proxies are"
    ),
    "cut off": (
        Repository(COMMIT, GLUE, cuts=[3] * 50), {}, r"it was not downloaded \(RemoteProtocolError: .*\): start again"
    ),
}  # fmt: skip


def test_what_is_wrong_at_the_hub_is_one_line_with_what_to_do(alone, python, tmp_path):
    sources = {}
    for name, (repository, changes, _) in FAULTS.items():
        sources[name] = source(**{"repository": f"owner/{name.replace(' ', '-')}", **changes})
        if repository is not None:
            alone.repositories[f"datasets/{sources[name]['origin']['repository']}"] = repository
    said = fetched(python, **sources)
    for name, (_, _, words) in FAULTS.items():
        where = f"{sources[name]['origin']['repository']}: {TRAIN}"
        assert re.match(f"RedistillError: {where}: {words}", said[name]), said[name]
        assert "\n" not in said[name], name
        assert list((tmp_path / name).iterdir()) == [], name
    tries = [path for _, path, _ in alone.asked if "too-often" in path]
    assert 1 < len(tries) < 12


def test_datasets_reads_glue_at_a_commit(alone, python):
    code = (
        "import datasets; found = datasets.load_dataset('nyu-mll/glue', 'rte', revision=%r); "
        "print({name: [part.num_rows, part[0]['sentence1']] for name, part in found.items()})"
    )
    done = python("-c", code % COMMIT)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "{'train': [4, 'one'], 'validation': [2, 'five']}"
    assert {path for path, _ in downloads(alone) if path.endswith(".parquet")} == {
        f"datasets/nyu-mll/glue/resolve/{COMMIT}/{file}" for file in (TRAIN, VALIDATION)
    }


# --- a model, and a project that fetches from the hub ----------------------------------------------------------------

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "one", "two"]
SHAPE = {
    "model_type": "bert", "vocab_size": len(WORDS), "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2,
    "intermediate_size": 16, "max_position_embeddings": 32,
}  # fmt: skip
READ = """
import sys
from transformers import AutoConfig, AutoModel, AutoTokenizer

where = {"pretrained_model_name_or_path": "owner/tiny-bert", "revision": sys.argv[1]}
config, tokenizer = AutoConfig.from_pretrained(**where), AutoTokenizer.from_pretrained(**where)
model = AutoModel.from_pretrained(**where)
tokens = tokenizer("two one", return_tensors="pt")
print(config.hidden_size, tokens["input_ids"].tolist(), model(**tokens).last_hidden_state.shape[1:].numel())
print(float(model.embeddings.word_embeddings.weight[4].sum()))
try:
    AutoConfig.from_pretrained("owner/tiny-bert", revision="f" * 40)
except OSError as error:
    print(error)
"""


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The files of a random BERT with a tokenizer of six words."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("bert")
    BertModel(BertConfig(**SHAPE)).save_pretrained(folder)
    tokenizer = Tokenizer(models.WordLevel({word: index for index, word in enumerate(WORDS)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    tokenizer.save(str(folder / "tokenizer.json"))
    said = {"tokenizer_class": "PreTrainedTokenizerFast", "pad_token": "[PAD]", "unk_token": "[UNK]"}
    (folder / "tokenizer_config.json").write_text(json.dumps(said), encoding="utf-8")
    return {file.name: file.read_bytes() for file in folder.iterdir()}


@pytest.mark.slow
def test_transformers_reads_config_tokenizer_and_weights_at_a_commit(alone, python, bert):
    alone.repositories["models/owner/tiny-bert"] = Repository(COMMIT, bert)
    done = python("-c", READ, COMMIT)
    assert done.returncode == 0, done.stderr
    numbers, total, refused = done.stdout.split("\n", 2)
    assert numbers == "8 [[2, 5, 4, 3]] 32"
    assert float(total) == pytest.approx(
        float(load(bert["model.safetensors"])["embeddings.word_embeddings.weight"][4].sum())
    )
    asked = {path for path, _ in downloads(alone) if "/resolve/" in path}
    assert asked
    assert {path.split("/")[3] for path in asked} == {COMMIT}
    assert f"{OTHER} is not a valid git identifier" in refused


CONFIGS = {
    "tasks/rte.yaml": """
title: RTE
type: classification
input: text
source: rte
reader:
  method: parquet
  files: {train: TRAIN, validation: VALIDATION}
  text: sentence1
  text_pair: sentence2
  label: label
labels: [yes, no]
metric: accuracy
splits:
  official: {train: train, dev: validation}
  rows: {train: 4, validation: 2}
""",
    "experiments/student.yaml": """
label: Student
student: {max_length: 8, start: {source: tiny-bert}}
stages:
  - data: [train]
    epochs: 1
    batch_size: 2
    optimiser: {method: adamw, learning_rate: 1.0e-4}
    loss: {hard: {method: hard, weight: 1.0}}
""",
    "experiments/floor.yaml": """
label: Floor
baseline: {method: majority}
""",
    "studies/student.yaml": """
title: With a model
tables:
  rte: {title: RTE, tasks: [rte], seeds: [0], rows: [{experiment: student}]}
""",
    "studies/floor.yaml": """
title: Without a model
tables:
  rte: {title: RTE, tasks: [rte], seeds: [0], rows: [{experiment: floor}]}
""",
}


def tiny(root: Path, bert: dict[str, bytes]) -> Path:
    """A project with a task and a student that come from the hub, the student's weights as a pickle."""
    told = {"licence": "none", "citation": "nobody"}
    data = source(files={name: digest(GLUE[name]) for name in (TRAIN, VALIDATION)})
    data["origin"]["files"] = [TRAIN, VALIDATION]
    pinned = {"pytorch_model.bin": digest(bert["pytorch_model.bin"])}
    model = {**source("owner/tiny-bert", "model", files=pinned), "config": SHAPE}
    model |= {"kind": "model", "format": "torch-pickle"}
    model["origin"]["files"] = sorted(bert)
    files = {**CONFIGS, "sources.yaml": json.dumps({"rte": data | told, "tiny-bert": model | told})}
    for name, text in files.items():
        (root / "configs" / name).parent.mkdir(parents=True, exist_ok=True)
        (root / "configs" / name).write_text(text.replace("TRAIN", TRAIN).replace("VALIDATION", VALIDATION), "utf-8")
    return root


@pytest.fixture
def pickled(bert: dict[str, bytes]) -> dict[str, bytes]:
    """The same BERT as it was published before there were safetensors."""
    stream = io.BytesIO()
    torch.save(load(bert["model.safetensors"]), stream)
    return {name: content for name, content in bert.items() if name != "model.safetensors"} | {
        "pytorch_model.bin": stream.getvalue()
    }


@pytest.fixture
def project(alone: Hub, python: Python, pickled: dict[str, bytes], tmp_path: Path) -> Callable[..., Any]:
    """Runs `redistill fetch` for a study of a project whose task and student come from the hub."""
    alone.repositories["models/owner/tiny-bert"] = Repository(COMMIT, pickled)
    root = tiny(tmp_path / "project", pickled)
    return lambda study, *names: python("-m", "redistill", "fetch", *names, "--study", study, cwd=root)


@pytest.mark.slow
def test_a_project_fetches_data_and_a_model_from_the_hub(project, tmp_path, bert, pickled, monkeypatch):
    done = project("student")
    assert done.returncode == 0, done.stderr
    store = tmp_path / "project" / "store"
    (data,), (model,) = (list(store.glob(f"{area}/*/done.json")) for area in ("data", "models"))
    assert {file: (data.parent / file).read_bytes() for file in (TRAIN, VALIDATION)} == {
        file: GLUE[file] for file in (TRAIN, VALIDATION)
    }
    weights = (model.parent / "model.safetensors").read_bytes()
    expected = load(bert["model.safetensors"])
    assert {name: tensor.tolist() for name, tensor in load(weights).items()} == {
        name: tensor.tolist() for name, tensor in expected.items()
    }
    assert not (model.parent / "pytorch_model.bin").exists()
    counts = json.loads((model.parent / "counts.json").read_text(encoding="utf-8"))
    assert counts["converted"] == {
        "pytorch_model.bin": digest(pickled["pytorch_model.bin"]), "model.safetensors": digest(weights)
    }  # fmt: skip
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    assert project("student").returncode == 0


@pytest.mark.slow
def test_a_refusal_and_a_wrong_file_are_said_in_one_sentence_and_nothing_gets_into_the_store(alone, project, tmp_path):
    alone.repositories["datasets/nyu-mll/glue"] = Repository(COMMIT, GLUE, 401, {"X-Error-Code": "GatedRepo"})
    refused = project("floor", "rte")
    assert refused.returncode == 1
    assert f"nyu-mll/glue: {TRAIN}: its authors ask for their terms to be accepted" in refused.stderr
    assert "Traceback" not in refused.stderr

    wrong = rows("not", "what", "was", "pinned")
    alone.repositories["datasets/nyu-mll/glue"] = Repository(COMMIT, {**GLUE, TRAIN: wrong})
    refused = project("floor", "rte")
    assert refused.returncode == 1
    assert f"{TRAIN}: SHA-256 is {digest(wrong)}, expected {digest(GLUE[TRAIN])}." in refused.stderr
    assert "remove it with `hf cache rm dataset/nyu-mll/glue`, and start again" in refused.stderr
    assert "Traceback" not in refused.stderr
    assert not list((tmp_path / "project" / "store").glob("data/*"))
