# SPDX-License-Identifier: GPL-3.0-or-later
"""Signatures with a local ed25519 key, in the sigstore bundle format.

A bundle (sigstore protobuf-specs, Bundle v0.3, as JSON) carries a ``messageSignature``: the SHA-256 of the
signed bytes and the signature, and a ``publicKey`` hint naming the key. Keys are PEM files: PKCS #8 for the
private one, SubjectPublicKeyInfo for the public one, so openssl(1) makes and reads them too:
``openssl genpkey -algorithm ed25519``.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ansible_collections.uni.engine.plugins.module_utils.engine.errors import (
    ConflictError,
    HostError,
    UsageError,
    VerifyError,
)
from ansible_collections.uni.engine.plugins.module_utils.engine.records import host_error, write_bytes

BUNDLE_TYPE = "application/vnd.dev.sigstore.bundle.v0.3+json"


@dataclass(frozen=True)
class PublicKey:
    """A key that signatures are verified with. ``id`` is the SHA-256 of its DER form, in hex."""

    id: str
    name: str
    pem: bytes


def _library() -> Any:
    try:
        from cryptography.hazmat.primitives import serialization
    except ImportError:
        raise HostError("signatures need the package python3-cryptography", code="host.missing_package",
                        hint="apt-get install python3-cryptography") from None
    return serialization


def generate(private: Path) -> PublicKey:
    """Make a key pair: ``private`` (mode 0600) and the public one beside it, ``<private>.pub``.

    :raises ConflictError: a file is there already: keys are never overwritten (code ``key.exists``)
    """
    serialization = _library()
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    public = private.with_name(private.name + ".pub")
    for path in (private, public):
        if path.exists():
            raise ConflictError(f"{path} exists", code="key.exists", hint="choose another name, or remove it")
    key = Ed25519PrivateKey.generate()
    write_bytes(private, key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))
    pem = key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    write_bytes(public, pem, mode=0o644)
    return load_public(public)


def load_public(path: Path) -> PublicKey:
    """The public key in a PEM file.

    :raises UsageError: not a PEM file with an ed25519 public key (code ``key.invalid``)
    """
    try:
        return parse_public(path.read_bytes(), path.stem)
    except OSError as error:
        raise host_error(error, path, "read") from error


def parse_public(pem: bytes, name: str) -> PublicKey:
    """The public key in ``pem``, called ``name``; errors as :func:`load_public`."""
    serialization = _library()
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    try:
        key = serialization.load_pem_public_key(pem)
    except (ValueError, TypeError):
        key = None
    if not isinstance(key, Ed25519PublicKey):
        raise UsageError(f"{name} is not an ed25519 public key in PEM form", code="key.invalid",
                         hint="make a pair with `uni kernel keygen FILE`")
    der = key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return PublicKey(hashlib.sha256(der).hexdigest(), name, pem)


def sign(private: Path, data: bytes) -> dict[str, Any]:
    """A bundle that signs ``data`` with the private key in the file ``private``.

    :raises UsageError: not a PEM file with an ed25519 private key (code ``key.invalid``)
    """
    serialization = _library()
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    try:
        key = serialization.load_pem_private_key(private.read_bytes(), password=None)
    except OSError as error:
        raise host_error(error, private, "read") from error
    except (ValueError, TypeError):
        key = None
    if not isinstance(key, Ed25519PrivateKey):
        raise UsageError(f"{private} is not an unencrypted ed25519 private key in PEM form", code="key.invalid",
                         hint="make a pair with `uni kernel keygen FILE`")
    der = key.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return {
        "mediaType": BUNDLE_TYPE,
        "verificationMaterial": {"publicKey": {"hint": hashlib.sha256(der).hexdigest()}},
        "messageSignature": {
            "messageDigest": {"algorithm": "SHA2_256", "digest": _b64(hashlib.sha256(data).digest())},
            "signature": _b64(key.sign(data)),
        },
    }


def verify(bundle: Mapping[str, Any], data: bytes, keys: Mapping[str, PublicKey], *, what: str) -> PublicKey:
    """The key among ``keys`` (by id) that signed ``data``.

    :param what: what is verified, for the error
    :raises VerifyError: codes ``signature.malformed``, ``signature.unknown_key``, ``signature.mismatch``
    """
    serialization = _library()
    from cryptography.exceptions import InvalidSignature

    try:
        if bundle["mediaType"] != BUNDLE_TYPE:
            raise ValueError("media type")
        hint = str(bundle["verificationMaterial"]["publicKey"]["hint"])
        message = bundle["messageSignature"]
        digest = base64.b64decode(message["messageDigest"]["digest"], validate=True)
        signature = base64.b64decode(message["signature"], validate=True)
    except (KeyError, TypeError, ValueError):
        raise VerifyError(f"the signature of {what} is malformed", code="signature.malformed") from None
    key = keys.get(hint)
    if key is None:
        known = ", ".join(sorted(known.name for known in keys.values())) or "none"
        raise VerifyError(f"{what} is signed by the unknown key {hint[:16]}", code="signature.unknown_key",
                          hint=f"trusted keys here: {known}; trust another one with `uni kernel trust FILE`")
    try:
        serialization.load_pem_public_key(key.pem).verify(signature, data)
    except InvalidSignature:
        raise VerifyError(f"the signature of {what} by {key.name} does not match its content",
                          code="signature.mismatch", hint="it was changed after it was signed: do not use it") from None
    if not hmac.compare_digest(digest, hashlib.sha256(data).digest()):
        raise VerifyError(f"the signature of {what} states another digest", code="signature.mismatch")
    return key


def trusted(directory: Path) -> dict[str, PublicKey]:
    """The public keys (``*.pub``) in a directory, by id."""
    keys = [load_public(path) for path in sorted(directory.glob("*.pub"))]
    return {key.id: key for key in keys}


def _b64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")
