"""Signatures: Ed25519 keys in files, and signed envelopes (DSSE) that other tools can verify.

An envelope holds the payload, its type and signatures over both, in DSSE's pre-authentication encoding. Beside `keyid`
stands the public key itself, so that it can be seen who signed; whether to trust that key, the envelope cannot say.
"""

import base64
import binascii
import hashlib
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from redistill.errors import RedistillError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

PREFIX = "ed25519:"
Envelope = dict[str, Any]


class SignatureError(RedistillError):
    """A signature that is wrong, or of another key than the trusted one; or a file that is no key."""


def new_key(file: Path) -> str:
    """Write a new private key, for its owner's eyes alone; returns the public key's text.

    Raises:
        RedistillError: the file exists, or cannot be written.
    """
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    key = Ed25519PrivateKey.generate()
    written = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    try:
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with open(descriptor, "wb") as stream:
            stream.write(written)
            stream.flush()
            os.fsync(descriptor)
    except FileExistsError:
        raise RedistillError(f"{file} exists, and a key is never overwritten: name another file") from None
    except OSError as error:
        raise RedistillError(f"{file}: no key can be written there ({error.strerror})") from None
    return _said(key.public_key())


def public_key(file: Path) -> str:
    """The public key of a private key's or a public key's file, as `ed25519:BASE64`.

    Raises:
        SignatureError: the file is no key, or a private one that others can read.
    """
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    content = _content(file)
    if b"-----BEGIN PUBLIC KEY-----" not in content:
        return _said(_private(file).public_key())
    try:
        key = load_pem_public_key(content)
    except (ValueError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, Ed25519PublicKey):
        raise SignatureError(f"{file} is no Ed25519 key in PEM")
    return _said(key)


def key_named(written: str) -> str:
    """The public key that somebody names on a command line: its text, or a file that holds a key.

    Raises:
        SignatureError: it is neither.
    """
    return _said(_public(written)) if written.startswith(PREFIX) else public_key(Path(written))


def sign(payload: bytes, payload_type: str, key_file: Path) -> Envelope:
    """The payload in an envelope, signed with the key in the file.

    Raises:
        SignatureError: the file is no private key, or others can read it.
    """
    key = _private(key_file)
    public = _said(key.public_key())
    signature = base64.b64encode(key.sign(encoded(payload_type, payload))).decode()
    return {
        "payloadType": payload_type,
        "payload": base64.b64encode(payload).decode(),
        "signatures": [{"keyid": key_id(public), "publicKey": public, "sig": signature}],
    }


def opened(envelope: Envelope, payload_type: str, trusted: str | None) -> tuple[bytes, str]:
    """The payload of an envelope, and the public key that signed it: the trusted one, or else the one that it names.

    Raises:
        SignatureError: it is no envelope of this type, the signature is wrong, or not one of the trusted key.
    """
    try:
        said_type, payload = envelope["payloadType"], _bytes(envelope["payload"])
        signatures = [(_bytes(s["sig"]), s.get("publicKey")) for s in envelope["signatures"]]
    except (LookupError, TypeError, AttributeError, ValueError):
        raise SignatureError("this is no signed envelope (DSSE): payload, payloadType and signatures") from None
    if said_type != payload_type:
        raise SignatureError(f"what was signed is of type {said_type!r}, and {payload_type} is wanted")
    message = encoded(payload_type, payload)
    named = [str(key) for _, key in signatures if key is not None]
    for key in [trusted] if trusted is not None else named:
        if any(_signed(key, signature, message) for signature, _ in signatures):
            return payload, _said(_public(key))
    if trusted is not None and trusted not in named and named:
        raise SignatureError(f"it was signed by {named[0]}, and not by the trusted key {trusted}")
    if trusted is None and not named:
        raise SignatureError("it does not say which key signed it: name the key that you trust")
    raise SignatureError("the signature is wrong: something was changed after it was signed")


def encoded(payload_type: str, payload: bytes) -> bytes:
    """What is signed: DSSE's pre-authentication encoding of the type and the payload."""
    kind = payload_type.encode()
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)


def key_id(public: str) -> str:
    """A public key's name in envelopes: the SHA-256 of the key as DER."""
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    der = _public(public).public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(der).hexdigest()


def _signed(key: str, signature: bytes, message: bytes) -> bool:
    from cryptography.exceptions import InvalidSignature

    try:
        _public(key).verify(signature, message)
    except InvalidSignature:
        return False
    return True


def _said(key: "Ed25519PublicKey") -> str:
    return PREFIX + base64.b64encode(key.public_bytes_raw()).decode()


def _public(text: str) -> "Ed25519PublicKey":
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    try:
        if not text.startswith(PREFIX):
            raise ValueError(text)
        return Ed25519PublicKey.from_public_bytes(base64.b64decode(text[len(PREFIX) :], validate=True))
    except ValueError:
        raise SignatureError(f"{text[:100]!r} is no public key: it is `{PREFIX}` and 32 bytes in base 64") from None


def _private(file: Path) -> "Ed25519PrivateKey":
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    content = _content(file)
    try:
        key = load_pem_private_key(content, password=None)
    except TypeError:
        raise SignatureError(f"{file} is protected by a password: such a key cannot be used here") from None
    except (ValueError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, Ed25519PrivateKey):
        raise SignatureError(f"{file} is no Ed25519 private key in PEM; `redistill keygen FILE` makes one")
    if file.stat().st_mode & 0o077:
        raise SignatureError(f"others can read the private key {file}: `chmod 600 {file}`, or make a new one")
    return key


def _content(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise SignatureError(f"{file}: no key can be read there ({error.strerror})") from None


def _bytes(text: str) -> bytes:
    """What base 64 stands for, in either alphabet, as DSSE allows."""
    if not isinstance(text, str):
        raise ValueError(text)
    try:
        return base64.b64decode(text.replace("-", "+").replace("_", "/"), validate=True)
    except binascii.Error as error:
        raise ValueError(text) from error
