"""Check a number of a table against a Merkle root, offline: this one file and Python's standard library are enough.

    python verify.py image.proof.json --row image/student-kd --column digits --root HEX
    python verify.py manifests.json --root HEX

The root is printed under every table. It stands for every manifest of the study but those of its tables: a leaf is a
manifest's key and entry in manifests.json, pairs are hashed upwards, an odd one goes up as it is (as in RFC 6962).
"""

import argparse
import hashlib
import json
import statistics
import sys
from pathlib import Path
from typing import Any

APART = ("table", "scores")  # kinds that are no leaves: the root is printed in them
Entry = dict[str, Any]


class RefusedError(Exception):
    """What is claimed is not what the root stands for."""


def leaf(key: str, entry: Entry) -> str:
    """Digest of a manifest's entry; 0 and 1 in front keep leaves and pairs apart."""
    text = json.dumps([key, entry], sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(b"\0" + text.encode()).hexdigest()


def pair(left: str, right: str) -> str:
    """Digest of two digests."""
    return hashlib.sha256(b"\1" + bytes.fromhex(left) + bytes.fromhex(right)).hexdigest()


def levels(manifests: dict[str, Entry]) -> list[list[str]]:
    """The tree from its leaves, in the order of their keys, up to the root."""
    tree = [[leaf(key, entry) for key, entry in sorted(manifests.items()) if entry["kind"] not in APART]]
    while len(tree[-1]) > 1:
        below = tree[-1]
        above = [pair(below[i], below[i + 1]) for i in range(0, len(below) - 1, 2)]
        tree.append(above + below[len(below) - len(below) % 2 :])
    return tree


def root(manifests: dict[str, Entry]) -> str:
    """The digest that stands for all of them; that of nothing if there are none."""
    top = levels(manifests)[-1]
    return top[0] if top else hashlib.sha256().hexdigest()


def path(tree: list[list[str]], place: int) -> list[list[str]]:
    """What a leaf is hashed with on its way up: `left` or `right`, and the digest that stands there."""
    found = []
    for level in tree[:-1]:
        other = place ^ 1
        if other < len(level):
            found.append(["left" if other < place else "right", level[other]])
        place //= 2
    return found


def climb(digest: str, steps: list[list[str]]) -> str:
    """The root that a leaf's path leads to."""
    for side, other in steps:
        digest = pair(other, digest) if side == "left" else pair(digest, other)
    return digest


def cell(proof: dict[str, Any], row: str, column: str, trusted: str) -> str:
    """What the root says of a cell, in words.

    Raises:
        RefusedError: the proof has no such cell, or is not one of it.
    """
    try:
        claim = proof["cells"][row][column]
    except KeyError:
        there = ", ".join(f"{r} / {c}" for r, columns in proof["cells"].items() for c in columns)
        raise RefusedError(f"there is no cell in row `{row}` and column `{column}`; there are {there}") from None
    entry, text = claim["entry"], claim["metrics.json"]
    if climb(leaf(claim["key"], entry), claim["path"]) != trusted:
        raise RefusedError("its path does not lead to the root")
    if f"{proof['table']} / {row} / {column}" not in entry["cells"]:
        raise RefusedError(f"the root knows that manifest as the cell {' and '.join(entry['cells'])}")
    if hashlib.sha256(text.encode()).hexdigest() != entry["files"]["metrics.json"]["sha256"]:
        raise RefusedError("its metrics are not those that the root stands for")
    metrics = json.loads(text)
    values = [score["value"] for score in metrics["dev"].values()]
    mean = statistics.fmean(values)
    spread = f" ± {100 * statistics.stdev(values):.4f}" if len(values) > 1 else ""
    if round(mean, 6) != round(claim["mean"], 6):
        raise RefusedError(f"its mean is said to be {claim['mean']}, and its metrics give {mean:.6f}")
    return f"{metrics['metric']} on dev, times 100: {100 * mean:.4f}{spread} ({len(values)} runs)"


def main() -> None:
    parser = argparse.ArgumentParser(description="Check a table's number, or all manifests, against a root.")
    parser.add_argument("file", help="TABLE.proof.json or manifests.json of a study in results/")
    parser.add_argument("--root", required=True, help="as printed under the table")
    parser.add_argument("--row")
    parser.add_argument("--column")
    said = parser.parse_args()
    try:
        for line in check(said.file, said.root, said.row, said.column):
            print(line)
    except RefusedError as error:
        sys.exit(f"REFUSED {said.file}: {error}")
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        sys.exit(f"REFUSED {said.file}: it cannot be read as a proof ({error.__class__.__name__}: {error})")


def check(file: str, trusted: str, row: str | None, column: str | None) -> list[str]:
    """What was found right, a line each; of a proof, the cells that were asked for.

    Raises:
        RefusedError: something was not.
    """
    held = json.loads(Path(file).read_text(encoding="utf-8"))
    if "cells" not in held:
        if root(held) != trusted:
            raise RefusedError(f"its root is {root(held)}")
        return [f"right: {len(held)} manifests have the root {trusted}"]
    found = []
    for r in [row] if row is not None else list(held["cells"]):
        for c in [column] if column is not None else list(held["cells"].get(r, {})) or ["any"]:
            found.append(f"right: {r} / {c}: {cell(held, r, c, trusted)}")
    return found


if __name__ == "__main__":
    main()
