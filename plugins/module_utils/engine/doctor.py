# SPDX-License-Identifier: GPL-3.0-or-later
"""What this host can and cannot do for Uni, and what to do about it.

Each check looks at one thing and changes nothing, but for the remembered answers about QEMU and KVM in the cache.
"""

from __future__ import annotations

import importlib.util
import os
import platform
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass

from ansible_collections.uni.engine.plugins.module_utils.engine import accel, cgroup, kernels
from ansible_collections.uni.engine.plugins.module_utils.engine.errors import UniError
from ansible_collections.uni.engine.plugins.module_utils.engine.monitors.qemu import Qemu, find_program
from ansible_collections.uni.engine.plugins.module_utils.engine.root import Root
from ansible_collections.uni.engine.plugins.module_utils.engine.units import format_size

OK, LIMITED, BROKEN = "ok", "limited", "broken"
OLDEST_PYTHON = (3, 9)
ROOM = 512 << 20         # bytes; below this the next image or overlay may not fit
# Program -> (Debian's package, what it is for, whether only root's VMs use it).
TOOLS = {
    "setpriv": ("util-linux", "starting QEMU without privileges", False),
    "e2fsck": ("e2fsprogs", "checking volumes", False),
    "debugfs": ("e2fsprogs", "copying files out of and into disks", False),
    "ip": ("iproute2", "bridges", True),
    "iptables-restore": ("iptables", "published ports on bridges", True),
    "ebtables-restore": ("iptables", "keeping guests from forging addresses", True),
    "nft": ("nftables", "keeping guests from forging IPv6 neighbors", True),
    "conntrack": ("conntrack", "UDP senders that do not pause when a port is published", True),
    "dnsmasq": ("dnsmasq-base", "names on bridges", True),
}
# Module -> (Debian's package, what it is for).
LIBRARIES = {
    "yaml": ("python3-yaml", "stacks and YAML output"),
    "cryptography": ("python3-cryptography", "signatures of releases"),
    "aiohttp": ("python3-aiohttp", "the daemon and its registry"),
}
CONTROLLERS = ("cpu", "memory", "pids", "io")


@dataclass(frozen=True)
class Finding:
    """What a check found: ``state`` is ok, limited (something cannot be used) or broken (no VM can start)."""

    name: str
    state: str
    detail: str
    remedy: str = ""

    def to_dict(self) -> dict[str, str]:
        """As plain data."""
        return asdict(self)


def examine(root: Root, *, again: bool = False) -> list[Finding]:
    """Every check's finding.

    :param again: forget what was remembered about QEMU and KVM, and probe again
    """
    if again and (root.path / "cache").is_dir():
        for name in ("accel.json", "qemu.json"):
            (root.cache / name).unlink(missing_ok=True)
    checks: tuple[Callable[[Root], Iterator[Finding]], ...] = (
        _machine, _directory, _monitor, _kernel, _tools, _libraries, _network, _limits, _vms)
    return [finding for check in checks for finding in check(root)]


def _machine(root: Root) -> Iterator[Finding]:
    name = platform.machine()
    fits = name == "x86_64" and sys.platform == "linux"
    yield Finding("machine", OK if fits else BROKEN, f"{sys.platform}, {name}",
                  "" if fits else "Uni runs on Linux on x86-64")
    old = sys.version_info < OLDEST_PYTHON
    yield Finding("python", BROKEN if old else OK, f"{platform.python_version()}, {sys.executable}",
                  f"Uni wants {'.'.join(map(str, OLDEST_PYTHON))} or newer" if old else "")


def _directory(root: Root) -> Iterator[Finding]:
    try:
        root.directory("cache")
    except UniError as error:
        yield Finding("root directory", BROKEN, error.message, error.hint)
        return
    if not os.access(root.path, os.W_OK):
        yield Finding("root directory", BROKEN, f"{root.path} is not writable",
                      "choose another with UNI_ROOT or --root, or become its owner")
        return
    free = shutil.disk_usage(root.path).free
    yield Finding("root directory", OK if free >= ROOM else LIMITED, f"{root.path}, {format_size(free)} free",
                  "" if free >= ROOM else "make room: `uni image prune`, `uni rm`, `uni volume rm`")


