"""Knowledge distillation (Hinton, Vinyals and Dean 2015, arXiv:1503.02531)."""

from typing import Annotated

from annotated_types import Gt
from torch import Tensor

OVER = "examples"


def kd(
    student_logits: Tensor,
    teacher_logits: Tensor,
    *,
    temperature: Annotated[float, Gt(0)] = 1.0,
    t_squared: bool = True,
) -> Tensor:
    """T^2 x KL(teacher, student) at temperature T, summed over classes, averaged over the batch.

    With one output (a regression) there is no distribution over classes. The term is then the mean squared difference
    of the two scores, twice the divergence of two normal distributions of unit variance around them; the temperature
    has no effect.

    Args:
        student_logits: (B, C).
        teacher_logits: (B, C).
        temperature: T, above 0.
        t_squared: whether the factor T^2, which keeps the gradient's size, is there.
    """
    if student_logits.shape[-1] == 1:
        return (student_logits - teacher_logits).square().mean()
    teacher = (teacher_logits / temperature).log_softmax(-1)
    student = (student_logits / temperature).log_softmax(-1)
    weights = (teacher_logits / temperature).softmax(-1)
    divergence = (weights * (teacher - student)).sum(-1).mean()
    return divergence * temperature**2 if t_squared else divergence
