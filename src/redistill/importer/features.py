"""Losses between layers of the student and of the teacher, one example by itself: each as a method of redistill.

Where torchdistill's formula is another one than the method's, so that no weight makes them equal, that is said.
"""

from collections.abc import Callable
from typing import Any

from redistill.importer import beside
from redistill.importer.around import SIDES, Around, End, Made, below, module_name, pooled, unwrapped
from redistill.importer.loss import Loss, Taps, logits, same_layer

# --- pairs of feature maps -------------------------------------------------------------------------------------------


def _attention(loss: Loss) -> None:
    pairs = loss.pairs("at_pairs")
    loss.add_pairs("at", pairs, [loss.settings(mode="mode")] * len(pairs))


def _flow(loss: Loss) -> None:
    pairs = loss.pairs("fsp_pairs", ("_first", "_second"))
    loss.add_pairs("fsp", pairs, [{}] * len(pairs))
    loss.differs("torchdistill adds up the lengths of the difference's columns, `fsp` is its squared norm")


def _boundaries(loss: Loss) -> None:
    pairs = loss.pairs("feature_pairs")
    settings = {"decay": 1.0, **loss.settings(margin="margin")}
    for pair in pairs:
        student = pair.own(loss, "Connector4DAB", "a connector")
        if made := student.made:
            convolution = made.section.section("conv2d_kwargs")
            if convolution.data.get("in_channels") == convolution.data.get("out_channels"):
                loss.differs(f"`dab` has no connector on `{student.tap}`, where both sides have as many channels")
            wanted = {"kernel_size": 1, "stride": 1, "padding": 0, "bias": False}
            same_layer(convolution, wanted, "a 1 x 1 convolution without a bias")
            if not made.section.data.get("bn2d_kwargs"):
                loss.differs(f"`dab` has a batch norm behind its connector on `{student.tap}`")
    loss.add_pairs("dab", pairs, [settings] * len(pairs), loss.summed())


def _information(loss: Loss) -> None:
    pairs, each = loss.pairs("feature_pairs"), []
    for pair in pairs:
        settings: dict[str, Any] = {}
        if made := pair.own(loss, "VariationalDistributor4VID", "a regressor").made:
            if made.section.has("regressor_kwargs"):
                made.section.warn("torchdistill 1.1.5 reads `kwargs`, and stops at this", "regressor_kwargs")
            given = made.section.section("kwargs", "regressor_kwargs")
            if given.data.get("middle_channels") != given.data.get("out_channels"):
                given.warn("redistill's regressors are as wide as the teacher's layer throughout", "middle_channels")
            numbers = {"variance": given.number("init_pred_var"), "eps": given.number("eps")}
            settings = {key: float(value) for key, value in numbers.items() if value is not None}
        each.append(settings)
    loss.add_pairs("vid", pairs, each)


def _channels(loss: Loss) -> None:
    pairs = loss.pairs("feature_pairs")
    for pair in pairs:
        pair.own(loss, "Student4ICKD", "a convolution and a batch norm")
    if loss.around.batch is None:
        loss.kwargs.source.needs("the weight of `ickd` divided by the batch size, which the source does not say")
    elif pairs:
        loss.kwargs.warn(f"divides by the batch size twice: the weight is divided by {loss.around.batch}")
    loss.add_pairs("ickd", pairs, [{"kernel": 3}] * len(pairs), 1.0 / (loss.around.batch or 1))


# --- one pair of layers ----------------------------------------------------------------------------------------------


def _factors(loss: Loss) -> None:
    student = loss.end("student", "translator_path", "translator", "output")
    teacher = loss.end("teacher", "paraphraser_path", "paraphraser", "output")
    p = loss.kwargs.number("p")
    factor = _summed_norms(loss, p)
    taps = {"student": [factor_tap(student, loss.around)], "teacher": [factor_tap(teacher, loss.around)]}
    loss.add("ft", (), {} if p is None else {"p": p}, factor=factor, taps=taps)


def _adaptation(loss: Loss) -> None:
    teacher = loss.end("teacher", "knowledge_translator_path", "paraphraser", "output")
    student = loss.end("student", "feature_adapter_path", "feature_adapter", "output")
    factor = _summed_norms(loss, loss.kwargs.number("p"))
    student = _adapter(loss, student, "feature_adapter_config")
    taps = {"student": [student.tap], "teacher": [factor_tap(teacher, loss.around)]}
    loss.add("ktaad", (), loss.settings(p="p", q="q"), factor=factor, taps=taps)


