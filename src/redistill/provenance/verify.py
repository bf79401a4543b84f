"""Check a number of a table against a Merkle root, offline: this one file and Python's standard library are enough.

    python verify.py image.proof.json --row image/student-kd --column digits --root HEX
    python verify.py manifests.json --root HEX
    python verify.py FOLDER [--root HEX] [--sums HEX]     a crate, or a project: all that is in it

The root is printed under every table. It stands for every manifest of the study but those of its tables: a leaf is a
manifest's key and entry in manifests.json, pairs are hashed upwards, an odd one goes up as it is (as in RFC 6962).
"""

import argparse
import base64
import csv
import hashlib
import json
import re
import statistics
import sys
from collections.abc import Iterator
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
    claim = proof["cells"].get(row, {}).get(column)
    if claim is None:
        raise RefusedError(f"the proof has no cell {row} / {column}")
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
    parser = argparse.ArgumentParser(description="Check a number, all manifests, or all of a folder, against a root.")
    parser.add_argument("file", help="TABLE.proof.json or manifests.json of a study in results/; or a crate's folder")
    parser.add_argument("--root", help="as printed under the table")
    parser.add_argument("--sums", help="of a crate: the SHA-256 of SHA256SUMS, as printed when it was made")
    parser.add_argument("--row")
    parser.add_argument("--column")
    said = parser.parse_args()
    if not Path(said.file).is_dir() and said.root is None:
        parser.error("--root is needed: a proof says nothing without the root that you trust")
    try:
        if Path(said.file).is_dir():
            sys.exit(_reported(Path(said.file), said.root, said.sums))
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
        return [f"right: {sum(e['kind'] not in APART for e in held.values())} manifests have the root {trusted}"]
    there = [(r, c) for r, columns in held["cells"].items() for c in columns]
    asked = [(r, c) for r, c in there if row in (None, r) and column in (None, c)]
    if not asked:
        known = ", ".join(f"{r} / {c}" for r, c in there) or "none"
        raise RefusedError(f"it has no cell {row or 'any'} / {column or 'any'}; there are {known}")
    return [f"right: {r} / {c}: {cell(held, r, c, trusted)}" for r, c in asked]


# --- a whole folder ---------------------------------------------------------------------------------------------------

SUMS = "SHA256SUMS"
ROOT_SAID = "Merkle root of the manifests behind the tables"  # under every table, as redistill.tables.publish writes it
PRINTED = {
    "md": re.compile(rf"\n\*{ROOT_SAID}: `([0-9a-f]*)`\*\n\Z"),
    "tex": re.compile(rf"\\par{{\\footnotesize {ROOT_SAID}: \\texttt{{([0-9a-f]*)}}\\par}}\n(?=\\end{{table}})"),
}
Found = tuple[bool | None, str]  # right, wrong, or None for what there was nothing to check with; and in words


def _reported(where: Path, trusted: str | None, sums: str | None) -> int:
    """Print what was found; the exit status."""
    found = list(folder(where, trusted, sums))
    for right, said in sorted(found, key=lambda pair: pair[0] is False):
        print(f"{ {True: 'right', False: 'WRONG', None: 'note'}[right] }: {said}")
    wrong = sum(right is False for right, _ in found)
    print(f"{wrong} problems" if wrong else "no problem")
    return int(wrong > 0)


def folder(where: Path, trusted: str | None = None, sums: str | None = None) -> Iterator[Found]:
    """All that can be checked of a crate, or of a project's folder, with nothing but what is in it."""
    yield from _sums(where, sums)
    studies = sorted(where.glob("results/*/manifests.json"))
    if not studies:
        yield False, "results/: there is no study in it"
    for file in studies:
        try:
            yield from _study(where, file.parent, trusted)
        except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
            study = file.parent.relative_to(where)
            yield False, f"{study}: its files cannot be read together ({error.__class__.__name__}: {error})"


def listed(where: Path) -> dict[str, str]:
    """The SHA-256 of every file of a crate, as SHA256SUMS has them; nothing where there is no crate."""
    if not (where / SUMS).is_file():
        return {}
    lines = (where / SUMS).read_text(encoding="utf-8", errors="replace").splitlines()
    return {name: digest for digest, _, name in (line.partition("  ") for line in lines)}


