# SPDX-License-Identifier: GPL-3.0-or-later
"""Which files a dynamic ELF executable needs: its interpreter and the libraries of its libraries (System V gABI, chapter 5)."""

from __future__ import annotations

import shutil
import struct
import subprocess
from dataclasses import dataclass
from pathlib import Path

PT_LOAD, PT_DYNAMIC, PT_INTERP = 1, 2, 3
DT_NEEDED, DT_STRTAB = 1, 5


@dataclass(frozen=True)
class Needs:
    """What one ELF file names."""

    interpreter: str
    libraries: tuple[str, ...]


def text_at(data: bytes, offset: int) -> str:
    return data[offset:data.index(b"\0", offset)].decode()


def needs(path: Path) -> Needs:
    """Read PT_INTERP and DT_NEEDED of a 64-bit little-endian ELF file; a file that is none needs nothing."""
    data = path.read_bytes()
    if data[:6] != b"\x7fELF\x02\x01":
        return Needs("", ())
    phoff, = struct.unpack_from("<Q", data, 32)
    entsize, count = struct.unpack_from("<HH", data, 54)
    headers = [struct.unpack_from("<IIQQQQQQ", data, phoff + index * entsize) for index in range(count)]
    loads = [(address, offset, size) for kind, _, offset, address, _, size, _, _ in headers if kind == PT_LOAD]
    interpreter = ""
    libraries: tuple[str, ...] = ()
    for kind, _, offset, _, _, size, _, _ in headers:
        if kind == PT_INTERP:
            interpreter = text_at(data, offset)
        elif kind == PT_DYNAMIC:
            entries = [struct.unpack_from("<qQ", data, offset + at) for at in range(0, size, 16)]
            strings = next((value for tag, value in entries if tag == DT_STRTAB), 0)
            base = next((start + strings - address for address, start, length in loads
                         if address <= strings < address + length), 0)
            libraries = tuple(text_at(data, base + value) for tag, value in entries if tag == DT_NEEDED)
    return Needs(interpreter, libraries)


def library_paths() -> dict[str, Path]:
    """The loader's cache: 64-bit library name to path."""
    text = subprocess.run(["/sbin/ldconfig", "-p"], capture_output=True, text=True, check=True).stdout
    found: dict[str, Path] = {}
    for line in text.splitlines():
        name, arrow, path = line.strip().partition(" => ")
        if arrow and "x86-64" in name:
            found.setdefault(name.split()[0], Path(path))
    return found


def gather(program: Path, tree: Path, extra: tuple[Path, ...] = ()) -> None:
    """Copy a program (its own path kept), ``extra`` shared objects, and all that they need into a tree.

    Raises FileNotFoundError where a needed library is not on this machine.
    """
    cache = library_paths()
    waiting, done = [program, *extra], set()
    while waiting:
        path = waiting.pop()
        if path in done:
            continue
        done.add(path)
        target = tree / str(path).lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(path.resolve(), target)
        found = needs(path)
        if found.interpreter:
            waiting.append(Path(found.interpreter))
        for name in found.libraries:
            if name not in cache:
                raise FileNotFoundError(f"{path} needs {name}, which is not installed")
            waiting.append(cache[name])
