# SPDX-License-Identifier: GPL-3.0-or-later
"""Reading a VM's console: the rotated log in the CRI format, and the live stream from its keeper."""

from __future__ import annotations

import calendar
import json
import os
import socket
import time
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from ansible_collections.uni.engine.plugins.module_utils.engine import keepers
from ansible_collections.uni.engine.plugins.module_utils.engine.errors import StateError, UsageError

MAX_LINE = 1 << 20      # bytes that are put together to a line
ATTEMPTS = 400          # to read the log's files while they stay where they are


@dataclass(frozen=True)
class Line:
    """One console line (or the part of one that had come): ``time`` in seconds since the epoch, UTC ``stamp``."""

    stamp: str
    text: bytes
    whole: bool = True

    @property
    def time(self) -> float:
        """Seconds since the epoch."""
        return parse_stamp(self.stamp)

    def raw(self) -> bytes:
        """The console's bytes."""
        return self.text + (b"\n" if self.whole else b"")


def parse_stamp(text: str) -> float:
    """RFC 3339 in UTC (as the keeper writes it) to seconds since the epoch.

    :raises UsageError: code ``logs.time``
    """
    try:
        whole, _sep, fraction = text.rstrip("Z").partition(".")
        return calendar.timegm(time.strptime(whole, "%Y-%m-%dT%H:%M:%S")) + float(f"0.{fraction or 0}")
    except ValueError:
        raise UsageError(f"{text!r} is not a time", code="logs.time",
                         hint="use 10m, 1h30m or 2026-01-31T12:00:00Z") from None


def parse_since(text: str | float | None, now: float | None = None) -> float:
    """A moment: seconds since the epoch, a duration back from now (``10m``), or a time stamp. None: the beginning."""
    if text is None or text == "":
        return 0.0
    if isinstance(text, (int, float)):
        return float(text)
    if "T" in text:
        return parse_stamp(text)
    from ansible_collections.uni.engine.plugins.module_utils.engine.units import parse_duration

    try:
        return (time.time() if now is None else now) - parse_duration(text, what="since")
    except UsageError as error:
        raise UsageError(error.message, code=error.code, hint="use 10m, 1h30m or 2026-01-31T12:00:00Z") from None


def parse_line(record: bytes) -> Line | None:
    """One record of the log; None for a damaged one."""
    fields = record.rstrip(b"\n").split(b" ", 3)
    if len(fields) != 4 or fields[2] not in (b"F", b"P"):
        return None
    return Line(fields[0].decode("ascii", "replace"), fields[3], fields[2] == b"F")


@contextmanager
def _files(directory: Path) -> Iterator[list[BinaryIO]]:
    """The log files, open, the oldest first: as they are between two rotations, each once."""
    current, rotating = directory / "console.log", directory / "console.log.fresh"
    for attempt in range(ATTEMPTS):
        with ExitStack() as stack:
            found: dict[int, BinaryIO] = {}
            settled = not rotating.exists()
            try:
                for path in _newest_first(directory):
                    file = stack.enter_context(path.open("rb"))
                    found.setdefault(os.fstat(file.fileno()).st_ino, file)
                settled = settled and not rotating.exists() and current.stat().st_ino in list(found)[:1]
            except FileNotFoundError:
                settled = not current.exists()  # never started, or removed; else it was just renamed
            if settled or attempt == ATTEMPTS - 1:  # a keeper that was killed while it rotated leaves it so
                yield list(found.values())[::-1]
                return
        time.sleep(0.001)


def _newest_first(directory: Path) -> Iterator[Path]:
    """The names of the log's files; which older ones there are is seen when the first has been opened."""
    yield directory / "console.log"
    numbered = [path for path in directory.glob("console.log.*") if path.suffix[1:].isdigit()]
    yield from sorted(numbered, key=lambda path: int(path.suffix[1:]))


def _stored(directory: Path, since: float, until: Mapping[str, int]) -> Iterator[Line]:
    """The log's lines, the oldest first, up to ``until``; a line that came in parts is one again.

    Its time is that of its first part. More than MAX_LINE bytes, and a last line without an end, are not ``whole``.
    """
    stamp, text = "", b""
    for line in _records(directory, since, until):
        stamp, text = stamp if text else line.stamp, text + line.text
        if line.whole or len(text) >= MAX_LINE:
            yield Line(stamp, text, line.whole)
            text = b""
    if text:
        yield Line(stamp, text, whole=False)


def _records(directory: Path, since: float, until: Mapping[str, int]) -> Iterator[Line]:
    """The log's records, the oldest first, up to ``until`` (inode and size of the file that was written then)."""
    with _files(directory) as files:
        for file in files:
            last = os.fstat(file.fileno()).st_ino == until.get("inode")
            left = until["size"] if last else -1
            for record in file:
                left -= len(record)
                if last and left < 0:
                    return
                line = parse_line(record)
                if line is not None and (not since or line.time >= since):
                    yield line
            if last:
                return


def read(directory: Path, *, tail: int | None = None, since: str | float | None = None,
         follow: bool = False) -> Iterator[Line]:
    """The console's lines: the last ``tail`` ones, those after ``since``, and with ``follow`` what still comes.

    Following ends when the VM has ended. Nothing is left out between the two, and nothing comes twice.
    """
    live: socket.socket | None = None
    until: dict[str, int] = {}
    if follow:
        try:
            live = attach(directory, typing=False, replay=False, position=True)
            until = _position(live)
        except StateError:
            live = None
    lines = _stored(directory, parse_since(since), until)
    yield from lines if tail is None else deque(lines, maxlen=max(tail, 0))
    if live is not None:
        yield from _follow(live)


def _receive(live: socket.socket, size: int) -> bytes:
    """What the keeper sent; nothing when it has gone, be it with a request of ours unread (unix(7): ECONNRESET)."""
    try:
        return live.recv(size)
    except ConnectionResetError:
        return b""


def _position(live: socket.socket) -> dict[str, int]:
    """The first line of a stream with ``position``; {} when the VM has just ended."""
    text = b""
    while not text.endswith(b"\n"):
        byte = _receive(live, 1)
        if not byte:
            return {}
        text += byte
    position: dict[str, int] = json.loads(text)
    return position


def _follow(live: socket.socket) -> Iterator[Line]:
    """Lines from the keeper's stream; a part of a line is passed on as it comes."""
    from ansible_collections.uni.engine.plugins.module_utils.engine.vms.record import now

    with live:
        while True:
            data = _receive(live, 65536)
            if not data:
                return
            *whole, rest = data.split(b"\n")
            for text in whole:
                yield Line(now(), text)
            if rest:
                yield Line(now(), rest, whole=False)


def attach(directory: Path, *, typing: bool, replay: bool, position: bool = False) -> socket.socket:
    """A stream of the console's bytes; what is sent is typed at the console (with ``typing``).

    :param replay: begin with what the console has shown since the boot
    :param position: begin with a JSON line that says where in the log the stream goes on
    :raises StateError: code ``vm.not_running``
    """
    sock = keepers.connect(directory)
    if sock is None:
        raise StateError(f"VM {directory.name} is not running", code="vm.not_running")
    request = {"op": "attach", "typing": typing, "replay": replay, "position": position}
    sock.sendall(json.dumps(request).encode() + b"\n")
    return sock
