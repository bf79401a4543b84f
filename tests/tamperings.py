"""Ways in which somebody may change a published study, each drawn at random: what is changed, and who can see it."""

import json
import random
import re
import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from published_study import STUDY, PublishedStudy, make

from redistill.provenance import published, store
from redistill.provenance.store import pretty
from redistill.tables.publish import publish

Draw = random.Random


@dataclass(frozen=True)
class Tampering:
    """What was done. A finding at one of the `levels`, and at none before, has one of `names` in it: the file's path,
    or the key of the thing that it belongs to.
    """

    what: str
    names: tuple[str, ...]
    levels: tuple[str, ...]
    sealed: bool = True  # whether the study is sealed


Tamper = Callable[[PublishedStudy, Draw], Tampering]


def _in_store(made: PublishedStudy) -> list[Path]:
    """Files of things that results know, manifests and seals of manifests among them."""
    areas = [made.root / "store" / area for area in store.AREAS]
    return sorted(file for area in areas for file in area.rglob("*") if file.is_file())


def _in_results(made: PublishedStudy) -> list[Path]:
    return sorted(file for file in made.results.iterdir() if file.is_file())


def _records(made: PublishedStudy) -> list[Path]:
    """Records of what results know: nobody asks for that of the study's last job."""
    target = made.plan.target.key
    return sorted(f for f in (made.root / "store" / "records").glob("*.json") if f.stem != target)


def _at(made: PublishedStudy, file: Path) -> str:
    return file.relative_to(made.root).as_posix()


def _flip(file: Path, draw: Draw) -> str:
    """Another byte in the place of one; returns where."""
    content = bytearray(file.read_bytes())
    place = draw.randrange(len(content))
    content[place] = (content[place] + draw.randrange(1, 256)) % 256
    file.write_bytes(content)
    return f"byte {place}"


# --- one file, and nothing else --------------------------------------------------------------------------------------


def byte_in_the_store(made: PublishedStudy, draw: Draw) -> Tampering:
    file = draw.choice(_in_store(made))
    return Tampering(f"{_flip(file, draw)} of {_at(made, file)}", (_at(made, file),), ("integrity",))


def byte_in_results(made: PublishedStudy, draw: Draw) -> Tampering:
    file = draw.choice(_in_results(made))
    return Tampering(f"{_flip(file, draw)} of {_at(made, file)}", (_at(made, file),), ("trace",))


def byte_in_a_record(made: PublishedStudy, draw: Draw) -> Tampering:
    file = draw.choice(_records(made))
    return Tampering(f"{_flip(file, draw)} of {_at(made, file)}", (_at(made, file),), ("trace", "integrity"))


def byte_in_the_seal(made: PublishedStudy, draw: Draw) -> Tampering:
    file = made.results / "signed" / "seal.json"
    payload = json.loads(file.read_text())["payload"]
    start = file.read_text().index(payload)
    content = bytearray(file.read_bytes())
    place = start + draw.randrange(len(payload) - 4)
    content[place] = ord("A") if content[place] != ord("A") else ord("B")
    file.write_bytes(content)
    return Tampering(f"byte {place} of the seal", (_at(made, file),), ("integrity",))


def truncated(made: PublishedStudy, draw: Draw) -> Tampering:
    stored = draw.random() < 0.6
    file = draw.choice([f for f in (_in_store if stored else _in_results)(made) if f.stat().st_size > 1])
    content = file.read_bytes()
    file.write_bytes(content[: draw.randrange(len(content))])
    return Tampering(f"{_at(made, file)} is cut off", (_at(made, file),), ("integrity",) if stored else ("trace",))


def removed(made: PublishedStudy, draw: Draw) -> Tampering:
    """A file of the store or of results/. Without done.json, a thing is not there; nobody needs the last job's."""
    stored = draw.random() < 0.6
    target = made.plan.target.key
    file = draw.choice([f for f in (_in_store if stored else _in_results)(made) if f.parent.name != target])
    file.unlink()
    level = "integrity" if stored and file.name != "done.json" else "trace"
    return Tampering(f"{_at(made, file)} is removed", (_at(made, file),), (level,))


def removed_folder(made: PublishedStudy, draw: Draw) -> Tampering:
    key = draw.choice(sorted(made.plan.nodes.keys() - {made.plan.target.key}))
    folder = made.plan.nodes[key].folder(made.root)
    shutil.rmtree(folder)
    return Tampering(f"{_at(made, folder)} is removed", (_at(made, folder),), ("trace",))


def removed_record(made: PublishedStudy, draw: Draw) -> Tampering:
    file = draw.choice(_records(made))
    file.unlink()
    return Tampering(f"{_at(made, file)} is removed", (_at(made, file),), ("trace",))


