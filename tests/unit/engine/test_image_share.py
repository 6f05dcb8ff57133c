# SPDX-License-Identifier: GPL-3.0-or-later
"""uni save and load: OCI archives."""

from __future__ import annotations

import io
import subprocess
import tarfile

import pytest
from ansible_collections.uni.engine.plugins.module_utils.engine.errors import (
    NotFoundError,
    UniError,
    UsageError,
    VerifyError,
)
from ansible_collections.uni.engine.plugins.module_utils.engine.images import api, share
from ansible_collections.uni.engine.plugins.module_utils.engine.images.api import BuildSpec
from ansible_collections.uni.engine.plugins.module_utils.engine.images.store import ImageStore
from ansible_collections.uni.engine.plugins.module_utils.engine.root import Root
from ansible_collections.uni.engine.tests.unit.engine.elves import elf
from ansible_collections.uni.engine.tests.unit.engine.registries import skopeo


@pytest.fixture
def root(tmp_path):
    root = Root(tmp_path / "root")
    for name in ("one:v1", "registry.example/two:v2"):
        program = tmp_path / "program"
        program.write_bytes(elf() + name.encode())
        api.ensure_present(root, BuildSpec(name, program=program, kernel=program))
    return root


@pytest.fixture
def other(tmp_path):
    return Root(tmp_path / "other")


def rewrite(path, change):
    """Copy the archive with the members that ``change(name, data)`` gives (None drops one)."""
    out = path.with_name("rewritten.tar")
    with tarfile.open(path) as old, tarfile.open(out, "w") as new:
        for member in old:
            data = change(member.name, old.extractfile(member).read())
            if data is not None:
                member.size = len(data)
                new.addfile(member, io.BytesIO(data))
    return out


def test_round_trip(root, other, tmp_path):
    saved = share.save(root, ["one:v1", "registry.example/two:v2"], tmp_path / "x.tar")
    checked = share.load(other, tmp_path / "x.tar", check=True)
    assert checked.changed
    assert api.list_images(other) == []
    loaded = share.load(other, tmp_path / "x.tar")
    assert loaded.plan.describe() == checked.plan.describe()
    assert sorted(loaded.references) == ["one:v1", "registry.example/two:v2"]
    assert {image.digest for image in loaded.images} == {image.digest for image in saved}
    for image in loaded.images:
        assert api.disk_for(other, image).exists()
    assert not share.load(other, tmp_path / "x.tar").changed
    assert not share.load(other, tmp_path / "x.tar", check=True).changed


def test_equal_images_give_equal_archives(root, other, tmp_path):
    share.save(root, ["one:v1"], tmp_path / "a.tar")
    share.load(other, tmp_path / "a.tar")
    share.save(other, ["one:v1"], tmp_path / "b.tar")
    assert (tmp_path / "a.tar").read_bytes() == (tmp_path / "b.tar").read_bytes()


def test_by_id_with_all_names(root, other, tmp_path):
    api.tag(root, "one:v1", "one:latest")
    share.save(root, [api.inspect(root, "one:v1").id], tmp_path / "x.tar")
    assert share.load(other, tmp_path / "x.tar").references == ("one:latest", "one:v1")


def test_skopeo_reads_and_writes_the_same(root, other, tmp_path):
    image = api.inspect(root, "one:v1")
    share.save(root, ["one:v1"], tmp_path / "ours.tar")
    # Unpacked here: skopeo's own unpacking wants to be root.
    (tmp_path / "ours").mkdir()
    subprocess.run(["tar", "-xf", tmp_path / "ours.tar", "-C", tmp_path / "ours"], check=True, timeout=60)
    skopeo("copy", f"oci:{tmp_path / 'ours'}:one:v1", f"oci-archive:{tmp_path / 'theirs.tar'}:one:v2")
    loaded = share.load(other, tmp_path / "theirs.tar")
    assert (loaded.references, loaded.images[0].digest) == (("one:v2",), image.digest)


def test_a_tampered_archive_changes_nothing(root, other, tmp_path):
    share.save(root, ["one:v1"], tmp_path / "x.tar")
    layer = api.inspect(root, "one:v1").disk_layer[7:]

    def flip(name, data):
        return data[:-1] + b"x" if name.endswith(layer) else data

    with pytest.raises(VerifyError) as caught:
        share.load(other, rewrite(tmp_path / "x.tar", flip))
    assert layer in caught.value.message
    with pytest.raises(VerifyError) as caught:
        share.load(other, rewrite(tmp_path / "x.tar", lambda name, data: None if name.endswith(layer) else data))
    assert layer in caught.value.message
    assert api.list_images(other) == []


def test_a_tampered_store_is_not_saved(root, tmp_path):
    image = api.inspect(root, "one:v1")
    path = ImageStore(root).blob_path(image.disk_layer)
    good = path.read_bytes()
    for bad in (good[:-1] + b"x", good[:-5]):
        path.write_bytes(bad)
        with pytest.raises(VerifyError):
            share.save(root, ["one:v1"], tmp_path / "x.tar")
        assert not (tmp_path / "x.tar").exists()
    assert not list(tmp_path.glob(".tmp-*"))


def test_truncated_anywhere(root, other, tmp_path):
    share.save(root, ["one:v1"], tmp_path / "x.tar")
    data = (tmp_path / "x.tar").read_bytes()
    for length in (0, 100, 600, 1600, 5000, len(data) // 2):
        (tmp_path / "cut.tar").write_bytes(data[:length])
        with pytest.raises(UniError):
            share.load(other, tmp_path / "cut.tar")
    assert api.list_images(other) == []


def test_what_is_no_archive(root, other, tmp_path):
    with pytest.raises(NotFoundError):
        share.load(other, tmp_path / "gone.tar")
    with tarfile.open(tmp_path / "empty.tar", "w") as archive:
        archive.addfile(tarfile.TarInfo("manifest.json"))
    with pytest.raises(UsageError) as caught:
        share.load(other, tmp_path / "empty.tar")
    assert "docker-archive" in caught.value.hint
    with pytest.raises(NotFoundError):
        share.save(root, ["three"], tmp_path / "x.tar")
    with pytest.raises(UsageError):
        share.save(root, [], tmp_path / "x.tar")
    with pytest.raises(UniError):
        share.save(root, ["one:v1"], tmp_path / "no" / "x.tar")
