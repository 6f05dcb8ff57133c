# SPDX-License-Identifier: GPL-3.0-or-later
"""The bytes of a stopped VM's disk, raw or a qcow2 overlay on a raw base, and whole changes to it.

Reading copies nothing: ``qemu-img map`` says which stretch of which file stands for which part of the disk. A change
is prepared on a raw copy; what differs is then written into a copy of the disk, which takes the old one's place by
rename(2). Killed at any point, the disk is the old one or the new one.

The base is always given by the caller: the name inside a qcow2 file is not believed, a guest that broke out of its
monitor could have written it.
"""

from __future__ import annotations

import bisect
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ansible_collections.uni.engine.plugins.module_utils.engine.errors import HostError, StateError
from ansible_collections.uni.engine.plugins.module_utils.engine.records import (
    TEMP_PREFIX,
    host_error,
    sync_directory,
)

_PREFIX = TEMP_PREFIX + "cp-"
_CLUSTER = 1 << 16
_CHUNK = 1 << 20
_MAX_WRITE = 8 << 20
_TIMEOUT = 600


@dataclass(frozen=True)
class DiskRef:
    """A disk: the file, and for a qcow2 overlay its raw base. Without a base the file itself is raw.

    ``shared``: a monitor has it open and may write; readers see what it has flushed.
    """

    path: Path
    base: Path | None = None
    shared: bool = False


@dataclass(frozen=True)
class _Extent:
    start: int
    length: int
    fd: int
    offset: int


class MappedDevice:
    """A disk as bytes, read from where they are."""

    def __init__(self, extents: Sequence[_Extent], size: int) -> None:
        self.extents = sorted(extents, key=lambda extent: extent.start)
        self.starts = [extent.start for extent in self.extents]
        self.size = size

    def read(self, offset: int, length: int) -> bytes:
        """See :class:`.ext2read.Device`."""
        result = bytearray(length)
        index = max(bisect.bisect_right(self.starts, offset) - 1, 0)
        for extent in self.extents[index:]:
            if extent.start >= offset + length:
                break
            begin = max(offset, extent.start)
            end = min(offset + length, extent.start + extent.length)
            if begin < end:
                data = os.pread(extent.fd, end - begin, extent.offset + begin - extent.start)
                result[begin - offset:begin - offset + len(data)] = data
        return bytes(result)

    def data_ranges(self) -> Iterator[tuple[int, int]]:
        """Start and length of everything that may not be zero, in pieces of at most 1 MiB."""
        for extent in self.extents:
            for start in range(extent.start, extent.start + extent.length, _CHUNK):
                yield start, min(_CHUNK, extent.start + extent.length - start)


@contextmanager
def open_disk(disk: DiskRef) -> Iterator[MappedDevice]:
    """The disk, for reading. Nothing may write to it meanwhile.

    :raises StateError: code ``disk.busy``: a monitor has it open
    """
    fds: list[int] = []
    try:
        paths = [disk.path] if disk.base is None else [disk.path, disk.base]
        for path in paths:
            fds.append(os.open(path, os.O_RDONLY | os.O_CLOEXEC))
        if disk.base is None:
            size = os.fstat(fds[0]).st_size
            yield MappedDevice([_Extent(0, size, fds[0], 0)], size)
            return
        share = ["-U"] if disk.shared else []
        entries = json.loads(_run(["qemu-img", "map", *share, "--output=json", "--image-opts", _options(disk)]))
        size = max((entry["start"] + entry["length"] for entry in entries), default=0)
        if any(entry["data"] and not entry["zero"] and "offset" not in entry for entry in entries):
            raise StateError(f"{disk.path} holds compressed clusters", code="disk.unsupported",
                             hint="convert it with qemu-img")
        yield MappedDevice([_Extent(entry["start"], entry["length"], fds[min(entry["depth"], 1)], entry["offset"])
                            for entry in entries if entry["data"] and not entry["zero"]], size)
    except BrokenPipeError:
        raise  # whoever the bytes were for is gone: nothing about this disk
    except OSError as error:
        raise host_error(error, disk.path, "read") from error
    finally:
        for fd in fds:
            os.close(fd)


def _options(disk: DiskRef) -> str:
    """The overlay with its base spelled out, in QEMU's option syntax (commas in names are doubled)."""
    overlay, base = (str(path).replace(",", ",,") for path in (disk.path, disk.base))
    return (f"driver=qcow2,file.driver=file,file.filename={overlay},"
            f"backing.driver=raw,backing.file.driver=file,backing.file.filename={base}")


