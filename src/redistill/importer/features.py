"""Losses on what happens inside the models: each as a method of redistill, with its settings, taps and weight.

Where torchdistill's formula is another one than the method's, so that no weight makes them equal, that is said.
"""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from redistill import registry
from redistill.importer import beside
from redistill.importer.around import (
    LOGITS,
    SIDES,
    Around,
    End,
    Made,
    Terms,
    add,
    below,
    check_hook,
    end,
    exact,
    module_name,
    pooled,
    unwrapped,
)
from redistill.importer.inert import printable
from redistill.importer.names import exists, word_of
from redistill.importer.section import Section

Taps = dict[str, list[str]]


@dataclass
class Pair:
    """A pair of a loss that compares several: its ends of both sides in the method's order."""

    name: str
    weight: float
    ends: dict[str, list[End]]

    def own(self, loss: "Loss", kind: str, words: str) -> End:
        """Put the student's end below a module that the method has itself."""
        self.ends["student"] = [loss.own(found, kind, words) for found in self.ends["student"]]
        return self.ends["student"][0]


@dataclass
class Loss:
    """A loss of the source on its way into the terms of a stage."""

    kind: str
    kwargs: Section
    name: str
    weight: float
    around: Around
    terms: Terms

    def end(self, side: str, key: str, otherwise: str = ".", io: str | None = None) -> End:
        """The end that stands under `..._path`, with its `..._io`."""
        path = self.kwargs.text(key) or otherwise
        io_key = f"{key.removesuffix('path')}io"
        given = (self.kwargs.text(io_key) if io is None else io) or "output"
        return end(self.around, self.kwargs, key, side, path, given)

    def both(self, key: str) -> list[End]:
        """The student's and the teacher's end under `student_KEY` and `teacher_KEY`."""
        return [self.end(side, f"{side}_{key}") for side in SIDES]

    def pairs(self, key: str, steps: tuple[str, ...] = ("",)) -> list[Pair]:
        """The pairs under a key; each side of a pair has one end for each of the steps."""
        found = []
        held = self.kwargs.section(key)
        for name in held.data:
            section = held.section(name)
            ends = {side: [self._end_of_pair(section, f"{side}{step}", side) for step in steps] for side in SIDES}
            weight = section.number("weight", "factor")
            found.append(Pair(name, 1.0 if weight is None else float(weight), ends))
        if not found:
            self.kwargs.warn("has no pairs: torchdistill stops here", key)
        return found

    def _end_of_pair(self, pair: Section, key: str, side: str) -> End:
        section = pair.section(key)
        path, io = section.text("path") or ".", section.text("io") or "output"
        return end(self.around, section, "path", side, path, io)

    def add_pairs(self, method: str, pairs: list[Pair], each: list[dict[str, Any]], factor: float = 1.0) -> None:
        """One term of all pairs, where they have one weight and the same settings; else a term of each."""
        weights = {pair.weight for pair in pairs}
        alike = len(weights) == 1 and all(settings == each[0] for settings in each)
        groups = [("", pairs)] if alike else [(f"_{word_of(pair.name)}", [pair]) for pair in pairs]
        for suffix, group in groups:
            ends = [found for pair in group for side in SIDES for found in pair.ends[side]]
            settings = each[pairs.index(group[0])]
            self.add(method, ends, settings, factor=factor * group[0].weight, suffix=suffix)
        if len(groups) > 1 and len(weights) > 1:
            self.kwargs.warn("pairs have weights of their own: each becomes a term")

    def add(
        self, method: str, ends: Iterable[End] = (), settings: dict[str, Any] | None = None, *, factor: float = 1.0,
        suffix: str = "", taps: Taps | None = None,
    ) -> str:  # fmt: skip
        """Note a term whose weight is the loss's, times a factor; returns its name."""
        found = taps or {side: [one.tap for one in ends if one.side == side] for side in SIDES}
        given, settings = {side: paths for side, paths in found.items() if paths}, settings or {}
        if exists(self.kwargs.source, "loss", method):
            known = registry.signature("loss", method).settings
            for key, value in settings.items():
                if wrong := registry.mistake(known[key], value):
                    self.kwargs.warn(f"setting `{key}` of loss `{method}` {wrong}, and is {printable(value)}")
        taken = {"taps": given} if given else {}
        term = {"method": method, "weight": exact(self.weight * factor), **taken, **settings}
        return add(self.terms, f"{self.name}{suffix}", term)

    def settings(self, **names: str) -> dict[str, Any]:
        """Settings of redistill by their names there, as far as they are given."""
        found = {here: self._plain(there) for here, there in names.items() if self.kwargs.has(there)}
        return {here: value for here, value in found.items() if value is not None}

    def _plain(self, key: str) -> Any:
        value = self.kwargs.data[key]
        number = isinstance(value, str) and re.fullmatch(r"[-+.\d]+(e[-+]?\d+)?", value, re.IGNORECASE)
        return self.kwargs.number(key) if number else self.kwargs.plain(key)

    def differs(self, words: str) -> None:
        """The term is not the same number as in torchdistill, whatever its weight."""
        self.kwargs.warn(f"{self.kind} is another number in redistill: {words}")

    def constant(self, key: str, value: float) -> None:
        """A number that redistill's method has as a constant."""
        given = self.kwargs.number(key)
        if given is not None and given != value:
            self.kwargs.warn(f"redistill has {value:g} there, and no setting for it", key)

    def summed(self, default: str = "mean", power: int = 1) -> float:
        """The factor of a loss that may be a sum over as many numbers as a power of the batch's size."""
        reduction, batch = self.kwargs.text("reduction") or default, self.around.batch
        if reduction == default:
            return 1.0
        if batch is None:
            self.kwargs.warn("sums over a batch whose size is not known: the weight is not comparable", "reduction")
            return 1.0
        over = "the batch" if power == 1 else f"{power} dimensions as long as the batch"
        self.kwargs.warn(f"sums over {over}: the weight is multiplied by {batch**power}; a smaller last batch of an "
                         "epoch differs", "reduction")  # fmt: skip
        return float(batch**power)

    def unknown_sum(self) -> None:
        """A sum over the elements, whose number is not in the source."""
        if (self.kwargs.text("reduction") or "mean") != "mean":
            self.kwargs.warn("is a sum over the elements, and redistill's a mean: the weight is not comparable",
                             "reduction")  # fmt: skip

    def own(self, found: End, kind: str, words: str) -> End:
        """The end below a module that the method has itself; the end as it is where there is none, which is said."""
        if found.made is not None and found.made.kind == kind:
            self.take(found, words)
            return below(found, self.around)
        self.differs(f"its method has {words} of its own on `{found.tap}`, and no {kind} is described there")
        return End(found.side, found.tap, found.path, found.io)

    def take(self, found: End, words: str) -> None:
        """What torchdistill makes at an end goes into the term."""
        assert found.made is not None
        beside.taken(found.made)
        what = (found.side, found.path)
        if what in self.around.taken:
            self.kwargs.warn(f"shares {words} with another loss; in redistill each term has its own")
        self.around.taken.add(what)

    def still(self, name: str) -> None:
        """What a term learns on the teacher's side stays as it is where the stage does not train the teacher."""
        if "teacher" in self.around.still:
            self.around.frozen.append(f"loss.{name}.teacher")


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
            _same(convolution, wanted, "a 1 x 1 convolution without a bias")
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


