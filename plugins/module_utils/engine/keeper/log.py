# SPDX-License-Identifier: GPL-3.0-or-later
"""The console log: the CRI log format (``TIME stdout F|P TEXT``), capped and rotated.

Format: Kubernetes' CRI, "kubelet-cri-logging": P marks a line whose end had not come when it was written.
"""

from __future__ import annotations

import os
import time

CHUNK = 65536  # bytes of an unfinished line that are kept before they are written as a partial line


def utc(now: float) -> str:
    """``now`` (seconds since the epoch) as RFC 3339 with microseconds."""
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(now))}.{int(now % 1 * 1e6):06d}Z"


class Log:
    """One VM's console log. ``boot_offset`` is where the output of the current boot begins in the file."""

    def __init__(self, path: str, limit: int, files: int) -> None:
        self.path, self.limit, self.files = path, limit, files
        self.fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        self.size = self.boot_offset = os.fstat(self.fd).st_size
        self.partial = b""
        self.lost = 0

    def begin(self) -> None:
        """A boot begins: what the one before left without an end is no part of its first line."""
        self.flush()
        if self._ends_in_part():
            self._write(utc(time.time()).encode() + b" stdout F \n")
        self.boot_offset = self.size

    def _ends_in_part(self) -> bool:
        try:
            with open(self.path, "rb") as file:
                file.seek(max(0, self.size - 4 * CHUNK))
                fields = file.read().rstrip(b"\n").rpartition(b"\n")[2].split(b" ", 3)
        except OSError:
            return False
        return len(fields) > 2 and fields[2] == b"P"

    def feed(self, data: bytes) -> bool:
        """Take console output: whole lines are written. True when an unfinished line waits for its rest."""
        lines = (self.partial + data).split(b"\n")
        self.partial = lines.pop()
        if lines:
            stamp = utc(time.time()).encode() + b" stdout F "
            self._write(stamp + (b"\n" + stamp).join(lines) + b"\n")
        if len(self.partial) > CHUNK:
            self.flush()
        return bool(self.partial)

    def flush(self) -> None:
        """Write the unfinished line, if there is one, marked P."""
        if self.partial:
            data, self.partial = self.partial, b""
            self._write(utc(time.time()).encode() + b" stdout P " + data + b"\n")

    def _write(self, data: bytes) -> None:
        """Append. A full disk costs output, never the VM; how much was lost is said when writing works again."""
        if self.size and self.size + len(data) > self.limit:
            self._rotate()
        try:
            if self.lost:
                note = f"{utc(time.time())} stdout F uni: {self.lost} bytes of this log were lost: disk full\n"
                self.size += os.write(self.fd, note.encode())
                self.lost = 0
            self.size += os.write(self.fd, data)
        except OSError:
            self.lost += len(data)

    def _rotate(self) -> None:
        """console.log becomes console.log.1 and so on; the oldest goes. There is a console.log at every moment."""
        fresh, older = f"{self.path}.fresh", f"{self.path}.older"
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_TRUNC
        try:
            fd = os.open(fresh, flags, 0o600)
        except OSError:
            return  # no space for a directory entry: go on in the file that is open
        try:
            for number in range(self.files - 1, 1, -1):
                if os.path.exists(f"{self.path}.{number - 1}"):
                    os.rename(f"{self.path}.{number - 1}", f"{self.path}.{number}")
            if self.files > 1:
                if os.path.exists(older):
                    os.unlink(older)
                os.link(self.path, older)
                os.rename(older, f"{self.path}.1")
            os.rename(fresh, self.path)
        except OSError:
            os.close(fd)
            return
        os.close(self.fd)
        self.fd, self.size, self.boot_offset = fd, 0, 0

    def position(self) -> bytes:
        """Where the log stands now, as a JSON line; everything that came so far is in it."""
        self.flush()
        return f'{{"inode":{os.fstat(self.fd).st_ino},"size":{self.size}}}\n'.encode()

    def replay(self) -> bytes:
        """The console's bytes since this boot, as far as the current file still has them."""
        parts = []
        with open(self.path, "rb") as file:
            file.seek(self.boot_offset)
            for line in file:
                fields = line.split(b" ", 3)
                if len(fields) == 4:
                    parts.append(fields[3] if fields[2] == b"F" else fields[3][:-1])
        return b"".join(parts) + self.partial

    def close(self) -> None:
        """Write what waits and close the file."""
        self.flush()
        os.close(self.fd)
