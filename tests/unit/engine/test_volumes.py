# SPDX-License-Identifier: GPL-3.0-or-later
"""Volumes on a real disk with the real e2fsprogs."""

from __future__ import annotations

import os
import subprocess
import threading

import pytest
from ansible_collections.uni.engine.plugins.module_utils.engine.errors import (
    ConflictError,
    HostError,
    NotFoundError,
    UsageError,
)
from ansible_collections.uni.engine.plugins.module_utils.engine.root import Root
from ansible_collections.uni.engine.plugins.module_utils.engine.vms import record as records
from ansible_collections.uni.engine.plugins.module_utils.engine.volumes import api
from ansible_collections.uni.engine.plugins.module_utils.engine.volumes.api import VolumeSpec


@pytest.fixture
def root(tmp_path):
    return Root(tmp_path)


def make(root, name="data", size="8M", **more):
    return api.ensure_present(root, VolumeSpec.parse(name, size, **more))


def write(volume, path, text, tmp_path):
    source = tmp_path / "source"
    source.write_text(text)
    subprocess.run(["debugfs", "-w", "-R", f"write {source} {path}", volume.path], check=True, capture_output=True)


def read(volume, path):
    done = subprocess.run(["debugfs", "-R", f"cat {path}", volume.path], check=True, capture_output=True, text=True)
    return done.stdout


def vm(root, name, entry, running=False, uid=None):
    """A VM's records, as the vms package writes them; `running` uses this very process as its QEMU."""
    from ansible_collections.uni.engine.plugins.module_utils.engine.process import Identity, boot_id

    identity = os.urandom(6).hex()
    record = {"id": identity, "name": name, "uid": uid, "values": {"volumes": [entry]}}
    with records.claimed(root, name, record) as directory:
        found = records.Vm(directory, record, {})
        records.save(found)
    if running:
        me = Identity.of(os.getpid())
        records.save_state(directory, {"id": identity, "name": name, "status": "running", "boot": boot_id(),
                                       "pid": me.pid, "start": me.start})
        assert records.status_of(records.read(directory).state) == "running"
    return found


def test_created_in_four_passes(root):
    spec = VolumeSpec.parse("data", "8M", {"a": "b"})
    assert api.ensure_present(root, spec, check=True).changed
    assert api.find(root, "data") is None
    result = api.ensure_present(root, spec)
    assert result.changed and result.volume.size == 8 << 20 and result.volume.labels == {"a": "b"}
    assert not api.ensure_present(root, spec).changed
    assert not api.ensure_present(root, spec, check=True).changed
    assert not api.ensure_present(root, VolumeSpec.parse("data")).changed     # unset fields are not compared
    assert subprocess.run(["e2fsck", "-fn", result.volume.path], check=False, capture_output=True).returncode == 0
    assert result.volume.path.stat().st_mode & 0o077 == 0
    assert result.volume.to_dict()["used"] < 8 << 20
    assert [v.name for v in api.list_volumes(root)] == ["data"]
    assert api.list_volumes(root, {"a": "x"}) == []


def test_grown_with_its_data(root, tmp_path):
    volume = make(root).volume
    write(volume, "hello", "world", tmp_path)
    grown = make(root, size="32M")
    assert [a.kind for a in grown.plan.actions] == ["grow"] and grown.volume.size == 32 << 20
    assert read(volume, "hello") == "world"
    assert volume.path.stat().st_size == 32 << 20
    assert subprocess.run(["e2fsck", "-fn", volume.path], check=False, capture_output=True).returncode == 0
    with pytest.raises(UsageError, match="cannot shrink"):
        make(root, size="8M")


@pytest.mark.parametrize(("name", "size"), [("../x", "8M"), ("UP", "8M"), ("", "8M"), ("a", "lots"), ("a", "1K")])
def test_bad_input(root, name, size):
    with pytest.raises(UsageError):
        make(root, name, size)


def test_removed_only_when_no_vm_names_it(root):
    make(root)
    user = vm(root, "web", "data:/data")
    with pytest.raises(ConflictError, match="used by web"):
        api.ensure_absent(root, "data")
    records.erase(root, user.directory, "web")
    assert api.ensure_absent(root, "data", check=True).changed
    assert api.find(root, "data") is not None
    assert api.ensure_absent(root, "data").changed
    assert not api.ensure_absent(root, "data").changed
    assert list(root.volumes.iterdir()) == []


def test_two_writers_are_refused_two_readers_are_not(root):
    make(root)
    with pytest.raises(NotFoundError):
        api.use(root, "other", "0" * 12)
    api.use(root, "data", "0" * 12)
    vm(root, "reader", "data:/data:ro", running=True)
    api.use(root, "data", "0" * 12, read_only=True)
    with pytest.raises(ConflictError, match="in use by VM reader"):
        api.use(root, "data", "0" * 12)


def test_an_unclean_volume_is_repaired_before_use(root, tmp_path):
    volume = make(root).volume
    write(volume, "hello", "world", tmp_path)
    subprocess.run(["debugfs", "-w", "-R", "set_super_value state 0", volume.path], check=True, capture_output=True)
    subprocess.run(["debugfs", "-w", "-R", "set_super_value free_blocks_count 1", volume.path],
                   check=True, capture_output=True)
    assert api.repair(volume.path)
    assert not api.repair(volume.path)
    assert read(volume, "hello") == "world"
    with open(volume.path, "r+b") as file:      # an unreadable superblock is beyond -p
        file.seek(1024)
        file.write(b"\0" * 1024)
    with pytest.raises(HostError, match="damaged"):
        api.use(root, "data", "0" * 12)


def test_two_creators_at_once(root):
    changed = []
    threads = [threading.Thread(target=lambda: changed.append(make(root).changed)) for _index in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(changed) == [False] * 7 + [True]


def test_a_full_disk_leaves_nothing(tmp_path):
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=48k", "tmpfs", tmp_path], check=True)
    try:
        root = Root(tmp_path / "root")
        with pytest.raises(HostError):
            make(root, size="512M")
        assert list(root.volumes.iterdir()) == []
    finally:
        subprocess.run(["umount", tmp_path], check=True)
