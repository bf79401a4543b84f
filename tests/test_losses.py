"""Losses, layers, taps and architectures against second, slower, plainer implementations."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from plain_vectors import softmax
from torch import Tensor, nn

from redistill.distill.hard import hard
from redistill.distill.kd import kd
from redistill.distill.pseudo_label import pseudo_label
from redistill.errors import RedistillError
from redistill.models.architectures.cnn import cnn
from redistill.models.linear import FEW_OUTPUTS, OneDnnLinear, use_onednn
from redistill.models.taps import tapped

NAN = float("nan")
SHAPES = [(1, 2), (1, 5), (4, 2), (7, 3), (5, 1), (1, 1)]


def normal(*shape: int, seed: int = 0, scale: float = 2.0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, dtype=torch.float64, generator=generator) * scale


def labels_for(B: int, C: int, missing: bool) -> Tensor:
    """Labels, every other of them missing if asked for; scores where C = 1."""
    if C == 1:
        scores = normal(B, seed=2)
        scores[1::2] = NAN if missing else 0.5
        return scores
    classes = torch.arange(B) % C
    classes[1::2] = -1 if missing else 0
    return classes


def plain_hard(logits: Tensor, labels: Tensor) -> float:
    terms = []
    for row, label in zip(logits.tolist(), labels.tolist(), strict=True):
        if labels.is_floating_point():
            terms += [] if math.isnan(label) else [(row[0] - label) ** 2]
        elif label >= 0:
            terms.append(-math.log(softmax(row)[label]))
    return sum(terms) / len(terms) if terms else 0.0


def plain_kd(student: Tensor, teacher: Tensor, temperature: float, t_squared: bool) -> float:
    total = 0.0
    for s, t in zip(student.tolist(), teacher.tolist(), strict=True):
        if len(s) == 1:
            total += (s[0] - t[0]) ** 2
            continue
        p, q = softmax([x / temperature for x in t]), softmax([x / temperature for x in s])
        divergence = sum(a * (math.log(a) - math.log(b)) for a, b in zip(p, q, strict=True))
        total += divergence * (temperature**2 if t_squared else 1)
    return total / len(student)


def plain_pseudo_label(student: Tensor, teacher: Tensor, labels: Tensor) -> float:
    filled = labels.clone()
    for i, row in enumerate(teacher.tolist()):
        if labels.is_floating_point():
            filled[i] = row[0] if math.isnan(labels[i]) else labels[i]
        elif labels[i] < 0:
            filled[i] = row.index(max(row))
    return plain_hard(student, filled)


def close(found: Tensor, expected: float) -> bool:
    assert found.shape == ()
    return found.item() == pytest.approx(expected, rel=1e-10, abs=1e-12)


# --- losses ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("B", "C"), SHAPES)
@pytest.mark.parametrize("missing", [False, True])
def test_hard_is_the_mean_over_what_has_a_label(B, C, missing):
    logits, labels = normal(B, C), labels_for(B, C, missing)
    assert close(hard(logits, labels), plain_hard(logits, labels))
    logits.requires_grad_()
    hard(logits, labels).backward()
    assert logits.grad is not None
    without = labels.isnan() if C == 1 else labels < 0
    assert (logits.grad[without] == 0).all()
    assert torch.autograd.gradcheck(lambda x: hard(x, labels), (logits,))


@pytest.mark.parametrize("labels", [torch.tensor([-1, -1]), torch.tensor([NAN, NAN], dtype=torch.float64)])
def test_hard_is_zero_with_no_gradient_where_nothing_has_a_label(labels):
    logits = normal(2, 1 if labels.is_floating_point() else 3).requires_grad_()
    loss = hard(logits, labels)
    loss.backward()
    assert loss.item() == 0
    assert logits.grad is not None
    assert (logits.grad == 0).all()


@pytest.mark.parametrize(("B", "C"), SHAPES)
@pytest.mark.parametrize("t_squared", [True, False])
@pytest.mark.parametrize("temperature", [1.0, 0.5, 4.0])
def test_kd_is_the_divergence_at_its_temperature(B, C, t_squared, temperature):
    student, teacher = normal(B, C), normal(B, C, seed=1)
    found = kd(student, teacher, temperature=temperature, t_squared=t_squared)
    assert close(found, plain_kd(student, teacher, temperature, t_squared))
    student.requires_grad_()
    assert torch.autograd.gradcheck(lambda x: kd(x, teacher, temperature=temperature, t_squared=t_squared), (student,))


LOGITS = st.lists(st.floats(-30, 30), min_size=6, max_size=6).map(
    lambda x: torch.tensor(x, dtype=torch.float64).view(2, 3)
)


@settings(max_examples=50, deadline=None, derandomize=True)
@given(student=LOGITS, teacher=LOGITS, shift=st.floats(-50, 50), temperature=st.floats(0.5, 10))
def test_kd_is_not_negative_zero_at_equal_logits_and_deaf_to_a_constant(student, teacher, shift, temperature):
    loss = kd(student, teacher, temperature=temperature)
    assert loss.item() >= -1e-9
    assert kd(teacher, teacher, temperature=temperature).item() == pytest.approx(0, abs=1e-9)
    assert kd(student + shift, teacher - shift, temperature=temperature).item() == pytest.approx(loss.item(), abs=1e-6)


def test_kd_is_finite_and_differentiable_at_extreme_logits():
    student = torch.tensor([[1000.0, -1000.0]], requires_grad=True)
    loss = kd(student, torch.tensor([[-1000.0, 1000.0]]))
    loss.backward()
    assert loss.item() == 2000
    assert student.grad is not None
    assert student.grad.isfinite().all()


@pytest.mark.parametrize(("B", "C"), SHAPES)
@pytest.mark.parametrize("missing", [False, True])
def test_pseudo_label_fills_what_is_missing_with_the_teachers_decision(B, C, missing):
    student, teacher, labels = normal(B, C), normal(B, C, seed=1), labels_for(B, C, missing)
    before = labels.clone()
    assert close(pseudo_label(student, teacher, labels), plain_pseudo_label(student, teacher, labels))
    assert torch.equal(labels.nan_to_num(9), before.nan_to_num(9))
    student.requires_grad_()
    assert torch.autograd.gradcheck(lambda x: pseudo_label(x, teacher, labels), (student,))


@pytest.mark.parametrize(("B", "C"), [(4, 3), (3, 1)])
def test_pseudo_label_is_hard_where_every_label_is_there(B, C):
    student, labels = normal(B, C), labels_for(B, C, missing=False)
    assert close(pseudo_label(student, normal(B, C, seed=1), labels), hard(student, labels).item())


# --- linear layers ---------------------------------------------------------------------------------------------------


def layers(inputs: int, outputs: int, portable: bool, bias: bool = True) -> tuple[nn.Linear, OneDnnLinear]:
    """torch's linear layer and ours, with the same weights."""
    torch.manual_seed(0)
    plain, ours = nn.Linear(inputs, outputs, bias), OneDnnLinear(inputs, outputs, bias)
    ours.load_state_dict(plain.state_dict())
    ours.portable = portable
    return plain, ours


