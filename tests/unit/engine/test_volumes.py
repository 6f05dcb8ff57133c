# SPDX-License-Identifier: GPL-3.0-or-later
"""Volumes on a real disk with the real e2fsprogs."""

from __future__ import annotations

import gzip
import io
import os
import subprocess
import tarfile
import threading

import pytest
from ansible_collections.uni.engine.plugins.module_utils.engine.errors import (
    ConflictError,
    HostError,
    NotFoundError,
    StateError,
    UniError,
    UsageError,
)
from ansible_collections.uni.engine.plugins.module_utils.engine.root import Root
from ansible_collections.uni.engine.plugins.module_utils.engine.vms import record as records
from ansible_collections.uni.engine.plugins.module_utils.engine.volumes import api, transfer
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


def archive(path, *members):
    """A tar archive with (name, kind, mode, uid, mtime, data or target)."""
    with tarfile.open(path, "w") as tar:
        for name, kind, mode, uid, mtime, more in members:
            info = tarfile.TarInfo(name)
            info.type, info.mode, info.uid, info.gid, info.mtime = kind, mode, uid, uid + 1, mtime
            if kind == tarfile.SYMTYPE:
                info.linkname = more
            info.size = len(more) if kind == tarfile.REGTYPE else 0
            tar.addfile(info, io.BytesIO(more) if kind == tarfile.REGTYPE else None)
    return path


MEMBERS = (("./", tarfile.DIRTYPE, 0o750, 5, 1_600_000_000, ""), ("./db", tarfile.DIRTYPE, 0o2770, 70, 1_600_000_001, ""),
           ("./db/rows", tarfile.REGTYPE, 0o4640, 70, 1_600_000_002, os.urandom(70_000)),
           ("./db/now", tarfile.SYMTYPE, 0o777, 7, 1_600_000_003, "rows"),
           ("./pipe", tarfile.FIFOTYPE, 0o600, 3, 1_600_000_004, ""))


def exported(root, name="data"):
    """What an export holds: {name: (type, mode, uid, gid, mtime, contents or target)}."""
    stream = io.BytesIO()
    transfer.export(root, name, stream)
    stream.seek(0)
    with tarfile.open(fileobj=stream) as tar:
        return {m.name: (m.type, m.mode, m.uid, m.gid, m.mtime,
                         tar.extractfile(m).read() if m.isreg() else m.linkname) for m in tar}


def test_import_and_export_keep_owner_mode_and_times(root, tmp_path):
    source = archive(tmp_path / "in.tar", *MEMBERS)
    done = transfer.restore(root, VolumeSpec.parse("data", "8M", {"a": "b"}), source)
    assert [action.kind for action in done.plan.actions] == ["create", "restore"]
    assert done.volume.size == 8 << 20 and done.volume.labels == {"a": "b"}
    assert subprocess.run(["e2fsck", "-fn", done.volume.path], check=False, capture_output=True).returncode == 0
    found = exported(root)
    assert found == {name.rstrip("/"): (kind, mode, uid, uid + 1, mtime, more)
                     for name, kind, mode, uid, mtime, more in MEMBERS}
    grown = api.ensure_present(root, VolumeSpec.parse("data", "64M")).volume
    assert grown.size == 64 << 20 and exported(root) == found


def test_export_has_devices_and_hard_links(root, tmp_path):
    volume = make(root).volume
    write(volume, "file", "text", tmp_path)
    script = tmp_path / "script"
    script.write_text("ln file second\nset_inode_field file links_count 2\ncd /\nmknod null c 1 3\nmknod sda b 259 1\n")
    subprocess.run(["debugfs", "-w", "-f", script, volume.path], check=True, capture_output=True)
    stream = io.BytesIO()
    transfer.export(root, "data", stream)
    copy = transfer.restore(root, VolumeSpec.parse("copy", "8M"), io.BytesIO(stream.getvalue())).volume
    again = io.BytesIO()
    transfer.export(root, "copy", again)
    for data in (stream, again):
        data.seek(0)
        with tarfile.open(fileobj=data) as tar:
            members = {member.name: member for member in tar}
        assert "./lost+found" not in members
        assert {members["./file"].type, members["./second"].type} == {tarfile.REGTYPE, tarfile.LNKTYPE}
        assert [(members[n].type, members[n].devmajor, members[n].devminor) for n in ("./null", "./sda")] == [
            (tarfile.CHRTYPE, 1, 3), (tarfile.BLKTYPE, 259, 1)]
    assert copy.size == 8 << 20


