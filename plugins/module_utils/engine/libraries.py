# SPDX-License-Identifier: GPL-3.0-or-later
"""Which files a dynamic program needs beside itself: its interpreter and the closure of its libraries.

The search is that of ld.so(8) and of musl's loader without their caches: RPATH, RUNPATH, the configured and
the default directories. A gathered library is placed in the loader's first default directory, where it is
found whatever path or cache led to it here, so an image needs no ld.so.cache.
"""

from __future__ import annotations

import posixpath
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from ansible_collections.uni.engine.plugins.module_utils.engine.elf import ElfInfo, inspect_elf
from ansible_collections.uni.engine.plugins.module_utils.engine.errors import UniError, UsageError
from ansible_collections.uni.engine.plugins.module_utils.engine.tree import Content, Tree

_GLIBC_DIRECTORIES = ("/lib/x86_64-linux-gnu", "/usr/lib/x86_64-linux-gnu", "/lib64", "/usr/lib64", "/lib",
                      "/usr/lib")
_MUSL_DIRECTORIES = ("/lib", "/usr/local/lib", "/usr/lib")
# musl's loader answers for these names itself (musl, ldso/dynlink.c, load_library).
_MUSL_BUILT_IN = frozenset(f"lib{name}.so" for name in ("c", "pthread", "rt", "m", "dl", "util", "xnet"))
# glibc loads it by name when a thread is cancelled or exits; no DT_NEEDED says so.
_GLIBC_HIDDEN = "libgcc_s.so.1"
_MAX_LIBRARIES = 1024
_MAX_CONFIG = 1 << 20


@dataclass(frozen=True)
class Found:
    """Where the bytes of a file are: the stretch of ``path`` from ``offset``; ``shown`` is its name in
    errors.
    """

    path: Path
    shown: Path
    offset: int = 0
    size: int | None = None

    def inspect(self, *, library: bool) -> ElfInfo:
        """Its ELF headers."""
        return inspect_elf(self.path, library=library, offset=self.offset, size=self.size, name=self.shown)


class Files(Protocol):
    """The file system that a program will see, as far as the search needs it."""

    where: str

    def find(self, path: str) -> Found | None:
        """The regular file at ``path``, symbolic links followed."""

    def text(self, path: str) -> str:
        """A small text file; empty where there is none."""

    def names(self, directory: str) -> list[str]:
        """The sorted names in ``directory``."""


class HostFiles:
    """The files of this host."""

    where = ""

    def find(self, path: str) -> Found | None:
        """See :class:`Files`."""
        return Found(Path(path), Path(path)) if Path(path).is_file() else None

    def text(self, path: str) -> str:
        """See :class:`Files`."""
        try:
            with Path(path).open("rb") as file:
                return file.read(_MAX_CONFIG).decode("utf-8", "replace")
        except OSError:
            return ""

    def names(self, directory: str) -> list[str]:
        """See :class:`Files`."""
        try:
            return sorted(entry.name for entry in Path(directory).iterdir())
        except OSError:
            return []


class TreeFiles:
    """The files of a tree that is going to be a root disk."""

    def __init__(self, tree: Tree, where: str) -> None:
        self.tree = tree
        self.where = where

    def content(self, path: str) -> Content | None:
        """The bytes of the regular file at ``path``."""
        full = self.tree.resolve(path)
        return self.tree.entries[full].content if full else None

    def find(self, path: str) -> Found | None:
        """See :class:`Files`."""
        content = self.content(path)
        if content is None or content.path is None:
            return None
        return Found(content.path, Path(path), content.offset, content.size)

    def text(self, path: str) -> str:
        """See :class:`Files`."""
        content = self.content(path)
        return content.read().decode("utf-8", "replace") if content and content.size <= _MAX_CONFIG else ""

    def names(self, directory: str) -> list[str]:
        """See :class:`Files`."""
        full = self.tree.resolve(directory)
        return sorted(path.rpartition("/")[2] for path in self.tree.children(full)) if full else []


@dataclass(frozen=True)
class Gathered:
    """``files`` maps paths in the image to where their bytes are."""

    interpreter: str
    files: Mapping[str, Found]


