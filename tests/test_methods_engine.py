"""What the engine gives a method beside logits and taps: a module of its own, peers, turned images, all teachers, the
layers that end models, where the stage stands, random numbers; and what is refused before anything runs.
"""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import Project
from engine_project import Engine, Forge, wait_until
from nano_study import copy_project
from safetensors.torch import load_file
from test_language import small_study
from tiny_project import VARIABLE, tiny
from torch import Tensor, nn

from redistill import registry
from redistill.errors import ConfigError, Problem, RedistillError
from redistill.models import load
from redistill.models.head import head_of
from redistill.models.taps import tapped
from redistill.training import optimise
from redistill.training.check import check_models
from redistill.training.learner import Learner, Moment, Teachers, build_own, needed
from redistill.training.loop import rotated
from redistill.training.loss import Loss, asked_for_logits
from redistill.training.run import _peers

Seen = dict[str, Tensor]
TRUSTED = {registry.TRUST: "1"}
KILLED = ("contrast", "turned", "mutual", "margins")

# --- runs ------------------------------------------------------------------------------------------------------------

LOTTERY = '''"""What a method is told of the moment, as its value."""

import torch
from torch import Tensor


def lottery(student_logits: Tensor, generator: torch.Generator, share: float) -> Tensor:
    """The share of the steps that are done, and a random number in [0, 1) of which a hundredth is added."""
    return student_logits.mean() * 0 + share + torch.rand((), generator=generator) / 100
'''
STUDY = f"""
title: methods, engine
runtime: {{portable: true}}
checkpoints: {{steps: 1}}
plugins:
  lottery: {{kind: loss, file: lottery.py, sha256: {hashlib.sha256(LOTTERY.encode()).hexdigest()}}}
tables:
  image:
    title: Digits
    tasks: [nano-digits]
    seeds: [0]
    rows:
      - {{experiment: engine/contrast}}
      - {{experiment: engine/memories}}
      - {{experiment: engine/turned}}
      - {{experiment: engine/turned-rebuilt}}
      - {{experiment: engine/mutual}}
      - {{experiment: engine/margins}}
      - {{experiment: engine/lottery}}
"""
EXPERIMENTS = {
    "small": """
label: Small
student:
  architecture: {method: cnn, channels: [4, 8], hidden: 16, dropout: 0.2}
stages:
  - data: [train, transfer]
    steps: 40
    batch_size: 16
    optimiser: {learning_rate: 3.0e-3}
    loss:
      hard: {method: hard, weight: 1.0}
""",
    "contrast": """
extends: small
label: Contrast
teacher: {experiment: nano/image-teacher}
set:
  stages.0.accumulate: 2
  stages.0.loss.contrast:
    {method: crd, weight: 0.8, features: 8, negatives: 5, taps: {student: ["9:input"], teacher: ["9:input"]}}
""",
    "memories": """
label: Three stages with a memory
teacher: {experiment: nano/image-teacher}
student:
  architecture: {method: cnn, channels: [4, 8], hidden: 16}
stages:
  - &stage
    data: [train]
    steps: 4
    batch_size: 16
    optimiser: {learning_rate: 3.0e-3}
    loss:
      contrast: &contrast
        method: crd
        weight: 0.8
        features: 8
        negatives: 5
        taps: {student: ["9:input"], teacher: ["9:input"]}
  - *stage
  - data: [transfer]
    steps: 4
    batch_size: 16
    optimiser: {learning_rate: 3.0e-3}
    loss:
      contrast: *contrast
""",
    "turned": """
label: Turned images
teacher: {experiment: nano/image-teacher}
student:
  architecture: {method: cnn, channels: [4, 8], hidden: 16}
stages:
  - data: [train, transfer]
    rotations: true
    steps: 4
    batch_size: 16
    trained: [loss.views]
    optimiser: {learning_rate: 3.0e-3}
    loss:
      views: {method: sskd_auxiliary, weight: 1.0, taps: {teacher: ["9:input"]}}
  - data: [train, transfer]
    rotations: true
    steps: 30
    batch_size: 16
    frozen: [loss.views.teacher]
    optimiser: {learning_rate: 3.0e-3}
    loss:
      hard: {method: hard, weight: 1.0}
      soft: {method: kd, weight: 1.0}
      transformed: {method: sskd_transformed, weight: 1.0, taps: {teacher: ["9"]}}
      views: {method: sskd, weight: 1.0, taps: {student: ["9:input"], teacher: ["9:input"]}}
""",
    "turned-rebuilt": """
extends: turned
label: Turned images, with another student
set:
  stages.1.steps: 2
  stages.1.rebuild: {student: {architecture: {method: cnn, channels: [4, 8], hidden: 24}}}
""",
    "mutual": """
extends: small
label: Two that learn from one another
peers:
  other: {architecture: {method: cnn, channels: [4, 8], hidden: 16}}
set:
  stages.0.loss.soft: {method: kd, weight: 1.0, teacher: other}
  stages.0.loss.maps: {method: feature_mse, weight: 0.1, teacher: other, taps: {student: ["3"], teacher: ["3"]}}
  stages.0.loss.hard-other: {method: hard, weight: 1.0, student: other}
  stages.0.loss.soft-other: {method: kd, weight: 1.0, student: other, teacher: student}
""",
    "margins": """
extends: small
label: Means of what was seen
teacher: {experiment: nano/image-teacher}
set:
  stages.0.loss.overhaul: {method: ofd, weight: 0.001, taps: {student: ["2"], teacher: ["2"]}}
""",
    "lottery": """
extends: small
label: Lottery
set:
  stages.0.steps: 5
  stages.0.loss.lottery: {method: lottery, weight: 1.0}
""",
}


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """A project in which the runs are planned and all that they need is made."""
    nano = copy_project(tmp_path_factory.mktemp("methods") / "engine")
    (nano.root / "lottery.py").write_text(LOTTERY, encoding="utf-8")
    (nano.root / "configs" / "studies" / "methods-engine.yaml").write_text(STUDY, encoding="utf-8")
    for name, text in EXPERIMENTS.items():
        (nano.root / "configs" / "experiments" / "engine" / f"{name}.yaml").write_text(text, encoding="utf-8")
    forge = Forge(nano.root)
    try:
        engine = Engine(nano.root, {}, forge)
        done = engine.forked("plan", "methods-engine")
        assert done.returncode == 0, done.stderr
        engine.keys = json.loads(done.stdout)
        needed_by_all = [k for title, k in engine.keys["methods-engine"].items() if title.startswith("outputs ")]
        done = engine.forked("make", *needed_by_all)
        assert done.returncode == 0, done.stderr
        yield engine
    finally:
        forge.close()


