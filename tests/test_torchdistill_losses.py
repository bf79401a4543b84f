"""Every loss of torchdistill is a method with its weight, taps and settings; and gives torchdistill's own number."""

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import torch
from test_torchdistill import imported, texts
from torch import Tensor, nn

from redistill import registry
from redistill.distill import crd
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
