# SPDX-License-Identifier: GPL-3.0-or-later
"""Files in and out of disks: raw, and qcow2 overlays as VMs have them."""

from __future__ import annotations

import io
import os
import random
import signal
import struct
import subprocess
import tarfile

import pytest
from ansible_collections.uni.engine.plugins.module_utils.engine import diskfiles, diskimage
from ansible_collections.uni.engine.plugins.module_utils.engine.disk import build_disk, file_digest
from ansible_collections.uni.engine.plugins.module_utils.engine.diskimage import DiskRef, open_disk
from ansible_collections.uni.engine.plugins.module_utils.engine.errors import (
    ConflictError,
    HostError,
    NotFoundError,
    StateError,
    UniError,
    UsageError,
)
from ansible_collections.uni.engine.plugins.module_utils.engine.ext2read import Ext2
from ansible_collections.uni.engine.plugins.module_utils.engine.tree import Content, Entry, Tree
from ansible_collections.uni.engine.tests.unit.engine.registries import tool

BIG = random.Random(5).randbytes(3_000_000)


@pytest.fixture
def tree():
    tree = Tree()
    tree.add_file("/etc/hosts", b"hosts\n")
    tree.add_file("/data/big", BIG + bytes(200_000) + b"end", 0o4755)
    tree.add("/data/mine", Entry("file", 0o600, 1000, 1001, 1_700_000_000, Content.of_bytes(b"mine")))
    tree.add("/data/link", Entry("link", 0o777, target="../etc/hosts"))
    tree.add("/data/sub/deep", Entry("file", 0o644, content=Content.of_bytes(b"deep")))
    tree.add("/alias", Entry("link", 0o777, target="data/sub"))
    tree.add("/data/null", Entry("char", 0o666, device=(1, 3)))
    return tree


@pytest.fixture(params=["raw", "qcow2"])
def disk(request, tree, tmp_path):
    """The disk in its own directory, raw or as an overlay on a read-only base."""
    directory = tmp_path / "vm, one"
    directory.mkdir()
    base = build_disk(tree, tmp_path / "base,ext2", size=16 << 20).path
    if request.param == "raw":
        path = directory / "disk.ext2"
        path.write_bytes(base.read_bytes())
        return DiskRef(path)
    base.chmod(0o444)
    path = directory / "disk.qcow2"
    subprocess.run([tool("qemu-img"), "create", "-q", "-f", "qcow2", "-b", str(base), "-F", "raw", str(path)],
                   check=True, timeout=60)
    return DiskRef(path, base)


def read(disk, path):
    with open_disk(disk) as device:
        return Ext2(device).read(path)


def stat(disk, path):
    with open_disk(disk) as device:
        return Ext2(device).lookup(path, follow=False)


def sound(disk, tmp_path):
    """Flatten the disk by QEMU's own means and let e2fsck judge it."""
    flat = tmp_path / "flat"
    if disk.base is None:
        flat.write_bytes(disk.path.read_bytes())
    else:
        subprocess.run([tool("qemu-img"), "check", "-q", str(disk.path)], check=True, timeout=60)
        subprocess.run([tool("qemu-img"), "convert", "-O", "raw", str(disk.path), str(flat)], check=True, timeout=60)
    subprocess.run([tool("e2fsck"), "-fn", str(flat)], check=True, timeout=60, capture_output=True)
    assert [path.name for path in disk.path.parent.iterdir()] == [disk.path.name]


