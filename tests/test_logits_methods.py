"""What is particular to the methods that compare logits: limits, numbers by hand, what they refuse."""

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from methods_logits import plain_temperatures
from torch import Tensor

from redistill import registry
from redistill.distill import ctkd as curriculum
from redistill.distill.best_teacher import best_teacher
from redistill.distill.ctkd import ctkd
from redistill.distill.deit import deit
from redistill.distill.dist import dist
from redistill.distill.dist_plus import dist_plus
from redistill.distill.dkd import dkd
from redistill.distill.jensen_shannon import jensen_shannon
from redistill.distill.kd import kd
from redistill.distill.logit_standardisation import logit_standardisation
from redistill.distill.nkd import nkd
from redistill.distill.reverse_kl import reverse_kl
from redistill.distill.sample_temperature import sample_temperature
from redistill.distill.several_teachers import several_teachers
from redistill.distill.skd import skd
from redistill.distill.skew_kl import skew_kl
from redistill.distill.tfkd import tfkd
from redistill.distill.total_variation import total_variation

LOG = math.log
NAN = float("nan")


def normal(*shape: int, seed: int = 0, scale: float = 2.0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, dtype=torch.float64, generator=generator) * scale


def row(*probabilities: float) -> Tensor:
    """Logits (1, C) of a distribution."""
    return torch.tensor([probabilities], dtype=torch.float64).log()


def two(B: int = 5, C: int = 4) -> tuple[Tensor, Tensor]:
    return normal(B, C), normal(B, C, seed=1)


def near(value: float, **tolerance: float):
    return pytest.approx(value, **({"rel": 1e-9, "abs": 1e-12} | tolerance))


def gradient(loss: Tensor, of: Tensor) -> Tensor:
    (found,) = torch.autograd.grad(loss, of)
    return found


# --- one output, and labels that are not there -----------------------------------------------------------------------

OF_CLASSES = {
    "dkd": lambda s, t, y: dkd(s, t, y),
    "dist": lambda s, t, y: dist(s, t),
    "dist_plus": lambda s, t, y: dist_plus(s, t, [], []),
    "nkd": lambda s, t, y: nkd(s, t, y),
    "ctkd": lambda s, t, y: ctkd(s, t, curriculum.build_own([], [], 1), 0.0),
    "deit": lambda s, t, y: deit([s], t),
    "logit_standardisation": lambda s, t, y: logit_standardisation(s, t),
    "skd": lambda s, t, y: skd(s, t),
    "tfkd": lambda s, t, y: tfkd(s, y),
    "jensen_shannon": lambda s, t, y: jensen_shannon(s, t),
    "skew_kl": lambda s, t, y: skew_kl(s, t),
    "total_variation": lambda s, t, y: total_variation(s, t),
    "sample_temperature": lambda s, t, y: sample_temperature(s, t),
}


@pytest.mark.parametrize("name", OF_CLASSES)
def test_a_method_of_classes_refuses_scores(name):
    with pytest.raises(ValueError, match=f"`{name}` compares distributions over classes, and there is one output"):
        OF_CLASSES[name](normal(3, 1), normal(3, 1), normal(3))


NEEDS_LABELS = {
    "dkd": dkd,
    "nkd": nkd,
    "tfkd": lambda s, t, y: tfkd(s, y),
    "best_teacher": lambda s, t, y: best_teacher(s, [t, t + 1], y),
}


@pytest.mark.parametrize("name", NEEDS_LABELS)
def test_examples_without_a_label_do_not_count(name):
    method, (student, teacher) = NEEDS_LABELS[name], two()
    labels, has = torch.tensor([1, -1, 3, -1, 0]), [0, 2, 4]
    student.requires_grad_()
    loss = method(student, teacher, labels)
    assert loss.item() == near(method(student[has], teacher[has], labels[has]).item())
    found = gradient(loss, student)
    assert (found[[1, 3]] == 0).all()
    assert (found[has] != 0).any(-1).all()


@pytest.mark.parametrize("name", NEEDS_LABELS)
def test_without_any_label_the_loss_is_zero_and_has_no_gradient(name):
    student, teacher = two(3)
    student.requires_grad_()
    loss = NEEDS_LABELS[name](student, teacher, torch.full((3,), -1))
    assert loss.item() == 0
    assert (gradient(loss, student) == 0).all()