def gather_libraries(info: ElfInfo, files: Files | None = None) -> Gathered:
    """The interpreter and every library that the dynamic program ``info`` needs.

    :param files: where to look; this host by default
    :raises UsageError: ``elf.interpreter`` (it is missing), ``elf.library_missing`` (naming library and who
        needs it), or any error of :func:`inspect_elf` for a damaged library
    """
    if not info.interpreter:
        return Gathered("", {})
    files = files or HostFiles()
    loader = files.find(info.interpreter)
    if loader is None:
        raise UsageError(
            f"{info.path} needs the interpreter {info.interpreter}, which does not exist{files.where}",
            code="elf.interpreter",
            hint="install its C library, add it to the root directory, or link with -static")
    search = _Search(files, musl="ld-musl" in info.interpreter)
    result = {info.interpreter: loader}
    seen = {posixpath.basename(info.interpreter)}
    queue: list[tuple[ElfInfo, tuple[str, ...]]] = [(info, ())]
    while queue:
        user, inherited = queue.pop(0)
        # ld.so(8): RPATH counts only without RUNPATH, and is inherited by what is loaded; RUNPATH is not.
        rpath = () if user.runpath else user.rpath + inherited
        for name in user.needed:
            if name in seen or (search.musl and name in _MUSL_BUILT_IN):
                continue
            seen.add(name)
            found = search.find(name, user, rpath + user.runpath)
            result[name if name.startswith("/") else f"{search.directories[0]}/{name}"] = found
            queue.append((found.inspect(library=True), rpath))
            if len(seen) > _MAX_LIBRARIES:
                raise UsageError(f"{info.path} needs more than {_MAX_LIBRARIES} libraries",
                                 code="elf.damaged")
    if not search.musl and _GLIBC_HIDDEN not in seen:
        hidden = search.try_find(_GLIBC_HIDDEN, info, ())
        if hidden:
            result[f"{search.directories[0]}/{_GLIBC_HIDDEN}"] = hidden
    return Gathered(info.interpreter, result)


class _Search:
    def __init__(self, files: Files, musl: bool) -> None:
        self.files = files
        self.musl = musl
        self.directories = _MUSL_DIRECTORIES if musl else _GLIBC_DIRECTORIES
        self.configured = _musl_paths(files) if musl else _ld_so_conf(files, "/etc/ld.so.conf", 0)

    def find(self, name: str, user: ElfInfo, paths: tuple[str, ...]) -> Found:
        found = self.try_find(name, user, paths)
        if found:
            return found
        raise UsageError(
            f"{user.path} needs the library {name}, which is not found{self.files.where}",
            code="elf.library_missing",
            hint="install the package that holds it, add it to the root directory, or link with -static")

    def try_find(self, name: str, user: ElfInfo, paths: tuple[str, ...]) -> Found | None:
        if "/" in name:
            candidates = [name] if name.startswith("/") else []
        else:
            origin = str(user.path.absolute().parent)
            expanded = [path.replace("${ORIGIN}", origin).replace("$ORIGIN", origin) for path in paths]
            candidates = [posixpath.normpath(f"{directory}/{name}")
                          for directory in (*expanded, *self.configured, *self.directories)]
        found = (self.files.find(path) for path in candidates)
        return next((item for item in found if item and _usable(item)), None)


def _usable(found: Found) -> bool:
    """A library of the wrong machine is passed over, as ld.so does; a damaged one is an error later."""
    try:
        found.inspect(library=True)
    except UniError as error:
        return error.code not in ("elf.machine", "elf.32_bit", "elf.not_elf")
    return True


def _ld_so_conf(files: Files, name: str, depth: int) -> tuple[str, ...]:
    """The directories of ld.so.conf(5) with its ``include`` lines, whose last part may be a pattern."""
    result: list[str] = []
    for raw in files.text(name).splitlines():
        line = raw.split("#")[0].strip()
        if line.startswith("include") and depth < 8:
            import fnmatch

            pattern = posixpath.join(posixpath.dirname(name), line[len("include"):].strip())
            directory, last = posixpath.split(pattern)
            for found in fnmatch.filter(files.names(directory), last):
                result.extend(_ld_so_conf(files, f"{directory}/{found}", depth + 1))
        elif line.startswith("/"):
            result.append(line)
    return tuple(result)


def _musl_paths(files: Files) -> tuple[str, ...]:
    """musl reads its search path from /etc/ld-musl-ARCH.path, separated by colons or newlines."""
    text = files.text("/etc/ld-musl-x86_64.path")
    return tuple(part for part in text.replace("\n", ":").split(":") if part.startswith("/"))
