# SPDX-License-Identifier: GPL-3.0-or-later
"""What the daemon adds to the keepers: VMs come back after a reboot of the host, and a killed keeper is replaced.

Restarts, health checks and auto-removal are each VM's keeper's work and need no daemon. Killing or restarting the
daemon touches no VM: it only looks.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Mapping
from typing import Any

from ansible_collections.uni.engine.plugins.module_utils.daemon.inotify import CREATE, DELETE, MOVED_TO, Inotify
from ansible_collections.uni.engine.plugins.module_utils.engine.errors import UniError
from ansible_collections.uni.engine.plugins.module_utils.engine.root import Root
from ansible_collections.uni.engine.plugins.module_utils.engine.vms import api
from ansible_collections.uni.engine.plugins.module_utils.engine.vms import record as records
from ansible_collections.uni.engine.plugins.module_utils.engine.vms.spec import effective

REPAIR_SECONDS = 10.0  # between two looks at the networks' rules, which other firewalls flush when they are reloaded

_log = logging.getLogger("unid.supervisor")


def comes_back(policy: str, state: Mapping[str, Any], boot: str) -> bool:
    """Whether a VM that was lost shall start again when the host is back. Pure.

    ``always`` and ``unless-stopped`` do (a VM that its user stopped is not lost, so they differ only for stopped VMs:
    ``always`` starts those too after a reboot, as in Docker); ``on-failure`` does, for being cut off is a failure.
    """
    rebooted = str(state.get("boot", "")) not in ("", boot)
    status = str(state.get("status", "created"))
    name = policy.partition(":")[0]
    if status in (*records.RUNNING, "restarting"):
        return rebooted and name in ("always", "unless-stopped", "on-failure")
    return rebooted and status == "exited" and name == "always"


class Supervisor:
    """Watches the VMs of one root."""

    def __init__(self, root: Root) -> None:
        self._root = root
        self._inotify = Inotify()
        self._keepers: dict[str, int] = {}       # VM id -> pidfd of its keeper
        self._busy: set[asyncio.Task[None]] = set()
        self._closing = False
        self._networks: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Bring VMs back that the host's reboot ended, take over orphans, then watch."""
        from ansible_collections.uni.engine.plugins.module_utils.engine.keeper.identity import boot_id

        self._inotify.watch(self._root.vms, CREATE | MOVED_TO | DELETE)
        asyncio.get_running_loop().add_reader(self._inotify.fd, self._listed)
        boot = boot_id()
        for vm in await asyncio.to_thread(records.load_all, self._root):
            if comes_back(str(effective(vm.values, "restart_policy")), vm.state, boot):
                self._run(self._bring_back(vm.id, vm.name))
            else:
                self._look(vm.id)
        self._networks = asyncio.get_running_loop().create_task(self._keep_networks())

    async def _keep_networks(self) -> None:
        """Put back what a reload of another firewall took away; remove what killed callers had not finished."""
        from ansible_collections.uni.engine.plugins.module_utils.engine.networks import attachment

        while True:
            try:
                if await asyncio.to_thread(attachment.repair, self._root):
                    _log.warning("rules or interfaces of networks were missing and are back")
                for vm_id in await asyncio.to_thread(api.sweep, self._root):
                    _log.info("VM %s was never finished and is removed", vm_id)
            except UniError as error:
                _log.error("the networks could not be checked: %s", error)
            await asyncio.sleep(REPAIR_SECONDS)

    async def stop(self) -> None:
        """Stop watching. VMs and keepers go on."""
        self._closing = True
        if self._networks is not None:
            self._networks.cancel()
        loop = asyncio.get_running_loop()
        loop.remove_reader(self._inotify.fd)
        self._inotify.close()
        for fd in self._keepers.values():
            loop.remove_reader(fd)
            os.close(fd)
        self._keepers.clear()
        await asyncio.gather(*self._busy, return_exceptions=True)

    def watched(self) -> int:
        """How many keepers are watched."""
        return len(self._keepers)

    def state_changed(self, vm_id: str) -> None:
        """An event of a VM came: it may have got a keeper."""
        self._look(vm_id)

    def _listed(self) -> None:
        for _watch, mask, name in list(self._inotify.read()):
            if mask & (CREATE | MOVED_TO) and len(name) == records.ID_LENGTH:
                self._look(name)

    def _look(self, vm_id: str) -> None:
        """Watch the VM's keeper, or give it one when it lost its own."""
        if vm_id in self._keepers or self._closing:
            return
        try:
            vm = records.read(self._root.vms / vm_id)
        except UniError:
            return      # not written yet, or gone: its first event comes when it runs
        if records.orphaned(vm):
            self._run(self._adopt(vm_id))
            return
        keeper = vm.keeper()
        if keeper is None or not keeper.alive():
            return
        try:
            fd = os.pidfd_open(keeper.pid)
        except OSError:
            return
        self._keepers[vm_id] = fd
        asyncio.get_running_loop().add_reader(fd, self._keeper_ended, vm_id)

    def _keeper_ended(self, vm_id: str) -> None:
        fd = self._keepers.pop(vm_id)
        asyncio.get_running_loop().remove_reader(fd)
        os.close(fd)
        self._look(vm_id)

    async def _adopt(self, vm_id: str) -> None:
        from ansible_collections.uni.engine.plugins.module_utils.engine.vms import apply

        try:
            vm = await asyncio.to_thread(records.read, self._root.vms / vm_id)
            await asyncio.to_thread(apply.repair, self._root, vm)
            _log.info("VM %s had lost its keeper and has a new one", vm.name)
        except UniError as error:
            _log.error("VM %s has no keeper: %s", vm_id, error)
            return
        self._look(vm_id)

    async def _bring_back(self, vm_id: str, name: str) -> None:
        try:
            await asyncio.to_thread(api.start, self._root, vm_id)
            _log.info("VM %s is back", name)
        except UniError as error:
            _log.error("VM %s did not come back: %s", name, error)
            return
        self._look(vm_id)

    def _run(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._busy.add(task)
        task.add_done_callback(self._busy.discard)
