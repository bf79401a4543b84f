"""A temperature for each example (Wen, Lai and Qian 2019, arXiv:1911.07471), as TextBrewer has it (Yang et al. 2020).

The formulas are those of TextBrewer's schedulers FLSW and CWSM, which it calls adapted from the paper.

Usage::

    hard: {method: hard, weight: 1}
    by_sample: {method: sample_temperature, weight: 1, rule: flsw, temperature: 4, beta: 1, gamma: 2}
"""

from typing import Annotated, Literal

import torch
from annotated_types import Ge, Gt
from torch import Tensor

from redistill.distill.directions import unit
from redistill.distill.distributions import kl, log_probabilities, need_classes
from redistill.distill.precision import wide


def sample_temperature(
    student_logits: Tensor,
    teacher_logits: Tensor,
    *,
    rule: Literal["flsw", "cwsm"] = "flsw",
    temperature: Annotated[float, Gt(0)] = 4.0,
    beta: Annotated[float, Ge(0)] = 1.0,
    gamma: Annotated[float, Gt(0)] = 1.0,
    lowest: Annotated[float, Gt(0)] = 1.0,
    t_squared: bool = False,
) -> Tensor:
    """KL(teacher, student) at a temperature T_i of each example i, averaged over the batch.

    T_i = temperature + beta (mean over the batch of w - w_i)
    flsw: w = (1 - cos(student's logits, teacher's logits))^gamma
    cwsm: w = 1 / (largest of the student's probabilities + 0.001)

    A harder example has a larger w and a lower temperature. The temperatures are held constant: no gradient flows
    through them.

    Deviation: TextBrewer takes the cross-entropy, whose gradient is the same; the divergence is 0 where both agree.
    Deviation: T_i is raised to `lowest`. With beta 1 and ten classes, the formula of cwsm can give an example of which
    the student knows nothing a temperature below 0.

    Args:
        student_logits: (B, C), C at least 2.
        teacher_logits: (B, C).
        rule: what the weight w is.
        temperature: that of an example of average weight, above 0.
        beta: how far the temperatures spread.
        gamma: the power of flsw, above 0.
        lowest: the least temperature of an example, above 0.
        t_squared: whether each example's divergence has the factor T_i^2, which TextBrewer's has not.

    Raises:
        ValueError: there is one output.
    """
    need_classes(student_logits, "sample_temperature")
    student, teacher = wide(student_logits), wide(teacher_logits)
    with torch.no_grad():
        if rule == "flsw":
            cosine = (unit(student, -1) * unit(teacher, -1)).sum(-1)
            weights = (1 - cosine).clamp(min=0) ** gamma  # rounding may take the cosine above 1
        else:
            weights = 1 / (student.softmax(-1).amax(-1) + 1e-3)
        temperatures = (temperature + beta * (weights.mean() - weights)).clamp(min=lowest)
    p, q = (log_probabilities(logits, temperatures.unsqueeze(-1)) for logits in (teacher, student))
    divergence = kl(p, q)
    return (divergence * temperatures**2 if t_squared else divergence).mean()