@pytest.mark.parametrize(
    "name", sorted({*OF_CLASSES, "reverse_kl", "several_teachers", "best_teacher"} - {"dist_plus"})
)
def test_confident_models_that_disagree_still_give_a_gradient(name):
    """As far apart as float32 logits are: the logs of probabilities that are 0 must not be taken."""
    methods = OF_CLASSES | {
        "reverse_kl": lambda s, t, y: reverse_kl(s, t),
        "several_teachers": lambda s, t, y: several_teachers(s, [t, t]),
        "best_teacher": lambda s, t, y: best_teacher(s, [t, t], y),
    }
    student = torch.tensor([[1000.0, -1000.0, 0.0], [-1000.0, 1000.0, 0.0]], requires_grad=True)
    teacher = torch.tensor([[-1000.0, 1000.0, 0.0], [-1000.0, 0.0, 1000.0]])
    loss = methods[name](student, teacher, torch.tensor([1, 0]))
    assert loss.isfinite()
    assert gradient(loss, student).isfinite().all()


# --- DKD and NKD -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_dkd_is_kd_where_beta_is_what_the_teacher_leaves_the_other_classes(temperature):
    student, teacher = two(1)
    left = 1 - (teacher / temperature).softmax(-1)[0, 2].item()
    found = dkd(student, teacher, torch.tensor([2]), alpha=1.0, beta=left, temperature=temperature)
    assert found.item() == near(kd(student, teacher, temperature=temperature).item())


def test_dkd_by_hand():
    """Label 0: of two, (1/2, 1/2) against (1/4, 3/4); the rest, (1/2, 1/2) against (1/3, 2/3)."""
    student, teacher, labels = row(0.25, 0.25, 0.5), row(0.5, 0.25, 0.25), torch.tensor([0])
    target = 0.5 * LOG(2) + 0.5 * LOG(2 / 3)
    rest = 0.5 * LOG(3 / 2) + 0.5 * LOG(3 / 4)
    for alpha, beta in [(1.0, 0.0), (0.0, 1.0), (0.5, 8.0)]:
        found = dkd(student, teacher, labels, alpha=alpha, beta=beta, temperature=1.0)
        assert found.item() == near(alpha * target + beta * rest)


def test_with_two_classes_there_is_nothing_beside_the_label():
    student, teacher = two(4, 2)
    labels = torch.tensor([0, 1, 1, 0])
    expected = kd(student, teacher, temperature=4.0)
    assert dkd(student, teacher, labels, beta=8.0).item() == near(expected.item())
    assert nkd(student, teacher, labels, gamma=7.0).item() == near(nkd(student, teacher, labels, gamma=0.0).item())


def test_nkd_by_hand():
    """Label 0 with 1/2 and 1/4; of the rest, (1/2, 1/2) and (1/3, 2/3)."""
    student, teacher, labels = row(0.25, 0.25, 0.5), row(0.5, 0.25, 0.25), torch.tensor([0])
    rest = -0.5 * LOG(1 / 3) - 0.5 * LOG(2 / 3)
    assert nkd(student, teacher, labels).item() == near(-0.5 * LOG(0.25) + 1.5 * rest)
    equal = torch.zeros(1, 4, dtype=torch.float64)
    found = nkd(equal, equal, labels, gamma=2.0, temperature=3.0).item()
    assert found == near(LOG(4) / 4 + 2 * 9 * LOG(3))


# --- DIST ------------------------------------------------------------------------------------------------------------


def test_dist_hears_what_grows_together_and_not_how_much():
    """Probabilities that are an affine image of the teacher's, row by row and column by column, cost nothing."""
    teacher = normal(6, 5).softmax(-1)
    student = 0.5 * teacher + 0.5 / 5
    assert dist(student.log(), teacher.log()).item() == near(0, abs=1e-9)
    assert kd(student.log(), teacher.log()).item() > 0.01


def test_dist_of_opposites_is_two_for_each_relation():
    student, teacher = row(0.2, 0.8).repeat(2, 1), row(0.8, 0.2).repeat(2, 1)
    student[1], teacher[1] = row(0.7, 0.3)[0], row(0.3, 0.7)[0]
    assert dist(student, teacher, gamma=0.0).item() == near(2)
    assert dist(student, teacher, beta=0.0).item() == near(2)
    assert dist(student, teacher, beta=1.0, gamma=0.5, temperature=1.0).item() == near(3)


