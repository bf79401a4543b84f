"""Modules that torchdistill makes beside a model: auxiliary wrappers, and adaptations in a model that is cut down.

Most of them belong to one method, and redistill's method has them itself: then the wrapper goes, and the tap is at what
its module reads.
"""

from collections.abc import Callable, Iterator
from typing import Any

from redistill.importer.around import WRAPPED, Around, Made
from redistill.importer.section import Section

CHECKPOINT = "a file of weights that torchdistill reads or writes in a stage"


def describe(part: Section, side: str, around: Around) -> None:
    """Note which modules of one side are hooked, which of its paths belong to auxiliary modules, and what is made."""
    hooks = part.section("forward_hook")
    hooked = {*hooks.texts("input"), *hooks.texts("output")}
    around.hooked[side] = hooked
    around.wrapped[side] = part.has("auxiliary_model_wrapper", "special")
    own = {path.partition(".")[0] for path in hooked if not path.startswith(WRAPPED)}
    around.own[side] = own if around.wrapped[side] else set()
    around.made[side] = dict(_made(part, side))
    if part.flag("requires_grad") is False:
        around.still.add(side)


def _made(part: Section, side: str) -> Iterator[tuple[str, Made]]:
    """Modules by the paths that losses give."""
    wrapper = part.section("auxiliary_model_wrapper", "special")
    kind = wrapper.data.get("key", wrapper.data.get("type"))
    if isinstance(kind, str) and kind in READERS:
        for path, made in READERS[kind](kind, side, wrapper.section("kwargs", "params")):
            yield path, made
    before = ""
    sequence = part.data.get("sequential")
    for path in sequence if isinstance(sequence, list) else []:
        if not isinstance(path, str):
            continue
        if path.startswith("+"):
            section = part.section("adaptations").section(path[1:])
            made = Made(str(section.data.get("key", section.data.get("type"))), side, before, "output", section)
            yield path, made
            yield path[1:], made
        before = path


def taken(made: Made) -> None:
    """What describes a module has gone into a method of redistill, files of weights apart."""
    holder = made.section
    for key in holder.data:
        if key.endswith("ckpt"):
            holder.leave(CHECKPOINT, key)
        else:
            holder.use(key)
    if made.kind in READERS:
        above = 3 if made.kind in CONTAINED else 1  # steps up to the wrapper, which says its name
        Section(holder.source, holder.path[:-above]).use("key", "type")
    if made.kind == "Student4KnowledgeReview":
        Section(holder.source, holder.path[:-2]).use("sizes")  # those of the student's maps, or torchdistill stops


# --- the wrappers ----------------------------------------------------------------------------------------------------


def _read(section: Section, key: str, otherwise: str) -> str:
    value = section.data.get(key)
    return value if isinstance(value, str) else otherwise


def _each(container: str, prefix: str) -> Callable[[str, str, Section], Iterator[tuple[str, Made]]]:
    """Modules by name, each with what it reads: `PREFIX.NAME`."""

    def read(kind: str, side: str, kwargs: Section) -> Iterator[tuple[str, Made]]:
        for name in kwargs.section(container).data:
            one = kwargs.section(container).section(name)
            yield f"{prefix}.{name}", Made(kind, side, _read(one, "path", "."), _read(one, "io", "output"), one)

    return read


def _one(*paths: str) -> Callable[[str, str, Section], Iterator[tuple[str, Made]]]:
    """Modules at these paths, which all read the one input of the wrapper."""

    def read(kind: str, side: str, kwargs: Section) -> Iterator[tuple[str, Made]]:
        given = kwargs.section("input_module") if kwargs.has("input_module") else kwargs
        path = _read(given, "path", _read(kwargs, "input_module_path", "."))
        for place in paths:
            yield place, Made(kind, side, path, _read(given, "io", "output"), kwargs)

    return read


def _fusions(kind: str, side: str, kwargs: Section) -> Iterator[tuple[str, Made]]:
    """Knowledge review's: the first of the list is the last of `abf_modules`."""
    fusions = kwargs.entries("abfs")
    for place, one in enumerate(fusions):
        made = Made(kind, side, _read(one, "path", "."), _read(one, "io", "output"), one, place)
        yield f"abf_modules.{len(fusions) - 1 - place}", made


READERS: dict[str, Callable[[str, str, Section], Iterator[tuple[str, Made]]]] = {
    "Connector4DAB": _each("connectors", "connector_dict"),
    "VariationalDistributor4VID": _each("regressors", "regressor_dict"),
    "Student4ICKD": _each("embeddings", "embed_dict"),
    "Student4KnowledgeReview": _fusions,
    "Linear4CCKD": _one("linear"),
    "Linear4CRD": _one("normalizer"),
    "SSWrapper4SSKD": _one("ss_module"),
    "VarianceBranch4PAD": _one("var_estimator"),
    "SRDModelWrapper": _one("norm_layer"),
    "Student4KTAAD": _one("feature_adapter", "affinity_adapter"),
    "Teacher4FactorTransfer": _one("paraphraser", "paraphraser.encoder"),
    "Student4FactorTransfer": _one("translator"),
}
CONTAINED = ("Connector4DAB", "VariationalDistributor4VID", "Student4ICKD", "Student4KnowledgeReview")


def other_than(section: Section, wanted: dict[str, Any]) -> list[str]:
    """Keys whose value is not the one that redistill's module has; what is not there has it."""
    return [
        key
        for key, value in wanted.items()
        if key in section.data and section.data[key] not in (value, [value], [value, value])
    ]
