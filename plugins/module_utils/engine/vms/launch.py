# SPDX-License-Identifier: GPL-3.0-or-later
"""From a VM's record to what its keeper needs: guest configuration, QEMU's command line, launch records."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ansible_collections.uni.engine.plugins.module_utils.engine import accel, cgroup, hardening
from ansible_collections.uni.engine.plugins.module_utils.engine.errors import (
    ConflictError,
    HostError,
    NotFoundError,
    UsageError,
)
from ansible_collections.uni.engine.plugins.module_utils.engine.guests import base as guests_base
from ansible_collections.uni.engine.plugins.module_utils.engine.monitors import base as monitors_base
from ansible_collections.uni.engine.plugins.module_utils.engine.records import read_json
from ansible_collections.uni.engine.plugins.module_utils.engine.root import Root
from ansible_collections.uni.engine.plugins.module_utils.engine.units import PortForward, parse_port
from ansible_collections.uni.engine.plugins.module_utils.engine.vms import disklimits
from ansible_collections.uni.engine.plugins.module_utils.engine.vms.bootkernel import find_kernel
from ansible_collections.uni.engine.plugins.module_utils.engine.vms.record import Vm, corrupt, write_loose
from ansible_collections.uni.engine.plugins.module_utils.engine.vms.spec import damaged, effective

OVERLAY = "disk.qcow2"
SPARE_MEMORY = 2 << 20   # bytes that a guest needs beside its kernel's file to get as far as saying what is wrong
# QEMU's user networking (docs/system/devices/net.rst): fixed addresses inside.
USER_GUEST, USER_GATEWAY, USER_DNS = "10.0.2.15", "10.0.2.2", "10.0.2.3"


if TYPE_CHECKING:
    from ansible_collections.uni.engine.plugins.module_utils.engine.networks.attachment import Attached
    from ansible_collections.uni.engine.plugins.module_utils.engine.vms.saved import Incoming


@dataclass(frozen=True)
class Network:
    """One interface on both sides; ``attached`` where it is on a managed network."""

    nic: monitors_base.Nic
    interface: guests_base.Interface
    attached: Attached | None = None


def prepare(root: Root, vm: Vm, *, incoming: Incoming | None = None) -> dict[str, Any]:
    """Write ``config`` and ``launch`` for the next start; the facts about it, for the record.

    :raises UniError: kernel, image, volume, network or tool missing, memory too small: nothing was started
    """
    values = vm.values
    field = damaged(values)
    if field:
        raise corrupt(vm.directory, f"the record {vm.directory / 'vm.json'} is damaged: values.{field} is none that"
                                    " this field can have")
    kernel = find_kernel(root, vm) if incoming is None else incoming.kernel
    memory = int(value(vm, "memory"))
    _check_memory(vm, memory, kernel)
    monitor = monitors_base.get(effective(values, "monitor"))
    program, version = monitor.find(root)
    chosen = accel.choose(root, effective(values, "accel"), program, version)
    _check_rates(vm)
    networks = [attach(root, vm, number, network) for number, network in enumerate(effective(values, "networks"))]
    vm.runtime["addresses"] = [dict(item.attached.record) for item in networks if item.attached is not None]
    start = guests_base.get(effective(values, "guest")).start(guest_spec(vm, [item.interface for item in networks]))
    config = vm.directory / "config" if start.config is not None else None
    if config is not None and start.config is not None:
        write_loose(config, start.config, uid=vm.uid, whole=False)  # QEMU reopens it: it must own it
    spec = monitors_base.LaunchSpec(
        name=vm.name, machine=effective(values, "machine"), accel=chosen.name, memory=memory,
        cpus=int(value(vm, "cpus")), kernel=kernel, append=start.append, config=config,
        disks=tuple(disks(root, vm, resumed=incoming is not None)), control=start.control,
        nics=tuple(item.nic for item in networks), rng=bool(effective(values, "rng")),
        gdb=bool(effective(values, "debug")), incoming=incoming.memory if incoming is not None else None)
    command = monitor.command(program, spec)
    facts = {"kernel": str(kernel), "accel": chosen.name, "accel_reason": chosen.reason, "qemu": version,
             "kernel_mark": kernel_mark(kernel)}
    records = list(_records(root, vm, command, networks, low_ports=_low_ports(vm), kvm=chosen.name == "kvm",
                            control=start.control, booted=incoming is not None))
    write_records(vm.directory / "launch", records, whole=False)
    return facts


def kernel_mark(kernel: Path) -> list[int]:
    """Tells a kernel's file from another one at the same path."""
    seen = kernel.stat()
    return [seen.st_size, seen.st_mtime_ns]


