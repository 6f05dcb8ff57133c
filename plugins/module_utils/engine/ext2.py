# SPDX-License-Identifier: GPL-3.0-or-later
"""Writes an ext2 file system, byte for byte reproducible.

Why not ``mke2fs -d``: it numbers inodes in the order of readdir(3), copies change times that nobody can set,
and its defaults differ between releases, so that equal trees gave unequal disks on two hosts. Here every
byte follows from the tree. What comes out is what ``mke2fs -t ext2 -b 4096 -I 256 -O
none,filetype,sparse_super,large_file, ext_attr`` lays out, and ``e2fsck -f`` finds nothing to say about it.

Format: "The Second Extended File System, Internal Layout" (D. Poirier) and Documentation/filesystems/ext4 of
Linux (the parts that ext2 shares).
"""

from __future__ import annotations

import hashlib
import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from ansible_collections.uni.engine.plugins.module_utils.engine.errors import UsageError, VerifyError
from ansible_collections.uni.engine.plugins.module_utils.engine.tree import FIXED_TIME, Content, Entry, Tree

# A page of the guest's page cache is one block: no partial pages, one request per page.
BLOCK = 4096
_INODE_SIZE = 256
_PER_GROUP = BLOCK * 8
_POINTERS = BLOCK // 4
_FIRST_INODE, _ROOT_INODE = 11, 2
_UUID = bytes.fromhex("756e69000000400080000000656e6769")
_ZERO, _ZERO_RUN = bytes(BLOCK), bytes(1 << 20)
_KIND_BITS = {"file": 0o100000, "dir": 0o040000, "link": 0o120000, "char": 0o020000, "block": 0o060000,
              "fifo": 0o010000}
# The directory entry's type byte, EXT2_FT_*.
_KIND_TYPES = {"file": 1, "dir": 2, "char": 3, "block": 4, "fifo": 5, "link": 7}
_INODE = struct.Struct("<HHIIIIIHHIII60sIIIIHHHHHHHHIIIIIII")
_MAX_TIME = (1 << 31) - 1
_MAX_BLOCKS = 1 << 31
_WRITE_RUN = 1024
_MINIMUM_HEADROOM = 16 << 20
_MIB = 1 << 20


@dataclass
class _Node:
    """One inode to be written, and the names in it when it is a directory."""

    number: int
    entry: Entry
    links: int = 1
    names: list[tuple[bytes, int, int]] = field(default_factory=list)


