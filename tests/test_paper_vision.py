"""The published vision experiments: every value of every recipe against the facts in paper_vision.json, one by one."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from redistill import registry
from redistill.config import compose, schema

ROOT = Path(__file__).parents[1]
PAPER = json.loads((Path(__file__).parent / "paper_vision.json").read_text(encoding="utf-8"))
EXPERIMENTS, BESIDE = PAPER["experiments"], PAPER["beside"]
IMAGENET = PAPER["protocol"]["imagenet_resnet18"]["rows"]
COCO = PAPER["protocol"]["coco"]
TEACHERS = {
    "resnet34": "imagenet/resnet-34", "resnet18": "imagenet/resnet-18",
    "fasterrcnn_resnet50_fpn": "coco/fasterrcnn-resnet50", "maskrcnn_resnet50_fpn": "coco/maskrcnn-resnet50",
    "deeplabv3_resnet50": "coco/deeplabv3-resnet50",
}  # fmt: skip
Facts = dict[str, Any]


# --- what is there ----------------------------------------------------------------------------------------------------


def recipe(name: str) -> schema.Experiment:
    return compose.validate(schema.Experiment, compose.read(ROOT, "experiments", name))


def said(component: schema.Component) -> dict[str, Any]:
    """Everything about a component, its defaults written out."""
    own = {key: value for key, value in component.model_dump().items() if key in type(component).model_fields}
    return {**own, **registry.with_defaults(component.kind, component.method, component.settings)}


def resolved(experiment: schema.Experiment) -> dict[str, Any]:
    """Every value of a recipe but its label and its notes."""
    values = experiment.model_dump(exclude={"label", "notes", "per_task"})
    assert experiment.student is not None
    assert experiment.student.architecture is not None
    values["student"]["architecture"] = said(experiment.student.architecture)
    values["modules"] = {name: said(module) for name, module in experiment.modules.items()}
    values["evaluation"]["transforms"] = [said(one) for one in experiment.evaluation.transforms]
    for stage, written in zip(experiment.stages, values["stages"], strict=True):
        written["optimiser"], written["schedule"] = said(stage.optimiser), said(stage.schedule)
        written["loss"] = {name: said(term) for name, term in stage.loss.items()}
        written["transforms"] = [said(one) for one in stage.transforms]
    return values


def leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Every single value, by its path."""
    if isinstance(value, dict) and value:
        for key, one in value.items():
            yield from leaves(one, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list) and value:
        for i, one in enumerate(value):
            yield from leaves(one, f"{path}.{i}")
    else:
        yield path, value


# --- what was published -----------------------------------------------------------------------------------------------


def expected(name: str) -> schema.Experiment:
    """The recipe that the facts of an experiment make."""
    said, facts = EXPERIMENTS[name], EXPERIMENTS[name]["facts"]
    stages = [stage(said, facts, i) for i in range(len(facts["stages"]))]
    view = BESIDE["transforms"][said["task"]]
    written = {
        "label": "expected",
        "student": student(said, facts),
        "modules": modules(facts),
        "stages": stages,
        "evaluation": {
            "checkpoint": "best", "split": "dev", "batch_size": view["batch_size"],
            "metrics": ["mean_iou"] if "segmentation" in said["task"] else None,
            "transforms": [transform(*one) for one in view["val"]],
        },
    }  # fmt: skip
    if "teacher" in facts:
        written["teacher"] = {"experiment": TEACHERS[facts["teacher"]["name"]]}
    return schema.Experiment.model_validate(written)


def weights(model: str, enumerated: str) -> str:
    """Our source of torchvision's weights."""
    return f"torchvision/{model}-{enumerated.rpartition('.')[2].lower()}"


