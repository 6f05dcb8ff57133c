# SPDX-License-Identifier: GPL-3.0-or-later
"""Monitors: what turns a launch specification into a process. One file each; a new one is one more line here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from ansible_collections.uni.engine.plugins.module_utils.engine.errors import UsageError
from ansible_collections.uni.engine.plugins.module_utils.engine.root import Root
from ansible_collections.uni.engine.plugins.module_utils.engine.units import PortForward

NAMES = ("qemu",)


@dataclass(frozen=True)
class Disk:
    """A block device: a qcow2 overlay on a raw ``base``, or a raw file. ``limits``: see :mod:`..vms.disklimits`."""

    path: Path
    base: Path | None = None
    read_only: bool = False
    serial: str = ""
    limits: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Nic:
    """A network interface: user networking with ``ports``, or a TAP interface made or opened by the keeper.

    ``tap`` is the text of the keeper's ``tap`` record without its name. ``mtu``: the guest is told; 0 for nothing.
    """

    mac: str
    tap: str = ""
    ports: tuple[PortForward, ...] = ()
    restrict: bool = False
    address: str = ""
    network: str = ""
    mtu: int = 0


@dataclass(frozen=True)
class LaunchSpec:
    """Everything a monitor needs to know; sizes in bytes."""

    name: str
    machine: str
    accel: str
    memory: int
    cpus: int
    kernel: Path
    append: str
    cpu: str = "max"
    initrd: Path | None = None
    config: Path | None = None
    disks: tuple[Disk, ...] = ()
    nics: tuple[Nic, ...] = ()
    control: bool = True
    rng: bool = True
    gdb: bool = False
    incoming: Path | None = None


@dataclass(frozen=True)
class Command:
    """A command line with ``@NAME@`` where the keeper puts descriptors, and what the keeper opens for it."""

    argv: tuple[str, ...]
    files: tuple[str, ...]
    sockets: tuple[str, ...]
    taps: tuple[str, ...] = ()


class Monitor(Protocol):
    """What a monitor module offers."""

    def find(self, root: Root) -> tuple[str, str]:
        """The program's path and version. HostError when it is missing."""

    def command(self, program: str, spec: LaunchSpec) -> Command:
        """The command line."""


def get(name: str) -> Monitor:
    """The monitor called ``name``.

    :raises UsageError: code ``monitor.unknown``
    """
    if name == "qemu":
        from ansible_collections.uni.engine.plugins.module_utils.engine.monitors import qemu

        return qemu.Qemu()
    raise UsageError(f"{name!r} is not a monitor", code="monitor.unknown", hint=f"use {' or '.join(NAMES)}")
