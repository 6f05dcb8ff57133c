# SPDX-License-Identifier: GPL-3.0-or-later
"""The journal that Uni's kernel leaves on an ext2 when it is killed: read over it, as if it had been replayed.

Format: JBD2 (Linux, Documentation/filesystems/ext4/journal.rst), in the form that ``kernel/fs/ext2_journal.c`` writes:
inode 8 leads to neighboring blocks, no revoke records, no checksums. Another journal is no concern of an ext2 reader
and is left alone.
"""

from __future__ import annotations

import struct
from typing import Protocol

_RECOVER = 0x4
_INODE = 8
_MAGIC, _DESCRIPTOR, _COMMIT, _SUPER = 0xC03B3998, 1, 2, 4
_ESCAPED, _SAME_UUID, _LAST = 1, 2, 8
_FILE_BLOCKS = 1024
_LONGEST = 513


class _Source(Protocol):
    size: int

    def read(self, offset: int, length: int) -> bytes:
        """Bytes of the disk."""


class Replayed:
    """A device whose blocks are those of the journal where it holds newer ones."""

    def __init__(self, device: _Source, blocks: dict[int, bytes], block_size: int) -> None:
        self.device = device
        self.size = device.size
        self._blocks = blocks
        self._block_size = block_size

    def read(self, offset: int, length: int) -> bytes:
        """See :class:`.ext2read.Device`."""
        data = bytearray(self.device.read(offset, length))
        for number in range(offset // self._block_size, -(-(offset + length) // self._block_size)):
            newer = self._blocks.get(number)
            if newer is not None:
                start = number * self._block_size
                begin, end = max(start, offset), min(start + self._block_size, offset + length)
                data[begin - offset:end - offset] = newer[begin - start:end - start]
        return bytes(data)


def replayed(device: _Source, superblock: bytes) -> _Source:
    """``device`` with its journal, if it has one of ours that waits for its replay; else ``device`` itself.

    :param superblock: the 1,024 bytes at byte 1,024, which :class:`.ext2read.Ext2` has looked over
    """
    waits = struct.unpack_from("<I", superblock, 96)[0] & _RECOVER
    if not waits or struct.unpack_from("<I", superblock, 224)[0] != _INODE:
        return device
    size = 1024 << struct.unpack_from("<I", superblock, 24)[0]
    first_data = struct.unpack_from("<I", superblock, 20)[0]
    inode_size = struct.unpack_from("<H", superblock, 88)[0]
    table = struct.unpack("<I", device.read((first_data + 1) * size + 8, 4))[0]
    raw = device.read(table * size + (_INODE - 1) * inode_size, 128)
    direct = struct.unpack_from("<12I", raw, 40)
    neighbors = list(direct) == list(range(direct[0], direct[0] + 12))
    if not neighbors or struct.unpack_from("<I", raw, 4)[0] != _FILE_BLOCKS * size:
        return device
    blocks = _blocks(device, direct[0], size)
    return Replayed(device, blocks, size) if blocks else device


def _blocks(device: _Source, first: int, size: int) -> dict[int, bytes]:
    """The newest version of every block in the log."""
    found: dict[int, bytes] = {}
    magic, kind, _sequence, block_size, length, _first, sequence, at, _error = struct.unpack_from(
        ">9I", device.read(first * size, size))
    if (magic, kind, block_size) != (_MAGIC, _SUPER, size) or not 0 < at < length <= _LONGEST:
        return found
    log = device.read(first * size, length * size)
    while at < length:
        tags = _tags(log[at * size:(at + 1) * size], sequence)
        end = at + len(tags) + 1
        if not tags or end >= length or struct.unpack_from(">3I", log, end * size) != (_MAGIC, _COMMIT, sequence):
            break
        for index, (number, flags) in enumerate(tags, at + 1):
            data = log[index * size:(index + 1) * size]
            found[number] = struct.pack(">I", _MAGIC) + data[4:] if flags & _ESCAPED else data
        at, sequence = end + 1, sequence + 1
    return found


def _tags(block: bytes, sequence: int) -> list[tuple[int, int]]:
    """Block numbers and flags of a descriptor; nothing where it is none or is damaged."""
    if struct.unpack_from(">3I", block) != (_MAGIC, _DESCRIPTOR, sequence):
        return []
    tags: list[tuple[int, int]] = []
    at = 12
    while at + 8 <= len(block):
        number, _checksum, flags = struct.unpack_from(">IHH", block, at)
        tags.append((number, flags))
        if flags & _LAST:
            return tags
        at += 8 if flags & _SAME_UUID else 24
    return []
