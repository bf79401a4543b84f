"""Importing torchdistill's configs: what is carried over, what is said, and that nothing they name is ever run."""

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from redistill import registry
from redistill.config.check import check_experiment
from redistill.config.parse import MAX_BYTES, load
from redistill.config.schema import Experiment
from redistill.errors import ConfigError, RedistillError
from redistill.importer import Report, import_files, torchdistill
from redistill.importer.inert import Tagged, read, shown
from redistill.importer.section import UNKNOWN, Source, leaves
from redistill.plan import lay_out
from redistill.training.check import check_models

FILES = sorted((Path(__file__).parent / "torchdistill").glob("*.yaml"))


def imported(target: Path, *names: str) -> tuple[dict[str, Any], Report]:
    """The experiment of the first of these files, with its report; the others are imported with it."""
    files = [Path(__file__).parent / "torchdistill" / f"{name}.yaml" for name in names]
    reports = import_files(files, target / "configs" / "experiments" / "td")
    return load(reports[0].written[0]).data, reports[0]


def texts(report: Report) -> str:
    return "\n".join(report.warnings)


def reasons(report: Report) -> dict[str, str]:
    return {item.key: item.reason for item in report.left_out}


# --- each kind -------------------------------------------------------------------------------------------------------


def test_fine_tuning_of_a_text_model(tmp_path):
    data, report = imported(tmp_path, "glue-finetune")
    assert data == {
        "label": "roberta-large",
        "notes": {"task": "glue/rte"},
        "student": {"start": {"source": "roberta-large"}, "max_length": 96},
        "stages": [{
            "data": ["train"], "epochs": 4, "batch_size": 32, "accumulate": 4, "frozen": ["roberta.embeddings"],
            "optimiser": {"method": "adamw", "learning_rate": 2e-5, "weight_decay": 0.1, "decay": "weights",
                          "beta1": 0.9, "beta2": 0.98, "epsilon": 1e-6},
            "schedule": {"method": "linear", "warmup": 0.25},
            "clip_norm": 0.5,
            "loss": {"hard": {"method": "hard", "weight": 0.75}},
        }],
        "evaluation": {"checkpoint": "best", "split": "dev", "batch_size": 64},
    }  # fmt: skip
    assert "chosen on `rte/val`, which is also what is reported" in texts(report)
    assert "it ends after 1/4 of its way" in texts(report)
    assert report.to_do == [
        "a task `glue/rte` in configs/tasks",
        "a source `roberta-large` in configs/sources.yaml (`roberta-large`)",
    ]


def test_distillation_of_a_text_model_has_neither_labels_nor_t_squared(tmp_path):
    data, report = imported(tmp_path, "glue-distil", "glue-finetune")
    assert data["stages"][0]["loss"] == {
        "soft": {"method": "kd", "weight": 2.0, "temperature": 6.0, "t_squared": False}
    }
    assert data["teacher"] == {"experiment": "td/glue-finetune"}
    assert data["stages"][0]["optimiser"]["weight_decay"] == 0.01  # what AdamW has where nothing is said
    assert data["stages"][0]["batch_size"] == 24
    said = texts(report)
    assert "pass no targets, so KDLoss is the KL divergence alone, without T^2" in said
    assert "num_labels: is read from nowhere" in said
    assert "the training box reads `optimizer.grad_accum_step`" in said
    assert "`classifier` is not among the student's `forward_hook`" in said
    assert "teacher's `forward_hook`" not in said
    assert reasons(report)["train.grad_accum_step"] == "read by nothing that trains"


def test_regression_sums_become_means(tmp_path):
    data, report = imported(tmp_path, "glue-scores")
    assert data["stages"][0]["loss"] == {
        "hard": {"method": "hard", "weight": 1.0},
        "score": {"method": "kd", "weight": 10.0},  # 0.5 of a sum over 20
        "states": {"method": "tinybert_hidden", "weight": 10.0,
                   "taps": {"student": ["electra.encoder.layer.3:output"],
                            "teacher": ["electra.encoder.layer.11:output"]}},
    }  # fmt: skip
    assert data["stages"][0]["optimiser"] == {
        "method": "adam", "learning_rate": 1e-4, "weight_decay": 0.0, "decay": "all"
    }  # fmt: skip
    assert data["evaluation"]["metrics"] == ["pearson", "spearman"]
    assert "the weight is multiplied by the batch size 20" in texts(report)
    assert "YAML 1.1 reads `1e-4` as text" in texts(report)


