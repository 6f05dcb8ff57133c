# SPDX-License-Identifier: GPL-3.0-or-later
"""The keeper's entry: ``main([--adopt,] DIR...)``. Standard output is a pipe to the command that started it."""

from __future__ import annotations

import fcntl
import os
import sys

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

    def notify(self, line: str) -> None:
        """One line for the caller; a caller that is gone is no error."""
        if self.caller:
            try:
                os.write(1, line.encode())
            except OSError:
                self.caller = False

    def take(self, path: str, adopt: bool) -> None:
        """Start, or adopt, the VM in ``path``; one that another keeper holds is left alone."""
        vm = None
        try:
            holder = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            fcntl.flock(holder, fcntl.LOCK_EX | fcntl.LOCK_NB)  # held until this process ends
            vm = Vm(self.loop, path, self.notify, self._finished)
            self.vms.append(vm)
            if not adopt:
                vm.start()
            elif not vm.adopt():
                vm.lost()
        except (OSError, ValueError, KeyError) as error:
            os.write(2, f"uni keeper: {path}: {error}\n".encode())
            if vm is not None and vm in self.vms:
                self.vms.remove(vm)
            self.notify(f'{{"vm":"{os.path.basename(path)}","event":"failed"}}\n')

    def _finished(self, vm: Vm) -> None:
        self.vms.remove(vm)
        self.ended.append(vm)
        if not self.vms:
            self._leave()

    def _leave(self) -> None:
        """No VM is left: go as soon as every client has its answer."""
        if not any(client.output for vm in self.ended for client in vm.clients):
            self.loop.running = False
        else:
            self.loop.after(0.05, self._leave)
            self.loop.after(LINGER, lambda: setattr(self.loop, "running", False))


def main(arguments: list[str]) -> None:
    """Detach from the caller, take every directory, serve until all VMs are down."""
    adopt = arguments[:1] == ["--adopt"]
    if os.fork():
        os._exit(0)
    os.setsid()
    os.umask(0o077)
    keeper = Keeper()
    for path in arguments[1:] if adopt else arguments:
        keeper.take(path, adopt)
    if keeper.vms:
        keeper.loop.run()
    sys.exit(0)
