# SPDX-License-Identifier: GPL-3.0-or-later
"""What VMs use, from both sides at once, and what a host has: readings for `uni stats`, `uni top` and `uni status`."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ansible_collections.uni.engine.plugins.module_utils.engine import cgroup, keepers
from ansible_collections.uni.engine.plugins.module_utils.engine.errors import UniError
from ansible_collections.uni.engine.plugins.module_utils.engine.root import Root
from ansible_collections.uni.engine.plugins.module_utils.engine.vms import ops, views
from ansible_collections.uni.engine.plugins.module_utils.engine.vms import record as records
from ansible_collections.uni.engine.plugins.module_utils.engine.vms.record import Vm, status_of

GUEST_SECONDS = 2.0  # for an answer of the guest; one that is late has no numbers in this reading


def reading(vm: Vm) -> dict[str, Any]:
    """One reading of a running VM: times in microseconds, sizes in bytes, counted since its start.

    ``host``: QEMU's CPU time, memory and disk I/O (proc(5)); ``cgroup``: what its cgroup counts, {} without one;
    ``guest``: the guest's own numbers, None where it does not answer.
    """
    status = status_of(vm.state)
    pid = int(vm.state.get("pid") or 0)
    return {"id": vm.id, "name": vm.name, "status": status, "pid": pid, "at_us": time.monotonic_ns() // 1000,
            "host": {**ops.host_stats(pid), **_process_io(pid)}, "cgroup": _cgroup(vm.id),
            "guest": _guest(vm) if status == "running" else None}


def _process_io(pid: int) -> dict[str, int]:
    """Bytes that QEMU really read from and wrote to disks (proc(5), io); 0 where we may not look."""
    try:
        lines = Path(f"/proc/{pid}/io").read_text().splitlines()
    except OSError:
        return {"rd_bytes": 0, "wr_bytes": 0}
    counts = dict(line.split(": ", 1) for line in lines)
    return {"rd_bytes": int(counts["read_bytes"]), "wr_bytes": int(counts["write_bytes"])}


def _cgroup(vm_id: str) -> dict[str, int]:
    """Documentation/admin-guide/cgroup-v2.rst: memory.current, pids.current, cpu.stat."""
    path = cgroup.directory(vm_id)
    found: dict[str, int] = {}
    for name, file in (("memory", "memory.current"), ("pids", "pids.current")):
        try:
            found[name] = int(((path or Path("/nonexistent")) / file).read_text())
        except (OSError, ValueError):
            continue
    try:
        lines = ((path or Path("/nonexistent")) / "cpu.stat").read_text().splitlines()
        counts = dict(line.split() for line in lines)
        found.update({key: int(counts[key]) for key in ("usage_usec", "throttled_usec") if key in counts})
    except (OSError, ValueError):
        pass
    return found


def _guest(vm: Vm) -> dict[str, Any] | None:
    try:
        answer = keepers.ask(vm.directory, {"op": "command", "cmd": {"cmd": "stats"}}, timeout=GUEST_SECONDS)
    except UniError:
        return None
    inside = answer.get("answer") if answer.get("ok") else None
    return {key: value for key, value in inside.items() if key not in ("event", "id")} if inside else None


def readings(root: Root, references: Sequence[str] = ()) -> list[dict[str, Any]]:
    """A reading of each of these VMs, or of all that run; the VMs are asked side by side.

    :raises StateError: code ``vm.not_running``: one that was named does not run
    """
    import threading

    vms = [ops.running(root, name) for name in references]
    if not references:
        for state in views.list_vms(root):
            try:
                vms.append(records.read(root.vms / str(state["id"])))
            except UniError:
                continue  # removed meanwhile
    found: dict[str, dict[str, Any]] = {}

    def look(some: Sequence[Vm]) -> None:
        for vm in some:
            found[vm.id] = reading(vm)

    threads = [threading.Thread(target=look, args=(vms[first::8],)) for first in range(min(8, len(vms)))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return [found[vm.id] for vm in vms if vm.id in found]


def rates(before: Sequence[Mapping[str, Any]], after: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """``after`` with ``rates``: percent of one CPU on the host and in the guest, bytes per second. Pure.

    A VM that was started again in between counts from zero.
    """
    old = {(item["id"], item["pid"]): item for item in before}
    result = []
    for item in after:
        first = old.get((item["id"], item["pid"]))
        if first is None or item["at_us"] <= first["at_us"]:
            result.append({**item, "rates": {}})
            continue
        span = item["at_us"] - first["at_us"]
        numbers = {"host_cpu_percent": round(100 * (item["host"]["cpu_us"] - first["host"]["cpu_us"]) / span, 1)}
        for name in ("rd_bytes", "wr_bytes"):
            numbers[f"host_{name}"] = round((item["host"][name] - first["host"][name]) * 1_000_000 / span)
        if item["guest"] and first["guest"]:
            now, then = item["guest"], first["guest"]
            numbers["guest_cpu_percent"] = round(100 * (now.get("cpu_us", 0) - then.get("cpu_us", 0)) / span, 1)
            for name in ("rx_bytes", "tx_bytes", "rd_bytes", "wr_bytes"):
                numbers[f"guest_{name}"] = round((now.get(name, 0) - then.get(name, 0)) * 1_000_000 / span)
        result.append({**item, "rates": numbers})
    return result


def follow(root: Root, references: Sequence[str] = (), *, interval: float = 1.0) -> Iterator[list[dict[str, Any]]]:
    """Readings with rates, one every ``interval`` seconds, for ever."""
    before = readings(root, references)
    while True:
        time.sleep(interval)
        after = readings(root, references)
        yield rates(before, after)
        before = after


def overview(root: Root) -> dict[str, Any]:
    """The host as Uni sees it. Nothing is started or probed for it."""
    from ansible_collections.uni.engine.plugins.module_utils.engine import kernels
    from ansible_collections.uni.engine.plugins.module_utils.engine.monitors.base import get
    from ansible_collections.uni.engine.plugins.module_utils.engine.volumes import api as volumes

    states: dict[str, int] = {}
    for vm in views.list_vms(root, everything=True):
        states[str(vm["status"])] = states.get(str(vm["status"]), 0) + 1
    try:
        program, version = get("qemu").find(root)
        monitor: dict[str, Any] = {"program": program, "version": version, "accel": _accel(root)}
    except UniError as error:
        monitor = {"error": str(error)}
    found = kernels.list_releases(root)
    networks = [path for path in root.networks.iterdir() if not path.name.startswith(".")]
    space = os.statvfs(root.path)
    return {
        "root": str(root.path), "user": os.geteuid(), "monitor": monitor,
        "kernels": {"default": next((item.version for item in found if item.default), None),
                    "versions": [item.version for item in found]},
        "vms": {"total": sum(states.values()), **dict(sorted(states.items()))},
        "networks": len(networks),
        "volumes": {"count": len(found_volumes := volumes.list_volumes(root)),
                    "size": sum(item.size for item in found_volumes)},
        "daemon": _daemon(root),
        "cgroup": str(cgroup.mount() or ""),
        "disk": {"used": {name: _used(root.path / name) for name in sorted(os.listdir(root.path))
                          if (root.path / name).is_dir()},
                 "free": space.f_bavail * space.f_frsize, "size": space.f_blocks * space.f_frsize},
    }


def _accel(root: Root) -> str:
    """What ``accel: auto`` has come to on this host; nobody is made to wait for a proof here."""
    from ansible_collections.uni.engine.plugins.module_utils.engine.records import read_json

    if os.environ.get("UNI_ACCEL", "auto") not in ("", "auto"):
        return f"{os.environ['UNI_ACCEL']} (UNI_ACCEL)"
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        return "tcg (no usable /dev/kvm)"
    known = read_json(root.cache / "accel.json")
    if not isinstance(known, dict):
        return "not proved yet: the first VM, or `uni doctor`, does"
    return "kvm" if not known.get("problem") else f"tcg ({known['problem']})"


def _daemon(root: Root) -> str:
    import socket

    path = root.path / "run" / "unid.sock"
    if not path.exists():
        return "not running"
    with socket.socket(socket.AF_UNIX) as sock:
        try:
            sock.connect(str(path))
        except OSError:
            return "not running (its socket was left behind)"
    return "running"


def _used(path: Path) -> int:
    """Bytes on disk below ``path``; holes in sparse files take none."""
    total = 0
    for directory, _folders, files in os.walk(path, onerror=None):
        for name in files:
            try:
                total += os.lstat(f"{directory}/{name}").st_blocks * 512
            except OSError:
                continue
    return total
