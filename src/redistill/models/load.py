"""Build a run's student, load a finished run, save one, and feed them a batch."""

import inspect
import json
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from functools import cache
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from redistill import registry
from redistill.environment import give_back_large_blocks, is_pinned, keep_few_kernels
from redistill.errors import RedistillError
from redistill.models.dropout import use_own_dropout
from redistill.models.linear import use_onednn
from redistill.models.taps import find

Config = dict[str, Any]
OF_CLASSES = ("classification", "segmentation", "detection")
BACKBONE = "backbone."  # of a detector, which torchvision's call so
ARCHITECTURE = "architecture.json"  # of a model of images that was fetched: what its source says of its shape
IMAGENET = [3, 224, 224]
TEXT_INPUTS = ("input_ids", "attention_mask", "token_type_ids")


def prepare_torch(runtime: Config, task: Config) -> None:
    """Settings of torch that hold for the whole process."""
    if not is_pinned(runtime):
        raise RuntimeError("the runtime was not pinned before torch was imported")
    if task["input"] == "text":  # where every step has other shapes
        give_back_large_blocks()
        keep_few_kernels()
    torch.set_num_threads(runtime["threads"])
    torch.set_deterministic_debug_mode("error")  # as use_deterministic_algorithms, without importing the compiler
    # a guard against reads of what was never written; it costs time and changes no result
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    if runtime["device"] == "cuda" and not torch.cuda.is_available():
        raise RedistillError("runtime.device is `cuda`, and torch finds no GPU here; set it to `cpu`")


def mixed_precision(runtime: Config) -> AbstractContextManager[None]:
    """Within, models compute in the study's precision; what needs float32 stays in it."""
    precision = getattr(torch, runtime["precision"])
    mixed: AbstractContextManager[None] = torch.autocast(
        runtime["device"], dtype=precision, enabled=precision != torch.float32
    )
    return mixed


def outputs_of(task: Config) -> int:
    return len(task["labels"]) if task["type"] in OF_CLASSES else 1


def build(student: Config, task: Config, runtime: Config, folder: Path | None, seed: int) -> nn.Module:
    """A student with its starting weights, drawn from `seed` where they are random.

    Args:
        student: architecture and start, as a resolved config has them.
        folder: the pretrained model or run that it starts from; None for a random start.

    Raises:
        RedistillError: the weights do not fit.
    """
    if student["architecture"] is None:
        from redistill.models import text  # transformers takes a second to import, and images do not need it

        assert folder is not None
        model: nn.Module = text.start(folder, student["start"], task, seed)
    else:
        torch.manual_seed(seed)
        model = architecture(student["architecture"], task)
        if folder is not None and not student["start"]["random"]:
            take_over(model, load_file(folder / "model.safetensors"), student["start"])
    return placed(model, runtime)


def architecture(said: Config, task: Config) -> nn.Module:
    """A registered architecture with random weights, given what it asks for by name."""
    offered = {"num_outputs": outputs_of(task), "image_shape": tuple(task["image_shape"] or ()), "task": task}
    inputs = registry.signature("architecture", said["method"]).inputs
    build_it = registry.get("architecture", said["method"])
    model: nn.Module = build_it(*(offered[name] for name in inputs), **said["settings"])
    return model


def nested(said: Config, task: Config) -> nn.Module:
    """An architecture with random weights, as a source or another architecture's setting says it: settings beside the
    method.
    """
    method, settings = registry.apart(said)
    return architecture({"method": method, "settings": registry.with_defaults("architecture", method, settings)}, task)


def of_source(config: Config) -> nn.Module:
    """A model of images with random weights, as the `config` of its source says."""
    labels, shape = [str(index) for index in range(config["outputs"])], config.get("image_shape") or IMAGENET
    return nested(
        config["architecture"], {"type": "classification", "input": "image", "labels": labels, "image_shape": shape}
    )


