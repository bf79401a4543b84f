"""Signatures: what one key signs no other key, no edited byte and no other tool takes for something else."""

import base64
import copy
import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ed448, ed25519
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)
from hypothesis import given
from hypothesis import strategies as st

from redistill.errors import RedistillError
from redistill.provenance import signatures
from redistill.provenance.signatures import SignatureError, opened, public_key, sign

TYPE = "application/vnd.redistill.test+json"
PAYLOAD = b'{"root": "00ff"}\n'

# RFC 8032, section 7.1, test 2: secret key, public key, message, signature
SECRET = "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb"
PUBLIC = "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c"
SIGNATURE = (
    "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da"
    "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"
)
PEM_OF_RFC = base64.b64encode(bytes.fromhex("302e020100300506032b657004220420" + SECRET)).decode()


@pytest.fixture
def key(tmp_path: Path) -> Path:
    signatures.new_key(tmp_path / "key.pem")
    return tmp_path / "key.pem"


@pytest.fixture(scope="module")
def envelope(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    file = tmp_path_factory.mktemp("keys") / "key.pem"
    signatures.new_key(file)
    return sign(PAYLOAD, TYPE, file)


def written(file: Path, text: str, mode: int = 0o600) -> Path:
    file.write_text(text, encoding="utf-8")
    file.chmod(mode)
    return file


def test_what_was_signed_is_opened_and_says_by_whom(key):
    signed = json.loads(json.dumps(sign(PAYLOAD, TYPE, key)))
    assert opened(signed, TYPE, None) == (PAYLOAD, public_key(key))
    assert opened(signed, TYPE, public_key(key)) == (PAYLOAD, public_key(key))
    assert signed["signatures"][0]["publicKey"] == public_key(key)


def test_another_key_than_the_trusted_one_is_refused_and_both_are_named(key, tmp_path):
    other = signatures.new_key(tmp_path / "other.pem")
    with pytest.raises(SignatureError, match="not by the trusted key") as refused:
        opened(sign(PAYLOAD, TYPE, key), TYPE, other)
    assert public_key(key) in str(refused.value)
    assert other in str(refused.value)


def test_an_envelope_that_claims_the_trusted_key_is_not_believed(key, tmp_path):
    other = signatures.new_key(tmp_path / "other.pem")
    signed = sign(PAYLOAD, TYPE, key)
    signed["signatures"][0] |= {"publicKey": other, "keyid": signatures.key_id(other)}
    for trusted in (None, other):
        with pytest.raises(SignatureError, match="the signature is wrong"):
            opened(signed, TYPE, trusted)


def test_another_payload_type_is_refused(envelope):
    with pytest.raises(SignatureError, match=r"of type .* and application/other is wanted"):
        opened(envelope, "application/other", None)
    with pytest.raises(SignatureError, match="the signature is wrong"):
        opened({**envelope, "payloadType": "application/other"}, "application/other", None)


@given(place=st.integers(min_value=0), part=st.sampled_from(["payload", "sig"]))
def test_any_flipped_bit_is_found(envelope, place, part):
    edited = copy.deepcopy(envelope)
    holder = edited if part == "payload" else edited["signatures"][0]
    raw = bytearray(base64.b64decode(holder[part]))
    bit = place % (8 * len(raw))
    raw[bit // 8] ^= 1 << bit % 8
    holder[part] = base64.b64encode(raw).decode()
    with pytest.raises(SignatureError, match="the signature is wrong"):
        opened(edited, TYPE, None)


def test_the_encoding_is_the_one_of_the_published_vector():
    # the protocol's own test vector: github.com/secure-systems-lab/dsse, protocol.md
    said = signatures.encoded("http://example.com/HelloWorld", b"hello world")
    assert said == b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
    assert signatures.encoded("é", b"\0 1") == "DSSEv1 2 é 3 ".encode() + b"\0 1"  # lengths are in bytes


def test_the_published_signature_of_a_published_key(tmp_path, monkeypatch):
    file = written(tmp_path / "rfc.pem", f"-----BEGIN PRIVATE KEY-----\n{PEM_OF_RFC}\n-----END PRIVATE KEY-----\n")
    assert base64.b64decode(public_key(file).removeprefix("ed25519:")).hex() == PUBLIC
    monkeypatch.setattr(signatures, "encoded", lambda payload_type, payload: payload)
    signed = sign(b"\x72", TYPE, file)
    assert base64.b64decode(signed["signatures"][0]["sig"]).hex() == SIGNATURE
    assert opened(signed, TYPE, f"ed25519:{base64.b64encode(bytes.fromhex(PUBLIC)).decode()}")[0] == b"\x72"


def test_another_implementation_verifies_it(key):
    dsse = pytest.importorskip("securesystemslib.dsse")
    from securesystemslib.exceptions import VerificationError

    signed = sign(PAYLOAD, TYPE, key)
    theirs = dsse.Envelope.from_dict(copy.deepcopy(signed))
    assert theirs.payload == PAYLOAD
    known = their_key(public_key(key))
    assert list(theirs.verify([known], 1)) == [known.keyid]
    theirs.payload += b" "
    with pytest.raises(VerificationError):
        theirs.verify([known], 1)


def test_what_another_implementation_signed_is_opened(key):
    dsse = pytest.importorskip("securesystemslib.dsse")
    from securesystemslib.signer import CryptoSigner

    theirs = dsse.Envelope(PAYLOAD, TYPE, {})
    theirs.sign(CryptoSigner(load_pem_private_key(key.read_bytes(), None), their_key(public_key(key))))
    signed = json.loads(json.dumps(theirs.to_dict()))
    assert opened(signed, TYPE, public_key(key)) == (PAYLOAD, public_key(key))
    with pytest.raises(SignatureError, match="does not say which key signed it"):
        opened(signed, TYPE, None)


def their_key(public: str) -> Any:
    from securesystemslib.signer import SSlibKey

    raw = base64.b64decode(public.removeprefix("ed25519:"))
    return SSlibKey.from_crypto(ed25519.Ed25519PublicKey.from_public_bytes(raw), keyid=signatures.key_id(public))


@pytest.mark.skipif(shutil.which("openssl") is None, reason="there is no openssl here")
def test_the_key_id_is_what_openssl_would_give(key):
    public = subprocess.run(
        ["openssl", "pkey", "-in", key, "-pubout", "-outform", "DER"], capture_output=True, check=True
    )
    digest = subprocess.run(["openssl", "sha256", "-r"], input=public.stdout, capture_output=True, check=True)
    assert digest.stdout.split()[0].decode() == signatures.key_id(public_key(key))


@pytest.mark.parametrize(
    "broken",
    [
        None, [], {}, {"payloadType": TYPE}, {"payloadType": TYPE, "payload": "e30=", "signatures": {}},
        {"payloadType": TYPE, "payload": "not base 64", "signatures": []},
        {"payloadType": TYPE, "payload": 5, "signatures": []},
        {"payloadType": TYPE, "payload": "e30=", "signatures": [{"sig": "!"}]},
        {"payloadType": TYPE, "payload": "e30=", "signatures": ["sig"]},
        {"payloadType": TYPE, "payload": "e30=", "signatures": []},
        {"payloadType": TYPE, "payload": "e30=", "signatures": [{"sig": "e30=", "publicKey": "ed25519:AAAA"}]},
        {"payloadType": TYPE, "payload": "e30=", "signatures": [{"sig": "e30=", "publicKey": 7}]},
    ],
)  # fmt: skip
def test_what_is_no_envelope_is_refused(broken):
    with pytest.raises(SignatureError):
        opened(broken, TYPE, None)


def test_a_key_is_for_its_owner_alone_and_is_never_overwritten(tmp_path):
    mask = os.umask(0)
    try:
        signatures.new_key(tmp_path / "key.pem")
    finally:
        os.umask(mask)
    assert (tmp_path / "key.pem").stat().st_mode & 0o777 == 0o600
    before = (tmp_path / "key.pem").read_bytes()
    with pytest.raises(RedistillError, match="never overwritten"):
        signatures.new_key(tmp_path / "key.pem")
    assert (tmp_path / "key.pem").read_bytes() == before
    with pytest.raises(RedistillError, match="no key can be written there"):
        signatures.new_key(tmp_path / "nowhere" / "key.pem")


def test_a_private_key_that_others_can_read_is_refused(key):
    key.chmod(0o644)
    with pytest.raises(SignatureError, match="chmod 600"):
        sign(PAYLOAD, TYPE, key)


def test_a_public_key_can_be_named_by_its_text_or_its_file(key, tmp_path):
    public = load_pem_private_key(key.read_bytes(), None).public_key()
    pem = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    file = written(tmp_path / "public.pem", pem, 0o644)
    assert public_key(file) == signatures.key_named(str(file)) == signatures.key_named(public_key(key))
    with pytest.raises(SignatureError, match="no Ed25519 private key"):
        sign(PAYLOAD, TYPE, file)


@pytest.mark.parametrize("text", ["", "no key", "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"])
def test_a_file_that_is_no_key_is_refused(tmp_path, text):
    with pytest.raises(SignatureError, match="is no Ed25519"):
        public_key(written(tmp_path / "key.pem", text))
    with pytest.raises(SignatureError, match="no key can be read there"):
        public_key(tmp_path / "nothing.pem")


def test_keys_of_other_kinds_are_refused(tmp_path):
    for key, protection, said in (
        (ed448.Ed448PrivateKey.generate(), NoEncryption(), "is no Ed25519 private key"),
        (ed25519.Ed25519PrivateKey.generate(), BestAvailableEncryption(b"word"), "is protected by a password"),
    ):
        pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, protection).decode()
        with pytest.raises(SignatureError, match=said):
            sign(PAYLOAD, TYPE, written(tmp_path / "key.pem", pem))


@pytest.mark.parametrize("text", ["ed25519:", "ed25519:AAAA", "ed25519:!", "ed25519:" + "A" * 60])
def test_what_is_no_public_key_is_refused(text):
    with pytest.raises(SignatureError, match="is no public key"):
        signatures.key_named(text)
