# SPDX-License-Identifier: GPL-3.0-or-later
"""Managed networks: what a user wants one to be, its record, and the plan between the two.

``networks/NAME/network.json`` is the record, ``networks/NAME/leases.json`` who has which address.
"""

from __future__ import annotations

import hashlib
import ipaddress
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ansible_collections.uni.engine.plugins.module_utils.engine.errors import ConflictError, NotFoundError, UsageError
from ansible_collections.uni.engine.plugins.module_utils.engine.plan import Action, Plan, Tracker
from ansible_collections.uni.engine.plugins.module_utils.engine.records import read_json
from ansible_collections.uni.engine.plugins.module_utils.engine.root import Root
from ansible_collections.uni.engine.plugins.module_utils.engine.units import check_name, parse_env

RESERVED = frozenset({"none", "user", "host", "tap"})
DEFAULTS: Mapping[str, Any] = {"internal": False, "dns": True, "isolated": False, "host_access": False, "mtu": 1500,
                               "labels": {}, "vxlan": {}, "subnet6": "", "gateway6": "", "masquerade6": False}
LIVE = frozenset({"labels", "internal", "isolated", "host_access", "dns", "masquerade6"})
POOL = ipaddress.ip_network("10.89.0.0/16")  # /24 subnets are taken from here when none is given
OPTIONS = ("subnet", "gateway", "ip_range", "subnet6", *DEFAULTS)


@dataclass(frozen=True)
class NetworkSpec:
    """A network by name and the options that the user set, normalised."""

    name: str
    values: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def parse(cls, name: str, options: Mapping[str, Any] | None = None) -> NetworkSpec:
        """From options as a user writes them; None means "not set".

        :raises UsageError: code ``network.*``
        """
        check_name("network", name)
        if name in RESERVED:
            raise UsageError(f"{name!r} cannot be the name of a network", code="network.name")
        values: dict[str, Any] = {}
        for key, value in (options or {}).items():
            if key not in OPTIONS:
                raise UsageError(f"{key!r} is not an option of a network", code="network.option",
                                 hint=f"options: {', '.join(dict.fromkeys(OPTIONS))}")
            if value is not None:
                values[key] = _normalise(key, value)
        _check_addresses(name, values)
        return cls(name, values)


@dataclass(frozen=True)
class Network:
    """A network of this host. Addresses are text; ``bridge`` is its interface."""

    name: str
    bridge: str
    subnet: str
    gateway: str
    values: Mapping[str, Any] = field(default_factory=dict)

    def get(self, key: str) -> Any:
        """An option, or its default. A packet and what VXLAN wraps around it must fit into 1,500 bytes (RFC 7348)."""
        if key == "mtu" and "mtu" not in self.values and self.values.get("vxlan"):
            return 1430 if any(":" in remote for remote in self.values["vxlan"]["remotes"]) else 1450
        return self.values.get(key, DEFAULTS.get(key))

    @property
    def gateway6(self) -> str:
        """The host's IPv6 address in the network; empty when it has no IPv6."""
        if not self.get("subnet6"):
            return ""
        return str(self.get("gateway6") or ipaddress.IPv6Network(self.get("subnet6")).network_address + 1)

    @property
    def prefix(self) -> int:
        """Length of the subnet's prefix in bits."""
        return ipaddress.ip_network(self.subnet).prefixlen

    def to_dict(self) -> dict[str, Any]:
        """The network as plain data."""
        return {"name": self.name, "bridge": self.bridge, "subnet": self.subnet, "gateway": self.gateway,
                **{key: self.get(key) for key in DEFAULTS}, "gateway6": self.gateway6,
                "ip_range": self.values.get("ip_range", "")}


def tag(root: Root) -> str:
    """Tells the rules and interfaces of one root from those of another on the same machine."""
    return hashlib.sha256(str(root.path).encode()).hexdigest()[:6]


