"""What is particular to methods on features: segmentation, masks, channels, singular vectors, distributions."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from redistill.distill import channel_wise, ickd, kdsvd, mgd, simkd, srd
from redistill.distill.ghnd import ghnd
from redistill.distill.kd import kd
from redistill.distill.nst import nst
from redistill.distill.pairwise import pairwise
from redistill.distill.pixel_wise import pixel_wise


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def gradient(value: Tensor, tensor: Tensor) -> Tensor:
    return torch.autograd.grad(value, tensor)[0]


# --- segmentation -----------------------------------------------------------------------------------------------------


def test_pixel_wise_is_kd_of_each_pixel():
    student, teacher = normal(2, 3, 4, 5), normal(2, 3, 4, 5, seed=1)
    pixels = [maps.permute(0, 2, 3, 1).reshape(-1, 3) for maps in (student, teacher)]
    assert pixel_wise([student], [teacher]).item() == pytest.approx(kd(*pixels).item())


def test_pixel_wise_wants_as_many_classes():
    with pytest.raises(ValueError, match="differ"):
        pixel_wise([normal(1, 3, 2, 2)], [normal(1, 4, 2, 2)])


def test_pairwise_by_hand():
    """Two nodes: at right angles for the student, one direction for the teacher."""
    student = torch.tensor([[[[1.0, 0.0]], [[0.0, 2.0]]]])
    teacher = torch.tensor([[[[1.0, 5.0]], [[1.0, 5.0]]]])
    assert pairwise([student], [teacher]).item() == pytest.approx(0.5)


def test_pairwise_compares_maps_of_one_size():
    with pytest.raises(ValueError, match="differ in size"):
        pairwise([normal(1, 3, 4, 4)], [normal(1, 3, 2, 2)])


def test_pairwise_of_nodes_of_zeros_has_a_gradient():
    student = torch.zeros(1, 2, 4, 4, requires_grad=True)
    value = pairwise([student], [torch.ones(1, 2, 4, 4)])
    assert value.item() == pytest.approx(1.0)
    assert gradient(value, student).isfinite().all()


def test_channel_wise_learns_only_where_channels_are_not_as_many():
    own = channel_wise.build_own([(3, 4, 4), (2, 4, 4)], [(3, 4, 4), (5, 4, 4)], 0)
    assert [tuple(weights.shape) for weights in own.parameters()] == [(5, 2, 1, 1), (5,)]


def test_channel_wise_tends_to_squares_at_a_high_temperature():
    """T^2 KL tends to half the variance over positions of the difference, as kd's does over classes."""
    student, teacher = normal(2, 3, 4, 4), normal(2, 3, 4, 4, seed=1)
    own = channel_wise.build_own([(3, 4, 4)], [(3, 4, 4)], 0)
    found = channel_wise.channel_wise([student], [teacher], own, temperature=1e4).item()
    assert found == pytest.approx((teacher - student).flatten(2).var(-1, unbiased=False).mean().item() / 2, rel=1e-3)


def test_channel_wise_compares_maps_of_one_size():
    with pytest.raises(ValueError, match="differ in size"):
        channel_wise.channel_wise([normal(1, 3, 4, 4)], [normal(1, 3, 2, 2)], nn.ModuleList([nn.Identity()]))


# --- masked generation ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("masked", "shape"), [("channels", (2, 6, 1, 1)), ("pixels", (2, 1, 8, 8))])
def test_mgd_hides_what_is_masked_from_the_gradient(masked, shape):
    student = normal(2, 6, 8, 8).requires_grad_()
    own = mgd.build_own([(6, 8, 8)], [(6, 8, 8)], 0).double()
    value = mgd.mgd([student], [normal(2, 6, 8, 8, seed=1)], own, torch.Generator().manual_seed(3), ratio=0.5,
                    masked=masked)  # fmt: skip
    hidden = torch.rand(shape, generator=torch.Generator().manual_seed(3)) < 0.5
    assert 0 < hidden.sum() < hidden.numel()
    assert torch.equal(gradient(value, student) == 0, hidden.expand(2, 6, 8, 8))


