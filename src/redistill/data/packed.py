"""Encoded files, one after the other in one file: how they are written, and mapped into memory rather than read."""

from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np


@dataclass(frozen=True)
class Files:
    """The files of a split: their bytes together, and where each starts; one start more than there are files."""

    content: np.ndarray
    starts: np.ndarray

    @classmethod
    def of(cls, folder: Path, split: str, what: str) -> "Files":
        content = np.memmap(folder / f"{split}.{what}", mode="r", dtype=np.uint8)
        return cls(content, np.load(folder / f"{split}.{what}.starts.npy"))

    def __len__(self) -> int:
        return len(self.starts) - 1

    def __getitem__(self, index: int) -> bytes:
        return self.content[self.starts[index] : self.starts[index + 1]].tobytes()


@dataclass(frozen=True)
class Joined:
    """Files of several splits, one after the other."""

    parts: list[Files]

    def __getitem__(self, index: int) -> bytes:
        for part in self.parts:
            if index < len(part):
                return part[index]
            index -= len(part)
        raise IndexError(index)


class Writer:
    """Writes `<split>.<what>`, and where each file starts in it."""

    def __init__(self, work: Path, split: str, what: str):
        self.file, self.starts = work / f"{split}.{what}", [0]

    def __enter__(self) -> "Writer":
        self.stream: IO[bytes] = self.file.open("wb")
        return self

    def add(self, content: bytes) -> None:
        self.stream.write(content)
        self.starts.append(self.starts[-1] + len(content))

    def __exit__(self, *_: object) -> None:
        self.stream.close()
        np.save(self.file.with_name(f"{self.file.name}.starts.npy"), np.array(self.starts, dtype=np.int64))
