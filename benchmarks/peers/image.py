"""How fast torchdistill distils a wide ResNet into a smaller one on images of CIFAR's size.

.venv-peers/bin/python benchmarks/peers/image.py torchdistill-kd FOLDER [--epochs N] [--steps N] [--threads N]
    [--seed N] [--workers N] [--teacher-mode eval|train] --out FILE

FOLDER has train.npz: `images` (n, 3, 32, 32) uint8 and `labels` (n,). It may have settings.json, and
teacher.safetensors (or teacher.pt) and student.safetensors (or student.pt), state dicts under torchdistill's names;
models without a file start from the seed. What is not in settings.json is as in torchdistill's CIFAR-10 configs of
wide ResNets.
"""

import argparse
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from measure import StepClock, parser, read_settings, write
from PIL import Image
from safetensors.torch import load_file
from torch import nn
from torch.utils.data import RandomSampler
from torchdistill.common.main_util import set_seed
from torchdistill.core.distillation import DistillationBox, get_distillation_box
from torchdistill.misc.log import MetricLogger, SmoothedValue
from torchdistill.models.registry import get_model
from torchvision import transforms
from torchvision.datasets import VisionDataset

DEFAULTS = {
    "teacher": [40, 2],  # depth and width
    "student": [16, 2],
    "classes": 10,
    "batch_size": 128,
    "learning_rate": 0.1,
    "momentum": 0.9,
    "weight_decay": 5e-4,
    "milestones": [60, 120, 160],  # epochs
    "gamma": 0.2,
    "temperature": 4.0,
    "alpha": 0.9,  # weight of the labels; beta, of the teacher, is 1 - alpha
    "mean": [0.49139968, 0.48215841, 0.44653091],
    "std": [0.24703223, 0.24348513, 0.26158784],
    "epochs": 1,
    "augment": True,
}
LOG_EVERY = 100


class Images(VisionDataset):
    """Images in memory that become PIL images one by one, as torchvision's CIFAR10 makes them."""

    def __init__(self, file: Path, transform: transforms.Compose) -> None:
        super().__init__(file.parent, transform=transform)
        with np.load(file) as arrays:
            self.images = np.ascontiguousarray(arrays["images"].transpose(0, 2, 3, 1))
            self.labels = arrays["labels"].tolist()

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        return self.transform(Image.fromarray(self.images[index])), self.labels[index]

    def __len__(self) -> int:
        return len(self.images)


def main() -> None:
    arguments = read_arguments()
    torch.set_num_threads(arguments.threads)
    set_seed(arguments.seed)
    settings = read_settings(arguments.folder, DEFAULTS)
    settings["epochs"] = arguments.epochs or settings["epochs"]
    data = {"train": Images(arguments.folder / "train.npz", augmentation(settings))}
    teacher = build_model(arguments.folder, "teacher", settings).to(arguments.device)
    teacher.train(arguments.teacher_mode == "train")
    student = build_model(arguments.folder, "student", settings).to(arguments.device)
    config = training_config(settings, arguments.workers)
    box = get_distillation_box(teacher, student, data, config, torch.device(arguments.device), None, False, 1)
    clock = StepClock()
    samples = train(box, clock, arguments.steps, arguments.device)
    extra = {"workers": arguments.workers, "teacher_mode": arguments.teacher_mode, "score": None, "settings": settings}
    write(arguments, clock, samples, extra)


def read_arguments() -> argparse.Namespace:
    made = parser(__doc__ or "", ("torchdistill-kd",))
    made.add_argument("--workers", type=int, default=16, help="torchdistill's CIFAR configs say 16")
    made.add_argument(
        "--teacher-mode",
        choices=("eval", "train"),
        default="eval",
        help="torchdistill and its example leave the teacher in train mode, so that its batch norms see the batch",
    )
    return made.parse_args()


def augmentation(settings: dict[str, Any]) -> transforms.Compose:
    moved = [transforms.RandomCrop(32, padding=4), transforms.RandomHorizontalFlip(0.5)]
    plain = [transforms.ToTensor(), transforms.Normalize(settings["mean"], settings["std"])]
    return transforms.Compose([*moved, *plain] if settings["augment"] else plain)


