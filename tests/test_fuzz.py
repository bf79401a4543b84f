"""Fuzzing the language of the configurations: whatever stands in them, they are refused in words, or they are right.

A config is changed as a tree (keys dropped, renamed and made up, values and types exchanged), as lines and as bytes.
Each time `make_plan` must give a plan or say what is wrong and where: no other exception, no hang, nothing executed.
REDISTILL_FUZZ=10000 tries so many changes, from a seed that is printed; REDISTILL_FUZZ_SEED repeats them.
"""

import copy
import hashlib
import json
import os
import re
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import pytest
import yaml
from conftest import REPOSITORY
from hypothesis import Phase, given, note, seed, settings
from hypothesis import strategies as st

from redistill.config import compose
from redistill.config.parse import Document, load, parse
from redistill.errors import ConfigError, Problem
from redistill.plan import Plan, make_plan
from redistill.provenance.keys import canonical

EXAMPLES = int(os.environ.get("REDISTILL_FUZZ", "600"))
LONG = "REDISTILL_FUZZ" in os.environ
SEED = int(os.environ.get("REDISTILL_FUZZ_SEED", int(time.time()) if LONG else 0))
PATIENCE = 30  # seconds of this process's own time for one plan
HURRY = 15  # seconds of it within which a file that was made to do harm must be refused

CANARY = "from pathlib import Path\nPath(__file__).with_name('touched').write_text('x')\n"
PLUGIN = (
    "def scaled(student_logits, teacher_logits, *, scale: float = 1.0, mode: str = 'sum'):\n    return student_logits\n"
)
JARGON = re.compile(r"union_tag|function-|instance of|discriminator|pydantic|object at 0x|Traceback|NoneType|Input ")

# One study that says everything that can be said: a change anywhere in the language is a change of these files.
RICH = {
    "studies/rich.yaml": """
title: Everything
runtime: {precision: bfloat16, device: cuda, devices: 2, threads: 2, portable: false}
checkpoints: {steps: 50, seconds: null}
plugins:
  ours: {kind: loss, file: plugins/scaled.py, sha256: DIGEST}
tables:
  texts:
    title: Texts
    tasks: [movie, nyt, glue/mnli]
    seeds: [0, 1]
    rows:
      - {experiment: text/majority, seeds: [0]}
      - {experiment: text/tfidf, seeds: [0], tasks: [movie, nyt]}
      - {experiment: text/student-agnostic-kd, tasks: [movie]}
      - {experiment: rich/text}
      - {experiment: rich/text, name: longer, label: Longer, set: {stages.0.steps: 9, notes: {steps: "9"}}}
      - experiment: rich/text
        name: grid
        tasks: [movie]
        set:
          stages.1.loss.soft.weight: {grid: [0.5, 1]}
          stages.0.clip_norm: {grid: [1.0, null]}
    comparisons:
      - {row: longer, against: rich/text, tasks: [nyt]}
      - {row: rich/text, against: text/majority}
  images:
    title: Images
    tasks: [digits]
    seeds: [0]
    choose: {split: select, trials: 2}
    rows:
      - {experiment: image/majority}
      - {experiment: image/linear, set: {baseline.c: {grid: [0.1, 1.0]}}}
      - {experiment: rich/image, set: {stages.0.optimiser.learning_rate: {grid: [1.0e-3, 1.0e-2]}}}
  published:
    title: Published
    tasks: [cifar/cifar10]
    seeds: [0]
    rows:
      - {experiment: cifar/resnet-20}
""",
    "experiments/rich/text.yaml": """
extends: ../text/base
label: Rich text
notes: {teachers: "two"}
teachers:
  tuned: {experiment: text/teacher, seed: 1}
  raw: {source: bert-base-uncased}
student:
  tokenizer: minilm
  max_length: 32
  start: {source: minilm, layers: [0, 2, 4]}
modules:
  project: {method: linear, of: student, input: bert.encoder.layer.0, like: encoder.layer.1, bias: false}
stages:
  - data: [train, transfer]
    steps: 7
    batch_size: 16
    accumulate: 2
    frozen: [bert.embeddings]
    optimiser:
      method: adamw
      learning_rate: 1.0e-4
      weight_decay: 0.0
      decay: all
      layer_decay: 0.9
      beta1: 0.8
      groups:
        - {modules: [classifier], rate: 10.0, weight_decay: 0.1}
    schedule: {method: cosine, warmup: 0.1, floor: 0.01}
    precision: float32
    loss:
      hidden:
        method: tinybert_hidden
        weight: {first: 1.0, last: 0.0, begin: 0.1, end: 0.9}
        teacher: raw
        taps: {student: [modules.project], teacher: ["encoder.layer.1:output.0"]}
  - data: [train]
    epochs: 1
    batch_size: 8
    trained: [classifier]
    clip_norm: 1.0
    rebuild:
      student: {start: {source: minilm, random: true}}
      keep: [bert.embeddings]
    optimiser: {method: sgd, learning_rate: 0.1, momentum: 0.9}
    schedule: {method: multistep, milestones: [0.5, 0.75]}
    loss:
      hard: {method: hard, weight: 0.5}
      soft: {method: kd, weight: 0.5, teacher: tuned, temperature: 2.0}
      ours: {method: scaled, weight: 0.1, teacher: tuned, scale: 2}
evaluation: {checkpoint: best, split: dev, batch_size: 32}
per_task:
  nyt: {stages.0.steps: 3, evaluation.metrics: [pearson]}
  glue/mnli: {stages.0.data: [train], student.tokenizer: null}
set:
  stages.0.optimiser.epsilon: 1.0e-7
""",
    "experiments/rich/image.yaml": """
label: Rich image
student:
  architecture: {method: cnn, channels: [4, 8], hidden: 16, dropout: 0.1}
  start: {experiment: image/teacher, task: digits, seed: 2, fresh: [head]}
teacher: {experiment: image/teacher}
modules:
  factors: {method: paraphraser, of: teacher, input: features, rate: 0.5}
stages:
  - data: [train]
    steps: 5
    batch_size: 8
    optimiser: {learning_rate: 1.0e-3}
    loss: {hard: {method: hard, weight: 1.0}}
  - data: [transfer]
    steps: 5
    batch_size: 8
    rebuild: {student: {architecture: {method: wide_resnet, depth: 10, width: 1}}}
    optimiser: {method: adam, learning_rate: 1.0e-3}
    schedule: {method: constant}
    loss: {soft: {method: kd, weight: 1, t_squared: false}}
""",
}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> "Project":
    """A project with canaries: a plugin, and a module on Python's path, that leave a mark when they are imported."""
    root = tmp_path_factory.mktemp("fuzz") / "project"
    shutil.copytree(REPOSITORY / "configs", root / "configs")
    plugin = root / "plugins" / "scaled.py"
    plugin.parent.mkdir()
    plugin.write_text(CANARY + PLUGIN, encoding="utf-8")
    digest = hashlib.sha256(plugin.read_bytes()).hexdigest()
    for name, text in RICH.items():
        file = root / "configs" / name
        file.parent.mkdir(exist_ok=True)
        file.write_text(text.lstrip().replace("DIGEST", digest), encoding="utf-8")
    (root / "plugins" / "canary.py").write_text(f"{CANARY}def touch(*_): ...\n", encoding="utf-8")
    files = {str(f.relative_to(root)): f.read_bytes() for f in (*root.rglob("*.yaml"), plugin)}
    return Project(root, files, digest, {study: reached(root, study) for study in ("embedded", "rich")})


