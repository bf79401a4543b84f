"""The published experiments: every value of every one of the forty against the facts in paper_experiments.json."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from redistill import registry
from redistill.config import compose, schema

REPOSITORY = Path(__file__).parents[1]
PAPER = json.loads((Path(__file__).parent / "paper_experiments.json").read_text(encoding="utf-8"))
PROTOCOL, FACTS = PAPER["protocol"], PAPER["experiments"]
EXPERIMENTS = {"bert-large-uncased": "glue/bert-large", "bert-base-uncased": "glue/bert-base"}
Facts = dict[str, Any]


def recipe(facts: Facts) -> schema.Experiment:
    """The experiment as it stands in configs/ for the task, with the task's own values laid over it."""
    document = compose.read(REPOSITORY, "experiments", facts["experiment"])
    if facts["task"] in document.data.get("per_task", {}):
        document = compose.override(document, document.sub("per_task", facts["task"]))
    return compose.validate(schema.Experiment, document)


def task(facts: Facts) -> schema.Task:
    return compose.validate(schema.Task, compose.read(REPOSITORY, "tasks", facts["task"]))


def said(kind: str, component: schema.Component) -> dict[str, Any]:
    """Everything about a component, its defaults written out."""
    own = {key: value for key, value in component.model_dump().items() if key in type(component).model_fields}
    return {**own, **registry.with_defaults(kind, component.method, component.settings)}


def resolved(experiment: schema.Experiment) -> dict[str, Any]:
    """Every value of a recipe but its label, its notes and the other tasks' values."""
    values = experiment.model_dump(exclude={"label", "notes", "per_task"})
    assert experiment.student is not None
    if experiment.student.architecture is not None:
        values["student"]["architecture"] = said("architecture", experiment.student.architecture)
    for stage, written in zip(experiment.stages, values["stages"], strict=True):
        written["optimiser"] = said("optimiser", stage.optimiser)
        written["schedule"] = said("schedule", stage.schedule)
        written["loss"] = {name: said("loss", term) for name, term in stage.loss.items()}
        written["transforms"] = [said("transform", one) for one in stage.transforms]
    values["evaluation"]["transforms"] = [said("transform", one) for one in experiment.evaluation.transforms]
    return values


def expected(facts: Facts) -> schema.Experiment:
    """The recipe that the facts make, with every setting written out that has a default."""
    glue = facts["task"].startswith("glue/")
    chosen_by = PROTOCOL["glue_metrics"][facts["task"]] if glue else ["accuracy"]
    written = {
        "label": "expected",
        "student": {**model(facts), "max_length": PROTOCOL["max_length"]},
        "stages": [
            {
                "data": ["train"],
                "epochs": facts["epochs"],
                "batch_size": facts["batch_size"],
                "accumulate": facts.get("accumulate", 1),
                "transforms": views(facts),
                "optimiser": optimiser(facts),
                "schedule": schedule(facts),
                "clip_norm": facts.get("clip_norm"),
                "loss": loss(facts),
            }
        ],
        "evaluation": {
            "checkpoint": PROTOCOL["checkpoint"],
            "split": "dev",
            "metrics": chosen_by if chosen_by != [task(facts).metric] else None,
            "transforms": views(facts)[-1:],
        },
    }
    if facts.get("teacher"):
        written["teacher"] = {"experiment": EXPERIMENTS[facts["teacher"]]}
    return schema.Experiment.model_validate(written)


def views(facts: Facts) -> list[dict[str, Any]]:
    """How images are seen: those of CIFAR are cut, flipped and normalised."""
    said = PROTOCOL["cifar_transforms"]
    if facts["task"] not in said:
        return []
    crop = {"method": "random_crop", "size": said["crop"], "padding": said["padding"]}
    return [crop, {"method": "horizontal_flip", "p": said["flip"]}, {"method": "normalise", **said[facts["task"]]}]


def model(facts: Facts) -> dict[str, Any]:
    name = facts["model"]
    if name.startswith("bert"):
        return {"start": {"source": name}}
    numbers = [int(number) for number in re.findall(r"\d+", name)]
    if name.startswith("wide_resnet"):
        built = {"method": "wide_resnet", "depth": numbers[0], "width": numbers[1], "dropout": facts["dropout"]}
    elif name.startswith("densenet_bc"):
        built = {"method": "densenet_bc", "growth": numbers[0], "depth": numbers[1], "compression": 0.5, "dropout": 0.0}
    else:
        built = {"method": "cifar_resnet", "depth": numbers[0]}
    return {"architecture": built}


