"""What is particular to the methods that compare features."""

import json
import math
import os
import subprocess
import sys

import pytest
import torch
from method_proofs import Draw
from methods_features import CASES
from torch import nn

from redistill import registry
from redistill.distill import dab, fitnet, kr, ktaad, ktaad_affinity, ofd, pad, vid
from redistill.distill.at import at
from redistill.distill.connectors import BatchNorm
from redistill.distill.feature_mse import feature_mse
from redistill.distill.ft import ft


def numbers(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def of_ones(module: nn.Module) -> nn.Module:
    """A module whose weights are all 1, and its biases 0."""
    for name, parameter in module.named_parameters():
        nn.init.constant_(parameter, 0.0 if name.endswith("bias") else 1.0)
    return module.double()


@pytest.mark.parametrize("case", [case for case in CASES if "own" in case.asked], ids=str)
def test_all_that_a_method_learns_gets_a_gradient(case):
    inputs = case.inputs(4)
    known = registry.signature("loss", case.method).called_with
    settings = {name: value for name, value in case.settings.items() if name in known}
    case.function(*(inputs.get(name) for name in case.asked), **settings).backward()
    for name, parameter in inputs["own"].named_parameters():
        assert parameter.grad is not None, name


# --- FitNet -----------------------------------------------------------------------------------------------------------


def test_a_hint_by_hand():
    own = of_ones(fitnet.build_own([(2,)], [(1,)], 1))
    student, teacher = numbers(1, 2, 3, 4).reshape(2, 2), numbers(5, 8).reshape(2, 1)  # made: 3 and 7
    assert fitnet.fitnet([student], [teacher], None, own).item() == (4 / 2 + 1 / 2) / 2
    assert fitnet.fitnet([student], [teacher], None, own, reduction="mean").item() == (4 + 1) / 2


def test_a_hint_that_need_not_be_regressed_is_the_difference_of_features():
    student, teacher = Draw().normal(3, 2, 4, 4), Draw(1).normal(3, 2, 4, 4)
    own = nn.ModuleList([nn.Identity()])
    assert fitnet.fitnet([student], [teacher], None, own, reduction="mean") == feature_mse([student], [teacher])


@pytest.mark.parametrize(("shrink", "kernel"), [("kernel", (5, 7)), ("stride", (3, 3))])
def test_a_convolution_meets_a_smaller_hint(shrink, kernel):
    (regressor,) = fitnet.build_own([(3, 8, 12)], [(5, 4, 6)], 1, shrink=shrink)
    assert regressor(torch.zeros(1, 3, 8, 12)).shape == (1, 5, 4, 6)
    assert regressor[0].kernel_size == kernel


@pytest.mark.parametrize(
    ("student", "teacher", "settings", "words"),
    [
        ((3, 4, 4), (3, 8, 8), {}, "is smaller than the hint"),
        ((3, 5, 5), (3, 2, 2), {"shrink": "stride"}, "no stride leads"),
        ((3, 4, 4), (3,), {}, "different kinds"),
        ((3,), (3,), {"norm": True}, "`norm` is for feature maps"),
    ],
)
def test_shapes_that_no_regressor_fits_are_refused(student, teacher, settings, words):
    with pytest.raises(ValueError, match=words):
        fitnet.build_own([student], [teacher], 1, **settings)


def test_a_hint_is_not_broadcast():
    with pytest.raises(ValueError, match="differ"):
        fitnet.fitnet([torch.zeros(2, 3)], [torch.zeros(2, 1)], None, nn.ModuleList([nn.Identity()]))


# --- attention transfer and factor transfer ---------------------------------------------------------------------------


def test_attention_by_hand():
    student = numbers(3, 0, 0, 0).reshape(1, 1, 2, 2)
    teacher = numbers(0, 2, 0, 0, 0, 1, 0, 0).reshape(1, 2, 2, 2)
    assert at([student], [teacher], mode="paper").item() == pytest.approx(math.sqrt(2))
    assert at([student], [teacher]).item() == pytest.approx(2 / 4)
    assert at([student] * 3, [teacher] * 3).item() == pytest.approx(3 * 2 / 4)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16], ids=str)