def student(said: Facts, facts: Facts) -> dict[str, Any]:
    named = facts.get("student", facts.get("model"))
    model, kwargs = named["name"], named["kwargs"]
    if model == "resnet18":
        assert kwargs == {"num_classes": 1000}
        start = {"start": {"experiment": BESIDE["pad_starts_from"]}} if said["row"] == "PAD-L2" else {}
        return {"architecture": {"method": "torchvision", "name": model}, **start}
    if model.startswith("custom_"):
        backbone = kwargs["backbone"]
        assert (backbone["key"], kwargs["num_classes"]) == ("custom_resnet50", 91)
        assert backbone["kwargs"]["layer1"]["key"] == "Bottleneck4LargeResNet"
        original = model.removeprefix("custom_").replace("_resnet_", "_resnet50_")
        return {
            "architecture": {
                "method": "bottleneck_rcnn", "backbone": "resnet50", "masks": "mask" in model, "norm_eps": 0.0,
                "channels": backbone["kwargs"]["layer1"]["bottleneck_channel"],
            },
            "start": {"source": weights(original, kwargs["weights"]), "fresh": ["backbone.body.layer1"]},
        }  # fmt: skip
    assert kwargs["num_classes"] == 21
    if "weights_backbone" in kwargs:
        source = weights(model.removeprefix("lraspp_"), kwargs["weights_backbone"])
        start = {"source": source, "part": "features", "into": "backbone"}
        return {"architecture": {"method": "segmenter", "name": model, "aux": False}, "start": start}
    architecture = {"method": "segmenter", "name": model, "aux": kwargs["aux_loss"]}
    return {"architecture": architecture, "start": {"source": weights(model, kwargs["weights"])}}


def modules(facts: Facts) -> dict[str, Any]:
    first = facts["stages"][0].get("teacher", {}).get("auxiliary") or {}
    if first.get("name") != "Teacher4FactorTransfer":
        return {}
    own, reads = first["paraphraser_kwargs"], inside(first["input_module_path"])
    assert (own["kernel_size"], own["stride"], own["padding"]) == (3, 1, 1)
    built = {"paraphraser": {"method": "paraphraser", "of": "teacher", "input": reads, "rate": own["k"],
                             "norm": own["uses_bn"]}}  # fmt: skip
    beside = facts["stages"][1]["student"]["auxiliary"]
    if beside["name"] == "Student4FactorTransfer":
        theirs = beside["translator_kwargs"]
        assert theirs["num_output_channels"] == own["num_input_channels"] * own["k"]
        reads = inside(beside["input_module_path"])
        built["translator"] = {"method": "paraphraser", "input": reads, "like": reads, "rate": own["k"],
                               "decode": False, "norm": theirs["uses_bn"]}  # fmt: skip
    return built


def inside(path: str) -> str:
    """A path in a model, without the wrapper around it; DeepLabv3's head has five modules."""
    for wrapper in ("teacher_model.", "student_model.", "model.", "seq."):
        path = path.removeprefix(wrapper)
    return path.replace("classifier.-1", "classifier.4")


def gpus_and_rate(said: Facts, facts: Facts, index: int) -> tuple[int, float, int]:
    """On how many GPUs the stage ran, at which rate, and with how many examples a pass on each."""
    own = facts["stages"][index]
    batch = next((s["batch_size"] for s in reversed(facts["stages"][: index + 1]) if "batch_size" in s), None)
    if said["row"] in IMAGENET:
        gpus, multiplied, _, together, first, *_ = IMAGENET[said["row"]]
        rate = own["lr"] * (gpus if multiplied else 1)
        if index == 0:
            assert rate == pytest.approx(first)
        return gpus, rate, together // gpus
    if said["row"] in COCO:
        gpus = COCO[said["row"]]["gpus"]
        multiplied = COCO[said["row"]]["learning rate multiplied by gpus"]
        return gpus, own["lr"] * (gpus if multiplied else 1), batch or BESIDE["ghnd_batch_size"]
    assert batch is not None
    return 1, own["lr"], batch


