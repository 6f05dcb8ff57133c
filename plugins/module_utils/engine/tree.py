# SPDX-License-Identifier: GPL-3.0-or-later
"""A file tree as data: what goes into a root disk, with owners and modes that a plain user could not create.

A tree never lives on the host's file system. Its files' bytes stay where they are (a file here, or a stretch
of a tar archive) until the disk is written, so container layers and Debian packages need no root and no
unpacking.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from ansible_collections.uni.engine.plugins.module_utils.engine.errors import (
    HostError,
    NotFoundError,
    UsageError,
)

# Files that come from a directory get this time, 2020-01-01T00:00:00Z: a checkout's times are accidents.
FIXED_TIME = 1577836800
_CHUNK = 1 << 20
_MAX_HOPS = 40


@dataclass(frozen=True)
class Content:
    """The bytes of a file: ``data``, or ``size`` bytes of the file ``path`` from ``offset``.

    ``digest`` is the hexadecimal SHA-256 found when the tree was made; writers check it again.
    """

    size: int
    digest: str
    path: Path | None = None
    offset: int = 0
    data: bytes = b""

    @classmethod
    def of_bytes(cls, data: bytes) -> Content:
        """Bytes held in memory."""
        return cls(len(data), hashlib.sha256(data).hexdigest(), data=data)

    @classmethod
    def of_file(cls, path: Path) -> Content:
        """The whole file ``path``; reads it once for its digest."""
        digest = hashlib.sha256()
        size = 0
        try:
            with path.open("rb", buffering=0) as file:
                while chunk := file.read(_CHUNK):
                    digest.update(chunk)
                    size += len(chunk)
        except OSError as error:
            raise HostError(f"cannot read {path}: {error.strerror}", code="tree.read",
                            hint="check its permissions, or run as its owner") from error
        return cls(size, digest.hexdigest(), path=path)

    def chunks(self) -> Iterator[bytes]:
        """The bytes, in pieces of 1 MiB (the last one shorter)."""
        if self.path is None:
            for start in range(0, self.size, _CHUNK):
                yield self.data[start:start + _CHUNK]
            return
        with self.path.open("rb", buffering=0) as file:
            file.seek(self.offset)
            left = self.size
            while left:
                chunk = file.read(min(_CHUNK, left))
                while chunk and len(chunk) < min(_CHUNK, left):
                    more = file.read(min(_CHUNK, left) - len(chunk))
                    if not more:
                        break
                    chunk += more
                if not chunk:
                    return
                left -= len(chunk)
                yield chunk

    def read(self) -> bytes:
        """All bytes at once."""
        return b"".join(self.chunks())


@dataclass(frozen=True)
class Entry:
    """One path of a tree.

    ``kind`` is "file", "dir", "link", "char", "block" or "fifo"; ``mode`` the twelve permission bits. Files
    with the same ``inode`` (not None) are hard links of each other.
    """

    kind: str
    mode: int
    uid: int = 0
    gid: int = 0
    mtime: int = FIXED_TIME
    content: Content | None = None
    target: str = ""
    device: tuple[int, int] = (0, 0)
    inode: object = None


class Tree:
    """Entries by absolute, normalized path ("/bin/app"). The root directory is always there."""

    def __init__(self) -> None:
        self.entries: dict[str, Entry] = {"/": Entry("dir", 0o755)}

    def __contains__(self, path: str) -> bool:
        return path in self.entries

    def __len__(self) -> int:
        return len(self.entries)

    def add(self, path: str, entry: Entry) -> str:
        """Put ``entry`` at ``path``, making missing parents; symbolic links on the way are followed.

        Returns the path it was put at. Replacing a directory by something else drops what was below.

        :raises UsageError: code ``tree.path``: the path leaves the tree, or runs through a file
        """
        parent, name = self._locate(path)
        if not name:
            if entry.kind == "dir":
                self.entries["/"] = entry
            return "/"
        full = f"{parent.rstrip('/')}/{name}"
        old = self.entries.get(full)
        if old is not None and old.kind == "dir" and entry.kind != "dir":
            self.remove(full)
        self.entries[full] = entry
        return full

    def add_file(self, path: str, data: bytes | Path, mode: int = 0o644) -> str:
        """A regular file owned by root."""
        content = Content.of_bytes(data) if isinstance(data, bytes) else Content.of_file(data)
        return self.add(path, Entry("file", mode, content=content))

    def remove(self, path: str) -> None:
        """Drop ``path`` and everything below it."""
        below = path.rstrip("/") + "/"
        for other in [key for key in self.entries if key == path or key.startswith(below)]:
            if other != "/":
                del self.entries[other]

    def children(self, path: str) -> list[str]:
        """The paths directly below the directory ``path``."""
        below = path.rstrip("/") + "/"
        return [key for key in self.entries
                if key.startswith(below) and "/" not in key[len(below):] and key != "/"]

    def resolve(self, path: str) -> str | None:
        """``path`` with all symbolic links followed; None where that leads nowhere."""
        for _hop in range(_MAX_HOPS):
            parent, name = self._locate(path, create=False)
            full = f"{parent.rstrip('/')}/{name}"
            entry = self.entries.get(full)
            if entry is None:
                return None
            if entry.kind != "link":
                return full
            path = entry.target if entry.target.startswith("/") else f"{parent}/{entry.target}"
        return None

    def _locate(self, path: str, *, create: bool = True) -> tuple[str, str]:
        """Parent directory (resolved, created if asked for) and last name of ``path``."""
        parts = _parts(path)
        current: list[str] = []
        hops = 0
        while len(parts) > 1:
            part = parts.pop(0)
            if part == "..":
                current = current[:-1]
                continue
            here = "/" + "/".join([*current, part])
            entry = self.entries.get(here)
            if entry is not None and entry.kind == "link":
                hops += 1
                if hops > _MAX_HOPS:
                    raise UsageError(f"{path} runs through a loop of symbolic links", code="tree.path")
                if entry.target.startswith("/"):
                    current = []
                parts = _parts(entry.target) + parts
                continue
            if entry is not None and entry.kind != "dir":
                raise UsageError(f"{path} runs through {here}, which is not a directory", code="tree.path")
            if entry is None and create:
                self.entries[here] = Entry("dir", 0o755)
            current.append(part)
        if parts and parts[0] == "..":
            return "/" + "/".join(current[:-2]), "".join(current[-2:-1])
        return "/" + "/".join(current), parts[0] if parts else ""

    def digest(self) -> str:
        """Hexadecimal SHA-256 of everything that reaches the disk: paths, kinds, owners, modes, times,
        bytes.
        """
        whole = hashlib.sha256()
        first: dict[object, str] = {}
        for path, entry in self.sorted():
            link = "" if entry.inode is None else first.setdefault(entry.inode, path)
            fields = [path, entry.kind, entry.mode, entry.uid, entry.gid, entry.mtime,
                      entry.content.digest if entry.content else "", entry.target, entry.device, link]
            whole.update(json.dumps(fields).encode() + b"\n")
        return whole.hexdigest()

    def sorted(self) -> list[tuple[str, Entry]]:
        """Entries so that a directory comes before what is in it, in an order that depends on nothing
        else.
        """
        return sorted(self.entries.items(), key=lambda item: item[0].split("/") if item[0] != "/" else [""])


def _parts(path: str) -> list[str]:
    return [part for part in path.split("/") if part not in ("", ".")]


def normalize(path: str, what: str = "path") -> str:
    """``path`` as an absolute path without ``.``, ``..`` and double slashes.

    :raises UsageError: code ``tree.path`` for ``..`` or a NUL byte
    """
    parts = _parts(path)
    if ".." in parts or "\0" in path:
        raise UsageError(f"{what}: {path!r} leaves its tree", code="tree.path", hint="write it without '..'")
    return "/" + "/".join(parts)


def tree_from_directory(top: Path, *, keep_owner: bool = False) -> Tree:
    """The tree below the directory ``top``; everything is owned by root unless ``keep_owner``.

    Sockets and extended attributes are left out. Times are :data:`FIXED_TIME`, so that equal contents make equal trees.

    :raises UsageError: code ``tree.host``: it is this host's own root, whose /proc has no end
    :raises NotFoundError: code ``tree.not_found``
    :raises HostError: code ``tree.read``, naming what cannot be read
    """
    tree = Tree()
    if not top.is_dir():
        raise NotFoundError(f"there is no directory {top}", code="tree.not_found", hint="check the path")
    if top.resolve() == Path("/"):
        raise UsageError(f"{top} is the root directory of this host", code="tree.host",
                         hint="give a directory made for the image")
    tree.entries["/"] = replace(_entry(top, top.stat(), keep_owner), mode=0o755)

    def refuse(error: OSError) -> None:
        raise HostError(f"cannot read {error.filename}: {error.strerror}", code="tree.read",
                        hint="check its permissions, or run as its owner")

    for directory, folders, files in os.walk(top, onerror=refuse):
        relative = os.path.relpath(directory, top)
        prefix = "/" if relative == "." else f"/{relative}/"
        for name in folders + files:
            path = Path(directory, name)
            info = os.lstat(path)
            if not stat.S_ISSOCK(info.st_mode):
                tree.entries[prefix + name] = _entry(path, info, keep_owner)
    return tree


def _entry(path: Path, info: os.stat_result, keep_owner: bool) -> Entry:
    mode = stat.S_IMODE(info.st_mode)
    uid, gid = (info.st_uid, info.st_gid) if keep_owner else (0, 0)
    if stat.S_ISDIR(info.st_mode):
        return Entry("dir", mode, uid, gid)
    if stat.S_ISLNK(info.st_mode):
        target = os.readlink(path)  # Path would rewrite "./x" and "x/"
        return Entry("link", 0o777, uid, gid, target=target)
    if stat.S_ISREG(info.st_mode):
        inode = (info.st_dev, info.st_ino) if info.st_nlink > 1 else None
        return Entry("file", mode, uid, gid, content=Content.of_file(path), inode=inode)
    kind = "fifo" if stat.S_ISFIFO(info.st_mode) else "char" if stat.S_ISCHR(info.st_mode) else "block"
    return Entry(kind, mode, uid, gid, device=(os.major(info.st_rdev), os.minor(info.st_rdev)))


# What a program written for Linux expects to find, with the modes a Debian system has.
_DIRECTORIES = (("/dev", 0o755), ("/dev/shm", 0o1777), ("/etc", 0o755), ("/proc", 0o555), ("/run", 0o755),
                ("/sys", 0o555), ("/tmp", 0o1777), ("/root", 0o700), ("/var/tmp", 0o1777))
_FILES = (
    ("/etc/passwd", "root:x:0:0:root:/root:/bin/sh\n"
     "nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n"),
    ("/etc/group", "root:x:0:\nnogroup:x:65534:\n"),
    ("/etc/hosts", "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n"),
    ("/etc/resolv.conf", ""),
    # Without it glibc would ask DNS before /etc/hosts (nsswitch.conf(5)).
    ("/etc/nsswitch.conf", "passwd: files\ngroup: files\nhosts: files dns\n"),
)


def add_skeleton(tree: Tree) -> None:
    """Add the mount points and the few files of /etc that programs take for granted, where they are
    missing.
    """
    for path, mode in _DIRECTORIES:
        if tree.resolve(path) is None and path not in tree:
            _add_missing(tree, path, Entry("dir", mode))
    for path, text in _FILES:
        if tree.resolve(path) is None and path not in tree:
            _add_missing(tree, path, Entry("file", 0o644, content=Content.of_bytes(text.encode())))


def _add_missing(tree: Tree, path: str, entry: Entry) -> None:
    try:
        tree.add(path, entry)
    except UsageError:
        # A source that has, say, a file /var knows what it does; the skeleton gives way.
        return
