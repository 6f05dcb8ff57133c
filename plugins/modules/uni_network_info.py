#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read networks: one adapter over engine/networks."""

from __future__ import annotations

DOCUMENTATION = r"""
module: uni_network_info
short_description: Read the networks of a host
version_added: 0.1.0
description:
  - Returns the managed networks of a host, or one of them, with the addresses that VMs have.
extends_documentation_fragment:
  - uni.engine.common
  - uni.engine.common.info
options:
  name:
    description: Only this network.
    type: str
  labels:
    description: Only networks that carry all of these labels.
    type: dict
seealso:
  - module: uni.engine.uni_network
"""

EXAMPLES = r"""
- name: Who has which address
  uni.engine.uni_network_info:
    name: shop
  register: found
"""

RETURN = r"""
networks:
  description: The networks, by name, with C(leases), C(users) and whether they are C(up). Empty when there is none.
  returned: success
  type: list
  elements: dict
"""

from typing import Any

from ansible_collections.uni.engine.plugins.module_utils.ansible_glue import root_of, run_module
from ansible_collections.uni.engine.plugins.module_utils.engine.networks import api


def work(module: Any) -> dict[str, Any]:
    """Return what is there."""
    params, root = module.params, root_of(module)
    labels = {str(key): str(value) for key, value in (params["labels"] or {}).items()}
    found = api.list_networks(root, labels)
    return {"changed": False, "networks": [item for item in found if params["name"] in (None, item["name"])]}


def main() -> None:
    run_module({"name": {"type": "str"}, "labels": {"type": "dict"}}, work)


if __name__ == "__main__":
    main()