def stage(said: Facts, facts: Facts, index: int) -> dict[str, Any]:
    own = facts["stages"][index]
    gpus, rate, batch = gpus_and_rate(said, facts, index)
    passes = gpus * own.get("grad_accum_step", 1)
    teaches_itself = own.get("student", {}).get("auxiliary", {}).get("name") == "EmptyModule"
    loss = terms(said, own)
    live = any(term["method"] in LISTENS for term in loss.values())
    frozen = [inside(path) for path in own.get("student", {}).get("frozen", [])]
    if "modules.paraphraser" in {f"modules.{name}" for name in modules(facts)} and not teaches_itself:
        frozen.append("modules.paraphraser")
    if said["row"] == "SSKD" and not teaches_itself:
        frozen.append("loss.views.teacher")
    trained = ["loss.views" if said["row"] == "SSKD" else "modules.paraphraser"] if teaches_itself else None
    return {
        "data": ["train"],
        "epochs": own["epochs"],
        "batch_size": batch * passes,
        "accumulate": passes,
        "rotations": said["row"] == "SSKD",
        "transforms": seen(said["task"], facts),
        "teacher_outputs": "live" if live or common_base(said, facts) else "stored",
        "frozen": frozen,
        "trained": trained,
        "optimiser": optimiser(own, rate),
        "schedule": schedule(own),
        "loss": loss,
    }


LISTENS = ("kd", "dist", "dist_plus", "logit_standardisation")


def common_base(said: Facts, facts: Facts) -> bool:
    """The ImageNet recipes of one stage share a base, which says `live` whether or not logits are listened to."""
    return said["task"].startswith("imagenet") and len(facts["stages"]) == 1


def seen(task: str, facts: Facts) -> list[dict[str, Any]]:
    """How images are seen in training: of segmenters, as the data set of their schedule is described."""
    if (known := BESIDE["transforms"][task].get("train")) is not None:
        return [transform(*one) for one in known]
    counted = facts["stages"][-1]["scheduler_kwargs"]["num_iterations"]["init"]["kwargs"]["dataset"]
    chain = counted["init"]["kwargs"]["transforms"]["init"]["kwargs"]["transforms"]
    found = [(one["key"].rpartition(".")[2].removeprefix("Custom"), (one["init"] or {}).get("kwargs")) for one in chain]
    return [transform(name, kwargs) for name, kwargs in found if name != "ToTensor"]


def transform(name: str, kwargs: dict[str, Any]) -> dict[str, Any]:
    renamed = {"RandomResize": {"min_size": "least", "max_size": "most"}}.get(name, {})
    method = {"RandomResizedCrop": "random_resized_crop", "RandomHorizontalFlip": "horizontal_flip",
              "Normalize": "normalise", "Resize": "resize", "CenterCrop": "centre_crop", "RandomCrop": "random_crop",
              "RandomResize": "random_resize"}[name]  # fmt: skip
    return {"method": method, **{renamed.get(key, key): value for key, value in kwargs.items()}}


def optimiser(own: Facts, rate: float) -> dict[str, Any]:
    common = {"learning_rate": rounded(rate)}
    if own["optimizer"] == "SGD":
        return {**common, "method": "sgd", "weight_decay": own["weight_decay"], "decay": "all",
                "momentum": own["momentum"], "nesterov": False}  # fmt: skip
    if own["optimizer"] == "AdamW":
        return {**common, "method": "adamw", "weight_decay": own["weight_decay"], "decay": "all"}
    assert own["optimizer"] == "Adam"
    return {**common, "method": "adam", "weight_decay": 0.0}


def rounded(rate: float) -> float:
    """A product as it is written."""
    return float(f"{rate:.12g}")


def schedule(own: Facts) -> dict[str, Any]:
    kind, kwargs = own.get("scheduler"), own.get("scheduler_kwargs", {})
    if kind is None:
        return {"method": "constant"}
    if kind == "poly_lr_scheduler":
        assert kwargs["num_epochs"] == own["epochs"]
        return {"method": "poly", "power": kwargs["power"]}
    assert kind == "MultiStepLR"
    shares = [milestone / own["epochs"] for milestone in kwargs["milestones"]]
    return {"method": "multistep", "milestones": shares, "gamma": kwargs["gamma"]}


