# SPDX-License-Identifier: GPL-3.0-or-later
"""Makes small ELF files for tests."""

from __future__ import annotations

import struct

HEADER = struct.Struct("<16sHHIQQQIHHHHHH")
SEGMENT = struct.Struct("<IIQQQQQQ")
BASE = 0x400000


def elf(*, kind=2, machine=62, ident=b"\x7fELF\x02\x01\x01", interpreter=b"", needed=(), soname=b"", flags=0,
        runpath=b"", entry=None, base=BASE):
    """A small but complete ELF file: one PT_LOAD over everything, PT_INTERP and PT_DYNAMIC where asked for."""
    strings = b"\0"
    dynamic = []
    for tag, texts in ((1, needed), (14, (soname,) if soname else ()), (29, (runpath,) if runpath else ())):
        for text in texts:
            dynamic.append((tag, len(strings)))
            strings += text + b"\0"
    count = 1 + bool(interpreter) + bool(dynamic or flags)
    data = bytearray(64 + 56 * count)
    interp_at = len(data)
    data += interpreter + b"\0" if interpreter else b""
    strings_at = len(data)
    data += strings + bytes(-len(data + strings) % 16)
    dynamic_at = len(data)
    if dynamic or flags:
        dynamic += [(5, base + strings_at), (10, len(strings)), (0x6FFFFFFB, flags), (0, 0)]
        data += b"".join(struct.pack("<qQ", *item) for item in dynamic)
    segments = [(1, 0, len(data))]
    if interpreter:
        segments.append((3, interp_at, len(interpreter) + 1))
    if dynamic:
        segments.append((2, dynamic_at, len(data) - dynamic_at))
    for index, (segment, at, size) in enumerate(segments):
        SEGMENT.pack_into(data, 64 + 56 * index, segment, 5, at, base + at, base + at, size, size, 4096)
    start = base + 64 if entry is None else entry
    HEADER.pack_into(data, 0, ident.ljust(16, b"\0"), kind, machine, 1, start, 64, 0, 0, 64, 56, len(segments),
                     0, 0, 0)
    return bytes(data)
