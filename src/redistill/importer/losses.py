"""Loss terms: what redistill has is mapped exactly; what it lacks keeps its settings and taps under a method's name."""

import re
from dataclasses import dataclass, field
from typing import Any

from redistill import registry
from redistill.importer.inert import printable
from redistill.importer.names import component, exists, snake, word_of
from redistill.importer.section import Section

# torchdistill's losses by the names that their methods go by
METHODS = {
    "ATLoss": "at", "FTLoss": "ft", "FSPLoss": "fsp", "PKTLoss": "pkt", "AltActTransferLoss": "dab", "RKDLoss": "rkd",
    "VIDLoss": "vid", "CCKDLoss": "cckd", "SPKDLoss": "spkd", "CRDLoss": "crd", "SSKDLoss": "sskd", "PADL2Loss": "pad",
    "HierarchicalContextLoss": "kr", "KTALoss": "kta", "AffinityLoss": "affinity", "ChSimLoss": "ickd",
    "DISTLoss": "dist", "DISTPlusLoss": "dist_plus", "SRDLoss": "srd", "SKDInstanceLoss": "skd_instance",
    "SKDDirectionLoss": "skd_direction", "LogitStdKDLoss": "logit_std", "RegularizationLoss": "norm",
}  # fmt: skip
FEATURES = "feature_mse"  # mean squared error between two modules' outputs
TEXT_FEATURES = "tinybert_hidden"
RECONSTRUCTION = "reconstruction"  # of a tap by a module of the same side
TEACHER_PATHS = {"paraphraser_path", "knowledge_translator_path"}
STUDENT_PATHS = {"translator_path", "feature_adapter_path", "entropy_module_path"}
LOGITS = {"", ".", "classifier", ".classifier", "fc", "head"}  # the model, or its last module
WRAPPED = ("student_model.", "teacher_model.", "model.", "seq.")  # what auxiliary wrappers put before a path
SIDES = ("student", "teacher")
HIDDEN = {"student_hidden", "teacher_hidden"}


@dataclass
class Around:
    """What a loss needs to know of its stage."""

    text: bool
    batch: int | None = None
    classes: int | None = None
    multilabel: bool = False
    learns: bool = False  # whether there is a teacher
    hooked: dict[str, set[str]] = field(default_factory=dict)  # modules whose inputs or outputs are kept
    own: dict[str, set[str]] = field(default_factory=dict)  # first steps of paths that belong to auxiliary modules
    wrapped: dict[str, bool] = field(default_factory=dict)  # whether an auxiliary wrapper is around the model


Terms = dict[str, dict[str, Any]]


def read_criterion(criterion: Section, around: Around) -> Terms:
    """The terms of a stage's loss, by name."""
    high = criterion.text("key", "type")
    if high not in ("WeightedSumLoss", "GeneralizedCustomLoss"):
        criterion.leave(f"an outer loss that the importer does not know: {printable(high)}")
        return {}
    body = criterion.section("kwargs") if criterion.has("kwargs") else criterion
    if not criterion.has("key"):
        criterion.warn("is in the words of torchdistill 0.x; what means the same in 1.x is read")
    terms: Terms = {}
    _model_term(criterion, body, around, terms)
    if body.has("org_term"):
        _original_term(body.section("org_term"), criterion, around, terms)
    subs = body.section("sub_terms")
    for name in subs.data:
        if not isinstance(subs.data[name], dict) or "criterion" not in subs.data[name]:
            subs.leave("a term without `criterion`: torchdistill stops here", name)
            continue
        _term(subs.section(name), word_of(name), around, terms)
    if "loss" in terms and len(terms) > 1:
        terms["loss_term"] = terms.pop("loss")
    return terms


def _weight(section: Section) -> float:
    weight = section.number("weight", "factor")
    if weight is None and not section.has("weight", "factor"):
        section.warn("has no weight: torchdistill stops here; 1.0 is written")
    return 1.0 if weight is None else float(weight)


def _model_term(criterion: Section, body: Section, around: Around, terms: Terms) -> None:
    """The loss that the model computes itself: in transformers, the one on the labels."""
    criterion.use("func2extract_model_loss", "func2extract_org_loss")
    if not body.has("model_term"):
        if around.text and criterion.has("func2extract_model_loss"):
            criterion.warn(
                "takes the model's loss, and without `model_term` it has no weight", "func2extract_model_loss"
            )
        return
    term = body.section("model_term")
    if not around.text:
        term.leave("the model's own loss, which redistill's models do not have")
        return
    weight = _weight(term)
    if weight:
        method = "bce" if around.multilabel else "hard"
        exists(criterion.source, "loss", method)
        terms["hard"] = {"method": method, "weight": weight}


