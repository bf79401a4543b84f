"""Parts of the training engine, each by itself: checkpoints, order, taps, modules, groups, schedules, starts."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from redistill import failures, registry
from redistill.errors import RedistillError
from redistill.models import load, text
from redistill.models.auxiliary.conv import conv
from redistill.models.auxiliary.linear import linear as linear_map
from redistill.models.auxiliary.mlp import mlp
from redistill.models.auxiliary.paraphraser import paraphraser
from redistill.models.taps import tapped
from redistill.training import checkpoint, hooks, optimise
from redistill.training.hooks import Best, Log
from redistill.training.learner import Learner, build_auxiliary, needed
from redistill.training.loss import Term
from redistill.training.sampler import Batches

Seen = dict[str, Tensor]


# --- checkpoints, order and log ---------------------------------------------------------------------------------------


def flip(file: Path) -> None:
    raw = bytearray(file.read_bytes())
    raw[len(raw) // 2] ^= 1
    file.write_bytes(raw)


def saved(progress: Path, step: int) -> Path:
    checkpoint.save(
        progress, f"000-{step:09d}", {"step": step, "rate": 0.1}, {"a": torch.arange(4.0), "b": torch.ones(2, 2).t()}
    )
    return progress / f"000-{step:09d}"


def test_a_checkpoint_comes_back_as_it_was_saved_and_the_last_two_are_kept(tmp_path: Path) -> None:
    assert checkpoint.newest(tmp_path) is None
    for step in (1, 2, 10):
        saved(tmp_path, step)
    assert [folder.name for folder in sorted(checkpoint.found(tmp_path))] == ["000-000000002", "000-000000010"]
    found = checkpoint.newest(tmp_path)
    assert found is not None
    assert found[0] == {"step": 10, "rate": 0.1}
    assert torch.equal(found[1]["a"], torch.arange(4.0))
    assert not any(file.suffix in (".pt", ".pkl", ".bin") for file in tmp_path.rglob("*"))


def test_every_byte_of_a_checkpoint_counts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    whole = {f.name: f.read_bytes() for f in saved(tmp_path, 5).iterdir()}
    saved(tmp_path, 6)
    for name, raw in whole.items():
        file = tmp_path / "000-000000006" / name
        good = file.read_bytes()
        for position in range(0, len(raw), 7):
            file.write_bytes(good[:position] + bytes([good[position] ^ 1]) + good[position + 1 :])
            found = checkpoint.newest(tmp_path)
            assert found is not None
            assert found[0]["step"] == 5, f"{name}: byte {position}"
            assert "000-000000006: torn, skipped" in capsys.readouterr().out
        file.write_bytes(good)
    for name in whole:
        (tmp_path / "000-000000006" / name).unlink()
        assert (checkpoint.newest(tmp_path) or [{}])[0]["step"] == 5


def test_what_was_torn_makes_room_for_what_is_whole(tmp_path: Path) -> None:
    for step in (40, 50):
        saved(tmp_path, step)
    flip(tmp_path / "000-000000050" / "state.safetensors")
    saved(tmp_path, 45)
    assert [folder.name for folder in sorted(checkpoint.found(tmp_path))] == ["000-000000040", "000-000000045"]


@pytest.mark.parametrize("method", ["adamw", "adam", "sgd"])
def test_an_optimiser_goes_on_from_its_saved_state_as_if_nothing_had_happened(tmp_path: Path, method: str) -> None:
    def steps(model: nn.Module, built: torch.optim.Optimizer, count: int) -> None:
        for i in range(count):
            (model(torch.full((2, 3), float(i + 1))) ** 2).sum().backward()
            built.step()
            built.zero_grad()

    def built_for(model: nn.Module) -> torch.optim.Optimizer:
        groups = [{"params": list(model.parameters()), "lr": 0.01, "weight_decay": 0.1, "peak": 0.01}]
        settings = {"momentum": 0.9} if method == "sgd" else {}
        built: torch.optim.Optimizer = registry.get("optimiser", method)(groups, **settings)
        return built

    torch.manual_seed(0)
    model = nn.Linear(3, 2)
    built = built_for(model)
    steps(model, built, 3)
    plain, tensors = checkpoint.optimiser_state(built)
    save_file({k: t.clone() for k, t in tensors.items()}, tmp_path / "state")
    again = nn.Linear(3, 2)
    again.load_state_dict(model.state_dict())
    restored = built_for(again)
    checkpoint.restore_optimiser(restored, json.loads(json.dumps(plain)), load_file(tmp_path / "state"))
    steps(model, built, 2)
    steps(again, restored, 2)
    assert torch.equal(model.weight, again.weight)


def test_batches_go_on_where_they_stood_across_epochs() -> None:
    lengths = np.array([3, 1, 2, 5, 4, 9, 7, 8, 6, 10, 11])
    whole, batches = Batches(lengths, 4, seed=1), Batches(lengths, 4, seed=1)
    expected = [next(whole).tolist() for _ in range(10)]
    for taken in range(10):
        again = Batches(lengths, 4, seed=2)
        again.restore(json.loads(json.dumps(batches.state())))
        assert [next(again).tolist() for _ in range(10 - taken)] == expected[taken:]
        next(batches)
    assert sorted(i for batch in expected[:3] for i in batch) == list(range(11))
    assert sorted(len(batch) for batch in expected[:3]) == [3, 4, 4]


def test_a_log_that_goes_back_forgets_what_came_later(tmp_path: Path) -> None:
    log = Log(tmp_path / "progress" / "log.jsonl", writes=True)
    log.write({"step": 0})
    there = log.position()
    log.write({"step": 1})
    log.close()
    again = Log(tmp_path / "progress" / "log.jsonl", writes=True)
    again.go_back(there)
    again.write({"step": 2})
    again.close()
    assert (tmp_path / "progress" / "log.jsonl").read_text() == '{"step": 0}\n{"step": 2}\n'


# --- taps ------------------------------------------------------------------------------------------------------------


class Several(nn.Module):
    def forward(self, x: Tensor, *, scale: float = 1.0) -> tuple[Tensor, dict[str, Tensor], None]:
        return x * 2, {"inner": x * 3}, None


class Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.several, self.named = nn.Linear(2, 2), Several(), Named()

    def forward(self, x: Tensor) -> Tensor:
        self.named(x=self.several(x)[0])
        return self.first(x)  # type: ignore[no-any-return]


class Named(nn.Module):
    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return {"out": x, "half": x / 2}


def capture(taps: list[str]) -> Seen:
    model = Model()
    with tapped(model, taps, "student") as captured:
        model(torch.ones(1, 2))
    model(torch.zeros(1, 2))  # no hook is left
    return captured


def test_taps_take_inputs_outputs_and_entries_of_tuples_and_mappings() -> None:
    taps = ["first:input", "first", "several", "several:output.0", "named:output.half", "named:input"]
    seen = capture(taps)
    assert set(seen) == set(taps)
    assert torch.equal(seen["first:input"], torch.ones(1, 2))
    assert torch.equal(seen["several"], seen["several:output.0"])
    assert torch.equal(seen["named:output.half"], torch.ones(1, 2))
    assert torch.equal(seen["named:input"], torch.full((1, 2), 2.0))


@pytest.mark.parametrize(
    ("tap", "words"),
    [
        ("several:output.1", "the tap `several:output.1` is no tensor: the module gives 3 values"),
        ("several:output.7", "the module gives 3 values"),
        ("named:output.third", "the module gives a mapping of out, half"),
        ("first:outputs", "ends in neither `:input`, `:output` nor `:output.INDEX`"),
        ("second", "the student has no module `second`; there are `first`, `several`, `named`"),
        ("", "the student has no module ``; there are `first`, `several`, `named`"),
    ],
)
def test_a_tap_that_leads_nowhere_says_what_there_is(tap: str, words: str) -> None:
    with pytest.raises(RedistillError) as caught:
        capture([tap])
    assert words in str(caught.value)


def small_bert(layers: int = 6) -> nn.Module:
    torch.manual_seed(0)
    config = text.config_of(
        {"model_type": "bert", "hidden_size": 8, "num_hidden_layers": layers, "num_attention_heads": 2,
         "intermediate_size": 16, "vocab_size": 20}
    )  # fmt: skip
    return text.from_config(config, {"type": "classification", "labels": ["a", "b"]})


def test_a_layer_that_a_transformer_does_not_have_is_answered_with_those_that_it_has() -> None:
    with pytest.raises(RedistillError) as caught, tapped(small_bert(), ["bert.encoder.layer.7"], "teacher"):
        pass
    listed = ", ".join(f"`bert.encoder.layer.{i}`" for i in range(6))
    assert str(caught.value) == f"the teacher has no module `bert.encoder.layer.7`; there are {listed}"


def said(method: str, of: str, tap: str, like: str | None = None, **settings: Any) -> dict[str, Any]:
    return {"method": method, "of": of, "input": tap, "like": like, "settings": settings}


def test_auxiliary_modules_are_tapped_from_outside_and_inside_and_feed_each_other() -> None:
    modules = {
        "one": said("linear", "student", "first", outputs=3),
        "two": said("mlp", "student", "modules.one", hidden=5, outputs=4),
    }
    student, batch = Model(), {"image": torch.ones(2, 2), "index": torch.arange(2)}
    learner = Learner(student, build_auxiliary(modules, {"student": student}, {}, batch, seed=0), modules)
    wanted = ["modules.two", "modules.two:input", "modules.two.1", "modules.two.1:output", "modules.one:output"]
    term = {"student": "student", "teacher": None, "taps": {"student": wanted, "teacher": []}}
    taps = needed(modules, [term], [])
    assert set(taps["student"]) == {*wanted, "modules.one", "first"}
    learner.listen(taps, full_precision=False)
    seen = learner.see(batch, {})["student"]
    assert [tuple(seen[tap].shape) for tap in wanted] == [(2, 4), (2, 3), (2, 5), (2, 5), (2, 3)]
    assert torch.equal(seen["modules.two:input"], seen["modules.one"])


def test_shapes_of_auxiliary_modules_follow_from_their_taps() -> None:
    assert conv((12, 8, 8), (64, 4, 4))(torch.zeros(2, 12, 8, 8)).shape == (2, 64, 4, 4)
    assert conv((12, 8, 8), None, channels=5, kernel=3, norm=True, relu=True)(torch.zeros(2, 12, 8, 8)).shape == (
        2,
        5,
        8,
        8,
    )
    assert linear_map((7, 32), (7, 384))(torch.zeros(2, 9, 32)).shape == (2, 9, 384)
    assert mlp((4, 2, 2), (10,))(torch.zeros(2, 4, 2, 2)).shape == (2, 10)
    assert paraphraser((64, 4, 4), None)(torch.zeros(2, 64, 4, 4)).shape == (2, 64, 4, 4)
    assert paraphraser((32, 4, 4), (64, 4, 4), decode=False)(torch.zeros(2, 32, 4, 4)).shape == (2, 32, 4, 4)
    with pytest.raises(RedistillError, match="no feature maps|maps .C, H, W."):
        conv((12,), (64, 4, 4))
    with pytest.raises(RedistillError, match="8 rows are no multiple of 3"):
        conv((12, 8, 8), (64, 3, 3))


@pytest.mark.parametrize(
    ("modules", "words"),
    [
        ({"one": said("linear", "student", "third")}, "modules.one: the student has no module `third`"),
        (
            {"one": said("linear", "student", "modules.two")},
            "modules.one: `modules.two` must be an auxiliary module that is",
        ),
        ({"one": said("conv", "student", "first")}, "modules.one: `conv` maps (C, H, W)"),
    ],
)
def test_a_module_that_cannot_be_built_is_named(modules: dict[str, Any], words: str) -> None:
    with pytest.raises(RedistillError) as caught:
        build_auxiliary(modules, {"student": Model()}, {}, {"image": torch.ones(1, 2)}, seed=0)
    assert words in str(caught.value)


# --- weights, groups and schedules -----------------------------------------------------------------------------------


def test_a_ramp_is_flat_straight_and_flat() -> None:
    ramp = {"first": 2.0, "last": 0.0, "begin": 0.25, "end": 0.75}
    term = Term("a", {"method": "hard", "weight": ramp, "settings": {}}, "")
    assert [term.weight(share) for share in (0, 0.25, 0.5, 0.75, 1)] == [2, 2, 1, 0, 0]
    assert str(term) == "2.0..0.0 * a (hard)"
    assert Term("a", {"method": "hard", "weight": 0.0, "settings": {}}, "").weight(0.5) == 0


def optimiser_of(learner: Learner, **changes: Any) -> dict[str, dict[str, float]]:
    """Rate and decay of every trained parameter, by its name."""
    config = {"method": "adamw", "learning_rate": 1.0, "weight_decay": 0.1, "decay": "weights", "layer_decay": 1.0,
              "groups": [], "settings": {}}  # fmt: skip
    built = optimise.optimiser(learner, config | changes)
    names = {id(parameter): name for name, parameter in learner.named_parameters()}
    return {names[id(p)]: {"lr": g["lr"], "decay": g["weight_decay"]} for g in built.param_groups for p in g["params"]}


def bert_learner() -> Learner:
    return Learner(small_bert(), {"map": nn.Linear(8, 8)}, {})


def test_biases_and_norms_are_not_decayed_unless_all_is_said() -> None:
    found = optimiser_of(bert_learner())
    assert len(found) == len(list(bert_learner().parameters()))
    for name, group in found.items():
        plain = name.endswith("bias") or "LayerNorm" in name
        assert group["decay"] == (0.0 if plain else 0.1), name
    assert {group["decay"] for group in optimiser_of(bert_learner(), decay="all").values()} == {0.1}


def test_rates_fall_layer_by_layer_and_embeddings_learn_slowest() -> None:
    found = optimiser_of(bert_learner(), layer_decay=0.5)
    for name, group in found.items():
        below = (
            7 if "embeddings" in name else 6 - int(name.split("layer.")[1].split(".")[0]) if ".layer." in name else 0
        )
        assert group["lr"] == 0.5**below, name
    assert found["student.classifier.weight"]["lr"] == found["student.bert.pooler.dense.weight"]["lr"] == 1.0
    assert found["auxiliary.map.weight"]["lr"] == 1.0
    assert min(found.values(), key=lambda g: g["lr"]) == found["student.bert.embeddings.word_embeddings.weight"] | {
        "decay": 0.1
    }


def test_groups_have_their_own_rate_and_decay_the_first_that_fits_and_a_rate_of_zero_stays() -> None:
    learner = bert_learner()
    groups = [
        {"modules": ["bert.embeddings", "modules.map"], "rate": 0.0, "weight_decay": None},
        {"modules": ["classifier"], "rate": 10.0, "weight_decay": 0.5},
        {"modules": ["bert"], "rate": 2.0, "weight_decay": None},
    ]
    found = optimiser_of(learner, groups=groups)
    assert found["auxiliary.map.weight"] == {"lr": 0.0, "decay": 0.1}
    assert found["student.classifier.bias"] == {"lr": 10.0, "decay": 0.5}
    assert found["student.bert.pooler.dense.bias"] == {"lr": 2.0, "decay": 0.0}
    config = {"method": "adamw", "learning_rate": 0.1, "weight_decay": 0.1, "decay": "all", "layer_decay": 1.0,
              "groups": groups, "settings": {}}  # fmt: skip
    built = optimise.optimiser(learner, config)
    before = {name: p.detach().clone() for name, p in learner.named_parameters()}
    rate = optimise.set_rate(built, {"schedule": constant_schedule(), "optimiser": config}, 0, 10)
    learner.student(input_ids=torch.arange(6).reshape(2, 3)).logits.sum().backward()
    learner.auxiliary["map"](torch.ones(1, 8)).sum().backward()
    built.step()
    stayed = {name for name, p in learner.named_parameters() if torch.equal(p, before[name])}
    assert {n for n in before if "embeddings" in n or n.startswith("auxiliary")} <= stayed
    assert "student.classifier.weight" not in stayed
    assert rate == 0.1  # the stage's own, whatever the first group is


def constant_schedule() -> dict[str, Any]:
    return {"method": "constant", "settings": {"warmup": 0.0}}


@pytest.mark.parametrize(
    "use",
    [
        lambda learner, path: optimise.freeze(learner, [path], None),
        lambda learner, path: optimise.freeze(learner, [], [path]),
        lambda learner, path: optimiser_of(learner, groups=[{"modules": [path], "rate": 1.0, "weight_decay": None}]),
    ],
    ids=["frozen", "trained", "groups"],
)
def test_a_path_that_is_no_module_is_answered_with_those_that_are(use: Callable[[Learner, str], Any]) -> None:
    path = "bert.encoder.layer.7"
    with pytest.raises(RedistillError) as caught:
        use(bert_learner(), path)
    assert f"the student has no module `{path}`; there are `bert.encoder.layer.0`" in str(caught.value)


def test_a_stage_that_would_train_nothing_is_refused() -> None:
    with pytest.raises(RedistillError, match="has no module `mep`; there are `map`"):
        optimise.freeze(bert_learner(), ["modules.mep"], None)
    with pytest.raises(RedistillError, match="nothing is left to train"):
        optimise.freeze(bert_learner(), ["bert", "classifier", "modules.map"], None)


def factors(method: str, steps: int, **settings: Any) -> list[float]:
    return [registry.get("schedule", method)(step, steps, **settings) for step in range(steps)]


@pytest.mark.parametrize(("steps", "warmup"), [(20, 0.1), (20, 0.0), (7, 0.5), (1, 0.1), (4, 0.75)])
def test_linear_is_that_of_transformers_with_a_warmup_that_begins_one_step_further(steps: int, warmup: float) -> None:
    """Theirs gives the first step a rate of zero, which trains nothing; ours the first rung. The fall is the same."""
    from transformers import get_linear_schedule_with_warmup

    warm = round(steps * warmup)
    built = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    theirs = get_linear_schedule_with_warmup(built, warm, steps)
    expected = []
    for _ in range(steps + 1):
        expected.append(built.param_groups[0]["lr"])
        built.step()
        theirs.step()
    ours = factors("linear", steps, warmup=warmup)
    assert ours[warm:] == pytest.approx(expected[warm:steps])
    assert ours[:warm] == pytest.approx(expected[1 : warm + 1])


def test_cosine_constant_and_multistep_against_a_plain_computation() -> None:
    cosine = factors("cosine", 12, warmup=0.25, floor=0.1)
    assert cosine[:3] == pytest.approx([1 / 3, 2 / 3, 1])
    assert cosine[3:] == pytest.approx([0.1 + 0.9 * (1 + math.cos(math.pi * i / 9)) / 2 for i in range(9)])
    assert factors("constant", 4, warmup=0.5) == [0.5, 1, 1, 1]
    # 182 epochs of 3 steps, a tenth after 91 and after 136: torch's MultiStepLR, which counts epochs
    built = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    theirs = torch.optim.lr_scheduler.MultiStepLR(built, [91, 136], gamma=0.1)
    expected = []
    for _ in range(182):
        expected += [built.param_groups[0]["lr"]] * 3
        built.step()
        theirs.step()
    assert factors("multistep", 546, milestones=[0.5, 136 / 182], gamma=0.1) == pytest.approx(expected)


# --- failures and starts ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (MemoryError(), "memory is not enough"),
        (RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB"), "memory is not enough"),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried"), "memory is not enough"),
        (
            RuntimeError("adaptive_avg_pool2d_backward_cuda does not have a deterministic implementation, but you set"),
            "torch has no form of `adaptive_avg_pool2d_backward_cuda` on GPUs that gives the same numbers each time",
        ),
        (OSError(28, "No space left on device", "file"), "the disk is full"),
        (RuntimeError("Error while serializing: I/O error: No space left on device (os error 28)"), "the disk is full"),
        (FileNotFoundError(2, "No such file or directory", "a.npy"), "a.npy: No such file or directory"),
        (RedistillError("as it is"), "as it is"),
    ],
)
def test_failures_are_explained(error: Exception, words: str) -> None:
    assert failures.explained(error).startswith(words)
    assert "\n" not in failures.explained(error)


def test_of_several_processes_the_first_that_fails_says_why(tmp_path: Path) -> None:
    for message in ("the cause", "the connection was closed"):
        with pytest.raises(RedistillError), failures.noted(tmp_path, "key"):
            raise RuntimeError(message)
    with pytest.raises(RedistillError, match="what it is has failed already.*the cause"):
        failures.refuse(tmp_path, "key", "what it is")
    failures.forget(tmp_path, ["key"])
    failures.refuse(tmp_path, "key", "what it is")


IMAGES = {"type": "classification", "input": "image", "labels": ["a", "b"], "image_shape": [3, 8, 8]}
RUNTIME = {"portable": False, "device": "cpu"}


def test_a_random_start_takes_the_shape_alone(tmp_path: Path) -> None:
    student = {"architecture": {"method": "cnn", "settings": {"channels": [2, 2]}}, "start": None}
    model = load.build(student, IMAGES, RUNTIME, None, seed=0)
    load.save(model, {}, tmp_path)
    for random_start in (True, False):
        start = {"layers": None, "random": random_start, "fresh": []}
        other = load.build(student | {"start": start}, IMAGES, RUNTIME, tmp_path, seed=1)
        assert torch.equal(other.state_dict()["0.weight"], model.state_dict()["0.weight"]) is not random_start


@pytest.mark.parametrize("method", ["torchvision", "timm"])
def test_networks_of_other_packages_have_the_task_s_outputs(method: str) -> None:
    student = {"architecture": {"method": method, "settings": {"name": "resnet18"}}, "start": None}
    model = load.build(student, IMAGES, RUNTIME, None, seed=0).eval()
    with tapped(model, ["layer1"], "student") as captured:
        assert load.logits_of(model, {"image": torch.zeros(2, 3, 32, 32)}).shape == (2, 2)
    assert captured["layer1"].shape[:2] == (2, 64)


def test_a_student_that_says_no_number_when_an_epoch_is_chosen_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    said = pa.table({"id": ["a", "b"], "split": ["select"] * 2, "label": [0.0, 1.0], "prediction": [math.nan, 1.0]})
    monkeypatch.setattr(hooks.examples, "load", lambda *_: None)
    monkeypatch.setattr(hooks.predict, "predictions", lambda *_: said)
    evaluation = {"split": "select", "metrics": ["pearson"], "transforms": [], "batch_size": 2}
    best = Best({"task": {}, "evaluation": evaluation}, {}, Log.__new__(Log))
    learner, alone = SimpleNamespace(student=None), SimpleNamespace(device="cpu", process_index=0, num_processes=1)
    stage: Any = SimpleNamespace(index=1, step=8, learner=learner, whole=learner, accelerator=alone)
    with pytest.raises(
        RedistillError, match="stage 1, step 7: .* `select` holds a prediction that is not finite: lower"
    ):
        best._score(stage)