# --- losses -----------------------------------------------------------------------------------------------------------


POOLED = {"student": ["fc:input"], "teacher": ["fc:input"]}  # after the average over positions
HEADS = {"student": ["classifier.high_classifier"], "teacher": ["modules.paraphraser.encoder"]}


def both(*paths: str) -> dict[str, list[str]]:
    return {"student": list(paths), "teacher": list(paths)}


def terms(said: Facts, own: Facts) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    review = [loss for loss in own["loss"].values() if loss["loss"] == "HierarchicalContextLoss"]
    layers = [loss for loss in own["loss"].values() if is_sum_of_squares(loss)]
    for loss in own["loss"].values():
        if loss not in (*review, *layers):
            found |= TERMS[loss["loss"]](loss, own)
    if review:
        found["review"] = kr(review, own)
    if layers:
        assert all(loss["weight"] == 1.0 and loss["reduction"] == "sum" for loss in layers)
        paths = [inside(loss["input"].split(":")[1]) for loss in layers]
        assert paths == [inside(loss["target"].split(":")[1]) for loss in layers]
        found["layers"] = {"method": "ghnd", "weight": 1.0, "over_batch": "sum", "taps": both(*paths)}
    if said["task"].startswith("voc"):
        second = BESIDE["second_head"]
        taps = {"student": ["aux_classifier", "backbone.conv1:input"]}
        found["second"] = {"method": "second_head", "weight": second["weight"], "taps": taps}
    return found


def is_sum_of_squares(loss: Facts) -> bool:
    return loss["loss"] == "MSELoss" and loss["reduction"] == "sum"


def cross_entropy(loss: Facts, _own: Facts) -> dict[str, Any]:
    assert (loss["reduction"], loss["target"]) == ("mean", "label")
    return {"hard": {"method": "hard", "weight": loss["weight"]}}


def kd(loss: Facts, _own: Facts) -> dict[str, Any]:
    assert loss["reduction"] == "batchmean"
    rest = loss.get("beta", 1 - loss["alpha"])
    method = "logit_standardisation" if loss["loss"] == "LogitStdKDLoss" else "kd"
    return {
        "hard": {"method": "hard", "weight": loss["weight"] * loss["alpha"]},
        "soft": {"method": method, "weight": rounded(loss["weight"] * rest), "temperature": float(loss["temperature"])},
    }


def mse(loss: Facts, _own: Facts) -> dict[str, Any]:
    assert loss["reduction"] == "mean"
    side, path, _ = loss["input"].split(":")
    target = inside(loss["target"].split(":")[1])
    if side == "teacher":
        taps = {"teacher": [f"modules.{path}", target]}
        return {"paraphrase": {"method": "reconstruction", "weight": loss["weight"], "taps": taps}}
    return {"features": {"method": "feature_mse", "weight": loss["weight"], "taps": both(target)}}


def at(loss: Facts, own: Facts) -> dict[str, Any]:
    taps = both("layer3", "layer4")
    assert own["student"]["requires_grad"]
    return {"attention": {"method": "at", "weight": loss["weight"], "mode": loss["mode"], "taps": taps}}


def ft(loss: Facts, _own: Facts) -> dict[str, Any]:
    taps = {"student": ["modules.translator"], "teacher": ["modules.paraphraser.encoder"]}
    return {"factors": {"method": "ft", "weight": loss["weight"], "p": loss["p"], "taps": taps}}


