"""The loss of a pass of which each device has a part, as one device would compute it of the whole pass.

A term that is a mean over examples, over those that have labels, or over tokens is computed of each part, and counts by
how many of these the part has. Any other is of the whole batch: what it compares is gathered from all devices, and
each of them computes the same; the gradient of what a device gave is its part of the gradient of what was gathered. A
method's file says by `OVER` which it is (`redistill.registry.Signature.over`).

Batch norms do not look across devices, in models and in what losses learn.
"""

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, distributed, nn

from redistill.errors import RedistillError
from redistill.models.together import Part
from redistill.training.learner import Moment, Seen

if TYPE_CHECKING:
    from redistill.training.loss import Loss

GATHERED = (
    "student_logits", "teacher_logits", "all_teacher_logits", "labels", "index", "mask", "student_hidden",
    "teacher_hidden",
)  # fmt: skip
COUNTED = ("examples", "labels", "tokens")


class Across:
    """What the terms of a loss are to several devices; this one's is `part`."""

    def __init__(self, part: Part):
        self.part = part

    def values(
        self, loss: "Loss", batch: Seen, seen: dict[str, Seen], own: nn.ModuleDict, moment: Moment
    ) -> dict[str, Tensor]:
        """The value of each term: their mean over all devices is that of the whole pass, and so is the gradient."""
        whole = [term for term in loss.terms if term.signature.over == "batch"]
        alike = replace(moment, counter=(moment.common, *moment.counter[1:]))
        given = {term.name: loss.arguments(term, batch, seen, own, alike) for term in whole}
        here = [count if moment.counts else 0 for count in counts(batch, loss.views)]
        sent = [tensor for term in whole for tensor in tensors_of(given[term.name])]
        told = self._told([*here, *(side for tensor in sent for side in tensor.shape)], _device(batch))
        everywhere = [sum(one[i] for one in told) for i in range(len(COUNTED))]
        shares = {
            over: self.part.of * mine / max(all_, 1) for over, mine, all_ in zip(COUNTED, here, everywhere, strict=True)
        }
        if not everywhere[0]:  # nobody has an example of this pass
            return {name: value * 0 for name, value in loss.local(batch, seen, own, moment).items()}
        gathered = self._gathered(sent, told, len(batch["index"]) // loss.views, padded="input_ids" in batch)
        values = {}
        for term in loss.terms:
            if term.name in given:
                values[term.name] = loss.called(term, replaced(given[term.name], gathered))
            else:
                value = loss.called(term, loss.arguments(term, batch, seen, own, moment))
                values[term.name] = value * shares[term.signature.over]
        return values

    def _told(self, numbers: list[int], device: torch.device) -> list[list[int]]:
        """What each device says, in their order."""
        said = torch.tensor(numbers, dtype=torch.int64, device=device)
        heard = [torch.empty_like(said) for _ in range(self.part.of)]
        distributed.all_gather(heard, said)
        return [one.tolist() for one in heard]

    def _gathered(self, sent: list[Tensor], told: list[list[int]], examples: int, padded: bool) -> list[Tensor]:
        """Each tensor as it is of all examples of the pass, those of the first device first.

        Args:
            told: of each device, how many examples it has and the shape of what it sends.
            examples: rows of this device's pass, which may not count.
            padded: texts, whose tensors are as long as their device's longest one: what is missing is 0.
        """
        found, at = [], len(COUNTED)
        for tensor in sent:
            shapes = [one[at : at + tensor.ndim] for one in told]
            at += tensor.ndim
            each = tensor.shape[0] // examples  # views of an image, or pixels
            rows = [one[0] * each for one in told]
            if not padded and len({tuple(shape[1:]) for shape in shapes}) > 1:
                raise RedistillError(
                    f"devices have tensors of other sizes for one pass, {shapes[0][1:]} and others, and a loss "
                    "compares the examples of all: end `transforms` with one that gives images the same size"
                )
            sides = [max(shape[i] for shape in shapes) for i in range(1, tensor.ndim)]
            found.append(gather(tensor, rows, sides, self.part))
        return found


def counts(batch: Seen, views: int) -> list[int]:
    """How many examples a batch has, how many labels, and how many tokens."""
    labels = batch["labels"][::views]
    labelled = ~labels.isnan() if labels.is_floating_point() else labels >= 0
    mask = batch.get("attention_mask")
    examples = len(batch["index"]) // views
    return [examples, int(labelled.sum()), examples if mask is None else int(mask.sum())]


def tensors_of(given: dict[str, Any]) -> list[Tensor]:
    """What is gathered of a term's arguments, in order."""
    found: list[Tensor] = []
    for name in GATHERED:
        value = given.get(name)
        found += value if isinstance(value, list) else [] if value is None else [value]
    return found


def replaced(given: dict[str, Any], gathered: list[Tensor]) -> dict[str, Any]:
    """A term's arguments, with what was gathered in its place; that is taken from the list."""
    new = dict(given)
    for name in GATHERED:
        value = given.get(name)
        if isinstance(value, list):
            new[name] = [gathered.pop(0) for _ in value]
        elif value is not None:
            new[name] = gathered.pop(0)
    return new


def gather(tensor: Tensor, rows: list[int], sides: list[int], part: Part) -> Tensor:
    """The tensors of all devices, one after the other.

    Args:
        tensor: this device's.
        rows: how many rows of each device's count; of this one's, either all or none.
        sides: the longest of each other dimension, to which 0 is filled in.
    """
    if not tensor.is_floating_point():
        return _gather(tensor, rows, sides, part)
    gathered: Tensor = _Gather.apply(tensor, rows, sides, part)
    return gathered


def _gather(tensor: Tensor, rows: list[int], sides: list[int], part: Part) -> Tensor:
    sent = tensor.new_zeros(max(rows), *sides)
    sent[(slice(rows[part.own]), *map(slice, tensor.shape[1:]))] = tensor[: rows[part.own]]
    heard = [torch.empty_like(sent) for _ in range(part.of)]
    distributed.all_gather(heard, sent)
    return torch.cat([one[:count] for one, count in zip(heard, rows, strict=True)])


class _Gather(torch.autograd.Function):
    """Every device computes the same of what was gathered, so nobody has to be asked for the gradient. It is taken
    times the number of devices, since their gradients are averaged afterwards, and this one's rows are nobody else's.
    """

    @staticmethod
    def forward(ctx: Any, tensor: Tensor, rows: list[int], sides: list[int], part: Part) -> Tensor:
        ctx.rows, ctx.part, ctx.shape = rows, part, tensor.shape
        return _gather(tensor.detach(), rows, sides, part)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        begin, count = sum(ctx.rows[: ctx.part.own]), ctx.rows[ctx.part.own]
        own = gradient.new_zeros(ctx.shape)
        inner = tuple(map(slice, ctx.shape[1:]))
        own[(slice(count), *inner)] = gradient[(slice(begin, begin + count), *inner)] * ctx.part.of
        return own, None, None, None


def _device(batch: Seen) -> torch.device:
    device: torch.device = batch["index"].device
    return device
