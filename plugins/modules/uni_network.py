#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Create, change and remove networks: one adapter over engine/networks."""

from __future__ import annotations

DOCUMENTATION = r"""
module: uni_network
short_description: Manage networks
version_added: 0.1.0
description:
  - Creates, changes and removes managed networks. A network is a bridge with addresses for VMs, a name server for
    their names, and packet rules in chains of its own.
  - A guest can use its own MAC and IP address only, and reaches nothing on the host but the name server, unless
    O(host_access=true).
  - Needs root.
extends_documentation_fragment:
  - uni.engine.common
  - uni.engine.common.attributes
options:
  name:
    description: The network's name.
    type: str
    required: true
  state:
    description:
      - V(present) creates the network, or changes it, and brings it up.
      - V(absent) removes it. A network that a VM names is not removed.
    type: str
    choices: [present, absent]
    default: present
  subnet:
    description: Its IPv4 subnet, such as V(10.1.0.0/24). A new network without one gets a free V(/24).
    type: str
  gateway:
    description: The host's address in the network. The first address of the subnet when it is not given.
    type: str
  ip_range:
    description: The part of O(subnet) that VMs get addresses from. Give O(subnet) with it.
    type: str
  subnet6:
    description: An IPv6 subnet beside it. VMs get addresses in it that end like their IPv4 addresses.
    type: str
  gateway6:
    description: The host's IPv6 address in O(subnet6). The first address when it is not given.
    type: str
  masquerade6:
    description:
      - Whether IPv6 connections that leave the host carry the host's address, as IPv4 ones do.
      - Without it, O(subnet6) is routed, and the network beyond the host needs a route to it.
    type: bool
  mtu:
    description: The largest packet, in bytes.
    type: int
  internal:
    description: Whether there is no way from the network out of the host.
    type: bool
  isolated:
    description: Whether the VMs of the network do not reach each other.
    type: bool
  host_access:
    description: Whether VMs reach services of the host.
    type: bool
  dns:
    description: Whether the network has a name server.
    type: bool
  vxlan:
    description:
      - Spans the network over several hosts. Give each host another O(gateway) and another O(ip_range) of one
        O(subnet); without an C(ip_range) such a network is refused, for two hosts would hand out the same addresses.
    type: dict
    suboptions:
      id:
        description: The VXLAN network identifier, the same on all hosts.
        type: int
        required: true
      remotes:
        description: Addresses of the other hosts.
        type: list
        elements: str
        default: []
      local:
        description: The address of this host that the others know.
        type: str
      port:
        description: UDP port.
        type: int
        default: 4789
      gateways:
        description:
          - The gateways (O(gateway)) that the other hosts have in the network. They are asked for names that this host
            does not know, so that VMs find each other by name across hosts.
        type: list
        elements: str
        default: []
  labels:
    description: Labels. They replace those that are there.
    type: dict
seealso:
  - module: uni.engine.uni_network_info
  - module: uni.engine.uni_vm
"""

EXAMPLES = r"""
- name: A network for a shop, closed to the outside
  uni.engine.uni_network:
    name: shop
    subnet: 10.20.0.0/24
    internal: true

- name: Remove it
  uni.engine.uni_network:
    name: shop
    state: absent
"""

RETURN = r"""
network:
  description: The network; empty when it was removed.
  returned: success
  type: dict
  sample:
    name: shop
    bridge: ub0123456789
    subnet: 10.20.0.0/24
    gateway: 10.20.0.1
    internal: true
actions:
  description: What was done, or would be done in check mode.
  returned: success
  type: list
  elements: dict
"""

from typing import Any

from ansible_collections.uni.engine.plugins.module_utils.ansible_glue import plan_result, root_of, run_module
from ansible_collections.uni.engine.plugins.module_utils.engine.networks import api
from ansible_collections.uni.engine.plugins.module_utils.engine.networks.model import OPTIONS, NetworkSpec

VXLAN = {
    "id": {"type": "int", "required": True},
    "remotes": {"type": "list", "elements": "str", "default": []},
    "local": {"type": "str"},
    "port": {"type": "int", "default": 4789},
    "gateways": {"type": "list", "elements": "str", "default": []},
}


def work(module: Any) -> dict[str, Any]:
    """Do what the task says and return its result."""
    params, check, root = module.params, module.check_mode, root_of(module)
    if params["state"] == "absent":
        return plan_result(api.ensure_absent(root, params["name"], check=check).plan, network={})
    options = {key: params[key] for key in OPTIONS}
    if options["labels"] is not None:
        options["labels"] = {str(key): str(value) for key, value in options["labels"].items()}
    result = api.ensure_present(root, NetworkSpec.parse(params["name"], options), check=check)
    return plan_result(result.plan, network=result.network.to_dict() if result.network else {})


def main() -> None:
    run_module(
        {
            "name": {"type": "str", "required": True},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "subnet": {"type": "str"},
            "gateway": {"type": "str"},
            "ip_range": {"type": "str"},
            "subnet6": {"type": "str"},
            "gateway6": {"type": "str"},
            "masquerade6": {"type": "bool"},
            "mtu": {"type": "int"},
            "internal": {"type": "bool"},
            "isolated": {"type": "bool"},
            "host_access": {"type": "bool"},
            "dns": {"type": "bool"},
            "vxlan": {"type": "dict", "options": VXLAN},
            "labels": {"type": "dict"},
        },
        work,
    )


if __name__ == "__main__":
    main()