def added(made: PublishedStudy, draw: Draw) -> Tampering:
    stored = draw.random() < 0.5
    folder = draw.choice(_in_store(made)).parent if stored else made.results
    file = folder / draw.choice(("more.parquet", ".hidden", "notes.md"))
    file.write_text("more\n")
    return Tampering(f"{_at(made, file)} is added", (_at(made, file),), ("integrity",) if stored else ("trace",))


def swapped(made: PublishedStudy, draw: Draw) -> Tampering:
    """Two files of one name change places, such as two runs' predictions."""
    by_name: dict[str, list[Path]] = {}
    for file in _in_store(made):
        if file.parent.name != made.plan.target.key:
            by_name.setdefault(file.name, []).append(file)
    pairs = [(a, b) for files in by_name.values() for a in files for b in files
             if a < b and a.read_bytes() != b.read_bytes()]  # fmt: skip
    a, b = draw.choice(pairs)
    _exchange(a, b)
    return Tampering(f"{_at(made, a)} and {_at(made, b)} are swapped", (_at(made, a), _at(made, b)), ("integrity",))


def swapped_results(made: PublishedStudy, draw: Draw) -> Tampering:
    suffix = draw.choice((".csv", ".md", ".tex", ".json", ".proof.json"))
    a, b = (made.results / f"{name}{suffix}" for name in draw.sample(["pictures", "texts", "tuned"], 2))
    _exchange(a, b)
    return Tampering(f"{a.name} and {b.name} are swapped", (_at(made, a), _at(made, b)), ("trace",))


def swapped_records(made: PublishedStudy, draw: Draw) -> Tampering:
    a, b = draw.sample(_records(made), 2)
    _exchange(a, b)
    return Tampering(f"{_at(made, a)} and {_at(made, b)} are swapped", (_at(made, a), _at(made, b)), ("trace",))


def _exchange(a: Path, b: Path) -> None:
    first = a.read_bytes()
    a.write_bytes(b.read_bytes())
    b.write_bytes(first)


# --- numbers and names, as somebody would edit them ------------------------------------------------------------------


def number_in_results(made: PublishedStudy, draw: Draw) -> Tampering:
    """A digit of a number in a table, in metrics.json, runs.tsv, data.json or a proof."""
    file = draw.choice([f for f in _in_results(made) if f.name not in ("manifests.json", "parts.json", "dvc.yaml")])
    text = file.read_text(encoding="utf-8")
    place = draw.choice([m.start() for m in re.finditer(r"(?<![0-9a-f])[0-9](?![0-9a-f]{3})", text)])
    digit = str((int(text[place]) + draw.randrange(1, 10)) % 10)
    file.write_text(text[:place] + digit + text[place + 1 :], encoding="utf-8")
    return Tampering(f"digit {place} of {_at(made, file)}", (_at(made, file),), ("trace",))


def entry_of_a_manifest(made: PublishedStudy, draw: Draw) -> Tampering:
    """Something that manifests.json says of a thing."""
    file = made.results / "manifests.json"
    entries = json.loads(file.read_text(encoding="utf-8"))
    key = draw.choice(sorted(entries))
    what = draw.choice(("title", "digest", "area", "files", "inputs", "gone", "kind"))
    entry = entries[key]
    if what == "gone":
        del entries[key]
    elif what == "files":
        entry["files"][draw.choice(sorted(entry["files"]))]["sha256"] = f"{draw.getrandbits(256):064x}"
    elif what == "inputs":
        other = draw.choice(sorted(entries.keys() - set(entry["inputs"].values())))
        entry["inputs"] = dict.fromkeys(entry["inputs"], other) or {"source": other}
    else:
        values = {"title": "another", "digest": f"{draw.getrandbits(256):064x}", "kind": "model"}
        entry[what] = values.get(what) or draw.choice([area for area in store.AREAS if area != entry["area"]])
    file.write_text(pretty(entries), encoding="utf-8")
    return Tampering(f"{what} of {key} in manifests.json", (key, _at(made, file)), ("trace",))


def parts_of_a_key(made: PublishedStudy, draw: Draw) -> Tampering:
    """Something that parts.json says a key is made of."""
    file = made.results / "parts.json"
    held = json.loads(file.read_text(encoding="utf-8"))
    section = draw.choice(("config", "code", "packages", "keys"))
    piece = held[section][draw.choice([place for place in sorted(held[section]) if held[section][place]])]
    name = draw.choice(sorted(piece))
    piece[name] = "another"
    file.write_text(pretty(held), encoding="utf-8")
    return Tampering(f"{section} {name} in parts.json", (_at(made, file),), ("trace",))