def _same(section: Section, wanted: dict[str, Any], words: str) -> None:
    """Say where a layer of the source is another one than redistill's."""
    for key in beside.other_than(section, wanted):
        section.warn(f"redistill has {words}", key)


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
        _same(convolution, {"kernel_size": 3, "stride": 1, "padding": 1, "bias": True}, "a 3 x 3 convolution")
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
    _same(given, {"kernel_size": 3, "stride": 1, "padding": 1}, "3 x 3 convolutions")
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


# --- relations between examples --------------------------------------------------------------------------------------


def _neighbours(loss: Loss) -> None:
    loss.constant("eps", 1e-7)
    loss.add("pkt", loss.both("module_path"))


def _relations(loss: Loss) -> None:
    ends = [loss.end(side, f"{side}_output_path", io="output") for side in SIDES]
    batch = 1
    if (loss.kwargs.text("reduction") or "mean") != "mean":
        batch = loss.around.batch or 1
        loss.kwargs.warn("sums over pairs and triples of examples: the weights are multiplied by the batch size "
                         f"{batch} to the power of 2 and 3; a smaller last batch differs", "reduction")  # fmt: skip
    for found in ends:
        _one_vector(loss, found)
    factors = {"distance_weight": ("dist_factor", batch**2), "angle_weight": ("angle_factor", batch**3)}
    settings = {here: exact((loss.kwargs.number(there) or 0.0) * power) for here, (there, power) in factors.items()}
    loss.add("rkd", ends, settings)


