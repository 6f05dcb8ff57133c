# SPDX-License-Identifier: GPL-3.0-or-later
"""Volumes as tar archives: backup and restore, without mounting and without a guest.

An archive has every file, directory, link and device of the volume with owner, mode and time (POSIX pax format). A
restore builds the whole new file system beside the old one and swaps them by one rename(2): killed at any point, the
volume is the old one or the new one, and an archive that is cut off or does not fit changes nothing.
"""

from __future__ import annotations

import filecmp
import gzip
import io
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, cast

from ansible_collections.uni.engine.plugins.module_utils.engine import diskfiles
from ansible_collections.uni.engine.plugins.module_utils.engine.diskimage import DiskRef, open_disk
from ansible_collections.uni.engine.plugins.module_utils.engine.errors import ConflictError, UniError, UsageError
from ansible_collections.uni.engine.plugins.module_utils.engine.ext2 import write_ext2
from ansible_collections.uni.engine.plugins.module_utils.engine.ext2read import Ext2
from ansible_collections.uni.engine.plugins.module_utils.engine.images.archive import apply_archive, spool
from ansible_collections.uni.engine.plugins.module_utils.engine.plan import Action, Plan
from ansible_collections.uni.engine.plugins.module_utils.engine.records import (
    TEMP_PREFIX,
    host_error,
    sync_directory,
)
from ansible_collections.uni.engine.plugins.module_utils.engine.root import Root
from ansible_collections.uni.engine.plugins.module_utils.engine.tree import Tree
from ansible_collections.uni.engine.plugins.module_utils.engine.units import format_size
from ansible_collections.uni.engine.plugins.module_utils.engine.volumes import api
from ansible_collections.uni.engine.plugins.module_utils.engine.volumes.api import Result, Volume, VolumeSpec

_GZIP = b"\x1f\x8b"  # RFC 1952, section 2.3.1


def export(root: Root, name: str, stream: IO[bytes]) -> Volume:
    """Write the volume's contents to ``stream`` as a tar archive. No VM can begin to write to it meanwhile.

    :raises NotFoundError: code ``volume.not_found``
    :raises ConflictError: code ``volume.in_use``: a running (or saved) VM writes to it
    """
    with api.locked(root, name):
        volume = api.inspect(root, name)
        writers = api.users_now(root, name, writers=True)
        _refuse(name, writers, "what it writes meanwhile would be half in the archive")
        if not writers:
            api.repair(volume.path)
        diskfiles.tar_out(DiskRef(volume.path), "/", stream, devices=True)
        return volume


