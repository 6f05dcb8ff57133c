# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.uni.engine.plugins.module_utils.engine import client, releases, signing, upgrades
from ansible_collections.uni.engine.plugins.module_utils.engine.errors import StateError, VerifyError
from ansible_collections.uni.engine.plugins.module_utils.engine.root import Root

TOP = Path(__file__).resolve().parents[3]


@pytest.fixture
def root(tmp_path):
    root = Root(tmp_path / "root")
    signing.generate(tmp_path / "key")
    releases.trust(root, tmp_path / "key.pub")
    return root


@pytest.fixture
def source(tmp_path, root):
    for version in ("1.0.0", "1.1.0"):
        upgrades.publish(root, TOP, version, str(tmp_path / "releases"), key=tmp_path / "key")
    return str(tmp_path / "releases")


def test_upgrade_and_back(tmp_path, root, source):
    prefix = tmp_path / "prefix"
    assert upgrades.upgrade(root, prefix, source, "1.0.0").changed
    offered = upgrades.offer(root, source, "1.0.0")
    assert offered.update == "1.1.0"
    assert upgrades.upgrade(root, prefix, source, "1.1.0", check=True).changed
    assert [found.version for found in client.list_clients(prefix)] == ["1.0.0"]
    assert upgrades.upgrade(root, prefix, source, "1.1.0").changed
    assert not upgrades.upgrade(root, prefix, source, "1.1.0").changed
    assert upgrades.offer(root, source, "1.1.0").update is None
    assert upgrades.rollback(prefix).startswith("1.0.0-")
    with pytest.raises(StateError, match="oldest"):
        upgrades.rollback(prefix)


def test_tampered_release_is_refused(tmp_path, root, source):
    for blob in (tmp_path / "releases" / "blobs" / "sha256").iterdir():
        data = blob.read_bytes()
        if data[:2] == b"\x1f\x8b":  # the archives
            blob.write_bytes(data[:-1] + b"x")
    with pytest.raises(VerifyError, match=r"uni-client\.tar\.gz of 1\.1\.0 of .* was altered"):
        upgrades.upgrade(root, tmp_path / "prefix", source, "1.1.0")
    assert not (tmp_path / "prefix").exists()


def test_a_kernel_is_no_client(tmp_path, root):
    build = tmp_path / "build"
    build.mkdir()
    (build / "uni.elf").write_bytes(b"\x7fELF")
    (build / "VERSION").write_text("1.0.0\n")
    releases.publish(root, build, str(tmp_path / "kernels"), key=tmp_path / "key")
    with pytest.raises(VerifyError, match="not application/vnd"):
        upgrades.upgrade(root, tmp_path / "prefix", str(tmp_path / "kernels"), "1.0.0")