def _original_term(term: Section, criterion: Section, around: Around, terms: Terms) -> None:
    """torchdistill 0.x: the loss on the models' outputs."""
    weight = term.number("weight", "factor")
    if weight == 0:
        term.use()
    elif term.has("criterion"):
        _term(term, "org", around, terms)
    elif around.text and weight is not None:
        exists(criterion.source, "loss", "hard")
        terms["hard"] = {"method": "hard", "weight": float(weight)}


def _term(term: Section, name: str, around: Around, terms: Terms) -> None:
    weight = _weight(term)
    loss = term.section("criterion")
    kind = loss.text("key", "type") or ""
    kwargs = loss.section("kwargs", "params")
    wrapper = (
        term.section("criterion_wrapper").section("kwargs") if term.has("criterion_wrapper") else term.section("params")
    )
    term.section("criterion_wrapper").use("key")
    if kind in ("KDLoss", "LogitStdKDLoss"):
        _distillation(kind, kwargs, name, weight, around, terms)
    elif kind == "CrossEntropyLoss":
        _cross_entropy(kwargs, wrapper, name, weight, around, terms)
    elif kind in ("MSELoss", "L1Loss", "SmoothL1Loss"):
        _difference(kind, kwargs, wrapper, name, weight, around, terms)
    else:
        _method(kind, kwargs, name, weight, around, terms)


# --- on logits -------------------------------------------------------------------------------------------------------


def _distillation(kind: str, kwargs: Section, name: str, weight: float, around: Around, terms: Terms) -> None:
    """alpha x cross-entropy + beta x T^2 x KL, or the bare KL where torchdistill leaves the function early."""
    method = "kd" if kind == "KDLoss" else METHODS[kind]
    exists(kwargs.source, "loss", method)
    temperature, alpha, beta = (kwargs.number(key) for key in ("temperature", "alpha", "beta"))
    factors = _reduction(kwargs, "batchmean", around)
    _logits(kwargs, around)
    settings: dict[str, Any] = {"temperature": 1.0 if temperature is None else float(temperature)}
    if around.text or not alpha:
        why = "the text scripts pass no targets" if around.text else "`alpha` is 0 or not given"
        effect = "; `alpha` and `beta` have no effect" if alpha else ""
        kwargs.warn(f"{why}, so {kind} is the KL divergence alone, without T^2 and without the labels{effect}")
        settings |= {"t_squared": False}
        _add(terms, name, {"method": method, "weight": _exact(weight * factors[1]), **settings})
    else:
        beta = 1 - alpha if beta is None else beta
        _add(terms, f"{name}_hard", {"method": "hard", "weight": _exact(weight * alpha * factors[0])})
        exists(kwargs.source, "loss", "hard")
        if beta == 0:
            kwargs.warn("`alpha` is 1: the divergence has weight 0, and only the labels are left")
        else:
            _add(terms, name, {"method": method, "weight": _exact(weight * beta * factors[1]), **settings})
    kwargs.leave("a setting of the cross-entropy inside it, which `hard` does not have")


def _logits(kwargs: Section, around: Around) -> None:
    """The loss compares logits: the outputs of the models or of their last modules."""
    if not kwargs.has("student_module_path") and "org_term" not in kwargs.path:
        kwargs.warn("torchdistill 1.x stops without `student_module_path`; the models' outputs are taken")
    for side in SIDES:
        path, io = kwargs.data.get(f"{side}_module_path", "."), kwargs.data.get(f"{side}_module_io", "output")
        if _unwrapped(str(path), side, around) in LOGITS and io == "output":
            kwargs.use(f"{side}_module_path", f"{side}_module_io")
            _check_hook(kwargs, f"{side}_module_path", side, str(path), around)
        reason = "this loss compares logits in redistill, and this is another module's value"
        kwargs.leave(reason, f"{side}_module_path", f"{side}_module_io")


def _reduction(kwargs: Section, default: str, around: Around) -> tuple[float, float]:
    """Factors on a loss over labels and on a divergence that make them means over the batch."""
    reduction = kwargs.text("reduction") or default
    if reduction in (default, "batchmean"):
        return 1.0, 1.0
    if reduction == "mean" and around.classes:
        kwargs.warn(
            "`mean` divides the divergence by the number of classes too; its weight is divided by it", "reduction"
        )
        return 1.0, 1.0 / around.classes
    if reduction == "sum" and around.batch:
        kwargs.warn(f"sums over the batch: the weight is multiplied by the batch size {around.batch}; a smaller last "
                    "batch of an epoch differs", "reduction")  # fmt: skip
        return float(around.batch), float(around.batch)
    kwargs.warn(f"reduction `{printable(reduction)}` is not a mean over the batch, as redistill's is", "reduction")
    return 1.0, 1.0


