"""What the sections of the language share: strictness, and the types of names, digests, seeds and numbers."""

from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field

Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]*(/[a-z0-9][a-z0-9._-]*)*$", max_length=120)]
Word = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]*$", max_length=60)]  # without dots: a step of a path
Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Seed = Annotated[int, Field(ge=0, lt=2**32)]
Split = Literal["train", "select", "dev", "transfer"]
OfficialSplit = Literal["train", "select", "dev", "transfer", "test"]
Share = Annotated[float, Field(ge=0, le=1)]
NonNegativeFloat = Annotated[float, Field(ge=0)]


class Strict(BaseModel):
    """Refuses keys that it does not know and values of another type."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class Component(BaseModel):
    """A component by name. The keys beside `method` are the component's own settings, listed with the components."""

    model_config = ConfigDict(extra="allow", strict=True, frozen=True)

    kind: ClassVar[str]  # of component, as the registry calls it

    method: Name = Field(description="Which component")

    @property
    def settings(self) -> dict[str, Any]:
        """The keys that belong to the component."""
        return dict(self.model_extra or {})