def crd(loss: Facts, own: Facts) -> dict[str, Any]:
    wrapper = own["teacher"]["auxiliary"]
    assert (inside(wrapper["input_module_path"]), wrapper["power"]) == ("avgpool", 2)
    return {
        "contrast": {
            "method": "crd", "weight": loss["weight"], "features": loss["input_size"],
            "negatives": loss["num_negative_samples"], "temperature": loss["temperature"],
            "momentum": loss["momentum"], "taps": POOLED,
        }
    }  # fmt: skip


def sskd_auxiliary(loss: Facts, _own: Facts) -> dict[str, Any]:
    taps = {"teacher": ["fc:input"]}
    return {"views": {"method": "sskd_auxiliary", "weight": loss["weight"], "taps": taps}}


def sskd(loss: Facts, _own: Facts) -> dict[str, Any]:
    labels, soft, views, transformed = (weight * loss["weight"] for weight in loss["loss_weights"])
    return {
        "hard": {"method": "hard", "weight": labels},
        "soft": {"method": "kd", "weight": soft, "temperature": loss["kl_temp"]},
        "views": {"method": "sskd", "weight": views, "temperature": loss["ss_temp"], "ratio": loss["ss_ratio"],
                  "taps": POOLED},
        "transformed": {"method": "sskd_transformed", "weight": transformed, "temperature": loss["tf_temp"],
                        "ratio": loss["tf_ratio"], "taps": {"teacher": [inside(loss["teacher_linear_module_path"])]}},
    }  # fmt: skip


def pad(loss: Facts, _own: Facts) -> dict[str, Any]:
    taps = both(inside(loss["student_embed_module_path"]))
    assert loss["teacher_embed_module_path"] == "avgpool"
    return {"embedding": {"method": "pad", "weight": loss["weight"], "eps": loss["eps"], "taps": taps}}


def kr(losses: list[Facts], own: Facts) -> dict[str, Any]:
    assert {loss["weight"] for loss in losses} == {1.0}
    assert all(loss["output_sizes"] == losses[0]["output_sizes"] for loss in losses)
    fusions = own["student"]["auxiliary"]["abfs"]
    paths = [inside(fusion["path"]).replace(".-1.relu", "") for fusion in fusions]
    middle = {fusion["kwargs"]["mid_channels"] for fusion in fusions}
    return {"method": "kr", "weight": 1.0, "pyramid": losses[0]["output_sizes"], "middle": middle.pop(),
            "taps": both(*paths)}  # fmt: skip


def srd(loss: Facts, own: Facts) -> dict[str, Any]:
    assert own["teacher"]["auxiliary"]["norm_kwargs"] == {"num_features": 512, "eps": 1e-4, "affine": False}
    soft = {"method": "kd", "weight": loss["weight"], "temperature": loss["temperature"]}
    features = {"method": "srd", "weight": 2 * loss["weight"], "exponent": loss["exponent"], "taps": POOLED}
    return {"soft": soft, "features": features}


def ickd(loss: Facts, own: Facts) -> dict[str, Any]:
    path = inside(own["student"]["auxiliary"]["embeddings"]["embed1"]["path"])
    weight = loss["weight"] / own["batch_size"]
    return {"correlation": {"method": "ickd", "weight": weight, "kernel": 3, "taps": both(path)}}


def dist(loss: Facts, _own: Facts) -> dict[str, Any]:
    return {"relations": {"method": "dist", "weight": loss["weight"], "beta": loss["beta"], "gamma": loss["gamma"],
                          "temperature": loss["tau"]}}  # fmt: skip


def dist_plus(loss: Facts, own: Facts) -> dict[str, Any]:
    common = dist(loss, own)["relations"]
    taps = both(loss["student_feature_module_path"])
    return {"relations": {**common, "method": "dist_plus", "channel": loss["iota"], "spatial": loss["kappa"],
                          "taps": taps}}  # fmt: skip


def norm(loss: Facts, _own: Facts) -> dict[str, Any]:
    taps = {"teacher": [f"modules.{loss['module_path']}"]}
    return {"small": {"method": "norm", "weight": loss["weight"], "p": loss["p"], "taps": taps}}