def test_training_of_a_small_image_model(tmp_path):
    data, report = imported(tmp_path, "cifar-train")
    assert data["student"] == {"architecture": {"method": "wide_resnet", "depth": 40, "width": 4, "dropout": 0.1}}
    (stage,) = data["stages"]
    assert stage["optimiser"] == {
        "method": "sgd", "learning_rate": 0.05, "weight_decay": 0.001, "decay": "all", "momentum": 0.8, "nesterov": True
    }  # fmt: skip
    assert stage["schedule"] == {"method": "multistep", "milestones": [0.25, 0.75], "gamma": 0.5}
    assert stage["loss"] == {"labels": {"method": "hard", "weight": 1.5}}
    assert data["evaluation"] == {"checkpoint": "best", "split": "dev", "batch_size": 200}
    smoothing = "train.criterion.kwargs.sub_terms.labels.criterion.kwargs.label_smoothing"
    assert reasons(report)[smoothing] == "`hard` has no such setting"
    assert "redistill trains on it" in texts(report)
    assert [name.name for name in report.written] == ["cifar-train.yaml"]


def test_vision_loss_is_split_into_labels_and_teacher(tmp_path):
    data, report = imported(tmp_path, "cifar-distil")
    assert data["student"] == {"architecture": {"method": "cifar_resnet", "depth": 32}}
    (stage,) = data["stages"]
    assert stage["loss"] == {
        "kd_hard": {"method": "hard", "weight": 1.8},
        "kd": {"method": "kd", "weight": 0.2, "temperature": 3.0},
    }
    assert stage["schedule"] == {"method": "multistep", "milestones": [0.25, 0.5, 0.75], "gamma": 0.2}
    assert stage["optimiser"]["groups"] == [
        {"modules": ["layer3"], "rate": 0.5},
        {"modules": ["fc"], "weight_decay": 0.0},
    ]
    assert stage["trained"] == ["layer3", "fc"]  # the box optimises the modules that are listed, and no others
    assert data["evaluation"]["split"] == "select"
    assert "never puts the teacher into evaluation mode" in texts(report)


def test_teacher_has_a_file_of_its_own_where_no_config_trains_it(tmp_path):
    data, report = imported(tmp_path, "cifar-distil")
    assert data["teacher"] == {"experiment": "td/cifar-distil-teacher"}
    teacher = load(report.written[1]).data
    assert teacher["student"] == {
        "architecture": {"method": "wide_resnet", "depth": 40, "width": 4, "dropout": 0.3},
        "start": {"source": "torchdistill/cifar10-wide_resnet40_4"},
    }
    assert any(need.startswith("stages in cifar-distil-teacher.yaml") for need in report.to_do)


def test_losses_on_features_keep_settings_and_taps(tmp_path):
    data, report = imported(tmp_path, "imagenet-features")
    loss = data["stages"][0]["loss"]
    both = {"student": ["layer3:output", "layer4:output"], "teacher": ["layer3:output", "layer4:output"]}
    assert loss["attention"]["method"] == "at"
    assert loss["attention"]["weight"] == 500
    assert loss["attention"]["taps"] == both
    assert loss["fit"] == {
        "method": "feature_mse", "weight": 1.0, "taps": {"student": ["layer2:output"], "teacher": ["layer2:output"]}
    }  # fmt: skip
    assert loss["pkt"]["taps"] == {"student": ["fc:input"], "teacher": ["fc:input"]}
    assert loss["bare"] == {"method": "kd", "weight": 1.0, "temperature": 2.0, "t_squared": False}
    assert data["stages"][0]["frozen"] == ["conv1"]
    assert data["stages"][0]["schedule"] == {"method": "cosine"}
    for method in ("at", "pkt"):
        missing = f"redistill has no loss `{method}` yet" in report.to_do
        assert missing == (method not in registry.names("loss"))
    assert "`alpha` is 0 or not given" in texts(report)
    assert "frozen by their class" in texts(report)


def test_stages_and_auxiliary_modules(tmp_path):
    data, report = imported(tmp_path, "imagenet-stages")
    first, second = data["stages"]
    assert first["loss"]["again"]["method"] == "reconstruction"
    assert first["loss"]["again"]["taps"] == {"teacher": ["modules.paraphraser:output", "layer4:output"]}
    assert second["batch_size"] == first["batch_size"] == 40
    assert second["optimiser"] == first["optimiser"]
    assert second["loss"]["loss_term"]["taps"] == {
        "student": ["modules.translator:output"], "teacher": ["modules.paraphraser:output"]
    }  # fmt: skip
    assert second["loss"]["weighed"]["taps"]["student"] == ["modules.blocks-2:output"]
    left = reasons(report)
    assert "describe them under `modules`" in left["train.stage1.teacher.auxiliary_model_wrapper.kwargs.k"]
    assert "ConvReg" in left["train.stage2.student.adaptations.extra.kwargs.kernel_size"]
    assert "a file of weights" in left["models.student_model.src_ckpt"]
    assert "belong to a loss of its own" in left["train.stage1.train_data_loader.dataset_wrapper.kwargs.n"]
    assert second["loss"]["weighed"]["weight"] == 2.0  # of its only pair
    said = texts(report)
    assert "goes on with the one of the stage before" in said
    assert "the student is not trained in this stage" in said
    assert "the best epoch of all stages together" in said
    assert "VIDLoss is another number in redistill: its method has a regressor of its own" in said


