"""An ONNX file as a model that is asked like any other of redistill's."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from redistill.errors import RedistillError
from redistill.extras import bring


def opened(file: Path, threads: int = 1) -> Any:
    """A session of ONNX Runtime on the CPU.

    Raises:
        RedistillError: ONNX Runtime is not installed, or does not take the file.
    """
    runtime = bring("onnxruntime", "export", "a model in ONNX")
    options = runtime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = 3
    try:
        return runtime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its classes have no base of their own
        first = str(error).splitlines()[0][:300]
        raise RedistillError(f"{file}: ONNX Runtime does not take it: {first}; export the run again") from None


def ask(session: Any, given: dict[str, Tensor]) -> Tensor:
    """Logits (B, C), or (B, C, H, W) where pixels are classified, of a batch's inputs by name."""
    wanted = [one.name for one in session.get_inputs()]
    first = next(iter(given.values()))
    values = {name: given.get(name, torch.zeros_like(first)) for name in wanted}
    said: np.ndarray = session.run(None, {name: np.ascontiguousarray(v.numpy()) for name, v in values.items()})[0]
    return torch.from_numpy(said)


class OfTexts(nn.Module):
    """Takes token ids, mask and, of pairs, types (B, T)."""

    def __init__(self, session: Any):
        super().__init__()
        self.session = session

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor | None = None
    ) -> SimpleNamespace:
        given = {"input_ids": input_ids, "attention_mask": attention_mask}
        if token_type_ids is not None:
            given["token_type_ids"] = token_type_ids
        return SimpleNamespace(logits=ask(self.session, given))


class OfImages(nn.Module):
    """Takes images (B, C, H, W)."""

    def __init__(self, session: Any):
        super().__init__()
        self.session = session

    def forward(self, image: Tensor) -> Tensor:
        return ask(self.session, {"image": image})


def model_of(file: Path, is_text: bool, threads: int = 1) -> nn.Module:
    session = opened(file, threads)
    model = OfTexts(session) if is_text else OfImages(session)
    return model.eval()
