#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Bring stacks of services up and down: one adapter over engine/stacks."""

from __future__ import annotations

DOCUMENTATION = r"""
module: uni_stack
short_description: Manage stacks of services
version_added: 0.1.0
description:
  - Brings a stack up as its file says, in the order of its dependencies, or takes it down.
  - What runs as it should is left alone; an edited service is replaced alone.
  - In check mode an image that is not on the host is a warning, for a task before this one may be about to make it.
extends_documentation_fragment:
  - uni.engine.common
  - uni.engine.common.attributes
options:
  state:
    description:
      - V(present) brings the stack up.
      - V(absent) stops and removes its VMs, dependents first.
    type: str
    choices: [present, absent]
    default: present
  name:
    description:
      - The stack's name. The default is the C(name) in its file, else the name of the file's directory.
      - Needed with O(state=absent) when neither O(src) nor O(definition) is given.
    type: str
  src:
    description: The stack file, on the managed host.
    type: path
  definition:
    description: The stack, as the text of a stack file or as a mapping.
    type: raw
  variables:
    description: Values for C(${NAME}) in the stack file.
    type: dict
    default: {}
  services:
    description: Only these services and what they depend on.
    type: list
    elements: str
    default: []
  scale:
    description: Numbers of instances by service, in place of the file's.
    type: dict
    default: {}
  remove_orphans:
    description: Whether VMs of services that the file no longer names are removed.
    type: bool
    default: false
  remove_volumes:
    description: Whether O(state=absent) removes the stack's volumes too, with their data.
    type: bool
    default: false
  recreate:
    description: When VMs are made anew.
    type: str
    choices: [auto, always, never]
    default: auto
  timeout:
    description: Seconds that a VM may take to boot, and to become healthy.
    type: float
seealso:
  - module: uni.engine.uni_vm
"""

EXAMPLES = r"""
- name: A shop of two services
  uni.engine.uni_stack:
    name: shop
    definition:
      services:
        db:
          image: redis:7
          volumes: ['data:/data']
          health_check: tcp:6379
        web:
          image: shop:1
          ports: ['8080:80']
          depends_on:
            db:
              condition: service_healthy
      volumes:
        data:
          size: 256M

- name: Take it down, keep its data
  uni.engine.uni_stack:
    name: shop
    state: absent
"""

RETURN = r"""
stack:
  description: The stack's name.
  returned: success
  type: str
services:
  description: Its VMs after the task; empty in check mode and when it was taken down.
  returned: success
  type: list
  elements: dict
actions:
  description: What was done, or would be done in check mode.
  returned: success
  type: list
  elements: dict
"""

from pathlib import Path
from typing import Any

from ansible_collections.uni.engine.plugins.module_utils.ansible_glue import plan_result, root_of, run_module
from ansible_collections.uni.engine.plugins.module_utils.engine.stacks import api


def stack_of(params: dict[str, Any]) -> Any:
    """The stack that the task describes; None when it only names one."""
    from ansible_collections.uni.engine.plugins.module_utils.engine.stacks import spec

    variables = {str(key): str(value) for key, value in params["variables"].items()}
    if params["src"]:
        return spec.load_stack(Path(params["src"]), name=params["name"], variables=variables)
    if params["definition"] is None:
        return None
    text = params["definition"]
    if not isinstance(text, str):
        # JSON is YAML, and keeps strings strings: `8080:80` cannot become a number on the way.
        import json

        text = json.dumps(text, indent=1)
    return spec.parse_stack(text, file="definition", name=params["name"], directory=Path.cwd(), variables=variables)


def work(module: Any) -> dict[str, Any]:
    """Do what the task says and return its result."""
    params, check, root = module.params, module.check_mode, root_of(module)
    stack = stack_of(params)
    if params["state"] == "absent":
        result = api.down(root, stack.name if stack else params["name"], check=check,
                          volumes=params["remove_volumes"], timeout=params["timeout"])
    else:
        scale = {str(name): int(count) for name, count in params["scale"].items()}
        result = api.up(root, stack, check=check, services=params["services"], scale=scale,
                        remove_orphans=params["remove_orphans"], recreate=params["recreate"],
                        timeout=params["timeout"], early=True)
    for warning in result.warnings:
        module.warn(warning)
    return plan_result(result.plan, stack=result.name, services=result.services)


def main() -> None:
    run_module(
        {
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "name": {"type": "str"},
            "src": {"type": "path"},
            "definition": {"type": "raw"},
            "variables": {"type": "dict", "default": {}},
            "services": {"type": "list", "elements": "str", "default": []},
            "scale": {"type": "dict", "default": {}},
            "remove_orphans": {"type": "bool", "default": False},
            "remove_volumes": {"type": "bool", "default": False},
            "recreate": {"type": "str", "choices": ["auto", "always", "never"], "default": "auto"},
            "timeout": {"type": "float"},
        },
        work,
        mutually_exclusive=[("src", "definition")],
        required_if=[("state", "present", ("src", "definition"), True),
                     ("state", "absent", ("name", "src", "definition"), True)],
    )


if __name__ == "__main__":
    main()