CONFIG_EDITS = (
    ("experiments/plain", "steps: 5", "steps: 6", "steps"),
    ("experiments/plain", "learning_rate: 3.0e-3", "learning_rate: 4.0e-3", "learning_rate"),
    ("experiments/plain", "label: Plain", "label: Better", "Better"),
    ("experiments/taught", "temperature: 4.0", "temperature: 2.0", "temperature"),
    ("experiments/taught", "[train, transfer]", "[train]", "data"),
    ("experiments/teacher", "stages.0.steps: 20", "stages.0.steps: 21", "steps"),
    ("experiments/reader", "max_length: 8", "max_length: 7", "max_length"),
    ("experiments/reader", "layers: [0]", "layers: [1]", "layers"),
    ("experiments/floor", "majority", "linear", "method"),
    ("studies/small", "portable: true", "portable: false", "portable"),
    ("studies/small", "seeds: [0, 1]", "seeds: [0, 2]", "seed"),
    ("studies/small", "1.0e-3, 1.0e-2", "1.0e-3, 2.0e-2", "0.02"),
    ("studies/small", "title: Pictures", "title: Photographs", "Photographs"),
    ("studies/small", "      - {experiment: plain}\n", "", "plain"),
    ("studies/small", "- {row: taught, against: plain}", "- {row: plain, against: taught}", "comparisons"),
    ("tasks/marks", "select: 20", "select: 19", "select"),
    ("tasks/words", "metric: accuracy", "metric: matthews", "metric"),
    ("experiments/plain", "steps: 5", "steps: many", "steps"),
    ("tasks/marks", "method: digits", "method: numbers", "numbers"),
)


def config(made: PublishedStudy, draw: Draw) -> Tampering:
    """A value of a config after the run; also one that is refused."""
    name, old, new, value = draw.choice(CONFIG_EDITS)
    file = made.root / "configs" / f"{name}.yaml"
    text = file.read_text(encoding="utf-8")
    assert old in text
    file.write_text(text.replace(old, new, 1), encoding="utf-8")
    return Tampering(f"{old.strip()!r} in {name} is {new!r}", (_at(made, file), value), ("trace",))


# --- consistently, by somebody who knows how it is made --------------------------------------------------------------


def record_alone(made: PublishedStudy, draw: Draw) -> Tampering:
    """A record as redistill would have written it, with another time, machine or commit: only the seal knows."""
    file = draw.choice(_records(made))
    noted = json.loads(file.read_text(encoding="utf-8"))
    what = draw.choice(("core_seconds", "seconds", "peak_memory_mib", "processor", "start", "commit"))
    if what == "processor":
        noted["machine"]["processor"] = "Another Processor"
    elif what == "start":
        noted["start"] = "2001-01-01T00:00:00Z"
    elif what == "commit":
        noted["code"]["commit"] = f"{draw.getrandbits(160):040x}"
    else:
        noted[what] += 1
    file.write_text(pretty(noted), encoding="utf-8")
    return Tampering(f"{what} of {_at(made, file)}", (_at(made, file),), ("integrity",))


def file_with_its_manifest(made: PublishedStudy, draw: Draw) -> Tampering:
    """A file of a thing, with manifest.json and done.json to match."""
    file = _random_file(made, draw)
    _flip(file, draw)
    _seal_manifest(file.parent)
    return Tampering(f"{_at(made, file)} with its manifest", (_at(made, file),), ("integrity",))


def file_with_its_manifest_and_record(made: PublishedStudy, draw: Draw) -> Tampering:
    """The same, and the thing's record says that this was made; records of others that used it know better."""
    file = _random_file(made, draw)
    _flip(file, draw)
    _note(made, file.parent.name, _seal_manifest(file.parent))
    record = _at(made, made.record(file.parent.name))
    return Tampering(f"{_at(made, file)}, manifest and record", (_at(made, file), record), ("trace",))


def predictions_and_all_that_follows(made: PublishedStudy, draw: Draw) -> Tampering:
    """Other predictions, their manifest and record, and results/ gathered anew under a new root. The seal sees it."""
    run = _other_predictions(made, draw)
    _gather_again(made, draw)
    names = (run, "results/small/manifests.json")
    return Tampering(f"predictions of {run} and all that is gathered", names, ("integrity",))


def predictions_without_a_seal(made: PublishedStudy, draw: Draw) -> Tampering:
    """The same in a study that nobody has sealed: the metrics are not those of the predictions."""
    run = _other_predictions(made, draw)
    _gather_again(made, draw)
    shutil.rmtree(made.results / "signed")
    return Tampering(f"predictions of {run}, no seal", (run,), ("recompute",), sealed=False)


