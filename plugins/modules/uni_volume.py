#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Create, grow and remove volumes: one adapter over engine/volumes."""

from __future__ import annotations

DOCUMENTATION = r"""
module: uni_volume
short_description: Manage volumes
version_added: 0.1.0
description:
  - Creates, grows, labels and removes volumes. A volume is a disk that outlives the VMs that mount it.
extends_documentation_fragment:
  - uni.engine.common
  - uni.engine.common.attributes
options:
  name:
    description: The volume's name.
    type: str
    required: true
  state:
    description:
      - V(present) creates the volume, or grows it, or changes its labels.
      - V(absent) removes it with its data. A volume that a VM names is not removed.
    type: str
    choices: [present, absent]
    default: present
  size:
    description:
      - Its size, such as V(512M) or V(10G). A new volume without a size gets 1 GiB.
      - A volume grows when this is larger than it is, which needs its VMs to be stopped. It never shrinks.
    type: str
  labels:
    description: Labels. They replace those that are there.
    type: dict
seealso:
  - module: uni.engine.uni_volume_info
  - module: uni.engine.uni_vm
"""

EXAMPLES = r"""
- name: A place for the database
  uni.engine.uni_volume:
    name: data
    size: 2G

- name: Remove it with everything in it
  uni.engine.uni_volume:
    name: data
    state: absent
"""

RETURN = r"""
volume:
  description: The volume; empty when it was removed, or would be created in check mode.
  returned: success
  type: dict
  sample:
    name: data
    size: 2147483648
    used: 8388608
    created: '2026-11-21T10:00:00Z'
    labels: {}
    path: /var/lib/uni/volumes/data/data.ext2
actions:
  description: What was done, or would be done in check mode.
  returned: success
  type: list
  elements: dict
"""

from typing import Any

from ansible_collections.uni.engine.plugins.module_utils.ansible_glue import plan_result, root_of, run_module
from ansible_collections.uni.engine.plugins.module_utils.engine.volumes import api


def work(module: Any) -> dict[str, Any]:
    """Do what the task says and return its result."""
    params, check, root = module.params, module.check_mode, root_of(module)
    if params["state"] == "absent":
        return plan_result(api.ensure_absent(root, params["name"], check=check).plan, volume={})
    labels = None if params["labels"] is None else {str(k): str(v) for k, v in params["labels"].items()}
    result = api.ensure_present(root, api.VolumeSpec.parse(params["name"], params["size"], labels), check=check)
    return plan_result(result.plan, volume=result.volume.to_dict() if result.volume else {})


def main() -> None:
    run_module(
        {
            "name": {"type": "str", "required": True},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "size": {"type": "str"},
            "labels": {"type": "dict"},
        },
        work,
    )


if __name__ == "__main__":
    main()