def reached(root: Path, study: str) -> list[str]:
    """The files that a study reads."""
    names = []

    def noted(file: Path, shown_as: str) -> Document:
        names.append(shown_as)
        return load(file, shown_as)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compose, "load", noted)
        make_plan(root, study)
    return sorted(set(names))


@pytest.fixture(autouse=True)
def canary(project: "Project", monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(project.root / "plugins"))


@dataclass
class Project:
    """A project whose files are spoilt and mended again."""

    root: Path
    files: dict[str, bytes]
    digest: str  # of the plugin
    reached: dict[str, list[str]]  # the files that a study reads

    @contextmanager
    def spoilt(self, changed: dict[str, bytes]) -> Iterator[None]:
        """Other content for these files, in the place of theirs or beside them; all is as it was afterwards."""
        for name, content in changed.items():
            file = self.root / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content.replace(b"DIGEST", self.digest.encode()))
        try:
            yield
        finally:
            for name in changed:
                if name in self.files:
                    (self.root / name).write_bytes(self.files[name])
                else:
                    (self.root / name).unlink()

    @contextmanager
    def without(self, name: str) -> Iterator[Path]:
        """The place of a file that is gone, and may be taken by anything else until then."""
        file = self.root / name
        file.unlink()
        try:
            yield file
        finally:
            file.rmdir() if file.is_dir() else file.unlink(missing_ok=True)
            file.write_bytes(self.files[name])

    def outcome(self, study: str = "rich") -> Plan | list[Problem]:
        """The plan, or what is wrong; anything else that happens is a fault."""
        try:
            with patience(PATIENCE):
                plan = make_plan(self.root, study)
        except ConfigError as error:
            self.check_problems(error.problems)
            return error.problems
        finally:
            assert not (self.root / "plugins" / "touched").exists(), "code was executed"
            assert "torch" not in sys.modules or TORCH_BEFORE, "torch was imported"
        self.check_plan(plan, study)
        return plan

    def check_problems(self, problems: list[Problem]) -> None:
        assert problems
        lines = {name: lines_of(self.root / name) for name in {problem.file for problem in problems}}
        for problem in problems:
            assert 1 <= problem.line <= lines[problem.file] + 1, f"no such line: {problem}"
            assert problem.column >= 1
            assert problem.message.strip()
            assert len(str(problem)) < 2000, f"too long: {problem.message[:200]}"
            assert not JARGON.search(problem.message), f"not in words: {problem}"
            assert str(problem).isprintable(), f"not one line of text: {problem}"

    def check_plan(self, plan: Plan, study: str) -> None:
        assert list(make_plan(self.root, study).nodes) == list(plan.nodes)
        for node in plan.nodes.values():
            text = canonical(node.parts)
            assert canonical(json.loads(text)) == text
            assert all(key in plan.nodes for key in node.inputs.values())
        assert len({(r.table, r.experiment, r.task, r.seed) for r in plan.runs}) == len(plan.runs)


TORCH_BEFORE = "torch" in sys.modules


