"""The supervised loss of a segmenter's second head (Zhao et al. 2017, arXiv:1612.01105, section 3.3).

Usage::

    second: {method: second_head, weight: 0.5, taps: {student: [aux_classifier, "backbone.conv1:input"]}}
"""

from torch import Tensor
from torch.nn.functional import cross_entropy, interpolate

from redistill.distill.inputs import FeatureMaps
from redistill.distill.precision import wide

OVER = "labels"


def second_head(student_hidden: FeatureMaps, labels: Tensor) -> Tensor:
    """Cross-entropy of each pixel that has a class, averaged over these; zero when none has one.

    The head's logits are brought to the image's size first (bilinear, corners not aligned), as torchvision's segmenters
    do it with those of both heads.

    Args:
        student_hidden: two maps: the head's logits (B, C, h, w), and one of the image's size (B, ..., H, W), such as
            what the first layer is given.
        labels: (B H W,) int64, -1 where there is no class.

    Raises:
        ValueError: there are not two taps, or the second is not of the labels' size.
    """
    if len(student_hidden) != 2:
        raise ValueError("give two taps of the student: the head, and a map of the image's size")
    logits, sized = wide(student_hidden[0]), tuple(student_hidden[1].shape[-2:])
    if len(logits) * sized[0] * sized[1] != len(labels):
        raise ValueError(f"{len(labels)} labels are not those of {len(logits)} images of {sized}: let the second tap "
                         "be of the image's size")  # fmt: skip
    rows = interpolate(logits, sized, mode="bilinear", align_corners=False).flatten(2).transpose(1, 2).flatten(0, 1)
    valid = labels >= 0
    return cross_entropy(rows[valid], labels[valid], reduction="none").sum() / valid.sum().clamp(min=1)
