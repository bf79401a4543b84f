"""The catalogue of methods is complete: a file for each, that says where it is from and how it is used."""

import ast
from pathlib import Path

import pytest

from redistill import registry
from redistill.catalogue import FAMILIES, in_text, method, methods
from redistill.config import parse, schema
from redistill.distill import losses
from redistill.errors import RedistillError

ROOT = Path(__file__).parents[1]

# What redistill is to have, with the paper that each file must name.
SOURCES = {
    # on logits
    "kd": "1503.02531", "dkd": "2203.08679", "dist": "2205.10536", "dist_plus": "TPAMI.2025", "nkd": "2303.13005",
    "ctkd": "2211.16231", "deit": "2012.12877", "logit_standardisation": "2403.01427", "skd": "CVPR",
    "tfkd": "1909.11723", "reverse_kl": "2306.08543", "jensen_shannon": "2306.13649", "skew_kl": "2402.03898",
    "total_variation": "2307.15190", "sample_temperature": "1911.07471",
    # on features
    "fitnet": "1412.6550", "at": "1612.03928", "ft": "1802.04977", "dab": "1811.03233", "ofd": "1904.01866",
    "vid": "1904.05835", "pad": "2008.01458", "feature_mse": "1412.6550", "kr": "2104.09044", "ktaad": "1903.04688",
    "ktaad_affinity": "1903.04688", "pairwise": "1903.04197", "pixel_wise": "1903.04197", "channel_wise": "2011.13256",
    "mgd": "2205.01529", "simkd": "2203.14001", "kdsvd": "1807.06819", "ickd": "2202.03680", "srd": "2303.11098",
    "ghnd": "2007.15818", "nst": "1707.01219",
    # on relations
    "fsp": "CVPR", "pkt": "1803.10837", "rkd": "1904.05068", "cckd": "1904.01802", "spkd": "1907.09682",
    "crd": "1910.10699", "sskd": "2006.07114", "sskd_auxiliary": "2006.07114", "sskd_transformed": "2006.07114",
    # for transformers
    "distilbert": "1910.01108", "pkd": "1908.09355", "tinybert_attention": "1909.10351",
    "tinybert_hidden": "1909.10351", "minilm": "2002.10957", "minilmv2": "2012.15828",
    # of several teachers
    "several_teachers": "1503.02531",
}  # fmt: skip
# What is no loss but a way to set up an experiment: teacher assistants (arXiv:1902.03393), mutual learning
# (arXiv:1706.00384), born-again networks (arXiv:1805.04770).
SCHEMES = ["by-assistant", "mutual", "generation-2"]
PLAIN = {"hard", "kd", "feature_mse", "pseudo_label", "reconstruction"}  # of which no use is shown: there is but one
NAMES = registry.names("loss")


def test_every_method_has_a_file_that_names_its_paper():
    assert sorted(set(SOURCES) - set(NAMES)) == []
    said = {name: f"{method(name).title} {method(name).about}" for name in SOURCES}
    assert [name for name, source in SOURCES.items() if source not in said[name]] == []
    assert len(SOURCES) > 50  # as the README says


@pytest.mark.parametrize("name", SCHEMES)
def test_every_scheme_has_an_experiment(name):
    assert (ROOT / "configs" / "experiments" / "methods-image" / f"{name}.yaml").is_file()


def test_every_method_is_in_the_catalogue_once_with_a_title_and_a_formula():
    found = methods()
    assert sorted(each.name for each in found) == list(NAMES)
    for each in found:
        assert each.title.endswith("."), each.name
        assert each.formula, each.name
        assert each.family in FAMILIES.values()


@pytest.mark.parametrize("name", NAMES)
def test_a_methods_file_imports_no_other_methods_file(name):
    tree = ast.parse(registry.source_file("loss", name).read_text(encoding="utf-8"))
    imported = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    imported |= {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    assert imported.isdisjoint({registry.module_name("loss", other) for other in NAMES})


@pytest.mark.parametrize("name", sorted(set(NAMES) - PLAIN))
def test_the_use_that_a_file_shows_is_right(name, tmp_path):
    found = method(name)
    terms = {key: schema.Term.model_validate(value) for key, value in read(found.usage, tmp_path).items()}
    beside = read(found.beside, tmp_path) if found.beside else {}
    modules = {key: schema.Auxiliary.model_validate(value) for key, value in beside.get("modules", {}).items()}
    assert set(beside) <= {"modules", "student", "teacher"}
    student = schema.Student.model_validate(beside["student"]).architecture if "student" in beside else None
    assert name in {term.method for term in terms.values()}
    for component in (*terms.values(), *modules.values(), *([student] if student else [])):
        settings = registry.signature(component.kind, component.method).settings
        assert set(component.settings) <= set(settings)
        wrong = {key: registry.mistake(settings[key], value) for key, value in component.settings.items()}
        assert not any(wrong.values()), wrong
        assert {key for key, setting in settings.items() if setting.required} <= set(component.settings)
    for term in terms.values():
        inputs = registry.signature("loss", term.method).inputs
        taps = term.taps or schema.Taps()
        assert bool(taps.student) == ("student_hidden" in inputs)
        assert bool(taps.teacher) == ("teacher_hidden" in inputs)
        beside_models = [tap for tap in (*taps.student, *taps.teacher) if tap.startswith("modules.")]
        if modules:  # else the file refers to another one that shows the modules
            assert {tap.split(".")[1].partition(":")[0] for tap in beside_models} <= set(modules)


def read(lines: str, folder: Path) -> dict:
    """Lines of a config, read as the language reads them."""
    file = folder / "lines.yaml"
    file.write_text(lines, encoding="utf-8")
    return parse.load(file).data


def test_what_a_file_says_is_shown_with_its_use():
    text = in_text(method("ft"))
    assert "  factors:\n    method: ft\n" in text
    assert "with, at the experiment's top\n  modules:\n    paraphraser: {" in text
    assert "losses.ft(student_hidden, teacher_hidden)" in text


# --- by name, in Python ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_losses_has_every_method_by_its_name(name):
    assert getattr(losses, name) is registry.get("loss", name)
    assert name in dir(losses)


def test_an_unknown_method_is_refused_with_the_nearest_name():
    with pytest.raises(AttributeError, match="there is no method `dkdd`; did you mean `dkd`"):
        _ = losses.dkdd
    with pytest.raises(RedistillError, match="there is no method `attention`; .*`"):
        method("attention")
    assert not hasattr(losses, "__path__")
