# SPDX-License-Identifier: GPL-3.0-or-later
"""A disk for QEMU that remembers every write: an NBD server of one export, kept in memory.

It answers writes late, when the guest has asked for nothing more for a moment. So it knows which writes the guest sent without
waiting for one another: a window. When a machine is killed, any part of its last window may be on the disk, and all of the windows
before it. The lines "done" that the guest prints meanwhile are counted in their order with the writes.

Protocol: https://github.com/NetworkBlockDevice/nbd/blob/master/doc/proto.md (fixed newstyle, simple replies).
"""

from __future__ import annotations

import select
import socket
import struct
import threading
from dataclasses import dataclass, field
from pathlib import Path

INIT, OPTION, REPLY = 0x4E42444D41474943, 0x49484156454F5054, 0x3E889045565A9
REQUEST, RESPONSE = 0x25609513, 0x67446698
OPT_EXPORT_NAME, OPT_ABORT, OPT_GO = 1, 2, 7
REP_ACK, REP_INFO, REP_UNSUP = 1, 3, 0x80000001
READ, WRITE, DISCONNECT, FLUSH, TRIM, ZEROES = 0, 1, 2, 3, 4, 6
FLAGS = 1 | 4                          # has flags, knows flush
EIO = 5
QUIET = 0.0015                         # seconds without a request that end a window


@dataclass
class Window:
    """Writes of which any part may be on disk while all earlier ones are; ``before`` and ``after`` count the lines "done"."""

    before: int
    after: int = 0
    writes: list[tuple[int, bytes]] = field(default_factory=list)


class Disk:
    """The server. ``start`` returns at once; ``finish`` waits for QEMU to be gone.

    ``fail`` is asked about each request (kind, offset, the bytes to write) and says whether it fails with EIO.
    """

    def __init__(self, image: bytes, place: Path) -> None:
        self.image = bytearray(image)
        self.windows: list[Window] = []
        self.lines = 0
        self.flushes: list[int] = []       # after how many windows
        self.console = bytearray()
        self._pending: list[int] = []
        self._open: Window | None = None
        self._listen = [self._listener(place / "nbd"), self._listener(place / "console")]
        self._thread = threading.Thread(target=self._serve, daemon=True)

    @staticmethod
    def _listener(path: Path) -> socket.socket:
        path.unlink(missing_ok=True)
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(path))
        listener.listen(1)
        return listener

    def fail(self, kind: int, offset: int, data: bytes) -> bool:
        """Shall this request fail? To be overridden."""
        return False

    def start(self) -> None:
        """Begin to serve."""
        self._thread.start()

    def finish(self, seconds: float) -> bool:
        """Wait for the end of the connection. False: it did not come."""
        self._thread.join(seconds)
        return not self._thread.is_alive()

    def stop(self) -> None:
        """Wake up a server that nobody connected to."""
        for listener in self._listen:
            listener.close()

    def _serve(self) -> None:
        # QEMU connects to the console first or to the disk first: both wait in their queues.
        console, _ = self._listen[1].accept()
        wire, _ = self._listen[0].accept()
        with console, wire:
            try:
                if self._greet(wire):
                    self._transmit(wire, console)
            except (ConnectionError, OSError):
                pass                       # QEMU was killed
            self._close_window(None)
        self.stop()

    @staticmethod
    def _take(wire: socket.socket, count: int) -> bytes:
        data = bytearray()
        while len(data) < count:
            more = wire.recv(count - len(data))
            if not more:
                raise ConnectionError
            data += more
        return bytes(data)

    def _greet(self, wire: socket.socket) -> bool:
        wire.sendall(struct.pack(">QQH", INIT, OPTION, 1))
        self._take(wire, 4)
        while True:
            _, option, length = struct.unpack(">QII", self._take(wire, 16))
            self._take(wire, length)
            if option == OPT_EXPORT_NAME:
                wire.sendall(struct.pack(">QH124x", len(self.image), FLAGS))
                return True
            if option == OPT_GO:
                info = struct.pack(">HQH", 0, len(self.image), FLAGS)
                wire.sendall(struct.pack(">QIII", REPLY, option, REP_INFO, len(info)) + info)
                wire.sendall(struct.pack(">QIII", REPLY, option, REP_ACK, 0))
                return True
            wire.sendall(struct.pack(">QIII", REPLY, option, REP_ACK if option == OPT_ABORT else REP_UNSUP, 0))
            if option == OPT_ABORT:
                return False

    def _close_window(self, wire: socket.socket | None) -> None:
        if self._open is None:
            return
        self._open.after = self.lines
        self.windows.append(self._open)
        self._open = None
        answers, self._pending = self._pending, []
        if wire is not None:
            wire.sendall(b"".join(struct.pack(">IIQ", RESPONSE, 0, handle) for handle in answers))

    def _listen_to(self, console: socket.socket) -> None:
        data = console.recv(65536)
        self.console += data
        self.lines = self.console.count(b"done\n")

    def _transmit(self, wire: socket.socket, console: socket.socket) -> None:
        talking = [wire, console]
        while True:
            ready, _, _ = select.select(talking, [], [], QUIET if self._open else None)
            if console in ready:           # first: what was printed was printed before the next request
                self._listen_to(console)
            if wire in ready and not self._request(wire):
                return
            if not ready:
                self._close_window(wire)

    def _request(self, wire: socket.socket) -> bool:
        _, _, kind, handle, offset, length = struct.unpack(">IHHQQI", self._take(wire, 28))
        data = self._take(wire, length) if kind == WRITE else b""
        if kind == DISCONNECT:
            return False
        if self.fail(kind, offset, data):
            wire.sendall(struct.pack(">IIQ", RESPONSE, EIO, handle))
        elif kind == WRITE:
            if self._open is None:
                self._open = Window(self.lines)
            self._open.writes.append((offset, data))
            self._pending.append(handle)
            self.image[offset:offset + length] = data
        elif kind == READ:
            wire.sendall(struct.pack(">IIQ", RESPONSE, 0, handle) + self.image[offset:offset + length])
        else:
            if kind == FLUSH:
                self._close_window(wire)
                self.flushes.append(len(self.windows))
            wire.sendall(struct.pack(">IIQ", RESPONSE, 0, handle))
        return True
