"""Read the profile of a machine, by its name or from a file, with the place of every mistake."""

from pathlib import Path

from redistill.config import compose, schema
from redistill.config.parse import Document, load
from redistill.errors import ConfigError

FOLDER = "machines"


def read_machine(root: Path, written: str) -> tuple[str, schema.Machine]:
    """A machine's name and profile: `configs/machines/NAME.yaml`, or any other file.

    Raises:
        ConfigError: there is none, or it has mistakes; with all of them, each at its place.
    """
    of_project = written.removeprefix("./").startswith(f"configs/{FOLDER}/")
    if of_project or not written.endswith(".yaml"):
        name = compose.name_of(FOLDER, written)
        return name, compose.validate(schema.Machine, compose.read(root, FOLDER, name))
    document = load(Path(written))
    return Path(written).stem, compose.validate(schema.Machine, _mapping(document))


def _mapping(document: Document) -> Document:
    if not isinstance(document.data, dict):
        raise ConfigError([document.problem((), "must be a mapping of keys to values")])
    return document
