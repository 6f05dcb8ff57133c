# SPDX-License-Identifier: GPL-3.0-or-later
"""Files in and out of a stopped VM's disk, with the manners of ``docker cp``.

Out: the file system was written by a guest, so nothing in it is believed (see :mod:`.ext2read`); set-uid bits and
owners stay behind, devices are left out, and no name or link in it can reach a file beside the target.
In: what is copied belongs to root, or to whom a tar archive says; debugfs does the writing, e2fsck looks it over, and
every file is read back and compared before the disk takes the change.
"""

from __future__ import annotations

import os
import posixpath
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, cast

from ansible_collections.uni.engine.plugins.module_utils.engine.diskimage import (
    DiskRef,
    MappedDevice,
    change_disk,
    open_disk,
    run_tool,
)
from ansible_collections.uni.engine.plugins.module_utils.engine.errors import (
    ConflictError,
    HostError,
    NotFoundError,
    StateError,
    UsageError,
    VerifyError,
)
from ansible_collections.uni.engine.plugins.module_utils.engine.ext2read import Ext2, Inode
from ansible_collections.uni.engine.plugins.module_utils.engine.records import host_error
from ansible_collections.uni.engine.plugins.module_utils.engine.tree import (
    Content,
    Entry,
    Tree,
    normalize,
    tree_from_directory,
)

_MAX_DEPTH = 128
_KIND_BITS = {"file": 0o100000, "dir": 0o040000}


def copy_out(disk: DiskRef, path: str, local: Path, *, archive: bool = False) -> int:
    """Copy ``path`` of the disk to ``local``; the number of files and directories copied.

    An existing directory ``local`` takes the copy under its own name, unless ``path`` ends in ``/.``, which means the
    contents. Modes (without set-uid bits) and times are kept.

    :param archive: owners too; only root may give files away
    :raises NotFoundError: ``file.not_found``; :raises ConflictError: ``file.exists``
    """
    with open_disk(disk) as device:
        system = Ext2(device)
        inode = system.lookup(path)
        contents_only = path.endswith("/.") or path in ("/", ".")
        target = local
        if local.is_dir() and not (contents_only and inode.kind == "dir"):
            target = local / (posixpath.basename(posixpath.normpath(path)) or "root")
        elif not local.parent.is_dir():
            raise NotFoundError(f"there is no directory {local.parent}", code="file.not_found", hint="make it first")
        try:
            return _out(_Copy(system, archive), inode, target, 0, frozenset())
        except OSError as error:
            raise host_error(error, target) from error


@dataclass(frozen=True)
class _Copy:
    """Where a copy out of a disk comes from, and whether it keeps owners."""

    system: Ext2
    archive: bool

    def finish(self, target: Path, inode: Inode) -> None:
        """Give what was made its owner and time; a link's own, never those of what it points at."""
        if self.archive:
            os.chown(target, inode.uid, inode.gid, follow_symlinks=False)
        os.utime(target, (inode.mtime, inode.mtime), follow_symlinks=False)


def _out(copy: _Copy, inode: Inode, target: Path, depth: int, above: frozenset[int]) -> int:
    if inode.kind == "file":
        _file_out(copy, inode, target)
    elif inode.kind == "link":
        if target.is_symlink() or target.is_file():
            target.unlink()
        target.symlink_to(copy.system.target(inode))
        copy.finish(target, inode)
    elif inode.kind == "dir":
        return _directory_out(copy, inode, target, depth, above)
    else:
        return 0
    return 1


def _directory_out(copy: _Copy, inode: Inode, target: Path, depth: int, above: frozenset[int]) -> int:
    if depth > _MAX_DEPTH or inode.number in above:
        raise StateError("the disk's directories run in a circle", code="disk.damaged", hint="check it with e2fsck")
    if target.is_symlink() or (target.exists() and not target.is_dir()):
        raise ConflictError(f"{target} exists and is not a directory", code="file.exists", hint="move it away")
    target.mkdir(exist_ok=True)
    count = 1
    seen: set[str] = set()
    for name, number in copy.system.names(inode):
        if name in seen:
            # Twice the same name: the second could be meant to go through a link that the first one made.
            raise StateError(f"the disk's directory has {name!r} twice", code="disk.damaged",
                             hint="check it with e2fsck")
        seen.add(name)
        count += _out(copy, copy.system.inode(number), target / name, depth + 1, above | {inode.number})
    target.chmod(inode.mode & 0o777)
    copy.finish(target, inode)
    return count