class TooSlow(BaseException):
    """Not an `Exception`, so that nothing on its way takes it for a mistake in a file."""


@contextmanager
def patience(seconds: float) -> Iterator[None]:
    """Interrupt what takes longer; time that other processes take does not count."""

    def give_up(*_: Any) -> None:
        raise TooSlow(f"more than {seconds} s")

    before = signal.signal(signal.SIGVTALRM, give_up)
    signal.setitimer(signal.ITIMER_VIRTUAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)


def lines_of(file: Path) -> int:
    """How many lines a file has, as YAML 1.1 breaks them."""
    assert file.exists(), f"no such file: {file}"
    text = file.read_bytes().decode("utf-8", errors="replace") if file.is_file() else ""
    return len(re.split("\r\n|[\n\r\x85\u2028\u2029]", text))


# --- changes of a tree -----------------------------------------------------------------------------------------------

STRANGE: list[Any] = [
    None, True, False, 0, 1, -1, 2, 3, 7, 10**9, 2**32, 10**18, 10**30, 0.5, -0.5, 1.0, 1e308, 1e-320, float("inf"),
    "", " ", "x", "²", "٣", "-1", "0", "99", "1" * 5000, "a b", "a\nb", "a.b", ".", "..", "../..", "/", "null", "NULL",
    "1e999", "0x10", "\x00", "\x1b[2J", "\u202e", "\ud800", "é", "😀", "a" * 130, "-", "~", "<<", "=", "*", "&a", "{}",
    "student", "teacher", "modules.project", "modules.", "dev", "train", "official", "loss", "extends", "set", "grid",
    [], {}, [[]], [None], [1, 1], ["x", "x"], [True, 1, 1.0], {"": None}, {"a": {"b": {}}}, {"grid": []}, {"x": [{}]},
    {"grid": [1, 2]}, {"grid": [[], {}]}, {"grid": [1, "1", 1.0]}, {"grid": list(range(40))}, {"official": 1},
    {"type": "hub"}, {"first": 1}, {"official": {"dev": "x"}, "rows": {"x": 1}}, {"method": "kd"}, {"method": []},
]  # fmt: skip

Slot = tuple[Any, Any]  # a container and a key or index in it


def slots(tree: Any) -> list[Slot]:
    found: list[Slot] = []
    waiting = [tree]
    while waiting:
        node = waiting.pop()
        keys = list(node) if isinstance(node, dict) else range(len(node)) if isinstance(node, list) else []
        for key in keys:
            found.append((node, key))
            waiting.append(node[key])
    return found


def depth(tree: Any) -> int:
    children = tree.values() if isinstance(tree, dict) else tree if isinstance(tree, list) else []
    return 1 + max(map(depth, children), default=0)


def rename(node: Any, old: Any, new: Any) -> None:
    """Rename a key of a mapping where it stands; in a list, give the entry's place another entry."""
    if isinstance(node, dict):
        entries = [(new if key == old else key, value) for key, value in node.items()]
        node.clear()
        node.update(entries)
    else:
        node[old] = new


@dataclass
class Words:
    """What the configs are made of: keys, and values small and large."""

    keys: list[str]
    values: list[Any]

    @classmethod
    def of(cls, project: Project) -> "Words":
        names = sorted(name for name in project.files if name.endswith(".yaml"))
        trees = [load(project.root / name).data for name in names]
        found = [slot for tree in trees for slot in slots(tree)]
        keys = sorted({key for node, key in found if isinstance(node, dict)})
        values = {canonical(node[key]): node[key] for node, key in found}
        return cls(keys, [values[text] for text in sorted(values) if len(text) < 2000])


def typo(random: Random, word: str) -> str:
    i = random.randrange(len(word) + 1)
    return random.choice([word[:i] + word[i + 1 :], word[:i] + "x" + word[i:], word.upper(), word + ".0", word * 2, ""])


def some_value(random: Random, words: Words) -> Any:
    return copy.deepcopy(random.choice(random.choice([STRANGE, words.values])))


def change_tree(random: Random, tree: Any, words: Words) -> None:
    """One change somewhere in a tree."""
    node, key = random.choice(slots(tree) or [({}, "")])
    value = node.get(key) if isinstance(node, dict) else node[key]
    kind = random.randrange(12)
    if kind == 0 and node:
        del node[key]
    elif kind == 1:
        rename(node, key, typo(random, str(key)))
    elif kind == 2:
        rename(node, key, random.choice(words.keys))
    elif kind in (3, 4):
        node[key] = some_value(random, words)
    elif kind == 5:
        node[key] = random.choice([[value], {"x": value}, {str(key): value}, str(value), {"grid": [value, value]}])
    elif kind == 6 and isinstance(value, list | dict):
        node[key] = type(value)()
    elif kind == 7 and isinstance(value, list):
        random.shuffle(value)
        value.extend(value[:1])
    elif kind == 8 and isinstance(value, int | float):
        node[key] = random.choice([-value, value * 10**9, float(value), str(value), 1 - value, value / 3])
    elif kind == 9 and isinstance(value, dict):
        other, name = random.choice(slots(tree))
        value[str(name)] = copy.deepcopy(other[name])
    elif kind == 10 and isinstance(value, dict):
        path = ".".join(str(random.choice([0, 1, *words.keys, "²"])) for _ in range(random.randrange(1, 5)))
        part = random.choice(["set", "set", "per_task", "choose", "plugins", "extends", path])
        value[part] = random.choice([{path: some_value(random, words)}, some_value(random, words)])
    else:
        owner, other = random.choice(slots(tree) or [(node, key)])
        there = owner.get(other) if isinstance(owner, dict) else owner[other]
        owner[other], node[key] = copy.deepcopy(value), copy.deepcopy(there)


