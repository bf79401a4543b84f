"""A transformer of Hugging Face by its config, with random weights: a sequence classifier."""

from typing import Any

from torch import nn


def transformers(task: dict[str, Any], *, config: dict) -> nn.Module:  # type: ignore[type-arg]
    """Takes input_ids and attention_mask (B, T), gives logits (B, C).

    Args:
        task: type and labels.
        config: keys of a config.json; `model_type` says which family, such as `bert`.

    Raises:
        RedistillError: there is no such family, or it takes no such config.
    """
    from redistill.models import text

    return text.from_config(text.config_of(config), task)
