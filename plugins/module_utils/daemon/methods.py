# SPDX-License-Identifier: GPL-3.0-or-later
"""The daemon's methods: the engine's functions by name, with plain parameters and plain results."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from ansible_collections.uni.engine.plugins.module_utils.daemon.commands import Commands
from ansible_collections.uni.engine.plugins.module_utils.daemon.events import Events
from ansible_collections.uni.engine.plugins.module_utils.daemon.rpc import Methods
from ansible_collections.uni.engine.plugins.module_utils.engine import kernels
from ansible_collections.uni.engine.plugins.module_utils.engine.client import own_version
from ansible_collections.uni.engine.plugins.module_utils.engine.images import api as images
from ansible_collections.uni.engine.plugins.module_utils.engine.root import Root
from ansible_collections.uni.engine.plugins.module_utils.engine.stacks import api as stacks
from ansible_collections.uni.engine.plugins.module_utils.engine.stacks.spec import parse_stack
from ansible_collections.uni.engine.plugins.module_utils.engine.vms import api as vms
from ansible_collections.uni.engine.plugins.module_utils.engine.vms.spec import VmSpec
from ansible_collections.uni.engine.plugins.module_utils.engine.volumes import api as volumes

# What becomes of them while the daemon renews itself (see rpc.Method).
_WAITS = {"vm.wait": "again", "vm.logs": "cut"}


def build(root: Root, events: Events, commands: Commands) -> Methods:
    """The table of all methods on one root."""
    methods = Methods(own_version())
    for prefix, group in (("vm", VmMethods(root)), ("image", ImageMethods(root)), ("stack", StackMethods(root)),
                          ("volume", VolumeMethods(root)), ("kernel", KernelMethods(root))):
        for method in dir(type(group)):
            if not method.startswith("_"):
                name = f"{prefix}.{method}"
                methods.add(name, getattr(group, method), waits=_WAITS.get(name, ""))

    async def subscribe() -> AsyncIterator[dict[str, Any]]:
        """Every event of every VM from now on."""
        async for event in events.subscribe():
            yield event

    methods.add("events.subscribe", subscribe, waits="again")
    methods.add("command.start", commands.start)
    return methods


def _result(result: Any, **more: Any) -> dict[str, Any]:
    return {"changed": result.plan.changed, "actions": result.plan.describe(), **more}


class VmMethods:
    """VMs."""

    def __init__(self, root: Root) -> None:
        self._root = root

    def list(self, everything: bool = False, filters: dict[str, str] | None = None) -> Any:
        """VMs: running ones, or all."""
        return vms.list_vms(self._root, everything=everything, filters=filters)

    def inspect(self, vm: str) -> dict[str, Any]:
        """Everything about a VM."""
        return vms.inspect(self._root, vm)

    def ensure(self, name: str, options: dict[str, Any] | None = None, state: str = "started", check: bool = False,
               recreate: str = "auto", timeout: float | None = None) -> dict[str, Any]:
        """Bring a VM to a state with these options; nothing happens where nothing is to be done."""
        result = vms.ensure(self._root, VmSpec.parse(name, options), state, check=check, recreate=recreate,
                            timeout=timeout)
        return _result(result, vm=result.vm)

    def run(self, name: str, options: dict[str, Any], timeout: float | None = None) -> dict[str, Any]:
        """Create and start a VM that must not exist yet."""
        return vms.run(self._root, VmSpec.parse(name, options), timeout=timeout)

    def start(self, vm: str, timeout: float | None = None) -> dict[str, Any]:
        """Start a VM that exists."""
        result = vms.start(self._root, vm, timeout=timeout)
        return _result(result, vm=result.vm)

    def stop(self, vm: str, grace: float | None = None) -> dict[str, Any]:
        """Ask the program to end; kill it after the grace."""
        result = vms.stop(self._root, vm, grace=grace)
        return _result(result, vm=result.vm)

    def restart(self, vm: str, grace: float | None = None) -> dict[str, Any]:
        """Stop and start."""
        return vms.restart(self._root, vm, grace=grace)

    def kill(self, vm: str, signal: int = 9) -> None:
        """End a VM at once, or send its program a signal."""
        vms.kill(self._root, vm, signal)

    def pause(self, vm: str) -> None:
        """Hold the CPUs."""
        vms.pause(self._root, vm)

    def unpause(self, vm: str) -> None:
        """Let the CPUs go on."""
        vms.unpause(self._root, vm)

    def rename(self, vm: str, name: str) -> dict[str, Any]:
        """Give a VM another name."""
        return vms.rename(self._root, vm, name)

    def remove(self, vm: str, force: bool = False) -> None:
        """Remove a VM; its volumes stay."""
        vms.remove(self._root, vm, force=force)

    def wait(self, vm: str, timeout: float | None = None) -> dict[str, Any]:
        """Wait until a VM has ended; how it ended."""
        return vms.wait(self._root, vm, timeout=timeout)

    async def logs(self, vm: str, follow: bool = False, tail: int | None = None,
                   since: str | None = None) -> AsyncIterator[dict[str, Any]]:
        """A VM's console, line by line."""
        lines = iter(await asyncio.to_thread(vms.logs, self._root, vm, follow=follow, tail=tail, since=since))
        while True:
            line = await asyncio.to_thread(next, lines, None)
            if line is None:
                return
            yield {"time": line.stamp, "line": line.text.decode("utf-8", "replace"), "whole": line.whole}