def _affinity(loss: Loss) -> None:
    student, teacher = loss.both("module_path")
    student = _adapter(loss, student, "affinity_adapter_config")
    taps = {"student": [student.tap], "teacher": [factor_tap(teacher, loss.around)]}
    loss.add("ktaad_affinity", factor=loss.summed(), taps=taps)


def _summed_norms(loss: Loss, p: float | None) -> float:
    """The factor of a sum of norms; for p = 1 torchdistill sums over all elements as well, whose number is unknown."""
    if p in (None, 1):
        loss.unknown_sum()
        return 1.0
    return loss.summed()


def _adapter(loss: Loss, found: End, key: str) -> End:
    student = loss.own(found, "Student4KTAAD", "an adapter")
    if student.made:
        convolution = student.made.section.section(key).section("conv_kwargs")
        same_layer(convolution, {"kernel_size": 3, "stride": 1, "padding": 1, "bias": True}, "a 3 x 3 convolution")
    return student


def factor_tap(found: End, around: Around) -> str:
    """The tap at a paraphraser or translator, which becomes a module of the experiment."""
    made = found.made
    if made is None or made.kind not in ("Teacher4FactorTransfer", "Student4FactorTransfer"):
        return found.tap
    name = module_name(unwrapped(found.path.partition(".")[0], found.side, around))
    around.modules.setdefault(name, _paraphraser(found, around))
    around.seen.add(name)
    beside.taken(made)
    encoder = found.path.endswith(".encoder") or (
        found.side == "teacher" and made.section.flag("uses_decoder") is False
    )
    return f"modules.{name}.encoder" if encoder else f"modules.{name}"


def _paraphraser(found: End, around: Around) -> dict[str, Any]:
    """A paraphraser of the teacher, or a translator of the student, which gives as many factors as the paraphraser."""
    assert found.made is not None
    teacher = found.side == "teacher"
    holder = found.made.section
    given = holder.section("paraphraser_kwargs" if teacher else "translator_kwargs")
    same_layer(given, {"kernel_size": 3, "stride": 1, "padding": 1}, "3 x 3 convolutions")
    given.warn("redistill's layers are a convolution, a leaky ReLU and a batch norm; torchdistill's have the norm, if "
               "`uses_bn` says so, before the ReLU")  # fmt: skip
    if teacher:
        reads = below(found, around).tap
        rate, channels = given.number("k"), given.integer("num_input_channels")
        if rate is not None and channels is not None and int(rate * channels) != round(rate * channels):
            given.warn(f"torchdistill rounds {rate * channels:g} factors down, redistill to the nearest", "k")
        return {
            "method": "paraphraser", "of": "teacher", "input": reads, **({} if rate is None else {"rate": float(rate)})
        }  # fmt: skip
    term: dict[str, Any] = {"method": "paraphraser", "input": below(found, around).tap, "decode": False}
    twin = around.made.get("teacher", {}).get("paraphraser")
    if twin is None:
        holder.source.needs("`like` of the translator: the teacher's features, whose factors it is to give")
        return term
    rate = twin.section.section("paraphraser_kwargs").number("k")
    like = below(End("teacher", "", "paraphraser", "output", twin), around).tap
    return {**term, "like": like, **({} if rate is None else {"rate": float(rate)})}


def _embedding(loss: Loss) -> None:
    student, teacher = loss.both("embed_module_path")
    estimator = loss.own(loss.end("student", "module_path", "var_estimator"), "VarianceBranch4PAD", "an estimator")
    if estimator.made and (estimator.path, estimator.io) != (student.path, student.io):
        estimator.made.section.warn(
            "the variance is estimated from another layer than is compared; redistill's is from that one"
        )
    loss.add("pad", [student, teacher], loss.settings(eps="eps"), factor=loss.summed())