def test_mgd_draws_another_mask_for_each_pair():
    student, teacher = normal(1, 6, 4, 4), normal(1, 6, 4, 4, seed=1)
    block = mgd.build_own([(6, 4, 4)], [(6, 4, 4)], 0).double()[0]

    def value(pairs: int) -> float:
        own = nn.ModuleList([block] * pairs)
        return mgd.mgd([student] * pairs, [teacher] * pairs, own, torch.Generator().manual_seed(0), ratio=0.5).item()

    assert value(2) != pytest.approx(2 * value(1))


# --- the teacher's classifier -----------------------------------------------------------------------------------------


def test_simkd_compares_one_pair_of_maps_of_the_same_channels():
    with pytest.raises(ValueError, match="the teacher's last feature map, not 2 and 2 maps"):
        simkd.simkd([normal(1, 2, 2, 2)] * 2, [normal(1, 2, 2, 2)] * 2)
    with pytest.raises(ValueError, match="differ"):
        simkd.simkd([normal(1, 2, 4, 4)], [normal(1, 3, 2, 2)])


# --- singular vectors -------------------------------------------------------------------------------------------------


def test_kdsvd_sees_no_order_of_positions_and_no_sign_of_the_student():
    student, teacher = ([normal(2, 4, 3, 3, seed=i), normal(2, 5, 3, 3, seed=i + 1)] for i in (0, 7))
    order = torch.randperm(9, generator=torch.Generator().manual_seed(0))
    mixed = [-maps.flatten(2)[:, :, order].reshape(maps.shape) for maps in student]
    expected = kdsvd.kdsvd(student, teacher, k=2).item()
    assert kdsvd.kdsvd(mixed, teacher, k=2).item() == pytest.approx(expected)


@pytest.mark.parametrize("rank", [0, 1, 2])
def test_kdsvd_has_a_gradient_where_maps_have_few_directions(rank):
    """As behind a ReLU, whose channels are often all zeros: torch's own gradient of the decomposition is not finite."""
    parts = [normal(2, 6, rank, seed=i) @ normal(2, rank, 16, seed=i + 9) for i in range(2)]
    student = [part.reshape(2, 6, 4, 4).float().requires_grad_() for part in parts]
    teacher = [normal(2, 6, 4, 4, seed=5 + i).float() for i in range(2)]
    value = kdsvd.kdsvd(student, teacher)
    assert value.isfinite()
    assert all(found.isfinite().all() for found in torch.autograd.grad(value, student))


def test_kdsvd_has_a_gradient_where_directions_are_equal():
    student = [torch.eye(4).reshape(1, 4, 2, 2).requires_grad_() for _ in range(2)]
    value = kdsvd.kdsvd(student, [normal(1, 4, 2, 2, seed=i).float() for i in range(2)])
    assert all(found.isfinite().all() for found in torch.autograd.grad(value, student))


def test_kdsvd_of_a_step_down_the_gradient_is_smaller():
    student = [normal(2, 4, 3, 3, seed=i).requires_grad_() for i in range(3)]
    teacher = [normal(2, 4, 3, 3, seed=5 + i) for i in range(3)]
    value = kdsvd.kdsvd(student, teacher)
    found = torch.autograd.grad(value, student)
    moved = [maps.detach() - 0.1 * slope for maps, slope in zip(student, found, strict=True)]
    assert kdsvd.kdsvd(moved, teacher).item() < value.item()


def test_kdsvd_says_what_does_not_fit():
    with pytest.raises(ValueError, match="two taps"):
        kdsvd.kdsvd([normal(1, 2, 2, 2)], [normal(1, 2, 2, 2)])
    with pytest.raises(ValueError, match="3 channels of the student and 2 of the teacher"):
        kdsvd.kdsvd([normal(1, 3, 2, 2)] * 2, [normal(1, 2, 2, 2)] * 2)
    with pytest.raises(ValueError, match="has no 3 directions"):
        kdsvd.kdsvd([normal(1, 2, 2, 2)] * 2, [normal(1, 2, 2, 2)] * 2, k=3)


