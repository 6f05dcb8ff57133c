# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json
import os
import subprocess
from contextlib import contextmanager

import pytest
from ansible_collections.uni.engine.plugins.module_utils.engine import kernels, releases, signing
from ansible_collections.uni.engine.plugins.module_utils.engine.errors import (
    NotFoundError,
    StateError,
    UniError,
    UsageError,
    VerifyError,
)
from ansible_collections.uni.engine.plugins.module_utils.engine.root import Root
from ansible_collections.uni.engine.tests.unit.engine.registries import docker_registry, embedded_registry


@pytest.fixture
def root(tmp_path):
    return Root(tmp_path / "root")


@pytest.fixture
def key(tmp_path, root):
    signing.generate(tmp_path / "key")
    releases.trust(root, tmp_path / "key.pub")
    return tmp_path / "key"


@pytest.fixture
def build(tmp_path):
    def make(version, content=b"kernel"):
        directory = tmp_path / f"build-{version}"
        directory.mkdir(exist_ok=True)
        (directory / "uni.elf").write_bytes(b"\x7fELF" + content)
        (directory / "uni.debug.elf").write_bytes(b"\x7fELF symbols")
        (directory / "VERSION").write_text(version + "\n")
        return directory
    return make


@contextmanager
def place(kind, tmp_path):
    if kind == "directory":
        yield str(tmp_path / "releases")
    elif kind == "docker-registry":
        with docker_registry(tmp_path / "registry") as (address, _certificate):
            yield f"http://{address}/uni/kernel"
    else:
        with embedded_registry(tmp_path / "registry") as address:
            yield f"http://{address}/uni/kernel"


@pytest.mark.parametrize("kind", ["directory", "docker-registry", "embedded"])
def test_round_trip(kind, tmp_path, root, key, build):
    with place(kind, tmp_path) as source:
        for version in ("0.1.0", "0.2.0", "0.3.0-rc.1"):
            assert releases.publish(root, build(version, version.encode()), source, key=key)[0] == version
        found = releases.offer(root, source)
        assert (found.available, found.newest, found.current) == (("0.3.0-rc.1", "0.2.0", "0.1.0"), "0.2.0", None)
        plan, release = releases.update(root, source, "0.1.0", smoke=False)
        assert plan.changed and release.default and release.version == "0.1.0"
        assert release.symbols is not None
        kernels.verify(release)
        assert releases.offer(root, source).update == "0.2.0"
        assert releases.update(root, source, smoke=False)[1].version == "0.2.0"
        assert not releases.update(root, source, smoke=False)[0].changed
        assert releases.rollback(root)[1].version == "0.1.0"
        assert releases.rollback(root)[1].version == "0.2.0"


def test_check_mode_pulls_nothing(tmp_path, root, key, build):
    source = str(tmp_path / "releases")
    releases.publish(root, build("0.1.0"), source, key=key)
    plan, release = releases.update(root, source, check=True)
    assert plan.changed and release is None
    assert kernels.list_releases(root) == []


def test_publish_is_reproducible(tmp_path, root, build):
    first = releases.publish(root, build("0.1.0"), str(tmp_path / "a"), key=None)
    assert releases.publish(root, build("0.1.0"), str(tmp_path / "b"), key=None) == first


def test_unsigned_release_is_refused(tmp_path, root, build):
    source = str(tmp_path / "releases")
    releases.publish(root, build("0.1.0"), source, key=None)
    with pytest.raises(VerifyError, match="not signed"):
        releases.update(root, source, smoke=False)
    assert kernels.list_releases(root) == []
    assert releases.update(root, source, smoke=False, unsigned=True)[1].version == "0.1.0"


def test_release_of_an_unknown_key_is_refused_also_when_unsigned_ones_will_do(tmp_path, root, build):
    signing.generate(tmp_path / "stranger")
    source = str(tmp_path / "releases")
    releases.publish(root, build("0.1.0"), source, key=tmp_path / "stranger")
    for unsigned in (False, True):
        with pytest.raises(VerifyError, match="unknown key"):
            releases.update(root, source, smoke=False, unsigned=unsigned)
    assert kernels.list_releases(root) == []


def test_every_changed_byte_is_refused_by_name(tmp_path, root, key, build):
    """Flip a byte of each blob in turn: manifest, kernel, symbols, checksums, bundle."""
    source = tmp_path / "releases"
    releases.publish(root, build("0.1.0"), str(source), key=key)
    blobs = sorted((source / "blobs" / "sha256").iterdir())
    assert len(blobs) >= 7
    for blob in blobs:
        good = blob.read_bytes()
        if good == b"{}":
            continue
        blob.write_bytes(bytes([good[0] ^ 1]) + good[1:])
        with pytest.raises(UniError) as caught:
            releases.update(root, str(source), smoke=False)
        assert isinstance(caught.value, VerifyError), blob
        assert kernels.list_releases(root) == []
        blob.write_bytes(good)
    assert releases.update(root, str(source), smoke=False)[1].version == "0.1.0"


def test_exchanged_tags_are_refused(tmp_path, root, key, build):
    """An attacker who can write the index offers an old, signed release as a new one."""
    source = tmp_path / "releases"
    releases.publish(root, build("0.1.0"), str(source), key=key)
    index = json.loads((source / "index.json").read_text())
    for entry in index["manifests"]:
        if "annotations" in entry:
            entry["annotations"]["org.opencontainers.image.ref.name"] = "9.0.0"
    (source / "index.json").write_text(json.dumps(index))
    with pytest.raises(VerifyError, match=r"9\.0\.0 of .* is release 0\.1\.0"):
        releases.update(root, str(source), smoke=False)
    assert kernels.list_releases(root) == []


def test_release_that_does_not_boot_is_not_kept(tmp_path, root, key, build, monkeypatch):
    source = str(tmp_path / "releases")
    releases.publish(root, build("0.1.0"), source, key=key)
    releases.update(root, source, smoke=False)
    releases.publish(root, build("0.2.0"), source, key=key)

    def broken(release):
        raise VerifyError(f"kernel {release.version} does not boot", code="kernel.smoke")

    monkeypatch.setattr(releases, "smoke_boot", broken)
    with pytest.raises(VerifyError, match=r"0\.2\.0 does not boot"):
        releases.update(root, source)
    assert [release.version for release in kernels.list_releases(root)] == ["0.1.0"]
    assert kernels.default(root).version == "0.1.0"


def test_unknown_version_and_source(tmp_path, root, key, build):
    source = str(tmp_path / "releases")
    releases.publish(root, build("0.1.0"), source, key=key)
    with pytest.raises(NotFoundError, match=r"no kernel 0\.9\.0"):
        releases.update(root, source, "0.9.0")
    with pytest.raises(NotFoundError, match="not a directory of releases"):
        releases.offer(root, str(tmp_path))
    with pytest.raises(UsageError, match="names neither"):
        releases.offer(root, "kernel")


def test_nothing_to_go_back_to(root):
    with pytest.raises(StateError, match="no kernel to go back to"):
        releases.rollback(root)


def test_smoke_program_runs_on_linux_too(tmp_path):
    program = tmp_path / "smoke"
    program.write_bytes(releases.smoke_program())
    program.chmod(0o755)
    done = subprocess.run([program], check=False, capture_output=True, timeout=10, env=dict(os.environ))
    assert (done.returncode, done.stdout) == (0, b"uni: smoke test passed\n")
