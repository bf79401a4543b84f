"""A student that ends in its teacher's classifier: Chen et al. 2022 (SimKD), arXiv:2203.14001."""

from typing import Annotated, Any

import torch
from annotated_types import Gt
from torch import Tensor, nn

from redistill.distill.maps import averaged
from redistill.errors import RedistillError
from redistill.models import load
from redistill.models.head import head_of
from redistill.models.taps import tapped
from redistill.registry import Architecture


def reused_classifier(
    task: dict[str, Any], *, body: Architecture, last: str, like: list[int], factor: Annotated[int, Gt(0)] = 2
) -> nn.Module:
    """A classifier without its last layer, a projector, and a linear layer for the teacher's features.

    Takes (B, C, H, W), gives (B, num_outputs): the linear layer's logits of the projected map, averaged over positions.
    `body` is an architecture with its settings, `last` the module that gives its last feature map, and `like` the
    channels, height and width of the teacher's last feature map. In the middle the projector is `factor` times narrower
    than that.

    Taps: `projector` (B, C', H', W'), the channels of `like` at the smaller of both maps' sides; `body.layer3` and so
    on, by the body's own names; `classifier`, which `start` fills with the teacher's.

    Raises:
        RedistillError: `body` does not take the task's images, ends in no linear layer, has no module `last` or no
            feature map there, or `like` is not channels, height and width.
    """
    if len(like) != 3 or min(like) < 1:
        raise RedistillError(f"reused_classifier: `like` is channels, height and width of a map, not {like}")
    given, outputs = _map_of(body, last, task), load.outputs_of(task)
    built = load.nested(body, task)
    _without_head(built, outputs)
    return ReusedClassifier(built, last, Projector(given, like, factor), nn.Linear(like[0], outputs))


def _map_of(body: Architecture, last: str, task: dict[str, Any]) -> tuple[int, ...]:
    """Channels, height and width of the map that a module of a model gives. Nothing is computed."""
    with torch.device("meta"):
        model = load.nested(body, task).eval()
        try:
            with tapped(model, [last], "body") as seen, torch.no_grad():
                model(torch.zeros(1, *task["image_shape"]))
        except (RuntimeError, ValueError, IndexError, TypeError) as error:
            said = f"images {task['image_shape']} do not pass through its body: {error}"
            raise RedistillError(f"reused_classifier: {said}") from None
    if seen[last].ndim != 4:
        raise RedistillError(f"reused_classifier: `{last}` gives {list(seen[last].shape[1:])} for an image, no map of "
                             "channels, height and width: name the module of the last map")  # fmt: skip
    return tuple(seen[last].shape[1:])


def _without_head(body: nn.Module, outputs: int) -> None:
    """Put nothing in the place of a model's last linear layer, which would learn nothing."""
    head = head_of(body, outputs)
    path = next(path for path, module in body.named_modules() if module is head)
    parent, _, name = path.rpartition(".")
    setattr(body.get_submodule(parent), name, nn.Identity())


class ReusedClassifier(nn.Module):
    """A body of which one map is looked at, and what makes logits of it."""

    def __init__(self, body: nn.Module, last: str, projector: nn.Module, classifier: nn.Linear):
        super().__init__()
        self.body, self.last, self.projector, self.classifier = body, last, projector, classifier

    def forward(self, images: Tensor) -> Tensor:
        with tapped(self.body, [self.last], "body") as seen:
            self.body(images)
        logits: Tensor = self.classifier(self.projector(seen[self.last]).mean((2, 3)))
        return logits


class Projector(nn.Module):
    """Convolutions of 1 x 1, 3 x 3 and 1 x 1, each with a batch norm and a ReLU; narrower in the middle by `factor`."""

    def __init__(self, given: tuple[int, ...], like: list[int], factor: int):
        super().__init__()
        narrow, out = max(like[0] // factor, 1), like[0]
        self.size = (min(given[1], like[1]), min(given[2], like[2]))
        self.layers = nn.Sequential(
            nn.Conv2d(given[0], narrow, 1, bias=False), nn.BatchNorm2d(narrow), nn.ReLU(),
            nn.Conv2d(narrow, narrow, 3, padding=1, bias=False), nn.BatchNorm2d(narrow), nn.ReLU(),
            nn.Conv2d(narrow, out, 1, bias=False), nn.BatchNorm2d(out), nn.ReLU(),
        )  # fmt: skip

    def forward(self, maps: Tensor) -> Tensor:
        projected: Tensor = self.layers(averaged(maps, self.size))
        return projected