def change_disk(disk: DiskRef, edit: Callable[[Path, Path], None]) -> None:
    """Let ``edit(raw copy, scratch directory)`` change the disk; all of its changes arrive, or none.

    The caller holds the VM's lock and has made sure that it is stopped.

    :raises HostError: ``host.disk_full``, ``host.tool``; the disk is as it was
    """
    for stale in disk.path.parent.glob(_PREFIX + "*"):
        shutil.rmtree(stale, ignore_errors=True)
    scratch = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=disk.path.parent))
    try:
        raw = scratch / "raw"
        with open_disk(disk) as device:
            _copy_out(device, raw)
            edit(raw, scratch)
            new = scratch / "new"
            if disk.base is None:
                raw.rename(new)
            else:
                _run(["cp", "--reflink=auto", "--sparse=always", "--", str(disk.path), str(new)])
                _write_changes(DiskRef(new, disk.base), _changes(device, raw), scratch)
        _replace(new, disk.path)
    except OSError as error:
        raise host_error(error, disk.path) from error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _copy_out(device: MappedDevice, raw: Path) -> None:
    with raw.open("wb", buffering=0) as file:
        file.truncate(device.size)
        for start, length in device.data_ranges():
            data = device.read(start, length)
            if data.count(0) != length:
                os.pwrite(file.fileno(), data, start)


def _changes(device: MappedDevice, raw: Path) -> Iterator[tuple[int, bytes]]:
    """What differs between the disk and its changed copy: whole clusters, neighbors together."""
    pending_start, pending = 0, bytearray()
    with raw.open("rb", buffering=0) as file:
        for start in range(0, device.size, _CHUNK):
            length = min(_CHUNK, device.size - start)
            old, new = device.read(start, length), os.pread(file.fileno(), length, start)
            if old == new:
                continue
            for at in range(0, length, _CLUSTER):
                if old[at:at + _CLUSTER] == new[at:at + _CLUSTER]:
                    continue
                piece = new[at:at + _CLUSTER]
                if pending and pending_start + len(pending) == start + at and len(pending) < _MAX_WRITE:
                    pending += piece
                    continue
                if pending:
                    yield pending_start, bytes(pending)
                pending_start, pending = start + at, bytearray(piece)
    if pending:
        yield pending_start, bytes(pending)


def _write_changes(disk: DiskRef, changes: Iterator[tuple[int, bytes]], scratch: Path) -> None:
    """Write pieces into an overlay: qemu-io reads each from a file of its own."""
    commands = []
    for number, (start, data) in enumerate(changes):
        (scratch / f"piece{number}").write_bytes(data)
        commands += ["-c", f"write -q -s piece{number} {start} {len(data)}"]
    for first in range(0, len(commands), 200):
        # qemu-io says what went wrong and then ends with status 0 (QEMU 7.2): its words count.
        words = _run(["qemu-io", "--image-opts", *commands[first:first + 200], _options(disk)], cwd=scratch)
        if words.strip():
            raise HostError(f"cannot write to {disk.path}: {words.strip().splitlines()[-1][:200]}", code="host.io",
                            hint="check the space on the disk")


def _replace(new: Path, old: Path) -> None:
    info = old.stat()
    new.chmod(info.st_mode & 0o7777)
    if (info.st_uid, info.st_gid) != (os.geteuid(), os.getegid()):
        os.chown(new, info.st_uid, info.st_gid)
    with new.open("rb") as file:
        os.fsync(file.fileno())
    new.rename(old)
    sync_directory(old.parent)


def run_tool(command: Sequence[str], *, accept: Sequence[int] = (0,), cwd: Path | None = None) -> str:
    """Run a program of this host to its end; both of its streams.

    :raises HostError: ``host.tool`` (it is missing), ``host.io`` (it failed, in its own words)
    :raises StateError: ``disk.busy``
    """
    env = {**os.environ, "PATH": os.environ.get("PATH", "") + ":/usr/sbin:/sbin", "LC_ALL": "C.UTF-8"}
    program = shutil.which(command[0], path=env["PATH"])
    if program is None:
        raise HostError(f"{command[0]} is not installed", code="host.tool",
                        hint="install qemu-utils and e2fsprogs")
    try:
        done = subprocess.run([program, *command[1:]], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True, errors="replace", timeout=_TIMEOUT, check=False,
                              cwd=cwd, env=env)
    except subprocess.TimeoutExpired:
        raise HostError(f"{command[0]} did not end within {_TIMEOUT} seconds", code="host.io") from None
    if done.returncode not in accept:
        words = done.stdout.strip()
        if "lock" in words and "Failed to get" in words:
            raise StateError("the disk is in use by a running VM", code="disk.busy", hint="stop the VM first")
        if "No space left" in words:
            raise HostError(f"{command[0]}: no space left on the disk", code="host.disk_full",
                            hint="free some space (uni image prune) and try again")
        raise HostError(f"{command[0]} failed: {words.splitlines()[-1][:300] if words else done.returncode}",
                        code="host.io")
    return done.stdout


_run = run_tool