def _cross_entropy(kwargs: Section, wrapper: Section, name: str, weight: float, around: Around, terms: Terms) -> None:
    exists(wrapper.source, "loss", "hard")
    factor = _reduction(kwargs, "mean", around)[0]
    compared = wrapper.section("input")
    on_logits = not compared.data.get("is_from_teacher") and (
        compared.says("module_path", LOGITS) or not compared.has("module_path")
    )
    if on_logits and compared.data.get("io", "output") == "output":
        compared.use()
    wrapper.section("target").use("uses_label")
    if wrapper.has("weights"):
        heads = wrapper.section("weights")
        factor *= heads.number("out") or 1.0
        heads.leave("a further head of a segmentation model")
    wrapper.leave("`hard` compares the student's logits with the labels")
    kwargs.leave("`hard` has no such setting")
    _add(terms, name, {"method": "hard", "weight": _exact(weight * factor)})


def _difference(
    kind: str, kwargs: Section, wrapper: Section, name: str, weight: float, around: Around, terms: Terms
) -> None:
    """A mean squared (or absolute) difference: with labels, between scores, or between two modules."""
    ends = [_end(wrapper.section(key), around) for key in ("input", "target")]
    squared = kind == "MSELoss"
    (side, logits, tap), (other, other_logits, other_tap) = ends
    labelled = other == "label" and logits
    scores = {side, other} == set(SIDES) and logits and other_logits
    if squared and (labelled or (scores and around.classes == 1)):
        method = "hard" if labelled else "kd"
        exists(kwargs.source, "loss", method)
        _add(terms, name, {"method": method, "weight": _exact(weight * _reduction(kwargs, "mean", around)[0])})
        kwargs.leave(f"`{method}` has no such setting")
        return
    if not squared:
        method = snake(kind.removesuffix("Loss"))
    elif scores:
        method = "logit_mse"
    elif side == other:
        method = RECONSTRUCTION
    else:
        method = TEXT_FEATURES if around.text else FEATURES
    if method == TEXT_FEATURES and squared:
        wrapper.warn("the mean is over padding too; redistill's is over tokens alone")
    taps: dict[str, list[str]] = {end: [] for end in SIDES}
    for end, end_tap in ((side, tap), (other, other_tap)):
        if end in taps and not scores:
            taps[end].append(end_tap)
    reduction = kwargs.text("reduction") or "mean"
    term = component("loss", method, kwargs, None, **({} if reduction == "mean" else {"reduction": reduction}))
    if reduction != "mean" and "reduction" not in term:
        kwargs.warn(f"loss `{method}` is a mean, and here the sum is taken: the weight is not comparable", "reduction")
    _add(terms, name, {"method": method, "weight": weight, **_with_taps(method, taps), **_settings(term)})


def _end(section: Section, around: Around) -> tuple[str, bool, str]:
    """One side of a comparison: `label`, or whose module it is, with whether that gives logits, and the tap."""
    if section.flag("uses_label") or not section.has("module_path"):
        return "label", False, ""
    side = "teacher" if section.flag("is_from_teacher") else "student"
    path, io = section.text("module_path") or ".", section.text("io") or "output"
    _check_hook(section, "module_path", side, path, around)
    return side, path in LOGITS and io == "output", _tap(side, path, io, around)


# --- on features -----------------------------------------------------------------------------------------------------


def _method(kind: str, kwargs: Section, name: str, weight: float, around: Around, terms: Terms) -> None:
    """A loss by its method's name, with taps from its paths and with its settings."""
    method = METHODS.get(kind, snake(kind.removesuffix("Loss")))
    if kind == "RegularizationLoss" and kwargs.has("io"):
        kwargs.warn("RegularizationLoss reads `io_type`; `io` is read by nothing", "io")
        kwargs.use("io")
    taps: dict[str, list[str]] = {side: [] for side in SIDES}
    _taps_of_paths(kind, kwargs, taps, around)
    for key in [key for key in kwargs.data if key.endswith("_pairs")]:
        _taps_of_pairs(kwargs.section(key), taps, around)
    term = component("loss", method, kwargs)
    _add(terms, name, {"method": method, "weight": weight, **_with_taps(method, taps), **_settings(term)})


