"""Layers that are computed again in the backward pass: the same bytes for less memory."""

from contextlib import nullcontext
from typing import Any

import pytest
import torch
from test_families import FAMILIES, INNER, LAYERS, TASK, batch, config_of
from torch import Tensor, nn

from redistill.errors import RedistillError
from redistill.models import dropout, load, text
from redistill.models.recompute import layers_of, recomputed
from redistill.training.learner import Learner

RUNTIME = {"portable": False, "device": "cpu"}
DROPPED = {
    "modernbert": {"attention_dropout": 0.1, "mlp_dropout": 0.1, "embedding_dropout": 0.1},
    "distilbert": {"dropout": 0.1, "attention_dropout": 0.1},
}  # fmt: skip
USUAL = {"hidden_dropout_prob": 0.1, "attention_probs_dropout_prob": 0.1}


def student(family: str, runtime: dict[str, Any] = RUNTIME) -> nn.Module:
    torch.manual_seed(0)
    config = config_of(family)
    for key, value in DROPPED.get(family, USUAL).items():
        assert hasattr(config, key)
        setattr(config, key, value)
    return load.placed(text.from_config(config, TASK), runtime)


def taps_of(family: str) -> list[str]:
    """Outputs of the first and the last layer, and something inside the first."""
    layers = f"{INNER.get(family, family)}.{LAYERS.get(family, 'encoder.layer')}"
    inside = {"modernbert": "mlp", "distilbert": "ffn"}.get(family, "attention.output.dense")
    return [f"{layers}.0", f"{layers}.3", f"{layers}.0.{inside}"]


def trained(
    family: str, recompute: bool, taps: list[str], steps: int = 3, half: bool = False, count: bool = False
) -> tuple[dict[str, Tensor], int]:
    """Weights after some steps, and if they are counted the most bytes that were kept for a backward pass."""
    learner = Learner(student(family), {}, {}).train()
    learner.listen({"student": taps}, full_precision=False)
    optimiser = torch.optim.AdamW(learner.parameters(), lr=0.01)
    most = 0
    with recomputed(learner.student) if recompute else nullcontext():
        for step in range(steps):
            kept: dict[int, int] = {}

            def note(tensor: Tensor, kept: dict[int, int] = kept) -> Tensor:
                kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
                return tensor

            dropout.begin(7, step, 0)
            # around checkpoints' own hooks, so it sees what is kept beside what they keep
            counted = torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor) if count else nullcontext()
            with counted, torch.autocast("cpu", dtype=torch.bfloat16, enabled=half):
                seen = learner.see(batch(family), {})["student"]
                loss = seen["logits"].float().square().sum() + sum(seen[tap].float().square().mean() for tap in taps)
            most = max(most, sum(kept.values()))
            loss.backward()
            optimiser.step()
            optimiser.zero_grad()
    return learner.state_dict(), most


@pytest.mark.parametrize("half", [False, True], ids=["float32", "bfloat16"])
@pytest.mark.parametrize("tapped", [False, True], ids=["", "tapped"])
@pytest.mark.parametrize("family", FAMILIES)
def test_weights_have_the_same_bytes_with_dropout_on(family: str, tapped: bool, half: bool) -> None:
    taps = taps_of(family) if tapped else []
    whole, again = (trained(family, recompute, taps, half=half)[0] for recompute in (False, True))
    assert whole.keys() == again.keys()
    for name, tensor in whole.items():
        assert torch.equal(tensor, again[name]), name
    start = Learner(student(family), {}, {}).state_dict()
    assert not all(torch.equal(tensor, whole[name]) for name, tensor in start.items())


@pytest.mark.parametrize("family", FAMILIES)
def test_less_is_kept_for_the_backward_pass(family: str) -> None:
    weights = sum(p.untyped_storage().nbytes() for p in student(family).parameters())
    whole, again = (trained(family, recompute, [], steps=1, count=True)[1] - weights for recompute in (False, True))
    assert again < 0.6 * whole, f"{again} bytes of {whole}"


def test_layers_are_computed_twice_in_training_and_once_otherwise() -> None:
    model, seen = student("bert"), list[int]()
    for i in range(4):
        dense = model.get_submodule(f"bert.encoder.layer.{i}.output.dense")
        dense.register_forward_hook(lambda *_, i=i: seen.append(i))

    def layers(train: bool) -> list[int]:
        seen.clear()
        load.logits_of(model.train(train), batch("bert")).sum().backward()
        return list(seen)

    with recomputed(model):
        assert layers(train=True) == [0, 1, 2, 3, 2, 1, 0], "the last is kept"
        assert layers(train=False) == [0, 1, 2, 3]
    assert layers(train=True) == [0, 1, 2, 3]


def test_the_stream_of_masks_stands_where_it_stood_after_a_layer_was_computed_again() -> None:
    dropout.begin(1)
    like = torch.empty(100)
    early = dropout.position()
    first, second = dropout.kept(like, 0.5), dropout.kept(like, 0.5)
    with dropout.gone_back_to(early):
        assert torch.equal(dropout.kept(like, 0.5), first)
    third = dropout.kept(like, 0.5)
    dropout.begin(1)
    expected = [dropout.kept(like, 0.5) for _ in range(3)]
    assert all(torch.equal(a, b) for a, b in zip((first, second, third), expected, strict=True))


def test_a_frozen_beginning_is_no_hindrance() -> None:
    found = []
    for recompute in (False, True):
        model = student("bert").train()
        model.get_submodule("bert.embeddings").requires_grad_(False)
        model.get_submodule("bert.encoder.layer.0").requires_grad_(False)
        with recomputed(model) if recompute else nullcontext():
            dropout.begin(3)
            load.logits_of(model, batch("bert")).square().sum().backward()
        found.append({name: p.grad for name, p in model.named_parameters() if p.grad is not None})
    assert found[0].keys() == found[1].keys()
    assert all(torch.equal(grad, found[1][name]) for name, grad in found[0].items())


@pytest.mark.parametrize("kind", ["image", "one layer"])
def test_models_without_such_layers_are_refused(kind: str) -> None:
    if kind == "image":
        model: nn.Module = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten())
    else:
        config = config_of("bert")
        config.num_hidden_layers = 1
        model = text.from_config(config, TASK)
    with pytest.raises(RedistillError, match="only transformers of two layers or more .* leave `recompute` out"):
        layers_of(model)