def test_dist_of_one_example_relates_no_examples():
    student, teacher = two(1)
    student.requires_grad_()
    loss = dist(student, teacher, beta=0.0)
    assert loss.item() == 1
    assert (gradient(loss, student) == 0).all()


def test_dist_gives_a_student_that_knows_nothing_no_wild_gradient():
    student, teacher = torch.zeros(5, 10, requires_grad=True), normal(5, 10).float()
    loss = dist(student, teacher)
    assert loss.item() == pytest.approx(2)
    assert gradient(loss, student).abs().max() < 1


def test_dist_hears_classes_that_are_far_from_likely():
    """Probabilities near 1e-14 vary like any other, though the cube of the inverse of their length is no number."""
    student, teacher = normal(5, 3), normal(5, 3, seed=1)
    student[:, 2] -= 32

    def of(dtype: torch.dtype) -> tuple[float, Tensor]:
        ours = student.to(dtype).requires_grad_()
        loss = dist(ours, teacher.to(dtype), beta=0.0)
        return loss.item(), gradient(loss, ours).double()

    value, found = of(torch.float32)
    exact, expected = of(torch.float64)
    assert value == pytest.approx(exact, rel=1e-5)
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-6)
    assert (found[:, 2] != 0).all()


def test_dist_plus_without_its_maps_is_dist_and_its_maps_need_one_shape():
    student, teacher = two(3)
    ours, theirs = normal(3, 4, 2, 2), normal(3, 4, 2, 2, seed=1)
    found = dist_plus(student, teacher, [ours], [theirs], channel=0.0, spatial=0.0, beta=2.0)
    assert found.item() == near(dist(student, teacher, beta=2.0).item())
    with pytest.raises(ValueError, match="correlates maps of one shape"):
        dist_plus(student, teacher, [ours], [normal(3, 8, 2, 2)])


def test_dist_plus_wants_channels_that_agree():
    """torchdistill adds the correlation itself, which is least where the channels are opposites."""
    student, teacher = two(3)
    maps = normal(3, 4, 2, 2)
    agreeing, opposite = (dist_plus(student, teacher, [sign * maps], [maps], beta=0.0, gamma=0.0, spatial=0.0)
                          for sign in (2, -2))  # fmt: skip
    assert agreeing.item() == near(0, abs=1e-9)
    assert opposite.item() == near(2)


# --- CTKD ------------------------------------------------------------------------------------------------------------


def test_ctkd_begins_at_the_authors_temperature():
    student, teacher = two()
    own = curriculum.build_own([], [], 1).double()
    temperature = 1 + 20 / (1 + math.exp(-1))
    assert ctkd(student, teacher, own, 0.5).item() == near(kd(student, teacher, temperature=temperature).item())
    assert len(list(own.parameters())) == 1


@pytest.mark.parametrize(
    ("share", "reversal"), [(0.0, 0.0), (0.1, (1 - math.cos(math.pi / 4)) / 2), (0.2, 0.5), (0.4, 1.0), (1.0, 1.0)]
)
def test_ctkd_turns_the_temperatures_gradient_by_the_curriculum(share, reversal):
    student, teacher = two()
    own = curriculum.build_own([], [], 1).double()
    assert isinstance(own, curriculum.Temperature)
    found = gradient(ctkd(student, teacher, own, share, curriculum=0.4, strength=2.0), own.raw).item()

    def at(raw: float) -> float:
        return kd(student, teacher, temperature=1 + 20 / (1 + math.exp(-raw))).item()

    slope = (at(1 + 1e-5) - at(1 - 1e-5)) / 2e-5
    assert slope != near(0, abs=1e-6)
    assert found == near(-2 * reversal * slope, rel=1e-5, abs=1e-9)


def test_a_step_of_the_optimiser_makes_ctkd_harder_and_the_student_better():
    student, teacher = two()
    student.requires_grad_()
    own = curriculum.build_own([], [], 1).double()
    before = ctkd(student, teacher, own, 1.0)
    before.backward()
    assert student.grad is not None
    with torch.no_grad():
        eased = ctkd(student - 0.01 * student.grad, teacher, own, 1.0)
        torch.optim.SGD(own.parameters(), lr=0.01).step()
        harder = ctkd(student, teacher, own, 1.0)
    assert eased < before < harder


