# SPDX-License-Identifier: GPL-3.0-or-later
"""cgroup v2: limits of CPU, memory, tasks and I/O for a VM's QEMU.

Interface: Linux's Documentation/admin-guide/cgroup-v2.rst. Every VM has ``<mount>/uni/<id>``; controllers that the
host has not delegated are said, and with ``hardening: required`` refused, never silently left out.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ansible_collections.uni.engine.plugins.module_utils.engine.errors import HostError

GROUP = "uni"
PERIOD = 100_000  # microseconds of cpu.max


def mount(mounts: str = "/proc/self/mounts") -> Path | None:
    """Where cgroup v2 is mounted; None when it is not."""
    try:
        lines = Path(mounts).read_text().splitlines()
    except OSError:
        return None
    for line in lines:
        fields = line.split()
        if len(fields) > 2 and fields[2] == "cgroup2":
            return Path(fields[1].replace("\\040", " "))
    return None


def settings(limits: Mapping[str, Any], device: str = "") -> Iterator[tuple[str, str, str]]:
    """(controller, file, text) for each limit. ``device``: ``MAJOR:MINOR`` of the disk that holds the VM."""
    if "cpu" in limits:
        yield "cpu", "cpu.max", f"{int(float(limits['cpu']) * PERIOD)} {PERIOD}"
    if "cpu_weight" in limits:
        yield "cpu", "cpu.weight", str(limits["cpu_weight"])
    if "memory" in limits:
        yield "memory", "memory.max", str(limits["memory"])
    if "pids" in limits:
        yield "pids", "pids.max", str(limits["pids"])
    if any(name in limits for _key, name in _RATES):
        # A key that is left out would keep what it was.
        yield "io", "io.max", f"{device} " + " ".join(f"{key}={limits.get(name, 'max')}" for key, name in _RATES)


_RATES = (("rbps", "io_read_bps"), ("wbps", "io_write_bps"), ("riops", "io_read_iops"), ("wiops", "io_write_iops"))
UNLIMITED = {"cpu.max": f"max {PERIOD}", "cpu.weight": "100", "memory.max": "max", "pids.max": "max"}


def directory(vm_id: str) -> Path | None:
    """The VM's cgroup; None where the host has no cgroup v2."""
    base = mount()
    return None if base is None else base / GROUP / vm_id


def prepare(vm_id: str, limits: Mapping[str, Any], home: Path) -> Path:
    """Make the VM's cgroup and set its limits.

    :param home: the VM's directory: I/O is limited on the disk that holds it
    :raises HostError: code ``cgroup.unavailable``: a limit was asked for that the host cannot keep
    """
    path = directory(vm_id)
    if path is None or not os.access(path.parent.parent, os.W_OK):
        raise HostError("resource limits need cgroup v2, writable for this user", code="cgroup.unavailable",
                        hint="run as root on a host with the unified hierarchy, or leave limits out")
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise HostError(f"cannot make the cgroup {path}: {error.strerror}", code="cgroup.unavailable") from error
    apply(vm_id, limits, home)
    return path


def apply(vm_id: str, limits: Mapping[str, Any], home: Path) -> None:
    """Set the limits of a VM, also while it runs; limits that are not named any more are lifted.

    :raises HostError: code ``cgroup.controller``
    """
    path = directory(vm_id)
    if path is None or not path.is_dir():
        if limits:
            prepare(vm_id, limits, home)
        return
    wanted = {file: (controller, text) for controller, file, text in settings(limits, _disk(home))}
    for file, text in UNLIMITED.items():
        if file not in wanted and (path / file).exists():
            _write(path / file, text)
    if "io.max" not in wanted:
        for device in _lines(path / "io.max"):
            _write(path / "io.max", f"{device.split()[0]} " + " ".join(f"{key}=max" for key, _name in _RATES))
    for file, (controller, text) in wanted.items():
        for group in (path.parent.parent, path.parent):
            _write(group / "cgroup.subtree_control", f"+{controller}")
        if not _write(path / file, text):
            raise HostError(f"this host cannot limit {controller} by cgroup v2 ({path / file})",
                            code="cgroup.controller", hint="is that controller bound to cgroup v1? leave the limit out")


def in_force(vm_id: str) -> dict[str, str]:
    """The limits that the host's kernel keeps for a VM, as its files have them; what is not limited is left out."""
    path = directory(vm_id)
    if path is None or not path.is_dir():
        return {}
    found = {file: " ".join(_lines(path / file)) for file in (*UNLIMITED, "io.max")}
    return {file: text for file, text in found.items() if text and text != UNLIMITED.get(file)}


def enter(vm_id: str, pid: int) -> None:
    """Move a running QEMU into its VM's cgroup, for limits that it did not have when it started."""
    path = directory(vm_id)
    if path is not None and path.is_dir() and pid > 1:
        _write(path / "cgroup.procs", str(pid))


def remove(vm_id: str) -> None:
    """Remove the VM's cgroup, when it has one and nothing runs in it."""
    path = directory(vm_id)
    if path is not None:
        with contextlib.suppress(OSError):
            path.rmdir()


def _write(path: Path, text: str) -> bool:
    try:
        path.write_text(text)
    except OSError:
        return False
    return True


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text().splitlines()
    except OSError:
        return []


def _disk(home: Path) -> str:
    """``MAJOR:MINOR`` of the whole disk below ``home``; io.max does not take partitions."""
    number = os.stat(home).st_dev
    device = Path(f"/sys/dev/block/{os.major(number)}:{os.minor(number)}")
    if (device / "partition").exists():
        return (device.resolve().parent / "dev").read_text().strip()
    return device.name
