"""Tokenise a task's texts once for each tokenizer and length; every run on them reads the same arrays."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from tokenizers import Tokenizer


def tokenise(config: dict[str, Any], inputs: dict[str, Path], work: Path) -> dict[str, Any]:
    """Write, for each split, `.tokens.npy` (all ids in a row, int32) and `.starts.npy` (n + 1 offsets, int64).

    Texts longer than `max_length` tokens are cut, the special tokens kept; how many is returned.
    """
    tokenizer = Tokenizer.from_file(str(inputs["tokenizer"] / "tokenizer.json"))
    tokenizer.no_padding()
    counts: dict[str, Any] = {"texts": 0, "tokens": 0, "cut": 0}
    for file in sorted(inputs["dataset"].glob("*.parquet")):
        texts = pq.read_table(file, columns=["text"])["text"].to_pylist()
        tokenizer.no_truncation()
        whole = [len(encoding.ids) for encoding in tokenizer.encode_batch(texts)]
        tokenizer.enable_truncation(config["max_length"])
        ids = [encoding.ids for encoding in tokenizer.encode_batch(texts)]
        starts = np.cumsum([0, *map(len, ids)], dtype=np.int64)
        np.save(work / f"{file.stem}.tokens.npy", np.concatenate([np.array(i, dtype=np.int32) for i in ids]))
        np.save(work / f"{file.stem}.starts.npy", starts)
        counts["texts"] += len(texts)
        counts["tokens"] += int(starts[-1])
        counts["cut"] += sum(length > config["max_length"] for length in whole)
    return counts