def bridge_name(root: Root, name: str) -> str:
    """The bridge's interface name: 12 of at most 15 characters, never that of another network or root."""
    return "ub" + hashlib.sha256(f"{root.path}\0{name}".encode()).hexdigest()[:10]


def directory(root: Root, name: str) -> Path:
    """Where a network's records are."""
    return root.networks / check_name("network", name)


def load(root: Root, name: str) -> Network:
    """The network ``name``.

    :raises NotFoundError: code ``network.not_found``
    """
    record = read_json(directory(root, name) / "network.json")
    if not isinstance(record, dict):
        known = ", ".join(network.name for network in load_all(root)) or "none"
        raise NotFoundError(f"no network {name!r}", code="network.not_found",
                            hint=f"here: {known}; create one with `uni network create`, or use user, none, tap:IF")
    return Network(name, record["bridge"], record["subnet"], record["gateway"], record["values"])


def load_all(root: Root) -> list[Network]:
    """Every network, by name."""
    names = sorted(path.parent.name for path in root.networks.glob("*/network.json"))
    return [load(root, name) for name in names]


def plan_network(spec: NetworkSpec, observed: Network | None, users: Iterable[str]) -> Plan:
    """What brings the network to ``spec``; pure.

    :raises ConflictError: code ``network.in_use``: addresses would change under VMs
    """
    target = f"network/{spec.name}"
    if observed is None:
        if spec.values.get("vxlan", {}).get("remotes") and not spec.values.get("ip_range"):
            raise UsageError(f"network {spec.name} spans several hosts and has no ip_range", code="network.vxlan_range",
                             hint="give each host a part of the subnet, or two of them hand out one address")
        return Plan((Action("create", target, f"create network {spec.name}", {"state": "absent"},
                            {"state": "present", **spec.values}),))
    tracker = Tracker()
    for key, value in spec.values.items():
        before = {"subnet": observed.subnet, "gateway": observed.gateway, "gateway6": observed.gateway6,
                  "ip_range": observed.values.get("ip_range", "")}.get(key, observed.get(key))
        tracker.compare(key, value, before)
    if not tracker:
        return Plan()
    hard = [name for name in tracker.names if name not in LIVE]
    names = sorted(users)
    if hard and names:
        raise ConflictError(f"network {spec.name} is used by {', '.join(names[:5])}: {', '.join(hard)} cannot change",
                            code="network.in_use", hint="remove those VMs first, or make another network")
    kind = "recreate" if hard else "update"
    return Plan((Action(kind, target, f"change {', '.join(tracker.names)} of network {spec.name}", tracker.before,
                        tracker.after, live=not hard),))


def build(root: Root, spec: NetworkSpec, observed: Network | None, taken: Iterable[str]) -> Network:
    """The network that ``spec`` describes; a subnet is chosen where none is given.

    :param taken: subnets that this host has already
    """
    values = {**(observed.values if observed else {}), **spec.values}
    subnet = values.get("subnet") or (observed.subnet if observed else choose_subnet(taken))
    network = ipaddress.ip_network(subnet)
    gateway = values.get("gateway") or str(network.network_address + 1)
    if ipaddress.ip_address(gateway) not in network:
        raise UsageError(f"network {spec.name}: the gateway {gateway} is not in {subnet}", code="network.gateway")
    if ipaddress.ip_address(gateway) in (network.network_address, network.broadcast_address):
        raise UsageError(f"network {spec.name}: {gateway} cannot be the gateway of {subnet}", code="network.gateway")
    gateway6 = values.get("gateway6")
    if gateway6 and (not values.get("subnet6") or ipaddress.ip_address(gateway6) not in
                     ipaddress.ip_network(values["subnet6"])):
        raise UsageError(f"network {spec.name}: the gateway {gateway6} is not in subnet6", code="network.gateway6",
                         hint="give subnet6 together with gateway6")
    for other in (values.get("vxlan") or {}).get("gateways", ()):
        if ipaddress.ip_address(other) not in network or other == gateway:
            raise UsageError(f"network {spec.name}: {other} cannot be another host's gateway in {subnet}",
                             code="network.vxlan", hint="each host has a gateway of its own in the one subnet")
    return Network(spec.name, bridge_name(root, spec.name), subnet, gateway, values)