def write_records(path: Path, records: list[tuple[str, str]], *, whole: bool = True) -> None:
    """``KEY=VALUE`` records ended by NUL, as the keeper reads them."""
    text = "".join(f"{key}={value}\0" for key, value in records)
    write_loose(path, text.encode("utf-8", "surrogateescape"), whole=whole)


def _records(root: Root, vm: Vm, command: monitors_base.Command, networks: list[Network], *, low_ports: bool,
             kvm: bool, control: bool, booted: bool) -> Iterator[tuple[str, str]]:
    wrapper = hardening.wrapper(vm.uid, low_ports=low_ports, kvm=kvm)
    become = hardening.become(vm.uid, low_ports=low_ports, kvm=kvm)
    for word in wrapper:
        yield "arg" if become is None else "wrapper", word
    if become is not None:
        yield "become", become
    for word in command.argv:
        yield "arg", word
    for kind, entries in (("file", command.files), ("socket", command.sockets), ("tap", command.taps),
                          ("rlimit", hardening.limits(vm.uid))):
        for entry in entries:
            yield kind, entry
    limits = effective(vm.values, "limits")
    if limits:
        yield "cgroup", str(cgroup.prepare(vm.id, limits, vm.directory))
    if "cpu_pin" in vm.values:
        yield "pin", vm.values["cpu_pin"]
    yield "control", "1" if control else "0"
    yield "booted", "1" if booted else "0"
    attached = [network.attached for network in networks if network.attached is not None]
    if attached:
        yield from _network_records(root, vm, attached)
    yield from policies(root, vm)


def _network_records(root: Root, vm: Vm, attached: list[Attached]) -> Iterator[tuple[str, str]]:
    """Apply the rules of a VM that is about to start; what its keeper undoes when it has ended."""
    from ansible_collections.uni.engine.plugins.module_utils.engine.networks import attachment

    attachment.sync(root, starting=vm.id)
    attachment.forget_flows([item.record for item in attached])
    for item in attached:
        for path in item.gone:
            yield "gone", path
        if item.hangup:
            yield "hangup", item.hangup


def publish(root: Root, vm: Vm) -> None:
    """Change the published ports of a running VM on a managed network, and what its keeper will undo."""
    from ansible_collections.uni.engine.plugins.module_utils.engine.networks import attachment

    number = _first_managed(vm)
    network = effective(vm.values, "networks")[number]
    mac = network.get("mac") or mac_address(vm.id, number)
    attached = attachment.attach(root, vm, number, network, mac, vm.runtime["ports"])
    before = vm.runtime["addresses"]
    vm.runtime["addresses"] = [dict(attached.record) if item["interface"] == attached.record["interface"] else item
                               for item in before]
    attachment.sync(root, starting=vm.id)
    attachment.forget_flows([attached.record], before)


def policies(root: Root, vm: Vm) -> Iterator[tuple[str, str]]:
    """The records that may change while the VM runs."""
    values = vm.values
    yield "id", vm.id
    yield "name", vm.name
    yield "facts", json.dumps(facts(vm), separators=(",", ":"))
    yield "restart", effective(values, "restart_policy")
    yield "log_size", str(effective(values, "log_max_size"))
    yield "log_files", str(effective(values, "log_max_files"))
    yield "events", str(root.log / "events.jsonl")
    if vm.runtime.get("addresses"):
        from ansible_collections.uni.engine.plugins.module_utils.engine.networks import attachment

        for command in attachment.cleanup(root, vm):
            yield "cleanup", json.dumps(command)
        for key, command in attachment.shaping(vm):
            yield key, json.dumps(command)
    check = values.get("health_check")
    if check:
        yield "health", json.dumps(health_target(vm, check))
    if effective(values, "auto_remove"):
        yield "remove", "1"
        yield "unlink", str(root.vms / ".names" / vm.name)
        if vm.uid is not None:
            yield "unlink", str(root.run / "uids" / str(vm.uid))
        if effective(values, "limits"):
            yield "rmdir", str(cgroup.directory(vm.id))


LIVE_KEYS = frozenset({"id", "name", "facts", "restart", "log_size", "log_files", "events", "health", "remove",
                       "unlink", "rmdir", "cleanup", "setup", "takedown"})