def test_features_of_zeros_have_finite_gradients(dtype):
    def maps():
        return torch.zeros(2, 3, 2, 2, dtype=dtype, requires_grad=True)

    teacher = Draw().normal(2, 3, 2, 2).to(dtype)
    own = nn.ModuleList([nn.Identity()])
    values = {
        "at": lambda student: at([student], [teacher]),
        "paper": lambda student: at([student], [teacher], mode="paper"),
        "ft": lambda student: ft([student], [teacher], p=2),
        "both": lambda student: ft([student], [torch.zeros_like(teacher)], p=2),
        "ktaad": lambda student: ktaad.ktaad([student], [teacher], own, p=2, q=1),
        "affinity": lambda student: ktaad_affinity.ktaad_affinity([student], [teacher], own),
    }
    for name, value in values.items():
        student = maps()
        value(student).backward()
        assert torch.isfinite(student.grad).all(), name


def test_factors_by_hand():
    student, teacher = numbers(3, 4).reshape(1, 2), numbers(0, 2).reshape(1, 2)
    assert ft([student], [teacher]).item() == pytest.approx((0.6 + 0.2) / 2)
    assert ft([student], [teacher], p=2).item() == pytest.approx(math.sqrt(0.4))


def test_factors_of_other_shapes_are_refused():
    with pytest.raises(ValueError, match="differ"):
        ft([torch.zeros(2, 4)], [torch.zeros(2, 1)])


# --- activation boundaries --------------------------------------------------------------------------------------------


def test_boundaries_by_hand():
    student = numbers(2, 0.5, -0.5, -2).reshape(1, 1, 2, 2)
    teacher = numbers(1, 1, 0, -1).reshape(1, 1, 2, 2)
    own = dab.build_own([(1, 2, 2)], [(1, 2, 2)], 1)
    assert isinstance(own[0], nn.Identity)
    assert dab.dab([student], [teacher], own).item() == 0.5**2 + 0.5**2


def test_a_student_on_the_right_side_of_all_boundaries_costs_nothing():
    student = Draw().normal(2, 3, 2, 2)
    far = student.sign() * (student.abs() + 1)
    assert dab.dab([far], [student], nn.ModuleList([nn.Identity()])).item() == 0


def test_an_earlier_pair_of_taps_weighs_half():
    student, teacher = Draw().normal(2, 1, 2, 2), Draw(1).normal(2, 1, 2, 2)
    own = [nn.Identity()]
    one = dab.dab([student], [teacher], nn.ModuleList(own)).item()
    three = dab.dab([student] * 3, [teacher] * 3, nn.ModuleList(own * 3)).item()
    assert three == pytest.approx(one * 1.75)


@pytest.mark.parametrize("build", [dab.build_own, ofd.build_own, ktaad.build_own, ktaad_affinity.build_own])
def test_maps_of_different_sizes_are_refused(build):
    with pytest.raises(ValueError, match="rows or columns"):
        build([(3, 4, 4)], [(3, 2, 2)], 1)
    with pytest.raises(ValueError, match="feature maps"):
        build([(3,)], [(3,)], 1)


# --- overhaul ---------------------------------------------------------------------------------------------------------


def test_an_overhaul_by_hand():
    own = ofd.build_own([(1, 1, 4)], [(1, 1, 4)], 1).double()
    own[0].connector = nn.Identity()
    teacher = numbers(2, -1, -3, -3).reshape(1, 1, 1, 4)  # the margin is -7/3
    student = numbers(1, 0, -4, -2).reshape(1, 1, 1, 4)
    assert ofd.ofd([student], [teacher], own).item() == pytest.approx(1 + 1 + 0 + (1 / 3) ** 2)


def test_margins_are_the_means_of_all_negative_responses_so_far():
    own = ofd.build_own([(2, 3, 3)], [(4, 3, 3)], 1).double()
    batches = [Draw(i).normal(size, 4, 3, 3) for i, size in enumerate((5, 1, 3))]
    for batch in batches:
        ofd.ofd([Draw().normal(len(batch), 2, 3, 3)], [batch], own)
    everything = torch.cat(batches)
    expected = [everything[:, c][everything[:, c] < 0].mean().item() for c in range(4)]
    assert own[0].mean.tolist() == pytest.approx(expected)
    assert {"0.mean", "0.seen"} <= set(own.state_dict())


