"""How fast torchdistill and transformers' Trainer train a text classifier, each used as its authors mean it.

.venv-peers/bin/python benchmarks/peers/text.py TOOL FOLDER [--epochs N] [--steps N] [--threads N] [--seed N] --out FILE

FOLDER has train.parquet and dev.parquet (sentence1, sentence2, label), teacher/ and student/ (Hugging Face
sequence-classification folders; the student's tokenizer is used) and settings.json. In it, `alpha` weighs the labels
and `beta` (1 - alpha when absent) the teacher, as in torchdistill's KDLoss.

torchdistill is given no accelerator: its DistillationBox reads `accelerator.state.use_fp16`, which accelerate no
longer has.
"""

import argparse
import math
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from datasets import Dataset, concatenate_datasets
from measure import StepClock, parser, read_settings, write
from sklearn.metrics import accuracy_score, f1_score
from torch import nn
from torch.utils.data import DataLoader, RandomSampler, SequentialSampler
from torchdistill.core.distillation import DistillationBox, get_distillation_box
from torchdistill.core.training import TrainingBox, get_training_box
from torchdistill.datasets.registry import register_collate_func
from torchdistill.losses.registry import register_func2extract_model_output
from torchdistill.misc.log import MetricLogger, SmoothedValue
from torchdistill.optim.registry import register_optimizer, register_scheduler
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    DataCollatorWithPadding,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    Trainer,
    TrainerCallback,
    TrainingArguments,
    get_linear_schedule_with_warmup,
    set_seed,
)

TOOLS = (
    "torchdistill-kd",
    "torchdistill-finetune",
    "trainer-fp32",
    "trainer-fp32-grouped",
    "trainer-bf16",
    "trainer-bf16-grouped",
    "trainer-predict",
)
DEFAULTS = {
    "max_length": 128,
    "batch_size": 32,
    "learning_rate": 5e-5,
    "epochs": 3,
    "temperature": 4.0,
    "alpha": 0.5,
    "weight_decay": 0.01,
    "max_grad_norm": 1.0,  # the default of TrainingArguments, and what torchdistill's GLUE configs say
}
PREDICTED = 2000  # examples that trainer-predict goes through
LOG_EVERY = 50


class CountingCollator:
    """Pads a batch to its longest sentence, and notes how many tokens that makes and how many of them are real."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self.pad = DataCollatorWithPadding(tokenizer)
        self.examples: list[int] = []
        self.computed: list[int] = []
        self.real: list[int] = []

    def __call__(self, features: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
        batch = self.pad(features)
        mask = batch["attention_mask"]
        self.examples.append(len(mask))
        self.computed.append(mask.numel())
        self.real.append(int(mask.sum()))
        return batch

    def tokens(self, steps: int) -> dict[str, Any]:
        """Tokens of the first so many batches: a loader that reads ahead may have collated more."""
        real = self.real[:steps]
        return {
            "samples_per_step": self.examples[:steps], "real_tokens_per_step": real,
            "real_tokens": sum(real), "computed_tokens": sum(self.computed[:steps]),
        }  # fmt: skip


class Marks(TrainerCallback):
    """Tells the clock of the Trainer's steps, and stops it after so many."""

    def __init__(self, clock: StepClock, limit: int | None) -> None:
        self.clock = clock
        self.limit = limit

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **rest: Any) -> None:
        self.clock.start()

    def on_step_end(self, args: Any, state: Any, control: Any, **rest: Any) -> None:
        self.clock.step()
        if self.clock.steps == self.limit:
            control.should_training_stop = True

    def on_prediction_step(self, args: Any, state: Any, control: Any, **rest: Any) -> None:
        self.clock.step()


