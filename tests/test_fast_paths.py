"""Every fast path of the engine against the plain one."""

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForSequenceClassification, PreTrainedModel

from redistill.distill import outputs
from redistill.distill.outputs import Stored
from redistill.models import attention, dropout, load, text
from redistill.models.taps import tapped
from redistill.models.used_rows import UsedRows, use_rows, use_whole_table
from redistill.training.checkpoint import optimiser_state, restore_optimiser
from redistill.training.learner import Learner
from redistill.training.loop import one_pass
from redistill.training.sampler import epoch_batches

TASK = {"type": "classification", "input": "text", "labels": ["no", "yes"], "image_shape": None}
IMAGES = {"type": "classification", "input": "image", "labels": ["a", "b"], "image_shape": [1, 8, 8]}
SMALL = {
    "vocab_size": 100,
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 64,
}
PADS = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "cls_token_id": 1, "sep_token_id": 2}
FAMILIES: dict[str, dict[str, Any]] = {
    "bert": {},
    "roberta": {"pad_token_id": 0},
    "electra": {"embedding_size": 16},
    "albert": {"embedding_size": 16},
    "distilbert": {"dim": 32, "hidden_dim": 64, "n_layers": 3, "n_heads": 4},
    "deberta-v2": {},
    "modernbert": PADS,
    "llama": {"num_key_value_heads": 2, "pad_token_id": 0},
}
FIRST = ("bert", "roberta", "electra")
OTHER = {"portable": False, "device": "cpu"}


def config_of(family: str) -> Any:
    return AutoConfig.for_model(family, **SMALL, **FAMILIES[family])


def ours(family: str = "bert") -> PreTrainedModel:
    torch.manual_seed(0)
    model = text.from_config(config_of(family), TASK)
    load.placed(model, OTHER)
    return model


def plain(family: str = "bert") -> PreTrainedModel:
    """transformers' own model with its plain attention, and the same weights."""
    config = config_of(family)
    config.num_labels = 2
    model: PreTrainedModel = AutoModelForSequenceClassification.from_config(config, attn_implementation="eager")
    model.load_state_dict(ours(family).state_dict())
    return model


def tokens(padded: bool) -> dict[str, Tensor]:
    ids = torch.randint(3, 100, (5, 11), generator=torch.Generator().manual_seed(1))
    mask = torch.ones_like(ids)
    if padded:
        mask[1, -4:] = 0
        mask[3, -1:] = 0
    return {"input_ids": ids * mask, "attention_mask": mask}


def without_dropout(model: nn.Module) -> nn.Module:
    return model.train().requires_grad_().eval()


# --- attention and the first token -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("dtype", "off"), [(torch.float64, 1e-5), (torch.float32, 1e-4)])
@pytest.mark.parametrize("padded", [True, False])
@pytest.mark.parametrize("family", FAMILIES)
def test_our_models_give_the_logits_and_gradients_of_transformers_own(
    family: str, padded: bool, dtype: torch.dtype, off: float
) -> None:
    models = [without_dropout(model.to(dtype)) for model in (ours(family), plain(family))]
    logits = [load.logits_of(model, tokens(padded)) for model in models]
    torch.testing.assert_close(*logits, atol=off / 10, rtol=off)
    for one in logits:
        one.square().sum().backward()
    for (name, mine), theirs in zip(models[0].named_parameters(), models[1].parameters(), strict=True):
        assert (mine.grad is None) == (theirs.grad is None), name
        if mine.grad is not None and theirs.grad is not None:
            torch.testing.assert_close(mine.grad, theirs.grad, atol=off / 10, rtol=off)


@pytest.mark.parametrize("family", FIRST)
def test_the_last_layer_computes_the_first_token_alone_unless_it_is_looked_at(family: str) -> None:
    model = without_dropout(ours(family))
    layer = f"{family}.encoder.layer"
    seen: list[int] = []
    dense = model.get_submodule(f"{layer}.2.intermediate.dense")
    dense.register_forward_hook(lambda _, given, __: seen.append(given[0].shape[1]))
    whole = {}
    for taps in (
        [],
        [f"{layer}.1"],
        [f"{layer}.2"],
        [f"{layer}.2.attention.self:output.1"],
        [f"{family}.encoder:input"],
    ):
        with tapped(model, taps, "student") as captured:
            whole[taps[0] if taps else ""] = load.logits_of(model, tokens(True))
        assert seen.pop() == (11 if taps and taps[0] != f"{layer}.1" else 1), taps
        if f"{layer}.2" in taps:
            assert captured[f"{layer}.2"].shape == (5, 11, 32)
    for logits in whole.values():
        torch.testing.assert_close(logits, whole[""], atol=1e-6, rtol=1e-5)
    load.logits_of(model, tokens(True))
    assert seen.pop() == 1, "what was tapped is tapped no more"


