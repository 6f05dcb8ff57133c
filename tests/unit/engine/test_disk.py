# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import errno
import os
import random
import shutil
import subprocess
from pathlib import Path

import pytest
from ansible_collections.uni.engine.plugins.module_utils.engine import ext2
from ansible_collections.uni.engine.plugins.module_utils.engine.disk import build_disk
from ansible_collections.uni.engine.plugins.module_utils.engine.errors import HostError, UsageError, VerifyError
from ansible_collections.uni.engine.plugins.module_utils.engine.tree import (
    Content,
    Entry,
    Tree,
    add_skeleton,
    tree_from_directory,
)


def tool(name):
    path = shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
    assert path, f"{name} (e2fsprogs) is missing"
    return path


def fsck(path):
    done = subprocess.run([tool("e2fsck"), "-fn", str(path)], check=False, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr


def debugfs(path, request):
    done = subprocess.run([tool("debugfs"), "-R", request, str(path)], check=False, capture_output=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


def sample(tmp_path):
    """A tree with one of everything, made the same whatever is below ``tmp_path``."""
    source = tmp_path / "source"
    (source / "etc").mkdir(parents=True)
    (source / "bin").mkdir()
    (source / "etc" / "name with blanks").write_text("hello\n")
    (source / "bin" / "app").write_bytes(random.Random(1).randbytes(100_000))
    (source / "bin" / "app").chmod(0o4755)
    os.link(source / "bin" / "app", source / "bin" / "same")
    (source / "link").symlink_to("etc/name with blanks")
    (source / "long").symlink_to("x" * 100)
    (source / "empty").write_bytes(b"")
    tree = tree_from_directory(source)
    tree.add("/dev/null", Entry("char", 0o666, device=(1, 3)))
    tree.add("/dev/big", Entry("block", 0o600, device=(259, 300)))
    tree.add("/home/eve/file", Entry("file", 0o600, 1000, 100_000, content=Content.of_bytes(b"mine")))
    add_skeleton(tree)
    return tree


def test_everything_arrives(tmp_path):
    disk = build_disk(sample(tmp_path), tmp_path / "disk")
    fsck(disk.path)
    assert debugfs(disk.path, 'cat "/etc/name with blanks"') == b"hello\n"
    assert debugfs(disk.path, "cat /bin/app") == random.Random(1).randbytes(100_000)
    stat = debugfs(disk.path, "stat /home/eve/file").decode()
    assert "Mode:  0600" in stat
    assert "User:  1000   Group: 100000" in stat
    assert "Links: 2" in debugfs(disk.path, "stat /bin/same").decode()
    assert "Mode:  04755" in debugfs(disk.path, "stat /bin/app").decode()
    assert 'Fast link dest: "etc/name with blanks"' in debugfs(disk.path, "stat /link").decode()
    assert "Size: 100" in debugfs(disk.path, "stat /long").decode()
    assert "number: 01:03" in debugfs(disk.path, "stat /dev/null").decode()
    assert "number: 259:300" in debugfs(disk.path, "stat /dev/big").decode()
    assert "Mode:  01777" in debugfs(disk.path, "stat /tmp").decode()
    assert b"root:x:0:0" in debugfs(disk.path, "cat /etc/passwd")


def test_equal_trees_give_equal_bytes(tmp_path):
    first = build_disk(sample(tmp_path / "a"), tmp_path / "first")
    second = build_disk(sample(tmp_path / "b"), tmp_path / "second")
    assert first.sha256 == second.sha256
    assert (tmp_path / "first").read_bytes() == (tmp_path / "second").read_bytes()


def test_known_digest(tmp_path):
    """The format itself is part of the contract: a change of this digest makes every host rebuild everything."""
    tree = Tree()
    tree.add_file("/hello", b"hello\n")
    add_skeleton(tree)
    assert build_disk(tree, tmp_path / "disk", size=1 << 20).sha256 == (
        "9f99362bc47e212a1bdd9bfb635fe3451dea5a2b1cc26bccf2f766653187b28a")


@pytest.mark.parametrize("size", [0, 1, 4095, 4096, 12 * 4096, 12 * 4096 + 1, 13 * 4096, 1036 * 4096,
                                  1036 * 4096 + 1, 1 << 23])
def test_file_sizes_around_the_indirect_blocks(tmp_path, size):
    data = random.Random(size).randbytes(size)
    tree = Tree()
    tree.add_file("/file", data)
    disk = build_disk(tree, tmp_path / "disk")
    fsck(disk.path)
    assert debugfs(disk.path, "cat /file") == data


def test_triple_indirection_and_holes(tmp_path, monkeypatch):
    """4.5 GiB with four blocks in it: every level of indirection, and groups with and without copies."""
    marks = {0: b"a", 11: b"b", 1035: b"c", 1036 + 1024 * 1024 + 5000: b"d"}
    total = max(marks) + 1

    def blocks(_writer, _content):
        return (marks[index] * 4096 if index in marks else b"" for index in range(total))

    monkeypatch.setattr(ext2._Writer, "_file_blocks", blocks)
    tree = Tree()
    tree.add("/sparse", Entry("file", 0o644, content=Content(total * 4096, "")))
    disk = tmp_path / "disk"
    ext2.write_ext2(tree, disk, size=4700 << 20)
    fsck(disk)
    assert disk.stat().st_blocks * 512 < 64 << 20
    with disk.open("rb") as file:
        for index, byte in marks.items():
            file.seek(int(debugfs(disk, f"bmap /sparse {index}")) * 4096)
            assert file.read(4096) == byte * 4096
    assert int(debugfs(disk, "bmap /sparse 5000")) == 0


def test_blocks_of_zeros_become_holes(tmp_path):
    tree = Tree()
    data = b"x" * 4096 + bytes(5 << 20) + b"y"
    tree.add_file("/file", data)
    disk = build_disk(tree, tmp_path / "disk")
    fsck(disk.path)
    assert debugfs(disk.path, "cat /file") == data
    # Two blocks of data and one indirect block, in sectors of 512 bytes.
    assert "Blockcount: 32" in debugfs(disk.path, "stat /file").decode()


def test_dense_data_over_group_borders(tmp_path):
    tree = Tree()
    data = random.Random(2).randbytes(1 << 20)
    for index in range(150):
        tree.add_file(f"/d{index % 7}/file{index}", data[index:])
    disk = build_disk(tree, tmp_path / "disk")
    assert disk.size > 128 << 20
    fsck(disk.path)
    assert debugfs(disk.path, "cat /d2/file149") == data[149:]


def test_large_directory(tmp_path):
    tree = Tree()
    for index in range(3000):
        tree.add_file(f"/many/{index:05}-{'x' * (index % 200)}", b"")
    disk = build_disk(tree, tmp_path / "disk")
    fsck(disk.path)
    assert debugfs(disk.path, "ls -p /many").count(b"\n") >= 3002


def test_too_small_a_disk_is_refused(tmp_path):
    tree = Tree()
    tree.add_file("/file", bytes(range(256)) * 8192)
    with pytest.raises(UsageError) as caught:
        build_disk(tree, tmp_path / "disk", size=1 << 20)
    assert caught.value.code == "disk.too_small"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("blocks", [256, 257, 1000, 32767, 32768, 32769, 32768 + 100, 32768 + 600, 65536, 98305])
def test_odd_sizes_are_sound(tmp_path, blocks):
    disk = build_disk(Tree(), tmp_path / "disk", size=blocks * 4096 + 512)
    assert disk.path.stat().st_size == blocks * 4096 + 512
    fsck(disk.path)


def test_a_file_that_changes_meanwhile_is_noticed(tmp_path):
    source = tmp_path / "file"
    source.write_bytes(b"before")
    tree = Tree()
    tree.add_file("/file", source)
    source.write_bytes(b"after!")
    with pytest.raises(VerifyError) as caught:
        build_disk(tree, tmp_path / "disk")
    assert caught.value.code == "disk.source_changed"
    assert not (tmp_path / "disk").exists()


def test_disk_full_leaves_nothing(tmp_path, monkeypatch):
    def full(_fd, _data, _offset):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(ext2, "_pwrite", full)
    with pytest.raises(HostError) as caught:
        build_disk(Tree(), tmp_path / "disk")
    assert caught.value.code == "host.disk_full"
    assert list(tmp_path.iterdir()) == []


def test_tree_follows_links_inside_itself(tmp_path):
    tree = Tree()
    tree.add("/lib", Entry("link", 0o777, target="usr/lib"))
    tree.add("/usr/lib", Entry("dir", 0o755))
    assert tree.add_file("/lib/x", b"") == "/usr/lib/x"
    assert tree.resolve("/lib/x") == "/usr/lib/x"
    tree.add("/up", Entry("link", 0o777, target="../../../usr"))
    assert tree.add_file("/up/y", b"") == "/usr/y"
    tree.add("/loop", Entry("link", 0o777, target="loop"))
    with pytest.raises(UsageError):
        tree.add_file("/loop/x", b"")
    with pytest.raises(UsageError):
        tree.add_file("/usr/y/z", b"")
    tree.remove("/usr")
    assert "/usr/lib/x" not in tree


def test_the_hosts_own_root_is_refused(tmp_path):
    (tmp_path / "link").symlink_to("/")
    for top in (Path("/"), tmp_path / "link", Path("/usr/..")):
        with pytest.raises(UsageError) as caught:
            tree_from_directory(top)
        assert caught.value.code == "tree.host"


def test_unreadable_directory_is_named(tmp_path, monkeypatch):
    def refuse(_top, onerror):
        error = PermissionError(errno.EACCES, "Permission denied", str(tmp_path / "secret"))
        onerror(error)
        return []

    monkeypatch.setattr(os, "walk", refuse)
    with pytest.raises(HostError) as caught:
        tree_from_directory(tmp_path)
    assert "secret" in caught.value.message
