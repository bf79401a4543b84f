"""Every loss of torchdistill is a method with its weight, taps and settings; and gives torchdistill's own number."""

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import torch
from test_torchdistill import imported, texts
from torch import Tensor, nn

from redistill import registry
from redistill.config.parse import load
from redistill.distill import crd
from redistill.importer import import_files
from redistill.importer.section import UNKNOWN

LAYERS = [f"layer{i}:output" for i in (2, 3)]
POOLED = {"student": ["pool:output"], "teacher": ["pool:output"]}
FC = {"student": ["fc:input"], "teacher": ["fc:input"]}
FACTORS = {"student": ["modules.translator"], "teacher": ["modules.paraphraser.encoder"]}
ADAPTED = {"student": ["layer3:output"], "teacher": ["modules.paraphraser.encoder"]}


def same(*taps: str) -> dict[str, list[str]]:
    """These taps on both sides."""
    return {"student": list(taps), "teacher": list(taps)}


# By stage: each term with its method, weight, taps and settings.
RELATIONS: list[dict[str, tuple[Any, ...]]] = [
    {
        "at_code": ("at", 1000.0, same(*LAYERS), {"mode": "code"}),  # both pairs weigh 2
        "at_paper": ("at", 1.0, same(*LAYERS), {"mode": "paper"}),
        "at_weighed_one": ("at", 300.0, {"student": ["layer2.2:output"], "teacher": ["layer2:output"]}),
        "at_weighed_two": ("at", 100.0, same("layer3:output")),
        "fsp": ("fsp", 0.1, same("layer2.1:input", "layer2:output")),
        "pkt": ("pkt", 30000.0, FC),
        "rkd": ("rkd", 2.0, POOLED, {"distance_weight": 1.0, "angle_weight": 2.0}),
        "rkd_sum": ("rkd", 0.01, POOLED, {"distance_weight": 0.5 * 8**2, "angle_weight": 0.25 * 8**3}),
        "spkd": ("spkd", 10.0, same("layer3:output")),
        "dist": ("dist", 1.5, None, {"beta": 2.0, "gamma": 0.5, "temperature": 3.0}),
        "dist_plus": ("dist_plus", 1.0, same("layer3:output"), {"channel": 0.5, "spatial": 2.0, "temperature": 2.0}),
        "instance": ("skd", 0.7, None, {"direction": 0.0, "follow": "code"}),
        "direction": ("skd", 0.3, None, {"instance": 0.0, "tikhonov": 0.2, "follow": "code"}),
        "direction_paper": ("skd", 0.2, None, {"instance": 0.0, "follow": "paper"}),
        "standardised_hard": ("hard", 0.25),
        "standardised": ("logit_standardisation", 4.5, None, {"temperature": 2.0}),
        "kd_hard": ("hard", 0.2),
        "kd": ("kd", 1.8, None, {"temperature": 4.0}),
        "bare": ("kd", 0.8, None, {"temperature": 3.0, "t_squared": False}),  # a sum over 8
        "maps": ("feature_mse", 4.0, same("layer3:output")),
        "summed_maps": ("ghnd", 0.001, same("layer3:output")),
        "logits": ("feature_mse", 0.3, same("fc:output")),
        "labels": ("hard", 1.0),
    },
    {"cckd": ("cckd", 0.02, POOLED, {"kernel": "gaussian", "gamma": 0.3, "order": 3, "features": 24})},
    {"crd": ("crd", 0.8, POOLED, {"negatives": 5, "temperature": 0.1, "momentum": 0.4, "features": 12})},
    {"pad": ("pad", 2.0, POOLED, {"eps": 0.001})},  # a sum over 8
    {
        "srd": ("srd", 1.0, FC, {"exponent": 3.0}),  # twice the weight, of what the wrapper averages over positions
        "srd_soft": ("kd", 0.5, None, {"temperature": 2.0, "t_squared": False}),
    },
    {"views": ("sskd_auxiliary", 1.5, {"teacher": ["pool:output"]})},
    {
        "sskd_labels": ("hard", 0.5),
        "sskd_soft": ("kd", 0.45, None, {"temperature": 4.0}),
        "sskd_turned": ("sskd_transformed", 1.35, {"teacher": ["fc:output"]}, {"temperature": 3.0, "ratio": 1.0}),
        "views": ("sskd", 5.0, POOLED, {"temperature": 0.5, "ratio": 1.0}),
    },
]
BEHIND = {"student": LAYERS, "teacher": ["layer2:output", "pool:input"]}  # a ReLU has written over what `bn1` gave
HINT = {"norm": True, "relu": True}
MAPS: list[dict[str, tuple[Any, ...]]] = [
    {
        "dab": ("dab", 0.01, BEHIND, {"decay": 1.0, "margin": 1.5}),
        "dab_weighed_one": ("dab", 0.0008, same("layer2:output"), {"decay": 1.0, "margin": 1.0}),
        "dab_weighed_two": ("dab", 0.024, {"student": ["layer3:output"], "teacher": ["pool:input"]},
                            {"decay": 1.0, "margin": 1.0}),
    },
    {"vid": ("vid", 0.6, same(*LAYERS), {"variance": 4.0, "eps": 0.0001})},
    {"review": ("kr", 0.4, same("layer1:output", *LAYERS, "pool:output"), {"pyramid": [4, 1], "middle": 48})},
    {"channels": ("ickd", 50 * 2 / 8, same("layer3:output"), {"kernel": 3})},
    {
        "hint": ("fitnet", 0.001 * 2 * 8, same("layer2:output"), HINT),
        "mean_hint": ("fitnet", 100.0, same("layer2:output"), {"reduction": "mean", **HINT}),
    },
    {"again": ("reconstruction", 1.0, {"teacher": ["modules.paraphraser", "layer3:output"]})},
    {
        "factors": ("ft", 1000.0, FACTORS, {"p": 1}),
        "factors_of_length": ("ft", 0.8, FACTORS, {"p": 2}),
    },
    {
        "adapt": ("ktaad", 50.0, ADAPTED, {"p": 1, "q": 2}),
        "affinity": ("ktaad_affinity", 2.0, ADAPTED),
    },
]  # fmt: skip
LOSSES = {"cifar-relations": RELATIONS, "cifar-maps": MAPS}
OTHER = {"fsp", "spkd", "cckd", "dist_plus"}  # whose formula is another one in torchdistill


