"""Tasks: what is predicted from what, from which data, and how it is measured."""

from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, NonNegativeInt, PositiveInt, Tag, model_validator

from redistill.config.schema.values import Component, Name, OfficialSplit, Seed, Split, Strict

SubmittedFile = Literal[
    "CoLA", "SST-2", "MRPC", "STS-B", "QQP", "MNLI-m", "MNLI-mm", "QNLI", "RTE", "WNLI", "AX"
]  # fmt: skip


class Pool(Strict):
    """A task made of other tasks' inputs, without their labels."""

    tasks: list[Name] = Field(min_length=1, description="Tasks whose inputs are pooled")
    splits: list[Split] = Field(min_length=1, description="Splits taken of each; they become `transfer`")


class Splits(Strict):
    """How many examples go where, without overlap. With classes, each split has the classes' own proportions."""

    train: NonNegativeInt = Field(description="Labelled examples to train on")
    select: NonNegativeInt = Field(description="Labelled examples that serve every choice")
    dev: PositiveInt = Field(description="Labelled examples that are only reported on")
    transfer: NonNegativeInt = Field(0, description="Examples whose labels are taken away")

    def has(self, split: str) -> bool:
        """Whether the task has any example in that split."""
        return self.size(split) > 0

    def size(self, split: str) -> int:
        """How many examples the split has."""
        return int(getattr(self, split))


class OfficialSplits(Strict):
    """The splits that the source's authors made, in the order of its files."""

    official: dict[OfficialSplit, str] = Field(
        description="The source's split behind each of ours, such as `train: train` and `dev: validation`; `test` is "
        "predicted for a submission alone, and its labels, if there are any, are not read"
    )
    select: NonNegativeInt = Field(
        0,
        description="Examples cut from `train` that serve every choice. With classes, in the classes' own proportions",
    )
    rows: dict[str, PositiveInt] = Field(
        description="Rows of the source's splits as published; other counts are refused"
    )
    sample: bool = Field(False, description="The source is known to hold a part of those rows")
    at_most: dict[Split, PositiveInt] = Field(
        default={}, description="Examples that are kept of a split, drawn by `split_seed`; all if not given"
    )

    @model_validator(mode="after")
    def _whole(self) -> "OfficialSplits":
        taken = list(self.official.values())
        if not {"dev", "test"} & set(self.official):
            raise ValueError("`official` must say which split `dev` is")
        if unknown := sorted(set(self.at_most) - set(self.official)):
            raise ValueError(f"`at_most` limits `{unknown[0]}`, which `official` does not name")
        if repeated := sorted({name for name in taken if taken.count(name) > 1}):
            raise ValueError(f"`{repeated[0]}` stands for two splits of the task: they would overlap")
        if missing := sorted(set(taken) - set(self.rows)):
            raise ValueError(f"`rows` must give the published row count of `{missing[0]}`")
        if self.select and "select" in self.official:
            raise ValueError("`select` is cut from `train` or is a split of the source, not both")
        if self.select and self.select >= self.rows.get(self.official.get("train", ""), 0):
            raise ValueError("`select` is cut from `train`, and must leave some of it")
        return self

    def has(self, split: str) -> bool:
        """Whether the task has any example in that split."""
        return self.size(split) > 0

    def size(self, split: str) -> int:
        """How many examples the split has where the source is whole."""
        if split == "select" and self.select:
            return self.select
        cut = self.select if split == "train" else 0
        whole = next((self.rows[theirs] - cut for ours, theirs in self.official.items() if ours == split), 0)
        return min([whole, *(most for limited, most in self.at_most.items() if limited == split)])

    def only(self, *splits: str) -> "OfficialSplits":
        """These splits alone, and what they need."""
        official = {ours: theirs for ours, theirs in self.official.items() if ours in splits}
        return self.model_copy(
            update={
                "official": official,
                "rows": {name: rows for name, rows in self.rows.items() if name in official.values()},
                "select": self.select if "train" in splits else 0,
                "at_most": {split: most for split, most in self.at_most.items() if split in splits},
            }
        )


def _kind_of_splits(value: Any) -> str:
    official = "official" in value if isinstance(value, dict) else isinstance(value, OfficialSplits)
    return "(official)" if official else "(drawn)"  # no key of a file, which the path of a mistake is made of


AnySplits = Annotated[
    Annotated[Splits, Tag("(drawn)")] | Annotated[OfficialSplits, Tag("(official)")], Discriminator(_kind_of_splits)
]


class Reader(Component):
    """Reads the source's files."""

    kind = "reader"


class Task(Strict):
    """What is predicted from what, from which data, and how it is measured."""

    title: str = Field(description="Heading of the task's column")
    type: Literal["classification", "regression", "segmentation", "detection", "unlabelled"] = Field(
        description="Kind of label: a class or a number of each example; a class of each pixel; boxes with classes"
    )
    input: Literal["text", "image"] = Field(description="Kind of input")
    image_shape: list[PositiveInt] | None = Field(
        None,
        min_length=3,
        max_length=3,
        description="Channels, height and width of images as models are given them; files may have other sizes",
    )
    source: Name | None = Field(None, description="Source of the data")
    reader: Reader | None = Field(None, description="Component that reads the source's files")
    labels: list[str] = Field(
        default=[],
        description="Class names in the order of their indices; of a segmentation the background too, where it is one",
    )
    faulty: Literal["refuse", "leave_out"] = Field(
        "refuse",
        description="What becomes of broken images, of masks that do not fit, and of boxes without area or outside "
        "their image: `refuse` names them, `leave_out` counts them",
    )
    metric: str | None = Field(None, description="The number in the table")
    splits: AnySplits | None = Field(
        None,
        description="Sizes of the splits, drawn by `split_seed`; or `official`: which of the source's splits they are",
    )
    split_seed: Seed = Field(0, description="Seed of the split")
    pool: Pool | None = Field(None, description="Other tasks whose inputs make this one")
    model_of: Name | None = Field(
        None, description="Task whose runs are evaluated on this one's data; nothing is trained on it"
    )
    submitted_as: SubmittedFile | None = Field(None, description="Its file in a submission to GLUE, without .tsv")