def ktaad(loss: Facts, _own: Facts) -> dict[str, Any]:
    assert loss["reduction"] == "mean"
    return {"adaptation": {"method": "ktaad", "weight": loss["weight"], "p": loss["p"], "q": loss["q"], "taps": HEADS}}


def affinity(loss: Facts, _own: Facts) -> dict[str, Any]:
    assert loss["reduction"] == "mean"
    return {"affinity": {"method": "ktaad_affinity", "weight": loss["weight"], "taps": HEADS}}


TERMS = {
    "CrossEntropyLoss": cross_entropy, "KDLoss": kd, "LogitStdKDLoss": kd, "MSELoss": mse, "ATLoss": at, "FTLoss": ft,
    "CRDLoss": crd, "AuxSSKDLoss": sskd_auxiliary, "SSKDLoss": sskd, "PADL2Loss": pad, "SRDLoss": srd,
    "ChSimLoss": ickd, "DISTLoss": dist, "DISTPlusLoss": dist_plus, "RegularizationLoss": norm, "KTALoss": ktaad,
    "AffinityLoss": affinity,
}  # fmt: skip


# --- tests ------------------------------------------------------------------------------------------------------------


def test_every_published_vision_experiment_is_a_recipe_of_its_own():
    ours = {said["experiment"] for said in EXPERIMENTS.values()}
    assert len(EXPERIMENTS) == len(ours) == 19
    there = {n for n in compose.known(ROOT, "experiments") if n.startswith(("imagenet/", "coco/", "voc/"))}
    assert there - ours == {"imagenet/base", *TEACHERS.values()}


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_value_is_the_published_one(name):
    ours = dict(leaves(resolved(recipe(EXPERIMENTS[name]["experiment"]))))
    published = dict(leaves(resolved(expected(name))))
    assert ours.keys() == published.keys()
    assert {path: (value, published[path]) for path, value in ours.items() if value != published[path]} == {}


