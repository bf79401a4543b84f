"""The README of an exported folder: how it is used without redistill, what was checked, under which licences."""

from typing import Any

from redistill.card import licence_section, plain, what_it_is
from redistill.lineage import Finished

FORMS = {"onnx": "ONNX, float32", "int8": "ONNX, int8"}
_TEXTS = """```python
import numpy as np
import onnxruntime
from tokenizers import Tokenizer

tokenizer = Tokenizer.from_file("tokenizer.json")
tokenizer.enable_truncation({length})
tokenizer.enable_padding()
session = onnxruntime.InferenceSession("model.onnx", providers=["CPUExecutionProvider"])

encoded = tokenizer.encode_batch([{text}])
given = {{
    "input_ids": np.array([one.ids for one in encoded]),
    "attention_mask": np.array([one.attention_mask for one in encoded]),
    "token_type_ids": np.array([one.type_ids for one in encoded]),
}}
wanted = [one.name for one in session.get_inputs()]
logits = session.run(None, {{name: given[name] for name in wanted}})[0]
{answer}
```"""
_IMAGES = """```python
import numpy as np
import onnxruntime
from PIL import Image

image = Image.open("picture.png").convert("{mode}")
{steps}
session = onnxruntime.InferenceSession("model.onnx", providers=["CPUExecutionProvider"])
logits = session.run(None, {{"image": pixels[None].astype(np.float32)}})[0]
{answer}
```"""
_RESIZE = """short, (width, height) = {size}, image.size
scale = short / min(width, height)
image = image.resize((int(width * scale), int(height * scale)), Image.Resampling.BILINEAR)"""
_RESIZE_BOTH = "image = image.resize(({width}, {size}), Image.Resampling.BILINEAR)"
_CROP = """left, top = round((image.width - {size}) / 2), round((image.height - {size}) / 2)
image = image.crop((left, top, left + {size}, top + {size}))"""
_PIXELS = "pixels = np.atleast_3d(np.asarray(image)).transpose(2, 0, 1) / 255"
_NORMALISE = "pixels = (pixels - np.array({mean})[:, None, None]) / np.array({std})[:, None, None]"


def readme(
    run: Finished, form: str, described: dict[str, Any], scores: dict[str, Any], licence: str | None
) -> str:  # fmt: skip
    """The README's text; the same run gives the same bytes."""
    parts = [
        f"# {plain(run.title)} ({FORMS[form]})", what_it_is(run), _use(run), _inputs(described), _checked(scores),
        f"## Provenance\n\nThe run's key is `{run.key}`; `resolved.json` has every value of its recipe, `export.json` "
        "the digest of every file here.", licence_section(run, licence),
    ]  # fmt: skip
    return "\n\n".join(parts) + "\n"


def _use(run: Finished) -> str:
    alone = "Neither redistill nor torch is needed:"
    snippet = _text_snippet(run) if run.is_text else _image_snippet(run)
    if snippet is None:
        alone = "`resolved.json` says in `evaluation.transforms` how images are seen; `redistill predict` does so:"
    more = "```\nredistill predict FOLDER " + ("texts.csv" if run.is_text else "pictures") + "\n```"
    return "\n\n".join(part for part in (f"## Use\n\n{alone}", snippet, snippet and "Or with redistill:", more) if part)


def _answer(run: Finished) -> str:
    if run.task["type"] == "regression":
        return "print(logits[:, 0])"
    if run.task["type"] == "segmentation":
        return f"labels = {run.task['labels']!r}\nprint(logits.argmax(1)[0])  # classes by pixel"
    return f"labels = {run.task['labels']!r}\nprint([labels[i] for i in logits.argmax(1)])"


def _text_snippet(run: Finished) -> str:
    reader = run.upstream[run.parts["inputs"]["dataset"]]["config"].get("reader") or {"settings": {}}
    text = '("one text", "another")' if reader["settings"].get("text_pair") is not None else '"a text of your own"'
    return _TEXTS.format(length=run.max_length, text=text, answer=_answer(run))


def _image_snippet(run: Finished) -> str | None:
    """Pillow and numpy for what the run's images go through; None where they go through something else."""
    steps, on_pixels = list[str](), [_PIXELS]
    for transform in run.config["evaluation"]["transforms"]:
        method, settings = transform["method"], transform["settings"]
        if method == "resize" and settings["longest"] is None and len(on_pixels) == 1:
            steps.append((_RESIZE if settings["width"] is None else _RESIZE_BOTH).format(**settings))
        elif method == "centre_crop" and len(on_pixels) == 1:
            steps.append(_CROP.format(**settings))
        elif method == "normalise":
            on_pixels.append(_NORMALISE.format(**settings))
        else:
            return None
    mode = "L" if run.task["image_shape"][0] == 1 else "RGB"
    return _IMAGES.format(mode=mode, steps="\n".join([*steps, *on_pixels]), answer=_answer(run))


def _inputs(described: dict[str, Any]) -> str:
    lines = ["| | name | type | shape |", "| --- | --- | --- | --- |"]
    for side, words in (("inputs", "input"), ("outputs", "output")):
        for one in described[side]:
            lines.append(f"| {words} | `{one['name']}` | {one['type']} | {', '.join(map(str, one['shape']))} |")
    return "\n".join(lines)


def _checked(scores: dict[str, Any]) -> str:
    lines = [
        "## Checked", "",
        f"Before it was put in place, on {scores['examples']} examples of `{scores['split']}`, beside what the run "
        f"says of them ({scores['made']}); the same is in `scores.json`.", "",
        "| | run | this export |", "| --- | ---: | ---: |",
    ]  # fmt: skip
    lines += [f"| `{name}` | {b['run']:.4f} | {b['export']:.4f} |" for name, b in scores["metrics"].items()]
    if scores["agree"] is not None:
        lines.append(f"| predictions that agree | | {100 * scores['agree']:.2f} % |")
    if scores["largest_difference"] is not None:
        lines.append(f"| largest difference of logits | | {scores['largest_difference']:.2g} |")
    return "\n".join(lines)
