#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Push, pull and tag images in registries: one adapter over engine/registry."""

from __future__ import annotations

DOCUMENTATION = r"""
module: uni_registry
short_description: Log in to registries; push, pull and tag images there
version_added: 0.1.0
description:
  - Speaks the OCI Distribution Specification, so any OCI registry will do.
  - Nothing is sent or fetched twice, and every byte is verified by its digest.
  - Plain HTTP is used for a registry given as C(http://), and for one on this host that speaks no TLS.
extends_documentation_fragment:
  - uni.engine.common
  - uni.engine.common.attributes
options:
  state:
    description:
      - V(pushed) - the registry has the image O(name) of this host, under O(target) or the same name.
      - V(pulled) - this host has the image O(name) as the registry has it now.
      - V(tagged) - the registry has what O(name) stands for under O(target), too. No bytes move.
      - V(absent) - the registry has no image O(name). All tags of its manifest there go.
      - V(logged_in) - O(username) and O(password) are good, and kept for later.
      - V(logged_out) - nothing is kept for O(registry).
    type: str
    choices: [pushed, pulled, tagged, absent, logged_in, logged_out]
    required: true
  name:
    description: The image, V([HOST[:PORT]/]NAME[:TAG]).
    type: str
  target:
    description: The name that it gets in the registry.
    type: str
  registry:
    description:
      - The registry's address, V(HOST[:PORT]) or V(http[s]://HOST[:PORT]).
      - When it is not set, the one in O(name).
    type: str
    aliases: [url]
  pull:
    description:
      - V(always) - ask the registry whether the tag stands for another image now.
      - V(missing) - an image of that name on this host is good enough.
    type: str
    choices: [always, missing]
    default: always
  username:
    description: The user; with a state other than V(logged_in) for this task only, in place of what is kept.
    type: str
  password:
    description: The password or token of O(username).
    type: str
  ca_file:
    description: A file on the managed host with the certificates of authorities to trust, in place of the system's.
    type: path
  validate_certs:
    description: Whether the registry's certificate must be good.
    type: bool
    default: true
  timeout:
    description: Give up when nothing came for this long, such as V(30s).
    type: str
    default: 60s
seealso:
  - module: uni.engine.uni_image
"""

EXAMPLES = r"""
- name: Log in
  uni.engine.uni_registry:
    state: logged_in
    registry: registry.example.org
    username: deploy
    password: "{{ registry_password }}"

- name: Push an image
  uni.engine.uni_registry:
    state: pushed
    name: web:1.2
    target: registry.example.org/team/web:1.2

- name: Call it stable, too
  uni.engine.uni_registry:
    state: tagged
    name: registry.example.org/team/web:1.2
    target: registry.example.org/team/web:stable

- name: Pull from a registry on this host
  uni.engine.uni_registry:
    state: pulled
    name: web:1.2
    registry: http://127.0.0.1:5000
"""

RETURN = r"""
reference:
  description: The name that was pushed, pulled or tagged.
  returned: success
  type: str
  sample: registry.example.org/team/web:1.2
digest:
  description: The digest of its manifest.
  returned: success
  type: str
  sample: sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08
transferred:
  description: How much went over the wire - bytes, blobs, and blobs that did not have to.
  returned: success
  type: dict
  sample: {bytes: 1843200, blobs: 4, present: 0, mounted: 0}
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
from ansible_collections.uni.engine.plugins.module_utils.engine.plan import Plan
from ansible_collections.uni.engine.plugins.module_utils.engine.registry import api
from ansible_collections.uni.engine.plugins.module_utils.engine.registry.auth import Credentials
from ansible_collections.uni.engine.plugins.module_utils.engine.units import parse_duration


def work(module: Any) -> dict[str, Any]:
    """Do what the task says and return its result."""
    params, check, root = module.params, module.check_mode, root_of(module)
    connection = connection_of(params)
    state, name, target = params["state"], params["name"], params["target"]
    if state == "logged_in":
        if connection.credentials is None:
            raise AssertionError("connection.credentials is set here")
        return _plain(api.login(root, params["registry"], connection.credentials, connection=connection, check=check))
    if state == "logged_out":
        return _plain(api.logout(root, params["registry"], check=check))
    if state == "absent":
        return _plain(api.remote_delete(root, name, connection=connection, check=check), name)
    if state == "pushed":
        result = api.push(root, name, target=target, connection=connection, check=check)
    elif state == "pulled":
        result = api.pull(root, name, connection=connection, check=check, missing_only=params["pull"] == "missing")
    else:
        result = api.copy(root, name, target, connection=connection, check=check)
    return plan_result(
        result.plan, reference=result.reference, digest=result.digest,
        transferred={"bytes": result.bytes, "blobs": result.blobs, "present": result.present,
                     "mounted": result.mounted})


def _plain(plan: Plan, reference: str = "") -> dict[str, Any]:
    return plan_result(plan, reference=reference, digest="", transferred={})


def connection_of(params: dict[str, Any]) -> api.Connection:
    """How the task's options reach the registry."""
    user = params["username"]
    return api.Connection(
        url=params["registry"], ca=Path(params["ca_file"]) if params["ca_file"] else None,
        credentials=Credentials(user, params["password"] or "") if user else None, verify=params["validate_certs"],
        timeout=parse_duration(params["timeout"], what="timeout"))


def main() -> None:
    run_module(
        {
            "state": {"type": "str", "required": True,
                      "choices": ["pushed", "pulled", "tagged", "absent", "logged_in", "logged_out"]},
            "name": {"type": "str"},
            "target": {"type": "str"},
            "registry": {"type": "str", "aliases": ["url"]},
            "pull": {"type": "str", "choices": ["always", "missing"], "default": "always"},
            "username": {"type": "str"},
            "password": {"type": "str", "no_log": True},
            "ca_file": {"type": "path"},
            "validate_certs": {"type": "bool", "default": True},
            "timeout": {"type": "str", "default": "60s"},
        },
        work,
        required_if=[("state", "pushed", ("name",)), ("state", "pulled", ("name",)), ("state", "absent", ("name",)),
                     ("state", "tagged", ("name", "target")), ("state", "logged_out", ("registry",)),
                     ("state", "logged_in", ("registry", "username", "password"))],
        required_together=[("username", "password")],
    )


if __name__ == "__main__":
    main()