@pytest.mark.parametrize("row", IMAGENET)
def test_an_epoch_on_imagenet_has_as_many_steps_as_the_log(row):
    gpus, _, logged, together, *_ = IMAGENET[row]
    (name,) = [name for name, said in EXPERIMENTS.items() if said["row"] == row]
    stages = recipe(EXPERIMENTS[name]["experiment"]).stages
    assert {stage.batch_size for stage in stages} == {together}
    assert {stage.accumulate for stage in stages} == {gpus}
    images = 1281167
    assert -(-images // together) == logged


def test_ktaads_rate_falls_as_in_its_log():
    stage, logged = recipe("coco/ktaad-lraspp").stages[1], BESIDE["steps"]["ktaad"]
    assert -(-logged["images"] // 24) == logged["passes of an epoch"]
    passes = logged["passes of an epoch"] * (stage.epochs or 0)
    poly = registry.get("schedule", "poly")
    for done, rate in ((1, logged["first rate"]), (1001, logged["rate after 1001 passes"])):
        assert stage.optimiser.learning_rate * poly(done, passes, power=0.9) == pytest.approx(rate, rel=1e-9)


@pytest.mark.parametrize("teacher", TEACHERS)
def test_the_teachers_are_the_published_ones(teacher):
    (named,) = {json.dumps(said["facts"]["teacher"]) for said in EXPERIMENTS.values()
                if said["facts"].get("teacher", {}).get("name") == teacher}  # fmt: skip
    ours = recipe(TEACHERS[teacher])
    assert ours.stages == []
    assert ours.student is not None
    assert ours.student.start is not None
    assert ours.student.architecture is not None
    assert ours.student.architecture.settings["name"] == teacher
    assert ours.student.start.source == weights(teacher, json.loads(named)["kwargs"]["weights"])


# --- numbers that they stand beside -----------------------------------------------------------------------------------


def references(name: str) -> schema.References:
    return compose.validate(schema.References, compose.read(ROOT, "references", name))


ROWS = {"Pretrained (torchvision)": "resnet-18", "L2 (CE + L2)": "l2",
        **{said["row"]: said["experiment"].removeprefix("imagenet/") for said in EXPERIMENTS.values()}}  # fmt: skip


def named(model: str) -> str:
    return "densenet-bc-100-12" if model.startswith("DenseNet") else model.lower()


def published_numbers() -> dict[str, dict[str, dict[str, float]]]:
    """Every number, by file, row and column."""
    found: dict[str, dict[str, dict[str, float]]] = {"cifar": {}, "imagenet": {}, "coco": {}, "voc": {}}
    said = PAPER["published"]
    for column, key in (("CIFAR-10", "cifar10_test_accuracy"), ("CIFAR-100", "cifar100_test_accuracy")):
        for model, number in said[key].items():
            found["cifar"].setdefault(named(model), {})[column] = number
    for method, (authors, torchdistill) in said["imagenet_val_top1_resnet18"]["rows"].items():
        found["imagenet"][ROWS[method]] = {"ImageNet": torchdistill}
        if authors is not None:
            found["imagenet"][f"{ROWS[method]}-authors"] = {"ImageNet": authors}
    faster, mask = said["coco2017_detection_val_map"].values()
    found["coco"]["ghnd-fasterrcnn"] = {"boxes": 100 * faster["bbox"]}
    found["coco"]["ghnd-maskrcnn"] = {"boxes": 100 * mask["bbox"], "masks": 100 * mask["mask"]}
    (ktaad,) = said["coco2017_segmentation_val"].values()
    found["coco"]["ktaad-lraspp"] = {"classes": ktaad["miou"], "pixels": ktaad["pixel_acc"]}
    for model, numbers in said["pascal_voc2012_segmentation_val"].items():
        row = model.lower().replace(" resnet-", "-resnet")
        found["voc"][row] = {"classes": numbers["miou"], "pixels": numbers["pixel_acc"]}
    return found


@pytest.mark.parametrize("file", ["cifar", "imagenet", "coco", "voc"])
def test_every_published_number_is_in_the_references(file):
    ours = {name: row.scores for name, row in references(file).rows.items()}
    assert ours.keys() == published_numbers()[file].keys()
    for name, numbers in published_numbers()[file].items():
        assert ours[name] == pytest.approx(numbers), name


def study() -> schema.Study:
    return compose.validate(schema.Study, compose.read(ROOT, "studies", "paper"))


TABLES = {"cifar10": 9, "cifar100": 4, "imagenet": 15, "coco-detection": 2, "coco-segmentation": 1,
          "voc-segmentation": 2}  # fmt: skip


@pytest.mark.parametrize("table", TABLES)
def test_every_row_stands_beside_its_published_number(table):
    said = study().tables[table]
    assert len(said.claims) == TABLES[table]
    for claim in said.claims:
        row = references(claim.reference).rows[claim.published]
        beside = recipe(claim.row).notes["published"]
        shown = [float(word) for word in beside.replace(";", " ").split() if word[0].isdigit()]
        judged = [number for column, number in row.scores.items() if column in references(claim.reference).tasks]
        assert shown == pytest.approx(judged), claim.row
        assert claim.row.endswith(f"/{claim.published}")


@pytest.mark.parametrize("table", ["cifar10", "cifar100"])
def test_a_row_that_was_selected_on_the_test_set_says_so_beside_the_last_epoch(table):
    rows = study().tables[table].rows
    claimed = [claim.row for claim in study().tables[table].claims]
    for name in claimed:
        (best,) = [row for row in rows if row.experiment == name and not row.set]
        (last,) = [row for row in rows if row.experiment == name and row.set]
        assert recipe(best.experiment).notes["checkpoint"] == "selected on test"
        assert last.set == {"evaluation.checkpoint": "last", "notes.checkpoint": "last epoch"}
        assert rows.index(last) == rows.index(best) + 1
