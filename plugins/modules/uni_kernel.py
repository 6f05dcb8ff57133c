#!/usr/bin/python
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Keep kernel releases on a host: one adapter over engine/kernels.py."""

from __future__ import annotations

DOCUMENTATION = r"""
module: uni_kernel
short_description: Keep kernel releases on a host
version_added: 0.1.0
description:
  - Registers a built kernel on the host, chooses the one that VMs boot by default, and removes releases.
  - Pulls signed releases from a directory or a registry, verifies them, and boots one once before it becomes the
    default. A release that does not boot is removed, and the default stays.
  - A release that is there with the same content is left alone.
  - Running VMs keep the kernel that they booted until they are restarted.
extends_documentation_fragment:
  - uni.engine.common
  - uni.engine.common.attributes
options:
  state:
    description:
      - V(present) registers the release in O(src), pulls one from O(source), or requires that O(version) is there.
      - V(absent) removes O(version).
    type: str
    choices: [present, absent]
    default: present
  src:
    description:
      - A directory on the managed host that holds C(uni.elf) and C(VERSION) (or has C(VERSION) one level up),
        such as C(kernel/build) of a source tree.
    type: path
  source:
    description:
      - Where releases come from - a directory on the managed host (C(/DIR)) or a repository C(HOST[:PORT]/REPOSITORY).
      - Without O(version), the newest release that is no pre-release, when it is newer than the host's default.
    type: str
  public_keys:
    description:
      - Public keys in PEM form, one of which must have signed a release from O(source).
      - When it is not set, the keys that the host trusts (C(uni kernel trust)).
    type: list
    elements: str
  smoke:
    description: Whether a release from O(source) is booted once before it becomes the default.
    type: bool
    default: true
  version:
    description:
      - The version to choose or to remove. With O(src), the version that it must have.
    type: str
  default:
    description:
      - Whether the release becomes the one that VMs boot unless they say otherwise.
      - When it is not set, a release becomes the default only on a host that has none.
    type: bool
seealso:
  - module: uni.engine.uni_kernel_info
  - module: uni.engine.uni_vm
"""

EXAMPLES = r"""
- name: Register the kernel that was just built
  uni.engine.uni_kernel:
    src: /usr/local/src/uni/kernel/build
    default: true

- name: Update to the newest release of a registry
  uni.engine.uni_kernel:
    source: registry.example.org/uni/kernel
    public_keys: ["{{ lookup('ansible.builtin.file', 'release.pub') }}"]
    default: true

- name: Go back to an older release
  uni.engine.uni_kernel:
    version: 0.1.0
    default: true

- name: Remove a release
  uni.engine.uni_kernel:
    version: 0.1.0-rc.1
    state: absent
"""

RETURN = r"""
kernel:
  description: The release; empty when it was removed.
  returned: success
  type: dict
  sample:
    version: 0.1.0
    default: true
    size: 180000
    sha256: 5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef
    path: /var/lib/uni/kernels/0.1.0/uni.elf
    symbols: /var/lib/uni/kernels/0.1.0/uni.elf.debug
actions:
  description: What was done, or would be done in check mode.
  returned: success
  type: list
  elements: dict
"""

from pathlib import Path
from typing import Any

from ansible_collections.uni.engine.plugins.module_utils.ansible_glue import (
    plan_result,
    root_of,
    run_module,
)
from ansible_collections.uni.engine.plugins.module_utils.engine import kernels, releases, signing
from ansible_collections.uni.engine.plugins.module_utils.engine.errors import ConflictError, UsageError
from ansible_collections.uni.engine.plugins.module_utils.engine.plan import Action, Plan


def work(module: Any) -> dict[str, Any]:
    """Do what the task says and return its result."""
    params, check, root = module.params, module.check_mode, root_of(module)
    if params["state"] == "absent":
        return plan_result(kernels.remove(root, params["version"], check=check), kernel={})
    if params["src"]:
        source = Path(params["src"])
        plan, release = kernels.plan_register(root, source, make_default=params["default"])
        if params["version"] not in (None, release.version):
            raise ConflictError(f"{source} holds kernel {release.version}, not {params['version']}",
                                code="kernel.other_version")
        if plan.changed and not check:
            plan, release = kernels.register(root, source, make_default=params["default"])
    elif params["source"]:
        plan, release = from_source(params, root, check)
    elif params["default"]:
        plan, release = kernels.use(root, params["version"], check=check)
    else:
        plan, release = Plan(), kernels.get(root, params["version"])
    if params["default"] is False and release is not None and release.default:
        raise UsageError(f"kernel {release.version} is the default and something must be",
                         code="kernel.no_other_default", hint="make another release the default instead")
    return plan_result(plan, kernel=release.to_dict() if release else {})


def from_source(params: dict[str, Any], root: Any, check: bool) -> tuple[Plan, kernels.KernelRelease | None]:
    """Pull a release; with default, update to it."""
    keys = None
    if params["public_keys"] is not None:
        parsed = [signing.parse_public(text.encode(), f"key {number}")
                  for number, text in enumerate(params["public_keys"], 1)]
        keys = {key.id: key for key in parsed}
    source, version = params["source"], params["version"]
    if params["default"]:
        plan, release = releases.update(root, source, version, check=check, smoke=params["smoke"], keys=keys)
        return plan, release or (None if plan.changed else kernels.default(root))
    offered = releases.offer(root, source)
    wanted = version or offered.newest
    if wanted is None:
        raise UsageError(f"{source} has no release", code="kernel.not_found")
    here = [release for release in kernels.list_releases(root) if release.version == wanted]
    if here:
        return Plan(), here[0]
    if check:
        summary = f"pull kernel {wanted} from {source}"
        return Plan((Action("create", f"kernel/{wanted}", summary, {}, {"version": wanted}),)), None
    return releases.pull(root, source, wanted, keys=keys)


def main() -> None:
    run_module(
        {
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "src": {"type": "path"},
            "source": {"type": "str"},
            "public_keys": {"type": "list", "elements": "str", "no_log": False},
            "smoke": {"type": "bool", "default": True},
            "version": {"type": "str"},
            "default": {"type": "bool"},
        },
        work,
        required_if=[("state", "absent", ("version",)), ("state", "present", ("src", "source", "version"), True)],
        mutually_exclusive=[("src", "source")],
    )


if __name__ == "__main__":
    main()
