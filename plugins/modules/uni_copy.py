#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Copy files into VMs and out of them: one adapter over engine/vmcopy."""

from __future__ import annotations

DOCUMENTATION = r"""
module: uni_copy
short_description: Copy files into a VM, or out of it
version_added: 0.1.0
description:
  - Makes a file or directory on a VM's root disk, or on a volume that is mounted there, what it shall be - contents,
    mode and owner - and changes nothing when it is. With O(direction=out) the managed host gets what the VM has.
  - Comparing works while the VM runs. A VM that has to change must not run, see O(restart).
  - An instance disk is lost when its VM is made anew; what must outlive that belongs on a volume, or into the image.
extends_documentation_fragment:
  - uni.engine.common
  - uni.engine.common.attributes
options:
  vm:
    description: The VM's name or id.
    type: str
    required: true
    aliases: [name]
  direction:
    description: V(in) copies into the VM, V(out) to the managed host.
    type: str
    choices: [in, out]
    default: in
  src:
    description:
      - With O(direction=in), a file or directory on the controller (searched in C(files/) as M(ansible.builtin.copy)
        does), or on the managed host with O(remote_src=true). A directory that ends in V(/) means what is in it.
      - With O(direction=out), an absolute path in the VM.
    type: str
  content:
    description: The text of the file O(dest), in place of O(src). It is not logged and never shown in a difference.
    type: str
  dest:
    description:
      - With O(direction=in), an absolute path in the VM. A directory takes the copy under its own name; any other path
        needs a directory to be in.
      - With O(direction=out), a path on the managed host.
    type: str
    required: true
  remote_src:
    description: Whether O(src) is on the managed host.
    type: bool
    default: false
  mode:
    description:
      - The mode of files, as octal digits in quotes, V('0640').
      - Without it new files have that of O(src) (V(0644) with O(content)), and a file that is there keeps its own.
    type: raw
  directory_mode:
    description: The mode of copied directories.
    type: raw
  owner:
    description: The numeric user that files in the VM belong to. New files belong to V(0) without it.
    type: int
  group:
    description: The numeric group that files in the VM belong to.
    type: int
  restart:
    description:
      - Whether a running VM that has to change is stopped for it and started again.
      - Without it such a task fails, and nothing is changed.
    type: bool
    default: false
  diff_content:
    description:
      - Whether a difference shows the text of files of up to 64 KiB. Without it only sizes and digests are shown.
      - Leave it out for files that hold secrets.
    type: bool
    default: false
  _transferred:
    description: Set by the action plugin; where the controller's O(src) is on the managed host.
    type: path
  _name:
    description: Set by the action plugin; the name of the controller's O(src).
    type: str
  _kind:
    description: Set by the action plugin; V(directory), or mode and time of the controller's O(src).
    type: str
notes:
  - Owners and groups are numbers, for a unikernel has no user database.
seealso:
  - module: uni.engine.uni_vm
  - module: uni.engine.uni_volume
"""

EXAMPLES = r"""
- name: A configuration file, written while the VM is restarted
  uni.engine.uni_copy:
    vm: web
    src: nginx.conf
    dest: /etc/nginx/nginx.conf
    mode: '0644'
    restart: true

- name: A file from a variable
  uni.engine.uni_copy:
    vm: web
    content: "{{ site | to_nice_json }}"
    dest: /srv/site.json
    owner: 33

- name: What is in a directory of the managed host
  uni.engine.uni_copy:
    vm: web
    src: /srv/pages/
    remote_src: true
    dest: /srv/www

- name: Bring the data back
  uni.engine.uni_copy:
    vm: web
    direction: out
    src: /var/lib/data
    dest: /srv/backup/data
"""

RETURN = r"""
actions:
  description: Each file that was written, or would be written in check mode, with what differed.
  returned: success
  type: list
  elements: dict
"""

from pathlib import Path
from typing import Any

from ansible_collections.uni.engine.plugins.module_utils.ansible_glue import plan_result, root_of, run_module
from ansible_collections.uni.engine.plugins.module_utils.engine import vmcopy
from ansible_collections.uni.engine.plugins.module_utils.engine.errors import UsageError


def work(module: Any) -> dict[str, Any]:
    """Copy, in one of the two directions."""
    params, root = module.params, root_of(module)
    modes = {name: None if params[name] is None else vmcopy.parse_mode(params[name], name)
             for name in ("mode", "directory_mode")}
    if params["direction"] == "out":
        if params["src"] is None:
            raise UsageError("src: with direction: out it names a path in the VM", code="copy.src")
        return plan_result(vmcopy.copy_out(root, params["vm"], params["src"], Path(params["dest"]), mode=modes["mode"],
                                           check=module.check_mode))
    attributes = vmcopy.Attributes(modes["mode"], modes["directory_mode"], params["owner"], params["group"])
    return plan_result(vmcopy.copy_in(root, params["vm"], source(params), params["dest"], attributes,
                                      check=module.check_mode, restart=params["restart"],
                                      show=params["diff_content"]))


def source(params: dict[str, Any]) -> vmcopy.Source:
    """What the task copies into the VM."""
    if params["content"] is not None:
        return vmcopy.Source(content=params["content"].encode())
    path = params["_transferred"] or params["src"]
    if path is None:
        raise UsageError("src or content is needed", code="copy.src")
    contents_only = params["src"].endswith("/")
    name = params["_name"] or Path(params["src"].rstrip("/")).name
    if params["_kind"] == "directory":
        return vmcopy.Source(archive=Path(path), name=name, contents_only=contents_only)
    if params["_kind"]:
        mode, _colon, stamp = params["_kind"].partition(":")
        return vmcopy.Source(path=Path(path), name=name, mode=int(mode, 8), mtime=int(stamp))
    return vmcopy.Source(path=Path(path), name=name, contents_only=contents_only)


def main() -> None:
    run_module(
        {
            "vm": {"type": "str", "required": True, "aliases": ["name"]},
            "direction": {"type": "str", "choices": ["in", "out"], "default": "in"},
            "src": {"type": "str"},
            "content": {"type": "str", "no_log": True},
            "dest": {"type": "str", "required": True},
            "remote_src": {"type": "bool", "default": False},
            "mode": {"type": "raw"},
            "directory_mode": {"type": "raw"},
            "owner": {"type": "int"},
            "group": {"type": "int"},
            "restart": {"type": "bool", "default": False},
            "diff_content": {"type": "bool", "default": False},
            "_transferred": {"type": "path"},
            "_name": {"type": "str"},
            "_kind": {"type": "str"},
        },
        work,
        mutually_exclusive=[("src", "content")],
    )


if __name__ == "__main__":
    main()