def test_a_detector_that_is_cut_in_two_and_its_teacher(tmp_path):
    data, report = imported(tmp_path, "detection")
    assert report.task == "coco/detection"
    assert data["student"] == {
        "architecture": {"method": "bottleneck_rcnn", "backbone": "resnet50", "channels": 3, "norm_eps": 0.0},
        "start": {"source": "torchvision/fasterrcnn_resnet50_fpn-coco_v1", "fresh": ["backbone.body.layer1"]},
    }
    assert load(report.written[1]).data["student"] == {
        "architecture": {
            "method": "detector", "name": "fasterrcnn_resnet50_fpn", "frozen_norms": True, "norm_eps": 0.0
        },
        "start": {"source": "torchvision/fasterrcnn_resnet50_fpn-coco_v1"},
    }  # fmt: skip
    assert not any(need.startswith("stages in") for need in report.to_do)  # the teacher is as it was published
    assert data["stages"][0]["batch_size"] == 6
    assert data["stages"][0]["frozen"] == ["backbone.body.layer2"]
    assert data["stages"][0]["loss"]["detector"] == {"method": "detector", "weight": 1.0}
    assert data["stages"][0]["loss"]["layer1"]["method"] == "ghnd"
    assert "is not described" in reasons(report)["train.train_data_loader.collate_fn"]


def test_a_segmenter_and_its_second_head(tmp_path):
    data, report = imported(tmp_path, "segmentation")
    assert report.task == "voc/segmentation"
    assert data["student"] == {"architecture": {"method": "segmenter", "name": "fcn_resnet50", "aux": True}}
    taps = {"student": ["aux_classifier:output", "backbone.conv1:input"]}
    assert data["stages"][0]["loss"] == {
        "pixels": {"method": "hard", "weight": 0.8},
        "pixels_second": {"method": "second_head", "weight": 0.4, "taps": taps},
    }
    assert data["stages"][0]["schedule"] == {"method": "linear", "warmup": 0.0}  # power 1
    assert "reads `module_wise_kwargs`" in texts(report)
    assert reasons(report)["train.optimizer.module_wise_configs.1.kwargs.lr"] == "read by nothing"


SEGMENTER = """
datasets:
  coco2017/train: !import_call {_name: coco2017, key: a.b, init: {kwargs: {transforms: !import_call {key: c}}}}
models:
  teacher_model:
    key: deeplabv3_resnet50
    _weights: &weights !import_get {key: 'torchvision.models.segmentation.deeplabv3.DeepLabV3_ResNet50_Weights'}
    kwargs: {weights: !getattr [*weights, 'COCO_WITH_VOC_LABELS_V1'], num_classes: 21, aux_loss: True}
  student_model:
    key: STUDENT
    _weights: &backbone !import_get {key: 'torchvision.models.HOLDER_Weights'}
    kwargs: {weights_backbone: !getattr [*backbone, 'IMAGENET1K_V1'], num_classes: 21}
train:
  num_epochs: 2
  train_data_loader: {dataset_id: coco2017/train, kwargs: {batch_size: 4}}
  optimizer: {key: SGD, kwargs: {lr: 0.1}}
  criterion:
    key: WeightedSumLoss
    kwargs:
      sub_terms:
        maps:
          criterion: {key: MSELoss, kwargs: {reduction: mean}}
          criterion_wrapper:
            key: SimpleLossWrapper
            kwargs:
              input: {is_from_teacher: False, module_path: 'STUDENTS', io: output}
              target: {is_from_teacher: True, module_path: 'classifier.-1', io: output}
          weight: 1.0
"""


@pytest.mark.parametrize(
    ("key", "holder", "tap", "source", "part"),
    [
        ("lraspp_mobilenet_v3_large", "MobileNet_V3_Large", "classifier.high_classifier",
         "torchvision/mobilenet_v3_large-imagenet1k_v1", {"part": "features"}),
        ("fcn_resnet50", "ResNet50", "classifier.4", "torchvision/resnet50-imagenet1k_v1", {"without": ["fc"]}),
    ],
)  # fmt: skip
def test_weights_of_a_backbone_go_into_it(tmp_path, key, holder, tap, source, part):
    text = SEGMENTER.replace("STUDENTS", tap.replace(".4", ".-1")).replace("STUDENT", key).replace("HOLDER", holder)
    file = tmp_path / "one.yaml"
    file.write_text(text)
    (report,) = import_files([file], tmp_path / "out")
    data = load(report.written[0]).data
    assert report.task == "coco/segmentation"
    assert data["student"]["start"] == {"source": source, "into": "backbone", **part}
    assert data["stages"][0]["loss"]["maps"]["taps"]["student"] == [f"{tap}:output"]
    assert data["stages"][0]["loss"]["maps"]["taps"]["teacher"] == ["classifier.4:output"]
    assert "`c` is no transform of redistill: images are shown without it" in texts(report)
    assert load(report.written[1]).data["student"]["architecture"]["aux"] is True


