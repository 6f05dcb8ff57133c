# SPDX-License-Identifier: GPL-3.0-or-later
"""inotify(7) by libc: Python has no binding of its own, and polling files is no way to wait."""

from __future__ import annotations

import ctypes
import os
import struct
from collections.abc import Iterator
from pathlib import Path

MODIFY, MOVED_TO, CREATE, DELETE, DELETE_SELF = 0x2, 0x80, 0x100, 0x200, 0x400
_EVENT = struct.Struct("iIII")
_FLAGS = os.O_NONBLOCK | os.O_CLOEXEC


class Inotify:
    """An inotify instance; ``fd`` is readable when events wait."""

    def __init__(self) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        self.fd = self._check(self._libc.inotify_init1(_FLAGS))

    def watch(self, path: Path, mask: int) -> int:
        """Watch ``path``; the watch's number. :raises OSError:"""
        return self._check(self._libc.inotify_add_watch(self.fd, os.fsencode(path), ctypes.c_uint32(mask)))

    def read(self) -> Iterator[tuple[int, int, str]]:
        """The events that wait: watch, mask, name."""
        try:
            data = os.read(self.fd, 65536)
        except BlockingIOError:
            return
        offset = 0
        while offset + _EVENT.size <= len(data):
            watch, mask, _cookie, length = _EVENT.unpack_from(data, offset)
            offset += _EVENT.size
            yield watch, mask, os.fsdecode(data[offset:offset + length].rstrip(b"\0"))
            offset += length

    def close(self) -> None:
        """Give the descriptor back."""
        os.close(self.fd)

    @staticmethod
    def _check(result: int) -> int:
        if result < 0:
            error = ctypes.get_errno()
            raise OSError(error, os.strerror(error))
        return result
