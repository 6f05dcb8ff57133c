# SPDX-License-Identifier: GPL-3.0-or-later
"""Files of a VM as a declaration: compared, then written; on a volume, which needs no image."""

from __future__ import annotations

import io
import json
import os
import tarfile

import pytest
from ansible_collections.uni.engine.plugins.module_utils.engine import vmcopy, vmfiles
from ansible_collections.uni.engine.plugins.module_utils.engine.diskimage import open_disk
from ansible_collections.uni.engine.plugins.module_utils.engine.errors import (
    ConflictError,
    NotFoundError,
    StateError,
    UsageError,
)
from ansible_collections.uni.engine.plugins.module_utils.engine.ext2read import Ext2
from ansible_collections.uni.engine.plugins.module_utils.engine.root import Root
from ansible_collections.uni.engine.plugins.module_utils.engine.vmcopy import Attributes, Source
from ansible_collections.uni.engine.plugins.module_utils.engine.vms import record as records
from ansible_collections.uni.engine.plugins.module_utils.engine.volumes import api as volumes
from ansible_collections.uni.engine.plugins.module_utils.engine.volumes.api import VolumeSpec

SECRET = "correct horse battery staple"


@pytest.fixture
def root(tmp_path):
    root = Root(tmp_path / "root")
    volumes.ensure_present(root, VolumeSpec.parse("data", "8M"))
    record = {"id": "0123456789ab", "name": "web", "values": {"volumes": ["data:/d"]}}
    with records.claimed(root, "web", record) as directory:
        records.save(records.Vm(directory, record, {}))
    records.save_state(directory, {"id": record["id"], "name": "web", "status": "exited"})
    return root


def found(root, path):
    with vmfiles.reading(root, "web", path) as place, open_disk(place.disk) as device:
        system = Ext2(device)
        inode = system.lookup(place.path, follow=False)
        data = system.read(place.path) if inode.kind == "file" else None
        return inode, data


def passes(root, *arguments, **keywords):
    """The four passes; the plan of the one that changed something."""
    would = vmcopy.copy_in(root, "web", *arguments, check=True, **keywords)
    did = vmcopy.copy_in(root, "web", *arguments, **keywords)
    assert would.changed and would.describe() == did.describe()
    assert not vmcopy.copy_in(root, "web", *arguments, **keywords).changed
    assert not vmcopy.copy_in(root, "web", *arguments, check=True, **keywords).changed
    return did


def test_text_with_mode_and_owner(root):
    assert passes(root, Source(content=b"one\n"), "/d/file").actions[0].kind == "create"
    inode, data = found(root, "/d/file")
    assert (inode.mode, inode.uid, inode.gid, data) == (0o644, 0, 0, b"one\n")
    plan = passes(root, Source(content=b"one\n"), "/d/file", Attributes(mode=0o4600, owner=33, group=70000))
    assert plan.actions[0].before == {"owner": 0, "group": 0, "mode": "0644"}
    assert plan.actions[0].after == {"owner": 33, "group": 70000, "mode": "4600"}
    plan = passes(root, Source(content=b"two\n"), "/d/file")  # what is not asked for stays
    inode, data = found(root, "/d/file")
    assert (inode.mode, inode.uid, inode.gid, data) == (0o4600, 33, 70000, b"two\n")
    assert plan.actions[0].after == {"contents": "******** (new)"}


def test_check_mode_writes_nothing(root):
    before = volumes.inspect(root, "data").path.read_bytes()
    assert vmcopy.copy_in(root, "web", Source(content=b"x"), "/d/file", check=True).changed
    assert volumes.inspect(root, "data").path.read_bytes() == before


def test_a_difference_shows_text_only_when_asked(root):
    vmcopy.copy_in(root, "web", Source(content=b"old secret\n"), "/d/file")
    plan = vmcopy.copy_in(root, "web", Source(content=SECRET.encode()), "/d/file", check=True)
    assert SECRET not in json.dumps([plan.diff(), plan.describe()]) and "old secret" not in json.dumps(plan.describe())
    plan = vmcopy.copy_in(root, "web", Source(content=b"new\n"), "/d/file", check=True, show=True)
    assert "old secret" in plan.diff()["before"] and "- new\n" in plan.diff()["after"]
    plan = vmcopy.copy_in(root, "web", Source(content=bytes(range(256))), "/d/file", check=True, show=True)
    assert "text" not in plan.actions[0].after


def directory(tmp_path):
    source = tmp_path / "source"
    (source / "sub").mkdir(parents=True)
    (source / "sub" / "deep").write_text("deep")
    (source / "top").write_text("top")
    (source / "link").symlink_to("sub/deep")
    return source