def rewrite_policies(root: Root, vm: Vm) -> None:
    """Replace the live records in ``launch``, and in QEMU's command line what was changed in the running one: its
    keeper may start it again.
    """
    from ansible_collections.uni.engine.plugins.module_utils.engine.keeper.launch import read_records

    path = vm.directory / "launch"
    kept = [(key, _changed_live(vm, value) if key == "arg" else value)
            for key, found in read_records(str(path)).items() if key not in LIVE_KEYS for value in found]
    write_records(path, [*kept, *policies(root, vm)])


def _changed_live(vm: Vm, word: str) -> str:
    """A word of QEMU's command line with the forwards and limits that the VM has now."""
    from ansible_collections.uni.engine.plugins.module_utils.engine.monitors import qemu

    number = first_user(vm)
    if number >= 0 and word.startswith(f"user,id=net{number},"):
        return qemu.user_backend(number, resolved_ports(vm))
    kind, _sep, rest = word.partition("throttle-group,id=throttle")
    if rest and not kind:
        return qemu.throttle(int(rest.partition(",")[0]), disklimits.limits(vm.values))
    return word


def disk_count(vm: Vm) -> int:
    """How many disks the VM's QEMU was started with."""
    values = vm.runtime.get("values") or vm.values
    return int(bool((vm.record.get("image") or {}).get("disk"))) + len(effective(values, "volumes"))


def facts(vm: Vm) -> dict[str, Any]:
    """What `uni ps` shows of a VM, copied into its state record so that one small file is enough."""
    image = vm.record.get("image") or {}
    return {"id": vm.id, "name": vm.name, "image": vm.values.get("image", ""), "image_id": image.get("id", ""),
            "created": vm.record.get("created", ""), "ports": vm.runtime.get("ports", []),
            "labels": effective(vm.values, "labels"), "memory": value(vm, "memory"), "cpus": value(vm, "cpus")}


def value(vm: Vm, key: str) -> Any:
    """A field as its user, else its image, else the default has it."""
    if key in vm.values:
        return vm.values[key]
    return (vm.record.get("image") or {}).get(key) or effective({}, key)


def _check_memory(vm: Vm, memory: int, kernel: Path) -> None:
    least = kernel.stat().st_size + SPARE_MEMORY
    if memory < least:
        from ansible_collections.uni.engine.plugins.module_utils.engine.units import format_size

        raise UsageError(f"VM {vm.name}: {format_size(memory)} of memory are too small to boot {kernel.name}",
                         code="vm.memory", hint=f"give it at least {-(-least // (1 << 20))}M")


def command_line(vm: Vm) -> tuple[str, tuple[str, ...] | None]:
    """The program and its arguments, as Docker combines entrypoint, command and overrides."""
    image = vm.record.get("image") or {}
    values = vm.values
    entry = values.get("command", image.get("entrypoint") or [])
    args = values.get("args", [] if "command" in values else image.get("cmd") or [])
    words = [*entry, *args]
    return (words[0], tuple(words[1:])) if words else ("", None)


def guest_spec(vm: Vm, interfaces: list[guests_base.Interface]) -> guests_base.GuestSpec:
    """What the program is to see."""
    image = vm.record.get("image") or {}
    values = vm.values
    init, args = command_line(vm)
    mounts = [f"/dev/vd{chr(ord('a') + number)}:{entry.split(':', 1)[1]}"
              for number, entry in enumerate(effective(values, "volumes"), 1 if image.get("disk") else 0)]
    mounts += [f"tmpfs:{entry}" for entry in effective(values, "tmpfs")]
    hidden = read_json(vm.directory / "secrets.json") or []
    files = tuple(guests_base.File(item["path"], base64.b64decode(item["content"]), item["mode"], item["uid"],
                                   item["gid"]) for item in hidden)
    return guests_base.GuestSpec(
        init=init, args=args, env={**(image.get("env") or {}), **effective(values, "env")},
        cwd=values.get("workdir", image.get("workdir") or ""), user=values.get("user", image.get("user") or ""),
        hostname=values.get("hostname", vm.name.replace("_", "-").replace(".", "-")), root=bool(image.get("disk")),
        read_only=bool(effective(values, "read_only")), interfaces=tuple(interfaces),
        dns=tuple(effective(values, "dns")), search=tuple(effective(values, "dns_search")),
        hosts=effective(values, "extra_hosts"), mounts=tuple(mounts), files=files,
        rlimits=tuple(effective(values, "ulimits")), tty=bool(effective(values, "tty")),
        trace=bool(effective(values, "trace")), extra=values.get("kernel_args", ""))


