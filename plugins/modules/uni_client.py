#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Install the command line: one adapter over engine/client.py; the action plugin brings the archive."""

from __future__ import annotations

DOCUMENTATION = r"""
module: uni_client
short_description: Install the command line uni
version_added: 0.1.0
description:
  - Installs the command C(uni) of this collection on the host and puts it into the prefix's C(bin).
  - The files come from the collection on the controller, packed the same way every time, so a host that has
    them is left alone.
  - The last versions stay on the host, and switching between them is atomic.
extends_documentation_fragment:
  - uni.engine.common
  - uni.engine.common.attributes
options:
  state:
    description: Whether the command is installed.
    type: str
    choices: [present, absent]
    default: present
  prefix:
    description:
      - Where to install to.
      - When it is not set, C(/usr/local) for root and C(~/.local) for anybody else.
    type: path
  name:
    description: The name of the packed client. The action plugin sets it.
    type: str
  archive:
    description: The packed client on the managed host. The action plugin sets it.
    type: path
seealso:
  - module: uni.engine.uni_kernel
"""

EXAMPLES = r"""
- name: Install uni
  uni.engine.uni_client:

- name: Remove uni; images and VMs stay
  uni.engine.uni_client:
    state: absent
"""

RETURN = r"""
path:
  description: The command.
  returned: success
  type: str
  sample: /usr/local/bin/uni
name:
  description: The installed client, version and digest.
  returned: success
  type: str
  sample: 0.1.0-4f0b3a9c11d2
needs_archive:
  description: Whether the action plugin has to bring the archive.
  returned: success
  type: bool
actions:
  description: What was done, or would be done in check mode.
  returned: success
  type: list
  elements: dict
"""

from pathlib import Path
from typing import Any

from ansible_collections.uni.engine.plugins.module_utils.ansible_glue import plan_result, run_module
from ansible_collections.uni.engine.plugins.module_utils.engine import client
from ansible_collections.uni.engine.plugins.module_utils.engine.errors import UsageError


def work(module: Any) -> dict[str, Any]:
    """Do what the task says and return its result."""
    params, check = module.params, module.check_mode
    prefix = Path(params["prefix"]) if params["prefix"] else client.default_prefix()
    values = {"path": str(prefix / "bin" / "uni"), "name": params["name"], "needs_archive": False}
    if params["state"] == "absent":
        return plan_result((client.plan_remove if check else client.remove)(prefix), **values)
    if not params["name"]:
        raise UsageError("uni_client needs its action plugin", code="client.no_action",
                         hint="call it as uni.engine.uni_client")
    plan = client.plan_install(prefix, params["name"])
    if plan.changed and not check:
        if params["archive"]:
            plan = client.install(prefix, params["name"], Path(params["archive"]).read_bytes())
        else:
            values["needs_archive"] = True
    return plan_result(plan, **values)


def main() -> None:
    run_module(
        {
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "prefix": {"type": "path"},
            "name": {"type": "str"},
            "archive": {"type": "path"},
        },
        work,
    )


if __name__ == "__main__":
    main()