def backup(root: Root, name: str, path: Path, *, check: bool = False) -> Plan:
    """:func:`export` to a file of mode 0600, which is there whole or not at all. No action where it is the same."""
    temp = path.parent / f"{TEMP_PREFIX}{path.name}.{os.urandom(4).hex()}"
    try:
        try:
            with os.fdopen(os.open(temp, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb") as file:
                export(root, name, file)
                file.flush()
                os.fsync(file.fileno())
            known = path.is_file()
            if known and filecmp.cmp(temp, path, shallow=False):
                return Plan()
            if not check:
                temp.rename(path)
                sync_directory(path.parent)
        finally:
            temp.unlink(missing_ok=True)
    except OSError as error:
        raise host_error(error, path) from error
    return Plan((Action("backup", f"volume/{name}", f"write volume {name} to {path}",
                        {"archive": "another one" if known else "absent"}, {"archive": str(path)}),))


def restore(root: Root, spec: VolumeSpec, source: IO[bytes] | Path, *, replace: bool = False,
            check: bool = False) -> Result:
    """Make the volume hold exactly what the tar archive (gzip is fine) has; a volume that is not there is created.

    :param spec: name, and the size of a new volume (by default 1 GiB, or more when the archive needs it)
    :param replace: a volume that holds files loses them; without it, it is refused
    :raises ConflictError: codes ``volume.in_use``, ``volume.not_empty``
    :raises VerifyError: ``layer.damaged``: no tar archive, or cut off; the volume is as it was
    :raises UsageError: ``disk.too_small``: the archive does not fit
    """
    with api.locked(root, spec.name):
        volume = api.find(root, spec.name)
        if volume is not None:
            _refuse(spec.name, api.users_now(root, spec.name), "it would find other files under its feet")
            if not replace and not is_empty(volume):
                raise ConflictError(f"volume {spec.name} holds files already", code="volume.not_empty",
                                    hint="say that they may be lost: --replace, or replace: true")
        target = f"volume/{spec.name}"
        actions = [] if volume is not None else list(api.plan_volume(spec, None).actions)
        actions.append(Action("restore", target, f"fill volume {spec.name} from an archive",
                              {"contents": "absent" if volume is None else "as they are"},
                              {"contents": "from the archive"}))
        if not check:
            with _tree(root, source) as tree:
                volume = _create(root, spec, tree) if volume is None else _replace(volume, spec, tree)
        return Result(Plan(tuple(actions)), volume)


def is_empty(volume: Volume) -> bool:
    """Whether the volume holds nothing but its ``lost+found``."""
    with open_disk(DiskRef(volume.path)) as device:
        system = Ext2(device)
        return all(name == "lost+found" for name, _number in system.names(system.lookup("/")))


def _refuse(name: str, users: list[str], why: str) -> None:
    if users:
        raise ConflictError(f"volume {name} is in use by VM {', '.join(users)}: {why}", code="volume.in_use",
                            hint=f"stop it first: uni stop {users[0]}")


@contextmanager
def _tree(root: Root, source: IO[bytes] | Path) -> Iterator[Tree]:
    """The archive as a tree; its bytes are in a spool that is gone afterwards."""
    scratch = Path(tempfile.mkdtemp(prefix=f"{TEMP_PREFIX}import-", dir=root.volumes))
    try:
        tree = Tree()
        if isinstance(source, Path):
            with source.open("rb") as file:
                spooled = spool(_plain(file), scratch / "archive")
        else:
            spooled = spool(_plain(source), scratch / "archive")
        apply_archive(tree, spooled, whiteouts=False)
        yield tree
    except (EOFError, gzip.BadGzipFile) as error:
        from ansible_collections.uni.engine.plugins.module_utils.engine.errors import VerifyError

        raise VerifyError(f"the archive is damaged: {error}", code="layer.damaged") from error
    except OSError as error:
        raise host_error(error, error.filename or scratch, "use") from error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _plain(stream: IO[bytes]) -> IO[bytes]:
    """The stream without gzip, if there is gzip around it."""
    buffered = stream if isinstance(stream, io.BufferedReader) else io.BufferedReader(cast(io.RawIOBase, stream))
    return cast(IO[bytes], gzip.GzipFile(fileobj=buffered) if buffered.peek(2)[:2] == _GZIP else buffered)


def _create(root: Root, spec: VolumeSpec, tree: Tree) -> Volume:
    size = spec.size
    if size is None:
        need = sum(entry.content.size for _path, entry in tree.sorted() if entry.content is not None)
        size = max(api.DEFAULT_SIZE, -(-(need * 5 // 4 + (64 << 20)) // (1 << 20)) * (1 << 20))
    api.create(root, VolumeSpec(spec.name, size, spec.labels),
               lambda disk: _write(tree, disk, size, spec.name))
    return api.inspect(root, spec.name)


def _replace(volume: Volume, spec: VolumeSpec, tree: Tree) -> Volume:
    if spec.size is not None and spec.size != volume.size:
        raise UsageError(f"volume {volume.name} has {format_size(volume.size)}; a restore does not change that",
                         code="volume.size", hint="grow it first: uni volume create NAME --size SIZE")
    temp = volume.path.parent / f"{TEMP_PREFIX}data.{os.urandom(4).hex()}"
    try:
        _write(tree, temp, volume.size, volume.name)
        temp.rename(volume.path)
        sync_directory(volume.path.parent)
    except OSError as error:
        raise host_error(error, volume.path) from error
    finally:
        temp.unlink(missing_ok=True)
    return volume


def _write(tree: Tree, disk: Path, size: int, label: str) -> None:
    try:
        write_ext2(tree, disk, size=size, label=label[:16])
    except UniError as error:
        if error.code == "disk.too_small":
            raise UsageError(f"the archive does not fit into a volume of {format_size(size)}", code="disk.too_small",
                             hint="give a larger size") from error
        raise
    disk.chmod(0o600)