def passed(layer: nn.Linear, inputs: torch.Tensor) -> list[torch.Tensor | None]:
    """A layer's output, and the gradients of its input and parameters."""
    x = inputs.clone().requires_grad_()
    y = layer(x)
    (y.float() * torch.linspace(-1, 1, y.numel()).view_as(y)).sum().backward()
    return [y, x.grad, *(parameter.grad for parameter in layer.parameters())]


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("portable", [True, False])
@pytest.mark.parametrize("outputs", [1, FEW_OUTPUTS - 1, FEW_OUTPUTS, 33])
@pytest.mark.parametrize("shape", [(1, 16), (5, 16), (2, 3, 16), (1, 1, 16)])
def test_a_linear_layer_through_onednn_is_a_linear_layer(outputs, shape, portable, bias):
    plain, ours = layers(16, outputs, portable, bias)
    inputs = torch.randn(shape)
    for theirs, mine in zip(passed(plain, inputs), passed(ours, inputs), strict=True):
        assert mine is not None
        assert mine.shape == theirs.shape
        torch.testing.assert_close(mine, theirs, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_in_mixed_precision_a_linear_layer_gives_what_torchs_own_gives(dtype):
    plain, ours = layers(16, 33, portable=False)
    inputs = torch.randn(2, 3, 16)
    with torch.autocast("cpu", dtype=dtype):
        theirs, mine = passed(plain, inputs), passed(ours, inputs)
    assert mine[0].dtype == theirs[0].dtype == dtype
    for expected, found in zip(theirs[1:], mine[1:], strict=True):
        assert found.dtype == torch.float32
        torch.testing.assert_close(found, expected, rtol=0.02, atol=0.02)


@pytest.mark.parametrize("portable", [True, False])
def test_a_linear_layer_in_float64_has_exact_gradients(portable):
    _, layer = layers(6, 9, portable)
    assert torch.autograd.gradcheck(layer.double(), torch.randn(4, 6, dtype=torch.float64, requires_grad=True))


@pytest.mark.parametrize("outputs", [2, 16])
def test_a_frozen_linear_layer_passes_gradients_on(outputs):
    layer = OneDnnLinear(8, outputs).requires_grad_(False)
    x = torch.randn(3, 8, requires_grad=True)
    layer(x).sum().backward()
    assert x.grad is not None
    torch.testing.assert_close(x.grad, layer.weight.sum(0).expand(3, 8), rtol=1e-5, atol=1e-5)
    assert layer.weight.grad is None
    assert layer.bias.grad is None


@pytest.mark.parametrize("portable", [True, False])
def test_a_linear_layer_takes_what_is_not_contiguous(portable):
    _, layer = layers(6, 9, portable)
    x = torch.randn(6, 4, requires_grad=True)
    y = layer(x.t())
    torch.testing.assert_close(y, nn.functional.linear(x.t(), layer.weight, layer.bias), rtol=1e-5, atol=1e-5)
    y.t().contiguous().t().sum().backward()
    assert x.grad is not None
    torch.testing.assert_close(x.grad, layer.weight.sum(0)[:, None].expand(6, 4), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("portable", [True, False])
def test_putting_our_layers_in_keeps_names_parameters_and_results(portable):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Sequential(nn.Linear(4, 16), nn.ReLU()), nn.Linear(16, 3), nn.LayerNorm(3))
    x = torch.randn(5, 4)
    before, parameters, expected = list(model.state_dict()), list(model.parameters()), model(x)
    use_onednn(model, portable)
    assert [type(m) for m in model.modules() if isinstance(m, nn.Linear)] == [OneDnnLinear] * 2
    assert list(model.state_dict()) == before
    assert all(a is b for a, b in zip(model.parameters(), parameters, strict=True))
    torch.testing.assert_close(model(x), expected, rtol=1e-5, atol=1e-5)


# --- taps ------------------------------------------------------------------------------------------------------------


class Pair(nn.Module):
    """A module with two outputs, as attention layers have."""

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return x + 1, x + 2


def hooks(model: nn.Module) -> int:
    return sum(len(module._forward_hooks) for module in model.modules())


def test_taps_capture_each_passes_outputs_and_leave_no_hook():
    model = nn.ModuleDict({"block": nn.Sequential(nn.Linear(2, 3), nn.ReLU()), "pair": Pair()})
    with tapped(model, ["block.0", "block", "pair"], "student") as seen:
        assert seen == {}
        for seed in range(2):
            x = normal(4, 2, seed=seed).float()
            inner = model["block"](x)
            model["pair"](x)
            assert torch.equal(seen["block.0"].relu(), inner)
            assert seen["block"] is inner
            assert torch.equal(seen["pair"], x + 1)
    assert seen["block.0"].requires_grad
    assert hooks(model) == 0


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("block.7", "the teacher has no module `block.7`; there are `block.0`, `block.1`"),
        ("blok.0", "the teacher has no module `blok.0`; there are `block`, `head`"),
        ("block.0.inner.x", "the teacher has no module `block.0.inner.x`; there are `block.0.a`"),
    ],
)
def test_a_wrong_tap_names_those_that_exist_and_leaves_no_hook(path, words):
    inner = nn.Sequential()
    inner.add_module("a", nn.ReLU())
    model = nn.Sequential()
    model.add_module("block", nn.Sequential(inner, nn.ReLU()))
    model.add_module("head", nn.ReLU())
    with pytest.raises(RedistillError, match=words), tapped(model, ["head", path], "teacher"):
        pass
    assert hooks(model) == 0


# --- architectures ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("channels", [[4], [4, 6], [4, 6, 8], [4, 6, 8, 10]])
@pytest.mark.parametrize("outputs", [1, 10])
@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 9, 5)])
def test_a_cnn_takes_images_and_gives_logits(channels, outputs, shape):
    model = cnn(outputs, shape, channels=channels, hidden=5, dropout=0.5).eval()
    images = torch.rand(3, *shape)
    logits = model(images)
    assert logits.shape == (3, outputs)
    assert torch.equal(model(images), logits)
    assert [m.out_channels for m in model.modules() if isinstance(m, nn.Conv2d)] == channels
    logits.sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


def test_a_cnn_drawn_from_the_same_seed_is_the_same():
    def drawn(seed: int) -> dict[str, Tensor]:
        torch.manual_seed(seed)
        state: dict[str, Tensor] = cnn(10, (1, 8, 8), channels=[4, 6]).state_dict()
        return state

    first, again, other = drawn(0), drawn(0), drawn(1)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not all(torch.equal(first[name], other[name]) for name in first)