def _projected(loss: Loss) -> None:
    """torchdistill's loss is the whole method: 2 x `srd` + the divergence of the logits."""
    ends = [loss.end(side, f"{side}_feature_module_path", "norm_layer") for side in SIDES]
    taps: Taps = {}
    for given in ends:
        found = loss.own(given, "SRDModelWrapper", "a projector and norms")
        taps[found.side] = [pooled(loss.kwargs, found, loss.around, "averages it over the positions")]
        if made := found.made:
            norm = made.section.section("norm_kwargs")
            if norm.data.get("affine", True) is not False or norm.data.get("eps") != 1e-4:
                norm.warn("redistill's norms have no parameters and 0.0001 added to the variance")
            projects = isinstance(made.section.data.get("linear_kwargs"), dict)
            if projects != (found.side == "student"):
                loss.differs("`srd` has a projector on the student's side, and none on the teacher's")
    exponent, temperature = loss.kwargs.number("exponent"), loss.kwargs.number("temperature")
    loss.add("srd", (), {"exponent": 1.0 if exponent is None else float(exponent)}, factor=2.0, taps=taps)
    logits(loss.kwargs, loss.around, "{}_linear_module")
    if (loss.kwargs.text("reduction") or "batchmean") != "batchmean":
        loss.kwargs.warn("is not a mean over the batch, as redistill's is: the weight is not comparable", "reduction")
    settings = {"temperature": 1.0 if temperature is None else float(temperature), "t_squared": False}
    loss.add("kd", (), settings, suffix="_soft")


# --- knowledge review ------------------------------------------------------------------------------------------------


def review(parts: list[Loss]) -> None:
    """The stages' losses as one term: redistill's method has the fusions of all stages."""
    first, found = parts[0], []
    for loss in parts:
        student, teacher = loss.both("module_path")
        found.append((loss.own(student, "Student4KnowledgeReview", "a fusion"), teacher, loss))
    found.sort(key=lambda one: one[0].made.place if one[0].made else -1)
    fusions = [student.made for student, _, _ in found if student.made]
    there = len(fusions[0].section.source.at(fusions[0].section.path[:-1])) if fusions else 0
    if [made.place for made in fusions] != list(range(there)):
        first.differs(f"`kr` compares every fusion once, and the source compares {len(fusions)} of {there}")
    weights, pyramids = [loss.weight for *_, loss in found], [_pyramid(loss) for *_, loss in found]
    if len(set(weights)) > 1:
        first.differs(f"`kr` weighs all stages alike, and here they have {sorted(set(weights))}: the first is taken")
    if any(pyramid != pyramids[0] for pyramid in pyramids):
        first.differs("`kr` has one pyramid of sizes for all stages: the first is taken")
    for *_, loss in found:
        loss.unknown_sum()
    first.name, first.weight = "review", weights[0]
    settings = {"pyramid": pyramids[0]} if pyramids[0] else {}
    ends = [one for student, teacher, _ in found for one in (student, teacher)]
    first.add("kr", ends, settings | _middle(first, fusions))


def _pyramid(loss: Loss) -> Any:
    if loss.kwargs.has("kernel_sizes"):
        loss.kwargs.leave("torchdistill 1.1.5 reads `output_sizes`, and this by nothing", "kernel_sizes")
    return loss.kwargs.plain("output_sizes") if loss.kwargs.has("output_sizes") else None


def _middle(loss: Loss, fusions: list[Made]) -> dict[str, Any]:
    """How many channels are fused; redistill takes no more than the deepest stage has."""
    widths, deepest = set(), None
    for made in fusions:
        kwargs = made.section.section("kwargs")
        if kwargs.has("mid_channel"):
            kwargs.warn("torchdistill 1.1.5 has `in_channels`, `mid_channels` and `out_channels`, and stops at this")
        widths.add(kwargs.integer("mid_channels", "mid_channel"))
        deepest = kwargs.integer("in_channels", "in_channel")
    if len(widths) != 1:
        return {}
    (width,) = widths
    if width is not None and deepest is not None and width > deepest:
        loss.differs(f"`kr` fuses at most the {deepest} channels of the deepest stage, torchdistill {width}")
    return {} if width is None else {"middle": width}


LOSSES: dict[str, Callable[[Loss], None]] = {
    "ATLoss": _attention, "FSPLoss": _flow, "AltActTransferLoss": _boundaries, "VIDLoss": _information,
    "ChSimLoss": _channels, "FTLoss": _factors, "KTALoss": _adaptation, "AffinityLoss": _affinity,
    "PADL2Loss": _embedding, "SRDLoss": _projected,
}  # fmt: skip
REVIEW = "HierarchicalContextLoss"  # whose terms become one