def test_a_directory_and_one_changed_file_in_it(root, tmp_path):
    source = directory(tmp_path)
    plan = passes(root, Source(path=source, name="source"), "/d")
    assert [action.target.partition(":")[2] for action in plan.actions] == [
        "/source", "/source/link", "/source/sub", "/source/sub/deep", "/source/top"]
    assert found(root, "/d/source/sub/deep")[1] == b"deep" and found(root, "/d/source/link")[0].kind == "link"
    (source / "sub" / "deep").write_text("changed")
    assert len(passes(root, Source(path=source, name="source"), "/d").actions) == 1
    passes(root, Source(path=source, name="source", contents_only=True), "/d")
    assert found(root, "/d/sub/deep")[1] == b"changed"
    plan = passes(root, Source(path=source, name="source"), "/d", Attributes(mode=0o600, directory_mode=0o711))
    assert len(plan.actions) == 4 and found(root, "/d/source/sub")[0].mode == 0o711


def test_an_archive_as_the_controller_sends_it(root, tmp_path):
    source = directory(tmp_path)
    with tarfile.open(tmp_path / "archive", "w") as tar:
        tar.add(source, arcname=".")
    passes(root, Source(archive=tmp_path / "archive", name="source"), "/d")
    assert not vmcopy.copy_in(root, "web", Source(path=source, name="source"), "/d").changed
    with tarfile.open(tmp_path / "evil", "w") as tar:
        tar.addfile(tarfile.TarInfo("../../x"), io.BytesIO())
    with pytest.raises(UsageError):
        vmcopy.copy_in(root, "web", Source(archive=tmp_path / "evil", name="x"), "/d")


def test_bad_input_changes_nothing(root, tmp_path):
    vmcopy.copy_in(root, "web", Source(path=directory(tmp_path), name="source"), "/d")
    before = volumes.inspect(root, "data").path.read_bytes()
    os.mkfifo(tmp_path / "source" / "pipe")
    for source, dest, error in ((Source(content=b"x"), "/d/no/where", NotFoundError),
                                (Source(content=b"x"), "/d/source", UsageError),
                                (Source(content=b"x"), "/d/source/top/", UsageError),
                                (Source(content=b"x"), "/root/x", StateError),
                                (Source(path=tmp_path / "gone", name="gone"), "/d", NotFoundError),
                                (Source(path=tmp_path / "source", name="source"), "/d", UsageError),
                                (Source(path=tmp_path / "source", name="top"), "/d/source", (ConflictError, UsageError)),
                                (Source(content=b"x"), "/d/../../etc/x", StateError)):
        with pytest.raises(error):
            vmcopy.copy_in(root, "web", source, dest)
    for mode in ("rw", "9", "77777", True, -1, None):
        with pytest.raises(UsageError):
            vmcopy.parse_mode(mode)
    assert volumes.inspect(root, "data").path.read_bytes() == before
    assert vmcopy.parse_mode("0640") == vmcopy.parse_mode("640") == vmcopy.parse_mode(0o640) == 0o640


def test_out_in_four_passes(root, tmp_path):
    vmcopy.copy_in(root, "web", Source(path=directory(tmp_path), name="source"), "/d")
    for path, dest in (("/d/source/top", tmp_path / "one"), ("/d/source", tmp_path / "all")):
        assert vmcopy.copy_out(root, "web", path, dest, check=True).changed and not dest.exists()
        assert vmcopy.copy_out(root, "web", path, dest).changed
        assert not vmcopy.copy_out(root, "web", path, dest).changed
        assert not vmcopy.copy_out(root, "web", path, dest, check=True).changed
    assert (tmp_path / "all" / "sub" / "deep").read_text() == "deep"
    assert os.readlink(tmp_path / "all" / "link") == "sub/deep"
    (tmp_path / "all" / "sub" / "deep").write_text("mine")
    (tmp_path / "all" / "extra").write_text("stays")
    plan = vmcopy.copy_out(root, "web", "/d/source/.", tmp_path / "all")
    assert [action.kind for action in plan.actions] == ["update"] and (tmp_path / "all" / "extra").exists()
    assert vmcopy.copy_out(root, "web", "/d/source/top", tmp_path / "one", mode=0o600).changed
    assert (tmp_path / "one").stat().st_mode & 0o777 == 0o600
    for path, dest in (("/d/gone", tmp_path / "x"), ("/d/source", tmp_path / "no" / "x")):
        with pytest.raises(NotFoundError):
            vmcopy.copy_out(root, "web", path, dest)
    with pytest.raises(ConflictError):
        vmcopy.copy_out(root, "web", "/d/source", tmp_path / "one")
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".tmp")]