def optimiser(facts: Facts) -> dict[str, Any]:
    common = {"learning_rate": facts["learning_rate"], "weight_decay": facts["weight_decay"]}
    if facts["optimiser"] == "SGD":
        return {**common, "method": "sgd", "decay": "all", "momentum": facts["momentum"], "nesterov": False}
    assert facts["optimiser"] == "AdamW"
    assert facts["weight_decay"] == 0, "what is decayed would matter"
    return {**common, "method": "adamw", "decay": "weights", "beta1": 0.9, "beta2": 0.999, "epsilon": 1e-8}


def schedule(facts: Facts) -> dict[str, Any]:
    if facts["schedule"] == "linear":
        assert facts["warmup_steps"] == 0
        return {"method": "linear", "warmup": 0.0}
    assert facts["schedule"] == "MultiStepLR"
    shares = [milestone / facts["epochs"] for milestone in facts["milestones"]]
    return {"method": "multistep", "milestones": shares, "gamma": facts["gamma"], "warmup": 0.0}


def loss(facts: Facts) -> dict[str, Any]:
    terms = {}
    for name, term in facts["loss"].items():
        common = {"weight": term["weight"]}
        if name == "label":
            terms["hard"] = {**common, "method": "hard"}
        elif name == "kd":
            assert term["reduction"] == "batchmean"
            temperature = {"temperature": term["temperature"], "t_squared": PROTOCOL["t_squared"]}
            terms["soft"] = {**common, "method": "kd", **temperature}
        else:  # a sum of squared errors over the batch, where `kd` of a regression has their mean
            assert (name, term["reduction"]) == ("mse", "sum")
            weight = term["weight"] * facts["batch_size"]
            terms["soft"] = {**common, "weight": weight, "method": "kd", "temperature": 1.0, "t_squared": False}
    return terms


def test_there_are_forty_published_experiments_and_each_is_a_run_of_its_own():
    runs = {(facts["experiment"], facts["task"]) for facts in FACTS.values()}
    assert len(FACTS) == len(runs) == 40
    assert sum(task.startswith("glue/") for _, task in runs) == 27


def test_every_experiment_of_the_folders_is_a_published_one():
    others = {"glue/base", "cifar/base", "cifar/wrn", "glue/bert-base-kd-corrected"}
    there = {n for n in compose.known(REPOSITORY, "experiments") if n.startswith(("glue/", "cifar/"))} - others
    assert there == {facts["experiment"] for facts in FACTS.values()}


@pytest.mark.parametrize("name", FACTS)
def test_every_value_is_the_published_one(name):
    assert resolved(recipe(FACTS[name])) == resolved(expected(FACTS[name]))


@pytest.mark.parametrize("name", FACTS)
def test_the_task_is_the_published_one(name):
    facts = FACTS[name]
    on = task(facts)
    assert on.splits is not None
    if "num_classes" in facts:
        assert len(on.labels) == facts["num_classes"]
        assert isinstance(on.splits, schema.OfficialSplits)
        assert on.splits.official == {"train": "train", "dev": PROTOCOL["cifar_validation_set"]}
    if facts["task"] in PROTOCOL["train_examples"]:
        assert on.splits.size("train") == PROTOCOL["train_examples"][facts["task"]]
    assert not on.splits.has("select")


@pytest.mark.parametrize("name", [name for name, facts in FACTS.items() if "milestones" in facts])
def test_milestones_fall_on_the_published_epochs(name):
    facts = FACTS[name]
    steps_an_epoch = -(-PROTOCOL["train_examples"][facts["task"]] // facts["batch_size"])
    steps = steps_an_epoch * facts["epochs"]
    shares = recipe(facts).stages[0].schedule.settings["milestones"]
    assert [round(share * steps) for share in shares] == [epoch * steps_an_epoch for epoch in facts["milestones"]]


@pytest.mark.parametrize("name", sorted({facts["model"] for facts in FACTS.values() if "teacher" in facts}))
def test_the_pretrained_models_are_the_published_ones(name):
    document = compose.load(REPOSITORY / "configs" / "sources.yaml")
    source = compose.validate(schema.Source, document.sub(name), name)
    assert isinstance(source.origin, schema.Hub)
    assert source.origin.repository.rpartition("/")[2] == name