# --- DeiT, standardised logits, the virtual teacher ------------------------------------------------------------------


def test_deit_is_the_cross_entropy_on_the_teachers_decision_or_kd():
    student, teacher = two()
    assert deit([student], teacher).item() == near(F.cross_entropy(student, teacher.argmax(-1)).item())
    assert deit([student], teacher, targets="soft").item() == near(kd(student, teacher, temperature=3.0).item())


def test_deit_takes_one_tap_over_the_teachers_classes():
    student, teacher = two()
    with pytest.raises(ValueError, match="takes one tap, the student's distillation head, and there are 2"):
        deit([student, student], teacher)
    with pytest.raises(ValueError, match=r"\(5, 3\) at the student's tap and \(5, 4\) of the teacher"):
        deit([normal(5, 3)], teacher)


def test_standardised_logits_by_hand():
    """(0, 2) has mean 1 and deviation sqrt 2: it becomes -+1 / sqrt 2, whatever its size; (5, 1) its opposite."""
    student, teacher = torch.tensor([[5.0, 1.0]]).double(), torch.tensor([[0.0, 2.0]]).double()
    opposite = torch.tensor([[1.0, -1.0]]).double() / math.sqrt(2)
    found = logit_standardisation(student, teacher, temperature=2.0)
    assert found.item() == near(kd(opposite, -opposite, temperature=2.0).item())


def test_equal_logits_have_nothing_to_standardise():
    student = torch.full((2, 3), 0.1, requires_grad=True)
    loss = logit_standardisation(student, normal(2, 3).float())
    assert loss.isfinite()
    assert (gradient(loss, student) == 0).all()


def test_the_virtual_teacher_by_hand():
    """softmax((0.9, 0.1) / 2) = 1 / (1 + exp(-0.4)) at the label."""
    p, q = 1 / (1 + math.exp(-0.4)), 0.25
    expected = p * LOG(p / q) + (1 - p) * LOG((1 - p) / (1 - q))
    found = tfkd(row(0.25, 0.75), torch.tensor([0]), correct_probability=0.9, temperature=2.0)
    assert found.item() == near(expected)


def test_the_virtual_teacher_becomes_uniform_as_it_is_softened():
    student, labels = normal(4, 3), torch.tensor([0, 1, 2, 0])
    uniform = kd(student, torch.zeros(4, 3, dtype=torch.float64))
    assert tfkd(student, labels, temperature=1e9).item() == near(uniform.item(), rel=1e-6)


# --- SKD -------------------------------------------------------------------------------------------------------------


def test_skds_instances_are_kd_and_its_code_counts_the_less_certain_half():
    student, teacher = two(6)
    plain = skd(student, teacher, direction=0.0)
    assert plain.item() == near(kd(student, teacher, temperature=4.0, t_squared=False).item())
    order = teacher.softmax(-1).amax(-1).argsort()[:3]
    half = kd(student[order], teacher[order], temperature=4.0)
    assert skd(student, teacher, direction=0.0, follow="code").item() == near(half.item() / 2)


def test_skds_directions_without_a_covariance_are_lengths():
    """A regularisation far above the covariance leaves the Euclidean length of the rows."""
    student, teacher = two(6)
    s, t = F.normalize(student, dim=1), F.normalize(teacher, dim=1)
    lengths = (s @ s.T - t @ t.T).norm(dim=1).mean().item()
    found = skd(student, teacher, instance=0.0, tikhonov=1e10).item() * 1e5
    assert found == near(lengths, rel=1e-6)


def test_skds_code_divides_the_gram_matrices_by_the_classes():
    """Which is as if tikhonov were C^2 times as large; and half of the four classes are below the median."""
    student, teacher = two(6)
    plain = skd(student, teacher, instance=0.0, tikhonov=0.1 * 16)
    assert skd(student, teacher, instance=0.0, follow="code").item() == near(plain.item() / 2)


def test_skd_of_a_student_that_agrees_has_no_gradient_and_is_a_number():
    _, teacher = two()
    student = teacher.clone().requires_grad_()
    loss = skd(student, teacher, instance=0.0)
    assert loss.item() == 0
    assert (gradient(loss, student) == 0).all()


