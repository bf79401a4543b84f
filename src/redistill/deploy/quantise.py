"""An ONNX file with weights of eight bits, by ONNX Runtime's quantiser.

Networks of convolutions also get activations of eight bits, whose ranges are measured on examples that were trained on;
in others the ranges are taken from each batch as it comes. Weights use seven of their bits: processors without VNNI
overflow at eight, and the same file should say the same everywhere.
"""

import logging
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from redistill.deploy.graph import anonymous, inputs_of
from redistill.extras import bring
from redistill.lineage import Finished

DYNAMIC = ("MatMul", "Gather", "LSTM")  # what ONNX Runtime has such kernels for; embeddings are `Gather`
MEASURED, AT_ONCE = 256, 16  # examples of `train` that ranges are measured on, and how many in a batch


def quantise(run: Finished, dataset: Path, whole: Path, file: Path) -> str:
    """Write the int8 form of an ONNX file; returns how it was made, in words.

    Args:
        dataset: the folder of the run's examples.
        whole: the file in float32.
    """
    onnx = bring("onnx", "export", "an export to int8")
    quantisation = bring("onnxruntime.quantization", "export", "an export to int8")
    from onnxruntime.quantization.shape_inference import quant_pre_process

    kinds = {node.op_type for node in onnx.load(str(whole)).graph.node}
    static = "Conv" in kinds and "Softmax" not in kinds  # which attention has, and no classifier's logits
    shared = {"per_channel": True, "reduce_range": True, "weight_type": quantisation.QuantType.QInt8}
    with tempfile.TemporaryDirectory() as scratch, _quiet():
        ready = Path(scratch) / "ready.onnx"
        quant_pre_process(str(whole), str(ready), skip_symbolic_shape=True)
        if static:
            quantisation.quantize_static(
                str(ready), str(file), _reader(quantisation.CalibrationDataReader, run, dataset),
                quant_format=quantisation.QuantFormat.QDQ, activation_type=quantisation.QuantType.QUInt8, **shared,
            )  # fmt: skip
        else:
            quantisation.quantize_dynamic(str(ready), str(file), op_types_to_quantize=list(DYNAMIC), **shared)
    onnx.save(anonymous(onnx.load(str(file))), str(file))
    if static:
        return f"static: ranges of activations were measured on up to {MEASURED} examples of `train`"
    return "dynamic: ranges of activations are taken from each batch"


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the quantiser's advice, which has been followed."""
    root = logging.getLogger()
    before = root.level
    root.setLevel(logging.ERROR)
    try:
        yield
    finally:
        root.setLevel(before)


def _reader(base: Any, run: Finished, dataset: Path) -> Any:
    """Batches of examples of `train`, spread over all of them, as they are evaluated."""
    import numpy as np

    from redistill.data import examples
    from redistill.data.pictures import STORED

    data = examples.load(run.task, {"dataset": dataset}, ["train"], run.config["evaluation"]["transforms"])
    size = AT_ONCE if run.task["type"] == "classification" else 1  # images of masks may have several sizes
    chosen = np.unique(np.linspace(0, len(data) - 1, min(MEASURED, len(data))).astype(int))
    batches = iter([chosen[i : i + size] for i in range(0, len(chosen), size)])

    class Reader(base):  # type: ignore[misc]
        def get_next(self) -> dict[str, np.ndarray] | None:
            indices = next(batches, None)
            if indices is None:
                return None
            batch = data.batch(indices, seeds=data.seeds(indices, STORED, 0))
            return {name: tensor.numpy() for name, tensor in inputs_of(batch).items()}

    return Reader()