def _sums(where: Path, trusted: str | None) -> Iterator[Found]:
    """Every file of a crate against SHA256SUMS, and that against its own digest."""
    if not (where / SUMS).is_file():
        yield (None, f"there is no {SUMS}: this is no crate") if trusted is None else (False, f"{SUMS}: missing")
        return
    own, said = _sha256(where / SUMS), listed(where)
    if trusted not in (None, own):
        yield False, f"{SUMS}: its SHA-256 is {own}, expected {trusted}"
    files = {file.relative_to(where).as_posix() for file in where.rglob("*") if file.is_file()} - {SUMS}
    wrong = dict.fromkeys(files - said.keys(), "unknown") | dict.fromkeys(said.keys() - files, "missing")
    wrong |= {name: "its SHA-256 is another" for name in files & said.keys() if _sha256(where / name) != said[name]}
    for name, what in sorted(wrong.items()):
        yield False, f"{name}: {what} to {SUMS}" if what == "unknown" else f"{name}: {what} (by {SUMS})"
    yield True, f"{len(files) - len(wrong)} files are as {SUMS} says, whose SHA-256 is {own}"


def _study(where: Path, results: Path, trusted: str | None) -> Iterator[Found]:
    name = results.relative_to(where)
    manifests = json.loads((results / "manifests.json").read_text(encoding="utf-8"))
    pieces = json.loads((results / "parts.json").read_text(encoding="utf-8"))
    own = root(manifests)
    if trusted is None:
        yield (
            None,
            f"{name}/manifests.json has the root {own}: compare it with one that you trust, or give it by --root",
        )
    else:
        yield own == trusted, f"{name}/manifests.json has the root {own}" + (f", expected {trusted}" * (own != trusted))
    yield from _keys(name, manifests, pieces)
    yield from _things(where, manifests)
    yield from _tables(where, results, manifests, own)
    yield from _records(where, manifests)
    yield from _sealed(where, results, own)


def _keys(name: Path, manifests: dict[str, Entry], pieces: dict[str, Any]) -> Iterator[Found]:
    """Keys against what they are made of, and manifests against their digests."""
    wrong = 0
    for key, entry in manifests.items():
        manifest = _manifest(key, entry, pieces)
        for place, mine, given in (
            ("parts.json", _digest(manifest["key_parts"])[: len(key)], key),
            ("manifests.json", _digest(manifest), entry["digest"]),
        ):
            if mine != given:
                wrong += 1
                yield False, f"{name}/{place}: of {key} ({entry['title']}) its digest is {mine}, expected {given}"
        for role, other in entry["inputs"].items():
            if other not in manifests:
                wrong += 1
                yield False, f"{name}/manifests.json: of {key} ({entry['title']}) the {role}, {other}, is missing"
    if not wrong:
        yield True, f"{len(manifests)} keys and manifests are what they are said to be made of"


def _things(where: Path, manifests: dict[str, Entry]) -> Iterator[Found]:
    """The files of things against their manifests; what is left out, as large files are, is counted."""
    seen, absent, size = 0, dict[str, int](), 0
    for key, entry in manifests.items():
        place = where / "store" / entry["area"] / key
        there = {file.relative_to(place).as_posix(): file for file in place.rglob("*") if file.is_file()}
        for name, said in entry["files"].items():
            if name not in there:
                absent[name] = absent.get(name, 0) + 1
                size += said["size"]
            elif _sha256(there[name]) != said["sha256"]:
                yield False, f"{there[name].relative_to(where)}: its SHA-256 is not what its manifest says"
            else:
                seen += 1
        for name, file in sorted(there.items()):
            if name not in entry["files"] and not _of_the_store(file, entry["digest"]):
                yield False, f"{file.relative_to(where)}: it is not what results/ knows"
    yield True, f"{seen} files of {len(manifests)} things are what their manifests say"
    if absent:
        named = ", ".join(f"{count} {name}" for name, count in sorted(absent.items(), key=lambda pair: -pair[1])[:4])
        more = " ..." if len(absent) > 4 else ""
        yield None, f"{sum(absent.values())} files are not here, {size / 1e6:,.1f} MB: {named}{more}"


def _of_the_store(file: Path, digest: str) -> bool:
    """Whether a file that no manifest names is the manifest itself, or what seals it."""
    if file.name not in ("manifest.json", "done.json"):
        return False
    held = _read(file)
    return bool((_digest(held) if file.name == "manifest.json" else held.get("manifest")) == digest)


def _tables(where: Path, results: Path, manifests: dict[str, Entry], own: str) -> Iterator[Found]:
    """Every number of every table: the proof against the root, and all forms of the table against the proof."""
    cells = 0
    for key, entry in manifests.items():
        for name, said in entry["files"].items() if entry["kind"] in APART else ():
            file = results / name
            if name != "counts.json" and _without_root(file, own) != said["sha256"]:
                yield False, f"{file.relative_to(where)}: it is not what table {key} says, with the root {own} in it"
    for file in sorted(results.glob("*.proof.json")):
        proof = json.loads(file.read_text(encoding="utf-8"))
        table = json.loads((results / f"{proof['table']}.json").read_text(encoding="utf-8"))
        lines = list(csv.DictReader((results / f"{proof['table']}.csv").read_text(encoding="utf-8").splitlines()))
        printed = {(line["row"], line["column"]): line["mean"] for line in lines if line["mean"]}
        shown = {(r["name"], c): f"{cell['mean']:.6f}" for r in table["rows"] for c, cell in r["cells"].items() if cell}
        proven = {(r, c): f"{said['mean']:.6f}" for r, columns in proof["cells"].items() for c, said in columns.items()}
        for row, column in sorted(shown.keys() | proven.keys() | printed.keys()):
            place = f"{file.relative_to(where)}: {row} / {column}"
            try:
                cell(proof, row, column, own)
            except RefusedError as error:
                yield False, f"{place}: {error}"
            if len({numbers.get((row, column)) for numbers in (shown, proven, printed)}) > 1:
                yield False, f"{place}: the table, its CSV and the proof have different numbers"
        cells += len(proven)
    yield True, f"{cells} cells of {len(list(results.glob('*.proof.json')))} tables were checked against the root {own}"


