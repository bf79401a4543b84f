"""Fuzzing the language of the configurations: whatever stands in them, they are refused in words, or they are right.

A config is changed as a tree (keys dropped, renamed and made up, values and types exchanged), as lines and as bytes. Each
time `make_plan` must give a plan or say what is wrong and where: no other exception, no hang, nothing executed.
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

from redistill.config.parse import load, parse
from redistill.errors import ConfigError, Problem
from redistill.plan import Plan, make_plan
from redistill.provenance.keys import canonical

EXAMPLES = int(os.environ.get("REDISTILL_FUZZ", "600"))
SEED = int(os.environ.get("REDISTILL_FUZZ_SEED", int(time.time()) if "REDISTILL_FUZZ" in os.environ else 0))
PATIENCE = 20  # seconds of this process's own time for one plan
SLOW_MACHINE = 6  # seconds of it within which every hostile file must be refused

CANARY = "from pathlib import Path\nPath(__file__).with_name('touched').write_text('x')\n"
PLUGIN = "def scaled(student_logits, teacher_logits, *, scale: float = 1.0, mode: str = 'sum'):\n    return student_logits\n"
JARGON = re.compile(r"union_tag|function-|instance of|discriminator|pydantic|object at 0x|Traceback|NoneType|Input ")

# One study that says everything that can be said: a change anywhere in the language is a change of these files.
RICH = {
    "studies/rich.yaml": """
title: Everything
runtime: {precision: bfloat16, device: cuda, processes: 2, threads: 2, portable: false}
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
        method: hidden_mse
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
    files = {str(f.relative_to(root)): f.read_bytes() for f in root.rglob("*.yaml")}
    return Project(root, files)


@pytest.fixture(autouse=True)
def canary(project: "Project", monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(project.root / "plugins"))


@dataclass
class Project:
    """A project whose files are spoilt and mended again."""

    root: Path
    files: dict[str, bytes]

    @contextmanager
    def spoilt(self, changed: dict[str, bytes]) -> Iterator[None]:
        """Other content for these files, in the place of theirs or beside them; all is as it was afterwards."""
        for name, content in changed.items():
            file = self.root / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content)
        try:
            yield
        finally:
            for name in changed:
                if name in self.files:
                    (self.root / name).write_bytes(self.files[name])
                else:
                    (self.root / name).unlink()

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
        for problem in problems:
            file = self.root / problem.file
            assert file.exists(), f"no such file: {problem}"
            lines = lines_of(file.read_bytes()) if file.is_file() else 1
            assert 1 <= problem.line <= lines + 1, f"no such line: {problem}"
            assert problem.column >= 1
            assert problem.message.strip()
            assert len(problem.message) < 2000, f"too long: {problem.message[:200]}"
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


def lines_of(content: bytes) -> int:
    """How many lines there are, as YAML 1.1 breaks them."""
    text = content.decode("utf-8", errors="replace")
    return len(re.split("\r\n|[\n\r\x85\u2028\u2029]", text))


# --- changes of a tree -----------------------------------------------------------------------------------------------

STRANGE: list[Any] = [
    None, True, False, 0, 1, -1, 2, 3, 7, 10**9, 2**32, 10**18, 10**30, 0.5, -0.5, 1.0, 1e308, 1e-320, float("inf"),
    "", " ", "x", "²", "٣", "-1", "0", "99", "1" * 5000, "a b", "a\nb", "a.b.c", ".", "..", "../..", "/", "null", "NULL",
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
        found = [slot for name in sorted(project.files) for slot in slots(load(project.root / name).data)]
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
        owner[other], node[key] = value, copy.deepcopy(owner.get(other) if isinstance(owner, dict) else owner[other])


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
    "&a ", "*a", "&a *a", "!!python/object/apply:canary.touch [1]", "!!python/name:canary.touch ", "!!str ", "! ", "<<: ",
    "---\n", "...\n", "\t", "\r", "\r\n", "\n", "{", "}", "[", "]", ": ", "? ", "- ", ", ", "#", " #", "'", '"', "|\n", ">-\n",
    "%YAML 1.1\n", "\ufeff", "\u2028", "\x85", "\x00", "\\", "@", "`", "~", "0", "-", "e9", "é", "  ",
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
            changed[at:at] = bytes(random.choice([b"\x00", b"\xff", b"\xef\xbb\xbf", b"\xed\xa0\x80", b":", b"\n", b" "]))
    return bytes(changed)


CHANGES: list[Callable[[Random, bytes, Words], bytes]] = [changed_tree] * 5 + [changed_lines] * 3 + [changed_bytes]


def spoil(random: Random, project: Project, words: Words) -> dict[str, bytes]:
    """A few changes in one or two files."""
    rich = [f"configs/{name}" for name in RICH]
    changed: dict[str, bytes] = {}
    for _ in range(random.choice([1, 1, 1, 2])):
        name = random.choice(random.choice([rich, sorted(project.files)]))
        change = random.choice(CHANGES)
        changed[name] = change(random, changed.get(name, project.files[name]), words)
    return changed


@pytest.fixture(scope="module")
def words(project: Project) -> Words:
    return Words.of(project)


def test_the_rich_study_is_accepted_as_it_is(project):
    plan = project.outcome()
    assert isinstance(plan, Plan), plan
    assert {"scaled", "hidden_mse", "kd"} <= set(re.findall(r'"method":"(\w+)"', canonical([n.parts for n in plan.nodes.values()])))


@pytest.mark.timeout(max(300, EXAMPLES))
def test_changed_configs_are_refused_in_words_or_are_right(project, words, capsys):
    if "REDISTILL_FUZZ" in os.environ:
        with capsys.disabled():
            print(f"\n{EXAMPLES} examples, REDISTILL_FUZZ_SEED={SEED}")
    counts = {"accepted": 0, "refused": 0}

    @seed(SEED)
    @settings(max_examples=EXAMPLES, deadline=None, database=None, phases=[Phase.generate])
    @given(st.integers(0, 2**64))
    def attempt(number: int) -> None:
        changed = spoil(Random(number), project, words)
        for name, content in changed.items():
            note(f"--- {name}\n{content.decode('utf-8', errors='backslashreplace')}")
        with project.spoilt(changed):
            outcome = project.outcome()
        counts["accepted" if isinstance(outcome, Plan) else "refused"] += 1

    attempt()
    if "REDISTILL_FUZZ" in os.environ:
        with capsys.disabled():
            print(counts)
    assert counts["accepted"] > EXAMPLES / 50, "the changes are too rude to reach far"
    assert counts["refused"] > EXAMPLES / 10
