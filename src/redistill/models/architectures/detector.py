"""Any detector of torchvision, at random weights."""

from typing import Annotated

from annotated_types import Ge
from torch import nn

from redistill.errors import RedistillError
from redistill.models.detectors import freeze_norms
from redistill.models.libraries import of_torchvision

_KEYPOINTS = "keypointrcnn"


def detector(
    num_outputs: int,
    *,
    name: str,
    frozen_norms: bool = False,
    norm_eps: Annotated[float, Ge(0)] = 1e-5,
    options: dict | None = None,
) -> nn.Module:
    """A detector of torchvision by its name there, such as `fasterrcnn_resnet50_fpn` or `retinanet_resnet50_fpn`,
    without pretrained weights, for `num_outputs` classes beside the background.

    Takes a list of images (3, H, W) in [0, 1], which it resizes and normalises itself, and in training their boxes;
    gives losses by name in training, else boxes, labels and scores. Taps in its backbone are those of the classifier
    behind it, such as `backbone.body.layer1`.

    `frozen_norms` is for weights that were trained so: torchvision's ResNet detectors keep the statistics of the
    backbone's norms, with `norm_eps` 0 for its first weights (`COCO_V1`). `options` go to the detector, such as
    `{min_size: 480, box_detections_per_img: 50}`.

    Raises:
        RedistillError: torchvision has no such detector, or it does not take the options; or it is one of key points,
            which no task has.
    """
    from torchvision import models

    if name.startswith(_KEYPOINTS):
        raise RedistillError(f"`{name}` finds key points, and no task has them: take a detector of boxes")
    settings = {"weights": None, "weights_backbone": None, "num_classes": num_outputs + 1}
    model = of_torchvision(models.detection, "detector", name, settings, options)
    if frozen_norms:
        backbone = model.get_submodule("backbone")
        freeze_norms(backbone, norm_eps)
    return model
