"""A run's model as an ONNX file, by torch's exporter. Batch and length of texts stay free, and so does an image's size
where pixels are classified.
"""

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from redistill.errors import RedistillError
from redistill.extras import bring
from redistill.lineage import Finished

if TYPE_CHECKING:
    from torch import Tensor, nn

    from redistill.data.examples import Examples

NAMES = ("image", "input_ids", "attention_mask", "token_type_ids")  # what a batch has that a model may be given
OUTPUT = "logits"
MOST = 2_000_000_000  # bytes, about which one protobuf can hold
ATTENTION = "eager"  # transformers' plain formula, which quantisers and ONNX Runtime's fusions know


def plain_model(run: Finished, attention: str = ATTENTION) -> "nn.Module":
    """A run's model as its library has it, in eval mode: without redistill's own layers, which no exporter knows."""
    if run.is_text:
        from transformers import AutoModelForSequenceClassification
        from transformers.utils import logging

        logging.set_verbosity_error()
        logging.disable_progress_bar()
        text: nn.Module = AutoModelForSequenceClassification.from_pretrained(run.folder, attn_implementation=attention)
        return text.eval()
    from safetensors.torch import load_file

    from redistill.models.load import architecture, last_student

    image = architecture(last_student(run.config)["architecture"], run.task)
    image.load_state_dict(load_file(run.folder / "model.safetensors"))
    return image.eval()


def inputs_of(batch: dict[str, Any]) -> dict[str, "Tensor"]:
    """What a model is given of a batch, by name."""
    return {name: batch[name] for name in NAMES if name in batch}


def write(run: Finished, data: "Examples", file: Path) -> None:
    """Write a run's model as ONNX.

    Args:
        data: examples of the run's task, of which the first is passed through the model.

    Raises:
        RedistillError: the exporter is not installed, does not take the model, or the model is too large for a file.
    """
    onnx = bring("onnx", "export", "an export to ONNX")
    bring("onnxscript", "export", "an export to ONNX")
    if run.task["type"] == "detection":
        raise RedistillError(
            f"{run.title} finds boxes, and what torchvision does around the network to find them is not exported to "
            "ONNX: `redistill export` without --to makes a folder that redistill opens"
        )
    import numpy as np
    import torch

    from redistill.data.pictures import STORED
    from redistill.models.load import logits_of, longest

    model = plain_model(run)
    size = sum(tensor.nbytes for tensor in model.state_dict().values())
    if size > MOST:
        raise RedistillError(f"{run.title}: its weights take {size / 1e9:.1f} GB, and one ONNX file holds 2 GB")
    twice = np.array([0, 0])  # of two examples nothing is taken for constant, and of one twice the sizes agree
    given = inputs_of(data.batch(twice, seeds=data.seeds(twice, STORED, 0)))
    names = list(given)

    class Said(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, *values: torch.Tensor) -> torch.Tensor:
            return logits_of(self.model, dict(zip(names, values, strict=True)))

    free = _free(run, longest(model))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            program = torch.onnx.export(
                Said().eval(), tuple(given.values()), dynamo=True, input_names=names, output_names=[OUTPUT],
                dynamic_shapes={"values": tuple(free for _ in names)}, external_data=False, verbose=False,
            )  # fmt: skip
        except (torch.onnx.OnnxExporterError, RuntimeError) as error:
            first = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
            raise RedistillError(
                f"{run.title}: torch's exporter does not take the model: {first[:300]}; nothing was exported"
            ) from None
    assert program is not None
    onnx.save(anonymous(program.model_proto), str(file))


def _free(run: Finished, most: int | None) -> dict[int, Any]:
    """The axes whose sizes are not fixed."""
    from torch.export import Dim

    free = {0: Dim("batch", min=1)}
    if run.is_text:
        free[1] = Dim("length", min=2, max=most)
    elif run.task["type"] == "segmentation":
        free |= {2: Dim.AUTO, 3: Dim.AUTO}
    return free


def anonymous(model: Any) -> Any:
    """A graph without what the exporter noted of the files and lines that it came from."""
    graphs = [model.graph]
    for holder in [model, *model.functions]:
        del holder.metadata_props[:]
    while graphs:
        graph = graphs.pop()
        for part in (*graph.node, *graph.value_info, *graph.input, *graph.output, graph):
            del part.metadata_props[:]
            part.doc_string = ""
        graphs += [attribute.g for node in graph.node for attribute in node.attribute if attribute.HasField("g")]
    return model