def choose_subnet(taken: Iterable[str]) -> str:
    """The first /24 of the pool that overlaps nothing.

    :raises ConflictError: code ``network.pool_empty``
    """
    used = [ipaddress.ip_network(text, strict=False) for text in taken]
    for candidate in POOL.subnets(new_prefix=24):
        if not any(candidate.overlaps(other) for other in used if other.version == 4):
            return str(candidate)
    raise ConflictError(f"no free subnet is left in {POOL}", code="network.pool_empty", hint="give a subnet")


def _normalise(key: str, value: Any) -> Any:
    try:
        if key in ("ip_range", "subnet6", "gateway6") and not value:
            return ""  # none
        if key in ("subnet", "ip_range", "subnet6"):
            return str(ipaddress.ip_network(str(value)))
        if key in ("gateway", "gateway6"):
            return str(ipaddress.IPv4Address(str(value)) if key == "gateway" else ipaddress.IPv6Address(str(value)))
        if key == "mtu":
            if not 576 <= int(value) <= 65535:
                raise ValueError("from 576 to 65535")
            return int(value)
        if key == "labels":
            return dict(sorted(parse_env(value, what="labels").items()))
        if key == "vxlan":
            return _vxlan(value)
    except (ValueError, TypeError) as error:
        raise UsageError(f"{key}: {value!r} is not understood: {error}", code=f"network.{key}") from None
    if not isinstance(value, bool):
        raise UsageError(f"{key}: {value!r} is not true or false", code=f"network.{key}")
    return value


def _vxlan(value: Mapping[str, Any]) -> dict[str, Any]:
    """``{"id": 42, "remotes": ["192.0.2.2"], "local": "192.0.2.1", "port": 4789, "gateways": ["10.1.0.2"]}``; {} for
    none (RFC 7348).
    """
    if not value:
        return {}
    unknown = set(value) - {"id", "remotes", "local", "port", "gateways"}
    if unknown or not 0 < int(value["id"]) < 1 << 24:
        raise ValueError("expected id (1 to 16777215), remotes, local, port, gateways")
    gateways = sorted(str(ipaddress.IPv4Address(ip)) for ip in value.get("gateways") or [])
    remotes = sorted(str(ipaddress.ip_address(ip)) for ip in value.get("remotes") or [])
    return {"id": int(value["id"]), "remotes": remotes,
            "local": str(ipaddress.ip_address(value["local"])) if value.get("local") else "",
            "port": int(value.get("port", 4789)), **({"gateways": gateways} if gateways else {})}


def _check_addresses(name: str, values: Mapping[str, Any]) -> None:
    subnet = ipaddress.ip_network(values["subnet"]) if "subnet" in values else None
    if subnet is not None and (subnet.version != 4 or subnet.prefixlen > 30):
        raise UsageError(f"network {name}: the subnet {subnet} has no room for VMs", code="network.subnet",
                         hint="use an IPv4 subnet from /8 to /30; subnet6 is for IPv6")
    inside = ipaddress.ip_network(values["ip_range"]) if values.get("ip_range") else None
    if inside is not None and (subnet is None or inside.version != 4 or not inside.subnet_of(subnet)):
        raise UsageError(f"network {name}: ip_range {inside} is not inside the subnet", code="network.ip_range",
                         hint="give subnet together with ip_range")
    if values.get("subnet6"):
        subnet6 = ipaddress.ip_network(values["subnet6"])
        if subnet6.version != 6 or subnet6.prefixlen > 120 or subnet6.is_link_local or subnet6.is_multicast:
            raise UsageError(f"network {name}: subnet6 is not an IPv6 subnet with room for VMs", code="network.subnet6",
                             hint="use one such as fd00:89::/64")
