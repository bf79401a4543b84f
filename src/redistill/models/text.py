"""Transformers of Hugging Face: built from their config, started from pretrained layers or from another run."""

import re
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from transformers import AutoConfig, PretrainedConfig, PreTrainedModel
from transformers.models.auto.modeling_auto import AutoModelForSequenceClassification

from redistill.errors import RedistillError
from redistill.models import attention
from redistill.models.first_token import read_first_token

TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "vocab.txt")
_RENAMED = {"LayerNorm.gamma": "LayerNorm.weight", "LayerNorm.beta": "LayerNorm.bias"}  # in BERT's first weights
_LAYER = re.compile(r"(\.(?:layer|layers|block|blocks|h)\.)(\d+)(?=\.)")


def start(folder: Path, start: dict[str, Any], task: dict[str, Any], seed: int) -> PreTrainedModel:
    """A sequence classifier with the weights of `folder` and a head drawn from `seed`.

    Args:
        folder: a pretrained encoder or a run, as config.json and model.safetensors.
        start: `layers` taken, counted from 0, in this order, all of them if None; `random` to take the shape alone.
        task: type and labels; a regression, or a task without labels, has one output.

    Raises:
        RedistillError: the model has no such layer, or weights are missing.
    """
    config, taken = shortened(AutoConfig.from_pretrained(folder), start["layers"])
    torch.manual_seed(seed)
    model = from_config(config, task)
    if not start["random"]:
        _load(model, load_file(folder / "model.safetensors"), taken)
    return model


def config_of(values: dict[str, Any]) -> PretrainedConfig:
    """A config from the keys of a config.json.

    Raises:
        RedistillError: transformers knows no such family, or it takes no such values.
    """
    values = dict(values)
    family = values.pop("model_type", None)
    try:
        config: PretrainedConfig = AutoConfig.for_model(family, **values)
    except (ValueError, TypeError, KeyError) as error:
        raise RedistillError(
            f"no transformer can be built from `model_type: {family}` and these values: {error}"
        ) from None
    return config


def shortened(config: PretrainedConfig, layers: list[int] | None) -> tuple[PretrainedConfig, list[int]]:
    """The config with the chosen layers alone, and these layers.

    Raises:
        RedistillError: the model has no such layer.
    """
    depth: int = config.num_hidden_layers
    taken = list(range(depth)) if layers is None else layers
    wrong = [layer for layer in taken if layer >= depth]
    if wrong:
        raise RedistillError(f"there is no layer {wrong[0]}: the model has {depth}, counted from 0")
    config.num_hidden_layers = len(taken)
    return config, taken


def from_config(config: PretrainedConfig, task: dict[str, Any]) -> PreTrainedModel:
    """A sequence classifier of this shape for this task, with random weights.

    Raises:
        RedistillError: transformers has no sequence classifier of this family.
    """
    _name_labels(config, task)
    try:
        return _classifier(config)
    except ValueError as error:
        raise RedistillError(f"no sequence classifier can be built: {str(error).splitlines()[0]}") from None


def _classifier(config: PretrainedConfig) -> PreTrainedModel:
    attention.register()
    model: PreTrainedModel = AutoModelForSequenceClassification.from_config(config, attn_implementation=attention.NAME)
    read_first_token(model)
    return model


def _name_labels(config: Any, task: dict[str, Any]) -> None:
    if task["type"] == "classification":
        config.id2label = dict(enumerate(task["labels"]))
        config.label2id = {label: index for index, label in enumerate(task["labels"])}
        config.problem_type = "single_label_classification"
    else:
        config.id2label, config.label2id = {0: "score"}, {"score": 0}
        config.problem_type = "regression"


def _load(model: PreTrainedModel, weights: dict[str, Tensor], taken: list[int]) -> None:
    """Copy the encoder's weights, renumbering its layers; the head stays as it was drawn."""
    prefix = f"{model.base_model_prefix}."
    place = {layer: index for index, layer in enumerate(taken)}
    renamed = {}
    for name, tensor in weights.items():
        layer = _LAYER.search(name)
        if layer and int(layer[2]) not in place:
            continue
        inner = name.removeprefix(prefix)
        for old, new in _RENAMED.items():
            inner = inner.replace(old, new)
        renamed[_LAYER.sub(lambda found: f"{found[1]}{place[int(found[2])]}", inner)] = tensor
    encoder = getattr(model, model.base_model_prefix)
    own = encoder.state_dict()
    missing = sorted(own.keys() - renamed.keys())
    if missing:
        raise RedistillError(f"the pretrained weights lack {missing[0]} and {len(missing) - 1} more")
    encoder.load_state_dict({name: renamed[name] for name in own})


def load_base(folder: Path) -> PreTrainedModel:
    """A pretrained encoder or a run as it is, all layers; its head is of no use where there was none."""
    return start(folder, {"layers": None, "random": False}, {"type": "unlabelled", "labels": []}, seed=0)


def load_run(folder: Path) -> PreTrainedModel:
    """A run's model, with the head that it was trained with."""
    model = _classifier(AutoConfig.from_pretrained(folder))
    model.load_state_dict(load_file(folder / "model.safetensors"))
    return model


def save(model: nn.Module, tokenizer_from: Path, work: Path) -> None:
    """Write what `AutoModelForSequenceClassification.from_pretrained` and `AutoTokenizer.from_pretrained` open."""
    assert isinstance(model, PreTrainedModel)
    model.save_pretrained(work)
    for name in TOKENIZER_FILES:
        if (tokenizer_from / name).is_file():
            shutil.copyfile(tokenizer_from / name, work / name)