class ImageMethods:
    """Images."""

    def __init__(self, root: Root) -> None:
        self._root = root

    def list(self) -> Any:
        """All images, the newest first."""
        return [image.to_dict() for image in images.list_images(self._root)]

    def inspect(self, name: str) -> dict[str, Any]:
        """Everything about an image."""
        return images.inspect(self._root, name).to_dict()

    def tag(self, name: str, target: str) -> dict[str, Any]:
        """Give an image a further name."""
        return _result(images.tag(self._root, name, target))

    def remove(self, name: str, force: bool = False) -> dict[str, Any]:
        """Remove an image, or one of its names."""
        return _result(images.ensure_absent(self._root, name, force=force))


class StackMethods:
    """Stacks."""

    def __init__(self, root: Root) -> None:
        self._root = root

    def list(self) -> Any:
        """All stacks."""
        return stacks.stacks(self._root)

    def ps(self, name: str) -> Any:
        """A stack's VMs."""
        return stacks.ps(self._root, name)

    def plan(self, text: str, name: str | None = None, variables: dict[str, str] | None = None) -> dict[str, Any]:
        """What bringing a stack up would do."""
        return self._up(text, name, variables, check=True)

    def up(self, text: str, name: str | None = None, variables: dict[str, str] | None = None) -> dict[str, Any]:
        """Bring a stack up."""
        return self._up(text, name, variables, check=False)

    def down(self, name: str, volumes: bool = False, timeout: float | None = None) -> dict[str, Any]:
        """Take a stack down."""
        return _result(stacks.down(self._root, name, volumes=volumes, timeout=timeout))

    def _up(self, text: str, name: str | None, variables: dict[str, str] | None, *, check: bool) -> dict[str, Any]:
        # A relative env_file has no meaning for a daemon: it starts at the root directory.
        stack = parse_stack(text, file="stack", name=name, directory=Path("/"), variables=variables)
        result = stacks.up(self._root, stack, check=check)
        return _result(result, name=result.name, services=result.services, warnings=list(result.warnings))


class VolumeMethods:
    """Volumes."""

    def __init__(self, root: Root) -> None:
        self._root = root

    def list(self) -> Any:
        """All volumes."""
        return [volume.to_dict() for volume in volumes.list_volumes(self._root)]

    def inspect(self, name: str) -> dict[str, Any]:
        """Everything about a volume."""
        return volumes.inspect(self._root, name).to_dict()

    def create(self, name: str, size: str | None = None) -> dict[str, Any]:
        """Create a volume, or grow it."""
        return _result(volumes.ensure_present(self._root, volumes.VolumeSpec.parse(name, size)))

    def remove(self, name: str) -> dict[str, Any]:
        """Remove a volume with its data."""
        return _result(volumes.ensure_absent(self._root, name))


class KernelMethods:
    """Kernel releases of this host."""

    def __init__(self, root: Root) -> None:
        self._root = root

    def list(self) -> Any:
        """All releases, the newest first."""
        return [release.to_dict() for release in kernels.list_releases(self._root)]

    def use(self, version: str) -> dict[str, Any]:
        """Choose the release that VMs boot by default."""
        plan, release = kernels.use(self._root, version)
        return {"changed": plan.changed, "actions": plan.describe(), "kernel": release.to_dict()}
