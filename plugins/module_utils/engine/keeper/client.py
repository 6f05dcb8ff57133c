# SPDX-License-Identifier: GPL-3.0-or-later
"""A connection on ``keeper.sock``: one request (a JSON line), then one reply, or a raw console stream."""

from __future__ import annotations

import select

TYPE_CHECKING = False  # typing itself costs 4 ms
if TYPE_CHECKING:
    from _socket import socket as Socket
    from typing import Any

    from .loop import Loop
    from .vm import Vm

IN, OUT, GONE = select.EPOLLIN, select.EPOLLOUT, select.EPOLLHUP | select.EPOLLERR
MAX_REQUEST = 65536   # bytes of a request
MAX_QUEUE = 4 << 20   # bytes kept for an attached client that reads slowly; more is skipped, and said
CHUNK = 65536


class Client:
    """One connection. ``attached``: it gets the console; ``typing``: what it sends goes to the console."""

    def __init__(self, loop: Loop, vm: Vm, sock: Socket) -> None:
        self.loop, self.vm, self.sock = loop, vm, sock
        self.input = b""
        self.output = bytearray()
        self.attached = self.typing = self.closing = False
        self.skipped = 0
        loop.watch(sock.fileno(), self.handle, IN)

    def handle(self, events: int) -> None:
        """Called by the loop when the socket is ready."""
        if events & OUT:
            self.flush()
        if not events & (IN | GONE) or self.sock.fileno() < 0:
            return
        try:
            data = self.sock.recv(CHUNK)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._ended(events)
        elif self.attached:
            if self.typing:
                self.vm.stdin.type(self, data)
        elif not self.closing:
            self._request(data)

    def _ended(self, events: int) -> None:
        """End of the client's input: the program reads it too; a half-closed connection goes on reading the console."""
        if self.attached and not events & GONE:
            if self.typing:
                self.vm.stdin.end()
            self.typing = False
            self.rearm()
        else:
            self.close()

    def _request(self, data: bytes) -> None:
        self.input += data
        if b"\n" in self.input:
            line, _sep, self.input = self.input.partition(b"\n")
            self.vm.request(self, line)
        elif len(self.input) > MAX_REQUEST:
            self.close()

    def send(self, data: bytes) -> None:
        """Queue bytes for the client."""
        if len(self.output) + len(data) > MAX_QUEUE:
            self.skipped += len(data)
            return
        if self.skipped:
            self.output += f"\r\nuni: {self.skipped} bytes skipped\r\n".encode()
            self.skipped = 0
        self.output += data
        self.flush()

    def flush(self) -> None:
        """Send as much as the socket takes."""
        try:
            while self.output:
                del self.output[: self.sock.send(self.output)]
        except BlockingIOError:
            pass
        except OSError:
            self.close()
            return
        if self.closing and not self.output:
            self.close()
        else:
            self.rearm()

    def rearm(self) -> None:
        """Watch the socket for what is wanted of it now: room to send, and input unless the guest's is full."""
        wanted = OUT if self.output else 0
        if not self.closing and (self.typing or not self.attached) and not self.vm.stdin.full:
            wanted |= IN
        self.loop.watch(self.sock.fileno(), self.handle, wanted)

    def reply(self, obj: dict[str, Any]) -> None:
        """Answer the request, then close."""
        import json

        self.finish(json.dumps(obj).encode() + b"\n")

    def finish(self, data: bytes = b"") -> None:
        """Close the connection as soon as everything queued is sent."""
        self.closing = True
        self.send(data)

    def close(self) -> None:
        """Close now."""
        if self.sock.fileno() >= 0:
            self.loop.forget(self.sock.fileno())
            self.sock.close()
        self.vm.clients.discard(self)
