# SPDX-License-Identifier: GPL-3.0-or-later
"""Networks as modules, command line and stacks use them."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ansible_collections.uni.engine.plugins.module_utils.engine.errors import ConflictError, NotFoundError
from ansible_collections.uni.engine.plugins.module_utils.engine.networks import attachment, ipam, link, model
from ansible_collections.uni.engine.plugins.module_utils.engine.networks.model import Network, NetworkSpec
from ansible_collections.uni.engine.plugins.module_utils.engine.plan import Action, Plan
from ansible_collections.uni.engine.plugins.module_utils.engine.records import lock, write_json
from ansible_collections.uni.engine.plugins.module_utils.engine.root import Root


@dataclass(frozen=True)
class Result:
    """What was (or would be) done, and the network afterwards."""

    plan: Plan
    network: Network | None = None

    @property
    def changed(self) -> bool:
        """Whether anything was to be done."""
        return self.plan.changed


def find(root: Root, name: str) -> Network | None:
    """The network, or None."""
    try:
        return model.load(root, name)
    except NotFoundError:
        return None


def users(root: Root, name: str) -> list[str]:
    """The names of the VMs that are to be on the network."""
    from ansible_collections.uni.engine.plugins.module_utils.engine.vms import record as records

    return [vm.name for vm in records.load_all(root)
            if any(entry.get("name") == name for entry in vm.values.get("networks", ()))]


def ensure_present(root: Root, spec: NetworkSpec, *, check: bool = False) -> Result:
    """Create the network, or change it, and bring it up.

    :raises ConflictError: code ``network.in_use``, ``network.overlap``, ``network.pool_empty``
    """
    with lock(root.locks / "networks", timeout=60):
        observed = find(root, spec.name)
        plan = model.plan_network(spec, observed, users(root, spec.name))
        if not plan.changed:
            if not check and observed is not None:
                link.up(root, observed)
                attachment.repair(root)
            return Result(plan, observed)
        others = [network for network in model.load_all(root) if network.name != spec.name]
        own = observed.bridge if observed is not None else ""
        routes = [subnet for subnet, device in link.host_subnets() if device != own]
        network = model.build(root, spec, observed, [network.subnet for network in others] + routes)
        _check_overlap(network, others)
        if observed is None or network.subnet != observed.subnet:
            _check_routes(network, network.subnet, routes)
        if network.get("subnet6") and (observed is None or network.get("subnet6") != observed.get("subnet6")):
            _check_routes(network, network.get("subnet6"),
                          [subnet for subnet, device in link.host_subnets(six=True) if device != own])
        if check:
            return Result(plan, network)
        _store(root, network, observed, plan)
    attachment.sync(root)
    return Result(plan, network)


def _store(root: Root, network: Network, observed: Network | None, plan: Plan) -> None:
    """Write the record, then make it true; a creation that fails leaves nothing."""
    home = model.directory(root, network.name)
    if observed is not None and any(action.kind == "recreate" for action in plan.actions):
        link.down(root, observed)
    home.mkdir(mode=0o700, exist_ok=True)
    write_json(home / "network.json", {"bridge": network.bridge, "subnet": network.subnet, "gateway": network.gateway,
                                       "values": dict(network.values)})
    try:
        if observed is not None and any(observed.get(key) != network.get(key) for key in ("dns", "internal")):
            link.stop_server(root, observed)  # its arguments change; up() starts it again where it is wanted
        link.up(root, network)
        if observed is not None and observed.get("isolated") != network.get("isolated"):
            taps = [str(lease["tap"]) for lease in ipam.leases(root, network.name).values()]
            link.isolate(taps, bool(network.get("isolated")))
    except BaseException:
        if observed is None:
            link.down(root, network)
            shutil.rmtree(home, ignore_errors=True)
        raise


def _check_routes(network: Network, subnet: str, routes: list[str]) -> None:
    """A subnet that the host reaches elsewhere would cut the host off from it."""
    import ipaddress

    wanted = ipaddress.ip_network(subnet)
    for text in routes:
        route = ipaddress.ip_network(text, strict=False)
        if route.version == wanted.version and route.overlaps(wanted):
            raise ConflictError(f"the subnet {subnet} of network {network.name} overlaps {route}, which this host has a"
                                " route for", code="network.overlap", hint="choose another subnet")


def _check_overlap(network: Network, others: list[Network]) -> None:
    import ipaddress

    for other in others:
        if network.get("subnet6") and other.get("subnet6") and ipaddress.ip_network(network.get("subnet6")).overlaps(
                ipaddress.ip_network(other.get("subnet6"))):
            raise ConflictError(f"{network.get('subnet6')} overlaps subnet6 of network {other.name}",
                                code="network.overlap", hint="choose another subnet6")
        if ipaddress.ip_network(network.subnet).overlaps(ipaddress.ip_network(other.subnet)):
            raise ConflictError(f"the subnet {network.subnet} overlaps that of network {other.name} ({other.subnet})",
                                code="network.overlap", hint="choose another subnet")


def ensure_absent(root: Root, name: str, *, check: bool = False) -> Result:
    """Remove the network.

    :raises ConflictError: code ``network.in_use``
    """
    with lock(root.locks / "networks", timeout=60):
        network = find(root, name)
        if network is None:
            return Result(Plan())
        names = users(root, name)
        if names:
            raise ConflictError(f"network {name} is used by {', '.join(names[:5])}", code="network.in_use",
                                hint="remove those VMs first")
        before, after = network.to_dict(), {"state": "absent"}
        plan = Plan((Action("remove", f"network/{name}", f"remove network {name}", before, after),))
        if check:
            return Result(plan, network)
        link.down(root, network)
        shutil.rmtree(model.directory(root, name))
    attachment.sync(root)
    return Result(plan)


def list_networks(root: Root, labels: Mapping[str, str] | None = None) -> list[dict[str, Any]]:
    """Every network, with its users and whether it is up."""
    found = [inspect(root, network.name) for network in model.load_all(root)]
    return [item for item in found if all(item["labels"].get(key) == value for key, value in (labels or {}).items())]


def inspect(root: Root, name: str) -> dict[str, Any]:
    """Everything about a network.

    :raises NotFoundError: code ``network.not_found``
    """
    network = model.load(root, name)
    leases = [{"vm": key.partition("/")[0], "interface": lease["tap"], **{k: lease[k] for k in ("address", "mac")}}
              for key, lease in sorted(ipam.leases(root, name).items())]
    return {**network.to_dict(), "up": link.is_up(network), "dns_running": link.server_running(root, network),
            "leases": leases, "users": users(root, name)}