def key(engine: Engine, name: str) -> str:
    return engine.key(name, "methods-engine")


class Watched:
    """What a hook saw of a run, and what it wrote."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.seen: dict[str, Any] = json.loads((folder / "seen.json").read_text())
        self.values: list[dict[str, float]] = self.seen["values"]

    def state(self, stage: int, moment: str) -> Seen:
        return load_file(self.folder / f"{stage} {moment}.safetensors")

    def changed(self, stage: int) -> set[str]:
        """Names of the tensors that a stage changed."""
        before, after = self.state(stage, "before"), self.state(stage, "after")
        return {name for name in before if not torch.equal(before[name], after[name])}

    def beside(self) -> Seen:
        return load_file(self.folder / "result" / "auxiliary.safetensors")


@pytest.fixture(scope="module")
def watched(engine: Engine) -> dict[str, Watched]:
    """Every run, trained without an interruption, outside the store."""
    folder = engine.root.with_name("watched")
    names = [name for name in EXPERIMENTS if name != "small"]
    done = engine.forked("watch", str(folder), *(key(engine, name) for name in names), **TRUSTED)
    assert done.returncode == 0, done.stderr
    return {name: Watched(folder / key(engine, name)) for name in names}


@pytest.mark.parametrize("name", KILLED)
def test_a_run_that_is_killed_goes_on_to_the_same_bytes_memories_and_peers_among_them(
    engine: Engine, watched: dict[str, Watched], name: str
) -> None:
    mine = key(engine, name)
    begun = "001-000000003" if name == "turned" else "000-000000005"
    with engine.started("redistill", "make", mine) as process:
        assert wait_until(process, lambda: engine.checkpoints(mine)[-1:] > [begun])
        process.kill()
    assert not engine.run(mine).exists()
    done = engine.make(mine)
    assert done.returncode == 0, done.stderr
    assert "goes on after step" in done.stdout
    written = sorted(file.name for file in (watched[name].folder / "result").iterdir())
    assert {"model.safetensors", "auxiliary.safetensors", "log.jsonl", "predictions.parquet"} <= set(written)
    for file in written:
        expected = (watched[name].folder / "result" / file).read_bytes()
        assert (engine.run(mine) / file).read_bytes() == expected, f"{file} differs"


def test_what_a_method_learns_and_remembers_is_trained_and_kept_with_the_run(watched: dict[str, Watched]) -> None:
    seen, own = watched["contrast"], "own.contrast"
    learns = {f"{own}.{side}.{what}" for side in ("student", "teacher") for what in ("weight", "bias")}
    remembers = {f"{own}.{name}" for name in ("student_bank", "teacher_bank", "log_z", "started")}
    assert learns | remembers <= seen.changed(0)
    after = seen.state(0, "after")
    assert after[f"{own}.student.weight"].shape == (8, 16)
    assert after[f"{own}.teacher.weight"].shape == (8, 128)
    assert after[f"{own}.student_bank"].shape == (120, 8)  # an example of train and transfer each
    beside = seen.beside()
    assert beside.keys() == {name.replace("own.", "loss.") for name in learns | remembers}
    assert all(torch.equal(tensor, after[name.replace("loss.", "own.")]) for name, tensor in beside.items())


def test_a_head_that_one_stage_has_trained_is_there_in_the_next_and_stays_as_it_is(watched: dict[str, Watched]) -> None:
    heads = {f"own.views.teacher.{layer}.{what}" for layer in (0, 2) for what in ("weight", "bias")}
    for name in ("turned", "turned-rebuilt"):
        seen = watched[name]
        assert seen.changed(0) == heads
        before, after = seen.state(0, "after"), seen.state(1, "before")
        assert all(torch.equal(before[head], after[head]) for head in heads)
        changed = seen.changed(1)
        assert not heads & changed
        assert {head.replace("teacher", "student") for head in heads} <= changed
        assert {"student.0.weight", "student.9.bias"} <= changed
    assert watched["turned-rebuilt"].state(1, "before")["own.views.student.0.weight"].shape == (24, 24)


def test_what_is_remembered_of_examples_is_forgotten_where_the_data_are_others(watched: dict[str, Watched]) -> None:
    seen = watched["memories"]
    learnt = {f"own.contrast.{side}.{what}" for side in ("student", "teacher") for what in ("weight", "bias")}
    of_examples = {f"own.contrast.{name}" for name in ("student_bank", "teacher_bank", "log_z", "started")}
    first, second, third = ((seen.state(i, "before"), seen.state(i, "after")) for i in range(3))
    assert all(torch.equal(first[1][name], second[0][name]) for name in learnt | of_examples)
    assert all(torch.equal(second[1][name], third[0][name]) for name in learnt)
    assert not any(torch.equal(second[1][name], third[0][name]) for name in of_examples)
    assert not third[0]["own.contrast.started"]


def test_peers_learn_with_the_student_each_from_a_start_of_its_own(watched: dict[str, Watched]) -> None:
    seen = watched["mutual"]
    before, changed = seen.state(0, "before"), seen.changed(0)
    layers = [f"{layer}.{what}" for layer in (0, 2, 6, 9) for what in ("weight", "bias")]
    assert {f"{model}.{layer}" for model in ("student", "peers.other") for layer in layers} == changed
    assert not torch.equal(before["student.0.weight"], before["peers.other.0.weight"])
    after, beside = seen.state(0, "after"), seen.beside()
    assert beside.keys() == {f"peers.other.{layer}" for layer in layers}
    assert all(torch.equal(tensor, after[name]) for name, tensor in beside.items())
    ended = load_file(seen.folder / "result" / "model.safetensors")
    assert all(torch.equal(tensor, after[f"student.{name}"]) for name, tensor in ended.items())
    assert seen.values[0].keys() == {"loss", "hard", "soft", "maps", "hard-other", "soft-other"}
    assert seen.values[0]["soft"] > 0


def test_a_method_s_random_numbers_are_those_of_the_step_and_it_knows_how_far_the_stage_is(
    engine: Engine, watched: dict[str, Watched]
) -> None:
    done = engine.forked("watch", str(engine.root.with_name("again")), key(engine, "lottery"), **TRUSTED)
    assert done.returncode == 0, done.stderr
    again = Watched(engine.root.with_name("again") / key(engine, "lottery"))
    values = [line["lottery"] for line in watched["lottery"].values]
    assert values == [line["lottery"] for line in again.values]
    drawn = [value - step / 5 for step, value in enumerate(values)]
    assert all(0 <= number < 0.01 for number in drawn)
    assert len({round(number, 6) for number in drawn}) == 5


TEXTS = """
title: texts
runtime: {portable: true}
tables:
  all: {title: All, tasks: [mood], seeds: [0], rows: [{experiment: tiny/mutual}]}