ONE_OF_TWO = """
import sys, torch
from method_proofs import Draw
from redistill.distill import ofd
rank, file = int(sys.argv[1]), sys.argv[2]
torch.distributed.init_process_group("gloo", init_method=f"file://{file}", rank=rank, world_size=2)
own = ofd.build_own([(2, 3, 3)], [(4, 3, 3)], 1).double()
ofd.ofd([Draw().normal(4 - rank, 2, 3, 3)], [Draw(rank).normal(4 - rank, 4, 3, 3)], own)
print(own[0].mean.tolist())
torch.distributed.destroy_process_group()
"""


def test_margins_are_those_of_all_processes_parts_of_a_batch(tmp_path):
    beside = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", ONE_OF_TWO]
    pair = [
        subprocess.Popen([*command, str(rank), str(tmp_path / "store")], stdout=subprocess.PIPE, text=True, env=beside)
        for rank in range(2)
    ]
    try:
        first, second = (json.loads(process.communicate(timeout=120)[0]) for process in pair)
    finally:
        for process in pair:
            process.kill()
    everything = torch.cat([Draw(rank).normal(4 - rank, 4, 3, 3) for rank in range(2)])
    assert first == second
    assert first == pytest.approx([everything[:, c][everything[:, c] < 0].mean().item() for c in range(4)])


def test_margins_are_left_alone_in_evaluation():
    own = ofd.build_own([(1, 2, 2)], [(1, 2, 2)], 1).eval()
    ofd.ofd([torch.randn(2, 1, 2, 2)], [torch.randn(2, 1, 2, 2)], own)
    assert own[0].mean.tolist() == own[0].seen.tolist() == [0]


def test_a_teacher_that_is_never_negative_has_no_margin():
    own = ofd.build_own([(1, 2, 2)], [(1, 2, 2)], 1).double()
    own[0].connector = nn.Identity()
    student, teacher = Draw().normal(2, 1, 2, 2).abs(), Draw(1).normal(2, 1, 2, 2).abs()
    assert ofd.ofd([student], [teacher], own).item() == pytest.approx((student - teacher).square().sum().item() / 2)


# --- variational information and prime-aware distillation -------------------------------------------------------------


def test_variances_begin_as_they_are_told():
    (regressor,) = vid.build_own([(3, 2, 2)], [(4, 2, 2)], 1, variance=2.5)
    mean, variance = regressor(torch.zeros(1, 3, 2, 2))
    assert variance.flatten().tolist() == pytest.approx([2.5] * 4)
    assert mean.shape == (1, 4, 2, 2)


def test_information_by_hand():
    own = of_ones(vid.build_own([(1,)], [(1,)], 1))
    nn.init.constant_(own[0].raw, math.log(math.expm1(2 - 1e-5)))
    value = vid.vid([numbers(3).reshape(1, 1)], [numbers(5).reshape(1, 1)], own)
    assert value.item() == pytest.approx((4 / 2 + math.log(2)) / 2)


@pytest.mark.parametrize(("student", "teacher"), [((3, 2, 2), (3,)), ((4, 3), (4, 3))])
def test_information_needs_maps_or_vectors(student, teacher):
    with pytest.raises(ValueError, match="two feature maps"):
        vid.build_own([student], [teacher], 1)


def test_a_variance_below_the_least_is_refused():
    with pytest.raises(ValueError, match="larger than `eps`"):
        vid.build_own([(1,)], [(1,)], 1, variance=0.1, eps=0.1)


def test_equal_variances_leave_the_squared_difference():
    own = pad.build_own([(4,)], [(4,)], 1).double()
    nn.init.zeros_(own[0][2].weight)  # the logarithm of the variance is 0
    student, teacher = Draw().normal(3, 4), Draw(1).normal(3, 4)
    assert pad.pad([student], [teacher], own).item() == pytest.approx(
        feature_mse([student], [teacher]).item(), rel=2e-6
    )


def test_embeddings_of_other_shapes_are_refused():
    with pytest.raises(ValueError, match="tap a module"):
        pad.build_own([(4,)], [(5,)], 1)
    with pytest.raises(ValueError, match="differ"):
        pad.pad([torch.zeros(2, 4)], [torch.zeros(2, 1)], pad.build_own([(4,)], [(4,)], 1))