def test_a_saved_model_is_opened_by_transformers_and_says_the_same(tmp_path: Path) -> None:
    model = ours().eval()
    text.save(model, tmp_path, tmp_path)
    theirs = AutoModelForSequenceClassification.from_pretrained(tmp_path).eval()
    torch.testing.assert_close(load.logits_of(theirs, tokens(True)), load.logits_of(model, tokens(True)))


def _attend(p: float, mask: Tensor | None, *inputs: Tensor) -> tuple[Tensor, Tensor]:
    module = nn.Module().train()
    dropout.begin(3)
    return attention.attend(module, *inputs, mask, 0.7, p)


@pytest.mark.parametrize("p", [0.0, 0.4])
@pytest.mark.parametrize("queries", [1, 4])
def test_gradients_of_attention(p: float, queries: int) -> None:
    generator = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(2, 3, n, 5, dtype=torch.float64, generator=generator) for n in (queries, 4, 4))
    mask = torch.zeros(2, 1, queries, 4, dtype=torch.float64)
    mask[1, :, :, 2:] = torch.finfo(torch.float64).min
    for tensor in (q, k, v):
        tensor.requires_grad_()
    torch.autograd.gradcheck(lambda *given: _attend(p, mask, *given), (q, k, v))
    torch.autograd.gradcheck(lambda *given: _attend(p, mask, *given)[1], (q, k, v))
    mixed, weights = _attend(p, mask, q, k, v)
    assert mixed.shape == (2, queries, 3, 5)
    torch.testing.assert_close(weights.sum(-1), torch.ones_like(weights.sum(-1)))
    assert weights[1, :, :, 2:].abs().max() == 0, "what is masked was attended to"
    dropout.begin(3)
    keep = dropout.kept(weights, p) * dropout.scale(p) if p else 1
    torch.testing.assert_close(mixed, ((weights * keep) @ v).transpose(1, 2))


def test_heads_that_are_shared_are_those_of_their_group() -> None:
    generator = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(2, heads, 3, 5, generator=generator) for heads in (4, 2, 2))
    mixed, _ = attention.attend(nn.Module(), q, k, v, None)
    expected = torch.softmax(q @ k[:, [0, 0, 1, 1]].transpose(2, 3) / 5**0.5, -1) @ v[:, [0, 0, 1, 1]]
    torch.testing.assert_close(mixed, expected.transpose(1, 2))


def test_attention_in_mixed_precision_is_near_that_in_full() -> None:
    model, batch = ours(), tokens(True)
    gradients = []
    for mixed in (False, True):
        model.zero_grad()
        dropout.begin(5)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=mixed):
            logits = load.logits_of(model.train(), batch)
        logits.float().square().sum().backward()
        gradients.append(torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None]))
    assert torch.cosine_similarity(*gradients, dim=0) > 0.99
    assert not torch.equal(*gradients)


# --- precision -------------------------------------------------------------------------------------------------------


@pytest.fixture
def taught(tmp_path: Path) -> dict[str, Path]:
    """A finished run of a network of images, and what it is to say something about."""
    task = {**IMAGES, "splits": {}}
    network = {"architecture": {"method": "cnn", "settings": {"channels": [4, 4], "hidden": 16, "dropout": 0.0}}}
    model = load.build({**network, "start": None}, task, OTHER, None, seed=0)
    load.save(model, {}, tmp_path)
    resolved = {"student": network, "stages": [], "task": task}
    (tmp_path / "resolved.json").write_text(json.dumps(resolved), encoding="utf-8")
    pixels = np.random.default_rng(0).random((70, 64), dtype=np.float32)
    columns = {"id": [str(i) for i in range(70)], "label": [0] * 70, "image": list(pixels)}
    pq.write_table(pa.table(columns), tmp_path / "train.parquet")
    return {"teacher": tmp_path, "dataset": tmp_path}