def main() -> None:
    arguments = parser(__doc__ or "", TOOLS).parse_args()
    torch.set_num_threads(arguments.threads)
    set_seed(arguments.seed)
    settings = read_settings(arguments.folder, DEFAULTS)
    settings["epochs"] = arguments.epochs or settings["epochs"]
    tokenizer = AutoTokenizer.from_pretrained(arguments.folder / "student")
    student = load_model(arguments.folder / "student").to(arguments.device)
    dev = read_examples(arguments.folder / "dev.parquet", tokenizer, settings["max_length"])
    if arguments.tool == "trainer-predict":
        predict(arguments, settings, student, tokenizer, dev)
        return
    train = read_examples(arguments.folder / "train.parquet", tokenizer, settings["max_length"])
    collator, clock = CountingCollator(tokenizer), StepClock()
    if arguments.tool.startswith("torchdistill"):
        train_with_torchdistill(arguments, settings, student, train, collator, clock)
    else:
        train_with_trainer(arguments, settings, student, tokenizer, train, collator, clock)
    whole = clock.steps == steps_per_epoch(train, settings) * settings["epochs"]
    score = evaluate(student, dev, tokenizer, settings["batch_size"]) if whole else None
    samples = sum(collator.examples[: clock.steps])
    write(arguments, clock, samples, collator.tokens(clock.steps) | {"score": score, "settings": settings})


def load_model(folder: Path) -> PreTrainedModel:
    return AutoModelForSequenceClassification.from_pretrained(folder, dtype=torch.float32)


def read_examples(file: Path, tokenizer: PreTrainedTokenizerBase, max_length: int) -> Dataset:
    """The sentences of a file, or pairs of them, tokenised without padding, as both tools' GLUE examples do it."""
    raw = Dataset.from_pandas(pd.read_parquet(file))
    texts = [name for name in ("sentence1", "sentence2") if name in raw.column_names]

    def tokenise(rows: dict[str, list[Any]]) -> dict[str, Any]:
        made = tokenizer(*(rows[name] for name in texts), truncation=True, max_length=max_length)
        return dict(made) | {"labels": rows["label"]}

    return raw.map(tokenise, batched=True, remove_columns=raw.column_names)


def steps_per_epoch(examples: Dataset, settings: dict[str, Any]) -> int:
    return math.ceil(len(examples) / settings["batch_size"])


@torch.inference_mode()
def evaluate(
    model: PreTrainedModel, examples: Dataset, tokenizer: PreTrainedTokenizerBase, batch_size: int
) -> dict[str, float]:
    """Accuracy and F1; F1 is of class 1 if there are two classes, and the mean over classes if there are more."""
    model.eval()
    expected: list[int] = []
    predicted: list[int] = []
    for batch in DataLoader(examples, batch_size=batch_size, collate_fn=DataCollatorWithPadding(tokenizer)):
        batch = {name: tensor.to(model.device) for name, tensor in batch.items()}
        expected += batch.pop("labels").tolist()
        predicted += model(**batch).logits.argmax(dim=-1).tolist()
    average = "binary" if model.config.num_labels == 2 else "macro"
    return {"accuracy": accuracy_score(expected, predicted), "f1": f1_score(expected, predicted, average=average)}


# --- torchdistill -----------------------------------------------------------------------------------------------------


@register_optimizer
def adamw_in_two_groups(modules: nn.Module, lr: float, weight_decay: float) -> torch.optim.Optimizer:
    """AdamW that leaves biases and layer norms undecayed, as the optimiser of torchdistill's GLUE configs does."""
    named = list(modules.named_parameters())
    spared = {name for name, _ in named if "bias" in name or "LayerNorm.weight" in name}
    decayed = {"params": [weight for name, weight in named if name not in spared], "weight_decay": weight_decay}
    undecayed = {"params": [weight for name, weight in named if name in spared], "weight_decay": 0.0}
    return torch.optim.AdamW([decayed, undecayed], lr=lr)


@register_func2extract_model_output
def loss_of_output(student_outputs: Any, targets: Any, **rest: Any) -> dict[str, torch.Tensor]:
    """The loss that a transformers model works out from the labels in its batch."""
    return {"loss": student_outputs.loss}


