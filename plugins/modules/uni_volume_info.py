#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read volumes: one adapter over engine/volumes."""

from __future__ import annotations

DOCUMENTATION = r"""
module: uni_volume_info
short_description: Read the volumes of a host
version_added: 0.1.0
description:
  - Returns the volumes of a host, or one of them.
extends_documentation_fragment:
  - uni.engine.common
  - uni.engine.common.info
options:
  name:
    description: Only this volume.
    type: str
  labels:
    description: Only volumes that carry all of these labels.
    type: dict
seealso:
  - module: uni.engine.uni_volume
"""

EXAMPLES = r"""
- name: What is there
  uni.engine.uni_volume_info:
  register: found
"""

RETURN = r"""
volumes:
  description: The volumes, by name. Empty when there is none of that name.
  returned: success
  type: list
  elements: dict
"""

from typing import Any

from ansible_collections.uni.engine.plugins.module_utils.ansible_glue import root_of, run_module
from ansible_collections.uni.engine.plugins.module_utils.engine.volumes import api


def work(module: Any) -> dict[str, Any]:
    """Return what is there."""
    params, root = module.params, root_of(module)
    labels = {str(k): str(v) for k, v in (params["labels"] or {}).items()}
    found = api.list_volumes(root, labels)
    return {"changed": False, "volumes": [v.to_dict() for v in found if params["name"] in (None, v.name)]}


def main() -> None:
    run_module({"name": {"type": "str"}, "labels": {"type": "dict"}}, work)


if __name__ == "__main__":
    main()
