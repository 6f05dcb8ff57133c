# SPDX-License-Identifier: Apache-2.0
"""Turn `nm -n` of the first link into the source of the kernel's symbol table (lib/ksyms.c reads it).

Names share most of their parts, so the pair of bytes that is most frequent becomes one byte that no name has, again and
again (byte pair encoding: Philip Gage, The C Users Journal, February 1994): half the size for a dozen lines to read it.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable

FIRST_TOKEN = 128       # names are ASCII
TOKENS = 128


def read_symbols(lines: Iterable[str]) -> list[tuple[int, str]]:
    """(offset from text_start, name) of each function, in the order of their addresses."""
    found = [(int(fields[0], 16), fields[2]) for fields in map(str.split, lines) if len(fields) == 3]
    place = {name: address for address, name in found}
    symbols: dict[int, str] = {}
    for address, name in found:     # weak ones, too: the system calls are
        if name not in ("text_start", "text_end") and place["text_start"] <= address < place["text_end"]:
            symbols.setdefault(address - place["text_start"], name)
    return sorted(symbols.items())


def compress(names: list[list[int]]) -> list[tuple[int, int]]:
    """Replace frequent pairs in `names` by tokens; the pair that each token stands for."""
    pairs: list[tuple[int, int]] = []
    for token in range(FIRST_TOKEN, FIRST_TOKEN + TOKENS):
        count = Counter(pair for name in names for pair in zip(name, name[1:]))
        if not count:
            break
        best = max(count, key=lambda pair: (count[pair], pair))
        pairs.append(best)
        for name in names:
            at = 0
            while at + 1 < len(name):
                if (name[at], name[at + 1]) == best:
                    name[at:at + 2] = [token]
                at += 1
    return pairs


def expand(token: int, pairs: list[tuple[int, int]]) -> bytes:
    """What a byte of a compressed name stands for."""
    if token < FIRST_TOKEN:
        return bytes([token])
    return b"".join(expand(half, pairs) for half in pairs[token - FIRST_TOKEN])


def numbers(directive: str, values: Iterable[int]) -> str:
    """One assembler line."""
    return f"{directive} {', '.join(str(value) for value in values)}"


def main() -> None:
    symbols = read_symbols(sys.stdin)
    names = [list(name.encode("ascii")) for _offset, name in symbols]
    pairs = compress(names)
    for (_offset, name), coded in zip(symbols, names):
        if len(coded) > 255 or b"".join(expand(byte, pairs) for byte in coded) != name.encode("ascii"):
            sys.exit(f"ksyms: {name} does not come out as it went in")
    print('.section .ksyms, "a"\n.balign 4\n.globl ksyms_count, ksyms_step, ksyms_pairs, ksyms_names')
    print(f"ksyms_count: .long {len(symbols)}\nksyms_step:")     # of each offset beyond the one before it
    previous = 0
    for offset, _name in symbols:
        if offset - previous > 0xffff:
            sys.exit(f"ksyms: a function of more than 64 KiB before offset {offset}")
        print(f".short {offset - previous}")
        previous = offset
    print("ksyms_pairs:")
    for pair in pairs:
        print(numbers(".byte", pair))
    print("ksyms_names:")
    for name in names:
        print(numbers(".byte", [len(name), *name]))
    print('.section .note.GNU-stack, "", @progbits')


if __name__ == "__main__":
    main()
