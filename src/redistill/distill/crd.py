"""Contrastive representation distillation (Tian, Krishnan and Isola 2020, arXiv:1910.10699).

Usage::

    contrast: {method: crd, weight: 0.8, taps: {student: ["fc:input"], teacher: ["fc:input"]}}
"""

import math
from typing import Annotated

import torch
import torch.nn.functional as F
from annotated_types import Ge, Gt, Lt
from torch import Tensor, nn

from redistill.distill.directions import unit
from redistill.distill.inputs import Pooled, Shape
from redistill.distill.precision import wide
from redistill.distill.vectors import pooled, width


class Memory(nn.Module):
    """Linear layers that embed both sides, and for each side a bank with the last embedding of every example.

    `log_z` are the logarithms of the normalising constants, the student's and the teacher's; `started` says whether
    they are set. Both are not parameters: the first batch sets them.
    """

    student_bank: Tensor
    teacher_bank: Tensor
    log_z: Tensor
    started: Tensor

    def __init__(self, student: int, teacher: int, features: int, examples: int):
        super().__init__()
        self.student, self.teacher = nn.Linear(student, features), nn.Linear(teacher, features)
        bound = math.sqrt(3 / features)  # uniform numbers up to it have variance 1 / features: vectors of length one
        for side in ("student", "teacher"):
            self.register_buffer(f"{side}_bank", torch.empty(examples, features).uniform_(-bound, bound))
        self.register_buffer("log_z", torch.zeros(2))
        self.register_buffer("started", torch.tensor(False))


def build_own(
    student_shapes: list[Shape],
    teacher_shapes: list[Shape],
    examples: int,
    *,
    features: Annotated[int, Gt(0)] = 128,
) -> Memory:
    """The embeddings and their banks.

    Raises:
        ValueError: there is not one tap a side, an example has more than one vector there, or there is but one example.
    """
    if len(student_shapes) != 1 or len(teacher_shapes) != 1:
        raise ValueError("give one tap of the student and one of the teacher: there is one bank a side")
    if examples < 2:
        raise ValueError("the data must have two examples at least: an example is contrasted with others")
    return Memory(width(student_shapes[0]), width(teacher_shapes[0]), features, examples)


def crd(
    student_hidden: Pooled,
    teacher_hidden: Pooled,
    index: Tensor,
    own: Memory,
    generator: torch.Generator,
    *,
    negatives: Annotated[int, Gt(0)] = 16384,
    temperature: Annotated[float, Gt(0)] = 0.07,
    momentum: Annotated[float, Ge(0), Lt(1)] = 0.5,
) -> Tensor:
    """Noise-contrastive loss: which of 1 + K remembered examples is this one? Both sides, averaged over the batch.

    u is the unit vector of an example's embedding, v_0 what the other side's bank has of the same example, and v_1 to
    v_K what it has of K others, drawn from all n examples with equal chance. Then P_k = exp(u . v_k / T) / Z, and

        loss = - log(P_0 / (P_0 + K / n)) - sum over k from 1 to K of log((K / n) / (P_k + K / n))

    The student's u meets the teacher's bank, the teacher's u the student's, and the two losses are added. Z, one for
    each side, is n times the mean of exp(u . v / T) over the first batch; no gradient passes it. At last the batch's
    rows in the banks become the unit vectors of momentum x what was there + (1 - momentum) x u. The weight is 0.8 in
    RepDistiller's script and in torchdistill's configuration.

    Args:
        student_hidden: features (B, D) of one tap.
        teacher_hidden: features of one tap; their D may be another.
        index: (B,) which example each one is.
        own: the embeddings and the banks, which are changed in place.
        generator: draws the negatives.
        negatives: K, drawn with repetition.
        temperature: T.
        momentum: how much of a bank's row stays.

    Raises:
        ValueError: there is not one tap a side.

    Deviation: of labelled data the authors' script and torchdistill's configuration draw negatives from the other
    classes alone, without repetition where they are enough; here, as without labels, all other examples may be drawn.
    Their code also adds 1e-7 to the denominators, which the logarithms here do without.
    """
    if len(student_hidden) != 1 or len(teacher_hidden) != 1:
        raise ValueError("give one tap of the student and one of the teacher: there is one bank a side")
    ours = unit(wide(own.student(pooled(student_hidden[0]))), -1)
    theirs = unit(wide(own.teacher(pooled(teacher_hidden[0]))), -1)
    chosen = among(index, negatives, len(own.student_bank), generator)
    scores = torch.stack([meet(ours, own.teacher_bank, chosen), meet(theirs, own.student_bank, chosen)]) / temperature
    log_p = scores - normalise(scores.detach(), own)[:, None, None]
    log_noise = math.log(negatives / len(own.student_bank))
    same, other = F.logsigmoid(log_p[..., 0] - log_noise), F.logsigmoid(log_noise - log_p[..., 1:])
    with torch.no_grad():
        remember(own.student_bank, index, ours, momentum)
        remember(own.teacher_bank, index, theirs, momentum)
    return -(same.sum() + other.sum()) / len(index)


def among(index: Tensor, negatives: int, examples: int, generator: torch.Generator) -> Tensor:
    """Which rows of a bank an example meets, (B, 1 + K): its own, then those of others."""
    others = torch.randint(examples - 1, (len(index), negatives), generator=generator).to(index.device)
    others = others + (others >= index[:, None])  # all but its own
    return torch.cat([index[:, None], others], 1)


def meet(embedded: Tensor, bank: Tensor, chosen: Tensor) -> Tensor:
    """Inner products (B, 1 + K) of embeddings (B, F) and chosen rows of a bank.

    All rows are multiplied and then chosen: as many copies of rows would take more memory. The bank is copied once, for
    the gradient needs what it was.
    """
    return (embedded @ bank.detach().to(embedded.dtype, copy=True).T).gather(1, chosen)


@torch.no_grad()
def normalise(scores: Tensor, own: Memory) -> Tensor:
    """log Z of each side, (2,), set by the first batch's scores (2, B, 1 + K)."""
    flat = scores.flatten(1)
    found = flat.logsumexp(1) - math.log(flat.shape[1]) + math.log(len(own.student_bank))
    log_z = torch.where(own.started, wide(own.log_z), found)
    own.log_z.copy_(log_z)
    own.started.fill_(True)
    return log_z


def remember(bank: Tensor, index: Tensor, embedded: Tensor, momentum: float) -> None:
    """Move the rows of a bank towards embeddings (B, F), in place."""
    bank[index] = unit(momentum * wide(bank[index]) + (1 - momentum) * embedded, -1).to(bank.dtype)