def changed_tree(random: Random, content: bytes, words: Words) -> bytes:
    try:
        tree = copy.deepcopy(parse(content, "").data)
    except ConfigError:  # an earlier change left no tree
        return changed_lines(random, content, words)
    if not isinstance(tree, dict):
        return content
    for _ in range(random.choice([1, 1, 1, 2, 3])):
        change_tree(random, tree, words)
    if depth(tree) > 40:
        return content
    flow = random.choice([False, None, True])
    text = yaml.safe_dump(tree, sort_keys=False, default_flow_style=flow, allow_unicode=random.random() < 0.5)
    return text.encode("utf-8", errors="surrogatepass")


# --- changes of text and of bytes ------------------------------------------------------------------------------------

TOKENS = [
    "&a ", "*a", "&a *a", "!!python/object/apply:canary.touch [1]", "!!python/name:canary.touch ", "!!str ", "! ",
    "<<: ", "---\n", "...\n", "\t", "\r", "\r\n", "\n", "{", "}", "[", "]", ": ", "? ", "- ", ", ", "#", " #", "'", '"',
    "|\n", ">-\n", "%YAML 1.1\n", "\ufeff", "\u2028", "\x85", "\x00", "\\", "@", "`", "~", "0", "-", "e9", "é", "  ",
]  # fmt: skip


def changed_lines(random: Random, content: bytes, words: Words) -> bytes:
    lines = content.decode("utf-8", errors="replace").split("\n")
    i, j = random.randrange(len(lines)), random.randrange(len(lines))
    kind = random.randrange(8)
    if kind == 0:
        del lines[i]
    elif kind == 1:
        lines.insert(j, lines[i])
    elif kind == 2:
        lines[i], lines[j] = lines[j], lines[i]
    elif kind == 3:
        lines[i] = random.choice([" ", "  ", "\t", "    ", "- "]) + lines[i]
    elif kind == 4:
        lines[i] = lines[i].lstrip() if random.random() < 0.5 else lines[i][1:]
    elif kind == 5:
        lines[i] = lines[i][: random.randrange(len(lines[i]) + 1)]
    elif kind == 6:
        at = random.randrange(len(lines[i]) + 1)
        lines[i] = lines[i][:at] + random.choice(TOKENS) + lines[i][at:]
    else:
        found = re.findall(r"[\w./-]+", lines[i])
        old = random.choice(found) if found else ""
        new = random.choice([*words.keys, "0", "-1", "²", "x"])
        lines[i] = lines[i].replace(old, new, 1) if old else new
    return random.choice(["\n", "\n", "\n", "\r\n"]).join(lines).encode("utf-8", errors="surrogatepass")


def changed_bytes(random: Random, content: bytes, words: Words) -> bytes:
    changed = bytearray(content or b"\n")
    for _ in range(random.choice([1, 1, 2, 8])):
        at = random.randrange(len(changed))
        if random.random() < 0.5:
            changed[at] ^= 1 << random.randrange(8)
        else:
            changed[at:at] = random.choice([b"\x00", b"\xff", b"\xef\xbb\xbf", b"\xed\xa0\x80", b":", b"\n", b" "])
    return bytes(changed)


CHANGES: list[Callable[[Random, bytes, Words], bytes]] = [changed_tree] * 5 + [changed_lines] * 3 + [changed_bytes]


def spoil(random: Random, project: Project, words: Words) -> tuple[str, dict[str, bytes]]:
    """A study, and a few changes in one or two of the files that it reads."""
    study = random.choice(["rich", "rich", "rich", "embedded"])
    rich = [name for name in project.reached[study] if name.removeprefix("configs/") in RICH]
    changed: dict[str, bytes] = {}
    for _ in range(random.choice([1, 1, 1, 2])):
        name = random.choice(random.choice([rich, project.reached[study]]) or project.reached[study])
        change = random.choice(CHANGES)
        changed[name] = change(random, changed.get(name, project.files[name]), words)
    return study, changed


@pytest.fixture(scope="module")
def words(project: Project) -> Words:
    return Words.of(project)


def test_the_rich_study_is_accepted_as_it_is(project):
    plan = project.outcome()
    assert isinstance(plan, Plan), plan
    everything = canonical([node.parts for node in plan.nodes.values()])
    assert {"scaled", "tinybert_hidden", "paraphraser", "multistep"} <= set(re.findall(r'"method":"(\w+)"', everything))


def test_no_torch_is_imported_and_no_code_executed_in_a_process_of_its_own(project, python):
    script = "import sys; from pathlib import Path; from redistill.plan import make_plan\n"
    script += "make_plan(Path.cwd(), 'rich'); print('torch' in sys.modules, 'canary' in sys.modules)"
    done = python("-c", script, cwd=project.root)
    assert done.stdout == "False False\n", done.stderr
    assert not (project.root / "plugins" / "touched").exists()