def test_teacher_outputs_are_made_in_the_studys_precision_and_kept_in_float32(
    taught: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outputs, "prepare_torch", lambda *_: None)  # the process is not pinned, and need not be
    found = {}
    for precision in ("float32", "bfloat16"):
        runtime = {"precision": precision, "portable": False, "device": "cpu", "threads": 1, "devices": 1}
        config = {"split": "train", "task": IMAGES, "runtime": runtime, "transforms": [], "views": None,
                  "batch_size": 64}  # fmt: skip
        outputs.make_outputs(config, taught, tmp_path)
        found[precision] = np.load(tmp_path / "logits.npy")
    exact, rounded = found.values()
    assert exact.dtype == rounded.dtype == np.float32
    assert not np.array_equal(exact, rounded)
    np.testing.assert_allclose(rounded, exact, atol=0.02)


@pytest.mark.parametrize(("full", "expected"), [(False, True), (True, False)])
def test_live_teachers_compute_in_the_precision_of_the_stage(full: bool, expected: bool) -> None:
    learner = Learner(nn.Linear(2, 2), {}, {})
    learner.listen({}, full)
    batch = {"index": torch.arange(1), "labels": torch.zeros(1), "image": torch.zeros(1, 2)}
    mixed: list[bool] = []
    stage: Any = SimpleNamespace(
        data=SimpleNamespace(batch=lambda *_: batch), learner=learner, prepared=learner, step=0, steps=1,
        noise=0, common=0, said={"rotations": False}, seeds=lambda *_: None, view=lambda *_: 0,
        accelerator=SimpleNamespace(device="cpu", autocast=lambda: torch.autocast("cpu", dtype=torch.bfloat16)),
        teachers=SimpleNamespace(see=lambda *_: mixed.append(torch.is_autocast_enabled("cpu")) or {}),
        loss=SimpleNamespace(students=["student"], values=lambda *_: {}, total=lambda *_: torch.zeros(())),
    )  # fmt: skip
    one_pass(stage, np.arange(1))
    assert mixed == [expected]


# --- dropout ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("p", [0.0, 0.1, 0.5, 0.9, 1.0])
def test_dropout_drops_its_share_and_keeps_the_mean(p: float) -> None:
    layer = dropout.Dropout(p).train()
    dropout.begin(7)
    x = torch.ones(400, 501, requires_grad=True)
    y = layer(x)
    assert y.eq(0).float().mean().item() == pytest.approx(p, abs=0.005)
    assert y.mean().item() == pytest.approx(1 if p < 1 else 0, abs=0.02)
    y.sum().backward()
    assert x.grad is not None
    assert torch.equal(x.grad, y.detach()), "the gradient is dropped where the value is"
    assert torch.equal(layer.eval()(x), x)


def test_masks_are_those_of_their_counter() -> None:
    x = torch.ones(64, 65)
    layer = dropout.Dropout(0.5).train()

    def masks(*counter: int) -> Tensor:
        dropout.begin(*counter)
        return torch.stack([layer(x), layer(x)])

    assert torch.equal(masks(1, 2, 0), masks(1, 2, 0))
    others = [masks(1, 2, 0), masks(1, 3, 0), masks(2, 2, 0), masks(1, 2, 1)]
    for i, one in enumerate([*others, others[0].flip(0)]):
        for other in others[:i]:
            agree = one.eq(other).float().mean().item()
            assert agree == pytest.approx(0.5, abs=0.05)


def test_neighbours_are_dropped_independently() -> None:
    dropout.begin(11)
    kept = dropout.kept(torch.empty(300_001), 0.3)
    for lag in (1, 2, 3, 4, 8, 64):
        both = (kept[:-lag] * kept[lag:]).mean().item()
        assert both == pytest.approx(0.49, abs=0.005)


def test_every_dropout_of_a_model_is_ours() -> None:
    kinds = {type(module) for module in ours().modules() if isinstance(module, nn.Dropout)}
    assert kinds == {dropout.Dropout}


# --- used rows -------------------------------------------------------------------------------------------------------