SHOWN = """
datasets:
  fit: !import_call
    key: torchvision.datasets.VOCSegmentation
    init:
      kwargs:
        transforms: !import_call
          key: 'custom.transform.CustomCompose'
          init:
            kwargs:
              transforms:
                - !import_call {key: custom.transform.CustomRandomResize, init: {kwargs: {min_size: 20, max_size: 90}}}
                - !import_call {key: custom.transform.CustomRandomHorizontalFlip, init: {kwargs: {p: 0.4}}}
                - !import_call {key: custom.transform.CustomRandomCrop, init: {kwargs: {size: 48}}}
                - !import_call {key: custom.transform.CustomToTensor, init: }
                - !import_call
                  key: custom.transform.CustomNormalize
                  init: {kwargs: &normal {mean: [0.5, 0.4, 0.3], std: [0.2, 0.2, 0.1]}}
  held: !import_call
    key: torchvision.datasets.VOCSegmentation
    init:
      kwargs:
        transforms: !import_call
          key: torchvision.transforms.Compose
          init:
            kwargs:
              transforms:
                - !import_call {key: custom.transform.CustomRandomResize, init: {kwargs: {min_size: 50, max_size: 50}}}
                - !import_call {key: torchvision.transforms.Normalize, init: {kwargs: *normal}}
models:
  teacher_model: {key: deeplabv3_resnet50, kwargs: {weights: DEFAULT}}
  student_model: {key: lraspp_mobilenet_v3_large}
train:
  stage1:
    num_epochs: 1
    train_data_loader: {dataset_id: fit, kwargs: {batch_size: 4}}
    val_data_loader: {dataset_id: held, kwargs: {batch_size: 1}}
    optimizer: {key: SGD, kwargs: {lr: 0.1}}
    criterion: &loss
      key: WeightedSumLoss
      kwargs: {sub_terms: {soft: {criterion: {key: KDLoss, kwargs: {temperature: 2, alpha: 0}}, weight: 1.0}}}
  stage2: {num_epochs: 1, criterion: *loss}
test:
  test_data_loader: {dataset_id: held}
"""


def test_images_are_shown_as_the_source_says_where_redistill_has_the_transforms(tmp_path):
    file = tmp_path / "one.yaml"
    file.write_text(SHOWN)
    (report,) = import_files([file], tmp_path / "out")
    data = load(report.written[0]).data
    normal = {"method": "normalise", "mean": [0.5, 0.4, 0.3], "std": [0.2, 0.2, 0.1]}
    for stage in data["stages"]:  # the second goes on with the data of the first
        assert stage["transforms"] == [
            {"method": "random_resize", "least": 20, "most": 90}, {"method": "horizontal_flip", "p": 0.4},
            {"method": "random_crop", "size": 48}, normal,
        ]  # fmt: skip
        assert stage["teacher_outputs"] == "live"
    assert data["evaluation"]["transforms"] == [{"method": "resize", "size": 50}, normal]
    assert not [item for item in report.left_out if "transforms" in item.key]


def test_a_single_transform_and_a_flip_beside_files(tmp_path):
    data, report = imported(tmp_path, "cifar-train")
    assert data["stages"][0]["transforms"] == [{"method": "random_crop", "size": 32, "padding": 2}]
    assert "teacher_outputs" not in data["stages"][0]
    file = tmp_path / "one.yaml"
    file.write_text(
        "datasets: {coco2017: {splits: {train: {dataset_id: fit, random_horizontal_flip: 0.25}}}}\n"
        "models: {model: {key: ssd300_vgg16}}\n"
        "train: {num_epochs: 1, train_data_loader: {dataset_id: fit}}\n"
    )
    (report,) = import_files([file], tmp_path / "flipped")
    assert load(report.written[0]).data["stages"][0]["transforms"] == [{"method": "horizontal_flip", "p": 0.25}]


@pytest.mark.parametrize(
    ("key", "said", "task"),
    [
        ("fasterrcnn_resnet50_fpn", "pascal_voc2012", "voc/detection"),
        ("deeplabv3_resnet50", "pascal_voc2012", "voc/segmentation"),
        ("ssdlite320_mobilenet_v3_large", "coco2017", "coco/detection"),
        ("lraspp_mobilenet_v3_large", "coco2017", "coco/segmentation"),
        ("resnet18", "ilsvrc2012", "imagenet/ilsvrc2012"),
    ],
)
def test_a_task_is_named_by_its_data_and_by_what_its_models_look_for(tmp_path, project, key, said, task):
    file = tmp_path / "one.yaml"
    file.write_text(f"datasets: {{a: {{name: {said}}}}}\nmodels: {{model: {{key: {key}}}}}\ntrain: {{num_epochs: 1}}\n")
    (report,) = import_files([file], tmp_path / "out")
    assert report.task == task
    assert (project / "configs" / "tasks" / f"{task}.yaml").is_file()