def test_out_file(disk, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    assert diskfiles.copy_out(disk, "/data/big", out) == 1
    assert (out / "big").read_bytes() == BIG + bytes(200_000) + b"end"
    assert (out / "big").stat().st_mode & 0o7777 == 0o755
    diskfiles.copy_out(disk, "/data/link", out / "followed")
    assert (out / "followed").read_text() == "hosts\n"
    diskfiles.copy_out(disk, "/alias/deep", out / "followed")
    assert (out / "followed").read_text() == "deep"
    assert (out / "followed").stat().st_nlink == 1


def test_out_directory(disk, tmp_path):
    out = tmp_path / "out"
    diskfiles.copy_out(disk, "/data", out)
    assert sorted(str(path.relative_to(out)) for path in out.rglob("*")) == ["big", "link", "mine", "sub", "sub/deep"]
    assert os.readlink(out / "link") == "../etc/hosts"
    assert (out / "mine").stat().st_mtime == 1_700_000_000
    diskfiles.copy_out(disk, "/data/.", out)
    diskfiles.copy_out(disk, "/data", out)
    assert (out / "data" / "sub" / "deep").read_text() == "deep"


def test_out_errors(disk, tmp_path):
    for path in ("/nope", "/etc/hosts/x", "/data/link/x"):
        with pytest.raises(NotFoundError):
            diskfiles.copy_out(disk, path, tmp_path / "x")
    with pytest.raises(NotFoundError):
        diskfiles.copy_out(disk, "/etc/hosts", tmp_path / "no" / "where")
    (tmp_path / "file").write_text("keep")
    with pytest.raises(ConflictError):
        diskfiles.copy_out(disk, "/data", tmp_path / "file")
    assert (tmp_path / "file").read_text() == "keep"


def test_out_tar(disk):
    buffer = io.BytesIO()
    diskfiles.tar_out(disk, "/data", buffer)
    buffer.seek(0)
    with tarfile.open(fileobj=buffer) as archive:
        members = {member.name: member for member in archive}
        assert set(members) == {"data", "data/big", "data/mine", "data/link", "data/sub", "data/sub/deep"}
        assert (members["data/mine"].uid, members["data/mine"].gid, members["data/big"].mode) == (1000, 1001, 0o4755)
        assert archive.extractfile("data/big").read() == BIG + bytes(200_000) + b"end"


def test_in_file(disk, tmp_path):
    local = tmp_path / 'odd "name"'
    local.write_bytes(BIG[::-1])
    local.chmod(0o640)
    before = file_digest(disk.base) if disk.base else ""
    assert diskfiles.copy_in(disk, local, "/data") == 1
    assert read(disk, '/data/odd "name"') == BIG[::-1]
    inode = stat(disk, '/data/odd "name"')
    assert (inode.uid, inode.gid, inode.mode) == (0, 0, 0o640)
    diskfiles.copy_in(disk, local, "/data/mine")
    assert read(disk, "/data/mine") == BIG[::-1]
    assert (stat(disk, "/data/mine").uid, stat(disk, "/data/mine").mode) == (0, 0o640)
    diskfiles.copy_in(disk, local, "/alias/through")
    assert read(disk, "/data/sub/through") == BIG[::-1]
    assert read(disk, "/etc/hosts") == b"hosts\n"
    sound(disk, tmp_path)
    if disk.base:
        assert file_digest(disk.base) == before


def test_in_directory(disk, tmp_path):
    local = tmp_path / "local"
    (local / "a" / "b").mkdir(parents=True)
    (local / "a" / "b" / "c").write_text("c")
    (local / "a" / "l").symlink_to("b/c")
    diskfiles.copy_in(disk, local, "/new")
    assert read(disk, "/new/a/l") == b"c"
    diskfiles.copy_in(disk, local, "/new")
    assert read(disk, "/new/local/a/b/c") == b"c"
    (local / "a" / "b" / "c").write_text("changed")
    diskfiles.copy_in(disk, f"{local}/.", "/new")
    assert read(disk, "/new/a/b/c") == b"changed"
    (local / "hosts").write_text("mine")
    assert diskfiles.copy_in(disk, local, "/etc") > 0
    assert read(disk, "/etc/local/hosts") == b"mine"
    sound(disk, tmp_path)


def test_in_tar(disk, tmp_path):
    with tarfile.open(tmp_path / "x.tar", "w") as archive:
        for name, kind, data in (("d", tarfile.DIRTYPE, b""), ("d/f", tarfile.REGTYPE, b"tar"),
                                 ("d/l", tarfile.SYMTYPE, b"")):
            info = tarfile.TarInfo(name)
            info.type, info.size, info.uid, info.gid, info.mode = kind, len(data), 70_000, 5, 0o750
            info.linkname = "f" if kind == tarfile.SYMTYPE else ""
            archive.addfile(info, io.BytesIO(data))
    diskfiles.tar_in(disk, tmp_path / "x.tar", "/data")
    assert read(disk, "/data/d/l") == b"tar"
    inode = stat(disk, "/data/d/f")
    assert (inode.uid, inode.gid, inode.mode) == (70_000, 5, 0o750)
    assert stat(disk, "/data/d").uid == 70_000
    sound(disk, tmp_path)


def test_in_errors_change_nothing(disk, tmp_path):
    before = file_digest(disk.path)
    local = tmp_path / "local"
    (local / "sub").mkdir(parents=True)
    (local / "big").mkdir()
    cases = [(tmp_path / "gone", "/data", NotFoundError), (local / "sub", "/etc/hosts", ConflictError),
             (local, "/no/where", NotFoundError), (f"{local}/.", "/data/../..", UsageError)]
    for source, target, error in cases:
        with pytest.raises(error):
            diskfiles.copy_in(disk, source, target)
    tree = Tree()
    tree.entries["/data/big"] = Entry("dir", 0o755)
    with pytest.raises(ConflictError):
        diskfiles.write_tree(disk, tree)
    tree.entries["/data/big"] = Entry("link", 0o777, target="a\nquit")
    with pytest.raises(UsageError):
        diskfiles.write_tree(disk, tree)
    assert file_digest(disk.path) == before
    sound(disk, tmp_path)


def test_a_full_disk_is_said_and_changes_nothing(disk, tmp_path):
    before = file_digest(disk.path)
    (tmp_path / "huge").write_bytes(random.Random(1).randbytes(20 << 20))
    with pytest.raises(HostError) as caught:
        diskfiles.copy_in(disk, tmp_path / "huge", "/data")
    assert caught.value.code == "disk.full"
    assert file_digest(disk.path) == before
    sound(disk, tmp_path)


class Killer:
    """Runs tools until the ``left``-th, and ends this process by SIGKILL in its place."""

    def __init__(self, real, left):
        self.real = real
        self.left = left

    def __call__(self, command, **more):
        self.left -= 1
        if self.left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return self.real(command, **more)


def test_killed_while_writing(disk, tmp_path):
    (tmp_path / "new").write_bytes(BIG)
    before = read(disk, "/etc/hosts")
    for number in range(1, 12):
        child = os.fork()
        if child == 0:
            diskimage._run = diskfiles.run_tool = Killer(diskimage.run_tool, number)
            diskfiles.copy_in(disk, tmp_path / "new", "/etc/hosts")
            os._exit(0)
        _pid, status = os.waitpid(child, 0)
        if os.WIFEXITED(status):
            assert number > 2
            assert read(disk, "/etc/hosts") == BIG
            sound(disk, tmp_path)
            return
        assert read(disk, "/etc/hosts") == before
    pytest.fail("the copy never came to its end")


def test_the_name_of_the_base_in_the_overlay_is_not_believed(tree, tmp_path):
    base = build_disk(tree, tmp_path / "base", size=16 << 20).path
    (tmp_path / "secret").write_bytes(b"secret" * 100_000)
    path = tmp_path / "disk.qcow2"
    subprocess.run([tool("qemu-img"), "create", "-q", "-f", "qcow2", "-b", str(tmp_path / "secret"), "-F", "raw",
                    str(path), "16M"], check=True, timeout=60)
    assert read(DiskRef(path, base), "/etc/hosts") == b"hosts\n"


def test_what_is_no_ext2(tmp_path):
    path = tmp_path / "disk"
    for data in (b"", bytes(1 << 20), b"\xff" * (1 << 20)):
        path.write_bytes(data)
        with pytest.raises(StateError):
            read(DiskRef(path), "/etc/hosts")


def test_hostile_file_systems(tree, tmp_path):
    """Whatever a guest writes into its disk: an answer or an error of ours, in bounded time, nothing outside."""
    good = build_disk(tree, tmp_path / "good", size=2 << 20 << 1).path.read_bytes()
    rng = random.Random(7)
    used = [index for index in range(len(good) // 4096) if any(good[index * 4096:index * 4096 + 4096])]
    metadata = used[:20] + used[-20:]
    path = tmp_path / "bad"
    for round_ in range(150):
        data = bytearray(good)
        for _change in range(rng.randint(1, 40)):
            at = rng.choice(metadata) * 4096 + rng.randrange(1024) * 4
            struct.pack_into("<I", data, at, rng.choice([0, 1, 2, 11, 12, 0xFFFFFFFF, rng.getrandbits(32)]))
        path.write_bytes(data)
        out = tmp_path / "jail" / str(round_)
        out.mkdir(parents=True)
        try:
            diskfiles.copy_out(DiskRef(path), "/etc", out)
            diskfiles.copy_out(DiskRef(path), "/data/sub", out)
        except UniError:
            continue
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["bad", "good", "jail"]


def test_a_directory_in_itself_and_a_name_twice(tree, tmp_path):
    image = build_disk(tree, tmp_path / "disk", size=4 << 20).path
    subprocess.run([tool("debugfs"), "-w", "-R", "ln /data /data/sub/again", str(image)], check=True,
                   capture_output=True, timeout=60)
    with pytest.raises(StateError) as caught:
        diskfiles.copy_out(DiskRef(image), "/data", tmp_path / "out")
    assert "circle" in caught.value.message
    data = image.read_bytes()
    assert data.count(b"\x04\x01mine") == 1
    image.write_bytes(data.replace(b"\x04\x01mine", b"\x04\x01link"))
    with pytest.raises(StateError) as caught:
        diskfiles.copy_out(DiskRef(image), "/data", tmp_path / "second")
    assert "twice" in caught.value.message


def test_times_and_owners_go_both_ways(disk, tmp_path):
    source = tmp_path / "source"
    (source / "sub").mkdir(parents=True)
    (source / "sub" / "file").write_text("text")
    (source / "link").symlink_to("sub/file")
    (source / "sub").chmod(0o2750)
    for number, name in enumerate(("sub/file", "sub", "link", ".")):
        os.utime(source / name, (1_500_000_000 + number,) * 2, follow_symlinks=False)
        if os.geteuid() == 0:
            os.chown(source / name, 1000 + number, 2000, follow_symlinks=False)
    diskfiles.copy_in(disk, source, "/copy", archive=os.geteuid() == 0)
    for number, name in enumerate(("sub/file", "sub", "link", ".")):
        inode = stat(disk, f"/copy/{name}")
        assert inode.mtime == 1_500_000_000 + number, name
        assert (inode.uid, inode.gid) == ((1000 + number, 2000) if os.geteuid() == 0 else (0, 0)), name
    assert stat(disk, "/copy/sub").mode == 0o2750
    out = tmp_path / "out"
    diskfiles.copy_out(disk, "/copy", out, archive=os.geteuid() == 0)
    for number, name in enumerate(("sub/file", "sub", "link", ".")):
        info = os.lstat(out / name)
        assert info.st_mtime == 1_500_000_000 + number, name
        assert info.st_uid == (1000 + number if os.geteuid() == 0 else os.geteuid())
    diskfiles.copy_in(disk, source, "/plain")
    assert stat(disk, "/plain/sub/file").uid == 0
    sound(disk, tmp_path)