@dataclass(frozen=True)
class Geometry:
    """Sizes of the parts of a file system, in blocks of 4096 bytes and in inodes."""

    blocks: int
    groups: int
    inodes_per_group: int

    @property
    def table_blocks(self) -> int:
        return self.inodes_per_group * _INODE_SIZE // BLOCK

    @property
    def descriptor_blocks(self) -> int:
        return -(-self.groups * 32 // BLOCK)

    def overhead(self, group: int) -> int:
        """Blocks of ``group`` that hold metadata: copies of superblock and descriptors, bitmaps, inode
        table.
        """
        copies = 1 + self.descriptor_blocks if _has_copy(group) else 0
        return copies + 2 + self.table_blocks

    def length(self, group: int) -> int:
        """Blocks in ``group``; only the last one may be short."""
        return min(_PER_GROUP, self.blocks - group * _PER_GROUP)

    @property
    def data_blocks(self) -> int:
        return self.blocks - sum(self.overhead(group) for group in range(self.groups))


def _has_copy(group: int) -> bool:
    """sparse_super: copies stand in group 0 and in powers of 3, 5 and 7 (1 is 3 to the 0)."""
    if group <= 1:
        return True
    for base in (3, 5, 7):
        power = base
        while power < group:
            power *= base
        if power == group:
            return True
    return False


def write_ext2(tree: Tree, out: Path, *, size: int | None = None, label: str = "") -> int:
    """Write ``tree`` as a sparse ext2 image to ``out`` and return its size in bytes.

    :param size: bytes of the image; by default the contents, a quarter more and at least 16 MiB of room
    :raises UsageError: code ``disk.too_small``, ``disk.name_too_long``
    :raises VerifyError: code ``disk.source_changed``: a file changed since the tree was made
    :raises OSError: the caller knows what to call it
    """
    nodes = _number(tree)
    need = sum(_blocks_of(node) for node in nodes) + 1
    geometry = _geometry(need, len(nodes), size)
    fd = os.open(out, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
    try:
        total = size - size % 512 if size else geometry.blocks * BLOCK
        os.ftruncate(fd, total)
        _Writer(fd, geometry, label).write(nodes)
        os.fsync(fd)
    finally:
        os.close(fd)
    return total


def _number(tree: Tree) -> list[_Node]:
    """Give every inode its number: root 2, lost+found 11, the others in the order of their paths."""
    nodes: list[_Node] = []
    numbers: dict[str, _Node] = {}
    shared: dict[object, _Node] = {}
    lost = Entry("dir", 0o700)
    entries = [(path, entry) for path, entry in tree.sorted() if path != "/lost+found"]
    entries.insert(1, ("/lost+found", lost))
    for path, entry in entries:
        parent_path, _slash, name = path.rpartition("/")
        node = shared.get(entry.inode) if entry.inode is not None else None
        if node is None:
            number = _ROOT_INODE if path == "/" else _FIRST_INODE + len(nodes) - 1
            node = _Node(number, entry, links=0)
            nodes.append(node)
            if entry.inode is not None:
                shared[entry.inode] = node
        numbers[path] = node
        parent = node if path == "/" else numbers[parent_path or "/"]
        raw = os.fsencode(name)
        if len(raw) > 255:
            raise UsageError(f"the name {name[:40]}... is longer than 255 bytes", code="disk.name_too_long")
        if path != "/":
            parent.names.append((raw, node.number, _KIND_TYPES[entry.kind]))
        node.links += 1
        if entry.kind == "dir":
            node.links += 1
            node.names[:0] = [(b".", node.number, 2), (b"..", parent.number, 2)]
            parent.links += 1 if path != "/" else 0
    return nodes


def _blocks_of(node: _Node) -> int:
    """At most this many blocks: the data and its indirect blocks."""
    entry = node.entry
    if entry.kind == "file" and entry.content:
        data = -(-entry.content.size // BLOCK)
    elif entry.kind == "dir":
        data = len(_directory_blocks(node.names))
    elif entry.kind == "link":
        data = 1 if len(os.fsencode(entry.target)) >= 60 else 0
    else:
        data = 0
    indirect = -(-max(data - 12, 0) // _POINTERS)
    return data + indirect + -(-indirect // _POINTERS) + (2 if indirect > _POINTERS else 0)


def _geometry(need: int, inodes: int, size: int | None) -> Geometry:
    """The smallest layout with room, or the layout of ``size`` bytes."""
    if size is not None:
        geometry = _layout(size // BLOCK, inodes)
        if geometry is None or geometry.data_blocks < need:
            raise UsageError(
                f"the contents need {need * BLOCK // _MIB + 1} MiB, which does not fit in a disk of"
                f" {size // _MIB} MiB", code="disk.too_small", hint="ask for a larger disk")
        return geometry
    wanted = need + max(need // 4, _MINIMUM_HEADROOM // BLOCK)
    step = _MIB // BLOCK
    blocks = -(-wanted // step) * step
    while True:
        geometry = _layout(blocks, inodes)
        if geometry is not None and geometry.data_blocks >= wanted:
            return geometry
        missing = wanted - (geometry.data_blocks if geometry else 0)
        blocks += max(-(-missing // step) * step, step)


def _layout(blocks: int, inodes: int) -> Geometry | None:
    """``blocks`` divided into groups; a last group too small to be of use is dropped."""
    if blocks > _MAX_BLOCKS:
        raise UsageError("a disk of more than 8 TiB is not possible", code="disk.too_large")
    groups = -(-blocks // _PER_GROUP)
    if groups == 0:
        return None
    # One inode for each 16 KiB, as mke2fs has it, and a quarter more than the tree needs.
    wanted = max(inodes + inodes // 4 + _FIRST_INODE + 16, blocks * BLOCK // 16384)
    per_block = BLOCK // _INODE_SIZE
    each = -(-wanted // groups)
    per_group = -(-each // per_block) * per_block
    if per_group > _PER_GROUP:
        return None
    geometry = Geometry(blocks, groups, per_group)
    last = geometry.length(groups - 1)
    if last < geometry.overhead(groups - 1) + 50:
        return _layout((groups - 1) * _PER_GROUP, inodes) if groups > 1 else None
    return geometry


def _directory_blocks(names: list[tuple[bytes, int, int]]) -> list[bytes]:
    """Linear directory blocks: the last entry of each runs to the block's end."""
    blocks: list[bytes] = []
    current = bytearray()
    last = 0
    for name, inode, kind in names:
        length = 8 + -(-len(name) // 4) * 4
        if len(current) + length > BLOCK:
            struct.pack_into("<H", current, last + 4, BLOCK - last)
            blocks.append(bytes(current).ljust(BLOCK, b"\0"))
            current = bytearray()
        last = len(current)
        current += struct.pack("<IHBB", inode, length, len(name), kind) + name.ljust(length - 8, b"\0")
    struct.pack_into("<H", current, last + 4, BLOCK - last)
    blocks.append(bytes(current).ljust(BLOCK, b"\0"))
    return blocks


class _Writer:
    """Hands out blocks from front to back and writes what goes into them."""

    def __init__(self, fd: int, geometry: Geometry, label: str) -> None:
        self.fd = fd
        self.geometry = geometry
        self.label = label
        self.free = self._free_blocks()
        self.used = 0
        self.run_start = 0
        self.run: list[bytes] = []

    def _free_blocks(self) -> Iterator[int]:
        for group in range(self.geometry.groups):
            start = group * _PER_GROUP
            yield from range(start + self.geometry.overhead(group), start + self.geometry.length(group))

    def take(self) -> int:
        """The next free block."""
        self.used += 1
        return next(self.free)

    def put(self, block: int, data: bytes) -> None:
        """Write one block; neighbors go out together."""
        if self.run and (block != self.run_start + len(self.run) or len(self.run) >= _WRITE_RUN):
            self.flush()
        if not self.run:
            self.run_start = block
        self.run.append(data)

    def flush(self) -> None:
        """Write what :meth:`put` has gathered."""
        if self.run:
            _pwrite(self.fd, b"".join(self.run), self.run_start * BLOCK)
            self.run = []

    def write(self, nodes: list[_Node]) -> None:
        """The whole file system: data, then inodes, then the bookkeeping."""
        directories = [0] * self.geometry.groups
        tables: dict[int, bytearray] = {}
        per_block = BLOCK // _INODE_SIZE
        for node in nodes:
            index = node.number - 1
            group, slot = divmod(index, self.geometry.inodes_per_group)
            first = group * _PER_GROUP + self.geometry.overhead(group) - self.geometry.table_blocks
            table = tables.setdefault(first + slot // per_block, bytearray(BLOCK))
            offset = slot % per_block * _INODE_SIZE
            inode = self._inode(node)
            table[offset:offset + len(inode)] = inode
            directories[group] += node.entry.kind == "dir"
        self.flush()
        for block, data in tables.items():
            self.put(block, bytes(data))
        self.flush()
        self._bookkeeping(nodes[-1].number if len(nodes) > 1 else _FIRST_INODE, directories)

    def _inode(self, node: _Node) -> bytes:
        entry = node.entry
        size, pointers, sectors = 0, bytes(60), 0
        before = self.used
        if entry.kind == "file" and entry.content:
            size = entry.content.size
            pointers = self._map(self._file_blocks(entry.content))
        elif entry.kind == "dir":
            blocks = _directory_blocks(node.names)
            size = len(blocks) * BLOCK
            pointers = self._map(iter(blocks))
        elif entry.kind == "link":
            target = os.fsencode(entry.target)
            size = len(target)
            # A target that fits into the block pointers stands there ("fast" symbolic link).
            pointers = target.ljust(60, b"\0") if size < 60 else self._map(iter([target.ljust(BLOCK, b"\0")]))
        elif entry.kind in ("char", "block"):
            major, minor = entry.device
            # Linux's new encoding in the second word; the old one in the first where it fits
            # (old_encode_dev).
            old = major < 256 and minor < 256
            pointers = struct.pack("<II", major << 8 | minor if old else 0, 0 if old else (
                minor & 0xFF | major << 8 | (minor & ~0xFF) << 12)).ljust(60, b"\0")
        sectors = (self.used - before) * (BLOCK // 512)
        time = min(max(entry.mtime, 0), _MAX_TIME)
        return _INODE.pack(
            _KIND_BITS[entry.kind] | entry.mode & 0o7777, entry.uid & 0xFFFF, size & 0xFFFFFFFF, time, time,
            time, 0, entry.gid & 0xFFFF, node.links, sectors, 0, 0, pointers, 0, 0, size >> 32, 0, 0, 0,
            entry.uid >> 16 & 0xFFFF, entry.gid >> 16 & 0xFFFF, 0, 0, 32, 0, 0, 0, 0, time, 0, 0, 0)

    def _file_blocks(self, content: Content) -> Iterator[bytes]:
        """The file's blocks; an empty one stands for a block of zeros, which becomes a hole."""
        digest = hashlib.sha256()
        size = 0
        for chunk in content.chunks():
            digest.update(chunk)
            size += len(chunk)
            if chunk == _ZERO_RUN:
                yield from [b""] * (len(chunk) // BLOCK)
                continue
            for start in range(0, len(chunk), BLOCK):
                block = chunk[start:start + BLOCK]
                if len(block) < BLOCK:
                    block = block.ljust(BLOCK, b"\0")
                yield b"" if block == _ZERO else block
        if size != content.size or digest.hexdigest() != content.digest:
            raise VerifyError(f"{content.path} changed while it was being read", code="disk.source_changed",
                              hint="build again when nothing writes to it")

    def _map(self, blocks: Iterator[bytes]) -> bytes:
        """Store ``blocks`` and return the inode's 15 pointers: 12 direct, then 1, 2 and 3 levels of
        indirection.

        The data stands in one piece, the indirect blocks behind it: a reader fetches whole runs.
        """
        numbers = [self._store(block) for block in blocks]
        pointers = (numbers[:12] + [0] * 12)[:12]
        start = 12
        for depth in (1, 2, 3):
            reach = _POINTERS ** depth
            pointers.append(self._indirect(numbers, start, depth))
            start += reach
        return struct.pack("<15I", *pointers)

    def _store(self, block: bytes) -> int:
        if not block:
            return 0
        number = self.take()
        self.put(number, block)
        return number

    def _indirect(self, numbers: list[int], start: int, depth: int) -> int:
        """The block that leads to ``numbers`` from ``start`` by ``depth`` levels; 0 when all of it is
        hole.
        """
        if start >= len(numbers):
            return 0
        if depth == 1:
            pointers = numbers[start:start + _POINTERS]
        else:
            step = _POINTERS ** (depth - 1)
            end = min(start + step * _POINTERS, len(numbers))
            pointers = [self._indirect(numbers, first, depth - 1) for first in range(start, end, step)]
        if not any(pointers):
            return 0
        return self._store(struct.pack(f"<{len(pointers)}I", *pointers).ljust(BLOCK, b"\0"))

    def _bookkeeping(self, last_inode: int, directories: list[int]) -> None:
        """Bitmaps, group descriptors, superblock and their copies."""
        geometry = self.geometry
        descriptors = bytearray()
        free_blocks = free_inodes = 0
        left = self.used
        for group in range(geometry.groups):
            start, overhead, length = group * _PER_GROUP, geometry.overhead(group), geometry.length(group)
            taken = min(left, length - overhead)
            left -= taken
            inodes = min(max(last_inode - group * geometry.inodes_per_group, 0), geometry.inodes_per_group)
            bitmap = start + overhead - geometry.table_blocks - 2
            _pwrite(self.fd, _bitmap(overhead + taken, length) + _bitmap(inodes, geometry.inodes_per_group),
                    bitmap * BLOCK)
            spare = length - overhead - taken
            descriptors += struct.pack("<IIIHHHH12x", bitmap, bitmap + 1, bitmap + 2, spare,
                                       geometry.inodes_per_group - inodes, directories[group], 0)
            free_blocks += spare
            free_inodes += geometry.inodes_per_group - inodes
        table = bytes(descriptors).ljust(geometry.descriptor_blocks * BLOCK, b"\0")
        for group in range(geometry.groups):
            if _has_copy(group):
                block = self._superblock(group, free_blocks, free_inodes)
                # The first copy stands 1024 bytes into the first block, the others at their block's start.
                head = (bytes(1024) if group == 0 else b"") + block
                _pwrite(self.fd, head.ljust(BLOCK, b"\0") + table, group * _PER_GROUP * BLOCK)

    def _superblock(self, group: int, free_blocks: int, free_inodes: int) -> bytes:
        geometry = self.geometry
        block = bytearray(1024)
        struct.pack_into(
            "<13IHHHHHHIIIIHHIHHIII16s16s", block, 0,
            geometry.inodes_per_group * geometry.groups, geometry.blocks, 0, free_blocks, free_inodes, 0, 2,
            2, _PER_GROUP, _PER_GROUP, geometry.inodes_per_group, 0, FIXED_TIME, 0, 0xFFFF, 0xEF53, 1, 1, 0,
            FIXED_TIME, 0, 0, 1, 0, 0, _FIRST_INODE, _INODE_SIZE, group,
            # Features: ext_attr; filetype, which old readers must know; sparse_super and large_file.
            0x8, 0x2, 0x3,
            _UUID, os.fsencode(self.label)[:16])
        struct.pack_into("<16sB", block, 236, _UUID, 1)
        struct.pack_into("<I", block, 264, FIXED_TIME)
        struct.pack_into("<HH", block, 348, 32, 32)
        return bytes(block)


def _bitmap(used: int, length: int) -> bytes:
    """``used`` ones, zeros up to ``length``, and ones for the bits that stand for nothing."""
    bits = (1 << used) - 1 | ((1 << _PER_GROUP) - 1) >> length << length
    return bits.to_bytes(BLOCK, "little")


def _pwrite(fd: int, data: bytes, offset: int) -> None:
    view = memoryview(data)
    while view:
        written = os.pwrite(fd, view, offset)
        view = view[written:]
        offset += written