@pytest.mark.parametrize("key", ["fasterrcnn_resnet50_fpn", "custom_fasterrcnn_resnet_fpn"])
def test_plain_settings_of_a_detector_are_its_options(tmp_path, key):
    file = tmp_path / "one.yaml"
    file.write_text(
        "datasets: {a: {name: coco2017}}\nmodels:\n  model:\n"
        f"    key: {key}\n    kwargs:\n      num_classes: 91\n      min_size: 480\n      image_mean: [0.5, 0.5, 0.5]\n"
        "      box_score_thresh: 0.1\n      box_roi_pool: !import_call {key: my.pool}\n      mine: 3\n"
        "train: {num_epochs: 1}\n"
    )
    (report,) = import_files([file], tmp_path / "out")
    architecture = load(report.written[0]).data["student"]["architecture"]
    assert architecture["options"] == {"min_size": 480, "image_mean": [0.5, 0.5, 0.5], "box_score_thresh": 0.1}
    left = {item.key for item in report.left_out}
    assert {"models.model.kwargs.mine"} <= left
    assert any(path.startswith("models.model.kwargs.box_roi_pool") for path in left)
    assert not any("min_size" in path for path in left)


def test_data_from_a_call_and_several_labels(tmp_path):
    data, report = imported(tmp_path, "several-labels")
    assert data["notes"] == {"task": "go-emotions"}
    assert data["student"]["max_length"] == 64
    assert data["stages"][0]["loss"]["hard"]["method"] == "bce"
    assert any(item.reason.startswith("stands twice") for item in report.left_out)
    assert any(need.startswith("`schedule.warmup` as a share: the source has 100 steps") for need in report.to_do)
    assert "torchdistill 1.1.5 reads `pre_forward_process`" in texts(report)


def test_words_of_older_versions(tmp_path):
    data, report = imported(tmp_path, "older-words")
    assert data["stages"][0]["loss"] == {
        "org_hard": {"method": "hard", "weight": 0.2},
        "org": {"method": "kd", "weight": 0.8, "temperature": 4.0},
    }
    assert data["stages"][0]["schedule"]["milestones"] == [1 / 3]
    assert data["evaluation"]["split"] == "dev"  # two names for the same examples
    assert "in the words of torchdistill 0.x" in texts(report)


# --- in a project ----------------------------------------------------------------------------------------------------


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """The project's own configs, for experiments to be imported into."""
    shutil.copytree(Path(__file__).parents[1] / "configs", tmp_path / "configs")
    return tmp_path


def test_imported_experiments_pass_the_check(project):
    files = [Path(__file__).parent / "torchdistill" / f"cifar-{name}.yaml" for name in ("distil", "train")]
    reports = import_files(files, project / "configs" / "experiments" / "td")
    assert [report.written[0].stem for report in reports] == ["cifar-distil", "cifar-train"]
    (held_out,) = reports[0].to_do
    assert held_out.startswith("a `select` split in the task")
    task = project / "configs" / "tasks" / "cifar" / "cifar10.yaml"
    task.write_text(re.sub("splits:(.|\n)*", "splits: {train: 40000, select: 10000, dev: 10000}\n", task.read_text()))
    assert reports[1].to_do == []
    for report in reports:
        name = f"td/{report.written[0].stem}"
        assert check_experiment(project, name, [report.task], [0], "embedded").recipes


def test_what_the_project_has_already_is_not_asked_for(project):
    text = (Path(__file__).parent / "torchdistill" / "glue-finetune.yaml").read_text()
    file = project / "bert.yaml"
    file.write_text(text.replace("'roberta-large'", "'bert-base-uncased'"))
    (report,) = import_files([file], project / "configs" / "experiments" / "new")
    assert report.to_do == []
    assert check_experiment(project, "new/bert", ["glue/rte"], [0], "embedded").recipes


TASK = {
    "image": "extends: {base}\ntitle: Stand-in\nimage_shape: [3, {side}, {side}]\nlabels: [{labels}]\n",
    "text": "extends: {base}\ntitle: Stand-in\n",
}
SOURCE = """
{name}:
  kind: model
  origin: {{type: folder, variable: STAND_IN}}
  files: {{model.safetensors: {digest}}}
  licence: none
  citation: none
"""
OF_TEXT = """
  config: {{model_type: {kind}, vocab_size: 50, hidden_size: {width}, num_hidden_layers: 12, num_attention_heads: 2,
           intermediate_size: 16, max_position_embeddings: 514, embedding_size: 8}}
"""
STAGES = """
stages:
  - data: [train]
    steps: 1
    batch_size: 8
    optimiser: {learning_rate: 0.1}
    loss:
      hard: {method: hard, weight: 1.0}
"""
SPLITS = {
    "cifar/cifar10": "{train: 40000, select: 10000, dev: 10000}",
    "glue/stsb": "{train: 5000, select: 700, dev: 1500}",
    "coco/detection": "{official: {train: train, dev: val}, rows: {train: 118287, val: 5000}, select: 5000}",
}
# What redistill cannot do, and says so.
UNDONE = {
    "several-labels": [
        "`schedule.warmup` as a share: the source has 100 steps, of a number that depends on the data",
        "redistill has no loss `bce` yet",
    ],
    "imagenet-stages": ["redistill has no architecture `custom_net` yet"],
}  # fmt: skip