@pytest.mark.timeout(max(300, EXAMPLES))
def test_changed_configs_are_refused_in_words_or_are_right(project, words, capsys):
    if LONG:
        with capsys.disabled():
            print(f"\n{EXAMPLES} examples, REDISTILL_FUZZ_SEED={SEED}")
    counts = {"accepted": 0, "refused": 0}

    @seed(SEED)
    @settings(max_examples=EXAMPLES, deadline=None, database=None, phases=[Phase.generate])
    @given(st.integers(0, 2**64))
    def attempt(number: int) -> None:
        study, changed = spoil(Random(number), project, words)
        for name, content in changed.items():
            note(f"--- {name}\n{content.decode('utf-8', errors='backslashreplace')}")
        with project.spoilt(changed):
            outcome = project.outcome(study)
        counts["accepted" if isinstance(outcome, Plan) else "refused"] += 1

    attempt()
    if LONG:
        with capsys.disabled():
            print(counts)
    assert counts["accepted"] > EXAMPLES / 50, "the changes are too rude to reach far"
    assert counts["refused"] > EXAMPLES / 10


# --- files made to do harm -------------------------------------------------------------------------------------------

STUDY, TEXT, SOURCES = "configs/studies/rich.yaml", "configs/experiments/rich/text.yaml", "configs/sources.yaml"
MOVIE, POOL = "configs/tasks/movie.yaml", "configs/tasks/all-text.yaml"
MANY = range(20_000 if LONG else 2_000)  # the reading takes most of the time


def bomb(levels: int, leaf: str = "x") -> str:
    """Lists of aliases of lists of aliases: small to write, endless to read."""
    lines = [f"a0: &a0 [{leaf}]", *(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, levels))]
    return "\n".join(lines)


def changed(old: str, new: str, file: str = STUDY) -> str:
    """A file of the rich study with one text in it replaced."""
    text = RICH[file.removeprefix("configs/")]
    assert old in text, f"no {old!r} in {file}"
    return text.replace(old, new, 1)


def table(*rows: str, tasks: Any = "[movie]", seeds: Any = "[0]", more: str = "") -> str:
    """A study of one table with these rows."""
    head = "title: x\nplugins: {ours: {kind: loss, file: plugins/scaled.py, sha256: DIGEST}}\n"
    head += f"tables:\n  t:\n    title: x\n    tasks: {tasks}\n    seeds: {seeds}\n    rows:\n"
    return head + "".join(f"      - {{{row}}}\n" for row in rows) + more


def over(text: str) -> str:
    """An experiment that says this and extends another one."""
    return f"extends: ../text/base\n{text}"


def task(text: str) -> str:
    """A task on the sentences of movie reviews that says this."""
    return f"extends: text-classification\nreader: {{file: x}}\n{text}"


def source(origin: str) -> str:
    return f"vader: {{kind: data, origin: {origin}, licence: x, citation: x}}"


MAJORITY, RICH_ROW = "experiment: text/majority", "experiment: rich/text"
AXES = ", ".join(f"a{i}: {{grid: [1, 2, 3, 4]}}" for i in range(30))
ALIKE = "set: {stages.0.steps: {grid: [1, 1.0, '1', [1], {}]}}"
POOLED = "title: x\ninput: text\n"
START = "  tokenizer: minilm\n  max_length: 32\n  start: {source: minilm, layers: [0, 2, 4]}\n"

