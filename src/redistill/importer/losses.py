"""Loss terms: each loss of torchdistill as the method that it is here, with the weight that makes them equal.

Those between layers are in features.py, those between examples in relations.py. A loss that redistill has no method for
keeps its settings and taps under a name.
"""

from collections.abc import Callable
from typing import Any

from redistill import registry
from redistill.importer import beside, features, relations
from redistill.importer.around import SIDES, Around, End, Terms, add, below, end, exact
from redistill.importer.features import factor_tap
from redistill.importer.inert import printable
from redistill.importer.loss import Loss, is_logits, logits
from redistill.importer.names import component, exists, snake, word_of
from redistill.importer.section import Section

FEATURES = "feature_mse"  # mean squared error between two modules' outputs
TEXT_FEATURES = "tinybert_hidden"
RECONSTRUCTION = "reconstruction"  # of a tap by a module of the same side
SUMMED = "ghnd"  # the sum of the squares, over the batch too
DETECTORS = ("detector", "bottleneck_rcnn", "ssdlite")  # architectures that say their own losses
HINT = "fitnet"  # with a regressor of its own
TEACHER_PATHS = {"paraphraser_path", "knowledge_translator_path"}
HIDDEN = {"student_hidden", "teacher_hidden"}


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
    subs, reviewed = body.section("sub_terms"), []
    for name in subs.data:
        if not isinstance(subs.data[name], dict) or "criterion" not in subs.data[name]:
            subs.leave("a term without `criterion`: torchdistill stops here", name)
            continue
        if (part := _term(subs.section(name), word_of(name), around, terms)) is not None:
            reviewed.append(part)
    if reviewed:
        features.review(reviewed)
        for part in reviewed:
            part.kwargs.leave(f"{part.kind} reads nothing of that name")
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
    if around.architecture("student").get("method") in DETECTORS:
        if weight := _weight(term):
            exists(criterion.source, "loss", "detector")
            terms["detector"] = {"method": "detector", "weight": weight}
        return
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


def _term(term: Section, name: str, around: Around, terms: Terms) -> Loss | None:
    """Note a term; or return it, where it is a part of one that is put together of several."""
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
    elif kind in METHODS:
        found = Loss(kind, kwargs, name, weight, around, terms)
        METHODS[kind](found)
        kwargs.leave(f"{kind} reads nothing of that name")
    elif kind == features.REVIEW:
        return Loss(kind, kwargs, name, weight, around, terms)
    else:
        _method(kind, kwargs, name, weight, around, terms)
    return None


# --- on logits -------------------------------------------------------------------------------------------------------


def _distillation(kind: str, kwargs: Section, name: str, weight: float, around: Around, terms: Terms) -> None:
    """alpha x cross-entropy + beta x T^2 x KL, or the bare KL where torchdistill leaves the function early."""
    method = "kd" if kind == "KDLoss" else "logit_standardisation"
    exists(kwargs.source, "loss", method)
    temperature, alpha, beta = (kwargs.number(key) for key in ("temperature", "alpha", "beta"))
    factors = _reduction(kwargs, "batchmean", around)
    logits(kwargs, around)
    settings: dict[str, Any] = {"temperature": 1.0 if temperature is None else float(temperature)}
    if alpha is None and beta is None and not kwargs.has("alpha", "beta"):
        kwargs.warn("torchdistill 1.x stops without `alpha` or `beta`")
    if kind == "LogitStdKDLoss" and kwargs.number("eps") not in (None, 1e-7):
        kwargs.warn("redistill adds nothing to the deviation", "eps")
    if around.text or not alpha:
        why = "the text scripts pass no targets" if around.text else "`alpha` is 0 or not given"
        effect = "; `alpha` and `beta` have no effect" if alpha else ""
        kwargs.warn(f"{why}, so {kind} is the KL divergence alone, without T^2 and without the labels{effect}")
        settings |= {"t_squared": False}
        add(terms, name, {"method": method, "weight": exact(weight * factors[1]), **settings})
    else:
        beta = 1 - alpha if beta is None else beta
        add(terms, f"{name}_hard", {"method": "hard", "weight": exact(weight * alpha * factors[0])})
        exists(kwargs.source, "loss", "hard")
        if beta == 0:
            kwargs.warn("`alpha` is 1: the divergence has weight 0, and only the labels are left")
        else:
            add(terms, name, {"method": method, "weight": exact(weight * beta * factors[1]), **settings})
    kwargs.leave("a setting of the cross-entropy inside it, which `hard` does not have")


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
    factor, second = _reduction(kwargs, "mean", around)[0], dict[str, Any]()
    compared = wrapper.section("input")
    path, io = compared.data.get("module_path", "."), compared.data.get("io", "output")
    if not compared.data.get("is_from_teacher") and is_logits(str(path), "student", io, around):
        compared.use()
    wrapper.section("target").use("uses_label")
    if wrapper.has("weights"):
        heads = wrapper.section("weights")
        second = _second_head(heads, weight * factor, around)
        factor *= heads.number("out") or 1.0
        heads.leave("a further head of a segmentation model")
    wrapper.leave("`hard` compares the student's logits with the labels")
    if kwargs.data.get("ignore_index") in (-100, 255) and not around.text:
        kwargs.use("ignore_index")  # what no task's class has
    kwargs.leave("`hard` has no such setting")
    add(terms, name, {"method": "hard", "weight": exact(weight * factor)})
    if second:
        add(terms, f"{name}_second", second)