def train_with_torchdistill(
    arguments: argparse.Namespace,
    settings: dict[str, Any],
    student: PreTrainedModel,
    train: Dataset,
    collator: CountingCollator,
    clock: StepClock,
) -> None:
    """torchdistill's boxes from a config, driven by the loop of its GLUE example, its metric logger included."""
    register_scheduler(get_linear_schedule_with_warmup)
    register_collate_func(collator, key="DataCollatorWithPadding")
    box = build_box(arguments, settings, student, {"train": train})
    for epoch in range(box.num_epochs):
        box.pre_epoch_process(epoch=epoch)
        for _ in train_one_epoch(box, epoch, clock, arguments.device):
            if clock.steps == arguments.steps:
                return
        box.post_epoch_process()


def build_box(
    arguments: argparse.Namespace, settings: dict[str, Any], student: PreTrainedModel, data: dict[str, Dataset]
) -> DistillationBox | TrainingBox:
    config = training_config(settings, steps_per_epoch(data["train"], settings) * settings["epochs"])
    rest = (torch.device(arguments.device), None, False, 1)  # device, its ids, not distributed, no factor on the rate
    if arguments.tool == "torchdistill-finetune":
        return get_training_box(student, data, config | finetuning_config(), *rest)
    teacher = load_model(arguments.folder / "teacher").to(arguments.device)
    return get_distillation_box(teacher, student, data, config | distillation_config(settings), *rest)


def train_one_epoch(box: DistillationBox | TrainingBox, epoch: int, clock: StepClock, device: str) -> Iterator[None]:
    """One epoch; hands over after every step, so that it can be left.

    The example passes targets=None, whereupon KDLoss drops its term on the labels and the squared temperature. Here the
    labels are passed, so that the loss is the one that the config says.
    """
    logger = MetricLogger(delimiter="  ")
    logger.add_meter("lr", SmoothedValue(window_size=1, fmt="{value}"))
    logger.add_meter("sample/s", SmoothedValue(window_size=10, fmt="{value}"))
    clock.start()
    for batch in logger.log_every(box.train_data_loader, LOG_EVERY, f"Epoch: [{epoch}]"):
        began = time.time()
        batch = {name: tensor.to(device) for name, tensor in batch.items()}
        loss = box.forward_process(batch, targets=batch["labels"], supp_dict=None)
        box.post_forward_process(loss=loss)
        logger.update(loss=loss.item(), lr=box.optimizer.param_groups[0]["lr"])
        logger.meters["sample/s"].update(len(batch["labels"]) / (time.time() - began))
        clock.step()
        yield


def training_config(settings: dict[str, Any], steps: int) -> dict[str, Any]:
    """What distillation and fine-tuning share, in the form of torchdistill's GLUE configs."""
    return {
        "log_freq": LOG_EVERY,
        "num_epochs": settings["epochs"],
        "train_data_loader": loader_config("train", RandomSampler, settings["batch_size"]),
        "val_data_loader": loader_config("val", SequentialSampler, settings["batch_size"]),
        "optimizer": {
            "key": "adamw_in_two_groups",
            "kwargs": {"lr": settings["learning_rate"], "weight_decay": settings["weight_decay"]},
            "filters_params": False,
            "max_grad_norm": settings["max_grad_norm"],
            "grad_accum_step": 1,
        },
        "scheduler": {
            "key": "get_linear_schedule_with_warmup",
            "kwargs": {"num_warmup_steps": 0, "num_training_steps": steps},
            "scheduling_step": 1,
        },
    }


def loader_config(name: str, sampler: type, batch_size: int) -> dict[str, Any]:
    return {
        "dataset_id": name,
        "sampler": {"class_or_func": sampler, "kwargs": None},
        "kwargs": {"batch_size": batch_size, "num_workers": 0, "drop_last": False},
        "collate_fn": "DataCollatorWithPadding",
        "requires_supp": False,
    }


def finetuning_config() -> dict[str, Any]:
    return {
        "model": {"forward_proc": "forward_batch_only_as_kwargs", "requires_grad": True},
        "criterion": {
            "key": "WeightedSumLoss",
            "func2extract_model_loss": "loss_of_output",
            "kwargs": {"model_term": {"weight": 1.0}},
        },
    }