# --- divergences -----------------------------------------------------------------------------------------------------


def test_the_reverse_divergence_is_kd_the_other_way_round():
    student, teacher = two()
    assert reverse_kl(student, teacher, temperature=2.0).item() == near(kd(teacher, student, temperature=2.0).item())
    scores = normal(3, 1), normal(3, 1, seed=1)
    assert reverse_kl(*scores).item() == near(kd(*scores).item())


def test_jensen_shannon_lies_between_the_two_divergences():
    student, teacher = two()
    assert jensen_shannon(student, teacher).item() == near(jensen_shannon(teacher, student).item())
    forward = jensen_shannon(student, teacher, beta=1e-7).item() / 1e-7
    backward = jensen_shannon(student, teacher, beta=1 - 1e-7).item() / 1e-7
    assert forward == near(kd(student, teacher).item(), rel=1e-4)
    assert backward == near(reverse_kl(student, teacher).item(), rel=1e-4)


def test_jensen_shannon_by_hand():
    """(1/4, 3/4) and (3/4, 1/4) have the mixture (1/2, 1/2)."""
    expected = LOG(2) + 0.25 * LOG(0.25) + 0.75 * LOG(0.75)
    assert jensen_shannon(row(0.25, 0.75), row(0.75, 0.25)).item() == near(expected)


@pytest.mark.parametrize(("direction", "limit"), [("forward", kd), ("reverse", reverse_kl)])
def test_a_skew_divergence_without_skew_is_the_divergence(direction, limit):
    student, teacher = two()
    found = skew_kl(student, teacher, direction=direction, alpha=1e-9)
    assert found.item() == near(limit(student, teacher).item(), rel=1e-6)


def test_a_skew_divergence_by_hand():
    """(1/2, 1/2) to a mixture, half of it and half of (1/4, 3/4), which is (3/8, 5/8); and the other way round."""
    student, teacher = row(0.25, 0.75), row(0.5, 0.5)
    forward = 0.5 * LOG(4 / 3) + 0.5 * LOG(4 / 5)
    backward = 0.25 * LOG(2 / 3) + 0.75 * LOG(6 / 5)
    assert skew_kl(student, teacher, alpha=0.5).item() == near(forward)
    assert skew_kl(student, teacher, direction="reverse", alpha=0.5).item() == near(backward)


def test_total_variation_by_hand():
    assert total_variation(row(0.5, 0.25, 0.25), row(0.25, 0.25, 0.5)).item() == near(0.25)
    assert total_variation(row(0.5, 0.5), row(0.5, 0.5)).item() == 0


LOGITS = st.lists(st.floats(-30, 30), min_size=6, max_size=6).map(
    lambda x: torch.tensor(x, dtype=torch.float64).view(2, 3)
)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(student=LOGITS, teacher=LOGITS, alpha=st.floats(0.01, 0.99))
def test_divergences_keep_their_bounds(student, teacher, alpha):
    variation = total_variation(student, teacher).item()
    assert 0 <= variation <= 1 + 1e-12
    assert -1e-12 <= jensen_shannon(student, teacher, beta=alpha).item() <= LOG(2)
    for direction in ("forward", "reverse"):
        assert -1e-12 <= skew_kl(student, teacher, direction=direction, alpha=alpha).item() <= -LOG(alpha) + 1e-12
    for loss in (kd, reverse_kl):  # Pinsker's inequality
        assert variation <= math.sqrt(max(loss(student, teacher).item(), 0) / 2) + 1e-9
    assert -1e-9 <= dist(student, teacher).item() <= 4 + 1e-9


# --- a temperature for each example ----------------------------------------------------------------------------------


@pytest.mark.parametrize("rule", ["flsw", "cwsm"])
def test_one_example_has_the_base_temperature(rule):
    student, teacher = two(1)
    expected = kd(student, teacher, temperature=4.0, t_squared=False)
    assert sample_temperature(student, teacher, rule=rule, beta=9.0).item() == near(expected.item())


