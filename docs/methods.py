"""The catalogue of methods, docs/methods.md, from the methods' own files. Written by docs/reference.py."""

import re
from collections.abc import Iterator

from redistill import registry
from redistill.catalogue import Method, methods, setting_in_words

INTRODUCTION = """# Methods

Written by `docs/reference.py` from the files in `src/redistill/distill/`. `redistill methods NAME` prints the same, for
plugins too. Each method is one file with one plain function of tensors; [extending.md](extending.md) shows how to add
one.

- In a config, a method is a term of a stage's loss: a name, `method`, `weight`, and the method's settings beside them.
- In Python: `from redistill.distill import losses; losses.kd(student_logits, teacher_logits, temperature=4.0)`.
- A value is a mean over the examples of a batch unless its formula says otherwise, without the paper's overall weight:
  the weight is the config's. Tensors reach a method in float32, whatever the precision of the study.
- `redistill check` builds the models without weights and calls every loss once on tensors of the shapes that it would
  be given: a method used on what it cannot compare is refused there, at its line.
- Each method is proven in `tests/test_methods.py`: against a second implementation in plain loops, by `gradcheck`, by
  what its formula promises not to see, in half precision, on a batch of one, and on examples that are all alike.
"""
DEVIATION = re.compile(r"^Deviation: *(.*?)(?:\n\n|\Z)", re.DOTALL | re.MULTILINE)


def page() -> str:
    """The whole page."""
    found = [m for m in methods() if registry.plugin("loss", m.name) is None]
    parts = [INTRODUCTION, *_table(found)]
    family = ""
    for method in found:
        if method.family != family:
            family = method.family
            parts.append(f"## On {family}\n")
        parts += _section(method)
    parts += _deviations(found)
    return "\n".join(parts).rstrip() + "\n"


def _table(found: list[Method]) -> Iterator[str]:
    yield "| method | compares | what it is |\n| --- | --- | --- |"
    for method in found:
        yield f"| [`{method.name}`](#{method.name}) | {method.family} | {method.title} |"
    yield ""


def _section(method: Method) -> Iterator[str]:
    yield f"### {method.name}\n"
    yield f"{method.title}\n"
    if method.about:
        yield f"{method.about}\n"
    yield f"```text\n{DEVIATION.sub('', method.formula).strip()}\n```\n"
    if method.needs:
        yield f"Needs: {'; '.join(method.needs)}.\n"
    settings = [f"`{name}` ({setting_in_words(said)})" for name, said in method.signature.settings.items()]
    yield f"Settings: {', '.join(settings) or 'none'}.\n"
    if method.usage:
        yield f"```yaml\n{method.usage}\n```\n"
    if method.beside:
        yield f"with, at the experiment's top:\n\n```yaml\n{method.beside}\n```\n"


def _deviations(found: list[Method]) -> Iterator[str]:
    yield "## Where a method departs from its paper, or from torchdistill\n"
    for method in found:
        for text in DEVIATION.findall(f"{method.about}\n\n{method.formula}"):
            yield f"- [`{method.name}`](#{method.name}): {' '.join(text.split())}"