def _second_head(heads: Section, weight: float, around: Around) -> dict[str, Any]:
    """The term of a segmenter's second head, where it has one that redistill's has."""
    architecture = around.architecture("student")
    if not (architecture.get("aux") and "resnet" in str(architecture.get("name")) and heads.has("aux")):
        return {}
    exists(heads.source, "loss", "second_head")
    taps = {"student": ["aux_classifier:output", "backbone.conv1:input"]}
    return {"method": "second_head", "weight": exact(weight * (heads.number("aux") or 0.0)), "taps": taps}


def _stronger(loss: Loss) -> None:
    logits(loss.kwargs, loss.around)
    loss.constant("eps", 1e-8)
    loss.add("dist", (), loss.settings(beta="beta", gamma="gamma", temperature="tau"))


def _stronger_plus(loss: Loss) -> None:
    logits(loss.kwargs, loss.around, "{}_logit_module")
    loss.constant("eps", 1e-8)
    settings = loss.settings(beta="beta", gamma="gamma", channel="iota", spatial="kappa", temperature="tau")
    loss.add("dist_plus", loss.both("feature_module_path"), settings)
    loss.differs("torchdistill's term for the channels is their correlation itself, `dist_plus` has 1 minus it")


def _instance(loss: Loss) -> None:
    logits(loss.kwargs, loss.around)
    loss.add("skd", (), {"direction": 0.0, **loss.settings(temperature="temperature", follow="mode")})


def _direction(loss: Loss) -> None:
    logits(loss.kwargs, loss.around)
    loss.add("skd", (), {"instance": 0.0, **loss.settings(tikhonov="tikhonov", follow="mode")})


METHODS: dict[str, Callable[[Loss], None]] = {
    "DISTLoss": _stronger, "DISTPlusLoss": _stronger_plus, "SKDInstanceLoss": _instance, "SKDDirectionLoss": _direction,
    **features.LOSSES, **relations.LOSSES,
}  # fmt: skip


# --- differences -----------------------------------------------------------------------------------------------------


def _difference(
    kind: str, kwargs: Section, wrapper: Section, name: str, weight: float, around: Around, terms: Terms
) -> None:
    """A mean squared (or absolute) difference: with labels, between scores, or between two modules."""
    one, other = (_end(wrapper.section(key), around) for key in ("input", "target"))
    squared = kind == "MSELoss"
    labelled = other is None and one is not None and _gives_logits(one, around)
    scores = one is not None and other is not None and {one.side, other.side} == set(SIDES)
    scores = scores and all(found is not None and _gives_logits(found, around) for found in (one, other))
    if squared and (labelled or (scores and around.classes == 1)):
        method = "hard" if labelled else "kd"
        exists(kwargs.source, "loss", method)
        add(terms, name, {"method": method, "weight": exact(weight * _reduction(kwargs, "mean", around)[0])})
        kwargs.leave(f"`{method}` has no such setting")
        return
    ends = [found for found in (one, other) if found is not None]
    if squared and len(ends) == 2 and _hint(kwargs, ends, name, weight, around, terms):
        return
    reduction = kwargs.text("reduction") or "mean"
    named = all(found.path not in ("", ".") for found in ends)  # the model as a whole is no tap
    whole, text = scores and not named, around.text and not scores
    method = _of_differences(reduction, whole, text, ends) if squared else snake(kind.removesuffix("Loss"))
    if method == TEXT_FEATURES:
        wrapper.warn("the mean is over padding too; redistill's is over tokens alone")
    taps: dict[str, list[str]] = {side: [] for side in SIDES}
    for found in ends if named or not scores else []:
        taps[found.side].append(factor_tap(found, around))
    left = {} if reduction == "mean" or method == SUMMED else {"reduction": reduction}
    term = component("loss", method, kwargs, None, **left)
    if left and "reduction" not in term:
        kwargs.warn(f"loss `{method}` is a mean, and here the sum is taken: the weight is not comparable", "reduction")
    add(terms, name, {"method": method, "weight": weight, **_with_taps(method, taps), **_settings(term)})


def _of_differences(reduction: str, whole: bool, text: bool, ends: list[End]) -> str:
    """The method of a squared difference between two ends."""
    if whole:
        return "logit_mse"
    if len({found.side for found in ends}) < 2:
        return RECONSTRUCTION
    if reduction == "sum":
        return SUMMED
    return TEXT_FEATURES if text else FEATURES


def _end(section: Section, around: Around) -> End | None:
    """One side of a comparison; None for the labels."""
    if section.flag("uses_label") or not section.has("module_path"):
        return None
    side = "teacher" if section.flag("is_from_teacher") else "student"
    path, io = section.text("module_path") or ".", section.text("io") or "output"
    return end(around, section, "module_path", side, path, io)


