"""Statements about runs that other tools verify: in-toto statements with SLSA provenance, signed in DSSE envelopes.

What a statement is about are a run's weights and predictions, by SHA-256. It says from which files they were made, with
which config, code and packages, and when.
"""

import json
from pathlib import Path
from typing import Any

from redistill.errors import IntegrityError, RedistillError, writing
from redistill.exports.facts import Study, read
from redistill.provenance import signatures, store
from redistill.provenance.keys import canonical
from redistill.provenance.published import Thing

PAYLOAD_TYPE = "application/vnd.in-toto+json"
STATEMENT = "https://in-toto.io/Statement/v1"
PREDICATE = "https://slsa.dev/provenance/v1"
BUILD = "urn:redistill:make:1"  # what externalParameters mean: `config` is a resolved config of redistill
BUILDER = "urn:redistill:job"
SUBJECTS = ("model.safetensors", "predictions.parquet")
Statement = dict[str, Any]


def write(root: Path, name: str, key: Path, to: Path) -> list[Path]:
    """Sign a statement about each run of a study: TO/KEY.intoto.jsonl. The same study and key give the same bytes.

    Raises:
        RedistillError: the study is not published, or nothing can be written there.
        SignatureError: the key cannot be used.
    """
    study = read(root, name)
    signatures.public_key(key)
    written = []
    for thing in study.things:
        if thing.kind in ("run", "baseline"):
            payload = canonical(validated(statement(study, thing))).encode()
            envelope = signatures.sign(payload, PAYLOAD_TYPE, key)
            file = to / f"{thing.key}.intoto.jsonl"
            with writing(file):
                store.write_atomically(file, canonical(envelope) + "\n")
            written.append(file)
    return written


def statement(study: Study, thing: Thing) -> Statement:
    """What is said of a run; without a record, not when and at which commit it was made."""
    made, record = study.made.get(thing.key), study.record(thing.key)
    place, parts = f"store/{thing.area}/{thing.key}", thing.parts
    depends = [
        _file(f"{role}/{name}", entry["sha256"], f"urn:redistill:thing:{key}/{name}")
        for role, key in thing.inputs.items()
        for name, entry in sorted(study.published.things[key].files.items())
        if name != "counts.json"
    ]
    metadata = {"invocationId": thing.key}
    builder: dict[str, Any] = {"id": BUILDER}
    if made is not None:
        metadata |= {"startedOn": _moment(made.start), "finishedOn": _moment(made.end)}
        builder["version"] = {"python": made.python, **made.packages}
        if made.commit and made.clean:
            depends.append({"name": "redistill", "digest": {"gitCommit": made.commit}})
    run: dict[str, Any] = {"builder": builder, "metadata": metadata}
    if made is not None:
        run["byproducts"] = [_file(f"store/records/{thing.key}.json", store.sha256_file(record))]
    subjects = [_file(f"{place}/{n}", thing.files[n]["sha256"]) for n in SUBJECTS if n in thing.files]
    return {
        "_type": STATEMENT, "subject": subjects, "predicateType": PREDICATE,
        "predicate": {
            "buildDefinition": {
                "buildType": BUILD,
                "externalParameters": {"title": thing.title, "config": parts["config"]},
                "internalParameters": {"code": parts["code"], "packages": parts["packages"]},
                "resolvedDependencies": depends,
            },
            "runDetails": run,
        },
    }  # fmt: skip


def _file(name: str, digest: str, uri: str = "") -> dict[str, Any]:
    return {"name": name, "digest": {"sha256": digest}, **({"uri": uri} if uri else {})}


def _moment(said: str) -> str:
    return said.replace("+00:00", "Z")


def validated(said: Statement) -> Statement:
    """The statement itself, if it is one of in-toto with a predicate of SLSA.

    Raises:
        RedistillError: it is not.
    """
    from google.protobuf.json_format import ParseDict, ParseError
    from in_toto_attestation.predicates.provenance.v1.provenance_pb2 import Provenance
    from in_toto_attestation.v1.statement import Statement as InToto
    from in_toto_attestation.v1.statement_pb2 import Statement as Message

    try:
        InToto.copy_from_pb(ParseDict(said, Message())).validate()
        if said["predicateType"] != PREDICATE:
            raise ValueError(f"its predicate is {said['predicateType']}")
        ParseDict(said["predicate"], Provenance())
    except (ParseError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise RedistillError(f"this is no in-toto statement with SLSA provenance: {error}") from None
    return said


def check(file: Path, trusted: str, folder: Path) -> tuple[list[Statement], list[str], list[str]]:
    """Verify the statements in a file: who signed them, and the files that they are about.

    Args:
        trusted: the public key that is believed.
        folder: where those files are: the project, or a folder with them.

    Returns:
        The statements, the files that are what they say, and those that are not here.

    Raises:
        SignatureError: one was signed by another key, or was changed since.
        IntegrityError: a file is not the one that was signed for.
        RedistillError: the file holds no statements.
    """
    try:
        envelopes = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, ValueError) as error:
        raise RedistillError(f"{file}: there are no statements in it ({error})") from None
    if not envelopes:
        raise RedistillError(f"{file}: there are no statements in it")
    try:
        opened = [signatures.opened(envelope, PAYLOAD_TYPE, trusted)[0] for envelope in envelopes]
        said = [validated(json.loads(payload)) for payload in opened]
    except signatures.SignatureError as error:
        raise signatures.SignatureError(f"{file}: {error}") from None
    except (RedistillError, ValueError) as error:
        raise RedistillError(f"{file}: {error}") from None
    right, absent = list[str](), list[str]()
    for subject in (subject for one in said for subject in one["subject"]):
        name, digest = str(subject["name"]), subject["digest"].get("sha256")
        place = next((p for p in (folder / name, folder / Path(name).name) if p.is_file()), None)
        if place is None:
            absent.append(name)
        elif store.sha256_file(place) != digest:
            raise IntegrityError(place, str(digest), store.sha256_file(place), f"{file} was signed for another file.")
        else:
            right.append(name)
    return said, right, absent