def without_root(kind: str, text: str) -> tuple[str, str | None]:
    """A table as it was before its root was printed in it, and that root; None if there is none, as in CSV."""
    if kind == "json":
        try:
            held = json.loads(text)
            own = held.pop("root", None)
        except (ValueError, AttributeError, RecursionError):
            return text, None
        before, after = (json.dumps(h, indent=2, ensure_ascii=False) + "\n" for h in (held, held | {"root": own}))
        return before if after == text else text, own
    found = PRINTED[kind].search(text) if kind in PRINTED else None
    return (text, None) if found is None else (text[: found.start()] + text[found.end() :], found[1])


def _without_root(file: Path, own: str) -> str:
    """SHA-256 of a table as it was before this root was printed in it."""
    if not file.is_file():
        return "missing"
    text, printed = without_root(file.suffix[1:], file.read_bytes().decode("utf-8", errors="replace"))
    right = printed == own or file.suffix == ".csv"
    return hashlib.sha256(text.encode()).hexdigest() if right else "another root"


def _records(where: Path, manifests: dict[str, Entry]) -> Iterator[Found]:
    """Each record against the key, and the digests of what it says was made and used. Those of schema 1 know none."""
    seen = 0
    for key, entry in manifests.items():
        file = where / "store" / "records" / f"{key}.json"
        if file.is_file():
            noted, seen = _read(file), seen + 1
            used = {said["key"]: said["manifest"] for said in noted.get("inputs", {}).values()}
            used[key] = noted.get("output", {}).get("manifest", entry["digest"])
            known = {other: manifests[other]["digest"] for other in used if other in manifests}
            if _digest(noted.get("key_parts"))[: len(key)] != key or noted.get("key", key) != key or used != known:
                yield False, f"{file.relative_to(where)}: it is not the record of what was published as {key}"
    yield True, f"{seen} records are of {len(manifests)} things"


def _sealed(where: Path, results: Path, own: str) -> Iterator[Found]:
    """What a seal says of records and published files; whose signature is under it, redistill says."""
    file = results / "signed" / "seal.json"
    if not file.is_file():
        return
    said = json.loads(base64.b64decode(_read(file)["payload"]))
    digests = {results / name: digest for name, digest in said["published"].items()}
    digests |= {where / "store" / "records" / f"{k}.json": digest for k, digest in said["records"]["sha256"].items()}
    for path, digest in digests.items():
        if path.is_file() and _sha256(path) != digest:
            yield False, f"{path.relative_to(where)}: it is not what was sealed"
    yield said["manifests"] == own, f"{file.relative_to(where)} seals the root {said['manifests']}"
    yield None, f"the signature under the seal, by {_read(file)['signatures'][0]['keyid']}, was not checked"


def _read(file: Path) -> dict[str, Any]:
    """A file's JSON object; an empty one where it holds none."""
    try:
        held = json.loads(file.read_text(encoding="utf-8"))
    except ValueError:
        held = None
    return held if isinstance(held, dict) else {}


def _manifest(key: str, entry: Entry, pieces: dict[str, Any]) -> dict[str, Any]:
    """A thing's manifest, from its entry and what parts.json has of its key."""
    return {"files": entry["files"], "key_parts": parts_of(pieces, key, entry["kind"], entry["inputs"])}


def parts_of(pieces: dict[str, Any], key: str, kind: str, inputs: dict[str, str]) -> dict[str, Any]:
    """What a key is made of, from parts.json, in which `redistill.provenance.parts` has written what is shared once.

    Raises:
        LookupError: the file does not have it all.
    """
    places = pieces["keys"][key]
    config = pieces["config"][places["config"]] | ({"seed": places["seed"]} if "seed" in places else {})
    shared = {name: pieces[name][places[name]] for name in ("code", "packages")}
    return {"kind": kind, **shared, "config": config, "inputs": inputs}


def _digest(value: Any) -> str:
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def _sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


if __name__ == "__main__":
    main()