def take_over(model: nn.Module, weights: dict[str, Tensor], start: Config) -> None:
    """Load weights by name into a model, or into the part of it that `start.into` names, all but its `fresh` modules.
    Works without values too, on the meta device.

    Args:
        weights: by their names in what the model starts from, of which `start.part` alone is taken, without its modules
            `without`.
        start: as a resolved config has it.

    Raises:
        RedistillError: a weight is not there, is of another shape, or has no place; names the first.
    """
    into, fresh = start.get("into"), start["fresh"]
    part, prefix = (find(model, into, "student"), f"{into}.") if into else (model, "")
    chosen = _chosen(weights, start.get("part"), start.get("without", []))
    taken = {name: tensor for name, tensor in chosen.items() if not within(f"{prefix}{name}", fresh)}
    own = part.state_dict()
    for name, tensor in own.items():
        if name in taken and taken[name].shape != tensor.shape:
            raise _unfit(f"{prefix}{name}", tensor, str(tuple(taken[name].shape)))
    try:
        missing, left = part.load_state_dict(taken, strict=False)  # modules know the names that they once had
    except RuntimeError as error:
        raise RedistillError(f"the weights do not fit: {str(error).splitlines()[-1].strip()}") from None
    for name in missing:
        if not within(f"{prefix}{name}", fresh):
            raise _unfit(f"{prefix}{name}", own[name], "not there")
    left = [name for name in left if not name.endswith(".num_batches_tracked")]  # which a norm need not count
    if left:
        more = f" and {len(left) - 1} more" if len(left) > 1 else ""
        raise RedistillError(
            f"the student has no place for `{left[0]}`{more} of what it starts from: take the same architecture, or "
            "name their modules in start.without"
        )


def _chosen(weights: dict[str, Tensor], part: str | None, without: list[str]) -> dict[str, Tensor]:
    """The weights of a part, by their names in it, but for those of some modules, by their whole names."""
    for key, modules in (("part", [part] if part else []), ("without", without)):
        for module in modules:
            if not any(within(name, [module]) for name in weights):
                raise RedistillError(f"start.{key} names `{module}`, and there is none in what the student starts from")
    prefix = f"{part}." if part else ""
    names = [name for name in weights if name.startswith(prefix) and not within(name, without)]
    return {name.removeprefix(prefix): weights[name] for name in names}


def _unfit(name: str, own: Tensor, there: str) -> RedistillError:
    return RedistillError(
        f"`{name}` is {tuple(own.shape)} in the student and {there} in what it starts from: "
        "take the same architecture, or name its module in start.fresh"
    )


def within(name: str, modules: list[str]) -> bool:
    """Whether a parameter, by its name, belongs to one of the modules."""
    return any(f"{name}.".startswith(f"{module}.") for module in modules)


def last_student(config: Config) -> Config:
    """The student that a run ends with: that of the last stage that rebuilds it."""
    rebuilt = [stage["rebuild"]["student"] for stage in config["stages"] if stage["rebuild"]]
    student: Config = [config["student"], *rebuilt][-1]
    return student


def load_run(folder: Path, runtime: Config) -> nn.Module:
    """A finished run's model, in eval mode."""
    resolved = json.loads((folder / "resolved.json").read_text(encoding="utf-8"))
    if resolved["task"]["input"] == "text":
        from redistill.models import text

        model: nn.Module = text.load_run(folder)
    else:
        model = architecture(last_student(resolved)["architecture"], resolved["task"])
        model.load_state_dict(load_file(folder / "model.safetensors"))
    return placed(model, runtime).eval()


def load_teacher(folder: Path, runtime: Config) -> nn.Module:
    """A teacher that is tapped while the student trains: a run, or a pretrained model; in eval mode and frozen."""
    if (folder / "resolved.json").is_file():
        return load_run(folder, runtime).requires_grad_(False)
    if (folder / ARCHITECTURE).is_file():
        model = of_source(json.loads((folder / ARCHITECTURE).read_text(encoding="utf-8")))
        take_over(model, load_file(folder / "model.safetensors"), {"fresh": []})
        return placed(model, runtime).eval().requires_grad_(False)
    from redistill.models import text

    return placed(text.load_base(folder), runtime).eval().requires_grad_(False)


