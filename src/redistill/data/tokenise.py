"""Tokenise a task's texts once for each tokenizer and length; every run on them reads the same arrays."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from tokenizers import Encoding, Tokenizer

AT_ONCE = 10_000  # texts that are encoded together: an encoding takes far more memory than its ids

Text = str | tuple[str, str]


def tokenise(config: dict[str, Any], inputs: dict[str, Path], work: Path) -> dict[str, Any]:
    """Write, for each split, `.tokens.npy` (all ids in a row, int32) and `.starts.npy` (n + 1 offsets, int64).

    Text pairs also get `.types.npy` (uint8, as many as ids): 0 in the first text, 1 in the second. Texts longer than
    `max_length` tokens are cut, the special tokens kept, a pair at its longer text; how many is returned.
    """
    tokenizer = Tokenizer.from_file(str(inputs["tokenizer"] / "tokenizer.json"))
    tokenizer.no_padding()
    counts: dict[str, Any] = {"texts": 0, "tokens": 0, "cut": 0}
    for file in sorted(inputs["dataset"].glob("*.parquet")):
        texts, paired = _texts(file)
        tokenizer.no_truncation()
        whole = [len(encoding.ids) for encoding in _encoded(tokenizer, texts)]
        tokenizer.enable_truncation(config["max_length"])
        ids: list[np.ndarray] = []
        types: list[np.ndarray] = []
        for encoding in _encoded(tokenizer, texts):
            ids.append(np.array(encoding.ids, dtype=np.int32))
            if paired:
                types.append(np.array(encoding.type_ids, dtype=np.uint8))
        starts = np.cumsum([0, *map(len, ids)], dtype=np.int64)
        np.save(work / f"{file.stem}.tokens.npy", np.concatenate(ids))
        np.save(work / f"{file.stem}.starts.npy", starts)
        if paired:
            np.save(work / f"{file.stem}.types.npy", np.concatenate(types))
        counts["texts"] += len(texts)
        counts["tokens"] += int(starts[-1])
        counts["cut"] += sum(length > config["max_length"] for length in whole)
    return counts


def _texts(file: Path) -> tuple[list[Text], bool]:
    """The texts of a split, and whether they are pairs; in a pool a text may have no pair."""
    table = pq.read_table(file)
    texts = table["text"].to_pylist()
    if "text_pair" not in table.column_names:
        return texts, False
    pairs = table["text_pair"].to_pylist()
    return [text if pair is None else (text, pair) for text, pair in zip(texts, pairs, strict=True)], True


def _encoded(tokenizer: Tokenizer, texts: list[Text]) -> Iterator[Encoding]:
    for begin in range(0, len(texts), AT_ONCE):
        yield from tokenizer.encode_batch(texts[begin : begin + AT_ONCE])
