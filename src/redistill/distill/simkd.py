"""SimKD: the teacher's classifier is used again (Chen et al. 2022, arXiv:2203.14001).

The student is a `reused_classifier`: a body, a projector, and the teacher's last layer, which is `frozen` in the
stage. Body and projector learn from this term alone; the whole is what predicts, and what is saved.

Usage::

    features:
      method: simkd
      weight: 1.0
      taps: {student: [projector], teacher: [layer3]}

with, at the experiment's top::

    teacher: {experiment: cifar/resnet-110}
    student:
      architecture:
        method: reused_classifier
        body: {method: cifar_resnet, depth: 20}
        last: layer3
        like: [64, 8, 8]
      start: {experiment: cifar/resnet-110, part: fc, into: classifier}
"""

from torch import Tensor

from redistill.distill.inputs import FeatureMaps
from redistill.distill.maps import at_one_size
from redistill.distill.pairs import same_shape
from redistill.distill.precision import wide

OVER = "examples"


def simkd(student_hidden: FeatureMaps, teacher_hidden: FeatureMaps) -> Tensor:
    """Mean squared difference of the projected student's last feature map and the teacher's.

    Where the maps are of two sizes, the larger is averaged down to the smaller. The paper's weight is 1, and there is
    no other term.

    Args:
        student_hidden: what the projector gives, (B, C_t, H, W).
        teacher_hidden: the teacher's last feature map, (B, C_t, H_t, W_t), which is averaged over positions before its
            last layer.

    Raises:
        ValueError: there is not one tap on each side, or the maps differ in channels.
    """
    if (len(student_hidden), len(teacher_hidden)) != (1, 1):
        raise ValueError(
            "taps are what the student's projector gives and the teacher's last feature map, "
            f"not {len(student_hidden)} and {len(teacher_hidden)} maps"
        )
    ours, theirs = at_one_size(wide(student_hidden[0]), wide(teacher_hidden[0]))
    same_shape(ours, theirs)
    return (ours - theirs).square().mean()
