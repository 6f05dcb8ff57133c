# SPDX-License-Identifier: GPL-3.0-or-later
"""Records on disk, written whole, and the locks that order their writers.

A record is replaced by a temporary file in the same directory, fsync, rename, fsync of the directory: after a
crash a reader finds the old record or the new one, never a part of either.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from ansible_collections.uni.engine.plugins.module_utils.engine.errors import (
    DeadlineError,
    HostError,
    UniError,
)

# Temporary files start with this, so that a sweep can tell them from records.
TEMP_PREFIX = ".tmp-"


def write_bytes(path: Path, data: bytes, *, mode: int = 0o600) -> None:
    """Replace ``path`` by ``data``, whole or not at all.

    :raises HostError: disk full, no permission; the temporary file is gone and the old record stands
    """
    temp = path.parent / f"{TEMP_PREFIX}{path.name}.{os.getpid()}.{time.monotonic_ns():x}"
    try:
        fd = os.open(temp, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
        try:
            with os.fdopen(fd, "wb") as file:
                os.fchmod(fd, mode)
                file.write(data)
                file.flush()
                os.fsync(fd)
            temp.rename(path)
        except BaseException:
            temp.unlink(missing_ok=True)
            raise
        sync_directory(path.parent)
    except OSError as error:
        raise host_error(error, path) from error


def sweep_temporary(directory: Path) -> None:
    """Remove the temporary files of writers that were killed; those of living ones stay."""
    try:
        found = [name for name in os.listdir(directory) if name.startswith(TEMP_PREFIX)]
    except OSError:
        return
    for name in found:
        pid = name.split(".")[-2]
        if not pid.isdigit() or not os.path.exists(f"/proc/{pid}"):
            (directory / name).unlink(missing_ok=True)


def write_json(path: Path, obj: Any, *, mode: int = 0o600) -> None:
    """Replace ``path`` by ``obj`` as JSON with sorted keys. Errors as :func:`write_bytes`."""
    write_bytes(path, json.dumps(obj, indent=1, sort_keys=True).encode() + b"\n", mode=mode)


def read_json(path: Path) -> Any:
    """The record at ``path``; None when there is none.

    :raises UniError: code ``record.corrupt`` when it is not JSON
    """
    try:
        data = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise host_error(error, path, "read") from error
    try:
        return json.loads(data)
    except ValueError as error:
        raise UniError(
            f"the record {path} is damaged: {error}", code="record.corrupt",
            hint="restore it from a backup, or remove the object it belongs to",
        ) from error


def sync_directory(path: Path) -> None:
    """Make renames and unlinks in ``path`` durable."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def host_error(error: OSError, path: Path | str, verb: str = "write") -> HostError:
    """An OSError about ``path`` as a HostError with a stable code."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return HostError(
            f"cannot {verb} {path}: no space left on the disk", code="host.disk_full",
            hint="free some space (uni image prune) and try again",
        )
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return HostError(
            f"cannot {verb} {path}: {error.strerror}", code="host.permission",
            hint="run as the user that owns the root directory, or choose another with UNI_ROOT",
        )
    return HostError(f"cannot {verb} {path}: {error.strerror or error}", code="host.io")


@contextmanager
def lock(path: Path, *, shared: bool = False, timeout: float | None = None) -> Iterator[None]:
    """Hold the lock file ``path`` while the body runs.

    flock(2) locks belong to the open file, so they are gone when their holder is, however it died.
    The file is left behind on purpose: removing it would let two callers lock two different files.

    :param shared: several shared holders may hold it together
    :param timeout: seconds to wait; None waits for ever, 0 tries once
    :raises DeadlineError: code ``lock.busy``, naming the holder's pid
    """
    try:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise host_error(error, path, "lock") from error
    try:
        _acquire(fd, path, fcntl.LOCK_SH if shared else fcntl.LOCK_EX, timeout)
        if not shared:
            # Who holds it is a courtesy to those who wait: a full disk must not stop an "rm" that makes room.
            with suppress(OSError):
                os.ftruncate(fd, 0)
                os.pwrite(fd, str(os.getpid()).encode(), 0)
        yield
    finally:
        os.close(fd)


def _acquire(fd: int, path: Path, operation: int, timeout: float | None) -> None:
    if timeout is None:
        fcntl.flock(fd, operation)
        return
    deadline = time.monotonic() + timeout
    pause = 0.002
    while True:
        try:
            fcntl.flock(fd, operation | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if time.monotonic() >= deadline:
                holder = os.pread(fd, 32, 0).decode("ascii", "replace").strip() or "unknown"
                raise DeadlineError(
                    f"{path.name} is locked by process {holder}", code="lock.busy",
                    hint="wait until the other command has finished, then try again",
                ) from None
        time.sleep(pause)
        pause = min(pause * 2, 0.1)
