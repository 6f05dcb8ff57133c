# SPDX-License-Identifier: GPL-3.0-or-later
"""The journal of a killed guest: read over the disk, replayed before a change."""

from __future__ import annotations

import struct
import subprocess

import pytest
from ansible_collections.uni.engine.plugins.module_utils.engine import diskfiles
from ansible_collections.uni.engine.plugins.module_utils.engine.disk import build_disk
from ansible_collections.uni.engine.plugins.module_utils.engine.diskimage import DiskRef, open_disk
from ansible_collections.uni.engine.plugins.module_utils.engine.ext2read import Ext2
from ansible_collections.uni.engine.plugins.module_utils.engine.tree import Tree
from ansible_collections.uni.engine.tests.unit.engine.registries import tool

LOG = 60
MAGIC = 0xC03B3998


def header(kind, sequence):
    return struct.pack(">III", MAGIC, kind, sequence)


class Killed:
    """A disk whose journal holds transactions that did not reach their places."""

    def __init__(self, path):
        self.path = path
        self.data = bytearray(path.read_bytes())
        self.size = 1024 << struct.unpack_from("<I", self.data, 1024 + 24)[0]
        self.first = len(self.data) // self.size - 2 - LOG
        self.sequence, self.at = 7, 1
        plain = bytes(self.data[:self.size])
        if self.size == 1024:
            plain = bytes(self.data[1024:2048])
        self.transaction({1 if self.size == 1024 else 0: plain})

    def block(self, number, data):
        self.data[number * self.size:number * self.size + len(data)] = data

    def transaction(self, blocks, *, whole=True):
        tags = b""
        for index, (number, data) in enumerate(blocks.items()):
            escaped = data.startswith(struct.pack(">I", MAGIC))
            flags = (0 if index == 0 else 2) | (8 if index == len(blocks) - 1 else 0) | escaped
            tags += struct.pack(">IHH", number, 0, flags) + (bytes(16) if index == 0 else b"")
            self.block(self.first + self.at + 1 + index, bytes(4) + data[4:] if escaped else data)
        self.block(self.first + self.at, (header(1, self.sequence) + tags).ljust(self.size, b"\0"))
        if whole:
            self.block(self.first + self.at + 1 + len(blocks), header(2, self.sequence).ljust(self.size, b"\0"))
        self.at += len(blocks) + 2
        self.sequence += 1

    def finish(self):
        size, per = self.size, self.size // 4
        top = header(4, 0) + struct.pack(">6I", size, LOG, 1, 7, 1, 0)
        self.block(self.first, top)
        self.block(self.first + LOG, struct.pack(f"<{per}I", *(self.first + 12 + k if 12 + k < LOG else self.first for k in range(per))))
        self.block(self.first + LOG + 1, struct.pack("<I", self.first + LOG) * per)
        inode = struct.pack("<HHIIIIIHHIII", 0o100600, 0, 1024 * size, 0, 0, 0, 0, 0, 1, 1024 * size // 512, 0, 0)
        inode += struct.pack("<15I", *range(self.first, self.first + 12), self.first + LOG, 0 if size == 4096 else self.first + LOG + 1, 0)
        table = struct.unpack_from("<I", self.data, size * (2 if size == 1024 else 1) + 8)[0]
        at = table * size + 7 * struct.unpack_from("<H", self.data, 1024 + 88)[0]
        self.data[at:at + len(inode)] = inode
        struct.pack_into("<H", self.data, 1024 + 58, 0)
        for offset in (92, 96):
            struct.pack_into("<I", self.data, 1024 + offset, struct.unpack_from("<I", self.data, 1024 + offset)[0] | 4)
        struct.pack_into("<I", self.data, 1024 + 224, 8)
        self.path.write_bytes(self.data)

    def home(self, path):
        """The block that holds a small file."""
        shown = subprocess.run([tool("debugfs"), "-R", f"blocks {path}", str(self.path)], capture_output=True, text=True, check=True)
        return int(shown.stdout.split()[0])


@pytest.fixture
def killed(tmp_path):
    tree = Tree()
    for name in ("one", "two", "three"):
        tree.add_file(f"/{name}", name.encode())
    path = tmp_path / "disk.ext2"
    path.write_bytes(build_disk(tree, tmp_path / "made", size=16 << 20).path.read_bytes())
    made = Killed(path)
    homes = [made.home(f"/{name}") for name in ("one", "two", "three")]
    made.transaction({homes[0]: b"ONE".ljust(made.size, b"\0"), homes[1]: struct.pack(">I", MAGIC).ljust(made.size, b"\0")})
    made.transaction({homes[0]: b"uno".ljust(made.size, b"\0")})
    made.transaction({homes[2]: b"never".ljust(made.size, b"\0")}, whole=False)
    made.finish()
    return DiskRef(path)


def read(disk, path):
    with open_disk(disk) as device:
        return Ext2(device).read(path)


def test_what_was_committed_is_read(killed):
    assert read(killed, "/one") == b"uno"
    assert read(killed, "/two") == struct.pack(">I", MAGIC)[:3]
    assert read(killed, "/three") == b"three"


def test_e2fsck_means_the_same(killed):
    done = subprocess.run([tool("e2fsck"), "-fp", str(killed.path)], capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stdout
    assert read(killed, "/one") == b"uno"
    assert read(killed, "/three") == b"three"


def test_a_change_comes_after_the_replay(killed, tmp_path):
    (tmp_path / "new").write_text("new")
    diskfiles.copy_in(killed, str(tmp_path / "new"), "/new")
    assert read(killed, "/new") == b"new"
    assert read(killed, "/one") == b"uno"
    subprocess.run([tool("e2fsck"), "-fn", str(killed.path)], check=True, capture_output=True)


@pytest.mark.parametrize("offset", [0, 12, 24, 28])
def test_a_damaged_journal_is_not_followed(killed, offset):
    made = Killed.__new__(Killed)
    made.data = bytearray(killed.path.read_bytes())
    size = 1024 << struct.unpack_from("<I", made.data, 1024 + 24)[0]
    first = len(made.data) // size - 2 - LOG
    struct.pack_into(">I", made.data, first * size + offset, 0xFFFFFF00)
    killed.path.write_bytes(made.data)
    assert read(killed, "/three") == b"three"
