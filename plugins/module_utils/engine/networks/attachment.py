# SPDX-License-Identifier: GPL-3.0-or-later
"""A VM's interface on a managed network: address, TAP interface, name, published ports, and the end of all that."""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ansible_collections.uni.engine.plugins.module_utils.engine.guests.base import Interface
from ansible_collections.uni.engine.plugins.module_utils.engine.monitors.base import Nic
from ansible_collections.uni.engine.plugins.module_utils.engine.monitors.qemu import find_program
from ansible_collections.uni.engine.plugins.module_utils.engine.networks import (
    antispoof,
    firewall,
    flows,
    ipam,
    link,
    model,
    shape,
)
from ansible_collections.uni.engine.plugins.module_utils.engine.networks.firewall import Attachment
from ansible_collections.uni.engine.plugins.module_utils.engine.records import lock, write_bytes
from ansible_collections.uni.engine.plugins.module_utils.engine.root import Root
from ansible_collections.uni.engine.plugins.module_utils.engine.units import parse_port
from ansible_collections.uni.engine.plugins.module_utils.engine.vms import record as records
from ansible_collections.uni.engine.plugins.module_utils.engine.vms.record import Vm

RULES = "network-rules"  # the lock: a keeper holds it too while it takes its VM's rules away


@dataclass(frozen=True)
class Attached:
    """One interface, from both sides, and what its keeper does when the VM ends."""

    nic: Nic
    interface: Interface
    record: Mapping[str, Any]
    gone: tuple[str, ...] = ()
    hangup: str = ""


def tap_name(vm_id: str, number: int) -> str:
    """The TAP interface of a VM: at most 15 characters."""
    return f"ut{vm_id[:11]}{number}"


def prefix(root: Root) -> str:
    """What the names of a root's chains begin with."""
    return f"UNI-{model.tag(root)}"


def attach(root: Root, vm: Vm, number: int, wanted: Mapping[str, Any], mac: str, ports: Sequence[str]) -> Attached:
    """Get a VM's interface ready; its rules are applied by :func:`sync` when all interfaces are known.

    :raises NotFoundError: code ``network.not_found``;  :raises ConflictError: code ``ipam.taken``, ``ipam.full``
    """
    network = model.load(root, wanted["name"])
    link.up(root, network)
    tap = tap_name(vm.id, number)
    details = {"mac": mac, "tap": tap, "ports": list(ports)}
    lease = ipam.acquire(root, network, f"{vm.id}/{number}", details, wanted=str(wanted.get("ip", "")),
                         wanted6=str(wanted.get("ip6", "")))
    address, address6 = lease["address"], lease["address6"]
    home = link.run_directory(root, network)
    gone: tuple[str, ...] = ()
    server = None
    if network.get("dns"):
        names = [vm.values.get("hostname", vm.name), vm.name, *wanted.get("aliases", [])]
        lines = [f"{address} {' '.join(dict.fromkeys(names))}"]
        lines += [f"{address6} {' '.join(dict.fromkeys(names))}"] if address6 else []
        write_bytes(home / "hosts" / vm.id, ("\n".join(lines) + "\n").encode(), mode=0o644)
        write_bytes(home / "dhcp" / vm.id, f"{mac},{address},{vm.name}\n".encode(), mode=0o644)
        gone = (str(home / "hosts" / vm.id), str(home / "dhcp" / vm.id))
        server = link.reload_server(root, network)
    dns = wanted.get("dns") or (network.gateway if network.get("dns") else "")
    outward = not network.get("internal") and not number
    gateway = wanted.get("gateway") or (network.gateway if outward else "")
    interface = Interface(address, network.prefix, gateway, dns, address6=address6,
                          gateway6=network.gateway6 if outward else "",
                          prefix6=ipaddress.ip_network(network.get("subnet6") or "::/64").prefixlen)
    nic = Nic(mac, tap=f"{tap}:{network.bridge}:{1 if network.get('isolated') else 0}:{network.get('mtu')}",
              network=network.name, address=address, mtu=int(network.get("mtu")))
    record = {"network": network.name, "address": address, "mac": mac, "interface": tap, "gateway": network.gateway,
              "address6": address6, "bridge": network.bridge, "ports": list(ports)}
    return Attached(nic, interface, record, gone, f"{server.pid}:{server.start}" if server else "")


def attachments(root: Root, networks: Sequence[model.Network], starting: str = "") -> list[Attachment]:
    """The interfaces of running VMs, and of the one that is starting."""
    result = []
    running: dict[str, bool] = {starting: True}
    for network in networks:
        for key, lease in ipam.leases(root, network.name).items():
            vm_id = key.partition("/")[0]
            if vm_id not in running:
                running[vm_id] = _runs(root.vms / vm_id)
            if running[vm_id]:
                ports = tuple(port for text in lease.get("ports", []) for port in parse_port(text))
                result.append(Attachment(network.name, network.bridge, lease["tap"], lease["mac"], lease["address"],
                                         ports, lease.get("address6", "")))
    return result


def _runs(directory: Path) -> bool:
    status = records.status_of(records.read_state(directory))
    return status in (*records.RUNNING, "restarting")


def sync(root: Root, *, starting: str = "") -> None:
    """Apply the packet rules that the running VMs need, as a whole.

    :raises HostError: code ``network.tool``, ``network.rules``
    """
    with lock(root.locks / RULES, timeout=60):
        networks = model.load_all(root)
        _apply(root, networks, attachments(root, networks, starting))


