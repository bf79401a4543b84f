"""Seals: a study's records, manifests and tables as they were when somebody put a signature to them.

results/<study>/signed/seal.json is a signed envelope. It holds the Merkle root of the manifests, which is in the
tables; a root of the records' own, of which no table knows, so that times never change one; each record's SHA-256 by
key; and that of each published file. Nothing is made of a seal.
"""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from redistill.errors import RedistillError
from redistill.provenance import published, record, signatures, store, verify
from redistill.provenance.checkout import code
from redistill.provenance.keys import canonical
from redistill.provenance.published import Published

PAYLOAD_TYPE = "application/vnd.redistill.seal+json"
SCHEMA = 1
SHOWN = 3  # mistakes that a refusal names


@dataclass
class Checked:
    """What was found of a study's seal.

    `signer` is the public key that signed it, None where there is no seal that can be believed. `missing` are the keys
    of records that are not here to be looked at, `records` is the number of those that were.
    """

    signer: str | None = None
    problems: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    records: int = 0


def place(root: Path, study: str) -> Path:
    return root / "results" / study / "signed" / "seal.json"


def seal(root: Path, study: str, key_file: Path) -> Path:
    """Sign a study as it is published, with the records that are here; an older seal is replaced.

    Raises:
        RedistillError: it is not published, or its files or records do not agree, or the key cannot be used.
    """
    found = published.read(root, study)
    wrong = [said for thing in found.things.values() for said in published.mistakes(thing)]
    wrong += disagreements(root, found)
    if wrong:
        more = f"; and {len(wrong) - SHOWN} more" if len(wrong) > SHOWN else ""
        raise RedistillError(f"{study} is not sealed, as it is not right: {'; '.join(wrong[:SHOWN])}{more}")
    envelope = signatures.sign(canonical(_content(root, found)).encode(), PAYLOAD_TYPE, key_file)
    store.write_atomically(place(root, study), store.pretty(envelope))
    return place(root, study)


def disagreements(root: Path, found: Published) -> list[str]:
    """What in the records that are here does not agree with their keys and the published manifests. Needs no seal."""
    digests = {key: thing.digest for key, thing in found.things.items()}
    here = [key for key in found.things if record.place(root, key).is_file()]
    return [f"{_name(key)}: {said}" for key in here for said in record.disagreements(root, key, digests)]


def read(root: Path, study: str, trusted: str | None = None) -> tuple[dict[str, Any], str]:
    """What was sealed, and the public key that signed it.

    Raises:
        RedistillError: there is no seal, or it is none of this study, or of another key than the trusted one.
    """
    name = place(root, study).relative_to(root)
    try:
        envelope = json.loads(place(root, study).read_text(encoding="utf-8"))
        payload, signer = signatures.opened(envelope, PAYLOAD_TYPE, trusted)
        content: dict[str, Any] = json.loads(payload)
        known = content["schema"] == SCHEMA
        if known and content["study"] != study:
            raise RedistillError(f"it is the seal of the study `{content['study']}`")
    except OSError:
        raise RedistillError(f"{name}: there is no seal; `redistill seal {study} --key FILE` makes one") from None
    except (ValueError, LookupError, TypeError):
        raise RedistillError(f"{name}: cannot be read as a seal; take it from git again") from None
    except RedistillError as error:
        raise RedistillError(f"{name}: {error}") from None
    if not known:
        raise RedistillError(f"{name}: is of schema {content['schema']}, which this version does not know")
    return content, signer


def check(root: Path, study: str, trusted: str | None = None) -> Checked:
    """Compare a study's files and records with its seal; nothing is found where there is none.

    Args:
        trusted: the only public key that is believed. Without it, who signed is known, and whether to believe is not.
    """
    if not place(root, study).exists():
        return Checked()
    try:
        content, signer = read(root, study, trusted)
    except RedistillError as error:
        return Checked(problems=[str(error)])
    checked = Checked(signer)
    try:
        checked.problems += _files_differ(root, study, content["published"])
        found = published.read(root, study)
        if found.digest != content["manifests"]:
            both = f"{found.digest}, and {content['manifests']} was sealed"
            checked.problems.append(f"results/{study}/manifests.json: its Merkle root is {both}")
        _check_records(root, found, content["records"], checked)
    except (LookupError, TypeError, AttributeError):
        checked.problems.append(f"{place(root, study).relative_to(root)}: what was signed is no seal")
    except RedistillError as error:
        checked.problems.append(str(error))
    return checked


def root_of_records(digests: dict[str, str]) -> str:
    """The Merkle root over records by key: a leaf is as one of a manifest, with the record's SHA-256."""
    return verify.root({key: {"kind": "record", "sha256": digest} for key, digest in digests.items()})


def _content(root: Path, found: Published) -> dict[str, Any]:
    files = {key: record.place(root, key) for key in sorted(found.things)}
    digests = {key: store.sha256_file(file) for key, file in files.items() if file.is_file()}
    return {
        "schema": SCHEMA,
        "study": found.study,
        "commit": code(root)["commit"],
        "manifests": found.digest,
        "published": _published(root, found.study),
        "records": {
            "root": root_of_records(digests), "sha256": digests, "without": sorted(files.keys() - digests.keys()),
        },
    }  # fmt: skip


def _published(root: Path, study: str) -> dict[str, str]:
    """SHA-256 of the study's files in results/."""
    return {file.name: store.sha256_file(file) for file in published.files(root, study)}


def _files_differ(root: Path, study: str, sealed: dict[str, str]) -> list[str]:
    now, said = _published(root, study), []
    for name in sorted(sealed.keys() | now.keys()):
        if name not in now:
            said.append(f"results/{study}/{name}: is gone, and was sealed")
        elif name not in sealed:
            said.append(f"results/{study}/{name}: was added after the study was sealed")
        elif now[name] != sealed[name]:
            said.append(f"results/{study}/{name}: is not what was sealed")
    return said


def _check_records(root: Path, found: Published, sealed: dict[str, Any], checked: Checked) -> None:
    digests: dict[str, str] = sealed["sha256"]
    if root_of_records(digests) != sealed["root"]:
        checked.problems.append(f"results/{found.study}/signed/seal.json: its root is not that of its own records")
    here = {key for key in digests if record.place(root, key).is_file()}
    checked.records = len(here)
    for key, digest in digests.items():
        if key in here:
            if store.sha256_file(record.place(root, key)) != digest:
                checked.problems.append(f"{_name(key)}: is not the record that was sealed")
        elif here and key in found.things and store.is_done(found.things[key].folder(root)):
            # what is pulled comes with its record, or all records are left where they are
            checked.problems.append(
                f"{_name(key)}: is gone, while what it is about is here; `redistill pull` brings it"
            )
        else:
            checked.missing.append(key)
    for key in found.things.keys() - digests.keys():
        if record.place(root, key).is_file():
            checked.problems.append(f"{_name(key)}: was not there when the study was sealed")


def _name(key: str) -> str:
    return f"store/records/{key}.json"