def build_model(folder: Path, name: str, settings: dict[str, Any]) -> nn.Module:
    """A wide ResNet from torchdistill's registry, with the folder's weights if it has some."""
    depth, width = settings[name]
    shape = {"depth": depth, "k": width, "dropout_p": 0.0, "num_classes": settings["classes"]}
    model = get_model("wide_resnet", **shape, pretrained=False, progress=False)
    if (folder / f"{name}.safetensors").is_file():
        model.load_state_dict(load_file(folder / f"{name}.safetensors"))
    elif (folder / f"{name}.pt").is_file():
        model.load_state_dict(torch.load(folder / f"{name}.pt", weights_only=True))
    return model


def training_config(settings: dict[str, Any], workers: int) -> dict[str, Any]:
    """The form of torchdistill's CIFAR-10 configs."""
    loader = {"batch_size": settings["batch_size"], "num_workers": workers, "drop_last": False}
    optimizer = {"lr": settings["learning_rate"]} | {name: settings[name] for name in ("momentum", "weight_decay")}
    return {
        "log_freq": LOG_EVERY,
        "num_epochs": settings["epochs"],
        "train_data_loader": {
            "dataset_id": "train",
            "sampler": {"class_or_func": RandomSampler, "kwargs": None},
            "kwargs": loader,
        },
        "teacher": {"forward_proc": "forward_batch_only", "requires_grad": False},
        "student": {"forward_proc": "forward_batch_only", "requires_grad": True},
        "optimizer": {"key": "SGD", "kwargs": optimizer},
        "scheduler": {"key": "MultiStepLR", "kwargs": {name: settings[name] for name in ("milestones", "gamma")}},
        "criterion": {"key": "WeightedSumLoss", "kwargs": {"sub_terms": {"kd": kd_term(settings)}}},
    }


def kd_term(settings: dict[str, Any]) -> dict[str, Any]:
    """KDLoss between what the two models put out; `.` is torchdistill's path of a model itself."""
    temperature, alpha = settings["temperature"], settings["alpha"]
    beta = settings.get("beta", 1 - alpha)
    kwargs = {
        "student_module_path": ".",
        "student_module_io": "output",
        "teacher_module_path": ".",
        "teacher_module_io": "output",
        "temperature": temperature,
        "alpha": alpha,
        "beta": beta,
        "reduction": "batchmean",
    }
    # without labels KDLoss forgets beta and the squared temperature
    return {"criterion": {"key": "KDLoss", "kwargs": kwargs}, "weight": 1.0 if alpha else beta * temperature**2}


def train(box: DistillationBox, clock: StepClock, limit: int | None, device: str) -> int:
    """All epochs, or so many steps; returns how many images went through."""
    samples = 0
    for epoch in range(box.num_epochs):
        box.pre_epoch_process(epoch=epoch)
        for count in train_one_epoch(box, epoch, clock, device):
            samples += count
            if clock.steps == limit:
                return samples
        box.post_epoch_process()
    return samples


def train_one_epoch(box: DistillationBox, epoch: int, clock: StepClock, device: str) -> Iterator[int]:
    """One epoch as in torchdistill's image example; hands over each step's number of images, so that it can be left."""
    logger = MetricLogger(delimiter="  ")
    logger.add_meter("lr", SmoothedValue(window_size=1, fmt="{value}"))
    logger.add_meter("img/s", SmoothedValue(window_size=10, fmt="{value}"))
    clock.start()
    for images, labels, extra in logger.log_every(box.train_data_loader, LOG_EVERY, f"Epoch: [{epoch}]"):
        began = time.time()
        images, labels = images.to(device), labels.to(device)
        loss = box.forward_process(images, labels, extra)
        box.post_forward_process(loss=loss)
        logger.update(loss=loss.item(), lr=box.optimizer.param_groups[0]["lr"])
        logger.meters["img/s"].update(len(images) / (time.time() - began))
        if not torch.isfinite(loss):
            raise ValueError(f"the loss is {loss.item()}")
        clock.step()
        yield len(images)


if __name__ == "__main__":
    main()