def _gives_logits(found: End, around: Around) -> bool:
    return is_logits(found.path, found.side, found.io, around)


def _hint(kwargs: Section, ends: list[End], name: str, weight: float, around: Around, terms: Terms) -> bool:
    """A hint with the regressor that torchdistill adds to the student: redistill's method has its own."""
    student = next((found for found in ends if found.side == "student"), None)
    teacher = next((found for found in ends if found.side == "teacher"), None)
    if student is None or teacher is None or student.made is None or student.made.kind != "ConvReg":
        return False
    made = student.made
    layer = made.section.section("kwargs", "params")
    shrink = "kernel"
    if beside.other_than(layer, {"kernel_size": 3}) or beside.other_than(layer, {"padding": 1}):
        for key in beside.other_than(layer, {"stride": 1, "padding": 0}):
            layer.warn(
                "redistill's regressor is as large as the sizes ask, with a stride of 1 and without padding", key
            )
    else:
        shrink = "stride"
        layer.warn("redistill's regressor is 3 x 3 with a stride where the hint's map is smaller, else 1 x 1")
    settings: dict[str, Any] = {"norm": True, "relu": layer.flag("uses_relu") is not False}
    settings |= {"shrink": shrink} if shrink == "stride" else {}
    loss = Loss("MSELoss", kwargs, name, weight, around, terms)
    loss.take(student, "a regressor")
    reduction = kwargs.text("reduction") or "mean"
    if reduction == "mean":
        loss.add(HINT, [below(student, around), teacher], {"reduction": "mean", **settings})
    else:
        loss.add(HINT, [below(student, around), teacher], settings, factor=2 * loss.summed())
    kwargs.leave(f"`{HINT}` has no such setting")
    return True


# --- what redistill has no method for --------------------------------------------------------------------------------


def _method(kind: str, kwargs: Section, name: str, weight: float, around: Around, terms: Terms) -> None:
    """A loss by a name made from its own, with taps from its paths and with its settings."""
    method = "norm" if kind == "RegularizationLoss" else snake(kind.removesuffix("Loss"))
    if kind == "RegularizationLoss" and kwargs.has("io"):
        kwargs.warn("RegularizationLoss reads `io_type`; `io` is read by nothing", "io")
        kwargs.use("io")
    taps: dict[str, list[str]] = {side: [] for side in SIDES}
    _taps_of_paths(kwargs, taps, around)
    for key in [key for key in kwargs.data if key.endswith("_pairs")]:
        _taps_of_pairs(kwargs.section(key), taps, around)
    if kind == "RegularizationLoss" and taps["student"]:
        kwargs.source.needs(f"loss `{name}`: redistill's `norm` looks at the teacher's side, not at the student's")
    term = component("loss", method, kwargs)
    add(terms, name, {"method": method, "weight": weight, **_with_taps(method, taps), **_settings(term)})


def _taps_of_paths(kwargs: Section, taps: dict[str, list[str]], around: Around) -> None:
    for key in list(kwargs.data):
        if not key.endswith("path") or not isinstance(kwargs.data[key], str):
            continue
        side = _side_of(key, kwargs)
        io_key = f"{key.removesuffix('path')}io"
        io, path = kwargs.text(io_key) or "output", kwargs.text(key) or "."
        kwargs.use("is_from_teacher")
        found = end(around, kwargs, key, side, path, io)
        if not _gives_logits(found, around):  # the logits are given to every loss that asks for them
            taps[side].append(factor_tap(found, around))


def _side_of(key: str, kwargs: Section) -> str:
    if key in TEACHER_PATHS or key.startswith("teacher"):
        return "teacher"
    return "teacher" if key == "module_path" and kwargs.data.get("is_from_teacher") else "student"


def _taps_of_pairs(pairs: Section, taps: dict[str, list[str]], around: Around) -> None:
    weights = []
    for name in pairs.data:
        pair = pairs.section(name)
        for key in pair.data:
            side = next((side for side in SIDES if key.startswith(side)), None)
            if side is None or not isinstance(pair.data[key], dict):
                continue
            section = pair.section(key)
            path, io = section.text("path") or ".", section.text("io") or "output"
            taps[side].append(factor_tap(end(around, section, "path", side, path, io), around))
        if pair.has("weight", "factor"):
            weights.append(pair.number("weight", "factor"))
    if any(weight != 1 for weight in weights):
        pairs.warn(f"pairs have weights of their own, {weights}: make a term of each")


def _with_taps(method: str, taps: dict[str, list[str]]) -> dict[str, Any]:
    if method in registry.names("loss") and not HIDDEN & set(registry.signature("loss", method).inputs):
        return {}
    given = {side: paths for side, paths in taps.items() if paths}
    return {"taps": given} if given else {}


def _settings(term: dict[str, Any]) -> dict[str, Any]:
    own = ("method", "weight", "taps", "teacher")
    return {key: value for key, value in term.items() if key not in own}
