"""Build a run's student, load a finished run, save one, and feed them a batch."""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from redistill import registry
from redistill.environment import is_pinned
from redistill.errors import RedistillError
from redistill.models.linear import make_portable

Config = dict[str, Any]


def prepare_torch(runtime: Config) -> None:
    """Settings of torch that hold for the whole process."""
    if not is_pinned(runtime):
        raise RuntimeError("the runtime was not pinned before torch was imported")
    torch.set_num_threads(runtime["threads"])
    torch.use_deterministic_algorithms(True)
    # a guard against reads of what was never written; it costs time and changes no result
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    if runtime["device"] == "cuda" and not torch.cuda.is_available():
        raise RedistillError("runtime.device is `cuda`, and torch finds no GPU here; set it to `cpu`")


def outputs_of(task: Config) -> int:
    return len(task["labels"]) if task["type"] == "classification" else 1


def build(config: Config, inputs: dict[str, Path], seed: int) -> nn.Module:
    """The student of a run's config, with its starting weights, drawn from `seed` where they are random."""
    student = config["student"]
    if "architecture" in student:
        model = _architecture(student, config["task"], seed)
    else:
        from redistill.models import text  # transformers takes a second to import, and images do not need it

        model = text.start(inputs["start"], student["layers"], config["task"], seed)
    return _placed(model, config["runtime"])


def _architecture(student: Config, task: Config, seed: int) -> nn.Module:
    torch.manual_seed(seed)
    model: nn.Module = registry.get("architecture", student["architecture"])(outputs_of(task), **student["settings"])
    return model


def load_run(folder: Path, runtime: Config) -> nn.Module:
    """A finished run's model, in eval mode."""
    resolved = json.loads((folder / "resolved.json").read_text(encoding="utf-8"))
    if "architecture" in resolved["student"]:
        model = _architecture(resolved["student"], resolved["task"], seed=0)
        model.load_state_dict(load_file(folder / "model.safetensors"))
    else:
        from redistill.models import text

        model = text.load_run(folder)
    return _placed(model, runtime).eval()


def load_teacher(folder: Path, runtime: Config) -> nn.Module:
    """A teacher that is tapped while the student trains: a run, or a pretrained encoder; in eval mode and frozen."""
    if (folder / "resolved.json").is_file():
        return load_run(folder, runtime).requires_grad_(False)
    from redistill.models import text

    return _placed(text.load_base(folder), runtime).eval().requires_grad_(False)


def _placed(model: nn.Module, runtime: Config) -> nn.Module:
    if runtime["portable"]:
        make_portable(model)
    return model.to(runtime["device"])


def save(model: nn.Module, inputs: dict[str, Path], work: Path) -> None:
    """Write the weights as safetensors; a text model with its config and tokenizer, so that transformers opens it."""
    if "tokens" in inputs:
        from redistill.models import text

        text.save(model, inputs["start"], work)
    else:
        save_file(
            {name: tensor.contiguous() for name, tensor in model.state_dict().items()}, work / "model.safetensors"
        )


def logits_of(model: nn.Module, batch: dict[str, Tensor]) -> Tensor:
    """Logits (B, C) of a batch: of images, or of tokens with their mask."""
    if "image" in batch:
        logits: Tensor = model(batch["image"])
        return logits
    logits = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits
    return logits