@pytest.mark.parametrize("name", LOSSES)
def test_every_loss_is_a_method_with_its_weight_taps_and_settings(tmp_path, name):
    data, report = imported(tmp_path, name)
    for stage, expected in zip(data["stages"], LOSSES[name], strict=True):
        terms = {}
        for term, (method, weight, *more) in expected.items():
            taps, settings = (*more, None, None)[:2]
            terms[term] = {"method": method, "weight": weight, **({"taps": taps} if taps else {}), **(settings or {})}
        assert stage["loss"] == terms
    left = {item.reason for item in report.left_out}
    assert not any("describe" in reason or reason == UNKNOWN for reason in left), left
    assert not any("has no loss" in need for need in report.to_do)


def test_where_the_formula_is_another_one_it_is_said(tmp_path):
    _, report = imported(tmp_path, "cifar-relations")
    said = {re.search(r"sub_terms\.(\w+)", warning)[1] for warning in report.warnings if "another number" in warning}
    assert said == OTHER
    _, report = imported(tmp_path, "cifar-maps")
    assert "another number" not in texts(report)


def test_what_a_stage_trains_beside_the_student(tmp_path):
    data, _ = imported(tmp_path, "cifar-maps")
    assert data["modules"] == {
        "paraphraser": {"method": "paraphraser", "of": "teacher", "input": "layer3:output", "rate": 0.5},
        "translator": {"method": "paraphraser", "input": "layer3:output", "decode": False, "like": "layer3:output",
                       "rate": 0.5},
    }  # fmt: skip
    beside = [
        {key: stage[key] for key in ("trained", "frozen", "rotations") if key in stage} for stage in data["stages"]
    ]
    assert beside == [{}] * 5 + [{"trained": ["modules.paraphraser"]}] + [{"frozen": ["modules.paraphraser"]}] * 2
    data, _ = imported(tmp_path, "cifar-relations")
    beside = [
        {key: stage[key] for key in ("trained", "frozen", "rotations") if key in stage} for stage in data["stages"]
    ]
    assert beside[5:] == [
        {"trained": ["loss.views"], "rotations": True}, {"frozen": ["loss.views.teacher"], "rotations": True}
    ]  # fmt: skip
    assert beside[:5] == [{}] * 5