def distillation_config(settings: dict[str, Any]) -> dict[str, Any]:
    """The teacher passes live beside the student; torchdistill 1.1.5 keeps no outputs of it."""
    hooked = {"forward_proc": "forward_batch_only_as_kwargs", "forward_hook": {"input": [], "output": ["classifier"]}}
    return {
        "teacher": hooked | {"requires_grad": False},
        "student": hooked | {"requires_grad": True},
        "criterion": {"key": "WeightedSumLoss", "kwargs": {"sub_terms": {"kd": kd_term(settings)}}},
    }


def kd_term(settings: dict[str, Any]) -> dict[str, Any]:
    """KDLoss; without labels (alpha 0) it forgets beta and the squared temperature, so the weight makes up for them."""
    temperature, alpha = settings["temperature"], settings["alpha"]
    beta = settings.get("beta", 1 - alpha)
    logits = {
        f"{model}_module_{what}": value
        for model in ("student", "teacher")
        for what, value in (("path", "classifier"), ("io", "output"))
    }
    kwargs = logits | {"temperature": temperature, "alpha": alpha, "beta": beta, "reduction": "batchmean"}
    return {"criterion": {"key": "KDLoss", "kwargs": kwargs}, "weight": 1.0 if alpha else beta * temperature**2}


# --- the Trainer ------------------------------------------------------------------------------------------------------


def train_with_trainer(
    arguments: argparse.Namespace,
    settings: dict[str, Any],
    student: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    train: Dataset,
    collator: CountingCollator,
    clock: StepClock,
) -> None:
    """Fine-tuning with the Trainer's defaults; the tool's name says its precision and whether it groups by length."""
    with tempfile.TemporaryDirectory() as scratch:
        chosen = TrainingArguments(
            **quiet(scratch, arguments),
            num_train_epochs=settings["epochs"],
            per_device_train_batch_size=settings["batch_size"],
            learning_rate=settings["learning_rate"],
            weight_decay=settings["weight_decay"],
            max_grad_norm=settings["max_grad_norm"],
            lr_scheduler_type="linear",
            warmup_steps=0,
            bf16="bf16" in arguments.tool,
            train_sampling_strategy="group_by_length" if arguments.tool.endswith("grouped") else "random",
        )
        trainer = Trainer(
            model=student,
            args=chosen,
            train_dataset=train,
            data_collator=collator,
            processing_class=tokenizer,
            callbacks=[Marks(clock, arguments.steps)],
        )
        trainer.train()


def quiet(scratch: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """On the device that was asked for, nothing saved, nothing reported."""
    silent = {"save_strategy": "no", "report_to": "none", "disable_tqdm": True}
    return {"output_dir": scratch, "use_cpu": arguments.device == "cpu", "seed": arguments.seed, **silent}


def predict(
    arguments: argparse.Namespace,
    settings: dict[str, Any],
    student: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    dev: Dataset,
) -> None:
    """Trainer.predict over dev, repeated until there are enough examples."""
    collator, clock = CountingCollator(tokenizer), StepClock()
    wanted = arguments.steps * settings["batch_size"] if arguments.steps else PREDICTED
    repeated = concatenate_datasets([dev] * math.ceil(wanted / len(dev))).select(range(wanted))
    with tempfile.TemporaryDirectory() as scratch:
        chosen = TrainingArguments(
            **quiet(scratch, arguments), per_device_eval_batch_size=settings["batch_size"], bf16=False
        )
        trainer = Trainer(
            model=student,
            args=chosen,
            data_collator=collator,
            processing_class=tokenizer,
            callbacks=[Marks(clock, None)],
        )
        clock.start()
        trainer.predict(repeated)
    write(arguments, clock, wanted, collator.tokens(clock.steps) | {"score": None, "settings": settings})


if __name__ == "__main__":
    main()