def _taps_of_paths(kind: str, kwargs: Section, taps: dict[str, list[str]], around: Around) -> None:
    for key in list(kwargs.data):
        if not key.endswith("path") or not isinstance(kwargs.data[key], str):
            continue
        side = _side_of(kind, key, kwargs)
        io_key = f"{key.removesuffix('path')}io"
        io = kwargs.text(io_key) or "output"
        path = kwargs.text(key) or "."
        kwargs.use("is_from_teacher")
        _check_hook(kwargs, key, side, path, around)
        logits = path in LOGITS and io == "output"
        if logits or "empty" in key:  # the logits are given to every loss that asks for them
            continue
        taps[side].append(_tap(side, path, io, around))


def _side_of(kind: str, key: str, kwargs: Section) -> str:
    if key in TEACHER_PATHS or key.startswith("teacher"):
        return "teacher"
    if key == "module_path" and (kwargs.data.get("is_from_teacher") or kind == "AuxSSKDLoss"):
        return "teacher"
    return "student"


def _taps_of_pairs(pairs: Section, taps: dict[str, list[str]], around: Around) -> None:
    weights = []
    for name in pairs.data:
        pair = pairs.section(name)
        for key in pair.data:
            side = next((side for side in SIDES if key.startswith(side)), None)
            if side is None or not isinstance(pair.data[key], dict):
                continue
            end = pair.section(key)
            path, io = end.text("path") or ".", end.text("io") or "output"
            _check_hook(end, "path", side, path, around)
            taps[side].append(_tap(side, path, io, around))
        if pair.has("weight", "factor"):
            weights.append(pair.number("weight", "factor"))
    if any(weight != 1 for weight in weights):
        pairs.warn(f"pairs have weights of their own, {weights}: make a term of each")


def _with_taps(method: str, taps: dict[str, list[str]]) -> dict[str, Any]:
    if method in registry.names("loss") and not HIDDEN & set(registry.signature("loss", method).inputs):
        return {}
    given = {side: paths for side, paths in taps.items() if paths}
    return {"taps": given} if given else {}


def _tap(side: str, path: str, io: str, around: Around) -> str:
    """`PATH:input` or `PATH:output`; what an auxiliary wrapper adds becomes `modules.NAME`."""
    plain = _unwrapped(path.removeprefix("+"), side, around)
    own = plain == path and path.partition(".")[0] in around.own.get(side, set())
    if own or path.startswith("+"):
        plain = f"modules.{module_name(plain)}"
    return f"{printable(plain)}:{'input' if io == 'input' else 'output'}"


def _unwrapped(path: str, side: str, around: Around) -> str:
    prefixes = WRAPPED if around.wrapped.get(side) else ()
    return next((path.removeprefix(prefix) for prefix in prefixes if path.startswith(prefix)), path)


def module_name(path: str) -> str:
    """The path of an auxiliary module as a tap has it: without a container around it, numbers joined to names."""
    first, _, rest = path.partition(".")
    path = rest if first.endswith("_dict") and rest else path
    path = re.sub(r"\.(?=[0-9])", "-", path)
    return ".".join(word_of(step, "module") for step in path.split("."))


def _check_hook(section: Section, key: str, side: str, path: str, around: Around) -> None:
    if around.hooked and path not in ("", ".") and path not in around.hooked.get(side, set()):
        section.warn(f"`{printable(path)}` is not among the {side}'s `forward_hook`: torchdistill 1.x stops here", key)
    if any(step.startswith("-") for step in path.split(".")):
        section.warn(f"`{printable(path)}` counts from the end: write the module's own number", key)


def _settings(term: dict[str, Any]) -> dict[str, Any]:
    own = ("method", "weight", "taps", "teacher")
    return {key: value for key, value in term.items() if key not in own}


def _exact(number: float) -> float:
    """0.1 for 1 - 0.9: what the arithmetic of the last digits adds is taken away."""
    return float(f"{number:.12g}")


def _add(terms: Terms, name: str, term: dict[str, Any]) -> None:
    free = name
    while free in terms:
        free = f"{free}_2"
    terms[free] = term


def describe(part: Section, side: str, around: Around) -> None:
    """Note which modules of one side are hooked, and which of its paths belong to auxiliary modules."""
    hooks = part.section("forward_hook")
    hooked = {*hooks.texts("input"), *hooks.texts("output")}
    around.hooked[side] = hooked
    around.wrapped[side] = part.has("auxiliary_model_wrapper", "special")
    own = {path.partition(".")[0] for path in hooked if not path.startswith(WRAPPED)}
    around.own[side] = own if around.wrapped[side] else set()
