# SPDX-License-Identifier: GPL-3.0-or-later
"""uni network: bridges of this host."""

from __future__ import annotations

import argparse

from ansible_collections.uni.engine.plugins.module_utils.cli.output import Ui, show
from ansible_collections.uni.engine.plugins.module_utils.engine.errors import UsageError
from ansible_collections.uni.engine.plugins.module_utils.engine.networks import api
from ansible_collections.uni.engine.plugins.module_utils.engine.networks.model import NetworkSpec


def network_create_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name")
    parser.add_argument("--subnet", metavar="CIDR", help="such as 10.1.0.0/24 (default: a free one)")
    parser.add_argument("--gateway", metavar="ADDRESS", help="the host's address in it (default: the first)")
    parser.add_argument("--ip-range", metavar="CIDR", help="the part of the subnet that VMs get addresses from")
    parser.add_argument("--subnet6", metavar="CIDR", help="an IPv6 subnet beside it")
    parser.add_argument("--gateway6", metavar="ADDRESS", help="the host's IPv6 address in it (default: the first)")
    parser.add_argument("--masquerade6", action="store_true", default=None, help="IPv6 leaves with the host's address")
    parser.add_argument("--mtu", type=int, metavar="BYTES", help="the largest packet (default: 1500)")
    parser.add_argument("--internal", action="store_true", default=None, help="no way out of the host")
    parser.add_argument("--isolated", action="store_true", default=None, help="its VMs do not reach each other")
    parser.add_argument("--host-access", action="store_true", default=None, help="its VMs reach services of the host")
    parser.add_argument("--no-dns", action="store_false", default=None, dest="dns", help="no name server")
    vxlan = parser.add_argument_group("a network over several hosts (VXLAN); give each host an --ip-range of its own")
    vxlan.add_argument("--vxlan-id", type=int, metavar="N", help="its identifier, the same on all hosts")
    vxlan.add_argument("--vxlan-remote", action="append", metavar="ADDRESS", help="another host (repeats)")
    vxlan.add_argument("--vxlan-local", metavar="ADDRESS", help="this host's address on the way there")
    vxlan.add_argument("--vxlan-gateway", action="append", metavar="ADDRESS",
                       help="another host's gateway in the network, which is asked for names (repeats)")
    vxlan.add_argument("--vxlan-port", type=int, metavar="PORT", help="UDP port (default: 4789)")
    parser.add_argument("--label", action="append", metavar="NAME=VALUE", help="a label (repeats)")


def network_create(args: argparse.Namespace, ui: Ui) -> int:
    """Create a network, or change it."""
    keys = ("subnet", "gateway", "ip_range", "subnet6", "gateway6", "masquerade6", "mtu",
            "internal", "isolated", "host_access", "dns")
    options = {key: getattr(args, key) for key in keys}
    vxlan = {key: getattr(args, f"vxlan_{key}") for key in ("id", "local", "port")}
    vxlan = {key: value for key, value in {**vxlan, "remotes": args.vxlan_remote,
             "gateways": args.vxlan_gateway}.items() if value is not None}
    if vxlan and "id" not in vxlan:
        raise UsageError("--vxlan-* needs --vxlan-id", code="cli.usage", hint="any number, the same on all hosts")
    options.update(labels=args.label, vxlan=vxlan or None)
    result = api.ensure_present(ui.root, NetworkSpec.parse(args.name, options))
    data = result.network.to_dict() if result.network else {}
    ui.line({**data, "changed": result.changed}, args.name)
    return 0


def network_ls_arguments(parser: argparse.ArgumentParser) -> None:
    """No arguments of its own."""


def network_ls(args: argparse.Namespace, ui: Ui) -> int:
    """Print the networks."""
    del args
    found = api.list_networks(ui.root)
    ui.table(found, ("NAME", "SUBNET", "BRIDGE", "UP", "VMS"), [
        (item["name"], ", ".join(filter(None, (item["subnet"], item["subnet6"]))), item["bridge"],
         "yes" if item["up"] else "no", ", ".join(item["users"]))
        for item in found])
    return 0


def network_inspect_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", nargs="+")


def network_inspect(args: argparse.Namespace, ui: Ui) -> int:
    """Print everything about networks, with their leases."""
    found = [api.inspect(ui.root, name) for name in args.name]
    ui.emit(found, lambda: show(found))
    return 0


def network_rm_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", nargs="+")


def network_rm(args: argparse.Namespace, ui: Ui) -> int:
    """Remove networks that no VM uses."""
    def remove(name: str) -> None:
        api.inspect(ui.root, name)
        api.ensure_absent(ui.root, name)

    return ui.remove(args.name, remove)
