# SPDX-License-Identifier: GPL-3.0-or-later
"""What an executable is, and what it needs: a small, suspicious reader of ELF files.

Formats: System V ABI, chapters 4 and 5 (ELF header, program headers, dynamic section); the x86-64 psABI.
Every length in the file is checked against the file before it is used.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ansible_collections.uni.engine.plugins.module_utils.engine.errors import (
    NotFoundError,
    UniError,
    UsageError,
)

_ET_NAMES = {1: "an object file", 4: "a core dump"}
_EM_X86_64 = 62
_MACHINES = {
    2: "SPARC", 3: "i386", 8: "MIPS", 20: "PowerPC", 21: "ppc64", 22: "s390x", 40: "ARM", 43: "sparc64",
    _EM_X86_64: "x86_64", 183: "aarch64", 243: "RISC-V", 247: "BPF", 258: "LoongArch",
}
_PT_LOAD, _PT_DYNAMIC, _PT_INTERP = 1, 2, 3
_DT_NEEDED, _DT_STRTAB, _DT_STRSZ, _DT_SONAME, _DT_RPATH, _DT_RUNPATH = 1, 5, 10, 14, 15, 29
_DT_FLAGS_1, _DF_1_PIE = 0x6FFFFFFB, 0x08000000
_HEADER = struct.Struct("<16sHHIQQQIHHHHHH")
_PROGRAM_HEADER = struct.Struct("<IIQQQQQQ")
_DYNAMIC_ENTRY = struct.Struct("<qQ")
# Far above anything a linker writes; bounds the work on hostile input.
_MAX_HEADERS, _MAX_DYNAMIC, _MAX_STRING = 512, 1 << 20, 4096


@dataclass(frozen=True)
class ElfInfo:
    """An x86-64 ELF file. ``kind`` is "static", "static-pie", "dynamic" or "library"."""

    path: Path
    machine: str
    bits: int
    kind: str
    entry: int
    interpreter: str = ""
    needed: tuple[str, ...] = ()
    soname: str = ""
    rpath: tuple[str, ...] = ()
    runpath: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Segment:
    kind: int
    offset: int
    address: int
    size: int


class _Reader:
    """Bounds-checked access to an open file, or to a stretch of one."""

    def __init__(self, path: Path, fd: int, base: int, size: int | None) -> None:
        self.path = path
        self.fd = fd
        self.base = base
        self.size = os.fstat(fd).st_size - base if size is None else size

    def peek(self, size: int) -> bytes:
        return os.pread(self.fd, min(size, self.size), self.base)

    def read(self, offset: int, size: int, what: str) -> bytes:
        data = os.pread(self.fd, size, self.base + offset) if offset + size <= self.size else b""
        if len(data) != size:
            raise self.error("truncated", f"is truncated: its {what} ends at byte {offset + size},"
                             f" the file at {self.size}", "copy or build it again")
        return data

    def error(self, code: str, text: str, hint: str = "") -> UsageError:
        return UsageError(f"{self.path} {text}", code=f"elf.{code}", hint=hint)


def inspect_elf(path: Path | str, *, library: bool = False, kernel: bool = False, offset: int = 0,
                size: int | None = None, name: Path | None = None) -> ElfInfo:
    """Read the headers of the x86-64 ELF file ``path``.

    :param library: accept a shared library; otherwise it must be a program
    :param kernel: accept addresses that only a kernel has
    :param offset: where it starts in the file ``path`` (an archive), in bytes
    :param size: how long it is there, in bytes; None: to the end
    :param name: what errors call it; ``path`` where not given
    :raises NotFoundError: code ``elf.not_found``
    :raises UsageError: codes ``elf.not_elf``, ``elf.32_bit``, ``elf.machine``, ``elf.type``,
        ``elf.truncated``, ``elf.damaged``, ``elf.library``
    """
    path = Path(path)
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        raise NotFoundError(f"there is no file {path}", code="elf.not_found", hint="check the path") from None
    except OSError as error:
        raise UniError(f"cannot open {path}: {error.strerror}", code="elf.open") from error
    try:
        if not path.is_file():
            raise UsageError(f"{path} is not a regular file", code="elf.not_elf",
                             hint="give the path of an x86-64 Linux executable")
        return _inspect(_Reader(name or path, fd, offset, size), library, kernel)
    finally:
        os.close(fd)


def _inspect(file: _Reader, library: bool, kernel: bool) -> ElfInfo:
    elf_type, entry, header_offset, header_size, count = _header(file)
    segments = list(_segments(file, header_offset, header_size, count, kernel))
    if not any(segment.kind == _PT_LOAD for segment in segments):
        raise file.error("damaged", "has no segment to load")
    interpreter = ""
    strings: dict[int, list[str]] = {}
    flags = 0
    dynamic = False
    for segment in segments:
        if segment.kind == _PT_INTERP:
            interpreter = _interpreter(file, segment)
        elif segment.kind == _PT_DYNAMIC:
            dynamic = True
            strings, flags = _dynamic(file, segment, segments)
    needed = tuple(strings.get(_DT_NEEDED, ()))
    soname = "".join(strings.get(_DT_SONAME, ())[:1])
    if elf_type == 2:
        kind = "dynamic" if interpreter else "static"
    elif library:
        kind = "library"
    elif interpreter:
        kind = "dynamic"
    elif dynamic and (flags & _DF_1_PIE or (entry and not soname and not needed)):
        kind = "static-pie"
    else:
        raise file.error("library", "is a shared library, not a program", "give the program that uses it")
    if kind == "static" and needed:
        raise file.error("damaged", f"needs {needed[0]} but names no interpreter to load it",
                         "link it with -static, or as a normal dynamic executable")
    return ElfInfo(
        path=file.path, machine="x86_64", bits=64, kind=kind, entry=entry, interpreter=interpreter,
        needed=needed, soname=soname, rpath=_paths(strings, _DT_RPATH), runpath=_paths(strings, _DT_RUNPATH))


def _header(file: _Reader) -> tuple[int, int, int, int, int]:
    magic = file.peek(20)
    if magic[:4] != b"\x7fELF":
        raise file.error("not_elf", f"is not an ELF executable: it {_looks_like(magic)}",
                         "give a program compiled for Linux on x86-64")
    if len(magic) < 20:
        raise file.error("truncated", f"is truncated: it ends within its ELF header, at byte {file.size}",
                         "copy or build it again")
    order = "<" if magic[5] == 1 else ">"
    machine = struct.unpack_from(order + "H", magic, 18)[0]
    name = _MACHINES.get(machine, f"machine {machine}")
    if machine != _EM_X86_64 or magic[5] != 1:
        bits = {1: "32-bit ", 2: "64-bit "}.get(magic[4], "")
        code = "32_bit" if machine == 3 else "machine"
        raise file.error(code, f"is a {bits}{name} program; Uni runs x86_64",
                         "compile it for x86_64 (GOARCH=amd64, --target x86_64-linux-...)")
    if magic[4] != 2:
        raise file.error("32_bit", "is a 32-bit (x32) program; Uni runs 64-bit programs",
                         "compile it without -m32 or -mx32")
    fields = _HEADER.unpack(file.read(0, _HEADER.size, "ELF header"))
    elf_type, entry, header_offset = fields[1], fields[4], fields[5]
    header_size, count = fields[9], fields[10]
    if elf_type not in (2, 3):
        name = _ET_NAMES.get(elf_type, f"of unknown type {elf_type}")
        raise file.error("type", f"is {name}, not a program", "link it to an executable")
    if header_size != _PROGRAM_HEADER.size or not 0 < count <= _MAX_HEADERS:
        raise file.error("damaged", "has a damaged ELF header:"
                         f" {count} program headers of {header_size} bytes")
    return elf_type, entry, header_offset, header_size, count


def _looks_like(magic: bytes) -> str:
    if not magic:
        return "is empty"
    if magic[:2] == b"#!":
        return "is a script"
    if magic[:2] == b"MZ":
        return "is a Windows program"
    if magic[:4] in (b"\xcf\xfa\xed\xfe", b"\xca\xfe\xba\xbe"):
        return "is a macOS program or a Java class"
    return f"starts with {magic[:4].hex(' ')}"


def _segments(file: _Reader, offset: int, size: int, count: int, kernel: bool) -> Iterator[_Segment]:
    table = file.read(offset, size * count, "program header table")
    for index in range(count):
        kind, _flags, start, address, _physical, length, memory, _align = _PROGRAM_HEADER.unpack_from(
            table, index * size)
        if kind not in (_PT_LOAD, _PT_DYNAMIC, _PT_INTERP):
            continue
        if start + length > file.size:
            raise file.error("truncated", f"is truncated: segment {index} ends at byte {start + length},"
                             f" the file at {file.size}", "copy or build it again")
        if kind == _PT_LOAD and (length > memory or (address + memory >= 1 << 47 and not kernel)):
            raise file.error("damaged", f"has a damaged segment {index}: it does not fit in user memory")
        yield _Segment(kind, start, address, length)


def _interpreter(file: _Reader, segment: _Segment) -> str:
    if not 2 <= segment.size <= _MAX_STRING:
        raise file.error("damaged", "names its interpreter in a damaged segment")
    text = file.read(segment.offset, segment.size, "interpreter").split(b"\0")[0].decode("utf-8", "replace")
    if not text.startswith("/"):
        raise file.error("damaged", f"names the interpreter {text!r}, which is not an absolute path")
    return text


def _dynamic(file: _Reader, segment: _Segment,
             segments: list[_Segment]) -> tuple[dict[int, list[str]], int]:
    if segment.size > _MAX_DYNAMIC:
        raise file.error("damaged", "has an absurdly large dynamic section")
    data = file.read(segment.offset, segment.size - segment.size % 16, "dynamic section")
    entries = []
    for tag, value in _DYNAMIC_ENTRY.iter_unpack(data):
        if tag == 0:
            break
        entries.append((tag, value))
    single = dict(entries)
    wanted = [(tag, value) for tag, value in entries
              if tag in (_DT_NEEDED, _DT_SONAME, _DT_RPATH, _DT_RUNPATH)]
    strings: dict[int, list[str]] = {}
    if wanted:
        size = single.get(_DT_STRSZ, 0)
        start = _file_offset(file, single.get(_DT_STRTAB, 0), size, segments)
        table = file.read(start, size, "dynamic string table")
        for tag, value in wanted:
            end = table.find(b"\0", value)
            if value >= size or end < 0 or end - value > _MAX_STRING:
                raise file.error("damaged", "has a damaged dynamic string table")
            strings.setdefault(tag, []).append(os.fsdecode(table[value:end]))
    return strings, single.get(_DT_FLAGS_1, 0)


def _file_offset(file: _Reader, address: int, size: int, segments: list[_Segment]) -> int:
    for segment in segments:
        if segment.kind == _PT_LOAD and segment.address <= address and (
                address + size <= segment.address + segment.size):
            return segment.offset + address - segment.address
    raise file.error("damaged", "has a dynamic string table outside of its segments")


def _paths(strings: dict[int, list[str]], tag: int) -> tuple[str, ...]:
    return tuple(part for text in strings.get(tag, ()) for part in text.split(":") if part)