def disks(root: Root, vm: Vm, *, resumed: bool = False) -> Iterator[monitors_base.Disk]:
    """The instance disk, then the volumes in their order.

    :param resumed: the VM goes on from its saved memory

    :raises NotFoundError: code ``volume.not_found``, ``image.disk``
    """
    image = vm.record.get("image") or {}
    rates = disklimits.limits(vm.values)
    if image.get("disk"):
        from ansible_collections.uni.engine.plugins.module_utils.engine.vms import images

        base = Path(images.unpack(root, image)["disk"])  # verified before every boot
        yield monitors_base.Disk(vm.directory / OVERLAY, base, limits=rates)
    for entry in effective(vm.values, "volumes"):
        source, _sep, rest = entry.partition(":")
        if source.startswith("/"):
            path = Path(source)
            if not path.is_file():
                raise NotFoundError(f"the disk {source} of VM {vm.name} does not exist", code="volume.not_found")
        else:
            from ansible_collections.uni.engine.plugins.module_utils.engine.volumes import api as volumes

            path = volumes.use(root, source, vm.id, read_only=rest.endswith(":ro"), resumed=resumed)
        yield monitors_base.Disk(path, read_only=rest.endswith(":ro"), limits=rates)


def mac_address(vm_id: str, number: int) -> str:
    """A stable, locally administered MAC address: from the VM's id and the interface's number."""
    digits = f"{int(vm_id[:8], 16) ^ number:08x}"
    return ":".join(("52", "54", digits[0:2], digits[2:4], digits[4:6], digits[6:8]))


def attach(root: Root, vm: Vm, number: int, network: dict[str, Any]) -> Network:
    """One entry of ``networks`` as an interface."""
    name = network["name"]
    mac = network.get("mac") or mac_address(vm.id, number)
    if name == "user":
        ports = tuple(resolved_ports(vm)) if first_user(vm) == number else ()
        nic = monitors_base.Nic(mac, ports=ports, network=name, address=USER_GUEST)
        return Network(nic, guests_base.Interface(USER_GUEST, 24, USER_GATEWAY, USER_DNS))
    if name.startswith("tap:"):
        return _tap(vm, name[4:], mac, network)
    from ansible_collections.uni.engine.plugins.module_utils.engine.networks import attachment

    published = vm.runtime.get("ports", []) if first_user(vm) < 0 and _first_managed(vm) == number else []
    attached = attachment.attach(root, vm, number, network, mac, published)
    return Network(attached.nic, attached.interface, attached)


def _check_rates(vm: Vm) -> None:
    """A limit that would not be kept is an error, not a wish."""
    networks = effective(vm.values, "networks")
    if (vm.values.get("net_in_bps") or vm.values.get("net_out_bps")) and networks and _first_managed(vm) < 0:
        raise UsageError(f"VM {vm.name}: net_in_bps and net_out_bps need a managed network", code="vm.net_bps",
                         hint="create one with `uni network create` and name it in networks")


def _first_managed(vm: Vm) -> int:
    """The number of the first managed network, which publishes the ports where there is no user network; or -1."""
    names = [network["name"] for network in effective(vm.values, "networks")]
    return next((n for n, name in enumerate(names) if name != "user" and not name.startswith("tap:")), -1)


def _tap(vm: Vm, interface: str, mac: str, network: dict[str, Any]) -> Network:
    """An interface that the user made; its far side is the user's business."""
    from ansible_collections.uni.engine.plugins.module_utils.engine.networks import link

    if not link.exists(interface):
        owner = f" user {os.geteuid()}" if os.geteuid() else ""
        raise NotFoundError(f"the interface {interface} of VM {vm.name} does not exist", code="network.tap",
                            hint=f"as root: ip tuntap add {interface} mode tap{owner}; ip link set {interface} up")
    address, _sep, prefix = str(network.get("ip", "")).partition("/")
    if address and not prefix:
        raise UsageError(f"networks: tap:{interface} needs its address with a prefix, such as {address}/24",
                         code="vm.networks")
    return Network(monitors_base.Nic(mac, tap=f"{interface}::0:0", network=f"tap:{interface}", address=address),
                   guests_base.Interface(address, int(prefix or 24), network.get("gateway", ""), network.get("dns", ""),
                                         dhcp=not address))


def first_user(vm: Vm) -> int:
    """The number of the user network; -1 when the VM has none."""
    names = [network["name"] for network in effective(vm.values, "networks")]
    return names.index("user") if "user" in names else -1


def resolved_ports(vm: Vm) -> list[PortForward]:
    """The VM's port forwards with real host ports."""
    return [port for text in vm.runtime.get("ports", []) for port in parse_port(text)]