def _monitor(root: Root) -> Iterator[Finding]:
    try:
        program, version = Qemu().find(root)
    except UniError as error:
        yield Finding("qemu", BROKEN, error.message, error.hint)
        return
    yield Finding("qemu", OK, f"{version}, {program}")
    choice = accel.choose(root, "auto", program, version)
    if choice.name == "kvm":
        yield Finding("acceleration", OK, f"kvm: {choice.reason}")
    else:
        yield Finding("acceleration", LIMITED, f"tcg: {choice.reason}",
                      "VMs run in emulation: slower, and not a security boundary")


def _kernel(root: Root) -> Iterator[Finding]:
    try:
        release = kernels.default(root)
        kernels.verify(release)
    except UniError as error:
        yield Finding("kernel", BROKEN, error.message, error.hint)
    else:
        yield Finding("kernel", OK, f"{release.version}, checksums match")


def _tools(root: Root) -> Iterator[Finding]:
    for name, (package, purpose, for_root) in TOOLS.items():
        path = find_program(name)
        if path or not (for_root and os.geteuid()):
            yield Finding(name, OK if path else LIMITED, path or f"missing; it is for {purpose}",
                          "" if path else f"apt install {package}, or run the role uni.engine.host")


def _libraries(root: Root) -> Iterator[Finding]:
    for name, (package, purpose) in LIBRARIES.items():
        if importlib.util.find_spec(name) is None:
            yield Finding(f"python3 {name}", LIMITED, f"missing; it is for {purpose}",
                          f"apt install {package}, or run the role uni.engine.host")
        else:
            yield Finding(f"python3 {name}", OK, "there")


def _network(root: Root) -> Iterator[Finding]:
    if os.geteuid():
        yield Finding("bridges", LIMITED, "only root makes bridges; user networking and your own TAP interfaces work",
                      "run as root for `uni network create`")
    elif not os.access("/dev/net/tun", os.R_OK | os.W_OK):
        yield Finding("bridges", LIMITED, "/dev/net/tun is missing",
                      "modprobe tun; a container has to be given the device")
    else:
        yield Finding("bridges", OK, "/dev/net/tun is there")
        yield from _networks(root)


def _networks(root: Root) -> Iterator[Finding]:
    """What somebody took away from networks: a flush, a reload of another firewall, a bridge that was deleted."""
    from ansible_collections.uni.engine.plugins.module_utils.engine.networks import attachment, model

    try:
        names, gone = [network.name for network in model.load_all(root)], attachment.missing(root)
    except UniError as error:
        yield Finding("networks", LIMITED, error.message, error.hint)
        return
    if gone:
        yield Finding("networks", LIMITED, f"missing: {', '.join(gone)}",
                      f"put back by `uni network create {names[0]}`, and by a daemon within ten seconds")
    else:
        yield Finding("networks", OK, f"{len(names)}, nothing is missing" if names else "none")


def _limits(root: Root) -> Iterator[Finding]:
    base = cgroup.mount()
    if base is None:
        yield Finding("limits", LIMITED, "no cgroup v2 is mounted: VMs cannot have `limits`",
                      "boot with systemd.unified_cgroup_hierarchy=1; give a container its cgroup2 mount")
        return
    try:
        present = (base / "cgroup.controllers").read_text().split()
    except OSError as error:
        present = []
        detail = f"{base}: {error.strerror}"
    else:
        detail = f"{base}: {' '.join(present) or 'no controllers'}"
    lacking = [name for name in CONTROLLERS if name not in present]
    writable = os.access(base, os.W_OK)
    detail += "" if writable else ", not writable"
    yield Finding("limits", OK if writable and not lacking else LIMITED, detail,
                  f"VMs cannot be limited in {', '.join(lacking)}" if lacking
                  else "" if writable else "run as root for `limits`")


def _vms(root: Root) -> Iterator[Finding]:
    from ansible_collections.uni.engine.plugins.module_utils.engine.vms import api

    found = api.list_vms(root, everything=True)
    lost = [str(vm["name"]) for vm in found if (vm.get("exit") or {}).get("reason") == "lost"]
    yield Finding("vms", LIMITED if lost else OK,
                  f"{len(found)}, of which {len(lost)} ended without anybody seeing it: {', '.join(sorted(lost))}"
                  if lost else str(len(found)), "uni start NAME, or uni rm NAME" if lost else "")