"""
TEXT_PEERS = """
extends: teacher
label: Two readers
peers:
  short: {start: {source: tiny-bert, layers: [1]}}
  drawn:
    architecture:
      method: transformers
      config: {model_type: bert, vocab_size: 23, hidden_size: 8, num_hidden_layers: 1, num_attention_heads: 2,
               intermediate_size: 16, max_position_embeddings: 16}
set:
  stages.0.steps: 2
  stages.0.loss.soft: {method: kd, weight: 1.0, teacher: short}
  stages.0.loss.hard-short: {method: hard, weight: 1.0, student: short}
  stages.0.loss.soft-drawn: {method: kd, weight: 1.0, student: drawn, teacher: student}
"""


def test_peers_that_read_texts_start_from_what_they_say(engine: Engine, tmp_path: Path) -> None:
    project = tiny(tmp_path / "texts" / "project", tmp_path / "sources")
    (project.root / "configs" / "experiments" / "tiny" / "mutual.yaml").write_text(TEXT_PEERS, encoding="utf-8")
    (project.root / "configs" / "studies" / "texts.yaml").write_text(TEXTS, encoding="utf-8")
    texts, told = Engine(project.root, {}, engine.forge), {VARIABLE: str(tmp_path / "sources")}
    done = texts.forked("plan", "texts", **told)
    assert done.returncode == 0, done.stderr
    keys = json.loads(done.stdout)["texts"]
    mine, pretrained = keys["tiny/mutual seed 0"], keys["model tiny-bert"]
    inputs = json.loads((project.root / "store" / "work" / "plans" / f"{mine}.json").read_text())["parts"]["inputs"]
    assert {role: k for role, k in inputs.items() if role.startswith("start")} == {
        "start": pretrained, "start of peer short": pretrained,
    }  # fmt: skip
    made = [k for title, k in keys.items() if title.startswith(("tokens ", "model "))]
    for arguments in (["make", *made], ["watch", str(tmp_path / "watched"), mine]):
        done = texts.forked(*arguments, **told)
        assert done.returncode == 0, done.stderr
    seen = Watched(tmp_path / "watched" / mine)
    before = seen.state(0, "before")
    hub = load_file(project.root / "store" / "models" / pretrained / "model.safetensors")
    weight = "encoder.layer.{}.output.dense.weight"
    assert torch.equal(before[f"peers.short.bert.{weight.format(0)}"], hub[weight.format(1)])
    assert torch.equal(before[f"student.bert.{weight.format(1)}"], hub[weight.format(1)])
    assert before[f"peers.drawn.bert.{weight.format(0)}"].shape == (8, 16)
    changed = seen.changed(0)
    assert all(f"peers.{peer}.classifier.weight" in changed for peer in ("short", "drawn"))
    assert any(name.startswith("peers.short.bert.embeddings") for name in seen.beside())


# --- what a loss is given --------------------------------------------------------------------------------------------

TASK = {"type": "classification", "input": "image", "labels": list("abcde"), "image_shape": [1, 8, 8]}
RUNTIME = {"portable": False, "device": "cpu"}
CNN = {"architecture": {"method": "cnn", "settings": {"channels": [2, 4], "hidden": 6, "dropout": 0.0}}, "start": None}


def network(seed: int = 0) -> nn.Module:
    return load.build(CNN, TASK, RUNTIME, None, seed)


def term(method: str, student: str = "student", teacher: str | None = None, taps: Any = None, **settings: Any) -> Any:
    taps = taps and {"student": [], "teacher": [], **taps}
    settings = registry.with_defaults("loss", method, settings)
    return {"method": method, "weight": 1.0, "student": student, "teacher": teacher, "taps": taps, "settings": settings}


def stage(rotations: bool = False, **terms: Any) -> dict[str, Any]:
    return {"rotations": rotations, "loss": terms}


class Told:
    """A teacher's stored logits: all alike of an example, whose index they are, times a factor."""

    def __init__(self, factor: float):
        self.factor = factor

    def of(self, indices: np.ndarray, view: int) -> np.ndarray:
        return np.repeat(indices[:, None], 5, 1).astype(np.float32) * self.factor


