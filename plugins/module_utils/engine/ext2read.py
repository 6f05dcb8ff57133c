# SPDX-License-Identifier: GPL-3.0-or-later
"""Reads ext2 file systems, without mounting and with suspicion: a guest wrote them.

Every number is checked before it is used, every loop is bounded, names that would leave a directory are refused.
Format: see :mod:`.ext2`.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from ansible_collections.uni.engine.plugins.module_utils.engine.errors import NotFoundError, StateError, UsageError
from ansible_collections.uni.engine.plugins.module_utils.engine.ext2journal import replayed

_MAGIC = 0xEF53
_ROOT_INODE = 2
# filetype, which is harmless to a reader, and "needs recovery": see ext2journal.
_KNOWN_INCOMPATIBLE = 0x2 | 0x4
_KINDS = {0o040000: "dir", 0o100000: "file", 0o120000: "link", 0o020000: "char", 0o060000: "block", 0o010000: "fifo",
          0o140000: "socket"}
_MAX_HOPS = 40
_MAX_DIRECTORY = 64 << 20
_RUN = 1 << 20


class Device(Protocol):
    """Where the bytes are."""

    size: int

    def read(self, offset: int, length: int) -> bytes:
        """Exactly ``length`` bytes from ``offset``; what is not there reads as zeros."""


@dataclass(frozen=True)
class Inode:
    """An inode. ``kind`` is as in :class:`.tree.Entry`, or "socket"; ``size`` is in bytes."""

    number: int
    kind: str
    mode: int
    uid: int
    gid: int
    size: int
    mtime: int
    links: int
    sectors: int
    block_data: bytes
    acl_block: int

    @property
    def device(self) -> tuple[int, int]:
        """Major and minor number of a device node: i_block[0] in the old encoding, else i_block[1] in the new one
        (Linux, fs/ext2/inode.c and include/linux/kdev_t.h).
        """
        old, new = struct.unpack_from("<II", self.block_data)
        if old:
            return old >> 8 & 0xFF, old & 0xFF
        return new >> 8 & 0xFFF, new & 0xFF | new >> 12 & 0xFFF00


class Ext2:
    """A file system on ``device``.

    :raises StateError: ``disk.not_ext2``, ``disk.unsupported``, ``disk.damaged``
    """

    def __init__(self, device: Device) -> None:
        self.device = device
        block = device.read(1024, 1024)
        if struct.unpack_from("<H", block, 56)[0] != _MAGIC:
            raise StateError("the disk holds no ext2 file system", code="disk.not_ext2",
                             hint="only ext2 disks can be read from outside of the VM")
        (self.inodes, self.blocks, _reserved, _free, _free_inodes, _first, log_block, _frag, self.blocks_per_group,
         _frags, self.inodes_per_group) = struct.unpack_from("<11I", block)
        revision = struct.unpack_from("<I", block, 76)[0]
        self.inode_size = struct.unpack_from("<H", block, 88)[0] if revision else 128
        unknown = struct.unpack_from("<I", block, 96)[0] & ~_KNOWN_INCOMPATIBLE if revision else 0
        if unknown:
            raise StateError(f"the disk's file system has features that ext2 has not (0x{unknown:x})",
                             code="disk.unsupported", hint="copy the files from inside of the VM")
        if log_block > 6 or not self.blocks_per_group or not self.inodes_per_group or not 128 <= self.inode_size <= (
                1024 << log_block):
            raise _damaged("its superblock makes no sense")
        self.block_size = 1024 << log_block
        first_data = struct.unpack_from("<I", block, 20)[0]
        self._descriptors = (first_data + 1) * self.block_size
        self.device = replayed(device, block) if revision else device

    # Inodes

    def inode(self, number: int) -> Inode:
        """The inode ``number``."""
        if not 1 <= number <= self.inodes:
            raise _damaged(f"there is no inode {number}")
        group, index = divmod(number - 1, self.inodes_per_group)
        table = struct.unpack("<I", self.device.read(self._descriptors + group * 32 + 8, 4))[0]
        if not table < self.blocks:
            raise _damaged(f"the inode table of group {group} is outside")
        raw = self.device.read(table * self.block_size + index * self.inode_size, 128)
        mode, uid, size, _atime, _ctime, mtime, _dtime, gid, links, sectors, _flags = struct.unpack_from(
            "<HHIIIIIHHII", raw)
        acl, high = struct.unpack_from("<II", raw, 104)
        uid_high, gid_high = struct.unpack_from("<HH", raw, 120)
        kind = _KINDS.get(mode & 0o170000)
        if kind is None:
            raise _damaged(f"inode {number} is of no known kind")
        return Inode(number, kind, mode & 0o7777, uid | uid_high << 16, gid | gid_high << 16,
                     size | (high << 32 if kind == "file" else 0), mtime, links, sectors, raw[40:100], acl)

    def lookup(self, path: str, *, follow: bool = True) -> Inode:
        """The inode at ``path``; symbolic links are followed inside the file system.

        :raises NotFoundError: code ``file.not_found``
        """
        parts = [part for part in path.split("/") if part not in ("", ".")]
        stack = [self.inode(_ROOT_INODE)]
        hops = 0
        while parts:
            part = parts.pop(0)
            if part == "..":
                stack = stack[:-1] or stack
                continue
            if stack[-1].kind != "dir":
                raise NotFoundError(f"{path} runs through something that is not a directory", code="file.not_found")
            number = dict(self.names(stack[-1])).get(part)
            if number is None:
                raise NotFoundError(f"there is no {path} on the disk", code="file.not_found", hint="check the path")
            found = self.inode(number)
            if found.kind == "link" and (parts or follow):
                hops += 1
                if hops > _MAX_HOPS:
                    raise UsageError(f"{path} runs through a loop of symbolic links", code="file.loop")
                target = self.target(found)
                if target.startswith("/"):
                    stack = stack[:1]
                parts = [piece for piece in target.split("/") if piece not in ("", ".")] + parts
            else:
                stack.append(found)
        return stack[-1]

    def names(self, directory: Inode) -> Iterator[tuple[str, int]]:
        """Names and inode numbers in a directory, without ``.`` and ``..``, in the order of the disk."""
        if directory.size > _MAX_DIRECTORY:
            raise _damaged(f"the directory of inode {directory.number} is absurdly large")
        for start, data in self.runs(directory):
            for at in range(0, len(data or b""), self.block_size):
                yield from self._block_names((data or b"")[at:at + self.block_size], directory.number, start)

    def _block_names(self, data: bytes, number: int, start: int) -> Iterator[tuple[str, int]]:
        at = 0
        while at + 8 <= len(data):
            inode, length, name_length, _kind = struct.unpack_from("<IHBB", data, at)
            if length < 8 or length % 4 or at + length > len(data) or name_length + 8 > length:
                raise _damaged(f"the directory of inode {number} is broken at byte {start + at}")
            name = data[at + 8:at + 8 + name_length]
            if inode and name not in (b".", b".."):
                if not name or b"/" in name or b"\0" in name:
                    raise _damaged(f"the directory of inode {number} has the illegal name {name!r}")
                yield name.decode("utf-8", "surrogateescape"), inode
            at += length

    def target(self, link: Inode) -> str:
        """Where a symbolic link points."""
        if link.size > 4096:
            raise _damaged(f"the symbolic link of inode {link.number} is absurdly long")
        own = link.sectors - (self.block_size // 512 if link.acl_block else 0)
        if own == 0 and link.size < 60:
            raw = link.block_data[:link.size]
        else:
            raw = b"".join(data or bytes(self.block_size) for _start, data in self.runs(link))[:link.size]
        return raw.decode("utf-8", "surrogateescape")

    # Contents

    def runs(self, inode: Inode) -> Iterator[tuple[int, bytes | None]]:
        """The contents as (offset, bytes) in order, at most 1 MiB each; None stands for a hole up to the next."""
        start = physical = count = 0
        for logical, block in enumerate(self._blocks(inode)):
            if count and block == physical + count and count * self.block_size < _RUN:
                count += 1
                continue
            if count:
                yield start * self.block_size, self._read_run(physical, count)
            start, physical, count = logical, block, 1 if block else 0
            if not block:
                yield logical * self.block_size, None
        if count:
            yield start * self.block_size, self._read_run(physical, count)

    def _read_run(self, physical: int, count: int) -> bytes:
        return self.device.read(physical * self.block_size, count * self.block_size)

    def _blocks(self, inode: Inode) -> Iterator[int]:
        """Block numbers of the contents, 0 for holes; as many as the size says."""
        left = -(-inode.size // self.block_size)
        pointers = struct.unpack("<15I", inode.block_data)
        for index, pointer in enumerate(pointers):
            depth = max(index - 11, 0)
            for block in self._tree(pointer, depth, left):
                if block >= self.blocks:
                    raise _damaged(f"inode {inode.number} points outside")
                left -= 1
                yield block
            if left <= 0:
                return
        raise _damaged(f"inode {inode.number} is larger than its blocks can be")

    def _tree(self, pointer: int, depth: int, left: int) -> Iterator[int]:
        reach = (self.block_size // 4) ** depth
        if left <= 0:
            return
        if depth == 0:
            yield pointer
        elif pointer == 0:
            yield from (0 for _block in range(min(reach, left)))
        else:
            if pointer >= self.blocks:
                raise _damaged("an indirect block is outside")
            table = struct.unpack(f"<{self.block_size // 4}I", self._read_run(pointer, 1))
            below = reach // (self.block_size // 4)
            for entry in table:
                if left <= 0:
                    return
                yield from self._tree(entry, depth - 1, left)
                left -= below

    def contents(self, inode: Inode) -> Iterator[tuple[int, bytes]]:
        """The parts of a file that are no holes, cut to its size."""
        for start, data in self.runs(inode):
            if data is not None:
                yield start, data[:max(inode.size - start, 0)]

    def read(self, path: str, *, limit: int = 16 << 20) -> bytes:
        """A whole small file.

        :raises UsageError: code ``file.kind``: it is no regular file, or larger than ``limit`` bytes
        """
        inode = self.lookup(path)
        if inode.kind != "file" or inode.size > limit:
            raise UsageError(f"{path} is no regular file of at most {limit} bytes", code="file.kind")
        result = bytearray(inode.size)
        for start, data in self.contents(inode):
            result[start:start + len(data)] = data
        return bytes(result)


def _damaged(why: str) -> StateError:
    return StateError(f"the disk's file system is damaged: {why}", code="disk.damaged",
                      hint="start the VM, or check the disk with e2fsck")
