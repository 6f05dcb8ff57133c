# SPDX-License-Identifier: GPL-3.0-or-later
"""Tar archives as trees: container layers with their whiteouts, and the contents of Debian packages.

The archive is spooled uncompressed, once; the tree's files are stretches of that spool. Nothing is unpacked, so
owners, devices and modes survive without root, and no name in an archive can touch a file of this host.
"""

from __future__ import annotations

import hashlib
import io
import tarfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO

from ansible_collections.uni.engine.plugins.module_utils.engine.errors import VerifyError
from ansible_collections.uni.engine.plugins.module_utils.engine.images.layers import TAR_ERRORS
from ansible_collections.uni.engine.plugins.module_utils.engine.tree import Content, Entry, Tree, normalize

_CHUNK = 1 << 20
_MAX_SPARSE = 1 << 28
# OCI layer.md, "Whiteouts".
_WHITEOUT, _OPAQUE = ".wh.", ".wh..wh..opq"
_KINDS = {tarfile.DIRTYPE: "dir", tarfile.SYMTYPE: "link", tarfile.CHRTYPE: "char", tarfile.BLKTYPE: "block",
          tarfile.FIFOTYPE: "fifo"}


@dataclass(frozen=True)
class _Item:
    path: str
    entry: Entry
    link_to: str = ""


def spool(source: IO[bytes] | io.RawIOBase, path: Path) -> Path:
    """Copy a stream to the file ``path``."""
    with path.open("wb", buffering=0) as target:
        while chunk := source.read(_CHUNK):
            view = memoryview(chunk)
            while view:
                view = view[target.write(view):]
    return path


def apply_archive(tree: Tree, path: Path, *, whiteouts: bool = True, keep_links: bool = False) -> None:
    """Lay the tar archive ``path`` over ``tree``. The file must stay until the tree has been written.

    :param whiteouts: ``.wh.NAME`` removes, as in container layers
    :param keep_links: a directory does not replace a symbolic link to one, as dpkg has it for merged /usr
    :raises VerifyError: code ``layer.damaged``
    :raises UsageError: code ``tree.path``: a name leaves the tree
    """
    try:
        with tarfile.open(path, mode="r:") as archive:
            items = [_item(member, path, archive) for member in archive
                     if member.type in (*_KINDS, tarfile.LNKTYPE) or member.isfile()]
    except TAR_ERRORS as error:
        raise VerifyError(f"{path.name} is no tar archive: {error}", code="layer.damaged") from error
    if whiteouts:
        # They speak of the layers below only, so they come first, whatever their place in the archive.
        for item in items:
            _apply_whiteout(tree, item.path)
        items = [item for item in items if not item.path.rpartition("/")[2].startswith(_WHITEOUT)]
    for item in items:
        _apply(tree, item, keep_links)


def _item(member: tarfile.TarInfo, path: Path, archive: tarfile.TarFile) -> _Item:
    name = normalize(member.name, "the archive's name")
    mode, mtime = member.mode & 0o7777, int(member.mtime)
    if member.type == tarfile.LNKTYPE:
        return _Item(name, Entry("file", mode), normalize(member.linkname, "the archive's link"))
    if member.type in _KINDS:
        return _Item(name, Entry(_KINDS[member.type], mode, member.uid, member.gid, mtime, target=member.linkname
                                 if member.type == tarfile.SYMTYPE else "",
                                 device=(member.devmajor, member.devminor)))
    if member.issparse():
        if member.size > _MAX_SPARSE:
            raise VerifyError(f"the archive's {name} is a sparse file of {member.size} bytes", code="layer.damaged",
                              hint=f"sparse members of at most {_MAX_SPARSE} bytes can be read")
        source = archive.extractfile(member)
        if source is None:
            raise AssertionError("source is set here")
        content = Content.of_bytes(source.read())
    else:
        content = _stretch(path, member.offset_data, member.size)
    return _Item(name, Entry("file", mode, member.uid, member.gid, mtime, content=content))


def _stretch(path: Path, offset: int, size: int) -> Content:
    digest = hashlib.sha256()
    for chunk in Content(size, "", path, offset).chunks():
        digest.update(chunk)
    return Content(size, digest.hexdigest(), path, offset)


def _apply_whiteout(tree: Tree, path: str) -> None:
    parent, _slash, name = path.rpartition("/")
    if not name.startswith(_WHITEOUT):
        return
    directory = tree.resolve(parent or "/")
    if directory is None:
        return
    if name == _OPAQUE:
        for child in tree.children(directory):
            tree.remove(child)
    else:
        tree.remove(f"{directory.rstrip('/')}/{name[len(_WHITEOUT):]}")


def _apply(tree: Tree, item: _Item, keep_links: bool) -> None:
    if item.link_to:
        target = tree.resolve(item.link_to) or item.link_to
        found = tree.entries.get(target)
        if found is None or found.kind == "dir":
            raise VerifyError(f"the archive's {item.path} is a hard link to {item.link_to}, which is not there",
                              code="layer.damaged")
        if found.inode is None:
            found = replace(found, inode=object())
            tree.entries[target] = found
        tree.add(item.path, found)
        return
    if keep_links and item.entry.kind == "dir":
        here = tree.entries.get(item.path)
        if here is not None and here.kind == "link":
            real = tree.resolve(item.path)
            if real is not None and tree.entries[real].kind == "dir":
                return
    tree.add(item.path, item.entry)
