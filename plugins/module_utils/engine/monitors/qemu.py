# SPDX-License-Identifier: GPL-3.0-or-later
"""QEMU: the command line of a VM, and which QEMU the host has."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from ansible_collections.uni.engine.plugins.module_utils.engine.errors import HostError, UsageError
from ansible_collections.uni.engine.plugins.module_utils.engine.monitors.base import Command, Disk, LaunchSpec, Nic
from ansible_collections.uni.engine.plugins.module_utils.engine.records import read_json, write_json
from ansible_collections.uni.engine.plugins.module_utils.engine.root import Root
from ansible_collections.uni.engine.plugins.module_utils.engine.units import PortForward

PROGRAM = "qemu-system-x86_64"
# docs/system/i386/microvm.rst; what a Uni guest does not use is off, each option ROM and timer costs start time.
MACHINES = {
    "microvm": "microvm,acpi=off,rtc=on,pit=off,pic=off,isa-serial=on,auto-kernel-cmdline=on,x-option-roms=off",
    "q35": "q35,usb=off,vmport=off,smbus=off,sata=off",
    "pc": "pc,usb=off,vmport=off",
}
MMIO_SLOTS = 8   # virtio-mmio transports of microvm without a second IO-APIC
# Spawning, privilege changes and scheduling are refused by seccomp from the first guest instruction on.
SANDBOX = "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny"


def find_program(name: str) -> str:
    """The full path of a program; "" when the host does not have it (shutil.which costs 6 ms of imports)."""
    for directory in [*os.environ.get("PATH", "").split(":"), "/usr/sbin", "/usr/bin", "/sbin", "/bin"]:
        path = f"{directory}/{name}"
        if directory.startswith("/") and os.access(path, os.X_OK) and not os.path.isdir(path):
            return path
    return ""


class Qemu:
    """The QEMU monitor."""

    def find(self, root: Root) -> tuple[str, str]:
        """Path and version, for example ``("/usr/bin/qemu-system-x86_64", "7.2.22")``.

        Asking QEMU costs 20 ms, so the answer is kept in the cache for as long as the file stays the same.

        :raises HostError: code ``qemu.missing`` or ``qemu.broken``
        """
        program = find_program(PROGRAM)
        if not program:
            raise HostError(f"{PROGRAM} is not installed", code="qemu.missing",
                            hint="install it: apt install qemu-system-x86, or run the role uni.engine.host")
        stat = os.stat(program)
        key = [program, stat.st_size, stat.st_mtime_ns]
        known = read_json(root.cache / "qemu.json")
        if isinstance(known, dict) and known.get("key") == key:
            return program, str(known.get("version"))
        try:
            result = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=30, check=False)
        except (OSError, subprocess.TimeoutExpired) as error:
            raise HostError(f"{program} does not run: {error}", code="qemu.broken") from error
        match = re.search(r"version (\d+\.\d+(?:\.\d+)?)", result.stdout)
        if not match:
            raise HostError(f"{program} does not say its version: {result.stderr.strip()[:200]}", code="qemu.broken")
        write_json(root.cache / "qemu.json", {"key": key, "version": match[1]})
        return program, match[1]

    def command(self, program: str, spec: LaunchSpec) -> Command:
        """The command line. Nothing secret is in it: configuration goes through a descriptor."""
        line = _Line(spec)
        words = [program, *line.base(), *line.ports()]
        for number, disk in enumerate(spec.disks):
            words += line.disk(number, disk)
        for number, nic in enumerate(spec.nics):
            words += line.nic(number, nic)
        if spec.rng:
            words += ["-object", "rng-builtin,id=rng0", "-device", line.device("virtio-rng", "rng=rng0")]
        if spec.incoming is not None:
            line.files.append(f"incoming:r:{spec.incoming}")
            words += ["-incoming", "fd:@incoming@"]
        return Command(tuple(words), tuple(line.files), tuple(line.sockets), tuple(line.taps))


class _Line:
    """Builds one command line; hands out descriptor names, fd sets and virtio-mmio slots."""

    def __init__(self, spec: LaunchSpec) -> None:
        self.spec = spec
        self.files: list[str] = []
        self.sockets: list[str] = []
        self.taps: list[str] = []
        self.slot = 0
        self.set = 0

    def base(self) -> Iterator[str]:
        """Machine, memory, kernel."""
        spec = self.spec
        if spec.machine not in MACHINES:
            raise UsageError(f"{spec.machine!r} is not a machine", code="qemu.machine",
                             hint=f"use {', '.join(MACHINES)}")
        yield from ("-name", f"{spec.name},debug-threads=on")
        yield from ("-M", MACHINES[spec.machine], "-accel", spec.accel, "-cpu", spec.cpu)
        yield from ("-m", f"size={-(-spec.memory // 1024)}k", "-smp", str(spec.cpus))
        yield from ("-nodefaults", "-no-user-config", "-no-reboot", "-display", "none", "-sandbox", SANDBOX)
        if spec.machine == "microvm":
            yield from ("-global", "virtio-mmio.force-legacy=false")  # QEMU 7.2 would offer virtio 0.9
        self.files.append(f"kernel:r:{spec.kernel}")
        yield from ("-kernel", "/proc/self/fd/@kernel@", "-append", spec.append)
        if spec.initrd is not None:
            self.files.append(f"initrd:r:{spec.initrd}")
            yield from ("-initrd", "/proc/self/fd/@initrd@")
        if spec.config is not None:
            self.files.append(f"config:r:{spec.config}")
            yield from ("-fw_cfg", "name=opt/uni/config,file=/proc/self/fd/@config@")

    def ports(self) -> Iterator[str]:
        """Console, control port, QMP. The keeper's connections wait in the sockets' backlogs already."""
        self.sockets += ["console", "qmp"]
        yield from ("-chardev", "socket,id=console,fd=@console@,server=on,wait=on", "-serial", "chardev:console")
        if self.spec.control:
            self.sockets.append("control")
            yield from ("-chardev", "socket,id=control,fd=@control@,server=on,wait=on")
            yield from ("-device", "isa-serial,chardev=control,iobase=0x2f8,irq=3")
            yield from ("-device", "isa-debug-exit,iobase=0x501,iosize=2")
        yield from ("-chardev", "socket,id=qmp,fd=@qmp@,server=on,wait=off", "-mon", "chardev=qmp,mode=control")
        if self.spec.gdb:
            self.sockets.append("gdb")
            yield from ("-chardev", "socket,id=gdb,fd=@gdb@,server=on,wait=off", "-gdb", "chardev:gdb")

    def device(self, kind: str, options: str) -> str:
        """A virtio device in the next transport, so that Linux and Uni name them in our order."""
        if self.spec.machine != "microvm":
            rom = ",romfile=" if kind == "virtio-net" else ""
            return f"{kind}-pci,disable-legacy=on,{options}{rom}"
        if self.slot >= MMIO_SLOTS:
            raise UsageError(f"{self.spec.name} has more than {MMIO_SLOTS} disks, networks and other devices",
                             code="qemu.devices", hint="use machine: q35, or fewer volumes")
        bus, self.slot = self.slot, self.slot + 1
        return f"{kind}-device,bus=virtio-mmio-bus.{bus},{options}"

    def _node(self, name: str, path: object, *, read_only: bool) -> tuple[dict[str, Any], list[str]]:
        """A block node on an inherited descriptor: QEMU needs no right to open the path."""
        self.set += 1
        self.files.append(f"{name}:{'r' if read_only else 'rw'}:{path}")
        node = {"driver": "file", "filename": f"/dev/fdset/{self.set}", "read-only": read_only}
        return node, ["-add-fd", f"fd=@{name}@,set={self.set}"]

    def disk(self, number: int, disk: Disk) -> list[str]:
        """A virtio-blk device. A full host disk becomes an I/O error in the guest, never a silent stop."""
        name = f"disk{number}"
        file, words = self._node(name, disk.path, read_only=disk.read_only)
        node: dict[str, Any] = {"node-name": name, "file": file, "read-only": disk.read_only}
        if disk.base is None:
            node["driver"] = "raw"
        else:
            base, more = self._node(f"base{number}", disk.base, read_only=True)
            words += more
            node.update(driver="qcow2", backing={"driver": "raw", "read-only": True, "file": base})
        if not disk.read_only:
            node["discard"] = file["discard"] = "unmap"
        serial = f",serial={disk.serial}" if disk.serial else ""
        options = f"drive=limited{number},werror=report,rerror=report{serial}"
        # The filter is always there, so that limits can be set while the VM runs.
        words += ["-object", throttle(number, disk.limits)]
        node = {"driver": "throttle", "node-name": f"limited{number}", "throttle-group": f"throttle{number}",
                "read-only": disk.read_only, "file": node, "discard": "ignore" if disk.read_only else "unmap"}
        return [*words, "-blockdev", json.dumps(node, sort_keys=True), "-device", self.device("virtio-blk", options)]

    def nic(self, number: int, nic: Nic) -> list[str]:
        """A virtio-net device."""
        name = f"net{number}"
        if nic.tap:
            self.taps.append(f"{name}:{nic.tap}")
            backend = f"tap,id={name},fd=@{name}@"
        else:
            backend = user_backend(number, nic.ports, restrict=nic.restrict)
        mtu = f",host_mtu={nic.mtu}" if nic.mtu else ""  # virtio 1.2, 5.1.3: VIRTIO_NET_F_MTU
        return ["-netdev", backend, "-device", self.device("virtio-net", f"netdev={name},mac={nic.mac}{mtu}")]


def hostfwd(port: PortForward) -> str:
    """A port forward as QEMU's user networking writes it."""
    return f"{port.proto}:{port.bind}:{port.host}-:{port.guest}"


def user_backend(number: int, ports: Iterable[PortForward], *, restrict: bool = False) -> str:
    """The value of ``-netdev`` for user networking."""
    forwards = "".join(f",hostfwd={hostfwd(port)}" for port in ports)
    return f"user,id=net{number},ipv6=off,restrict={'on' if restrict else 'off'}{forwards}"


def throttle(number: int, limits: Mapping[str, int]) -> str:
    """The value of ``-object`` for the limits of a disk; those that are 0 are left out."""
    words = (f",x-{key}={value}" for key, value in limits.items() if value)
    return f"throttle-group,id=throttle{number}{''.join(words)}"