TEXTS = [np.array([5, 9, 9, 40], dtype=np.int32), np.array([7, 5], dtype=np.int32)]
BATCH = {
    "input_ids": torch.tensor([[5, 9, 9, 40], [7, 5, 0, 0]]),
    "attention_mask": torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0]]),
}
UNSEEN = {"input_ids": torch.tensor([[5, 99, 1, 40]]), "attention_mask": torch.ones(1, 4, dtype=torch.long)}


def _optimiser(model: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.AdamW(model.parameters(), lr=0.01, weight_decay=0.3, fused=True)


def _trained(model: Any, rows: UsedRows | None, optimiser: torch.optim.Optimizer, steps: int) -> None:
    for step in range(steps):
        for group in optimiser.param_groups:
            group["lr"] = 0.01 / (step + 1)
        dropout.begin(step)
        load.logits_of(model.train(), BATCH).square().sum().backward()
        optimiser.step()
        if rows is not None:
            rows.after_step(optimiser)
        optimiser.zero_grad(set_to_none=True)


def test_training_the_used_rows_is_training_the_table() -> None:
    whole, model = ours(), ours()
    _trained(whole, None, _optimiser(whole), 6)
    rows = use_rows(model, TEXTS)
    assert rows is not None
    assert rows.weight.shape == (5, 32), "0, 5, 7, 9 and 40"
    _trained(model, rows, _optimiser(model), 6)
    for batch in (BATCH, UNSEEN):
        torch.testing.assert_close(load.logits_of(model.eval(), batch), load.logits_of(whole.eval(), batch))
    use_whole_table(model, rows)
    before = ours().get_input_embeddings().weight
    after, expected = model.get_input_embeddings().weight, whole.get_input_embeddings().weight
    torch.testing.assert_close(after, expected, atol=1e-6, rtol=1e-5)
    assert not torch.equal(after[99], before[99]), "what no text uses decays"
    assert [*model.state_dict()] == [*whole.state_dict()]
    assert after.requires_grad


def test_used_rows_are_saved_and_restored_whole() -> None:
    model, again = ours(), ours()
    with torch.no_grad():
        again.get_input_embeddings().weight.add_(1.0)  # as where an earlier stage, not repeated, has trained it
    rows, later = use_rows(model, TEXTS), use_rows(again, TEXTS)
    assert rows is not None
    assert later is not None
    optimiser, resumed = _optimiser(model), _optimiser(again)
    _trained(model, rows, optimiser, 3)
    again.load_state_dict(model.state_dict())
    values, tensors = optimiser_state(optimiser)
    restore_optimiser(resumed, values, {name: tensor.clone() for name, tensor in tensors.items()})
    for one, its, by in ((model, rows, optimiser), (again, later, resumed)):
        _trained(one, its, by, 3)
        use_whole_table(one, its)
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, again.state_dict()[name]), name


def test_rows_are_left_alone_where_the_table_is_frozen_or_shared() -> None:
    frozen = ours()
    frozen.get_input_embeddings().requires_grad_(False)
    assert use_rows(frozen, TEXTS) is None
    shared = ours()
    shared.more = nn.Linear(32, 100, bias=False)
    shared.more.weight = shared.get_input_embeddings().weight
    assert use_rows(shared, TEXTS) is None


# --- what is read, kept and padded -----------------------------------------------------------------------------------


def test_stored_outputs_are_read_as_they_are_asked_for(tmp_path: Path) -> None:
    logits = np.random.default_rng(0).standard_normal((50, 3)).astype(np.float32)
    for split, part in (("train", logits[:20]), ("transfer", logits[20:])):
        (tmp_path / split).mkdir()
        np.save(tmp_path / split / "logits.npy", part)
    inputs = {f"outputs teacher {split}": tmp_path / split for split in ("train", "transfer")}
    stored = Stored(inputs, "teacher", ["train", "transfer"])
    indices = np.array([49, 0, 19, 20, 20, 7])
    assert np.array_equal(stored.of(indices), logits[indices])
    assert all(isinstance(part, np.memmap) for part in stored.parts)


