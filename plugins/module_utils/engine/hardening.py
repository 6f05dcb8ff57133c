# SPDX-License-Identifier: GPL-3.0-or-later
"""The hardening floor of a VM's QEMU process: what is asked for, and what is really in force.

A uid per VM where we are root, no capabilities, no_new_privs, seccomp by QEMU's sandbox, resource limits. The
report is read from /proc of the running process: it shows what the host's kernel enforces, not what was wished.
"""

from __future__ import annotations

import os
import resource
from dataclasses import dataclass
from pathlib import Path

from ansible_collections.uni.engine.plugins.module_utils.engine.errors import HostError
from ansible_collections.uni.engine.plugins.module_utils.engine.monitors.qemu import find_program
from ansible_collections.uni.engine.plugins.module_utils.engine.root import Root

# systemd's UIDS-GIDS.md leaves this range to nobody: above the containers' ranges, below 2^31.
UID_FIRST, UID_COUNT = 0x7000_0000, 0x0800_0000
MAX_FILES = 1024
MAX_THREADS = 512        # RLIMIT_NPROC counts the threads of a uid; QEMU has its CPUs and up to 64 workers


@dataclass(frozen=True)
class Measure:
    """One measure: whether it is in force, and what shows it."""

    name: str
    in_force: bool
    detail: str


def claim_uid(root: Root, vm_id: str) -> int:
    """A uid that no other VM of this root has: claimed by a symbolic link, so that two callers cannot share one."""
    directory = root.run / "uids"
    directory.mkdir(exist_ok=True)
    start = int(vm_id, 16) % UID_COUNT
    for step in range(UID_COUNT):
        uid = UID_FIRST + (start + step) % UID_COUNT
        link = directory / str(uid)
        try:
            link.symlink_to(vm_id)
            return uid
        except FileExistsError:
            owner = os.readlink(link)
            if owner == vm_id:
                return uid
            if not (root.vms / owner).is_dir():
                link.unlink(missing_ok=True)
                return claim_uid(root, vm_id)
    raise HostError("no uid is free for another VM", code="host.uids")


def release_uid(root: Root, uid: int | None) -> None:
    """Give a claimed uid back."""
    if uid is not None:
        (root.run / "uids" / str(uid)).unlink(missing_ok=True)


def become(uid: int | None, *, low_ports: bool, kvm: bool) -> str | None:
    """What the keeper turns its child into before that becomes QEMU (its record ``become``); None: setpriv(1) has to.

    Parameters as for :func:`wrapper`, which does the same from outside.
    """
    if low_ports and uid is not None:
        return None  # one capability is kept, through an ambient set: seldom, and not worth a second implementation
    groups = _group_of("/dev/kvm") if kvm else None
    return "" if uid is None else f"{uid}:{'' if groups is None else groups}"


def wrapper(uid: int | None, *, low_ports: bool, kvm: bool) -> list[str]:
    """The words before QEMU's own command line: setpriv(1) drops what QEMU does not need, then execs it.

    :param uid: the VM's own uid; None for a plain user, who keeps his
    :param low_ports: host ports below 1024 are forwarded: the only capability that is ever left
    :raises HostError: code ``host.setpriv``
    """
    program = find_program("setpriv")
    if not program:
        raise HostError("setpriv is not installed", code="host.setpriv", hint="install it: apt install util-linux")
    words = [program, "--no-new-privs"]
    if uid is None:
        return words
    kept = ",+net_bind_service" if low_ports else ""
    words += [f"--reuid={uid}", f"--regid={uid}", f"--bounding-set=-all{kept}", f"--inh-caps=-all{kept}"]
    if low_ports:
        words.append("--ambient-caps=-all,+net_bind_service")
    groups = _group_of("/dev/kvm") if kvm else None
    words.append("--clear-groups" if groups is None else f"--groups={groups}")
    return words


def _group_of(path: str) -> int | None:
    try:
        return os.stat(path).st_gid
    except OSError:
        return None


def limits(uid: int | None) -> list[str]:
    """The keeper's ``rlimit`` records: no core dumps of guest memory, bounded descriptors and threads."""
    result = [f"{resource.RLIMIT_CORE}:0:0"]
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    most = MAX_FILES if hard == resource.RLIM_INFINITY else min(MAX_FILES, hard)
    result.append(f"{resource.RLIMIT_NOFILE}:{most}:{most}")
    if uid is not None:
        result.append(f"{resource.RLIMIT_NPROC}:{MAX_THREADS}:{MAX_THREADS}")
    return result


def report(pid: int, *, cgroup: str = "") -> list[Measure]:
    """What protects the host from the process ``pid``, read from /proc; empty when it is gone."""
    status = _status(pid)
    if not status:
        return []
    uids = status.get("Uid", "0").split()
    effective, bounding = (int(status.get(key, "ffffffffffffffff"), 16) for key in ("CapEff", "CapBnd"))
    threads = _thread_filters(pid)
    core = _limit(pid, "Max core file size")
    measures = [
        Measure("own_uid", "0" not in uids and UID_FIRST <= int(uids[0]) < UID_FIRST + UID_COUNT, f"uid {uids[0]}"),
        Measure("not_root", "0" not in uids, f"uids {' '.join(uids)}"),
        Measure("no_capabilities", effective == 0, f"CapEff {effective:x}, CapBnd {bounding:x}"),
        Measure("no_new_privs", status.get("NoNewPrivs") == "1", f"NoNewPrivs {status.get('NoNewPrivs', '?')}"),
        Measure("seccomp", bool(threads) and set(threads) == {"2"},
                f"filter mode on {threads.count('2')} of {len(threads)} threads"),
        Measure("no_core_dumps", core == "0", f"RLIMIT_CORE {core}"),
        Measure("descriptor_limit", _limit(pid, "Max open files") not in ("", "unlimited"),
                f"RLIMIT_NOFILE {_limit(pid, 'Max open files')}"),
    ]
    if cgroup and Path(cgroup).is_dir():
        measures.append(Measure("cgroup", pid in _cgroup_pids(cgroup), cgroup))
    return measures


def _status(pid: int) -> dict[str, str]:
    try:
        text = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return {}
    return {key: value.strip() for key, _sep, value in (line.partition(":") for line in text.splitlines())}


def _thread_filters(pid: int) -> list[str]:
    """The seccomp mode of every thread (2: filter). A filter that only the main thread has would be none."""
    try:
        threads = os.listdir(f"/proc/{pid}/task")
    except OSError:
        return []
    return [mode for mode in (_status_of_thread(pid, thread) for thread in threads) if mode]


def _status_of_thread(pid: int, thread: str) -> str:
    try:
        for line in Path(f"/proc/{pid}/task/{thread}/status").read_text().splitlines():
            if line.startswith("Seccomp:"):
                return line.split()[1]
    except OSError:
        pass
    return ""


def _limit(pid: int, name: str) -> str:
    try:
        for line in Path(f"/proc/{pid}/limits").read_text().splitlines():
            if line.startswith(name):
                return line[26:].split()[0]
    except OSError:
        pass
    return ""


def _cgroup_pids(directory: str) -> list[int]:
    try:
        return [int(line) for line in Path(f"{directory}/cgroup.procs").read_text().split()]
    except OSError:
        return []