HOSTILE: dict[str, tuple[str, str | bytes]] = {
    "alias bomb": (STUDY, bomb(9)),
    "alias bomb in the sources": (SOURCES, bomb(9)),
    "alias bomb of a long text": (STUDY, bomb(5, "x" * 90_000)),
    "alias bomb of long keys": (STUDY, bomb(5, f"{{? {'x' * 90_000} : 1}}")),
    "anchor that holds itself": (STUDY, "a: &a [*a]"),
    "anchor that is the file": (STUDY, "&a {tables: *a, title: x}"),
    "alias of nothing": (STUDY, "a: *b"),
    "tag that runs": (STUDY, "title: !!python/object/apply:canary.touch [1]"),
    "tag that imports": (STUDY, "title: !!python/module:canary"),
    "tag on a key": (STUDY, "!!python/name:canary.touch title: x"),
    "tag on the file": (STUDY, "!!python/object/new:canary.touch {}"),
    "tag by a directive": (STUDY, "%TAG !y! tag:yaml.org,2002:python/\n---\nx: !y!object/apply:canary.touch [1]"),
    "directive of a version without end": (STUDY, f"%YAML 1.{'9' * 5000}\n---\na: 1"),
    "more than a file may hold": (STUDY, b"# " + b"x" * 2_000_000),
    "one long line": (STUDY, "title: " + "x" * 900_000),
    "one long key": (STUDY, "x" * 900_000 + ": 1"),
    "one long key, said to be one": (STUDY, f"? {'x' * 900_000}\n: 1"),
    "many keys": (STUDY, "\n".join(f"k{i}: {i}" for i in MANY)),
    "many sources": (SOURCES, "\n".join(f"k{i}: {{kind: data}}" for i in MANY)),
    "many sources that are nothing": (SOURCES, "\n".join(f"k{i}:" for i in MANY)),
    "many values": (STUDY, f"title: [{','.join(map(str, range(7 * len(MANY))))}]"),
    "many brackets": (STUDY, "[" * 400_000),
    "many braces": (STUDY, "{" * 400_000),
    "many dashes": (STUDY, "- " * 400_000),
    "many question marks": (STUDY, "? " * 400_000),
    "many colons": (STUDY, "a: " * 300_000),
    "many documents": (STUDY, "---\na: 1\n" * 50_000),
    "many anchors": (STUDY, "\n".join(f"k{i}: &a{i} x" for i in MANY)),
    "deep": (STUDY, "".join(f"{' ' * i}a:\n" for i in range(1200))),
    "empty": (STUDY, b""),
    "null": (STUDY, "null"),
    "only a text": (STUDY, "hello"),
    "only a number": (STUDY, "10"),
    "a list": (STUDY, "- title: x"),
    "sources that are a list": (SOURCES, "[1, 2]"),
    "NUL": (STUDY, b"title: x\ny: \x00\n"),
    "binary": (STUDY, bytes(range(256)) * 100),
    "UTF-16": (STUDY, "title: x".encode("utf-16")),
    "UTF-32": (STUDY, "title: x".encode("utf-32")),
    "surrogates as bytes": (STUDY, b"title: \xed\xa0\x80"),
    "surrogates as an escape": (STUDY, r'title: "\ud800"'),
    "surrogates in a key": (STUDY, r'"\ud800": 1'),
    "code point that is none": (STUDY, r'title: "\UFFFFFFFF"'),
    "line separators": (STUDY, "title: x\u2028tabels: {}\x85x: 1"),
    "BOM inside": (STUDY, "title: x\n\ufefftables: {}"),
    "carriage returns": (STUDY, "title: x\rtabels: {}\r"),
    "tabs": (STUDY, "title: x\ntables:\n\tt: 1"),
    "what moves the cursor": (STUDY, r'"\e[2J\r\n": 1'),
    "merge keys": (STUDY, "a: &a {x: 1}\nb: {<<: *a}"),
    "merge key in quotes": (STUDY, "a: {'<<': {x: 1}}"),
    "two documents": (STUDY, "title: x\n---\ntitle: y"),
    "end in the middle": (STUDY, "title: x\n...\ntables: {}"),
    "list for a key": (STUDY, "? [a, b]\n: 1"),
    "mapping for a key": (STUDY, "{a: 1}: 2"),
    "key that stands twice": (STUDY, "title: x\ntitle: y"),
    "numbers for keys": (STUDY, "1: x\n1.0: y\nnull: z\ntrue: x"),
    "number without end": (STUDY, changed("seeds: [0, 1]", f"seeds: [{'9' * 5000}]")),
    "number larger than numbers": (STUDY, changed("seeds: [0, 1]", "seeds: [1e999]")),
    "weight larger than numbers": (TEXT, changed("0.5, teacher", "1e999, teacher", TEXT)),
    "weight as a list": (TEXT, changed("0.5, teacher", "[1], teacher", TEXT)),
    "weight as half a ramp": (TEXT, changed("0.5, teacher", "{first: x}, teacher", TEXT)),
    "extends itself": (STUDY, "extends: rich"),
    "extends itself by another way": (TEXT, "extends: ../rich/../rich/text"),
    "extends out of the configs": (TEXT, "extends: ../../../plugins/scaled.py"),
    "extends out of the project": (TEXT, "extends: ../../../../../../../../etc/passwd"),
    "extends from the root": (TEXT, "extends: /etc/passwd"),
    "extends a list": (TEXT, "extends: [base]"),
    "extends nothing": (TEXT, "extends:"),
    "extends the empty name": (TEXT, "extends: ''"),
    "extends NUL": (TEXT, r'extends: "\0"'),
    "extends a name without end": (TEXT, f"extends: {'x' * 5000}"),
    "extends a path without end": (TEXT, f"extends: {'x/' * 10_000}"),
    "extends a folder": (TEXT, "extends: ."),
    "set a list": (TEXT, "set: [1]"),
    "set nothing": (TEXT, "set:"),
    "set in a file of nothing else": (TEXT, "set: {a.b.c: 1}"),
    "set a path without end": (TEXT, over(f"set:\n  ? {'a.' * 5000}b\n  : 1")),
    "set an empty path": (TEXT, over("set: {'': 1, '.': 2, '..': 3}")),
    "set an index that is no number": (TEXT, over("set: {stages.²: 1, stages.٣: 1, stages.-1: 1}")),
    "set an index without end": (TEXT, over(f"set:\n  ? stages.{'9' * 5000}\n  : 1")),
    "set what is for a task": (TEXT, over("set: {per_task.movie.x.y: 1, per_task.nyt: [1], per_task.tweets: 3}")),
    "per_task of nothing": (TEXT, over("per_task: {movie: }")),
    "per_task of per_task": (TEXT, over("per_task: {movie: {per_task.movie: {label: 1}, extends: x, set: 1}}")),
    "per_task of many": (TEXT, over("per_task:\n" + "".join(f"  t{i}: {{label: x}}\n" for i in MANY))),
    "grid without end": (STUDY, table(f"{RICH_ROW}, set: {{{AXES}}}")),
    "long grid": (STUDY, table(f"{RICH_ROW}, set: {{label: {{grid: {list(MANY)}}}}}")),
    "grid of the same": (STUDY, table(f"{RICH_ROW}, {ALIKE}")),
    "grid of nothing": (STUDY, table(f"{RICH_ROW}, set: {{label: {{grid: []}}}}")),
    "many seeds": (STUDY, table(MAJORITY, seeds=[*MANY, 5])),
    "many runs": (STUDY, table(*(f"{MAJORITY}, name: r{i}" for i in MANY), seeds=list(range(999)))),
    "many rows of one name": (STUDY, table(*[MAJORITY] * len(MANY))),
    "many rows of nothing": (STUDY, table(*(f"experiment: none{i}" for i in MANY))),
    "many tasks that are none": (STUDY, table(MAJORITY, tasks=f"[{', '.join(f't{i}' for i in MANY)}]")),
    "many comparisons": (
        STUDY, table(MAJORITY, more="    comparisons:\n" + "      - {row: a, against: b}\n" * len(MANY)),
    ),
    "pool of itself": (POOL, POOLED + "type: unlabelled\npool: {tasks: [all-text], splits: [train]}"),
    "pool with labels": (
        MOVIE, POOLED + "type: classification\nmetric: accuracy\npool: {tasks: [nyt], splits: [train]}",
    ),
    "column without labels": (MOVIE, task("type: unlabelled")),
    "splits as no mapping": (MOVIE, task("splits: 3")),
    "official splits, halfway": (MOVIE, task("splits: {official: {train: 3}}")),
    "kind of origin that is none": (SOURCES, source("{type: [pypi]}")),
    "origin without a type": (SOURCES, source("{}")),
    "plugin out of the project": (STUDY, changed("plugins/scaled.py", "../../../../../../../etc/passwd")),
    "plugin that is the project": (STUDY, changed("plugins/scaled.py", ".")),
    "plugin of NUL": (STUDY, changed("plugins/scaled.py", r'"\0"')),
    "plugin of a name without end": (STUDY, changed("plugins/scaled.py", "x" * 5000)),
    "plugin of another digest": (STUDY, changed("sha256: DIGEST", f"sha256: {'0' * 64}")),
    "starts from itself": (TEXT, changed(START, "  start: {experiment: rich/text}\n", TEXT)),
    "teaches itself": (TEXT, changed("experiment: text/teacher", "experiment: rich/text", TEXT)),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_a_file_made_to_do_harm_is_refused_in_words_and_in_time(project, name):
    file, content = HOSTILE[name]
    with project.spoilt({file: content.encode() if isinstance(content, str) else content}):
        start = time.process_time()
        outcome = project.outcome()
        assert time.process_time() - start < HURRY
    assert not isinstance(outcome, Plan)


@pytest.mark.parametrize(("file", "make"), [
    (TEXT, lambda file: file.symlink_to(file)),
    (TEXT, lambda file: file.symlink_to("/etc/passwd")),
    (TEXT, lambda file: file.symlink_to("/dev/zero")),
    (TEXT, lambda file: file.symlink_to("nowhere.yaml")),
    (TEXT, lambda file: file.mkdir()),
    (TEXT, os.mkfifo),
    (SOURCES, os.mkfifo),
    (SOURCES, lambda file: file.symlink_to("/dev/zero")),
    (SOURCES, lambda file: file.mkdir()),
])  # fmt: skip
def test_what_is_no_file_of_the_project_is_refused(project, file, make):
    with project.without(file) as path:
        make(path)
        assert not isinstance(project.outcome(), Plan)


def test_a_base_that_is_a_link_to_itself_or_leads_out_is_refused(project):
    link = project.root / "configs" / "experiments" / "rich" / "link.yaml"
    for target in ("link.yaml", str(project.root / "plugins" / "scaled.py")):
        link.symlink_to(target)
        with project.spoilt({TEXT: b"extends: link"}):
            (problem,) = {p for p in project.outcome() if p.file == TEXT}
        link.unlink()
        assert "is no file beside this one" in problem.message


@pytest.mark.parametrize(
    "line", ["extends: c{}", "extends: base\nstudent: {{start: {{source: null, experiment: text/c{}}}}}"]
)
def test_a_chain_of_files_without_end_is_refused(project, line):
    folder = "configs/experiments/text"
    chain = {f"{folder}/c{i}.yaml": line.format(i + 1).encode() for i in range(300)}
    with project.spoilt({**chain, STUDY: table("experiment: text/c0").encode()}):
        problems = project.outcome()
    assert any("is the end of a chain of more than 50" in problem.message for problem in problems)


def test_a_chain_of_experiments_may_be_as_long_as_it_is_in_a_table(project):
    """Each is known before the next one asks for it."""
    line = "extends: base\nstudent: {{start: {{source: null, experiment: text/{}}}}}"
    chain = {
        f"configs/experiments/text/c{i}.yaml": line.format(f"c{i - 1}" if i else "teacher").encode() for i in range(120)
    }
    rows = table(*(f"experiment: text/c{i}" for i in range(120))).encode()
    with project.spoilt({**chain, STUDY: rows}):
        assert isinstance(project.outcome(), Plan)


@pytest.mark.parametrize(("code", "words"), [
    ("def scaled(student_logits, *, scale: float = 1 / 3): ...", "plain values"),
    ("def scaled(student_logits, *, scale: float = 1e999): ...", "plain values"),
    ("def scaled(student_logits, *, scale: float = {1, 2}): ...", "plain values"),
    ("def scaled(student_logits, *, scale: Annotated[float, 'doc'] = 1.0): ...", "plain values"),
    ("def scaled(student_logits, *, scale: Annotated[float, Even(2)] = 1.0): ...", "plain values"),
    ("def scaled(student_logits, *, scale: Annotated[float] = 1.0): ...", "plain values"),
    ("def scaled(student_logits, *, scale: Literal[one] = 1.0): ...", "plain values"),
    ("def other(student_logits): ...", "defines no function"),
    ("scaled = " + "(" * 5000, "defines no function"),
    ("scaled = '\0'", "defines no function"),
])  # fmt: skip
def test_a_plugin_that_cannot_be_read_is_refused_unimported(project, code, words):
    content = f"{CANARY}{code}\n".encode()
    text = RICH["studies/rich.yaml"].replace("DIGEST", hashlib.sha256(content).hexdigest())
    with project.spoilt({"plugins/scaled.py": content, STUDY: text.encode()}):
        problems = project.outcome()
    assert any(problem.key == "plugins.ours" and words in problem.message for problem in problems)


def test_a_plugin_that_was_changed_is_read_anew(project):
    content = f"{CANARY}{PLUGIN}".replace("scale:", "factor:").encode()
    text = RICH["studies/rich.yaml"].replace("DIGEST", hashlib.sha256(content).hexdigest())
    with project.spoilt({"plugins/scaled.py": content, STUDY: text.encode()}):
        problems = project.outcome()
    assert [problem.key for problem in problems] == ["stages.1.loss.ours.scale"] * len(problems)
    assert isinstance(project.outcome(), Plan)


def test_a_plugin_that_is_named_twice_is_said_where_it_stands(project):
    text = project.files[STUDY].decode()
    with project.spoilt({STUDY: re.sub(r"( +)ours: (.*)", r"\1ours: \2\n\1again: \2", text).encode()}):
        (problem,) = project.outcome()
    assert (problem.key, problem.line) == ("plugins.again", text[: text.index("ours:")].count("\n") + 2)
    assert "already" in problem.message


def test_a_baseline_that_is_none_in_a_table_that_chooses_is_said(project):
    text = b"label: x\nbaseline: {method: lknear, c: 1.0}"
    with project.spoilt({"configs/experiments/image/linear.yaml": text}):
        assert [problem.key for problem in project.outcome()] == ["baseline.method"]


def test_points_that_read_alike_are_two(project):
    points = table(f"{RICH_ROW}, set: {{label: {{grid: [a, '1', 'true', '1.0', '[]', 'a,b=c', 'a\"']}}}}")
    with project.spoilt({STUDY: points.encode()}):
        outcome = project.outcome()
        assert isinstance(outcome, Plan), outcome
        assert len({run.experiment for run in outcome.runs}) == 7
    rows = table(*(f"{RICH_ROW}, name: r{i}, set: {{stages.0.clip_norm: {v}}}" for i, v in enumerate(["1.0", "'1.0'"])))
    with project.spoilt({STUDY: rows.encode()}):
        assert {problem.key for problem in project.outcome()} == {"stages.0.clip_norm"}


def test_a_depth_that_is_no_number_bounds_no_layers(project):
    text = project.files[SOURCES].decode().replace("num_hidden_layers: 6", "num_hidden_layers: six")
    with project.spoilt({SOURCES: text.encode()}):
        assert isinstance(project.outcome(), Plan)


def test_a_project_may_stand_behind_a_link_or_at_a_relative_path(project, tmp_path, monkeypatch):
    (tmp_path / "link").symlink_to(project.root)
    (tmp_path / "apart").mkdir()
    (tmp_path / "apart" / "configs").symlink_to(project.root / "configs")
    (tmp_path / "apart" / "plugins").symlink_to(project.root / "plugins")
    monkeypatch.chdir(project.root)
    keys = {make_plan(root, "rich").target.key for root in (project.root, tmp_path / "link", Path("."))}
    assert len(keys) == 1
    with pytest.raises(ConfigError, match="must lie in the project's folder"):
        make_plan(tmp_path / "apart", "rich")


def test_a_large_study_is_planned_in_seconds(project):
    """100 experiments on 9 tasks with 5 seeds."""
    extended = "extends: bert-base-kd\nset: {{stages.0.clip_norm: {}.0}}"
    files = {f"configs/experiments/glue/x{i}.yaml": extended.format(i + 1).encode() for i in range(100)}
    tasks = [f"glue/{name}" for name in ("cola", "mnli", "mrpc", "qnli", "qqp", "rte", "sst2", "stsb")] + ["movie"]
    rows = table(*(f"experiment: glue/x{i}" for i in range(100)), tasks=json.dumps(tasks), seeds=[0, 1, 2, 3, 4])
    with project.spoilt({**files, STUDY: rows.encode()}):
        start = time.process_time()
        plan = make_plan(project.root, "rich")
        assert time.process_time() - start < HURRY
    assert len(plan.runs) == 4500