@pytest.mark.parametrize("rule", ["flsw", "cwsm"])
def test_no_gradient_flows_through_the_temperatures(rule):
    student, teacher = two()
    student.requires_grad_()
    T = plain_temperatures(student.detach(), teacher, rule=rule, temperature=4.0, beta=2.0, gamma=1.0, lowest=1.0)
    assert len(set(T)) > 1
    held = torch.tensor(T, dtype=torch.float64).unsqueeze(-1)
    expected = gradient(kd(student / held, teacher / held), student)
    found = gradient(sample_temperature(student, teacher, rule=rule, beta=2.0), student)
    torch.testing.assert_close(found, expected)


def test_harder_examples_have_a_lower_temperature_that_stays_above_its_bound():
    """Of ten classes the first example knows nothing, w = 1 / 0.101; the others all, w = 1 / 1.001."""
    student = torch.zeros(5, 10, dtype=torch.float64)
    student[1:, 0] = 1000.0
    known = {"rule": "cwsm", "temperature": 4.0, "gamma": 1.0}
    raw = plain_temperatures(student, student, beta=1.0, lowest=-99.0, **known)
    assert raw[0] < 0 < raw[1]
    assert plain_temperatures(student, student, beta=1.0, lowest=1.0, **known)[0] == 1.0
    teacher = normal(5, 10)
    found = sample_temperature(student, teacher, rule="cwsm", beta=1.0, t_squared=True)
    terms = [kd(student[i : i + 1], teacher[i : i + 1], temperature=max(1.0, T)).item() for i, T in enumerate(raw)]
    assert found.item() == near(sum(terms) / 5, rel=1e-6)


# --- several teachers ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mean", ["logits", "probabilities"])
def test_several_teachers_that_agree_are_one(mean):
    student, teacher = two()
    expected = kd(student, teacher, temperature=2.0).item()
    for all_of_them in ([teacher], [teacher] * 3):
        assert several_teachers(student, all_of_them, mean=mean, temperature=2.0).item() == near(expected)


def test_the_means_of_teachers_by_hand():
    """Of (1/2, 1/2) and (1/10, 9/10): arithmetic (3/10, 7/10), geometric in the ratio 1 : 3."""
    student, both = row(0.5, 0.5), [row(0.5, 0.5), row(0.1, 0.9)]
    arithmetic, geometric = (several_teachers(student, both, mean=mean) for mean in ("probabilities", "logits"))
    assert arithmetic.item() == near(kd(student, row(0.3, 0.7)).item())
    assert geometric.item() == near(kd(student, row(0.25, 0.75)).item())


def test_weights_of_teachers_count_in_proportion():
    student, teacher = two()
    other = normal(5, 4, seed=2)
    assert several_teachers(student, [teacher, other], weights=[1.0, 3.0]).item() == near(
        several_teachers(student, [teacher, other, other, other]).item()
    )
    with pytest.raises(ValueError, match="has 1 weights for 2 teachers"):
        several_teachers(student, [teacher, other], weights=[1.0])
    assert registry.mistake(registry.signature("loss", "several_teachers").settings["weights"], [1.0, 0.0])


@pytest.mark.parametrize("method", [several_teachers, lambda s, t: best_teacher(s, t, torch.zeros(5).long())])
def test_there_must_be_a_teacher(method):
    with pytest.raises(ValueError, match="teachers"):
        method(normal(5, 4), [])


def test_each_example_has_the_teacher_that_knows_its_label_best():
    student = normal(2, 2)
    first, second = torch.cat([row(0.9, 0.1), row(0.6, 0.4)]), torch.cat([row(0.6, 0.4), row(0.9, 0.1)])
    zeros, ones = torch.zeros(2).long(), torch.ones(2).long()
    best = torch.cat([row(0.9, 0.1)] * 2)
    worst = torch.cat([row(0.6, 0.4)] * 2)
    assert best_teacher(student, [first, second], zeros).item() == near(kd(student, best).item())
    assert best_teacher(student, [first, second], ones).item() == near(kd(student, worst).item())
    scores = best_teacher(normal(1, 1), [torch.tensor([[3.0]]), torch.tensor([[1.0]])], torch.tensor([1.5]))
    assert scores.item() == near((normal(1, 1).item() - 1) ** 2)
    missing = best_teacher(normal(2, 1), [normal(2, 1)], torch.tensor([NAN, NAN]))
    assert missing.item() == 0
