# SPDX-License-Identifier: GPL-3.0-or-later
"""From starting QEMU to the program's first line, against a bare guest that prints one character."""

from __future__ import annotations

import subprocess
from pathlib import Path

from common import BUILD, KERNEL, disk, first_output, hello, measure, qemu, report, uni_options

# The smallest guest there is: QEMU enters at the PVH note's address in 32-bit mode.
BARE = """
    .section .note, "a"
    .long 4, 4, 18          # name size, descriptor size, XEN_ELFNOTE_PHYS32_ENTRY (Xen, elfnote.h)
    .asciz "Xen"
    .long _start
    .text
    .code32
    .globl _start
_start:
    movw $0x3f8, %dx
    movb $'x', %al
    outb %al, %dx
    movw $0x501, %dx
    outb %al, %dx
1:  hlt
    jmp 1b
"""


def bare() -> Path:
    """Assemble and link the bare guest."""
    BUILD.mkdir(parents=True, exist_ok=True)
    source, target = BUILD / "bare.S", BUILD / "bare.elf"
    source.write_text(BARE)
    subprocess.run(["gcc", "-c", "-o", BUILD / "bare.o", source], check=True)
    subprocess.run(["ld", "-Ttext=0x100000", "-z", "max-page-size=4096", "-N", "-o", target, BUILD / "bare.o"],
                   check=True)
    return target


def main() -> None:
    base, image = bare(), disk(hello())
    times = measure({
        "Uni, hello": lambda: first_output(qemu(KERNEL, *uni_options(image))),
        "bare QEMU microvm": lambda: first_output(qemu(base)),
    }, rounds=15)
    report("Start to first line", times, "Uni, hello", "bare QEMU microvm", "aim: at most 1.2")


if __name__ == "__main__":
    main()