def table_without_a_seal(made: PublishedStudy, draw: Draw) -> Tampering:
    """A number in a table of the store, with all that follows, in a study that nobody has sealed."""
    node = made.node("table", draw.choice(("pictures", "texts", "tuned")))
    file = node.folder(made.root) / f"{node.title}.{draw.choice(('md', 'csv', 'tex'))}"
    text = file.read_text(encoding="utf-8")
    place = draw.choice([m.start(1) for m in re.finditer(r"[0-9]\.([0-9])", text)])
    file.write_text(text[:place] + str((int(text[place]) + 3) % 10) + text[place + 1 :], encoding="utf-8")
    _note(made, node.key, _seal_manifest(file.parent))
    _gather_again(made, draw)
    shutil.rmtree(made.results / "signed")
    return Tampering(f"{_at(made, file)}, no seal", (_at(made, file),), ("recompute",), sealed=False)


def entry_with_its_digest(made: PublishedStudy, draw: Draw) -> Tampering:
    """An entry of manifests.json with a digest to match: the root that is printed is another."""
    file = made.results / "manifests.json"
    entries = json.loads(file.read_text(encoding="utf-8"))
    read = published.read(made.root, STUDY)
    key = draw.choice([key for key in sorted(entries) if entries[key]["kind"] not in ("table", "scores")])
    entry = entries[key]
    entry["files"][draw.choice(sorted(entry["files"]))]["sha256"] = f"{draw.getrandbits(256):064x}"
    entry["digest"] = store.digest_of({"files": entry["files"], "key_parts": read.things[key].parts})
    file.write_text(pretty(entries), encoding="utf-8")
    return Tampering(f"the entry of {key} with its digest", ("manifests.json",), ("trace",))


def _random_file(made: PublishedStudy, draw: Draw) -> Path:
    own = ("manifest.json", "done.json")
    return draw.choice([f for f in _in_store(made) if f.name not in own and f.parent.name != made.plan.target.key])


def _seal_manifest(folder: Path) -> str:
    """Make manifest.json and done.json what the files are; returns the manifest's digest."""
    manifest = store.manifest_of(folder, store.read_manifest(folder)["key_parts"])
    (folder / "manifest.json").write_text(pretty(manifest), encoding="utf-8")
    store.finish(folder)
    return store.digest_of(manifest)


def _note(made: PublishedStudy, key: str, digest: str) -> None:
    """Let the record of a thing say that this was made."""
    file = made.record(key)
    noted = json.loads(file.read_text(encoding="utf-8"))
    noted["output"]["manifest"] = digest
    file.write_text(pretty(noted), encoding="utf-8")


def _note_everywhere(made: PublishedStudy, key: str, digest: str) -> None:
    _note(made, key, digest)
    for file in _records(made):
        noted = json.loads(file.read_text(encoding="utf-8"))
        for used in noted["inputs"].values():
            if used["key"] == key:
                used["manifest"] = digest
        file.write_text(pretty(noted), encoding="utf-8")


def _other_predictions(made: PublishedStudy, draw: Draw) -> str:
    """Make a run right where it was wrong on dev, with manifest and records to match; returns its key."""
    runs = [n for n in made.plan.nodes.values() if n.kind in ("student", "teacher") and "@" not in n.title]
    node = draw.choice(runs)
    file = node.folder(made.root) / "predictions.parquet"
    columns = pq.read_table(file).to_pydict()
    rows = zip(columns["split"], columns["label"], columns["prediction"], strict=True)
    wrong = [i for i, (split, label, said) in enumerate(rows) if split == "dev" and label != said]
    for i in draw.sample(wrong, min(5, len(wrong))):
        columns["prediction"][i] = columns["label"][i]
    pq.write_table(pa.table(columns, schema=pq.read_schema(file)), file)
    _note_everywhere(made, node.key, _seal_manifest(file.parent))
    return node.key


def _gather_again(made: PublishedStudy, draw: Draw) -> None:
    """Do again what the study's last job does, and publish it."""
    target = made.plan.target
    shutil.rmtree(target.folder(made.root))
    store.published.cache_clear()
    plan = type(made.plan)(made.root, made.plan.checked, made.plan.nodes, made.plan.runs, made.plan.configs)
    make(plan, target, np.random.default_rng(0))
    publish(made.root, STUDY, target.folder(made.root))
    store.published.cache_clear()


TAMPERINGS: tuple[Tamper, ...] = (
    byte_in_the_store, byte_in_results, byte_in_a_record, byte_in_the_seal, truncated, removed, removed_folder,
    removed_record, added, swapped, swapped_results, swapped_records, number_in_results, entry_of_a_manifest,
    parts_of_a_key, config, record_alone, file_with_its_manifest, file_with_its_manifest_and_record,
    predictions_and_all_that_follows, entry_with_its_digest, predictions_without_a_seal, table_without_a_seal,
)  # fmt: skip


def names_in(findings: Iterable[object], names: tuple[str, ...]) -> bool:
    """Whether one of the findings has one of the names."""
    return any(name in str(finding) for finding in findings for name in names)