def images(examples: int = 3) -> Seen:
    image = torch.randn(examples, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    return {"image": image, "labels": torch.arange(examples) % 5, "index": torch.arange(examples) + 10}


def seen_by(learner: Learner, said: dict[str, Any], batch: Seen, loss: Loss) -> dict[str, Seen]:
    learner.listen(needed({}, list(said["loss"].values()), loss.teachers), False, loss.heard)
    return learner.see(batch, {}, loss.students)


def pair() -> Learner:
    return Learner(network(0), {}, {}, {"other": network(1)})


def test_nothing_of_a_peer_that_teaches_learns_from_what_it_teaches() -> None:
    maps = {"student": ["3"], "teacher": ["3"]}
    said = stage(soft=term("kd", teacher="other"), maps=term("feature_mse", teacher="other", taps=maps),
                 back=term("kd", student="other", teacher="student"))  # fmt: skip
    learner, batch, loss = pair(), images(), Loss(said, [], {}, {})
    assert loss.students == {"student", "other"}
    values = loss.values(batch, seen_by(learner, said, batch, loss), learner.own, Moment())
    for name, learns in (("soft", "student"), ("maps", "student"), ("back", "peers")):
        learner.zero_grad()
        values[name].backward(retain_graph=True)
        found = {name.split(".")[0] for name, p in learner.named_parameters() if p.grad is not None and p.grad.any()}
        assert found == {learns}


def test_random_numbers_of_a_term_are_those_of_its_pass_and_of_no_other() -> None:
    def drawn(counter: tuple[int, int, int], name: str = "soft") -> float:
        return torch.rand((), generator=Moment(counter=counter).generator(name)).item()

    assert drawn((1, 2, 3)) == drawn((1, 2, 3))
    others = [(0, 2, 3), (1, 3, 3), (1, 2, 0), (1, 22, 3)]
    assert len({drawn((1, 2, 3)), drawn((1, 2, 3), "hard"), *map(drawn, others)}) == 6


def test_a_peer_is_only_run_where_a_term_asks_for_it() -> None:
    assert Loss(stage(hard=term("hard")), [], {}, {}).students == {"student"}
    assert Loss(stage(hard=term("hard", student="other")), [], {}, {}).students == {"other"}
    assert not Loss(stage(hard=term("hard", student="other")), [], {}, {}).needs_student


def test_turned_images_follow_one_another_and_have_no_label() -> None:
    batch = rotated(images(2))
    assert batch["image"].shape == (8, 1, 8, 8)
    for i, image in enumerate(images(2)["image"]):
        for turns in range(4):
            assert torch.equal(batch["image"][4 * i + turns], image.rot90(turns, (1, 2)))
    assert batch["labels"].tolist() == [0, -1, -1, -1, 1, -1, -1, -1]
    assert batch["index"].tolist() == [10] * 4 + [11] * 4
    scores = rotated(images(2) | {"labels": torch.tensor([0.5, 1.5])})["labels"]
    assert scores.isnan().tolist() == [False, True, True, True] * 2


def test_of_turned_images_losses_that_know_nothing_of_them_see_the_originals_alone() -> None:
    said = stage(True, hard=term("hard"), soft=term("kd"), views=term("sskd_transformed", taps={"teacher": ["9"]}))
    learner, plain = Learner(network(), {}, {}).eval(), images()
    turned, loss = rotated(plain), Loss(said, ["teacher"], {"teacher": Told(0.1)}, {})
    seen = {**seen_by(learner, said, turned, loss), "teacher": {"9": torch.randn(12, 5)}}
    for of in loss.terms[:2]:
        given = loss.arguments(of, turned, seen, learner.own, Moment())
        before = Loss(stage(**{of.name: of.said}), ["teacher"], {"teacher": Told(0.1)}, {})
        expected = before.arguments(of, plain, seen_by(learner, said, plain, before), learner.own, Moment())
        assert given.keys() == expected.keys()
        assert all(torch.allclose(given[name], expected[name], atol=1e-6) for name in given)
    assert given["teacher_logits"][:, 0].tolist() == pytest.approx([1.0, 1.1, 1.2])
    all_views = loss.arguments(loss.terms[2], turned, seen, learner.own, Moment())
    assert all_views["views"] == 4
    assert len(all_views["student_logits"]) == len(all_views["teacher_hidden"][0]) == len(all_views["labels"]) == 12


def test_the_logits_of_all_teachers_come_in_the_order_of_their_names() -> None:
    said = stage(all=term("several_teachers"), one=term("kd", teacher="b"))
    names = ["a", "b", "c"]
    assert asked_for_logits(said, names) == names
    assert asked_for_logits(stage(one=term("kd", teacher="b")), names) == ["b"]
    loss = Loss(said, names, {"c": Told(3), "a": Told(1), "b": Told(2)}, {})
    seen = {"student": {"logits": torch.zeros(3, 5)}}
    given = loss.arguments(loss.terms[0], images(), seen, nn.ModuleDict(), Moment())["all_teacher_logits"]
    assert [logits[0, 0].item() for logits in given] == [10, 20, 30]


HEADS = """def heads(student_head, teacher_head):
    return (student_head.weight - teacher_head.weight).square().sum()
"""


@pytest.fixture
def heads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A loss that compares the layers that end the models."""
    file = tmp_path / "heads.py"
    file.write_text(HEADS, encoding="utf-8")
    monkeypatch.setenv(registry.TRUST, "1")
    registry.use([registry.Plugin("loss", "heads", file, registry.digest(file))])
    yield
    registry.use([])


@pytest.mark.usefixtures("heads")
def test_the_layers_that_end_the_models_are_given_and_the_student_s_alone_learns() -> None:
    learner, teacher = pair(), network(2).requires_grad_(False)
    models = {**learner.models, "teacher": teacher}
    ends = {name: head_of(model, 5) for name, model in models.items()}
    for said, names in ((term("heads"), ["teacher"]), (term("heads", teacher="other"), [])):
        learner.zero_grad()
        loss = Loss(stage(heads=said), names, {}, ends)
        loss.values(images(), {}, learner.own, Moment())["heads"].backward()
        assert {name for name, p in learner.named_parameters() if p.grad is not None} == {"student.9.weight"}


@pytest.mark.usefixtures("heads")
def test_a_model_that_ends_in_no_linear_layer_has_no_head_to_give() -> None:
    with pytest.raises(RedistillError, match="ends in no linear layer of 5 outputs"):
        head_of(nn.Sequential(nn.Conv2d(1, 5, 1), nn.Flatten()), 5)
    loss = Loss(stage(heads=term("heads")), ["teacher"], {}, {"student": nn.Linear(2, 5)})
    with pytest.raises(RedistillError, match="loss `heads` needs the linear layer that ends `teacher`: it has none"):
        loss.values(images(), {}, nn.ModuleDict(), Moment())


@pytest.mark.parametrize("writes", [nn.ReLU(inplace=True), nn.Sequential(nn.ReLU(inplace=True))])
@pytest.mark.parametrize("tap", ["1:input", "0"])
def test_a_tap_gives_what_was_there_before_a_layer_wrote_over_it(writes: nn.Module, tap: str) -> None:
    plain, written = nn.Sequential(nn.Conv2d(1, 2, 1), nn.ReLU()), nn.Sequential(nn.Conv2d(1, 2, 1), writes)
    written[0].load_state_dict(plain[0].state_dict())
    for model in (plain, written):
        with tapped(model, [tap], "student") as captured:
            model(images()["image"])
        gradient = torch.autograd.grad(captured[tap].square().sum(), model[0].weight)[0]
        if model is plain:
            expected, expected_gradient = captured[tap], gradient
    assert (expected < 0).any()
    assert torch.equal(captured[tap], expected)
    assert torch.allclose(gradient, expected_gradient)


class Adds(nn.Module):
    """Writes over what it is given without saying so."""

    def forward(self, x: Tensor) -> Tensor:
        x += 1
        return x


def test_a_tap_that_is_written_over_unseen_is_refused() -> None:
    model, words = (
        nn.Sequential(nn.Conv2d(1, 2, 1), Adds()),
        "what the student gives at `0` is written over in place by",
    )
    with pytest.raises(RedistillError, match=words), tapped(model, ["0"], "student"):
        model(images()["image"])
    with tapped(model, ["1"], "student") as captured:
        logits = model(images()["image"])
    assert torch.equal(captured["1"], logits)


# --- what is trained -------------------------------------------------------------------------------------------------


def with_own() -> Learner:
    learner = pair()
    teachers = Teachers({}, RUNTIME)
    teachers.models = {"teacher": network(2)}
    fitnet = term("fitnet", taps={"student": ["3"], "teacher": ["3"]})
    learner.own = nn.ModuleDict(build_own(learner, {"hint": fitnet, "again": fitnet}, teachers, images(1), 60, seed=0))
    return learner


def test_a_method_s_module_is_drawn_from_the_seed_and_the_term_s_name() -> None:
    state = with_own().own.state_dict()
    assert all(torch.equal(tensor, with_own().own.state_dict()[name]) for name, tensor in state.items())
    name = next(name for name in state if name.startswith("hint.") and name.endswith("weight") and state[name].ndim > 1)
    assert not torch.equal(state[name], state[name.replace("hint.", "again.")])


@pytest.mark.parametrize(
    ("frozen", "trained", "expected"),
    [
        (["loss.hint"], None, {"student", "peers.other", "own.again"}),
        ([], ["loss.hint"], {"own.hint"}),
        (["peers"], ["loss.hint", "peers.other"], {"own.hint"}),
        (["peers.other"], None, {"student", "own.hint", "own.again"}),
        ([], ["peers.other.9"], {"peers.other"}),
    ],
)
def test_paths_lead_into_what_methods_learn_and_into_peers(
    frozen: list[str], trained: list[str] | None, expected: set[str]
) -> None:
    learner = with_own()
    if frozen == ["peers"]:
        with pytest.raises(RedistillError, match="has no module"):
            optimise.freeze(learner, frozen, trained)
        frozen = ["peers.other"]
    optimise.freeze(learner, frozen, trained)
    learns = {".".join(name.split(".")[:2]) for name, p in learner.named_parameters() if p.requires_grad}
    assert {"student" if name.startswith("student.") else name for name in learns} == expected


def test_layers_of_each_model_are_counted_from_its_own_top_and_what_is_beside_has_none() -> None:
    def layered(layers: int) -> nn.Module:
        return nn.ModuleDict({"layers": nn.ModuleList(nn.Linear(1, 1) for _ in range(layers)), "head": nn.Linear(1, 1)})

    learner = Learner(layered(2), {"embeddings": nn.Linear(1, 1)}, {}, {"deep": layered(5)})
    learner.own = nn.ModuleDict({"hint": layered(3)})
    said = {"method": "sgd", "learning_rate": 1.0, "weight_decay": 0.0, "decay": "weights", "layer_decay": 0.5,
            "groups": [], "settings": {"momentum": 0.0}}  # fmt: skip
    names = {id(parameter): name for name, parameter in learner.named_parameters()}
    built = optimise.optimiser(learner, said)
    rates = {names[id(p)]: group["lr"] for group in built.param_groups for p in group["params"]}
    assert [rates[f"student.layers.{i}.weight"] for i in range(2)] == [0.25, 0.5]
    assert [rates[f"peers.deep.layers.{i}.weight"] for i in range(5)] == [0.5**i for i in (5, 4, 3, 2, 1)]
    others = {rate for name, rate in rates.items() if "layers" not in name or name.startswith("own.")}
    assert others == {1.0}


def test_a_peer_goes_on_from_the_run_that_it_starts_from(tmp_path: Path) -> None:
    before = network(7)
    load.save(before, {}, tmp_path)
    config = {"peers": {"one": CNN | {"start": {"layers": None, "random": False, "fresh": ["9"]}}, "two": CNN},
              "task": TASK, "runtime": RUNTIME, "seed": 3}  # fmt: skip
    peers = _peers(config, {"start of peer one": tmp_path})
    assert torch.equal(peers["one"].state_dict()["6.weight"], before.state_dict()["6.weight"])
    for other in (before, peers["two"]):
        assert not torch.equal(peers["one"].state_dict()["9.weight"], other.state_dict()["9.weight"])
    assert not torch.equal(peers["two"].state_dict()["6.weight"], before.state_dict()["6.weight"])


# --- refused ---------------------------------------------------------------------------------------------------------

TASKS = {
    "amount": "extends: digits\ntitle: Amount\ntype: regression\nlabels: null\nmetric: pearson\n",
    "wide": "extends: digits\ntitle: Wide\nimage_shape: [1, 4, 16]\n",
    "photo": "extends: digits\ntitle: Photo\nimage_shape: [3, 224, 224]\n",
}
OTHER = "peers: {other: {architecture: {method: cnn, channels: [6, 12], hidden: 24}}}"
TEACHER, ATTENTION = "teacher: {experiment: image/teacher}", "bert.encoder.layer.0.attention.self:output"
TWO = "teachers: {a: {experiment: text/teacher}, b: {source: minilm}}"
VIT = "student: {architecture: {method: torchvision, name: vit_b_16, channels: null, hidden: null}}\n" + TEACHER
DRAWN = "{method: transformers, config: {model_type: bert, vocab_size: 9, max_position_embeddings: 10}}"


def compared(method: str, student: str, teacher: str = "", more: str = "") -> str:
    return f"{{method: {method}, weight: 1.0{more}, taps: {{student: [{student}], teacher: [{teacher or student}]}}}}"


def refused(project: Project, beside: str, values: str, task: str) -> list[Problem]:
    """What is wrong with an experiment; the values are laid over a student of images, or of texts."""
    for name, text in TASKS.items():
        project.file(f"tasks/{name}.yaml").write_text(text, encoding="utf-8")
    kind = "text" if task == "movie" else "image"
    lines = "".join(f"  {line}\n" for line in values.splitlines())
    project.experiments(odd=f"extends: {kind}/student-finetuned\nlabel: Odd\n{beside}\nset:\n{lines}")
    small_study(project, "{experiment: odd}", tasks=f"[{task}]")
    try:
        check_models(project.plan("small"))
    except ConfigError as error:
        return error.problems
    return []


SSKD = compared("sskd", "'9:input'")
CRD = compared("crd", "'9:input'")
FEATURE_MAPS = "compares feature maps (B, C, H, W), and `{}` gives {}"
CASES = [
    (TEACHER, "loss: simkd at logits", compared("simkd", "'9'"), "digits", "taps.student.0",
     FEATURE_MAPS.format("9", "(2, 10)")),
    (TEACHER, "loss: simkd at pooled features", compared("simkd", "'3'", "'9:input'"), "digits", "taps.teacher.0",
     FEATURE_MAPS.format("9:input", "(2, 128)")),
    (TEACHER, "loss: at at logits", compared("at", "'9'"), "digits", "taps.student.0",
     FEATURE_MAPS.format("9", "(2, 10)")),
    (TEACHER, "loss: crd at feature maps", compared("crd", "'3'"), "digits", "taps.student.0",
     "compares pooled features (B, D), and `3` gives (2, 12, 8, 8)"),
    (TEACHER, "loss: crd at two taps", compared("crd", "'9:input', '9'"), "digits", "",
     "give one tap of the student and one of the teacher: there is one bank a side"),
    (TEACHER, "loss: pkd on images", compared("pkd", "'3'"), "digits", "taps.student.0",
     "compares hidden states (B, T, H), and `3` gives (2, 12, 8, 8)"),
    (TEACHER, "loss: tinybert_hidden on images", compared("tinybert_hidden", "'3'"), "digits", "",
     "needs the mask of texts, and `Digits` is made of images"),
    ("teacher: {experiment: text/teacher}", "loss: no third output", compared("feature_mse", f"'{ATTENTION}.2'"),
     "movie", "taps", f"the tap `{ATTENTION}.2` is no tensor: the module gives 2 values"),
    (VIT, "loss: no attention", compared("fitnet", "encoder.layers.encoder_layer_0.self_attention:output.1", "'3'"),
     "photo", "taps", "is no tensor: the module gives 2 values"),
    (TEACHER, "data: [transfer]; loss: labels of transfer", "{method: dkd, weight: 1.0}", "digits", "",
     "loss `dkd` needs labels, and this data has none"),
    (TEACHER, "loss: views without rotations", SSKD, "digits", "",
     "loss `sskd` compares an image's turned views: the stage needs `rotations: true`"),
    (TEACHER, "rotations: true; loss: nobody asks", "{method: kd, weight: 1.0}", "digits", "rotations",
     "no loss of the stage looks at turned images (such as `sskd` does); leave it out"),
    (TEACHER, "rotations: true; loss: not square", SSKD, "wide", "rotations",
     "turns images by right angles: they must be as high as they are wide"),
    ("teacher: {experiment: text/teacher}", "rotations: true; loss: texts", compared("sskd", "bert.pooler"), "movie",
     "rotations", "turns images, and `Movie reviews` is made of texts"),
    (OTHER, "loss: no such peer", "{method: kd, weight: 1.0, teacher: othr}", "digits", "teacher",
     "no teacher `othr`; did you mean `other`?"),
    (OTHER, "loss: no such student", "{method: hard, weight: 1.0, student: othr}", "digits", "student",
     "no student or peer `othr`; did you mean `other`?"),
    (OTHER, "loss: itself", "{method: kd, weight: 1.0, teacher: student}", "digits", "teacher",
     "a model learns nothing from itself as it is: name another"),
    (OTHER, "loss: nobody named", "{method: kd, weight: 1.0}", "digits", "",
     "loss `kd` needs a `teacher`, and the experiment names none"),
    (OTHER, "loss: all of none", "{method: several_teachers, weight: 1.0}", "digits", "",
     "loss `several_teachers` needs `teachers`, and the experiment names none"),
    (TEACHER, "loss: all and one", "{method: several_teachers, weight: 1.0, teacher: teacher}", "digits", "teacher",
     "loss `several_teachers` listens to all teachers; leave it out"),
    (TWO, "loss: all with a source", "{method: several_teachers, weight: 1.0}", "movie", "",
     "loss `several_teachers` needs teachers fine-tuned on the task, and `b` is a source"),
    *((TEACHER, f"loss: classes of {method}", f"{{method: {method}, weight: 1.0}}", "amount", "",
       f"`{method}` compares distributions over classes, and there is one output: take `kd` for scores")
      for method in ("dkd", "ctkd", "dist", "nkd", "tfkd", "skd")),
    (TEACHER, "rotations: true; loss: classes of turned images",
     "{method: sskd_transformed, weight: 1.0, taps: {teacher: ['9']}}", "amount", "", "these labels are scores"),
    (f"{OTHER}\nmodules: {{m: {{method: conv, input: '3', like: '3'}}}}", "loss: like whom",
     compared("feature_mse", "modules.m", "'3'", ", teacher: other"), "digits", None, "is a tap of the teacher, and"),
    (f"peers: {{other: {{architecture: {DRAWN}}}}}", "loss: short", "{method: kd, weight: 1.0, teacher: other}",
     "movie", None, "the model takes at most 10 tokens, and `student.max_length` is 40"),
]  # fmt: skip


@pytest.mark.parametrize(("beside", "what", "method", "task", "at", "words"), CASES, ids=[case[1] for case in CASES])
def test_what_a_method_cannot_be_given_is_said_at_its_line(
    project: Project, beside: str, what: str, method: str, task: str, at: str | None, words: str
) -> None:
    settings = [part for part in what.split("; ") if not part.startswith("loss:")]
    values = [*(f"stages.0.{setting}" for setting in settings), f"stages.0.loss.odd: {method}"]
    problems = [p for p in refused(project, beside, "\n".join(values), task) if ".loss.hard" not in p.key]
    (problem,) = [p for p in problems if words in p.message] or problems
    assert words in problem.message
    marked = {"rotations": "stages.0.rotations", None: "method: conv" if "modules" in beside else "peers:"}
    line = project.line("experiments/odd.yaml", marked.get(at, "stages.0.loss.odd"))
    assert (problem.file, problem.line) == ("configs/experiments/odd.yaml", line)
    if at is not None:
        of_stage = at == "rotations"
        assert problem.key == ".".join(filter(None, ["stages.0" if of_stage else "stages.0.loss.odd", at]))


@pytest.mark.parametrize(
    ("beside", "values", "task"),
    [
        (TEACHER, f"stages.0.rotations: true\nstages.0.loss.odd: {SSKD}", "digits"),
        (TEACHER, f"stages.0.frozen: [loss.odd.teacher]\nstages.0.loss.odd: {CRD}", "digits"),
        (OTHER, "stages.0.frozen: [peers.other.9]\nstages.0.loss.odd: {method: kd, weight: 1, teacher: other}",
         "digits"),
        (TEACHER, "stages.0.loss.odd: {method: several_teachers, weight: 1}", "digits"),
        (TEACHER, "stages.0.loss.odd: {method: kd, weight: 1}", "amount"),
        (f"peers: {{other: {{architecture: {DRAWN.replace(': 10', ': 40')}}}}}",
         "stages.0.loss.odd: {method: kd, weight: 1, teacher: other}", "movie"),
    ],
)  # fmt: skip
def test_what_fits_is_found_right(project: Project, beside: str, values: str, task: str) -> None:
    assert refused(project, beside, values, task) == []


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("loss.od", "the experiment has no module `loss.od`; there are `loss.odd`"),
        ("peers.othr", "the experiment has no module `peers.othr`; there are `peers.other`"),
        ("peers.other.10", "the experiment has no module `peers.other.10`; there are `peers.other.0`"),
    ],
)
def test_a_path_beside_the_student_that_leads_nowhere_says_what_there_is(
    project: Project, path: str, words: str
) -> None:
    hint = compared("fitnet", "'3'", more=", teacher: other")
    (problem,) = refused(project, OTHER, f"stages.0.frozen: [{path}]\nstages.0.loss.odd: {hint}", "digits")
    assert problem.key == "stages.0.frozen.0"
    assert words in problem.message


def test_neither_a_teacher_nor_the_student_is_a_peer(project: Project) -> None:
    for name, words in (("student", "neither a teacher nor a peer can be called"), ("teacher", "a teacher and a peer")):
        (problem,) = refused(project, f"{TEACHER}\n{OTHER.replace('other', name)}", "stages.0.steps: 1", "digits")
        assert words in problem.message
