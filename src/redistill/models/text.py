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
from redistill.models import TOKENIZER_FILES, attention
from redistill.models.first_token import read_first_token

_RENAMED = {"LayerNorm.gamma": "LayerNorm.weight", "LayerNorm.beta": "LayerNorm.bias"}  # in BERT's first weights
_LAYER = re.compile(r"((?:^|\.)(?:layer|layers|block|blocks|h)\.)(\d+)(?=\.)")
_BY_LAYER = ("layer_types", "mlp_layer_types", "no_rope_layers")  # what configs list, an entry a layer
# their embeddings end in a norm, so the first layer has none before its attention, as the others have
FIRST_DIFFERS = ("modernbert", "modernbert-decoder")


def start(folder: Path, start: dict[str, Any], task: dict[str, Any], seed: int) -> PreTrainedModel:
    """A sequence classifier with the weights of `folder` and a head drawn from `seed`, or taken from there.

    Args:
        folder: a pretrained encoder or a run, as config.json and model.safetensors.
        start: `layers` taken, counted from 0, in this order, all of them if None; `head` to take the head as well;
            `random` to take the shape alone.
        task: type and labels; a regression, or a task without labels, has one output.

    Raises:
        RedistillError: the model has no such layer, weights are missing, or the head's labels are not the task's.
    """
    config, taken = shortened(AutoConfig.from_pretrained(folder), start["layers"])
    order = order_of_labels(labels_of(config), task) if start["head"] else None
    torch.manual_seed(seed)
    model = from_config(config, task)
    if not start["random"]:
        _load(model, load_file(folder / "model.safetensors"), taken, order)
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
        RedistillError: the model has no such layer, or its layers cannot be chosen so.
    """
    depth: int = getattr(config, "num_hidden_layers", 0)
    if layers is None:
        return config, list(range(depth))
    wrong = [layer for layer in layers if layer >= depth]
    if wrong:
        raise RedistillError(f"there is no layer {wrong[0]}: the model has {depth}, counted from 0")
    if config.model_type in FIRST_DIFFERS and [i for i, layer in enumerate(layers) if layer == 0] != [0]:
        raise RedistillError(
            f"the first layer of a `{config.model_type}` has no norm before its attention, and the others have one, "
            f"so layer 0 must be the first of `layers`, and only there; they are {layers}"
        )
    listed = {key: getattr(config, key, None) for key in _BY_LAYER}
    try:
        config.num_hidden_layers = len(layers)
    except NotImplementedError:  # it is worked out from something else
        raise RedistillError(f"of a `{config.model_type}` no layers can be chosen: leave `layers` out") from None
    for key, values in listed.items():
        if values is not None:
            setattr(config, key, [values[layer] for layer in layers])
    return config, layers


def from_config(config: PretrainedConfig, task: dict[str, Any]) -> PreTrainedModel:
    """A sequence classifier of this shape for this task, with random weights.

    Raises:
        RedistillError: transformers has no sequence classifier of this family, or one with a decoder beside an encoder.
    """
    if config.is_encoder_decoder:
        raise RedistillError(f"`{config.model_type}` has an encoder and a decoder: take a model that is one of them")
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


def labels_of(config: PretrainedConfig) -> list[str]:
    """Names of a classifier's outputs in their order; LABEL_0, LABEL_1, ... where nobody named them."""
    return [str(name) for _, name in sorted((config.id2label or {}).items())]


def order_of_labels(names: list[str], task: dict[str, Any]) -> list[int]:
    """For each output of the task, which output of a head with these names it is. Upper and lower case are alike.

    Raises:
        RedistillError: the head has other labels than the task.
    """
    wanted = task["labels"] if task["type"] == "classification" else ["score"]
    unnamed = len(wanted) == 1 or names == [f"LABEL_{i}" for i in range(len(names))]
    if names == wanted or (unnamed and len(names) == len(wanted)):
        return list(range(len(wanted)))
    known = {name.casefold(): index for index, name in enumerate(names)}
    asked = [label.casefold() for label in wanted]
    if len(known) != len(names) or sorted(known) != sorted(asked):
        said, own = (", ".join(f"`{label}`" for label in labels) for labels in (names, wanted))
        raise RedistillError(
            f"the head's labels are {said}, and the task's {own}: take a model with the task's labels, or leave "
            "`head` out"
        )
    return [known[label] for label in asked]


def _load(model: PreTrainedModel, weights: dict[str, Tensor], taken: list[int], order: list[int] | None) -> None:
    """Copy the encoder's weights, renumbering its layers; the head stays as it was drawn, or is copied too, its outputs
    in this order.
    """
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
    drawn = _pooler_to_draw(own, renamed) if order is None else set[str]()
    missing = sorted(own.keys() - renamed.keys() - drawn)
    if missing:
        raise RedistillError(f"the pretrained weights lack {missing[0]} and {len(missing) - 1} more")
    encoder.load_state_dict({name: renamed[name] for name in own.keys() - drawn}, strict=not drawn)
    if order is not None:
        _load_head(model, weights, order)


def _load_head(model: PreTrainedModel, weights: dict[str, Tensor], order: list[int]) -> None:
    prefix = f"{model.base_model_prefix}."
    own = {name: tensor for name, tensor in model.state_dict().items() if not name.startswith(prefix)}
    last = [n for n, m in model.named_modules() if isinstance(m, nn.Linear) and not n.startswith(prefix)][-1]
    for name, tensor in own.items():
        if name not in weights or weights[name].shape != tensor.shape:
            raise RedistillError(f"the pretrained weights have no head for this task: `{name}` is not there, or of "
                                 "another shape. Take a sequence classifier, or leave `head` out")  # fmt: skip
        own[name] = weights[name][order] if name.startswith(f"{last}.") else weights[name]
    model.load_state_dict(own, strict=False)


def _pooler_to_draw(own: dict[str, Tensor], given: dict[str, Tensor]) -> set[str]:
    """Names of an encoder's pooler if the weights have none, as after masked language modelling. It is of the head's
    kind, drawn from the seed like it; transformers draws it too. A pooler of which a part is there is not drawn.
    """
    pooler = {name for name in own if name.startswith("pooler.")}
    return set() if pooler & given.keys() else pooler


def load_base(folder: Path) -> PreTrainedModel:
    """A pretrained encoder or a run as it is, all layers; its head is of no use where there was none."""
    return start(folder, {"layers": None, "head": False, "random": False}, {"type": "unlabelled", "labels": []}, seed=0)


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