def test_a_tap_in_front_of_a_relu_in_place_is_behind_it(tmp_path):
    data, report = imported(tmp_path, "imagenet-review")
    (stage,) = data["stages"]
    assert stage["loss"] == {
        "review": {
            "method": "kr", "weight": 0.6, "middle": 640,
            "taps": {"student": ["layer3.1.relu:output", "layer4.1.relu:output", "avgpool:output"],
                     "teacher": ["layer3.5.relu:output", "layer4.2.relu:output", "avgpool:output"]},
        }
    }  # fmt: skip
    assert stage["frozen"] == ["layer1"]
    said = texts(report)
    assert "a ReLU writes over `layer3.-1.relu:input` in place before torchdistill reads it" in said
    assert "`kr` fuses at most the 512 channels of the deepest stage, torchdistill 640" in said
    assert "torchdistill 1.1.5 has `in_channels`, `mid_channels` and `out_channels`, and stops at this" in said
    assert "counts from the end" not in said


# --- what cannot be carried over, and what is said of it -------------------------------------------------------------

PAIR = {"teacher": {"io": "output", "path": "layer2"}, "student": {"io": "output", "path": "layer2"}}
MADE_PAIR = {"feature_pairs": {"one": {**PAIR, "student": {"io": "output", "path": "connector_dict.one"}}}}
EVEN = {"in_channels": 32, "out_channels": 32, "kernel_size": 3, "stride": 1, "padding": 1, "bias": False}
CONNECTOR = {"key": "Connector4DAB", "kwargs": {"connectors": {"one": {
    "io": "output", "path": "student_model.layer2", "conv2d_kwargs": EVEN}}}}  # fmt: skip
REGRESSOR = {"key": "VariationalDistributor4VID", "kwargs": {"regressors": {"one": {
    "io": "output", "path": "student_model.layer2",
    "regressor_kwargs": {"in_channels": 32, "middle_channels": 48, "out_channels": 32, "eps": 0.1, "init_pred_var": 2},
}}}}  # fmt: skip
LINEAR = {"key": "Linear4CCKD", "kwargs": {"input_module": {"path": "model.fc", "io": "input"}, "linear_kwargs": {
    "in_features": 64, "out_features": 8}}}  # fmt: skip
FUSIONS = {"key": "Student4KnowledgeReview", "kwargs": {"sizes": [1, 8], "abfs": [
    {"path": f"student_model.layer{i}", "io": "output", "kwargs": {"in_channels": 16 * i, "mid_channels": 8}}
    for i in (1, 2)]}}  # fmt: skip
HINTED = {"adaptations": {"hint": {"key": "ConvReg", "kwargs": {"kernel_size": 3, "stride": 2, "padding": 1}}},
          "sequential": ["conv1", "layer1", "+hint"]}  # fmt: skip
UNLIKE = {"adaptations": {"hint": {"key": "ConvReg", "kwargs": {"kernel_size": 5, "stride": 2, "padding": 2}}},
          "sequential": ["conv1", "layer1", "+hint"]}  # fmt: skip
WRAPPED_MSE = {"input": {"is_from_teacher": False, "module_path": "+hint", "io": "output"},
               "target": {"is_from_teacher": True, "module_path": "layer2", "io": "output"}}  # fmt: skip
SRD = {f"{side}_{what}_module_path": path for side in ("student", "teacher")
       for what, path in (("feature", "layer3"), ("linear", "."))}  # fmt: skip


def beside_it(wrapper: dict[str, Any]) -> dict[str, Any]:
    return {"auxiliary_model_wrapper": wrapper}


