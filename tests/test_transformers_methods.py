"""What is particular to methods on transformers."""

import pytest
import torch
from torch import Tensor, nn

from redistill.distill.distilbert import distilbert
from redistill.distill.heads import scores
from redistill.distill.minilm import minilm
from redistill.distill.minilmv2 import minilmv2
from redistill.distill.pkd import pkd
from redistill.distill.tinybert_attention import tinybert_attention
from redistill.distill.tinybert_hidden import build_own, tinybert_hidden


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


MASK = torch.tensor([[1, 1, 1], [1, 1, 0]])


# --- TinyBERT ---------------------------------------------------------------------------------------------------------


def test_states_of_one_width_are_compared_as_they_are():
    own = build_own([(3, 4), (3, 4)], [(3, 4), (3, 4)], 0)
    assert not list(own.parameters())
    student, teacher = normal(2, 3, 4), normal(2, 3, 4, seed=1)
    expected = (student - teacher)[MASK.bool()].square().mean().item()
    assert tinybert_hidden([student], [teacher], MASK, own).item() == pytest.approx(expected)


def test_states_of_the_same_widths_share_a_map():
    own = build_own([(3, 2), (3, 2), (3, 4), (3, 5)], [(3, 4), (3, 4), (3, 4), (3, 6)], 0)
    assert {name: (layer.in_features, layer.out_features) for name, layer in own.items()} == {
        "2-4": (2, 4), "5-6": (5, 6)
    }  # fmt: skip


def test_the_map_learns_what_leads_from_the_student_to_the_teacher():
    teacher_of = nn.Linear(2, 4).double()
    own = nn.ModuleDict({"2-4": teacher_of})
    student = normal(2, 3, 2)
    assert tinybert_hidden([student], [teacher_of(student)], MASK, own).item() == pytest.approx(0)
    fresh = build_own([(3, 2)], [(3, 4)], 0).double()
    tinybert_hidden([student], [teacher_of(student).detach()], MASK, fresh).backward()
    assert all(weights.grad is not None and (weights.grad != 0).any() for weights in fresh.parameters())


def test_texts_of_two_lengths_are_refused():
    with pytest.raises(ValueError, match="differ"):
        tinybert_hidden([normal(2, 3, 4)], [normal(2, 2, 4)], MASK, nn.ModuleDict())


def test_long_texts_in_half_precision_are_counted_right():
    """More elements than float16 can count."""
    student, teacher = torch.zeros(8, 100, 128, dtype=torch.float16), torch.ones(8, 100, 128, dtype=torch.float16)
    mask = torch.ones(8, 100, dtype=torch.int64)
    assert tinybert_hidden([student], [teacher], mask, nn.ModuleDict()).item() == pytest.approx(1)
    queries = [student + 0.5, student + 0.5]
    assert tinybert_attention(queries, [teacher, teacher], mask, heads=2).item() == pytest.approx(36, rel=1e-3)


def test_queries_without_keys_are_refused():
    with pytest.raises(ValueError, match="queries and keys in turn"):
        tinybert_attention([normal(2, 3, 4)], [normal(2, 3, 4)], MASK, heads=2)


@pytest.mark.parametrize("method", [tinybert_attention, minilmv2])
def test_padding_has_no_gradient(method):
    mask = torch.tensor([[1, 1, 0]])
    student = [normal(1, 3, 4, seed=i).requires_grad_() for i in range(2)]
    method(student, [normal(1, 3, 4, seed=8 + i) for i in range(2)], mask, heads=2).backward()
    for each in student:
        assert each.grad is not None
        assert each.grad.isfinite().all()
        assert each.grad[0, 2].abs().sum() == 0
        assert each.grad[0, :2].abs().sum() > 0


def test_as_many_taps_are_wanted_of_the_teacher():
    with pytest.raises(ValueError):
        tinybert_hidden([normal(1, 1, 1)] * 2, [normal(1, 1, 1)], torch.ones(1, 1), nn.ModuleDict())


# --- MiniLM -----------------------------------------------------------------------------------------------------------


def test_minilm_whose_queries_are_its_keys_is_minilmv2_of_keys_and_values():
    (a, v), (ta, tv) = [normal(2, 3, 4), normal(2, 3, 4, seed=1)], [normal(2, 3, 8, seed=2), normal(2, 3, 8, seed=3)]
    relations = minilmv2([a, v], [ta, tv], MASK, heads=2).item() * 2
    assert minilm([a, a, v], [ta, ta, tv], MASK, heads=2).item() == pytest.approx(relations)


@pytest.mark.parametrize("taps", [2, 6])
def test_minilm_takes_the_queries_keys_and_values_of_one_layer(taps):
    with pytest.raises(ValueError, match=f"not {taps} and {taps} tensors"):
        minilm([normal(2, 3, 4)] * taps, [normal(2, 3, 4)] * taps, MASK, heads=2)


def test_heads_that_do_not_divide_the_features_are_refused():
    with pytest.raises(ValueError, match="4 features do not fall into 3 heads"):
        scores(normal(2, 3, 4), normal(2, 3, 4), 3)


# --- directions -------------------------------------------------------------------------------------------------------


def test_distilbert_by_hand():
    """The same direction costs 0, a right angle 1, the opposite 2; padding costs nothing."""
    student = torch.tensor([[[1.0, 0.0], [1.0, 0.0], [3.0, 0.0], [1.0, 1.0]]])
    teacher = torch.tensor([[[5.0, 0.0], [0.0, 2.0], [-1.0, 0.0], [-1.0, 0.0]]])
    assert distilbert([student], [teacher], torch.tensor([[1, 1, 1, 0]])).item() == pytest.approx(1.0)


def test_distilbert_is_torchs_cosine_loss_of_the_tokens():
    student, teacher = normal(2, 3, 4), normal(2, 3, 4, seed=1)
    there = MASK.bool()
    expected = nn.CosineEmbeddingLoss()(student[there], teacher[there], torch.ones(5)).item()
    assert distilbert([student], [teacher], MASK).item() == pytest.approx(expected)


def test_pkd_is_twice_distilbert_of_the_first_token():
    student, teacher = normal(2, 3, 4), normal(2, 3, 4, seed=1)
    first = distilbert([student[:, :1]], [teacher[:, :1]], MASK[:, :1]).item()
    assert pkd([student], [teacher]).item() == pytest.approx(2 * first)


@pytest.mark.parametrize("method", [distilbert, pkd])
def test_states_of_zeros_have_a_gradient_and_widths_must_be_the_same(method):
    given = (MASK,) if method is distilbert else ()
    student = torch.zeros(2, 3, 4, requires_grad=True)
    method([student], [normal(2, 3, 4).float()], *given).backward()
    assert student.grad is not None
    assert student.grad.isfinite().all()
    with pytest.raises(ValueError, match="differ"):
        method([normal(2, 3, 4)], [normal(2, 3, 5)], *given)
