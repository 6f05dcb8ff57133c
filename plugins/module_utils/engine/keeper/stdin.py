# SPDX-License-Identifier: GPL-3.0-or-later
"""What is typed at the console: the standard input of the guest's program, until somebody ends it."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .client import Client
    from .vm import Vm

MAX_QUEUE = 65536       # bytes kept for a guest that does not read its console
_ENDED = "input_ended"  # the field of the state record
_CTRL_D = b"\x04"       # the end of input at a terminal (termios(3), VEOF)


class Stdin:
    """The bytes on their way to the console of one VM. A guest that has not booted would lose them: they wait."""

    def __init__(self, vm: Vm) -> None:
        self.vm = vm
        self.queue = bytearray()
        self.sent: int | None = 0       # since the guest began; None: others have sent before this keeper

    def reset(self) -> None:
        """A new run of the guest, or one that this keeper finds running."""
        self.queue.clear()
        self.sent = None if self.vm.control.booted else 0

    def begin(self) -> None:
        """A run that the restart policy began reads nothing but the end, where the one before it has been given one."""
        if self.vm.fields.get(_ENDED) == "true":
            self._send_end()

    @property
    def full(self) -> bool:
        """Whether the guest is behind in reading its console."""
        return len(self.queue) >= MAX_QUEUE

    def type(self, client: Client, data: bytes) -> None:
        """Queue a client's bytes."""
        if self.vm.console is not None:
            self.queue += data
            self.send()
            client.rearm()

    def end(self) -> None:
        """No more comes: the program reads the end of the file behind what was typed (guest-interface.md, ``eof``)."""
        if self.vm.down:
            return                              # its directory may be another keeper's by now
        self.vm.record(**{_ENDED: "true"})      # on disk, for another keeper may begin the next run
        if self.vm.pid >= 0:
            self._send_end()

    def _send_end(self) -> None:
        control = self.vm.control
        if not control.spoken:
            self.queue += _CTRL_D       # the console of another kernel is a terminal
            self.send()
            return
        # The control port may overtake the console, so the command says where the end is.
        where: dict[str, Any] = {} if self.sent is None else {"after": self.sent + len(self.queue)}
        control.command({"cmd": "eof", **where})

    def send(self) -> None:
        """Send as much as the console takes."""
        vm = self.vm
        if vm.console is None or (vm.control.spoken and not vm.control.booted):
            return
        was_full = self.full
        try:
            while self.queue:
                count = vm.console.send(self.queue)
                del self.queue[:count]
                if self.sent is not None:
                    self.sent += count
        except BlockingIOError:
            pass
        except OSError:
            self.queue.clear()
        vm.rearm()
        if was_full and not self.full:
            for client in list(vm.clients):
                client.rearm()