VECTORS = ("avgpool", "pool", "pooler", "global_pool")


def _one_vector(loss: Loss, found: End) -> None:
    """Say where a layer that is no pooling is taken for a vector an example."""
    plain = found.tap.partition(":")[0].rpartition(".")[2]
    if plain not in VECTORS and not found.tap.endswith(":input") and not found.tap.startswith("modules."):
        loss.kwargs.source.needs(
            f"a tap of one vector an example in the place of `{printable(found.path)}`, if that gives maps: "
            "torchdistill flattens them"
        )


def _similarities(loss: Loss) -> None:
    ends = [loss.end(side, f"{side}_output_path", io="output") for side in SIDES]
    loss.add("spkd", ends, factor=loss.summed("batchmean", 2))
    loss.differs("torchdistill divides the rows by the sum of their absolute values, `spkd` by their length")


def _correlation(loss: Loss) -> None:
    given = [loss.end(side, f"{side}_linear_path", "linear", "output") for side in SIDES]
    ends = [loss.own(found, "Linear4CCKD", "a linear layer") for found in given]
    if loss.kwargs.has("kernel_params"):
        loss.kwargs.warn("torchdistill 1.1.5 reads `kernel_config`, and stops at this", "kernel_params")
    kernel = loss.kwargs.section("kernel_config", "kernel_params")
    if kernel.has("key"):
        kernel.warn("torchdistill 1.1.5 reads `type`, and stops at this", "key")
    settings: dict[str, Any] = {"kernel": kernel.text("type", "key") or "gaussian"}
    numbers = {"gamma": kernel.number("gamma"), "order": kernel.integer("max_p"), "features": _width(ends)}
    settings |= {key: value for key, value in numbers.items() if value is not None}
    loss.still(loss.add("cckd", ends, settings, factor=loss.summed("batchmean", 2)))
    loss.differs("torchdistill takes the root of the squared norm, and does not bring the embeddings to length one")


def _width(ends: list[End]) -> int | None:
    """How many features the linear layers on both sides give."""
    linear = [found.made.section.section("linear_kwargs") for found in ends if found.made]
    return linear[0].integer("out_features") if linear else None


def _contrast(loss: Loss) -> None:
    given = [loss.end(side, f"{side}_norm_module_path", "normalizer", "output") for side in SIDES]
    ends = [loss.own(found, "Linear4CRD", "a linear layer") for found in given]
    for found in ends:
        if found.made:
            _same(found.made.section, {"power": 2}, "embeddings of length one")
            _same(found.made.section.section("linear_kwargs"), {"bias": True}, "linear layers with a bias")
    loss.kwargs.use("student_empty_module_path")
    loss.constant("eps", 0.0)
    features = _width(ends) or loss.kwargs.integer("input_size")
    loss.kwargs.use("input_size", "output_size", "num_samples")  # the embedding's width and the size of the data
    settings = loss.settings(negatives="num_negative_samples", temperature="temperature", momentum="momentum")
    loss.still(loss.add("crd", ends, settings | ({"features": features} if features else {})))
    loss.kwargs.warn("negatives are drawn by the data set's wrapper, from the other classes alone; redistill draws "
                     "them from all other examples")  # fmt: skip


