"""The commands that README and docs show, from their blocks: with continuations joined, and without remarks."""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
GENERATED = ("commands.md",)  # usage of every command, from the commands themselves
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md",
         *(page for page in sorted((ROOT / "docs").glob("*.md")) if page.name not in GENERATED)]  # fmt: skip
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
SHELLS = ("", "console", "sh", "bash")
PROGRAMS = ("redistill", "snakemake", "python", "pip", "dvc", "make", "git", "bash", "podman", "apptainer", "sudo",
            "sha256sum", "cat", "ruff", "snakefmt", "rocrate-validator", "source", "tensorboard", "mlflow")  # fmt: skip
ASSIGNED = re.compile(r"^[A-Z_]+=(?:\$\([^)]*\)|\S)* ")
# within sentences, whole commands as one would type them; a mere `redistill plan` is a name
INLINE = re.compile(r"`((?:[A-Z_]+=\S+ )*(?:\.venv/bin/\w+\s|redistill query crate )[^`]+)`")
REMARK = re.compile(r"\s+#\s.*$")


@dataclass(frozen=True)
class Command:
    """A command as a page shows it, on one line; `place` is the page's name."""

    place: str
    line: str

    @property
    def words(self) -> list[str]:
        """Its words, without what is set before it: `.venv/bin/redistill` is `redistill`."""
        words = shlex.split(self.bare)
        return [Path(words[0]).name, *words[1:]]

    @property
    def bare(self) -> str:
        line = self.line
        while ASSIGNED.match(line):
            line = ASSIGNED.sub("", line, count=1)
        return line


def program(line: str) -> str | None:
    """The program that a line begins with, None if it is none that is known."""
    while ASSIGNED.match(line):
        line = ASSIGNED.sub("", line, count=1)
    name = line.split(" ")[0].removeprefix(".venv/bin/").removeprefix(".venv-validators/bin/")
    return name if name in PROGRAMS else None


def commands(page: Path) -> Iterator[Command]:
    """The commands of a page's blocks: of one with prompts, what stands after a prompt; of any other that begins with a
    command, each of its lines. Then those within its sentences.
    """
    text = page.read_text(encoding="utf-8")
    for language, block in BLOCK.findall(text):
        lines = re.sub(r" *\\\n\s*", " ", block).splitlines()
        if language not in SHELLS or not lines:
            continue
        prompted = [line[2:] for line in lines if line.startswith("$ ")]
        if prompted or program(lines[0]):
            for line in prompted or lines:
                if line.strip() and not line.startswith("#"):
                    yield Command(page.name, REMARK.sub("", line).strip())
    for line in INLINE.findall(BLOCK.sub("", text)):
        yield Command(page.name, " ".join(line.split()))
