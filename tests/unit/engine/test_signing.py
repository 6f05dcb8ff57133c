# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import copy
import shutil
import subprocess

import pytest
from ansible_collections.uni.engine.plugins.module_utils.engine import signing
from ansible_collections.uni.engine.plugins.module_utils.engine.errors import ConflictError, UsageError, VerifyError


@pytest.fixture
def key(tmp_path):
    return tmp_path / "release.key", signing.generate(tmp_path / "release.key")


def test_round_trip(key, tmp_path):
    private, public = key
    assert private.stat().st_mode & 0o777 == 0o600
    bundle = signing.sign(private, b"data")
    keys = signing.trusted(tmp_path)
    assert signing.verify(bundle, b"data", keys, what="x") == public


def test_other_data_is_refused(key):
    private, public = key
    bundle = signing.sign(private, b"data")
    with pytest.raises(VerifyError, match="does not match") as caught:
        signing.verify(bundle, b"date", {public.id: public}, what="x")
    assert caught.value.code == "signature.mismatch"


def test_unknown_key_is_refused(key, tmp_path):
    private, _public = key
    (tmp_path / "other").mkdir()
    other = signing.generate(tmp_path / "other" / "k")
    with pytest.raises(VerifyError, match="unknown key"):
        signing.verify(signing.sign(private, b"data"), b"data", {other.id: other}, what="x")


def test_key_under_another_name_is_refused(key, tmp_path):
    """A bundle that names a trusted key but was made with another one."""
    private, _public = key
    (tmp_path / "other").mkdir()
    other = signing.generate(tmp_path / "other" / "k")
    bundle = signing.sign(private, b"data")
    bundle["verificationMaterial"]["publicKey"]["hint"] = other.id
    with pytest.raises(VerifyError, match="does not match"):
        signing.verify(bundle, b"data", {other.id: other}, what="x")


@pytest.mark.parametrize("path", [
    ("mediaType",), ("verificationMaterial", "publicKey"), ("messageSignature", "signature"),
    ("messageSignature", "messageDigest", "digest")])
def test_malformed_bundles(key, path):
    private, public = key
    for value in (None, "?", 5):
        bundle = copy.deepcopy(signing.sign(private, b"data"))
        inner = bundle
        for name in path[:-1]:
            inner = inner[name]
        inner[path[-1]] = value
        with pytest.raises(VerifyError):
            signing.verify(bundle, b"data", {public.id: public}, what="x")


def test_keys_are_never_overwritten(key):
    with pytest.raises(ConflictError):
        signing.generate(key[0])


def test_not_a_key(tmp_path):
    (tmp_path / "k.pub").write_text("hello")
    with pytest.raises(UsageError):
        signing.load_public(tmp_path / "k.pub")
    with pytest.raises(UsageError):
        signing.sign(tmp_path / "k.pub", b"")


def test_openssl_reads_and_verifies_what_we_make(key, tmp_path):
    import base64

    private, _public = key
    assert shutil.which("openssl")
    (tmp_path / "data").write_bytes(b"data")
    bundle = signing.sign(private, b"data")
    (tmp_path / "sig").write_bytes(base64.b64decode(bundle["messageSignature"]["signature"]))
    subprocess.run(["openssl", "pkeyutl", "-verify", "-pubin", "-inkey", f"{private}.pub", "-rawin",
                    "-in", str(tmp_path / "data"), "-sigfile", str(tmp_path / "sig")], check=True,
                   stdout=subprocess.DEVNULL)