def _turned_auxiliary(loss: Loss) -> None:
    teacher = loss.own(loss.end("teacher", "module_path", "ss_module"), "SSWrapper4SSKD", "a head")
    factor = loss.summed()
    loss.name = _views(loss)
    loss.add("sskd_auxiliary", [teacher], factor=factor)


def _turned(loss: Loss) -> None:
    """Labels, logits, logits of turned images, and relations of turned images: a term of each."""
    given = loss.kwargs.plain("loss_weights") if loss.kwargs.has("loss_weights") else None
    given = given if isinstance(given, list) and len(given) == 4 else [1.0] * 4
    labels, soft, views, turned = (float(w) if isinstance(w, int | float) else 1.0 for w in given)
    heads = [loss.own(found, "SSWrapper4SSKD", "a head") for found in loss.both("ss_module_path")]
    teacher = loss.both("linear_module_path")[1]
    if teacher.path in ("", "."):
        loss.kwargs.source.needs("the tap of the teacher's last layer, whose logits of turned images are compared")
    if (loss.kwargs.text("reduction") or "batchmean") != "batchmean":
        loss.kwargs.warn("is not a mean over the batch, as redistill's is: the weights are not comparable", "reduction")
    loss.add("hard", factor=labels, suffix="_labels")
    loss.add("kd", (), loss.settings(temperature="kl_temp"), factor=soft, suffix="_soft")
    of_turned = loss.settings(temperature="tf_temp", ratio="tf_ratio")
    loss.add("sskd_transformed", [teacher], of_turned, factor=turned, suffix="_turned")
    loss.name = _views(loss)
    loss.still(loss.add("sskd", heads, loss.settings(temperature="ss_temp", ratio="ss_ratio"), factor=views))


def _views(loss: Loss) -> str:
    """The name of the term whose head one stage trains and another one uses: what it learns goes by the name."""
    loss.kwargs.warn("each turned image is augmented by itself; redistill turns the image as the student sees it")
    return "views"


# --- on logits and features ------------------------------------------------------------------------------------------


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


def logits(kwargs: Section, around: Around, module: str = "{}_module") -> None:
    """The loss compares logits: the outputs of the models or of their last modules."""
    if not kwargs.has(f"{module.format('student')}_path") and "org_term" not in kwargs.path:
        kwargs.warn(f"torchdistill 1.x stops without `{module.format('student')}_path`; the models' outputs are taken")
    for side in SIDES:
        path_key, io_key = f"{module.format(side)}_path", f"{module.format(side)}_io"
        path = str(kwargs.data.get(path_key, "."))
        if is_logits(path, side, kwargs.data.get(io_key, "output"), around):
            kwargs.use(path_key, io_key)
            check_hook(kwargs, path_key, side, path, around)
        reason = "this loss compares logits in redistill, and this is another module's value"
        kwargs.leave(reason, path_key, io_key)


def is_logits(path: str, side: str, io: object, around: Around) -> bool:
    """Whether a module's value is the model's logits."""
    return unwrapped(path, side, around) in LOGITS and io == "output"


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
    "PADL2Loss": _embedding, "PKTLoss": _neighbours, "RKDLoss": _relations, "SPKDLoss": _similarities,
    "CCKDLoss": _correlation, "CRDLoss": _contrast, "AuxSSKDLoss": _turned_auxiliary, "SSKDLoss": _turned,
    "SRDLoss": _projected, "DISTLoss": _stronger, "DISTPlusLoss": _stronger_plus, "SKDInstanceLoss": _instance,
    "SKDDirectionLoss": _direction,
}  # fmt: skip
REVIEW = "HierarchicalContextLoss"  # whose terms become one


def read(loss: Loss) -> None:
    """A loss as terms; what it has beside that is read by nothing in the source either."""
    LOSSES[loss.kind](loss)
    loss.kwargs.leave(f"{loss.kind} reads nothing of that name")
