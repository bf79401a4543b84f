"""Losses between the examples of a batch, or between their turned images: each as a method of redistill."""

from collections.abc import Callable
from typing import Any

from redistill.importer.around import SIDES, End, exact
from redistill.importer.inert import printable
from redistill.importer.loss import Loss, same_layer

VECTORS = ("avgpool", "pool", "pooler", "global_pool")  # modules that give one vector an example


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
            same_layer(found.made.section, {"power": 2}, "embeddings of length one")
            same_layer(found.made.section.section("linear_kwargs"), {"bias": True}, "linear layers with a bias")
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


LOSSES: dict[str, Callable[[Loss], None]] = {
    "PKTLoss": _neighbours, "RKDLoss": _relations, "SPKDLoss": _similarities, "CCKDLoss": _correlation,
    "CRDLoss": _contrast, "AuxSSKDLoss": _turned_auxiliary, "SSKDLoss": _turned,
}  # fmt: skip