@pytest.mark.parametrize(
    ("kind", "kwargs", "beside", "said"),
    [
        ("AltActTransferLoss", {**MADE_PAIR, "margin": 1.0, "reduction": "mean"}, beside_it(CONNECTOR),
         ["no connector on `layer2:output`", "kernel_size: redistill has a 1 x 1", "batch norm behind its connector"]),
        ("AltActTransferLoss", {"feature_pairs": {"one": PAIR}, "margin": 1.0, "reduction": "none"}, {},
         ["a connector of its own on `layer2:output`, and no Connector4DAB is described there"]),
        ("VIDLoss", {"feature_pairs": {"one": {**PAIR, "student": {"io": "output", "path": "regressor_dict.one"}}}},
         beside_it(REGRESSOR), ["reads `kwargs`, and stops at this", "as wide as the teacher's layer"]),
        ("CCKDLoss", {"teacher_linear_path": "fc", "student_linear_path": "linear", "reduction": "sum",
                      "kernel_params": {"key": "bilinear"}}, beside_it(LINEAR),
         ["reads `kernel_config`, and stops", "reads `type`, and stops", "multiplied by 16", "no Linear4CCKD"]),
        ("RKDLoss", {"teacher_output_path": "layer3", "student_output_path": "avgpool", "dist_factor": 1}, {},
         ["a tap of one vector an example in the place of `layer3`"]),
        ("HierarchicalContextLoss", {"student_module_path": "abf_modules.0", "teacher_module_path": "layer2"},
         beside_it(FUSIONS), ["compares every fusion once, and the source compares 1 of 2"]),
        ("MSELoss", {"reduction": "sum"}, HINTED, ["3 x 3 with a stride where the hint's map is smaller"]),
        ("MSELoss", {"reduction": "mean"}, UNLIKE, ["as large as the sizes ask"]),
        ("SRDLoss", SRD, {}, ["a projector and norms of its own on `layer3:output`, and no SRDModelWrapper"]),
        ("PKTLoss", {"student_module_path": "relu", "teacher_module_path": "layer3.-1.relu", "eps": 0.1}, {},
         ["redistill has 1e-07 there", "another tap than `layer3.4.relu`"]),
        ("ATLoss", {"at_pairs": {}, "mode": "other"}, {}, ["has no pairs"]),
        ("FTLoss", {"p": 3, "reduction": "sum"}, {}, ["setting `p` of loss `ft` must be one of 1, 2, and is 3"]),
        ("RegularizationLoss", {"module_path": "layer3", "is_from_teacher": False}, {}, ["looks at the teacher's"]),
        ("KDLoss", {"student_module_path": ".", "teacher_module_path": ".", "temperature": 2}, {},
         ["stops without `alpha` or `beta`"]),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
def test_what_a_method_cannot_do_is_said(tmp_path, kind, kwargs, beside, said):
    file = tmp_path / "some.yaml"
    file.write_text(json.dumps(config(kind, kwargs, beside)), encoding="utf-8")
    (report,) = import_files([file], tmp_path / "configs" / "experiments")
    told = "\n".join([*report.warnings, *report.to_do])
    assert [words for words in said if words not in told] == [], told


def config(kind: str, kwargs: dict[str, Any], beside: dict[str, Any], repeated: int = 1) -> dict[str, Any]:
    """A config with a loss, once or more often, and what is beside its student."""
    term = {"criterion": {"key": kind, "kwargs": kwargs}, "weight": 1.0}
    if kind == "MSELoss":
        term["criterion_wrapper"] = {"key": "SimpleLossWrapper", "kwargs": WRAPPED_MSE}
    return {
        "datasets": {"cifar10": {"name": "cifar10"}},
        "models": {"teacher_model": {"key": "resnet32", "kwargs": {"num_classes": 10}},
                   "student_model": {"key": "resnet20", "kwargs": {"num_classes": 10}}},
        "train": {
            "num_epochs": 1, "train_data_loader": {"dataset_id": "cifar10/train", "batch_size": 4},
            "teacher": {"requires_grad": False}, "student": beside, "optimizer": {"key": "SGD", "kwargs": {"lr": 0.1}},
            "criterion": {"key": "WeightedSumLoss", "kwargs": {"sub_terms": {f"t{i}": term for i in range(repeated)}}},
        },
    }  # fmt: skip


def test_losses_that_share_a_module_are_told_that_each_has_its_own(tmp_path):
    file = tmp_path / "some.yaml"
    twice = config("ChSimLoss", {"feature_pairs": {"one": {**PAIR, "student": {"path": "embed_dict.one"}}}}, {
        "auxiliary_model_wrapper": {"key": "Student4ICKD", "kwargs": {"embeddings": {"one": {"path": "layer2"}}}}
    }, repeated=2)  # fmt: skip
    file.write_text(json.dumps(twice), encoding="utf-8")
    (report,) = import_files([file], tmp_path / "configs" / "experiments")
    assert "t1.criterion.kwargs: shares a convolution and a batch norm with another loss" in texts(report)
    assert "t0.criterion.kwargs: shares" not in texts(report)
    loss = load(report.written[0]).data["stages"][0]["loss"]
    assert {term["weight"] for term in loss.values()} == {0.25}


def test_a_teacher_that_is_not_trained_keeps_its_side_of_what_is_learnt(tmp_path):
    file = tmp_path / "some.yaml"
    plain = config("CCKDLoss", {"kernel_config": {"type": "bilinear"}, "reduction": "batchmean"},
                   {"auxiliary_model_wrapper": LINEAR})  # fmt: skip
    plain["train"]["teacher"] = {"requires_grad": False, "auxiliary_model_wrapper": LINEAR}
    file.write_text(json.dumps(plain), encoding="utf-8")
    (report,) = import_files([file], tmp_path / "configs" / "experiments")
    assert load(report.written[0]).data["stages"][0]["frozen"] == ["loss.t0.teacher"]


# --- the same numbers as torchdistill --------------------------------------------------------------------------------

PEERS = Path(__file__).parents[1] / ".venv-peers" / "bin" / "python"  # made by benchmarks/peers/setup.sh
PROBE = Path(__file__).with_name("torchdistill_probe.py")
EXAMPLES, REMEMBERED, VIEWS = 8, 16, 4
# What the modules beside torchdistill's models are called, in the order of the method's own: by the student's tap.
MADE = {
    "dab": {"layer2": "connector_dict.connector1.", "layer3": "connector_dict.connector2."},
    "vid": {"layer2": "regressor_dict.regressor1.", "layer3": "regressor_dict.regressor2."},
    "kr": {tap: f"abf_modules.{3 - i}." for i, tap in enumerate(("layer1", "layer2", "layer3", "pool"))},
    "ickd": {"layer3": "embed_dict.embed1."}, "fitnet": {"layer2": "regressor."}, "pad": {"pool": "var_estimator."},
    "ktaad": {"layer3": "feature_adapter."}, "ktaad_affinity": {"layer3": "affinity_adapter."},
    "srd": {"fc": "linear."}, "cckd": {"pool": "linear."}, "crd": {"pool": "normalizer."},
    "sskd": {"pool": "ss_module."}, "sskd_auxiliary": {"pool": "ss_module."},
}  # fmt: skip

BOTH = {  # which sides' modules the method has, in its order
    **{key: ["student", "teacher"] for key in ("crd", "cckd", "sskd")}, "sskd_auxiliary": ["teacher"]
}  # fmt: skip


@pytest.fixture(scope="module")
def batch(tmp_path_factory):
    """A batch, its turned images, and which remembered examples each one meets."""
    draw = torch.Generator().manual_seed(3)
    images = torch.randn(EXAMPLES, 3, 32, 32, generator=draw)
    index = torch.randperm(REMEMBERED, generator=draw)[:EXAMPLES]
    chosen = crd.among(index, 5, REMEMBERED, torch.Generator().manual_seed(7))
    given = {
        "images": images, "turned": torch.stack([torch.rot90(images, turns, (2, 3)) for turns in range(VIEWS)], 1),
        "labels": torch.randint(10, (EXAMPLES,), generator=draw), "beside": {"pos_idx": index, "contrast_idx": chosen},
    }  # fmt: skip
    file = tmp_path_factory.mktemp("given") / "given.pt"
    torch.save(given, file)
    return file, given


@pytest.mark.slow
@pytest.mark.skipif(not PEERS.is_file(), reason="torchdistill is not installed here")
@pytest.mark.parametrize("name", LOSSES)
def test_every_term_is_the_same_number_as_in_torchdistill(tmp_path, batch, name):
    file, given = batch
    config = Path(__file__).parent / "torchdistill" / f"{name}.yaml"
    probe = [PEERS, PROBE, config, file, tmp_path / "out.pt"]
    done = subprocess.run(probe, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    data, _ = imported(tmp_path, name)
    compared = []
    for stage, theirs in zip(data["stages"], torch.load(tmp_path / "out.pt"), strict=True):
        if "bn1:output" in theirs["tensors"]["teacher"]:
            assert theirs["tensors"]["teacher"]["bn1:output"].min() == 0  # a ReLU has written over it
        names = list(theirs["values"])
        ours = dict.fromkeys(names, 0.0)
        for term, said in stage["loss"].items():
            ours[its_source(term, names)] += value(term, said, theirs, given)
        if "review" in stage["loss"]:  # one term of all
            ours, theirs["values"] = {"review": sum(ours.values())}, {"review": sum(theirs["values"].values())}
        for term, found in ours.items():
            expected = theirs["values"][term]
            rounding = 5e-3 if term == "pkt" else 2e-4  # of float32; its terms are nearly all that is left of ones
            assert (found == pytest.approx(expected, rel=rounding)) == (term not in OTHER), (term, found, expected)
            compared.append(term)
    assert len(compared) == {"cifar-relations": 26, "cifar-maps": 12}[name]


def its_source(term: str, names: list[str]) -> str:
    """The loss of the source that a term comes from."""
    known = sorted((name for name in names if f"{term}_".startswith(f"{name}_")), key=len)
    return known[-1] if known else names[0]  # a term with a name of its own


def value(name: str, said: dict[str, Any], theirs: dict[str, Any], given: dict[str, Any]) -> float:
    """A term of redistill, weighted, of what torchdistill's models gave."""
    signature = registry.signature("loss", said["method"])
    kept = {side: {bare(key): tensor for key, tensor in theirs["tensors"][side].items()} for side in theirs["tensors"]}
    taps = {side: [at(kept[side], tap) for tap in said.get("taps", {}).get(side, [])] for side in kept}
    logits = {side: tensors[".:output"] for side, tensors in kept.items()}
    views = len(logits["teacher"]) // EXAMPLES
    labels = given["labels"].repeat_interleave(views).reshape(-1, views)
    labels[:, 1:] = -1
    every = slice(None) if "views" in signature.inputs else slice(None, None, views)
    inputs = {
        "student_logits": logits["student"][every], "teacher_logits": logits["teacher"][every],
        "labels": labels.flatten()[every], "student_hidden": taps["student"], "teacher_hidden": taps["teacher"],
        "index": given["beside"]["pos_idx"], "generator": torch.Generator().manual_seed(7), "views": views,
        "mask": None,
    }  # fmt: skip
    chosen = {key: said[key] for key in signature.settings if key in said}
    settings = registry.with_defaults("loss", said["method"], chosen)
    if "own" in signature.inputs:
        shapes = [[tuple(tensor.shape[1:]) for tensor in taps[side]] for side in ("student", "teacher")]
        built = {key: settings[key] for key in signature.built_with or ()}
        inputs["own"] = registry.builder(said["method"])(*shapes, REMEMBERED, **built)
        fill(inputs["own"], name, said, theirs)
    called = {key: settings[key] for key in signature.called_with}
    with torch.no_grad():
        term = registry.get("loss", said["method"])(*(inputs[key] for key in signature.inputs), **called)
    return said["weight"] * term.item()


def bare(key: str) -> str:
    """A path of torchdistill's models, by its name in redistill's."""
    key = re.sub(r"^(student_model|teacher_model|model)\.", "", key).replace("avgpool", "pool")
    return key.replace("layer2.-1", "layer2.2").replace("bn1:output", "pool:input")


def at(kept: dict[str, Tensor], tap: str) -> Tensor:
    if tap == "fc:input" and tap not in kept:
        return kept["layer3:output"].mean((2, 3))
    return kept[f"{tap.removeprefix('modules.')}:output" if tap.startswith("modules.") else tap]


def fill(own: nn.Module, name: str, said: dict[str, Any], theirs: dict[str, Any]) -> None:
    """Give a method's own module the weights of torchdistill's."""
    made = MADE[said["method"]]
    sides = BOTH.get(said["method"], ["student"])
    tapped = [tap.partition(":")[0] for tap in said["taps"].get("student", said["taps"]["teacher"])]
    found = [
        tensor for side in sides for tap in tapped
        for key, tensor in theirs["beside"][side].items() if key.startswith(made[tap])
    ]  # fmt: skip
    if said["method"] == "crd":
        remembered = theirs["remembered"][name]
        own.student_bank.copy_(remembered["memory_v1"])
        own.teacher_bank.copy_(remembered["memory_v2"])
        own = nn.ModuleList([own.student, own.teacher])
    state = list(own.state_dict().values())
    assert [tuple(tensor.shape) for tensor in state] == [tuple(tensor.shape) for tensor in found]
    for tensor, other in zip(state, found, strict=True):
        tensor.copy_(other)