def test_import_into_what_is_there(root, tmp_path):
    source = archive(tmp_path / "in.tar", *MEMBERS)
    volume = make(root).volume
    squeezed = tmp_path / "in.tar.gz"
    squeezed.write_bytes(gzip.compress(source.read_bytes()))
    assert transfer.restore(root, VolumeSpec("data"), squeezed, check=True).changed and transfer.is_empty(volume)
    transfer.restore(root, VolumeSpec("data"), squeezed)  # an empty volume may be filled
    before = exported(root)
    other = archive(tmp_path / "other.tar", ("only", tarfile.REGTYPE, 0o600, 0, 1, b"me"))
    with pytest.raises(ConflictError) as caught:
        transfer.restore(root, VolumeSpec("data"), other)
    assert caught.value.code == "volume.not_empty" and exported(root) == before
    transfer.restore(root, VolumeSpec("data"), other, replace=True)
    assert set(exported(root)) == {".", "./only"}
    assert sorted(path.name for path in volume.path.parent.iterdir()) == ["data.ext2", "volume.json"]


@pytest.mark.parametrize("damage", ["cut", "text", "gzip", "large", "dotdot"])
def test_a_bad_archive_changes_nothing(root, tmp_path, damage):
    make(root)
    good = archive(tmp_path / "in.tar", *MEMBERS).read_bytes()
    if damage == "large":
        bad = archive(tmp_path / "big.tar", ("big", tarfile.REGTYPE, 0o600, 0, 1, os.urandom(9 << 20))).read_bytes()
    elif damage == "dotdot":
        bad = archive(tmp_path / "up.tar", ("../../etc/x", tarfile.REGTYPE, 0o600, 0, 1, b"x")).read_bytes()
    else:
        bad = {"cut": good[:3000], "text": b"hello" * 1000, "gzip": gzip.compress(good)[:-500]}[damage]
    before = exported(root)
    with pytest.raises(UniError):
        transfer.restore(root, VolumeSpec("data"), io.BytesIO(bad))
    with pytest.raises(UniError):
        transfer.restore(root, VolumeSpec.parse("fresh", "4M"), io.BytesIO(bad))
    assert exported(root) == before and api.find(root, "fresh") is None
    assert sorted(path.name for path in root.volumes.iterdir()) == ["data"]


def test_not_while_a_vm_writes(root, tmp_path):
    make(root)
    reader = vm(root, "reader", "data:/x:ro", running=True)
    transfer.export(root, "data", io.BytesIO())
    with pytest.raises(ConflictError):
        transfer.restore(root, VolumeSpec("data"), archive(tmp_path / "in.tar", *MEMBERS))
    records.erase(root, reader.directory, "reader")
    vm(root, "writer", "data:/x", running=True)
    for call in (lambda: transfer.export(root, "data", io.BytesIO()),
                 lambda: transfer.backup(root, "data", tmp_path / "out.tar"),
                 lambda: transfer.restore(root, VolumeSpec("data"), tmp_path / "in.tar")):
        with pytest.raises(ConflictError) as caught:
            call()
        assert caught.value.code == "volume.in_use" and "writer" in str(caught.value)
    assert not (tmp_path / "out.tar").exists()


def test_a_saved_vm_has_its_volume_mounted(root):
    """Its memory knows the file system as it was: nobody else writes it, and nothing is repaired under it."""
    volume = make(root).volume
    saved = vm(root, "saved", "data:/x")
    records.save_state(saved.directory, {"id": saved.id, "name": "saved", "status": "saved"})
    with pytest.raises(ConflictError) as caught:
        api.use(root, "data", "another")
    assert caught.value.code == "volume.two_writers"
    with pytest.raises(StateError):
        api.ensure_present(root, VolumeSpec.parse("data", "32M"))
    with open(volume.path, "r+b") as file:
        file.seek(1024 + 58)
        file.write(b"\0\0")  # not unmounted
    before = volume.path.read_bytes()
    api.use(root, "data", saved.id, resumed=True)
    assert volume.path.read_bytes() == before
    api.use(root, "data", saved.id)
    assert volume.path.read_bytes() != before


def test_backup_changes_nothing_when_it_is_the_same(root, tmp_path):
    transfer.restore(root, VolumeSpec.parse("data", "8M"), archive(tmp_path / "in.tar", *MEMBERS))
    out = tmp_path / "out.tar"
    assert transfer.backup(root, "data", out, check=True).changed and not out.exists()
    assert transfer.backup(root, "data", out).changed and out.stat().st_mode & 0o777 == 0o600
    stamp = out.stat().st_mtime_ns
    assert not transfer.backup(root, "data", out).changed and out.stat().st_mtime_ns == stamp
    assert sorted(path.name for path in tmp_path.iterdir() if path.name.startswith(".")) == []
