"""Layers whose activations are computed again in the backward pass instead of being kept: less memory, more time.

The numbers are the same: a layer draws the masks of its dropout anew from where it drew them first. The last layer's
activations are the first that the backward pass asks for, so to drop them would save nothing: they are kept.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from typing import Any

from torch import nn
from torch.utils.checkpoint import checkpoint

from redistill.errors import RedistillError
from redistill.models import dropout
from redistill.models.first_token import FirstToken


def layers_of(model: nn.Module) -> list[Any]:
    """The layers of a transformer that can be computed again: all but the last.

    Raises:
        RedistillError: there are none.
    """
    from transformers import PreTrainedModel  # in here: images do not need it
    from transformers.modeling_layers import GradientCheckpointingLayer

    found = list[Any]()
    if isinstance(model, PreTrainedModel):
        kinds = GradientCheckpointingLayer | FirstToken
        found = [module for module in model.modules() if isinstance(module, kinds)][:-1]
    if not found:
        raise RedistillError("only transformers of two layers or more can be computed again: leave `recompute` out")
    return found


@contextmanager
def recomputed(model: nn.Module) -> Iterator[None]:
    """Within, a model that trains keeps of its layers what goes into them, and computes the rest again.

    Raises:
        RedistillError: the model has no layers that can be.
    """
    layers = layers_of(model)
    for layer in layers:
        layer.gradient_checkpointing = True
        layer._gradient_checkpointing_func = partial(checkpoint, use_reentrant=False, context_fn=_same_masks)
    try:
        yield
    finally:
        for layer in layers:
            layer.gradient_checkpointing = False


def _same_masks() -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
    """What a layer is computed in, and what it is computed again in."""
    begun: list[dict[str, Any]] = []

    @contextmanager
    def first() -> Iterator[None]:
        begun.append(dropout.position())
        yield

    @contextmanager
    def again() -> Iterator[None]:
        with dropout.gone_back_to(begun[0]):
            yield

    return first(), again()
