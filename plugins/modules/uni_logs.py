#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read a VM's console log: one adapter over engine/console."""

from __future__ import annotations

DOCUMENTATION = r"""
module: uni_logs
short_description: Read the console of a VM
version_added: 0.1.0
description:
  - Returns what a VM has written to its console. The log is kept when the VM ends, and goes with it when it is removed.
extends_documentation_fragment:
  - uni.engine.common
  - uni.engine.common.info
options:
  name:
    description: The VM's name or id.
    type: str
    required: true
  tail:
    description: Only the last lines, this many.
    type: int
  since:
    description: Only what is newer than this duration (V(10m)) or time (V(2026-01-31T12:00:00Z)).
    type: str
seealso:
  - module: uni.engine.uni_vm
"""

EXAMPLES = r"""
- name: The last words
  uni.engine.uni_logs:
    name: web
    tail: 20
  register: console
"""

RETURN = r"""
lines:
  description: The lines, without their ends. Bytes that are not UTF-8 are replaced.
  returned: success
  type: list
  elements: str
stamps:
  description: When each line was written, UTC.
  returned: success
  type: list
  elements: str
"""

from typing import Any

from ansible_collections.uni.engine.plugins.module_utils.ansible_glue import root_of, run_module
from ansible_collections.uni.engine.plugins.module_utils.engine import console
from ansible_collections.uni.engine.plugins.module_utils.engine.vms import record


def work(module: Any) -> dict[str, Any]:
    """Return the lines."""
    params = module.params
    directory = record.find(root_of(module), params["name"]).directory
    lines: list[str] = []
    stamps: list[str] = []
    for line in console.read(directory, tail=params["tail"], since=params["since"]):
        lines.append(line.text.decode("utf-8", "replace").rstrip("\r"))
        stamps.append(line.stamp)
    return {"changed": False, "lines": lines, "stamps": stamps}


def main() -> None:
    run_module({"name": {"type": "str", "required": True}, "tail": {"type": "int"}, "since": {"type": "str"}}, work)


if __name__ == "__main__":
    main()