def test_one_value_a_channel_is_normalised_by_what_was_seen_before():
    norm = BatchNorm(3)
    norm(torch.randn(8, 3, 2, 2))
    kept = norm.running_mean.clone()
    alone = torch.randn(1, 3)
    expected = (alone - norm.running_mean) / (norm.running_var + norm.eps).sqrt()
    assert torch.allclose(norm(alone), expected)
    assert torch.equal(norm.running_mean, kept)


@pytest.mark.parametrize("shape", [(4, 3), (4, 3, 2, 5), (1, 3, 2, 1)])
def test_batch_norm_is_that_of_torch(shape):
    features = torch.randn(shape)
    theirs = nn.BatchNorm2d(3)
    expected = theirs(features.reshape(*shape[:2], -1, 1)).reshape(shape)
    ours = BatchNorm(3)
    assert torch.allclose(ours(features), expected, atol=1e-6)
    assert torch.allclose(ours.running_var, theirs.running_var)


# --- knowledge review -------------------------------------------------------------------------------------------------


def test_a_review_without_a_pyramid_is_the_squared_difference_of_what_is_fused():
    student = [Draw().normal(3, 2, 4, 4), Draw(1).normal(3, 4, 2, 2)]
    teacher = [Draw(2).normal(3, 3, 4, 4), Draw(3).normal(3, 5, 2, 2)]
    own = kr.build_own([(2, 4, 4), (4, 2, 2)], [(3, 4, 4), (5, 2, 2)], 1).double()
    deep, carried = own[1](student[1], None)
    early, _ = own[0](student[0], carried)
    expected = feature_mse([early], [teacher[0]]) + feature_mse([deep], [teacher[1]])
    assert kr.kr(student, teacher, own, pyramid=[]).item() == pytest.approx(expected.item())


def test_a_stage_learns_from_those_that_are_deeper_alone():
    student = [Draw().normal(3, 2, 4, 4).requires_grad_(), Draw(1).normal(3, 4, 2, 2).requires_grad_()]
    own = kr.build_own([(2, 4, 4), (4, 2, 2)], [(3, 4, 4), (5, 2, 2)], 1).double()
    deep, carried = own[1](student[1], None)
    early, _ = own[0](student[0], carried)
    assert torch.autograd.grad(deep.sum(), student[0], allow_unused=True, retain_graph=True) == (None,)
    assert all(g is not None for g in torch.autograd.grad(early.square().sum(), student))


def test_what_is_fused_is_no_wider_than_the_deepest_stage():
    assert kr.build_own([(2, 4, 4), (6, 2, 2)], [(3, 4, 4), (5, 2, 2)], 1)[0].taken[0].out_channels == 6
    assert kr.build_own([(2, 4, 4), (6, 2, 2)], [(3, 4, 4), (5, 2, 2)], 1, middle=4)[0].taken[0].out_channels == 4


def test_stages_in_the_wrong_order_are_refused():
    with pytest.raises(ValueError, match="from the earliest stage to the deepest"):
        kr.build_own([(4, 2, 2), (2, 4, 4)], [(4, 2, 2), (2, 4, 4)], 1)
    with pytest.raises(ValueError, match="feature maps"):
        kr.build_own([(4,)], [(4,)], 1)


# --- knowledge translation and adaptation -----------------------------------------------------------------------------


@pytest.mark.parametrize("p", [1, 2])
def test_adapted_features_are_compared_as_factors_are(p):
    own = ktaad.build_own([(2, 3, 3)], [(4, 3, 3)], 1).double()
    student, teacher = Draw().normal(3, 2, 3, 3), Draw(1).normal(3, 4, 3, 3)
    expected = ft([own[0](student)], [teacher], p=p)
    assert ktaad.ktaad([student], [teacher], own, p=p).item() == pytest.approx(expected.item())


def test_affinities_by_hand():
    student, teacher = numbers(3, 0).reshape(1, 1, 1, 2), numbers(0, 2).reshape(1, 1, 1, 2)
    own = nn.ModuleList([nn.Identity()])
    value = ktaad_affinity.ktaad_affinity
    assert value([student], [teacher], own).item() == pytest.approx(math.sqrt(2) / 2)
    assert value([student], [student], own).item() == 0
    assert value([student], [-student], own).item() == 0
    assert value([0 * student], [teacher], own).item() == pytest.approx(1 / 2)