def own_memory() -> int:
    """KiB of this process' memory that no file is behind: pages of a mapped file are the kernel's to take back."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.partition("RssAnon:")[2].split()[0])


def test_outputs_of_ten_million_are_read_without_loading_them(tmp_path: Path) -> None:
    many = 10_000_000
    file = np.lib.format.open_memmap(tmp_path / "logits.npy", mode="w+", dtype=np.float32, shape=(many, 16))
    file[[0, many - 1]] = 1.0  # the rest is a hole in the file
    del file
    before = own_memory()
    stored = Stored({"outputs teacher train": tmp_path}, "teacher", ["train"])
    for indices in np.random.default_rng(0).integers(0, many, (50, 32)):
        assert stored.of(indices).shape == (32, 16)
    assert stored.of(np.array([many - 1, 0])).min() == 1.0
    assert own_memory() - before < 16 * 1024, "of 640 MB"


MANY_SHAPES = """
import sys
from pathlib import Path
from redistill import environment
if sys.argv[1] == "few":
    environment.keep_few_kernels()
import torch
from redistill.models.linear import OneDnnLinear
torch.set_num_threads(1)
layer, x = OneDnnLinear(256, 256), torch.randn(700, 256, requires_grad=True)
def memory():
    return int(Path("/proc/self/status").read_text().partition("RssAnon:")[2].split()[0])
for rows in (700, *range(40, 640)):
    layer(x[:rows]).sum().backward()
    before = memory() if rows == 700 else before
print(memory() - before)
"""


def test_kernels_of_shapes_that_are_gone_are_not_kept() -> None:
    grown = {
        how: int(
            subprocess.run([sys.executable, "-c", MANY_SHAPES, how], capture_output=True, text=True, timeout=120).stdout
        )
        for how in ("few", "all")
    }
    assert grown["few"] < grown["all"] / 2


@pytest.mark.parametrize("size", [8, 16, 32])
def test_at_most_a_twenty_fifth_of_the_tokens_is_padding(size: int) -> None:
    generator = np.random.Generator(np.random.PCG64(0))
    lengths = np.clip(generator.normal(53, 17, 3668), 8, 103).astype(np.int64)  # as MRPC's
    batches = epoch_batches(lengths, size, generator, np.arange(len(lengths)))
    assert sorted(np.concatenate(batches)) == list(range(3668))
    computed = sum(len(batch) * lengths[batch].max() for batch in batches)
    assert 1 - lengths.sum() / computed <= 0.04


def test_a_restored_optimiser_lays_its_state_out_like_its_weights() -> None:
    def convolution() -> nn.Module:
        torch.manual_seed(0)
        return nn.Conv2d(3, 4, 3).to(memory_format=torch.channels_last)

    def step(model: nn.Module, optimiser: torch.optim.Optimizer) -> None:
        model(torch.ones(2, 3, 5, 5)).square().sum().backward()
        optimiser.step()
        optimiser.zero_grad()

    one, two = convolution(), convolution()
    by_one, by_two = (torch.optim.SGD(m.parameters(), lr=0.01, momentum=0.9, fused=True) for m in (one, two))
    step(one, by_one)
    plain_values, tensors = optimiser_state(by_one)
    two.load_state_dict(one.state_dict())
    restore_optimiser(by_two, plain_values, {name: t.contiguous().clone() for name, t in tensors.items()})
    step(one, by_one)
    step(two, by_two)
    assert torch.equal(one.state_dict()["weight"], two.state_dict()["weight"])


def test_a_network_of_convolutions_says_the_same_in_either_order(tmp_path: Path) -> None:
    student = {"architecture": {"method": "cifar_resnet", "settings": {"depth": 8}}, "start": None}
    task = {"type": "classification", "input": "image", "labels": ["a", "b"], "image_shape": [3, 16, 16]}
    fast = load.build(student, task, OTHER, None, seed=0).train()
    slow = load.build(student, task, {"portable": True, "device": "cpu"}, None, seed=0).train()
    images = {"image": torch.randn(4, 3, 16, 16, generator=torch.Generator().manual_seed(0))}
    torch.testing.assert_close(load.logits_of(fast, images), load.logits_of(slow, images), atol=1e-5, rtol=1e-4)
    assert next(fast.parameters()).is_contiguous(memory_format=torch.channels_last)
    load.save(fast, {}, tmp_path)
    saved = load_file(tmp_path / "model.safetensors")
    assert all(torch.equal(saved[name], tensor) for name, tensor in fast.state_dict().items())
