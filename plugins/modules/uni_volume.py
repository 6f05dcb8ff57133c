#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Create, grow and remove volumes: one adapter over engine/volumes."""

from __future__ import annotations

DOCUMENTATION = r"""
module: uni_volume
short_description: Create, grow, back up, restore and remove volumes
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
  src:
    description:
      - A tar archive on the managed host (gzip is fine) that fills a volume which is new or empty, with owners, modes
        and times. A volume that holds files is left as it is, unless O(force=true).
      - The volume gets all of it or, after an error, nothing.
    type: path
  force:
    description: Whether O(src) replaces what a volume holds. That is done, and reported as a change, every time.
    type: bool
    default: false
  backup:
    description:
      - A file on the managed host that the volume's files are written to as a tar archive, of mode 0600. Nothing is
        changed when it has the same contents already.
      - A volume that a running VM writes to is refused.
    type: path
seealso:
  - module: uni.engine.uni_volume_info
  - module: uni.engine.uni_vm
"""

EXAMPLES = r"""
- name: A place for the database
  uni.engine.uni_volume:
    name: data
    size: 2G

- name: Back it up
  uni.engine.uni_volume:
    name: data
    backup: /srv/backup/data.tar

- name: On another host, make one from the backup
  uni.engine.uni_volume:
    name: data
    size: 2G
    src: /srv/backup/data.tar

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

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ansible_collections.uni.engine.plugins.module_utils.ansible_glue import plan_result, root_of, run_module
from ansible_collections.uni.engine.plugins.module_utils.engine.errors import NotFoundError
from ansible_collections.uni.engine.plugins.module_utils.engine.plan import Action, Plan
from ansible_collections.uni.engine.plugins.module_utils.engine.root import Root
from ansible_collections.uni.engine.plugins.module_utils.engine.volumes import api


def work(module: Any) -> dict[str, Any]:
    """Do what the task says and return its result."""
    params, check, root = module.params, module.check_mode, root_of(module)
    if params["state"] == "absent":
        return plan_result(api.ensure_absent(root, params["name"], check=check).plan, volume={})
    labels = None if params["labels"] is None else {str(k): str(v) for k, v in params["labels"].items()}
    spec = api.VolumeSpec.parse(params["name"], params["size"], labels)
    actions = list(fill(params, root, spec, check))
    if params["backup"] and (not check or api.find(root, spec.name) is not None):
        from ansible_collections.uni.engine.plugins.module_utils.engine.volumes import transfer

        actions += transfer.backup(root, spec.name, Path(params["backup"]), check=check).actions
    volume = api.find(root, spec.name)
    return plan_result(Plan(tuple(actions)), volume=volume.to_dict() if volume else {})


def fill(params: dict[str, Any], root: Root, spec: api.VolumeSpec, check: bool) -> Iterator[Action]:
    """Make the volume what it shall be, from the archive ``src`` where there is one; the actions."""
    if not params["src"]:
        yield from api.ensure_present(root, spec, check=check).plan.actions
        return
    from ansible_collections.uni.engine.plugins.module_utils.engine.volumes import transfer

    source = Path(params["src"])
    if not source.is_file():
        raise NotFoundError(f"there is no archive {source}", code="file.not_found", hint="check the path")
    volume = api.find(root, spec.name)
    if volume is not None:
        yield from api.ensure_present(root, spec, check=check).plan.actions
        spec = api.VolumeSpec(spec.name)
    if volume is None or params["force"] or transfer.is_empty(volume):
        yield from transfer.restore(root, spec, source, replace=params["force"], check=check).plan.actions


def main() -> None:
    run_module(
        {
            "name": {"type": "str", "required": True},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "size": {"type": "str"},
            "labels": {"type": "dict"},
            "src": {"type": "path"},
            "force": {"type": "bool", "default": False},
            "backup": {"type": "path"},
        },
        work,
    )


if __name__ == "__main__":
    main()
