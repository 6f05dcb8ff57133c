# SPDX-License-Identifier: GPL-3.0-or-later
"""Addresses: who has which. A lease belongs to a VM's interface until the VM is removed, so that a restarted VM
keeps its address; what removed VMs had is handed out again.
"""

from __future__ import annotations

import ipaddress
import json
import os
from collections.abc import Collection, Mapping
from typing import Any

from ansible_collections.uni.engine.plugins.module_utils.engine.errors import ConflictError, UsageError
from ansible_collections.uni.engine.plugins.module_utils.engine.networks.model import Network, directory
from ansible_collections.uni.engine.plugins.module_utils.engine.records import (
    lock,
    read_json,
    sweep_temporary,
    write_bytes,
)
from ansible_collections.uni.engine.plugins.module_utils.engine.root import Root

Leases = dict[str, dict[str, Any]]


def choose(network: Network, taken: Collection[int], *, wanted: str = "", before: str = "") -> str:
    """An address: the wanted one, else the one before, else the lowest free one. Pure.

    :param taken: addresses in use, as numbers
    :raises UsageError: code ``ipam.outside``
    :raises ConflictError: code ``ipam.taken`` or ``ipam.full``
    """
    subnet = ipaddress.IPv4Network(network.subnet)
    inside = ipaddress.IPv4Network(network.values.get("ip_range") or network.subnet)
    reserved = {int(subnet.network_address), int(subnet.broadcast_address), int(ipaddress.IPv4Address(network.gateway)),
                *(int(ipaddress.IPv4Address(other)) for other in (network.get("vxlan") or {}).get("gateways", ()))}
    if wanted:
        address = ipaddress.IPv4Address(wanted.partition("/")[0])
        if address not in subnet or int(address) in reserved:
            raise UsageError(f"{wanted} is not an address for VMs in network {network.name} ({network.subnet})",
                             code="ipam.outside")
        if int(address) in taken:
            raise ConflictError(f"{wanted} is in use in network {network.name}", code="ipam.taken",
                                hint="choose another address, or leave it out")
        return str(address)
    blocked = reserved.union(taken)
    if before and ipaddress.IPv4Address(before) in inside and int(ipaddress.IPv4Address(before)) not in blocked:
        return before
    for number in range(int(inside.network_address), int(inside.broadcast_address) + 1):
        if number not in blocked:
            return str(ipaddress.IPv4Address(number))
    raise ConflictError(f"network {network.name} has no free address left in {inside}", code="ipam.full",
                        hint="remove VMs, or use a larger subnet")


def choose6(network: Network, address: str, taken: Collection[str], *, wanted: str = "", before: str = "") -> str:
    """The IPv6 address beside an IPv4 one: the wanted one, else the one before, else the subnet's prefix with the IPv4
    address in its low bits, else the next free one; empty where the network has no IPv6. Pure.

    :raises UsageError: code ``ipam.outside``;  :raises ConflictError: code ``ipam.taken``
    """
    if not network.get("subnet6"):
        if wanted:
            raise UsageError(f"{wanted}: network {network.name} has no IPv6", code="ipam.outside",
                             hint="create the network with subnet6")
        return ""
    subnet = ipaddress.IPv6Network(network.get("subnet6"))
    reserved = {str(subnet.network_address), network.gateway6}  # the first one is the routers' anycast: RFC 4291, 2.6.1
    if wanted:
        one = str(ipaddress.IPv6Interface(wanted).ip)
        if ipaddress.IPv6Address(one) not in subnet or one in reserved:
            raise UsageError(f"{wanted} is not an address for VMs in network {network.name} ({subnet})",
                             code="ipam.outside")
        if one in taken:
            raise ConflictError(f"{wanted} is in use in network {network.name}", code="ipam.taken",
                                hint="choose another address, or leave it out")
        return one
    blocked = reserved.union(taken)
    if before and before not in blocked and ipaddress.IPv6Address(before) in subnet:
        return before
    start = int(ipaddress.IPv4Address(address)) % subnet.num_addresses
    for step in range(min(len(blocked) + 1, subnet.num_addresses)):
        one = str(subnet.network_address + (start + step) % subnet.num_addresses)
        if one not in blocked:
            return one
    raise ConflictError(f"network {network.name} has no free address left in {subnet}", code="ipam.full",
                        hint="remove VMs, or use a larger subnet6")


def number(address: str) -> int:
    """An IPv4 address as a number."""
    a, b, c, d = address.split(".")
    return int(a) << 24 | int(b) << 16 | int(c) << 8 | int(d)


def leases(root: Root, name: str) -> Leases:
    """Who has which address: {"VM/interface number": {"address", "mac", ...}}."""
    found = read_json(directory(root, name) / "leases.json")
    return found if isinstance(found, dict) else {}


def acquire(root: Root, network: Network, key: str, lease: Mapping[str, Any], *, wanted: str = "",
            wanted6: str = "") -> dict[str, Any]:
    """Give ``key`` its addresses and remember the lease; leases of VMs that are gone are dropped on the way.

    :raises ConflictError: code ``ipam.taken``, ``ipam.full``;  :raises UsageError: code ``ipam.outside``
    """
    with lock(directory(root, network.name) / "lock", timeout=30):
        known = _living(root, leases(root, network.name), key)
        before = known.pop(key, {})
        taken = {number(item["address"]) for item in known.values()}
        address = choose(network, taken, wanted=wanted, before=before.get("address", ""))
        taken6 = {item.get("address6", "") for item in known.values()}
        address6 = choose6(network, address, taken6, wanted=wanted6, before=before.get("address6", ""))
        known[key] = {**lease, "address": address, "address6": address6}
        _write(root, network.name, known)
    return known[key]


def _living(root: Root, known: Leases, key: str = "") -> Leases:
    """The leases of VMs that exist, and of ``key``: one look at the directory, however many they are."""
    present = set(os.listdir(root.vms))
    return {other: item for other, item in known.items() if other == key or other.partition("/")[0] in present}


def _write(root: Root, name: str, known: Leases) -> None:
    """Store leases, durably. Compact: with an indentation Python's slow encoder would write a thousand of them."""
    write_bytes(directory(root, name) / "leases.json", json.dumps(known, separators=(",", ":")).encode() + b"\n")


def sweep(root: Root, name: str) -> None:
    """Drop the leases of VMs that are gone, whose remover was killed, and what killed writers left."""
    sweep_temporary(directory(root, name))
    known = leases(root, name)
    if len(_living(root, known)) == len(known):
        return
    with lock(directory(root, name) / "lock", timeout=30):
        _write(root, name, _living(root, leases(root, name)))


def release(root: Root, name: str, vm_id: str) -> None:
    """Drop the leases of a removed VM."""
    with lock(directory(root, name) / "lock", timeout=30):
        known = leases(root, name)
        kept = {key: item for key, item in known.items() if key.partition("/")[0] != vm_id}
        if kept != known:
            _write(root, name, kept)
