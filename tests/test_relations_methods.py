"""What is particular to the methods that compare relations between examples."""

import math

import pytest
import torch
from methods_relations import CASES, VIEWS
from methods_relations import crd as crd_in_loops
from torch import nn

from redistill.distill.cckd import build_own as embeddings
from redistill.distill.cckd import cckd, correlation
from redistill.distill.crd import among, crd
from redistill.distill.crd import build_own as memory
from redistill.distill.fsp import fsp
from redistill.distill.kd import kd
from redistill.distill.pkt import pkt
from redistill.distill.rkd import rkd
from redistill.distill.rotations import trusted
from redistill.distill.spkd import spkd
from redistill.distill.sskd import build_own as heads
from redistill.distill.sskd import sskd
from redistill.distill.sskd_auxiliary import build_own as teacher_head
from redistill.distill.sskd_auxiliary import sskd_auxiliary
from redistill.distill.sskd_transformed import sskd_transformed


def rows(*numbers):
    return torch.tensor(numbers, dtype=torch.float64)


def random(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


# --- by hand ---------------------------------------------------------------------------------------------------------


def test_fsp_of_one_pixel_is_the_product_of_its_channels():
    student = [torch.full((1, 1, 1, 1), 2.0), torch.full((1, 1, 1, 1), 3.0)]
    teacher = [torch.full((1, 1, 1, 1), 1.0), torch.full((1, 1, 1, 1), 4.0)]
    assert fsp(student, teacher) == (2 * 3 - 1 * 4) ** 2


def test_fsp_takes_the_largest_of_what_is_pooled():
    first, second = torch.tensor([[[[1.0, 5.0], [2.0, 3.0]]]]), torch.full((1, 1, 1, 1), 2.0)
    nothing = [torch.zeros(1, 1, 1, 1), second]
    assert fsp([first, second], nothing) == (5 * 2) ** 2


def test_pkt_of_two_examples():
    student, teacher = rows([1, 0], [0, 1]), rows([1, 0], [2, 0])  # kernels [1, 1/2] and [1, 1], in rows
    p, q = (1 / 2, 1 / 2), (2 / 3, 1 / 3)
    expected = 2 * sum(a * math.log(a / b) for a, b in zip(p, q, strict=True)) / 4
    assert pkt([student], [teacher]).item() == pytest.approx(expected, abs=1e-6)


def test_rkd_distances_of_two_examples_are_one_however_far_they_are():
    assert rkd([rows([0, 0], [1, 0])], [rows([5.0], [-9.0])]) == 0


def test_rkd_distances_of_three_examples():
    student, teacher = rows([0.0], [1.0], [2.0]), rows([0.0], [0.0], [1.0])  # means of those not zero: 4/3 and 1
    ours, theirs = (3 / 4, 3 / 2, 3 / 4), (0, 1, 1)  # between 0 and 1, 0 and 2, 1 and 2
    expected = 2 * sum((a - b) ** 2 / 2 for a, b in zip(ours, theirs, strict=True)) / 9
    found = rkd([student], [teacher], distance_weight=1.0, angle_weight=0.0)
    assert found.item() == pytest.approx(expected)


def test_rkd_angles_of_three_examples():
    corner = rows([1, 0], [0, 0], [0, 1])  # 90 degrees at the second, 45 at the others
    line = rows([1, 0], [0, 0], [-1, 0])  # 180 at the second, 0 at the others
    expected = 2 * (1 / 2 + 2 * (1 - math.sqrt(1 / 2)) ** 2 / 2) / 27
    assert rkd([corner], [line], distance_weight=0.0, angle_weight=1.0).item() == pytest.approx(expected)


def test_spkd_of_two_examples():
    student, teacher = rows([1, 0], [0, 1]), rows([1, 0], [1, 0])  # rows [1, 0], [0, 1], and [r, r] twice
    r = math.sqrt(1 / 2)
    assert spkd([student], [teacher]).item() == pytest.approx(2 * ((1 - r) ** 2 + r**2) / 4)


def test_a_head_that_changes_nothing_and_images_that_are_unlike_make_the_auxiliary_loss_known():
    own = nn.ModuleDict({"teacher": nn.Identity()})
    features = torch.eye(2).repeat_interleave(VIEWS, 0)  # a rotation is as its image: cosines 1 and 0
    assert sskd_auxiliary([features], own, VIEWS).item() == pytest.approx(math.log(1 + math.exp(-1)))


# --- limits and shapes -----------------------------------------------------------------------------------------------


def test_the_series_of_cckd_becomes_the_gaussian_kernel():
    x = random(4, 3)
    directions = x / x.norm(dim=1, keepdim=True)
    kernel = (-0.4 * torch.cdist(directions, directions).square()).exp()
    torch.testing.assert_close(correlation(x, "gaussian", 0.4, 30), kernel)


@pytest.mark.parametrize("method", [pkt, rkd, spkd])
def test_what_a_pooling_layer_gives_is_one_vector_an_example(method):
    student, teacher = random(4, 3), random(4, 5, seed=1)
    assert method([student[..., None, None]], [teacher]) == method([student], [teacher])


@pytest.mark.parametrize("method", [pkt, rkd])
def test_feature_maps_are_refused_where_vectors_are_compared(method):
    with pytest.raises(ValueError, match="tap what is pooled"):
        method([random(4, 3, 2, 2)], [random(4, 5)])


@pytest.mark.parametrize("build", [embeddings, memory, heads])
def test_what_is_learnt_is_not_built_on_feature_maps(build):
    with pytest.raises(ValueError, match="tap what is pooled"):
        build([(3, 2, 2)], [(5,)], 16)


def test_fsp_refuses_half_a_pair_and_other_channels():
    maps, wider = random(2, 3, 4, 4), random(2, 5, 4, 4)
    with pytest.raises(ValueError, match="odd"):
        fsp([maps], [maps])
    with pytest.raises(ValueError, match="channels"):
        fsp([maps, maps], [maps, wider])


def test_an_angle_weight_of_zero_and_no_angles_are_the_same():
    student, teacher = random(4, 3), random(4, 5, seed=1)
    both, distances, angles = (
        rkd([student], [teacher], distance_weight=d, angle_weight=a) for d, a in ((2.0, 3.0), (2.0, 0.0), (0.0, 3.0))
    )
    assert both.item() == pytest.approx((distances + angles).item())


@pytest.mark.parametrize("method", [pkt, rkd, spkd])
def test_two_examples_that_are_one_get_no_gradient_that_is_not_finite(method):
    student = random(3, 4)[[0, 1, 1]].requires_grad_()
    method([student], [random(3, 4, seed=1)]).backward()
    assert torch.isfinite(student.grad).all()


def test_pkt_of_opposite_examples_is_finite():
    student = rows([1, 0], [-1, 0]).requires_grad_()
    value = pkt([student], [rows([1, 0], [1, 0])])
    value.backward()
    assert torch.isfinite(value)
    assert torch.isfinite(student.grad).all()


def test_both_embeddings_of_cckd_learn():
    own = embeddings([(3,)], [(5,)], 16, features=4)
    cckd([random(4, 3).float()], [random(4, 5).float()], own).backward()
    assert all(parameter.grad is not None for parameter in own.parameters())


# --- the memory of CRD -----------------------------------------------------------------------------------------------

SETTINGS = {"negatives": 6, "temperature": 0.5, "momentum": 0.25}


@pytest.fixture
def own():
    torch.manual_seed(0)
    return memory([(3,)], [(5,)], 10, features=4).double()


def contrasted(own, index, seed=0, **settings):
    student, teacher = random(len(index), 3, seed=seed), random(len(index), 5, seed=seed + 1)
    generator = torch.Generator().manual_seed(seed)
    return crd([student], [teacher], torch.tensor(index), own, generator, **(SETTINGS | settings))


def test_the_first_batch_sets_the_constants_and_the_next_ones_leave_them(own):
    contrasted(own, [1, 4])
    first = own.log_z.clone()
    contrasted(own, [2, 3], seed=5)
    assert own.started
    assert torch.equal(own.log_z, first)
    assert (first != 0).all()


def test_the_first_batch_is_its_formula(own):
    inputs = {"student_hidden": [random(2, 3)], "teacher_hidden": [random(2, 5)], "index": torch.tensor([1, 4])}
    generators = (torch.Generator().manual_seed(3) for _ in range(2))
    expected = crd_in_loops(**inputs, own=own, generator=next(generators), features=4, **SETTINGS)
    assert crd(*inputs.values(), own, next(generators), **SETTINGS).item() == pytest.approx(expected)


def test_banks_move_towards_what_was_seen_and_other_rows_stay(own):
    before = own.student_bank.clone(), own.teacher_bank.clone()
    contrasted(own, [1, 4])
    for side, old, now in zip(("student", "teacher"), before, (own.student_bank, own.teacher_bank), strict=True):
        seen = getattr(own, side)(random(2, 3) if side == "student" else random(2, 5, seed=1))
        moved = 0.25 * old[[1, 4]] + 0.75 * seen / seen.norm(dim=1, keepdim=True)
        torch.testing.assert_close(now[[1, 4]], moved / moved.norm(dim=1, keepdim=True))
        others = [i for i in range(10) if i not in (1, 4)]
        assert torch.equal(now[others], old[others])


def test_a_memory_comes_back_from_its_state(own):
    contrasted(own, [1, 4])
    other = memory([(3,)], [(5,)], 10, features=4).double()
    other.load_state_dict(own.state_dict())
    assert contrasted(other, [2, 4], seed=3) == contrasted(own, [2, 4], seed=3)


def test_an_example_is_none_of_its_own_negatives_and_all_others_are_drawn():
    index = torch.tensor([0, 3, 9])
    chosen = among(index, 500, 10, torch.Generator().manual_seed(0))
    assert torch.equal(chosen[:, 0], index)
    for i, row in zip(index.tolist(), chosen[:, 1:].tolist(), strict=True):
        assert set(row) == set(range(10)) - {i}


def test_negatives_come_from_the_generator_alone(own):
    state = own.state_dict()
    values = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        fresh = memory([(3,)], [(5,)], 10, features=4).double()
        fresh.load_state_dict(state)
        values.append(contrasted(fresh, [1, 4]))
    assert values[0] == values[1]


def test_crd_refuses_what_it_has_no_bank_for():
    with pytest.raises(ValueError, match="one tap"):
        memory([(3,), (3,)], [(5,), (5,)], 10)
    with pytest.raises(ValueError, match="two examples"):
        memory([(3,)], [(5,)], 1)


# --- rotations -------------------------------------------------------------------------------------------------------


def test_the_head_of_the_first_stage_fits_the_second():
    first, second = teacher_head([], [(5,)], 16), heads([(3,)], [(5,)], 16)
    missing, unexpected = second.load_state_dict(first.state_dict(), strict=False)
    assert not unexpected
    assert {name.split(".")[0] for name in missing} == {"student"}


def test_the_second_stage_trains_the_student_and_its_head_alone():
    own = heads([(3,)], [(5,)], 16).double()
    student = random(8, 3).requires_grad_()
    sskd([student], [random(8, 5)], own, VIEWS).backward()
    assert student.grad is not None
    assert all(parameter.grad is not None for parameter in own["student"].parameters())
    assert all(parameter.grad is None for parameter in own["teacher"].parameters())


def test_learning_from_every_rotation_is_distillation_on_them():
    student, teacher, labels = random(8, 5), random(8, 5, seed=1), torch.zeros(8, dtype=torch.long)
    rotated = torch.arange(8) % VIEWS != 0
    expected = kd(student[rotated], teacher[rotated], temperature=4.0)
    assert sskd_transformed(student, [teacher], labels, VIEWS).item() == pytest.approx(expected.item())


def test_only_what_the_teacher_gets_right_is_learnt_from_at_a_ratio_of_zero():
    teacher = torch.eye(3).double()[[0, 0, 1, 2]]  # an image of class 0: one rotation right, two wrong
    student, labels = random(4, 3), torch.tensor([0, -1, -1, -1])
    expected = kd(student[1:2], teacher[1:2], temperature=4.0)
    found = sskd_transformed(student, [teacher], labels, VIEWS, ratio=0.0)
    assert found.item() == pytest.approx(expected.item())


def test_nothing_to_learn_from_costs_nothing():
    teacher, student = torch.eye(3).double()[[0, 1, 1, 2]], random(4, 3).requires_grad_()
    value = sskd_transformed(student, [teacher], torch.tensor([0, -1, -1, -1]), VIEWS, ratio=0.0)
    value.backward()
    assert value == 0
    assert (student.grad == 0).all()


def test_rotations_of_an_image_without_a_label_are_learnt_from():
    student, teacher, labels = random(4, 3), random(4, 3, seed=1), torch.full((4,), -1)
    expected = kd(student[1:], teacher[1:], temperature=4.0)
    found = sskd_transformed(student, [teacher], labels, VIEWS, ratio=0.0)
    assert found.item() == pytest.approx(expected.item())


@pytest.mark.parametrize(
    ("ratio", "kept"), [(0.0, [1]), (0.5, [1, 3]), (0.75, [1, 2, 3]), (0.99, [1, 2, 3]), (1.0, [0, 1, 2, 3])]
)
def test_the_best_of_the_wrong_ones_are_kept_rounded_down(ratio, kept):
    found = torch.tensor([5, 0, 2, 1])  # three are wrong
    assert trusted(found, ratio).nonzero().flatten().tolist() == kept


def test_among_equal_ranks_the_first_are_kept():
    assert trusted(torch.tensor([1, 1, 0, 1]), 0.7).tolist() == [True, True, True, False]


@pytest.mark.parametrize(("rows_given", "views"), [(8, 1), (7, 4)])
def test_a_batch_without_rotations_is_refused(rows_given, views):
    own = heads([(3,)], [(3,)], 16)
    hidden, labels = [torch.zeros(rows_given, 3)], torch.zeros(rows_given, dtype=torch.long)
    with pytest.raises(ValueError, match="rotations: true"):
        sskd(hidden, hidden, own, views)
    with pytest.raises(ValueError, match="rotations: true"):
        sskd_auxiliary(hidden, own, views)
    with pytest.raises(ValueError, match="rotations: true"):
        sskd_transformed(hidden[0], hidden, labels, views)


def test_rotated_images_with_scores_are_refused():
    with pytest.raises(ValueError, match="scores"):
        sskd_transformed(torch.zeros(4, 1), [torch.zeros(4, 1)], torch.zeros(4), VIEWS)


def test_every_method_of_this_file_has_a_case():
    tried = {case.method for case in CASES}
    assert tried == {"fsp", "pkt", "rkd", "cckd", "spkd", "crd", "sskd", "sskd_auxiliary", "sskd_transformed"}
