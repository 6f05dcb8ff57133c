# SPDX-License-Identifier: GPL-3.0-or-later
"""Read an ext2 image: every name with what it leads to. Layout: Linux, Documentation/filesystems/ext4/ (the parts ext2 has, too)."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field

KINDS = {0x8: "file", 0x4: "dir", 0xA: "link", 0x1: "fifo"}
XATTR_MAGIC = 0xEA020000


@dataclass(frozen=True)
class Node:
    """What a name leads to. ``content`` is a file's bytes or a link's target."""

    ino: int
    kind: str
    links: int
    content: bytes = b""
    xattrs: dict[str, bytes] = field(default_factory=dict)


class Image:
    """An image that ``e2fsck`` called sound; other ones may raise whatever Python finds first."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        (self.inodes, self.blocks) = struct.unpack_from("<II", data, 1024)
        (self.first, log) = struct.unpack_from("<II", data, 1024 + 20)
        self.size = 1024 << log
        self.per_group, = struct.unpack_from("<I", data, 1024 + 40)
        self.inode_size, = struct.unpack_from("<H", data, 1024 + 88)

    def block(self, number: int) -> bytes:
        """A block's bytes; block 0 of a file is a hole."""
        return self.data[number * self.size:(number + 1) * self.size] if number else bytes(self.size)

    def raw(self, ino: int) -> bytes:
        """An inode's bytes in the table."""
        group, index = divmod(ino - 1, self.per_group)
        table, = struct.unpack_from("<I", self.data, (self.first + 1) * self.size + group * 32 + 8)
        at = table * self.size + index * self.inode_size
        return self.data[at:at + self.inode_size]

    def _leaves(self, number: int, level: int) -> Iterator[int]:
        if level == 0:
            yield number
            return
        for entry in struct.unpack(f"<{self.size // 4}I", self.block(number)):
            yield from self._leaves(entry, level - 1)

    def content(self, raw: bytes) -> bytes:
        """All bytes of a file or directory."""
        low, = struct.unpack_from("<I", raw, 4)
        want, got = -(-low // self.size), bytearray()
        for slot, number in enumerate(struct.unpack_from("<15I", raw, 40)):
            for leaf in self._leaves(number, max(slot - 11, 0)):
                if len(got) >= want * self.size:
                    return bytes(got[:low])
                got += self.block(leaf)
        return bytes(got[:low])

    def xattrs(self, raw: bytes) -> dict[str, bytes]:
        """The user's attributes in the block of their own."""
        number, = struct.unpack_from("<I", raw, 104)
        block, found, at = self.block(number), {}, 32
        if not number or struct.unpack_from("<I", block)[0] != XATTR_MAGIC:
            return {}
        while struct.unpack_from("<I", block, at)[0]:
            length, index, offset, _, size = struct.unpack_from("<BBHII", block, at)
            if index == 1:
                found[f"user.{block[at + 16:at + 16 + length].decode()}"] = block[offset:offset + size]
            at += (16 + length + 3) & ~3
        return found

    def node(self, ino: int) -> Node:
        """What an inode is."""
        raw = self.raw(ino)
        mode, = struct.unpack_from("<H", raw)
        links, = struct.unpack_from("<H", raw, 26)
        size, = struct.unpack_from("<I", raw, 4)
        kind = KINDS.get(mode >> 12, "other")
        content = b""
        if kind == "link" and size < 60:
            content = raw[40:40 + size]
        elif kind in ("file", "link"):
            content = self.content(raw)
        return Node(ino, kind, links, content, self.xattrs(raw))

    def entries(self, ino: int) -> dict[str, int]:
        """A directory's names, without ``.`` and ``..``."""
        data, names, at = self.content(self.raw(ino)), {}, 0
        while at < len(data):
            number, step, length = struct.unpack_from("<IHB", data, at)
            name = data[at + 8:at + 8 + length].decode(errors="replace")
            if number and name not in (".", ".."):
                names[name] = number
            at += max(step, 8)
        return names

    def walk(self, ino: int = 2, path: str = "") -> Iterator[tuple[str, Node]]:
        """Every name below a directory, the directories first."""
        for name, number in self.entries(ino).items():
            node = self.node(number)
            yield f"{path}/{name}", node
            if node.kind == "dir":
                yield from self.walk(number, f"{path}/{name}")
