# SPDX-License-Identifier: GPL-3.0-or-later
"""A person at a VM's console: bytes from the guest to standard output, keys and signals to the guest."""

from __future__ import annotations

import os
import select
import signal
import socket
import sys
from collections.abc import Callable
from typing import Any

from ansible_collections.uni.engine.plugins.module_utils.engine.errors import UniError

_LEAVE = b"\x1d"  # Ctrl-], as telnet(1) and virsh(1) have it


class Session:
    """One attached console.

    :param raw: every key goes to the guest; ``leave`` leaves. Otherwise Ctrl-C sends SIGINT to the program, and a
        second one ends the VM
    :param typing: standard input is typed at the console
    :param no_input: the program's standard input ends at once
    :param leave: the keys that leave, when ``raw``
    """

    def __init__(self, sock: socket.socket, *, raw: bool, typing: bool, signal: Callable[[int], None],
                 no_input: bool = False, leave: bytes = _LEAVE) -> None:
        self.sock = sock
        self.raw = raw and sys.stdin.isatty()
        self.typing = typing
        self.no_input = no_input
        self.signal = signal
        self.interrupts = 0
        self.received = 0       # bytes of the console
        self.leave = leave
        self.held = b""  # the beginning of ``leave`` that was typed and is kept until the rest decides

    def run(self) -> bool:
        """Until the guest ends (False) or the person leaves (True)."""
        terminal = self._enter_raw() if self.raw else None
        # Whoever ends this command means the program: the guest gets the signal, and its end is waited for.
        before = {number: signal.signal(number, self._forward) for number in (signal.SIGTERM, signal.SIGHUP)}
        try:
            return self._pump()
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
            self.sock.close()
            if terminal is not None:
                import termios

                termios.tcsetattr(0, termios.TCSADRAIN, terminal)
                sys.stderr.write("\n")

    def _pump(self) -> bool:
        poll = select.poll()
        poll.register(self.sock, select.POLLIN)
        if self.typing:
            poll.register(0, select.POLLIN)
        elif self.no_input:
            self.sock.shutdown(socket.SHUT_WR)
        while True:
            try:
                ready = poll.poll()
                for handle, _events in ready:
                    if handle == self.sock.fileno():
                        data = self.sock.recv(65536)
                        if not data:
                            return False
                        self.received += len(data)
                        _write(data)
                    elif self._typed(poll):
                        return True
            except KeyboardInterrupt:
                self._interrupt()
            except ConnectionResetError:
                return False

    def _typed(self, poll: select.poll) -> bool:
        data = os.read(0, 4096)
        if not data:
            poll.unregister(0)
            self.sock.sendall(self.held)
            self.sock.shutdown(socket.SHUT_WR)
            return False
        if self.raw:
            data, self.held, left = split_leave(self.held + data, self.leave)
            if left:
                return True
        self.sock.sendall(data)
        return False

    def _interrupt(self) -> None:
        self.interrupts += 1
        try:
            self.signal(signal.SIGINT if self.interrupts == 1 else signal.SIGKILL)
        except UniError as error:
            sys.stderr.write(f"uni: {error}\n")

    def _forward(self, number: int, _frame: object) -> None:
        try:
            self.signal(number)
        except UniError as error:
            sys.stderr.write(f"uni: {error}\n")

    def _enter_raw(self) -> Any:
        import termios
        import tty

        before = termios.tcgetattr(0)
        tty.setraw(0)
        return before


def _write(data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(1, view):]


def parse_keys(text: str) -> bytes:
    """``ctrl-p,ctrl-q`` or ``ctrl-],q`` as the bytes that a terminal sends for it.

    :raises UsageError: code ``cli.keys``
    """
    keys = b""
    for part in text.split(","):
        name = part.strip()
        control = name[5:].upper() if name.lower().startswith("ctrl-") else ""
        if len(control) == 1 and "@" <= control <= "_":
            keys += bytes([ord(control) & 0x1F])
        elif len(name) == 1 and name.isascii() and name.isprintable():
            keys += name.encode()
        else:
            from ansible_collections.uni.engine.plugins.module_utils.engine.errors import UsageError

            raise UsageError(f"--detach-keys {text!r} is not understood", code="cli.keys",
                             hint="keys with commas between them, such as ctrl-] or ctrl-p,ctrl-q")
    return keys


def split_leave(data: bytes, leave: bytes) -> tuple[bytes, bytes, bool]:
    """What of the typed bytes goes to the guest, what is kept (they may be the beginning of ``leave``), and whether
    ``leave`` came. Pure.
    """
    at = data.find(leave)
    if at >= 0:
        return data[:at], b"", True
    for length in range(min(len(leave) - 1, len(data)), 0, -1):
        if data.endswith(leave[:length]):
            return data[:-length], data[-length:], False
    return data, b"", False
