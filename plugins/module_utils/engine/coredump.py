# SPDX-License-Identifier: GPL-3.0-or-later
"""Memory images that a debugger can read: virtual addresses for the ELF core of a guest's physical memory.

QEMU can translate addresses while it dumps, but follows whatever page tables a guest has made, without an end and while
nothing else is served; and it gives user addresses the upper half's prefix. Here the tables are followed afterwards, in
the file, and not further than ``MAX_TABLES``.

Sources: ELF-64 (System V ABI, chapters 4 and 5); Intel SDM volume 3, 4.5 (four-level paging); QEMU's note with the
processor's state, QEMUCPUState in target/i386/arch_dump.c.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Iterator
from pathlib import Path

from ansible_collections.uni.engine.plugins.module_utils.engine.errors import VerifyError

PT_LOAD, PT_NOTE = 1, 4
PRESENT, LARGE = 1, 1 << 7
ADDRESS = 0x000FFFFFFFFFF000
MAX_TABLES = 20000    # a gigabyte in single pages has 512 of the last level
MAX_SEGMENTS = 60000  # e_phnum has 16 bits, and the last values are taken
_HEADER = struct.Struct("<16sHHIQQQIHHHHHH")
_SEGMENT = struct.Struct("<IIQQQQQQ")
_NOTE_CR3 = 8 + 18 * 8 + 10 * 24 + 3 * 8  # version and size; 18 registers; 10 segments; CR0, CR1 and CR2

Run = tuple[int, int, int]  # virtual address, physical address, bytes


class Core:
    """A core as QEMU writes it: notes, and segments of physical memory."""

    def __init__(self, data: mmap.mmap) -> None:
        self.data = data
        try:
            fields = _HEADER.unpack_from(data)
            if fields[0][:6] != b"\x7fELF\2\1" or fields[1] != 4 or fields[9] != _SEGMENT.size:
                raise _malformed("it is no 64-bit ELF core")
            segments = [_SEGMENT.unpack_from(data, fields[5] + number * _SEGMENT.size) for number in range(fields[10])]
        except struct.error as error:
            raise _malformed(str(error)) from error
        self.notes = [segment for segment in segments if segment[0] == PT_NOTE]
        self.memory = [(segment[4], segment[2], min(segment[5], len(data) - segment[2]))
                       for segment in segments if segment[0] == PT_LOAD]

    def offset(self, physical: int) -> int:
        """Where a byte of physical memory is in the file; -1 where it is not."""
        for start, offset, size in self.memory:
            if start <= physical < start + size:
                return int(offset + physical - start)
        return -1

    def root(self) -> int:
        """The physical address of the first processor's page tables (CR3)."""
        for note in self.notes:
            at, end = note[2], min(note[2] + note[5], len(self.data))
            while at + 12 <= end:
                name, size, _kind = struct.unpack_from("<III", self.data, at)
                body = at + 12 + (name + 3 & ~3)
                if self.data[at + 12:at + 12 + name] == b"QEMU\0" and size >= _NOTE_CR3 + 8 and body + size <= end:
                    return int(struct.unpack_from("<Q", self.data, body + _NOTE_CR3)[0]) & ADDRESS
                at = body + (size + 3 & ~3)
        raise _malformed("QEMU's note with the processor's state is missing")

    def pages(self) -> Iterator[Run]:
        """What the page tables map, in the order of virtual addresses, as far as MAX_TABLES."""
        left = MAX_TABLES
        tables = [(self.root(), 39, 0, 0)]  # table, bits below its entries, virtual address, next entry
        while tables:
            table, shift, base, first = tables.pop()
            at = self.offset(table)
            if at < 0 or at + 4096 > len(self.data):
                continue
            for number, entry in enumerate(struct.unpack_from(f"<{512 - first}Q", self.data, at + first * 8), first):
                if not entry & PRESENT:
                    continue
                virtual = base | number << shift
                if shift == 12 or (shift in (21, 30) and entry & LARGE):
                    yield virtual, entry & ADDRESS & -(1 << shift), 1 << shift
                elif left:
                    left -= 1
                    tables.append((table, shift, base, number + 1))
                    tables.append((entry & ADDRESS, shift - 9, virtual, 0))
                    break

    def runs(self) -> Iterator[Run]:
        """Pages that follow each other, together; only what is memory."""
        last: Run = (0, 0, 0)
        for virtual, physical, size in self.pages():
            for start, _offset, length in self.memory:
                begin, end = max(physical, start), min(physical + size, start + length)
                if begin >= end:
                    continue
                at = virtual + begin - physical
                if last[2] and last[0] + last[2] == at and last[1] + last[2] == begin \
                        and self.offset(begin) - self.offset(last[1]) == last[2]:
                    last = (last[0], last[1], last[2] + end - begin)
                    continue
                if last[2]:
                    yield last
                last = (at, begin, end - begin)
        if last[2]:
            yield last


def add_virtual(path: Path) -> int:
    """Give the core at ``path`` the guest's virtual addresses; how many segments it has then.

    The segments of physical memory go: the kernel maps all of it, and each segment keeps its physical address.

    :raises VerifyError: code ``core.malformed``
    """
    with path.open("r+b") as file:
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            core = Core(data)
            segments = [_SEGMENT.pack(*note) for note in core.notes]
            for virtual, physical, size in core.runs():
                if len(segments) >= MAX_SEGMENTS:
                    break
                full = virtual | 0xFFFF << 48 if virtual >> 47 & 1 else virtual  # a canonical address
                segments.append(_SEGMENT.pack(PT_LOAD, 7, core.offset(physical), full, physical, size, size, 0))
            header = list(_HEADER.unpack_from(data))
        file.seek(0, 2)
        header[5], header[10] = -(-file.tell() // 8) * 8, len(segments)
        header[6] = header[12] = header[13] = 0  # QEMU writes no sections that a reader needs
        file.seek(header[5])
        file.write(b"".join(segments))
        file.seek(0)
        file.write(_HEADER.pack(*header))
    return len(segments)


def _malformed(what: str) -> VerifyError:
    return VerifyError(f"the memory image cannot be given virtual addresses: {what}", code="core.malformed")
