# SPDX-License-Identifier: GPL-3.0-or-later
"""Virtual addresses for a core: a small machine's page tables, and hostile ones."""

from __future__ import annotations

import random
import struct
from pathlib import Path

import pytest
from ansible_collections.uni.engine.plugins.module_utils.engine import coredump
from ansible_collections.uni.engine.plugins.module_utils.engine.errors import VerifyError

PAGE = 4096
MEMORY = 1 << 20   # bytes of the machine, at physical address 1 MiB
BASE = 1 << 20
HEAD = 0x1000      # where the memory is in the file


def core(memory: bytes, root: int = BASE) -> bytes:
    """A core as QEMU writes it."""
    state = bytearray(440)
    struct.pack_into("<Q", state, coredump._NOTE_CR3, root)
    note = struct.pack("<III", 5, len(state), 0) + b"QEMU\0\0\0\0" + bytes(state)
    segments = [coredump._SEGMENT.pack(coredump.PT_NOTE, 0, 0x200, 0, 0, len(note), len(note), 0),
                coredump._SEGMENT.pack(coredump.PT_LOAD, 0, HEAD, 0, BASE, len(memory), len(memory), 0)]
    header = coredump._HEADER.pack(b"\x7fELF\2\1\1" + bytes(9), 4, 62, 1, 0, 64, 0, 0, 64, 56, len(segments), 0, 0, 0)
    return (header + b"".join(segments)).ljust(0x200, b"\0").ljust(0x200) + note.ljust(HEAD - 0x200, b"\0") + memory


def machine(**entries: int) -> bytearray:
    """Memory with entries of tables: ``t0_5`` is entry 5 of the table in page 0."""
    memory = bytearray(MEMORY)
    for name, value in entries.items():
        page, _sep, number = name[1:].partition("_")
        struct.pack_into("<Q", memory, int(page) * PAGE + int(number) * 8, value)
    return memory


def at(page: int, flags: int = 3) -> int:
    """An entry that leads to a page."""
    return BASE + page * PAGE | flags


def segments(path: Path) -> list[tuple[int, int, int, int]]:
    """Virtual address, physical address, bytes, place in the file."""
    data = path.read_bytes()
    header = coredump._HEADER.unpack_from(data)
    found = [coredump._SEGMENT.unpack_from(data, header[5] + number * 56) for number in range(header[10])]
    return [(item[3], item[4], item[5], item[2]) for item in found if item[0] == coredump.PT_LOAD]


def test_addresses(tmp_path: Path) -> None:
    """User pages, two of them in a row; the kernel's upper half; a large page that is partly memory."""
    memory = machine(t0_0=at(1), t1_0=at(2), t2_2=at(3), t3_0=at(16), t3_1=at(17), t3_2=at(20), t3_3=0x7FFFF000 | 3,
                     t0_511=at(4), t4_510=at(5), t5_0=0x81 | 0)
    path = tmp_path / "core"
    path.write_bytes(core(bytes(memory)))
    assert coredump.add_virtual(path) == 4
    assert segments(path) == [
        (0x400000, BASE + 16 * PAGE, 2 * PAGE, HEAD + 16 * PAGE), (0x402000, BASE + 20 * PAGE, PAGE, HEAD + 20 * PAGE),
        (0xFFFFFFFF80000000 + BASE, BASE, MEMORY, HEAD)]
    assert path.read_bytes()[HEAD:HEAD + MEMORY] == bytes(memory), "the memory is as it was"


def test_tables_without_an_end(tmp_path: Path) -> None:
    """Every entry of the top table leads to itself: 2^36 pages, of which as many are looked at as there is patience."""
    path = tmp_path / "core"
    path.write_bytes(core(b"".join(struct.pack("<Q", at(0)) for _number in range(512)) + bytes(MEMORY - PAGE)))
    assert coredump.add_virtual(path) == coredump.MAX_SEGMENTS


def test_noise(tmp_path: Path) -> None:
    chance = random.Random(3)
    good = core(bytes(machine(t0_0=at(1), t1_0=at(2), t2_2=at(3), t3_0=at(16))))
    path = tmp_path / "core"
    for _turn in range(300):
        data = bytearray(good[:chance.choice((len(good), chance.randrange(1, 0x600)))])
        for _change in range(chance.randrange(1, 6)):
            data[chance.randrange(min(len(data), 0x600))] = chance.randrange(256)
        path.write_bytes(data)
        try:
            coredump.add_virtual(path)
        except VerifyError as error:
            assert error.code == "core.malformed"


def test_no_state(tmp_path: Path) -> None:
    path = tmp_path / "core"
    path.write_bytes(core(bytes(MEMORY)).replace(b"QEMU\0", b"QEMX\0"))
    with pytest.raises(VerifyError):
        coredump.add_virtual(path)