def _apply(root: Root, networks: Sequence[model.Network], items: Sequence[Attachment]) -> None:
    """The caller holds the lock. A file remembers that there are IPv6 rules: most hosts have none to ask about."""
    mark = root.run / "network-rules6"
    wanted6 = any(network.get("subnet6") for network in networks)
    if wanted6:
        mark.touch(mode=0o600)
    six = wanted6 or mark.exists()
    firewall.apply(prefix(root), networks, items)
    if six:
        firewall.apply(prefix(root), networks, items, six=True)
    antispoof.apply(prefix(root), items, wanted=bool(networks), six=six)
    if not wanted6:
        mark.unlink(missing_ok=True)


def forget_flows(addresses: Sequence[Mapping[str, Any]], before: Sequence[Mapping[str, Any]] = ()) -> None:
    """See :func:`flows.forget`; a VM's ``addresses`` as its record has them, and as it had them."""
    flows.forget([_as_attachment(item) for item in addresses], [_as_attachment(item) for item in before])


def repair(root: Root) -> bool:
    """Put back what somebody took away (a firewall that was reloaded, a flush, a bridge that was deleted), and drop
    what belongs to VMs that are gone.

    :return: whether anything was missing
    :raises HostError: code ``network.*``
    """
    networks = model.load_all(root)
    if not networks or os.geteuid() != 0:
        return False
    for network in networks:
        ipam.sweep(root, network.name)
        link.sweep_names(root, network)
    broken = [network for network in networks if not link.whole(root, network)]
    for network in broken:
        link.up(root, network)
    with lock(root.locks / RULES, timeout=60):
        items = attachments(root, networks)
        if _whole(root, networks, items):
            return bool(broken)
        _apply(root, networks, items)
    flows.forget(items)
    return True


def _whole(root: Root, networks: Sequence[model.Network], items: Sequence[Attachment]) -> bool:
    """Whether every rule is there. The caller holds the lock."""
    families = [False, True] if any(network.get("subnet6") for network in networks) else [False]
    return all(firewall.complete(prefix(root), firewall.all_rules(prefix(root), networks, items, six=six),
                                 firewall.run("ip6tables-save" if six else "iptables-save")) for six in families) \
        and antispoof.complete(prefix(root), items, firewall.run("ebtables-save"))


def missing(root: Root) -> list[str]:
    """What :func:`repair` would put back, in words; nothing is changed.

    :raises HostError: code ``network.*``
    """
    networks = model.load_all(root)
    if not networks:
        return []
    found = [f"the bridge or the name server of network {network.name}" for network in networks
             if not link.whole(root, network)]
    with lock(root.locks / RULES, timeout=60):
        return found if _whole(root, networks, attachments(root, networks)) else [*found, "rules of the firewall"]


def rates(vm: Vm) -> tuple[int, int]:
    """Bytes per second that each managed interface of the VM may receive and send; 0 is no limit."""
    return int(vm.values.get("net_in_bps") or 0), int(vm.values.get("net_out_bps") or 0)


def limit(vm: Vm) -> None:
    """Bring the limits of a running VM's managed interfaces to what its record says; the caller renews its launch file.

    :raises HostError: code ``network.shape``
    """
    for item in vm.runtime.get("addresses", []):
        if link.exists(item["interface"]):
            shape.apply(item["interface"], *rates(vm))
        elif not rates(vm)[1]:  # between two runs
            shape.forget(item["interface"])


def shaping(vm: Vm) -> list[tuple[str, dict[str, Any]]]:
    """What limits a VM's interfaces at each start, and what ends that: launch records, their input beside them."""
    receive, send = rates(vm)
    taps = [str(item["interface"]) for item in vm.runtime.get("addresses", [])]
    lines = [line for tap in taps for line in shape.commands(tap, receive, send)]
    path = vm.directory / "shape.up"
    if not lines:
        path.unlink(missing_ok=True)
        return []
    for tap in taps:
        shape.prepare(tap, send)
    records.write_loose(path, ("\n".join(lines) + "\n").encode())
    found: list[tuple[str, dict[str, Any]]] = [
        ("setup", {"argv": [find_program("tc") or "tc", "-batch", "-"], "stdin": str(path)})]
    if send:
        found += [("takedown", {"argv": [find_program("ip") or "ip", "link", "delete", shape.ifb_name(tap)]})
                  for tap in taps]
    return found


def cleanup(root: Root, vm: Vm) -> list[dict[str, Any]]:
    """The commands that take a VM's rules away when it has ended; their input is written beside its record."""
    items = [_as_attachment(item) for item in vm.runtime.get("addresses", [])]
    rules = prefix(root)
    commands: list[dict[str, Any]] = []
    wait = ("--noflush", "-w", "10")
    for program, name, text, words in (
            ("iptables-restore", "rules.down", firewall.render_down(rules, items), wait),
            ("ip6tables-restore", "rules6.down", firewall.render_down(rules, items, six=True), wait),
            ("ebtables-restore", "bridge.down", antispoof.render_down(rules, items), ("--noflush",)),
            ("nft", "neighbors.down", antispoof.render_neighbors_down(rules, items), ("-f", "-"))):
        path = vm.directory / name
        if text:
            records.write_loose(path, text.encode())
            commands.append({"argv": [find_program(program) or program, *words], "stdin": str(path),
                             "lock": str(root.locks / RULES)})
    return commands + [command for item in items for command in flows.cleanup(item)]


def _as_attachment(record: Mapping[str, Any]) -> Attachment:
    ports = tuple(port for text in record["ports"] for port in parse_port(text))
    return Attachment(record["network"], record["bridge"], record["interface"], record["mac"], record["address"], ports,
                      record["address6"])


def forget_limits(vm: Vm) -> None:
    """Remove the devices that limits need, also those of a start that was killed before it was on record."""
    for number in range(len(vm.values.get("networks", []))):
        shape.forget(tap_name(vm.id, number))
