"""Every method of distillation, proven: its formula, gradients, invariances, and what it does at the edges."""

from importlib import import_module
from pathlib import Path

import pytest
import torch
from method_proofs import Case, Draw, alike, changed, learning, permuted, told

FAMILIES = sorted(file.stem for file in Path(__file__).parent.glob("methods_*.py"))
CASES: list[Case] = [case for family in FAMILIES for case in import_module(family).CASES]


def cases(condition=lambda case: True):
    return pytest.mark.parametrize("case", [case for case in CASES if condition(case)], ids=str)


@cases()
def test_a_method_is_its_formula(case):
    for B in case.sizes:
        inputs = case.inputs(B)
        expected = case.plainly(inputs)
        assert case.value(inputs).item() == pytest.approx(expected, rel=1e-9, abs=1e-11), B
        single = case.value(case.inputs(B, dtype=torch.float32)).item()
        assert single == pytest.approx(expected, rel=1e-4, abs=1e-5), B


@cases(lambda case: case.whole_gradient)
def test_its_gradient_is_that_of_its_value(case):
    inputs = case.inputs(3)
    student = learning(inputs)
    own = list(inputs["own"].parameters()) if "own" in inputs else []
    assert torch.autograd.gradcheck(lambda *_: case.value(inputs), student, atol=1e-5, rtol=1e-4, fast_mode=True), own


@cases()
def test_nothing_flows_back_into_the_teacher(case):
    inputs = case.inputs(3)
    learning(inputs)
    value = case.value(inputs)
    assert value.ndim == 0
    assert value.requires_grad


@cases(lambda case: case.permutes)
def test_the_order_of_the_examples_does_not_matter(case):
    inputs = case.inputs(5)
    assert case.value(permuted(inputs)).item() == pytest.approx(case.value(inputs).item(), rel=1e-9, abs=1e-11)


@cases(lambda case: case.same)
def test_what_the_formula_does_not_see_changes_nothing(case):
    inputs = case.inputs(5)
    for what, change in case.same.items():
        assert case.value(change(inputs)).item() == pytest.approx(case.value(inputs).item(), rel=1e-8, abs=1e-10), what


@cases(lambda case: case.zero)
def test_a_student_that_says_what_the_teacher_says_costs_nothing(case):
    assert case.value(told(case.inputs(5))).item() == pytest.approx(0, abs=1e-9)


@cases(lambda case: "mask" in case.make(Draw(), 1))
def test_padding_does_not_count(case):
    inputs = case.inputs(5)
    padding = inputs["mask"] == 0

    def spoilt(tensor):
        if tensor.ndim == 4:  # attention (B, A, T, T)
            return tensor.masked_fill((padding[:, None, None] | padding[:, None, :, None]), 77.0)
        return tensor.masked_fill(padding.reshape(*padding.shape, *[1] * (tensor.ndim - 2)), 77.0)

    names = [name for name in ("student_hidden", "teacher_hidden") if name in case.asked]
    assert case.value(changed(inputs, spoilt, *names)).item() == pytest.approx(case.value(inputs).item(), rel=1e-9)


@cases()
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_half_precision_stays_finite(case, dtype):
    finite(case, case.inputs(4, dtype=dtype))


@cases()
def test_a_batch_of_one_and_examples_that_are_all_alike_stay_finite(case):
    finite(case, case.inputs(1))
    finite(case, alike(case.inputs(1)))
    finite(case, alike(case.inputs(4)))


def finite(case: Case, inputs) -> None:
    student = learning(inputs)
    value = case.value(inputs)
    assert torch.isfinite(value)
    found = torch.autograd.grad(value, student, allow_unused=True)
    assert all(torch.isfinite(gradient).all() for gradient in found if gradient is not None)