def done(project: Path, report: Report) -> list[str]:
    """Do what a report asks for, with stand-ins; returns what nobody can do in a config."""
    configs, left = project / "configs", []
    for need in report.to_do:
        if found := re.match(r"a task `(.+)` in", need):
            kind = "text" if found[1] == "go-emotions" else "image"
            labels = ", ".join(f"c{i}" for i in range(1000))
            base = {"image": "cifar/cifar10", "text": "movie"}[kind]
            text = TASK[kind].format(base=base, side=224, labels=labels)
            (configs / "tasks" / f"{found[1]}.yaml").write_text(text, encoding="utf-8")
        elif found := re.match(r"a source `(.+?)` in", need):
            kind = "electra" if "electra" in found[1] else "roberta"
            width = 16 if "large" in found[1] else 8
            with (configs / "sources.yaml").open("a", encoding="utf-8") as stream:
                stream.write(SOURCE.format(name=found[1], digest="0" * 64))
                if not found[1].startswith(("torchvision/", "torchdistill/")):
                    stream.write(OF_TEXT.format(kind=kind, width=width).lstrip("\n"))
        elif found := re.match(r"stages in (.+?), or", need):
            (teacher,) = (file for file in report.written if file.name == found[1])
            teacher.write_text(teacher.read_text(encoding="utf-8") + STAGES, encoding="utf-8")
        elif need.startswith("a `select` split in the task"):
            task = configs / "tasks" / f"{report.task}.yaml"
            said = re.sub(r"splits:(.|\n)*", "", task.read_text(encoding="utf-8"))
            splits = SPLITS.get(report.task, "{official: null, rows: null, train: 40000, select: 10000, dev: 10000}")
            task.write_text(f"{said}splits: {splits}\n", encoding="utf-8")
        else:
            left.append(need)
    return left


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_each_file_passes_the_check_once_what_it_asks_for_is_done(project, file):
    (report,) = import_files([file], project / "configs" / "experiments" / "td")
    assert done(project, report) == UNDONE.get(file.stem, [])
    name = f"td/{report.written[0].stem}"
    if file.stem in UNDONE:
        with pytest.raises(ConfigError, match=rf"^configs/experiments/{name}"):
            check_models(lay_out(project, check_experiment(project, name, [report.task], [0], "embedded")))
    else:
        plan = lay_out(project, check_experiment(project, name, [report.task], [0], "embedded"))
        assert check_models(plan) == []


# --- every leaf ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_each_file_is_valid_and_knows_every_key(tmp_path, file):
    (report,) = import_files([file], tmp_path / "configs" / "experiments")
    assert [item.key for item in report.left_out if item.reason == UNKNOWN] == []
    data = load(report.written[0]).data
    assert Experiment.model_validate(data)
    assert all(item.line >= 1 for item in report.left_out)


def test_a_key_that_nobody_knows_is_listed_with_its_line(tmp_path):
    text = FILES[0].read_text() + "surprise: {deep: [1, 2]}\n"
    file = tmp_path / "some.yaml"
    file.write_text(text)
    (report,) = import_files([file], tmp_path / "out")
    unknown = [(item.key, item.value, item.line) for item in report.left_out if item.reason == UNKNOWN]
    line = len(text.splitlines())
    assert unknown == [("surprise.deep.0", "1", line), ("surprise.deep.1", "2", line)]
    assert f"#     {line}: surprise.deep.0 = 1" in report.written[0].read_text()


def outcome_of(file: Path, out: Path) -> Report | ConfigError:
    shutil.rmtree(out, ignore_errors=True)
    try:
        return import_files([file], out)[0]
    except ConfigError as error:
        return error


def accounted(file: Path, report: Report) -> None:
    """Every leaf is in the experiment, on the list, or under a name that the report gives as without influence."""
    source = convert(file)
    listed = {(item.key, item.line) for item in report.left_out}
    for path in leaves(source.document.data):
        named = {str(step) for step in path} & set(report.without_influence)
        anchor = any(str(step).startswith("_") for step in path)
        assert path in source.used or (shown(path), source.document.place(path).line) in listed or named or anchor
    for written in report.written:
        load(written)


def convert(file: Path) -> Source:
    return torchdistill._convert(file, "some").source


