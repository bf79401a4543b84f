"""What `check` passes through models and losses: batches without values, numbers in the place of what models say."""

from contextlib import suppress
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from redistill import registry
from redistill.errors import RedistillError
from redistill.models import load
from redistill.models.detectors import finds_masks, needs_values
from redistill.models.head import head_of
from redistill.training.learner import Seen

Config = dict[str, Any]
EXAMPLES, TOKENS = 2, 8  # of the batch that is passed through
META = torch.device("meta")


class Drawn:
    """Random numbers in the place of what models say."""

    def __init__(self, outputs: int):
        self.outputs, self.generator = outputs, torch.Generator().manual_seed(0)

    def of(self, indices: NDArray[np.int64], view: int = 0) -> NDArray[np.float32]:
        """A teacher's logits of these examples."""
        drawn: NDArray[np.float32] = torch.randn(len(indices), self.outputs, generator=self.generator).numpy()
        return drawn

    def like(self, tensor: Tensor) -> Tensor:
        """A tensor of this shape on the CPU."""
        return torch.randn(tensor.shape, generator=self.generator, device="cpu").requires_grad_()

    def seen(self, models: dict[str, Seen], detectors: bool) -> dict[str, Seen]:
        """Tensors like what was seen of each model; a detector says one loss of itself too."""
        own = {"losses": {"drawn": torch.randn((), generator=self.generator, device="cpu")}} if detectors else {}
        return {
            model: {**own, **{tap: self.like(tensor) for tap, tensor in tensors.items()}}
            for model, tensors in models.items()
        }


def heads(task: Config, models: dict[str, nn.Module]) -> dict[str, nn.Module]:
    """Layers like those that end the models, on the CPU."""
    found: dict[str, nn.Module] = {}
    for name, model in models.items():
        with suppress(RedistillError), torch.device("cpu"):
            head = head_of(model, load.outputs_of(task))
            found[name] = nn.Linear(head.in_features, head.out_features)
    return found


def batch(task: Config, examples: int = EXAMPLES) -> Seen:
    """A batch without values."""
    if task["type"] == "detection":
        return {"image": [torch.zeros(task["image_shape"], device=META) for _ in range(examples)]}
    if task["input"] == "image":
        return {"image": torch.zeros(examples, *task["image_shape"], device=META)}
    # with a mask: without one transformers looks for padding among the ids, and there is nothing in them
    ids = torch.zeros(examples, TOKENS, dtype=torch.long, device=META)
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids)}


def labelled(task: Config, views: int) -> Seen:
    """What a batch tells beside its inputs."""
    dtype = torch.float32 if task["type"] in ("regression", "unlabelled") else torch.int64
    sides = task["image_shape"][1:] if task["type"] == "segmentation" else []
    return {
        "labels": torch.zeros(EXAMPLES * views, *sides, dtype=dtype),
        "index": torch.arange(EXAMPLES).repeat_interleave(views),
        "attention_mask": torch.ones(EXAMPLES, TOKENS, dtype=torch.long),
    }


def listed(shapes: dict[str, Any]) -> str:
    return ", ".join(f"{name} {shape}" for name, shape in shapes.items())


def shown(batch: Seen) -> str:
    return f"images {list(batch['image'][0].shape)}" if "image" in batch else f"texts of {TOKENS} tokens"


# --- models of another kind than the task ----------------------------------------------------------------------------


def unlike(model: nn.Module, task: Config) -> str | None:
    """What is wrong with a model that is no detector where boxes are looked for, or is one where they are not."""
    if task["input"] != "image" or needs_values(model) == (task["type"] == "detection"):
        return None
    if needs_values(model):
        return f"is a detector, and the task is a {task['type']}: take a model that gives classes"
    return "is no detector, and the task is a detection: take `detector`, `ssdlite` or `bottleneck_rcnn`"


def refuse_maskless(model: nn.Module, method: str) -> None:
    """Refuse the own losses of a detector that also learns masks.

    Raises:
        RedistillError: the model finds masks of instances.
    """
    asks = "student_losses" in registry.signature("loss", method).inputs
    if asks and finds_masks(model):
        raise RedistillError(
            f"loss `{method}` of a model that finds masks too needs the mask of each object, and a detection has boxes "
            "alone: compare features, as `ghnd` does, or take a detector of boxes"
        )


def refuse_whole(logits: Tensor, task: Config) -> None:
    """Refuse logits that are not those of every pixel, where these are asked for; or are, where they are not.

    Raises:
        RedistillError: says what is given and what is asked for.
    """
    given, sides = tuple(logits.shape[1:]), task["image_shape"][1:] if task["type"] == "segmentation" else []
    wanted = (load.outputs_of(task), *sides)
    if given != wanted:
        said = "a class of every pixel" if sides else "one row of logits for each image"
        raise RedistillError(
            f"the model gives {list(given)} for an image, and the task asks for {said}, {list(wanted)}: take "
            f"{'a segmenter, such as `segmenter` or `lraspp`' if sides else 'a classifier'}"
        )
