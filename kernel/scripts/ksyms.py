# SPDX-License-Identifier: Apache-2.0
"""Turn `nm -n` of the first link into the source of the kernel's symbol table (boot/panic.c reads it)."""

from __future__ import annotations

import sys


def main() -> None:
    symbols: list[tuple[int, str]] = []
    text = 0
    for line in sys.stdin:
        fields = line.split()
        if len(fields) != 3:
            continue
        address, kind, name = int(fields[0], 16), fields[1], fields[2]
        if name == "text_start":
            text = address
        elif kind in "tT" and name != "text_end" and (not symbols or symbols[-1][0] != address):
            symbols.append((address, name))
    symbols = [(address - text, name) for address, name in symbols if address >= text]
    print('.section .ksyms, "a"\n.balign 4\n.globl ksyms_count, ksyms_offset, ksyms_names')
    print(f"ksyms_count: .long {len(symbols)}\nksyms_offset:")
    for offset, _name in symbols:
        print(f".long {offset}")
    print("ksyms_names:")
    for _offset, name in symbols:
        print(f'.asciz "{name}"')
    print('.section .note.GNU-stack, "", @progbits')


if __name__ == "__main__":
    main()