SNIPPETS = [
    "", "null", "[]", "{}", "[[1], {a: b}]", "{a: {b: 1}}", "-3", "0", "1e-4", "1e400", ".inf", "0x10", "1:30", "true",
    "text", "'- # : {'", '"a\\nb\\u0007"', "!import_call {key: os.system, init: {args: [ls]}}", "!getattr [a, b]",
    "!join [a, [b]]", "!join [a, 1, true]", "!!python/object/apply:os.system [ls]", "&x [*x]", "*nothing", "{<<: 1}",
    "{<<: {lr: 3}}", "2024-01-01", '"\\ud800"', "|\n  text\n", "[1, two, null]", "é…", "!<tag:x> {y: z}",
]  # fmt: skip


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_changed_config_is_refused_with_a_place_or_imported(tmp_path, data):
    lines = data.draw(st.sampled_from(FILES)).read_text().splitlines()
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(lines) - 1))
        action = data.draw(st.sampled_from(["replace", "inner", "remove", "repeat", "indent", "cut"]))
        if action == "replace" and ":" in lines[at]:
            lines[at] = f"{lines[at].partition(':')[0]}: {data.draw(st.sampled_from(SNIPPETS))}"
        elif action == "inner" and ": " in lines[at]:
            spots = [match.span(1) for match in re.finditer(r": ([^,{}\[\]]+)", lines[at])]
            if spots:
                start, end = data.draw(st.sampled_from(spots))
                lines[at] = lines[at][:start] + data.draw(st.sampled_from(SNIPPETS)) + lines[at][end:]
        elif action == "remove" and len(lines) > 1:
            del lines[at]
        elif action == "repeat":
            lines.insert(at, lines[at])
        elif action == "indent":
            lines[at] = "  " + lines[at]
        elif action == "cut":
            lines[at] = lines[at][: len(lines[at]) // 2]
    file, out = tmp_path / "some.yaml", tmp_path / "out"
    file.write_text("\n".join(lines), encoding="utf-8")
    outcome = outcome_of(file, out)
    if isinstance(outcome, Report):
        accounted(file, outcome)
    else:
        assert all(problem.line >= 1 and problem.column >= 1 for problem in outcome.problems)
        assert not out.exists()


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(raw=st.binary(max_size=300))
def test_bytes_of_any_kind_are_refused_with_a_place(tmp_path, raw):
    file = tmp_path / "some.yaml"
    file.write_bytes(raw)
    with pytest.raises(ConfigError, match=r"some\.yaml:\d+:\d+:"):
        import_files([file], tmp_path / "out")


def test_truncated_files_are_refused_or_imported(tmp_path):
    for whole in FILES[:3]:
        raw = whole.read_bytes()
        for length in range(0, len(raw), 97):
            file = tmp_path / f"{length}.yaml"
            file.write_bytes(raw[:length])
            outcome = outcome_of(file, tmp_path / "out")
            assert isinstance(outcome, Report) or str(outcome).startswith(str(file))


# --- nothing is run --------------------------------------------------------------------------------------------------

CALLS = """
dependencies: [{name: writes}, 'writes']
datasets: !import_call {key: 'writes.run', init: {kwargs: {}}}
models:
  model:
    key: 'resnet20'
    kwargs:
      num_classes: !import_call_method {package: writes, class_name: Runner, method_name: run, init: {}}
      weights: !getattr [!import_get {key: 'writes.ATTRIBUTE'}, 'x']
      other: !!python/object/apply:writes.run []
      more: !setattr [!import_get {key: 'writes'}, 'ATTRIBUTE', 1]
      last: !access_by_index_or_key {data: !import_call {key: 'writes.run'}, index_or_key: 0}
train:
  num_epochs: 1
  train_data_loader: {dataset_id: x, kwargs: {batch_size: 1}}
  optimizer: {key: 'SGD', kwargs: {lr: 0.1}}
  criterion: {key: 'WeightedSumLoss', kwargs: {sub_terms: {a: {criterion: {key: 'writes'}, weight: 1}}}}
"""


def test_nothing_that_a_config_names_is_imported_or_called(tmp_path, monkeypatch):
    trace = tmp_path / "trace"
    (tmp_path / "writes.py").write_text(f"open({str(trace)!r}, 'w').close()\ndef run(**_): pass\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    file = tmp_path / "calls.yaml"
    file.write_text(CALLS)
    (report,) = import_files([file], tmp_path / "out")
    assert not trace.exists()
    assert "writes" not in sys.modules
    assert "is not run" in reasons(report)["models.model.kwargs.num_classes.package"]
    assert "models.model.kwargs.other" in reasons(report)
    assert load(report.written[0]).data["student"] == {
        "architecture": {"method": "cifar_resnet", "depth": 20},
        "start": {"source": "torchvision/resnet20-x"},
    }
    assert "`!setattr` as `!getattr`" in texts(report)


def test_the_importer_brings_no_torch():
    code = "import sys, redistill.importer; print([m for m in ('torch', 'numpy', 'transformers') if m in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_tags_are_data(tmp_path):
    file = tmp_path / "tags.yaml"
    file.write_text(
        "a: !join [x, 1, /, 2.5]\nb: !import_get {key: os.system}\nc: !join [x, [y]]\n!join [k, 1]: &v yes\nd: *v\n"
    )
    data = read(file).document.data
    assert data["a"] == "x1/2.5"
    assert data["b"] == Tagged("!import_get", {"key": "os.system"})
    assert isinstance(data["c"], Tagged)
    assert data["k1"] is True  # YAML 1.1, as torchdistill reads it
    assert data["d"] is True


def grown(first: str, pattern: str, times: int) -> str:
    """A value that an alias doubles, again and again."""
    lines = [f"a0: &a0 {first}"]
    lines += [f"a{i}: &a{i} {pattern.format(f'*a{i - 1}')}" for i in range(1, times)]
    return "\n".join(lines)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: &x {b: *x}", "nested deeper than"),
        ("a: &x\n  <<: *x", "nested deeper than"),
        ("a: " + "[" * 3000, "is not valid YAML"),
        (grown("[x, x]", "[{0}, {0}, {0}, {0}, {0}, {0}, {0}, {0}, {0}]", 8), "more than"),
        (grown("xxxxxxxx", "!join [{0}, {0}]", 40), "joins to more"),
        (grown("{x: 1}", "{{<<: [{0}, {0}]}}", 30), "more than"),
        ("? [a, b]\n: c", "a key must be a plain word"),
        ("a: {<<: 3}", "merges something that is no mapping"),
        ("- a\n- b", "must be a mapping"),
        ("a: 1\n---\nb: 2", "is not valid YAML"),
        ('a: "\\ud800"', "half a surrogate pair"),
        ("a: *b", "undefined alias"),
        ("train: {}", "models: is missing"),
        ("models: {model: {key: x}}", "train: is missing"),
        ("x" * (MAX_BYTES + 1), "is larger than"),
    ],
    ids=lambda value: value[:24] if isinstance(value, str) else "",
)  # fmt: skip
def test_hostile_and_broken_files_are_refused_with_a_place(tmp_path, text, said):
    file = tmp_path / "some.yaml"
    file.write_text(text)
    with pytest.raises(ConfigError, match=r"some\.yaml:\d+:\d+: .*" + said):
        import_files([file], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_all_mistakes_of_all_files_are_said_at_once_and_nothing_is_written(tmp_path):
    bad, missing = tmp_path / "bad.yaml", tmp_path / "missing.yaml"
    bad.write_text("a: [")
    with pytest.raises(ConfigError) as caught:
        import_files([bad, FILES[0], missing], tmp_path / "out")
    assert [Path(problem.file).name for problem in caught.value.problems] == ["bad.yaml", "missing.yaml"]
    assert not (tmp_path / "out").exists()


def test_a_comment_cannot_be_broken_out_of(tmp_path):
    file = tmp_path / "some.yaml"
    text = FILES[0].read_text().replace("CIFAR10'", "CIFAR10\\nlabel: no'").replace("'CIFAR10", '"CIFAR10', 1)
    file.write_text(text.replace("label: no'", 'label: no"') + '"new\\nlabel: no": "x\\rlabel: no"\n')
    (report,) = import_files([file], tmp_path / "out")
    assert load(report.written[0]).data["label"] == "resnet32 from wide_resnet40_4"


# --- files -----------------------------------------------------------------------------------------------------------


def test_files_that_are_there_are_not_replaced(tmp_path):
    import_files([FILES[0]], tmp_path)
    before = {file: file.read_bytes() for file in tmp_path.iterdir()}
    with pytest.raises(RedistillError, match="there already"):
        import_files([FILES[0]], tmp_path)
    assert before == {file: file.read_bytes() for file in tmp_path.iterdir()}


def test_names_follow_the_folders_and_are_distinct(tmp_path):
    for folder in ("A b/x", "A b/y"):
        (tmp_path / folder).mkdir(parents=True)
        shutil.copy(FILES[1], tmp_path / folder / "Same Name.yaml")
        shutil.copy(FILES[1], tmp_path / folder / "same-name.yaml")
    files = sorted((tmp_path / "A b").rglob("*.yaml"))
    reports = import_files(files, tmp_path / "out")
    names = [report.written[0].relative_to(tmp_path / "out").as_posix() for report in reports]
    assert names == ["x/same-name.yaml", "x/same-name-2.yaml", "y/same-name.yaml", "y/same-name-2.yaml"]


def test_the_same_files_give_the_same_bytes(tmp_path):
    for out in ("one", "two"):
        import_files(FILES, tmp_path / out / "configs" / "experiments")
    one, two = (
        {f.relative_to(tmp_path / out): f.read_bytes() for f in (tmp_path / out).rglob("*.yaml")}
        for out in ("one", "two")
    )
    assert one == two
