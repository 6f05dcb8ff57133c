# SPDX-License-Identifier: GPL-3.0-or-later
"""The smallest guest there is: it writes its text to the first serial port and ends through isa-debug-exit.

It proves that an accelerator runs guest code at all, and it is the floor that boot times are compared with.
The ELF file is generated here, so that what it holds can be read. Boot protocol: Xen's PVH (32-bit protected
mode, flat segments), announced by the note XEN_ELFNOTE_PHYS32_ENTRY (18).
"""

from __future__ import annotations

import struct

COM1, COM2, EXIT_PORT = 0x3F8, 0x2F8, 0x501
BASE = 0x100000
_CODE_OFFSET = 0x1000


def out(port: int, data: bytes) -> bytes:
    """Code that writes ``data`` to an I/O port, byte by byte: mov dx, port; then mov al, byte; out dx, al."""
    return b"\x66\xba" + struct.pack("<H", port) + b"".join(b"\xb0" + bytes([byte]) + b"\xee" for byte in data)


def out_patiently(port: int, data: bytes) -> bytes:
    """As :func:`out`, waiting before each byte until the UART has room (line status register, bit 5).

    mov dx, port + 5; in al, dx; test al, 0x20; jz back.
    """
    wait = b"\x66\xba" + struct.pack("<H", port + 5) + b"\xec\xa8\x20\x74\xfb"
    return b"".join(wait + out(port, bytes([byte])) for byte in data)


def leave(code: int) -> bytes:
    """Code that ends QEMU with exit status ``code * 2 + 1``; without the device the CPU halts for good."""
    return out(EXIT_PORT, bytes([code])) + halt()


def halt() -> bytes:
    """Code that stops the CPU for good, at no cost for the host: cli; hlt; jmp back."""
    return b"\xfa\xf4\xeb\xfd"


def elf(code: bytes) -> bytes:
    """An ELF64 image of ``code`` with a PVH note."""
    entry = BASE + _CODE_OFFSET
    note = struct.pack("<III4sI", 4, 4, 18, b"Xen\0", entry)
    note_offset = 64 + 2 * 56
    size = _CODE_OFFSET + len(code)
    header = b"\x7fELF\x02\x01\x01".ljust(16, b"\0") + struct.pack(
        "<HHIQQQIHHHHHH", 2, 62, 1, entry, 64, 0, 0, 64, 56, 2, 0, 0, 0)
    load = struct.pack("<IIQQQQQQ", 1, 5, 0, BASE, BASE, size, size, 0x1000)
    notes = struct.pack("<IIQQQQQQ", 4, 4, note_offset, BASE + note_offset, BASE + note_offset,
                        len(note), len(note), 4)
    return (header + load + notes + note).ljust(_CODE_OFFSET, b"\0") + code


def probe(text: bytes = b"U\n") -> bytes:
    """The probe's image: ``text`` on the console, then the end with status 1 (success)."""
    return elf(out(COM1, text) + leave(0))