# --- channels ---------------------------------------------------------------------------------------------------------


def test_ickd_is_a_mean_over_the_batch():
    """The authors' code for ImageNet divides by the batch's size twice."""
    student, teacher = normal(3, 2, 4, 4), normal(3, 5, 2, 2, seed=1)
    own = ickd.build_own([(2, 4, 4)], [(5, 2, 2)], 0).double()
    twice = [torch.cat([maps, maps]) for maps in (student, teacher)]
    assert ickd.ickd([twice[0]], [twice[1]], own).item() == pytest.approx(ickd.ickd([student], [teacher], own).item())


def test_ickd_embeds_where_channels_are_as_many_too():
    own = ickd.build_own([(4, 2, 2)], [(4, 2, 2)], 0, kernel=3)
    assert [tuple(weights.shape) for weights in own.parameters()] == [(4, 4, 3, 3), (4,), (4,)]


@pytest.mark.parametrize("kernel", ["linear", "polynomial"])
def test_nst_is_the_distance_of_moments(kernel):
    """MMD^2 with x . y is that of the means, with (x . y)^2 that of the means of x x^T."""
    student, teacher = normal(2, 3, 2, 2), normal(2, 5, 2, 2, seed=1)
    s, t = (F.normalize(maps.flatten(2), dim=-1) for maps in (student, teacher))
    if kernel == "linear":
        expected = (s.mean(1) - t.mean(1)).square().sum(-1).mean()
    else:
        moments = [x.transpose(1, 2) @ x / x.shape[1] for x in (s, t)]
        expected = (moments[0] - moments[1]).square().sum((1, 2)).mean()
    assert nst([student], [teacher], kernel=kernel).item() == pytest.approx(expected.item())


def test_nst_with_the_gaussian_stands_teachers_whose_channels_are_all_alike():
    student = normal(2, 3, 2, 2).float().requires_grad_()
    teacher = normal(2, 1, 2, 2, seed=1).float().expand(2, 4, 2, 2)
    value = nst([student], [teacher], kernel="gaussian")
    assert value.isfinite()
    assert gradient(value, student).isfinite().all()


def test_nst_stands_channels_of_zeros():
    student = torch.zeros(1, 3, 2, 2, requires_grad=True)
    value = nst([student], [normal(1, 3, 2, 2).float()])
    assert gradient(value, student).isfinite().all()


# --- whole features ---------------------------------------------------------------------------------------------------


def test_srd_with_squares_is_the_logarithm_of_their_sum():
    student, teacher = normal(6, 3), normal(6, 4, seed=1)
    own = srd.build_own([(3,)], [(4,)], 0).double()
    ours, theirs = (F.batch_norm(x, None, None, training=True, eps=1e-4) for x in (own[0](student), teacher))
    expected = math.log(F.mse_loss(ours, theirs, reduction="sum").item() + 1e-5)
    assert srd.srd([student], [teacher], own, exponent=2.0).item() == pytest.approx(expected)


def test_srd_of_one_example_has_the_value_of_no_distance_and_no_gradient():
    student = normal(1, 3).requires_grad_()
    value = srd.srd([student], [normal(1, 4)], srd.build_own([(3,)], [(4,)], 0).double())
    assert value.item() == pytest.approx(math.log(1e-5))
    assert (gradient(value, student) == 0).all()


def test_ghnd_is_mse_with_the_reduction_sum():
    student, teacher = [normal(4, 3, 2, 2), normal(4, 5)], [normal(4, 3, 2, 2, seed=1), normal(4, 5, seed=1)]
    expected = sum(F.mse_loss(s, t, reduction="sum").item() for s, t in zip(student, teacher, strict=True))
    assert ghnd(student, teacher).item() == pytest.approx(expected)
    assert ghnd(student, teacher, over_batch="mean").item() == pytest.approx(expected / 4)


def test_ghnd_does_not_broadcast():
    with pytest.raises(ValueError, match="differ"):
        ghnd([normal(4, 3)], [normal(4, 1)])