def placed(model: nn.Module, runtime: Config) -> nn.Module:
    """A model as it is computed here: on its device, with the layers that give the same numbers in less time."""
    use_own_dropout(model)
    if runtime["device"] == "cpu":
        use_onednn(model, runtime["portable"])
    if not runtime["portable"]:
        model.to(memory_format=torch.channels_last)  # for convolutions; portable mode keeps the order that was tried
    return model.to(runtime["device"])


def save(model: nn.Module, inputs: dict[str, Path], work: Path) -> None:
    """Write the weights as safetensors; a text model with its config and tokenizer, so that transformers opens it."""
    if "tokens" in inputs:
        from redistill.models import text

        text.save(model, inputs["tokenizer"], work)
    else:
        save_file(
            {name: tensor.contiguous() for name, tensor in model.state_dict().items()}, work / "model.safetensors"
        )


def said_of(model: nn.Module, batch: dict[str, Any], taps: list[str] | None = None) -> dict[str, Any]:
    """What a model says of a batch: its `logits`; a detector that trains, its `losses` by name; one that does not, its
    `detections`, an image each.

    Args:
        taps: where nothing but these is looked at; a detector is then run only as far as it must be.
    """
    if not isinstance(batch.get("image"), list):
        return {"logits": logits_of(model, batch)}
    if taps is not None and all(tap.startswith(BACKBONE) for tap in taps):
        images, _ = model.transform(batch["image"])  # type: ignore[operator]
        model.backbone(images.tensors)  # type: ignore[operator]
        return {}
    if model.training:
        return {"losses": model(batch["image"], [_wanted(target) for target in batch["targets"]])}
    return {"detections": model(batch["image"])}


def _wanted(target: dict[str, Tensor]) -> dict[str, Tensor]:
    """What a detector of torchvision learns from: boxes, with classes after the background's. Crowds are left out."""
    single = ~target["crowd"]
    return {"boxes": target["boxes"][single], "labels": target["classes"][single] + 1}


def logits_of(model: nn.Module, batch: dict[str, Any]) -> Tensor:
    """Logits (B, C) of a batch: of images, or of tokens with their mask; (B, C, H, W) where pixels are classified."""
    if "image" in batch:
        logits = model(batch["image"])
        said: Tensor = logits["out"] if isinstance(logits, dict) else logits
        return said
    taken = _inputs_of(type(model), getattr(model, "config", None))
    logits = model(**{name: batch[name] for name in taken if name in batch}).logits
    return logits


def _inputs_of(kind: type[nn.Module], config: Any) -> tuple[str, ...]:
    """What a transformer is given: of which text a token is only where it tells two apart."""
    told_apart = "token_type_ids" in _parameters(kind.forward) and getattr(config, "type_vocab_size", 2) > 1
    return TEXT_INPUTS if told_apart else TEXT_INPUTS[:-1]


@cache
def _parameters(function: Callable[..., Any]) -> frozenset[str]:
    return frozenset(inspect.signature(function).parameters)


def longest(model: nn.Module) -> int | None:
    """Tokens of the longest text that a model takes; None if it does not say.

    RoBERTa's kin count positions from after the padding's own, so their tables have a few rows more than that.
    """
    limit: int | None = None
    with suppress(NotImplementedError):  # of families that know no limit
        limit = getattr(getattr(model, "config", None), "max_position_embeddings", None)
    if limit is None:
        return None
    tables = [m for name, m in model.named_modules() if name.endswith("position_embeddings")]
    before = [m.padding_idx + 1 for m in tables if isinstance(m, nn.Embedding) and m.padding_idx is not None]
    return limit - max(before, default=0)
