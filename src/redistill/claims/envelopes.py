"""Signed statements in results/<study>/signed/: JSON in an envelope in a file, under the key of whoever makes them."""

import json
from pathlib import Path
from typing import Any

from redistill.errors import RedistillError
from redistill.provenance import signatures, store
from redistill.provenance.keys import canonical


def folder(root: Path, study: str) -> Path:
    """Where people put their names to a study."""
    return root / "results" / study / "signed"


def write(file: Path, value: dict[str, Any], kind: str, key_file: Path) -> str:
    """Sign a value and write it; returns the public key.

    Raises:
        SignatureError: the file of the key is no private key.
    """
    envelope = signed(value, kind, key_file)
    store.write_atomically(file, store.pretty(envelope))
    return str(envelope["signatures"][0]["publicKey"])


def signed(value: dict[str, Any], kind: str, key_file: Path) -> signatures.Envelope:
    return signatures.sign(canonical(value).encode(), kind, key_file)


def read(file: Path, kind: str, trusted: str | None = None) -> tuple[dict[str, Any], str]:
    """What was signed, and by which public key.

    Raises:
        RedistillError: the file cannot be read, or is no such statement.
        SignatureError: the signature is wrong, or not one of the trusted key.
    """
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise RedistillError(f"{file}: cannot be read ({error.__class__.__name__})") from None
    return parsed(text, str(file), kind, trusted)


def parsed(text: str, name: str, kind: str, trusted: str | None = None) -> tuple[dict[str, Any], str]:
    """The same of a text, which is called `name` in errors."""
    try:
        payload, key = signatures.opened(json.loads(text), kind, trusted)
        value = json.loads(payload)
        if not isinstance(value, dict):
            raise ValueError(value)
    except signatures.SignatureError as error:
        raise signatures.SignatureError(f"{name}: {error}") from None
    except (ValueError, RecursionError):
        raise RedistillError(f"{name}: holds no statement that can be read") from None
    return value, key
