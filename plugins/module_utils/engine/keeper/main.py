# SPDX-License-Identifier: GPL-3.0-or-later
"""The keeper: the small process that stands behind running VMs, as conmon stands behind containers.

It is the parent of QEMU for one or several VMs. It holds the far ends of the console and the control port,
writes the console log, records how the guest ended, restarts it where its policy says so, and serves
``keeper.sock`` to whoever wants to attach, wait, stop or send a command. It owns no state that is not on disk:
when it is killed, QEMU goes on, and the next command starts a keeper that adopts the VM.

It runs from a copy of this package in the root directory (see :mod:`..keepers`), under ``python3 -I -S``, and
imports nothing of the engine; before QEMU runs, nothing that costs more than a millisecond.

Each VM's directory holds ``launch``: records ``KEY=VALUE`` ended by a NUL byte, the same shape as the guest's
configuration. Keys marked * may repeat.

=============  ================================================================================================
``arg*``       QEMU's command line; ``@NAME@`` stands for the number of a file descriptor
``file*``      ``NAME:r:PATH`` or ``NAME:rw:PATH``: opened by the keeper, passed as ``@NAME@``
``socket*``    ``NAME``: a listening UNIX socket ``NAME.sock`` (0600), passed as ``@NAME@``
``tap*``       ``NAME:INTERFACE:BRIDGE:ISOLATED:MTU``: a TAP interface made by the keeper, passed as ``@NAME@``
``become``     ``UID:GROUPS`` or nothing: what the keeper makes of itself before QEMU, see :mod:`.privileges`
``wrapper*``   the words that do the same where Python cannot: setpriv(1) and its options
``rlimit*``    ``NUMBER:SOFT:HARD`` (setrlimit(2));  ``cgroup*`` a cgroup directory that QEMU enters
``facts``      a JSON object, copied into every state record
``control``    1 when the guest speaks Uni's control port
``restart``    ``no``, ``always``, ``unless-stopped``, ``on-failure`` or ``on-failure:N``
``log_size``   bytes of one console log file;  ``log_files`` how many of them
``health``     a JSON object, see :mod:`.health`
``events``     path of the events log
``setup*``     a JSON object (``argv``, ``stdin``): a command that runs before QEMU, once the TAP interfaces are there
``cleanup*``   a JSON object (``argv``, ``stdin``, ``lock``): a command that runs when the VM is finally down
``takedown*``  the same, for what may change while the VM runs
``gone*``      a file that is removed then;  ``hangup*`` ``PID:START`` of a process that gets SIGHUP then
``remove``     1: remove the directory and every ``unlink*`` and ``rmdir*`` path when the VM is finally down
=============  ================================================================================================

Entry: ``main([--adopt])``. Standard input is a pipe with the directories of its VMs, one a line; they are started
(or adopted) as they come. Standard output is a pipe back to the command that started the keeper.
"""

from __future__ import annotations

import os
import select

from .loop import Loop
from .vm import Vm

LINGER = 5.0  # seconds that a last client has for reading its answer


class Keeper:
    """The VMs of one keeper process."""

    def __init__(self) -> None:
        self.loop = Loop()
        self.vms: list[Vm] = []
        self.ended: list[Vm] = []
        self.caller = True
        self.orders: bytes | None = b""

    def notify(self, line: str) -> None:
        """One line for the caller; a caller that is gone is no error."""
        if self.caller:
            try:
                os.write(1, line.encode())
            except OSError:
                self.caller = False

    def orders_ready(self, adopt: bool) -> None:
        """Directories came in on standard input, or its end."""
        if self.orders is None:
            return
        data = os.read(0, 65536)
        if not data:
            self.orders = None
            self.loop.forget(0)
            self._leave_when_idle()
            return
        *lines, self.orders = (self.orders + data).split(b"\n")
        for line in lines:
            self.take(os.fsdecode(line), adopt)

    def take(self, path: str, adopt: bool) -> None:
        """Start, or adopt, the VM in ``path``.

        One that another keeper holds, or brought to its end since the caller looked, is left alone.
        """
        vm = None
        try:
            vm = Vm(self.loop, path, self.notify, self._finished)
            self.vms.append(vm)
            if not adopt:
                vm.start()
            elif vm.has_ended():
                self.vms.remove(vm)
                vm.leave()
                self.notify(f'{{"vm":"{vm.id}","event":"taken"}}\n')
            elif not vm.adopt():
                vm.lost()
        except BlockingIOError:
            self.notify(f'{{"vm":"{os.path.basename(path)}","event":"taken"}}\n')
        except (OSError, ValueError, KeyError) as error:
            os.write(2, f"uni keeper: {path}: {error}\n".encode())
            if vm is not None and vm in self.vms:
                self.vms.remove(vm)
            self.notify(f'{{"vm":"{os.path.basename(path)}","event":"failed"}}\n')

    def _finished(self, vm: Vm) -> None:
        self.vms.remove(vm)
        self.ended.append(vm)
        self._leave_when_idle()

    def _leave_when_idle(self) -> None:
        if not self.vms and self.orders is None:
            self._leave()

    def _leave(self) -> None:
        """No VM is left: go as soon as every client has its answer."""
        if not any(client.output for vm in self.ended for client in vm.clients):
            self.loop.running = False
        else:
            self.loop.after(0.05, self._leave)
            self.loop.after(LINGER, lambda: setattr(self.loop, "running", False))


def main(arguments: list[str]) -> None:
    """Detach from the caller, take VMs, serve until all of them are down."""
    adopt = arguments[:1] == ["--adopt"]
    if os.fork():
        os._exit(0)
    os.setsid()
    os.umask(0o077)
    keeper = Keeper()
    keeper.loop.watch(0, lambda events: keeper.orders_ready(adopt), select.EPOLLIN)
    keeper.loop.run()
    raise SystemExit(0)