def _low_ports(vm: Vm) -> bool:
    return first_user(vm) >= 0 and any(port.host < 1024 for port in resolved_ports(vm))


def choose_ports(root: Root, vm: Vm) -> list[str]:
    """The VM's port forwards with host port 0 replaced by a free port (the same as before, where there was one).

    :raises ConflictError: code ``port.in_use``
    :raises HostError: code ``port.permission``, ``port.address``
    """
    if first_user(vm) < 0 and _first_managed(vm) < 0:
        return list(effective(vm.values, "ports"))
    known = {(port.bind, port.guest, port.proto): port.host for port in resolved_ports(vm)}
    claimed = _claimed(root, vm) if first_user(vm) < 0 and effective(vm.values, "ports") else {}
    result = []
    for text in effective(vm.values, "ports"):
        for port in parse_port(text):
            host = port.host or known.get((port.bind, port.guest, port.proto), 0)
            if any(port.bind in (bind, "0.0.0.0") or bind == "0.0.0.0" for bind in claimed.get((host, port.proto), ())):
                raise port_in_use(root, vm, port)
            result.append(str(PortForward(port.bind, check_port(root, vm, port, host), port.guest, port.proto)))
    return result


def _claimed(root: Root, vm: Vm) -> dict[tuple[int, str], list[str]]:
    """Host ports that running VMs publish: translated ports are not bound by anybody, so binding proves nothing."""
    from ansible_collections.uni.engine.plugins.module_utils.engine.vms.summaries import RUNNING, states, status_of

    claimed: dict[tuple[int, str], list[str]] = {}
    for state in states(str(root.path)):
        if state["id"] != vm.id and state.get("ports") and status_of(state) in (*RUNNING, "restarting"):
            for port in (port for text in state["ports"] for port in parse_port(text)):
                claimed.setdefault((port.host, port.proto), []).append(port.bind)
    return claimed


def check_port(root: Root, vm: Vm, port: PortForward, host: int) -> int:
    """Prove that the host port can be bound, by binding it for a moment; the number that was bound."""
    import errno
    import socket

    family = socket.AF_INET6 if ":" in port.bind else socket.AF_INET
    kind = socket.SOCK_DGRAM if port.proto == "udp" else socket.SOCK_STREAM
    with socket.socket(family, kind) as sock:
        if port.proto == "tcp":
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind((port.bind, host))
            return int(sock.getsockname()[1])
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise port_in_use(root, vm, port) from None
            if error.errno in (errno.EACCES, errno.EPERM):
                raise HostError(f"port {host} of the host may not be bound by this user", code="port.permission",
                                hint="use a port from 1024 up, or run as root") from None
            raise HostError(f"{port.bind} is not an address of this host", code="port.address",
                            hint="leave the address out to bind all of them") from None


def port_in_use(root: Root, vm: Vm, port: PortForward) -> ConflictError:
    """The error for a host port that somebody has, naming the VM if it is one of ours."""
    from ansible_collections.uni.engine.plugins.module_utils.engine.vms.summaries import states

    owner = ""
    for state in states(str(root.path)):
        taken = {(item.host, item.proto) for text in state.get("ports", []) for item in parse_port(text)}
        if state["id"] != vm.id and (port.host, port.proto) in taken:
            owner = f" by VM {state.get('name')}"
    return ConflictError(f"port {port.bind}:{port.host}/{port.proto} of the host is in use{owner}", code="port.in_use",
                         hint="choose another host port, or 0 for any free one")


def health_target(vm: Vm, check: dict[str, Any]) -> dict[str, Any]:
    """A health check with the address where the host reaches the guest.

    :raises UsageError: code ``vm.health_check``: the port is not reachable from the host
    """
    from ansible_collections.uni.engine.plugins.module_utils.engine.vms import health

    if check["kind"] not in ("tcp", "http"):
        return health.for_keeper(check, "", 0, forwarded=False)
    for item in vm.runtime.get("addresses", []):
        if item.get("address"):
            return health.for_keeper(check, item["address"], check["port"], forwarded=False)
    for port in resolved_ports(vm):
        if port.guest == check["port"] and port.proto == "tcp":
            bind = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(port.bind, port.bind)
            return health.for_keeper(check, bind, port.host, forwarded=True)
    raise UsageError(f"VM {vm.name}: the health check wants port {check['port']}, which is not forwarded to the host",
                     code="vm.health_check", hint=f"add the port forward 127.0.0.1:0:{check['port']}")
