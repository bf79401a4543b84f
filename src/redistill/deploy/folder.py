"""A folder that `redistill export --to onnx` or `--to int8` wrote, read back and verified. Imports no torch."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from redistill.deploy import DESCRIPTION, MODEL, RESOLVED, SCORES
from redistill.errors import IntegrityError, RedistillError
from redistill.provenance.store import sha256_file

if TYPE_CHECKING:
    from torch.nn import Module


@dataclass(frozen=True)
class Exported:
    """A run in ONNX. `said` is its export.json, `config` the recipe of the run."""

    folder: Path
    said: dict[str, Any]
    config: dict[str, Any]

    @property
    def title(self) -> str:
        return str(self.said["run"])

    @property
    def task(self) -> dict[str, Any]:
        task: dict[str, Any] = self.config["task"]
        return task

    @property
    def is_text(self) -> bool:
        return bool(self.task["input"] == "text")

    @property
    def max_length(self) -> int:
        """Tokens that a text is cut at."""
        return int(self.said["max_length"])

    def model(self) -> "Module":
        """What answers as the run's model does, by ONNX Runtime."""
        from redistill.deploy.session import model_of

        return model_of(self.folder / MODEL, self.is_text, self.config["runtime"]["threads"])


def is_exported(folder: Path) -> bool:
    return (folder / DESCRIPTION).is_file()


def place(root: Path, key: str, form: str) -> Path:
    """Where a run's export in ONNX or int8 lies that was put nowhere else."""
    return root / "exports" / f"{key}-{form}"


def scores_in(folder: Path) -> dict[str, Any]:
    """How the exported model was seen to do beside the run, as docs/exporting.md says.

    Raises:
        RedistillError: the folder has no scores that can be read.
    """
    try:
        scores: dict[str, Any] = json.loads((folder / SCORES).read_text(encoding="utf-8"))
        scores["examples"], scores["metrics"], scores["agree"]
    except (OSError, ValueError, LookupError, TypeError):
        raise RedistillError(f"{folder / SCORES}: cannot be read as scores; export the run again") from None
    return scores


def read(folder: Path) -> Exported:
    """An exported folder.

    Raises:
        RedistillError: its description cannot be read.
        IntegrityError: a file is not what the description says.
    """
    try:
        said = json.loads((folder / DESCRIPTION).read_text(encoding="utf-8"))
        files = {name: one["sha256"] for name, one in said["files"].items()}
        files[MODEL], files[RESOLVED], said["run"], said["max_length"]
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        raise RedistillError(f"{folder / DESCRIPTION}: cannot be read as an export's; export the run again") from None
    for name, expected in files.items():
        file = folder / name
        if not file.is_file():
            raise RedistillError(f"{file} is not there, which {DESCRIPTION} names: export the run again")
        found = sha256_file(file)
        if found != expected:
            raise IntegrityError(file, expected, found, "Export the run again.")
    return Exported(folder, said, json.loads((folder / RESOLVED).read_text(encoding="utf-8")))