def _file_out(copy: _Copy, inode: Inode, target: Path) -> None:
    if target.is_dir() and not target.is_symlink():
        raise ConflictError(f"{target} is a directory", code="file.exists", hint="give another name")
    temp = target.parent / f".{target.name[:100]}.{os.urandom(4).hex()}"
    fd = os.open(temp, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        try:
            os.ftruncate(fd, inode.size)
            for start, data in copy.system.contents(inode):
                view = memoryview(data)
                while view:
                    written = os.pwrite(fd, view, start)
                    view, start = view[written:], start + written
            os.fchmod(fd, inode.mode & 0o777)
        finally:
            os.close(fd)
        copy.finish(temp, inode)
        temp.rename(target)
    except BaseException:
        temp.unlink(missing_ok=True)
        raise


def tar_out(disk: DiskRef, path: str, stream: IO[bytes], *, devices: bool = False) -> None:
    """Write ``path`` of the disk to ``stream`` as a tar archive, with owners, modes and times.

    :param devices: device nodes and pipes too, as a backup wants them
    """
    with open_disk(disk) as device, tarfile.open(fileobj=stream, mode="w|", format=tarfile.PAX_FORMAT) as archive:
        system = Ext2(device)
        name = posixpath.basename(posixpath.normpath(path)) or "."
        _add(_Archive(system, archive, devices), system.lookup(path), name, 0)


class _Archive:
    """A tar archive that is being written, and the names of hard-linked files in it."""

    def __init__(self, system: Ext2, archive: tarfile.TarFile, devices: bool) -> None:
        self.system, self.archive, self.devices = system, archive, devices
        self.links: dict[int, str] = {}


_NODES = {"char": tarfile.CHRTYPE, "block": tarfile.BLKTYPE, "fifo": tarfile.FIFOTYPE}


def _add(into: _Archive, inode: Inode, name: str, depth: int) -> None:
    if depth > _MAX_DEPTH:
        raise StateError("the disk's directories run in a circle", code="disk.damaged", hint="check it with e2fsck")
    info = tarfile.TarInfo(name)
    info.mode, info.uid, info.gid, info.mtime = inode.mode, inode.uid, inode.gid, inode.mtime
    if inode.kind == "file" and inode.number in into.links:
        info.type, info.linkname = tarfile.LNKTYPE, into.links[inode.number]
        into.archive.addfile(info)
    elif inode.kind == "file":
        info.size = inode.size
        if inode.links > 1:
            into.links[inode.number] = name
        into.archive.addfile(info, cast(IO[bytes], _FileReader(into.system, inode)))
    elif inode.kind == "link":
        info.type, info.linkname = tarfile.SYMTYPE, into.system.target(inode)
        into.archive.addfile(info)
    elif inode.kind == "dir":
        info.type = tarfile.DIRTYPE
        into.archive.addfile(info)
        for child, number in into.system.names(inode):
            if depth or child != "lost+found" or not into.devices:  # every file system has its own
                _add(into, into.system.inode(number), f"{name}/{child}", depth + 1)
    elif into.devices and inode.kind in _NODES:
        info.type = _NODES[inode.kind]
        info.devmajor, info.devminor = inode.device
        into.archive.addfile(info)


class _FileReader:
    """A file of the disk for :meth:`tarfile.TarFile.addfile`."""

    def __init__(self, system: Ext2, inode: Inode) -> None:
        self.pieces = _with_holes(system, inode)
        self.rest = b""

    def read(self, size: int) -> bytes:
        """The next ``size`` bytes, fewer at the end."""
        while len(self.rest) < size:
            piece = next(self.pieces, None)
            if piece is None:
                break
            self.rest += piece
        result, self.rest = self.rest[:size], self.rest[size:]
        return result


def _with_holes(system: Ext2, inode: Inode) -> Iterator[bytes]:
    at = 0
    for start, data in system.contents(inode):
        while at < start:
            gap = min(start - at, 1 << 20)
            yield bytes(gap)
            at += gap
        yield data
        at += len(data)
    while at < inode.size:
        gap = min(inode.size - at, 1 << 20)
        yield bytes(gap)
        at += gap


def copy_in(disk: DiskRef, local: Path | str, path: str, *, archive: bool = False) -> int:
    """Copy the file or directory ``local`` to ``path`` on the disk; the number of entries written.

    As ``docker cp``: an existing directory takes the copy under its own name (``local`` ending in ``/.``: only the
    contents), anything else needs an existing parent. Modes and times are kept; what is copied belongs to root.

    :param archive: it keeps its owners
    :raises NotFoundError: ``file.not_found``; :raises ConflictError: ``file.exists``
    :raises HostError: ``disk.full``; the disk is as it was
    """
    # A Path has already lost the "/." that tells the contents from the directory.
    contents_only = str(local).endswith("/.") or str(local) in (".", "/")
    local = Path(local)
    if not local.exists():
        raise NotFoundError(f"there is no {local}", code="file.not_found", hint="check the path")
    with open_disk(disk) as device:
        system = Ext2(device)
        target = _target(system, normalize(path), local, contents_only)
        real = real_path(system, posixpath.dirname(target)).rstrip("/") + "/" + posixpath.basename(target)
    tree = Tree()
    tree.entries.update(entries_of(local, real, archive=archive))
    return write_tree(disk, tree, below=real)


def entries_of(local: Path, real: str, *, archive: bool = False) -> dict[str, Entry]:
    """The file or directory ``local`` as entries at and below ``real``, with modes and times, and with owners where
    ``archive`` says so.
    """
    if not local.is_dir():
        info = local.stat()
        uid, gid = (info.st_uid, info.st_gid) if archive else (0, 0)
        return {real: Entry("file", info.st_mode & 0o777, uid, gid, int(info.st_mtime), Content.of_file(local))}
    found = {}
    for name, entry in tree_from_directory(local, keep_owner=archive).sorted():
        stamp = int(os.lstat(f"{local}{name}").st_mtime)
        found[(real.rstrip("/") + name).rstrip("/") or "/"] = replace(entry, mtime=stamp)
    if found:
        top = real.rstrip("/") or "/"
        found[top] = replace(found[top], mode=local.stat().st_mode & 0o7777)
    return found


def tar_in(disk: DiskRef, archive: Path, path: str) -> int:
    """Unpack the tar archive ``archive`` into the directory ``path`` of the disk, owners and modes included."""
    from ansible_collections.uni.engine.plugins.module_utils.engine.images.archive import apply_archive

    with open_disk(disk) as device:
        system = Ext2(device)
        if system.lookup(path).kind != "dir":
            raise ConflictError(f"{path} is not a directory on the disk", code="file.exists")
        real = real_path(system, normalize(path))
    unpacked = Tree()
    apply_archive(unpacked, archive, whiteouts=False)
    tree = Tree()
    tree.entries.update({real.rstrip("/") + name: entry for name, entry in unpacked.sorted() if name != "/"})
    return write_tree(disk, tree, below=real)


def existing(system: Ext2, path: str) -> Inode | None:
    """The inode at ``path`` (links followed), or None."""
    try:
        return system.lookup(path)
    except NotFoundError:
        return None


def _target(system: Ext2, path: str, local: Path, contents_only: bool) -> str:
    there = existing(system, path)
    if there is not None and there.kind == "dir":
        return path if contents_only and local.is_dir() else f"{path.rstrip('/')}/{local.absolute().name}"
    if there is not None and local.is_dir():
        raise ConflictError(f"{path} on the disk is not a directory", code="file.exists", hint="give another name")
    if system.lookup(posixpath.dirname(path)).kind != "dir":
        raise ConflictError(f"{posixpath.dirname(path)} on the disk is not a directory", code="file.exists")
    return path


def real_path(system: Ext2, path: str) -> str:
    """``path`` on the disk without symbolic links: debugfs does not follow them."""
    current = ""
    parts = [part for part in path.split("/") if part]
    for _hop in range(4096):
        if not parts:
            return current or "/"
        part = parts.pop(0)
        if part in (".", ".."):
            current = posixpath.dirname(current).rstrip("/") if part == ".." else current
            continue
        inode = system.lookup(f"{current}/{part}", follow=False)
        if inode.kind == "link":
            target = system.target(inode)
            current = "" if target.startswith("/") else current
            parts = [piece for piece in target.split("/") if piece] + parts
        else:
            current = f"{current}/{part}"
    raise UsageError(f"{path} runs through a loop of symbolic links", code="file.loop")


def write_tree(disk: DiskRef, tree: Tree, *, below: str = "/", directories: bool = False) -> int:
    """Write the entries of ``tree`` at and below ``below``, parents first, over what is there.

    :param directories: directories that are there take mode and owner from the tree too
    :raises ConflictError: ``file.exists``: a directory would have to become a file, or the reverse
    """
    prefix = below.rstrip("/") + "/"
    entries = [(path, entry) for path, entry in tree.sorted() if path != "/" and (path + "/").startswith(prefix)]
    for path, entry in entries:
        if entry.kind not in ("file", "dir", "link"):
            raise UsageError(f"{path} is a device or a pipe, which cannot be copied", code="file.kind")
        if any(char in path + entry.target for char in "\n\r\0"):
            raise UsageError(f"the name {path!r} has a line break", code="file.name")

    def edit(raw: Path, scratch: Path) -> None:
        script = scratch / "script"
        # A killed VM leaves a journal, whose replay after the change would undo it.
        run_tool(["e2fsck", "-p", str(raw)], accept=(0, 1))
        with open_disk(DiskRef(raw)) as device:
            lines = list(_commands(Ext2(device), entries, scratch, directories))
        script.write_text("\n".join([*lines, "quit", ""]), errors="surrogateescape")
        words = run_tool(["debugfs", "-w", "-f", str(script), str(raw)])
        # 0: nothing to repair, 1: repaired. debugfs itself never ends with an error.
        run_tool(["e2fsck", "-fp", str(raw)], accept=(0, 1))
        with open_disk(DiskRef(raw)) as device:
            _verify(device, entries, words)

    change_disk(disk, edit)
    return len(entries)


def _commands(system: Ext2, entries: list[tuple[str, Entry]], scratch: Path, directories: bool) -> Iterator[str]:
    """debugfs(8) commands; a double quote in a name is written twice (ss library)."""
    times: list[str] = []
    for number, (path, entry) in enumerate(entries):
        try:
            there: Inode | None = system.lookup(path, follow=False)
        except NotFoundError:
            there = None
        if there is not None and (there.kind == "dir") != (entry.kind == "dir"):
            raise ConflictError(f"{path} on the disk is {'a' if there.kind == 'dir' else 'not a'} directory",
                                code="file.exists", hint="remove it inside of the VM, or give another name")
        quoted = _quote(path)
        if there is not None and entry.kind != "dir":
            yield f"rm {quoted}"
        if entry.kind == "dir" and there is None:
            yield f"mkdir {quoted}"
        elif entry.kind == "file" and entry.content is not None:
            yield f"cd {_quote(posixpath.dirname(path))}"
            yield f"write {_quote(str(_plain_file(entry.content, scratch / f'file{number}')))} " + _quote(
                posixpath.basename(path))
        elif entry.kind == "link":
            yield f"symlink {quoted} {_quote(entry.target)}"
        fresh = there is None or entry.kind != "dir" or directories
        if entry.kind != "link" and fresh:
            yield f"set_inode_field {quoted} mode 0{_KIND_BITS[entry.kind] | entry.mode:o}"
        if there is None or entry.kind != "dir":
            times.append(f"set_inode_field {quoted} mtime @{max(entry.mtime, 0)}")
        if fresh:
            yield f"set_inode_field {quoted} uid {entry.uid}"
            yield f"set_inode_field {quoted} gid {entry.gid}"
    yield from times  # last: a name that is added to a directory changes its time


def _quote(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'


def _plain_file(content: Content, spare: Path) -> Path:
    """A file that holds exactly ``content``: itself, or a copy."""
    if content.path is not None and content.offset == 0 and content.path.stat().st_size == content.size:
        return content.path
    with spare.open("wb") as file:
        for chunk in content.chunks():
            file.write(chunk)
    return spare


def _verify(device: MappedDevice, entries: list[tuple[str, Entry]], words: str) -> None:
    """Read everything back; debugfs reports errors in words only."""
    system = Ext2(device)
    for path, entry in entries:
        try:
            inode = system.lookup(path, follow=False)
            good = inode.kind == entry.kind
        except NotFoundError:
            good = False
        if good and entry.kind == "file" and entry.content is not None:
            good = digest_of(system, inode)[0] == entry.content.digest
        elif good and entry.kind == "link":
            good = system.target(inode) == entry.target
        if not good and ("allocate" in words or "No free space" in words or "no space" in words.lower()):
            raise HostError(f"no room for {path} on the VM's disk", code="disk.full",
                            hint="give the image or the volume a larger size")
        if not good:
            raise VerifyError(f"{path} did not arrive on the disk", code="disk.write",
                              hint="nothing was changed; check the disk with e2fsck")


def digest_of(system: Ext2, inode: Inode, keep: int = 0) -> tuple[str, bytes]:
    """The SHA-256 of a file, hexadecimal, and its bytes when it has at most ``keep``."""
    import hashlib

    digest, kept = hashlib.sha256(), []
    for piece in _with_holes(system, inode):
        digest.update(piece)
        if inode.size <= keep:
            kept.append(piece)
    return digest.hexdigest(), b"".join(kept)
