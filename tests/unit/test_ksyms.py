# SPDX-License-Identifier: GPL-3.0-or-later
"""kernel/scripts/ksyms.py: which symbols the kernel's own table holds."""

from __future__ import annotations

import runpy
from pathlib import Path

KSYMS = runpy.run_path(str(Path(__file__).resolve().parents[2] / "kernel/scripts/ksyms.py"))

NM = """\
                 U elsewhere
ffffffff80000000 A kernel_base
ffffffff80100000 T pvh_entry
ffffffff80100000 T text_start
ffffffff80100100 t local
ffffffff80100200 W sys_read
ffffffff80100200 T sys_read_too
ffffffff80100300 w weak
ffffffff80101000 R table
ffffffff80101000 T text_end
"""


def test_every_symbol_of_the_text_is_in_the_table() -> None:
    """A backtrace through a system call (weak in the kernel) named the function before it."""
    assert KSYMS["read_symbols"](NM.splitlines()) == [(0, "pvh_entry"), (0x100, "local"), (0x200, "sys_read"), (0x300, "weak")]


def test_pairs_come_out_as_they_went_in() -> None:
    names = [list(name.encode()) for name in ("sys_read", "sys_write", "sys_readv")]
    pairs = KSYMS["compress"](names)
    assert [b"".join(KSYMS["expand"](byte, pairs) for byte in name) for name in names] == [b"sys_read", b"sys_write", b"sys_readv"]
    assert sum(map(len, names)) < len("sys_readsys_writesys_readv")
