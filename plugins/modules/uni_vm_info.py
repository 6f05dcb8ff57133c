#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
"""List VMs: one adapter over engine/vms."""

from __future__ import annotations

DOCUMENTATION = r"""
module: uni_vm_info
short_description: List the VMs of a host
version_added: 0.1.0
description:
  - Lists the VMs on the host, running or not, with their state and, when asked, the end of their console.
extends_documentation_fragment:
  - uni.engine.common
  - uni.engine.common.info
options:
  name:
    description:
      - Only the VM with this name, or with this unambiguous start of its id.
      - A VM that does not exist gives an empty list.
    type: str
  labels:
    description: Only VMs that have all these labels.
    type: dict
  logs:
    description: How many of the last lines of the console are returned with each VM.
    type: int
    default: 0
seealso:
  - module: uni.engine.uni_vm
"""

EXAMPLES = r"""
- name: Which VMs are there
  uni.engine.uni_vm_info:
  register: result

- name: Show those that run
  ansible.builtin.debug:
    msg: "{{ result.vms | selectattr('status', 'eq', 'running') | map(attribute='name') }}"

- name: The end of one console
  uni.engine.uni_vm_info:
    name: web
    logs: 20
"""

RETURN = r"""
vms:
  description: The VMs.
  returned: success
  type: list
  elements: dict
  sample:
    - id: 5b1f0c9a7e21
      name: web
      image: web:latest
      status: running
      boot:
        kernel: /var/lib/uni/kernels/0.1.0/uni.elf
        accel: tcg
      console: []
"""

from typing import Any

from ansible_collections.uni.engine.plugins.module_utils.ansible_glue import root_of, run_module
from ansible_collections.uni.engine.plugins.module_utils.engine.errors import NotFoundError
from ansible_collections.uni.engine.plugins.module_utils.engine.vms import api


def work(module: Any) -> dict[str, Any]:
    """List the VMs that the task asks for."""
    params, root = module.params, root_of(module)
    labels = params["labels"] or {}
    if params["name"] is None:
        found = [vm["id"] for vm in api.list_vms(root, everything=True)]
    else:
        found = [params["name"]]
    vms = []
    for reference in found:
        try:
            found_vm = api.resolve_vm(root, reference)
            vm = {**api.info(found_vm), "boot": found_vm.runtime.get("boot", {})}
        except NotFoundError:
            continue
        own = vm["options"].get("labels", {})
        if any(own.get(name) != str(value) for name, value in labels.items()):
            continue
        lines = api.logs(root, vm["id"], tail=params["logs"]) if params["logs"] > 0 else ()
        vms.append({**vm, "console": [line.text.decode("utf-8", "replace") for line in lines]})
    return {"changed": False, "vms": vms}


def main() -> None:
    run_module({"name": {"type": "str"}, "labels": {"type": "dict"}, "logs": {"type": "int", "default": 0}}, work)


if __name__ == "__main__":
    main()
