#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""List kernel releases: one adapter over engine/kernels.py."""

from __future__ import annotations

DOCUMENTATION = r"""
module: uni_kernel_info
short_description: List the kernel releases of a host
version_added: 0.1.0
description:
  - Lists the kernel releases on the host, the newest first.
extends_documentation_fragment:
  - uni.engine.common
  - uni.engine.common.info
options:
  version:
    description: Only this version; a version that is not there gives an empty list.
    type: str
seealso:
  - module: uni.engine.uni_kernel
"""

EXAMPLES = r"""
- name: Which kernels does the host have
  uni.engine.uni_kernel_info:
  register: result

- name: Show the default one
  ansible.builtin.debug:
    msg: "{{ result.kernels | selectattr('default') | map(attribute='version') | first }}"
"""

RETURN = r"""
kernels:
  description: The releases, the newest first.
  returned: success
  type: list
  elements: dict
  sample:
    - version: 0.1.0
      default: true
      size: 180000
      sha256: 5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef
      path: /var/lib/uni/kernels/0.1.0/uni.elf
      symbols: /var/lib/uni/kernels/0.1.0/uni.elf.debug
"""

from typing import Any

from ansible_collections.uni.engine.plugins.module_utils.ansible_glue import root_of, run_module
from ansible_collections.uni.engine.plugins.module_utils.engine import kernels


def work(module: Any) -> dict[str, Any]:
    """List the releases that the task asks for."""
    wanted = module.params["version"]
    releases = kernels.list_releases(root_of(module))
    return {"changed": False,
            "kernels": [release.to_dict() for release in releases if wanted in (None, release.version)]}


def main() -> None:
    run_module({"version": {"type": "str"}}, work)


if __name__ == "__main__":
    main()
