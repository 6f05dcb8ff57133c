#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Build and remove images: one adapter over engine/images."""

from __future__ import annotations

DOCUMENTATION = r"""
module: uni_image
short_description: Build and remove unikernel images
version_added: 0.1.0
description:
  - Builds an image from a Linux program, a directory, Debian packages or a container image, and removes images.
  - Several sources are laid over each other - first O(base), then O(packages), O(rootfs) and O(elf).
  - The same input gives the same image, byte for byte. An image that is made of exactly that already is left alone.
  - Every source is checked before anything is built - right machine, right type, interpreter and every library there.
extends_documentation_fragment:
  - uni.engine.common
  - uni.engine.common.attributes
options:
  name:
    description:
      - The name, V(NAME[:TAG]); the tag is V(latest) when there is none.
      - With O(state=absent), also an id or a digest, which removes all its tags.
    type: str
    required: true
  state:
    description:
      - V(present) - an image of this content exists.
      - V(absent) - it does not. A name with other tags loses only this one.
    type: str
    choices: [present, absent]
    default: present
  elf:
    description:
      - A program on the managed host, an ELF executable for x86-64 Linux. Its interpreter and libraries are
        gathered when it is dynamic.
      - It becomes the entrypoint unless O(entrypoint) is set.
    type: path
    aliases: [program]
  elf_path:
    description: Where the program is in the image; by default C(/bin/) and its name.
    type: str
  rootfs:
    description: A directory on the managed host with the root file system; O(elf) is laid over it.
    type: path
  packages:
    description:
      - Debian packages, V(NAME[=VERSION]), with all that they depend on, resolved and fetched by the managed host's
        apt. Maintainer scripts do not run.
    type: list
    elements: str
  base:
    description:
      - A container image - a reference, looked for on the managed host and then in its registry; V(oci:DIRECTORY[:REF])
        for an OCI layout; V(oci-archive:FILE[:REF]) for an archive.
      - What it says about entrypoint, environment, ports and so on holds unless it is set here.
    type: str
  entrypoint:
    description:
      - The program and its first arguments.
      - The default is that of O(base), else O(elf), else the program that the first of O(packages) is named after
        (C(nginx) of C(nginx-light)), else the first of C(/sbin/init), C(/init), C(/bin/init), C(/bin/sh) that is there.
    type: list
    elements: str
  cmd:
    description: The arguments that a VM's own replace.
    type: list
    elements: str
  env:
    description: Environment variables.
    type: dict
  workdir:
    description: The working directory.
    type: str
  user:
    description: Who the program runs as, V(UID[:GID]).
    type: str
  exposed_ports:
    description: Ports that the program listens on, V(PORT[/tcp|/udp]).
    type: list
    elements: str
  volumes:
    description: Directories that are meant for volumes.
    type: list
    elements: str
  stop_signal:
    description: The signal that asks the program to end.
    type: str
  labels:
    description: Labels.
    type: dict
  memory:
    description: The memory that a VM of this image gets unless it says otherwise, such as V(64M).
    type: str
  cpus:
    description: The number of CPUs that a VM of this image gets unless it says otherwise.
    type: int
  size:
    description: The size of the root disk; by default what the contents need and some room.
    type: str
  kernel:
    description: A kernel on the managed host that the image carries; by default the host's default release.
    type: path
  kernel_range:
    description: The versions of the kernel that the image accepts, such as V(>=0.1.0,<2).
    type: str
  update_kernel:
    description: Whether an image of the same content gets the newer kernel.
    type: bool
    default: false
  force:
    description: Whether O(state=absent) removes an image that VMs use.
    type: bool
    default: false
seealso:
  - module: uni.engine.uni_image_info
  - module: uni.engine.uni_vm
"""

EXAMPLES = r"""
- name: Debian's busybox, with a directory of files
  uni.engine.uni_image:
    name: busybox
    elf: /bin/busybox
    rootfs: /srv/busybox-root

- name: A web server with its settings
  uni.engine.uni_image:
    name: web:1.2
    elf: /opt/build/web
    env:
      PORT: "8080"
    exposed_ports: ["8080"]
    memory: 32M

- name: Redis, from Debian's package
  uni.engine.uni_image:
    name: redis
    packages: [redis-server]
    entrypoint: [redis-server, --protected-mode, "no"]

- name: From a container image
  uni.engine.uni_image:
    name: cache
    base: registry.example.org/library/memcached:1.6

- name: Remove one tag
  uni.engine.uni_image:
    name: web:1.1
    state: absent
"""

RETURN = r"""
image:
  description: The image; empty when there is none.
  returned: success
  type: dict
  sample:
    id: sha256:5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef
    digest: sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08
    name: web
    tags: ["1.2"]
    size: 1843200
    entrypoint: [/bin/web]
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
from ansible_collections.uni.engine.plugins.module_utils.engine.images import api
from ansible_collections.uni.engine.plugins.module_utils.engine.units import parse_env, parse_size

_LISTS = ("entrypoint", "cmd", "exposed_ports", "volumes")
_PLAIN = ("workdir", "user", "stop_signal", "cpus", "kernel_range", "update_kernel")


def work(module: Any) -> dict[str, Any]:
    """Do what the task says and return its result."""
    params, check, root = module.params, module.check_mode, root_of(module)
    if params["state"] == "absent":
        result = api.ensure_absent(root, params["name"], check=check, force=params["force"])
        return plan_result(result.plan, image={})
    result = api.ensure_present(root, build_spec(params), check=check)
    for warning in result.warnings:
        module.warn(warning)
    return plan_result(result.plan, image=result.image.to_dict() if result.image else {})


def build_spec(params: dict[str, Any]) -> api.BuildSpec:
    """The image that the task's options describe."""
    def path(name: str) -> Path | None:
        return Path(params[name]) if params[name] else None

    def size(name: str) -> int | None:
        return None if params[name] is None else parse_size(params[name], what=name)

    return api.BuildSpec(
        name=params["name"], program=path("elf"), program_path=params["elf_path"] or "", rootfs=path("rootfs"),
        packages=tuple(params["packages"] or ()), image=params["base"],
        kernel=path("kernel"), memory=size("memory"), size=size("size"),
        env=None if params["env"] is None else parse_env(params["env"]),
        labels=None if params["labels"] is None else parse_env(params["labels"], what="labels"),
        **{name: None if params[name] is None else tuple(params[name]) for name in _LISTS},
        **{name: params[name] for name in _PLAIN})


def main() -> None:
    run_module(
        {
            "name": {"type": "str", "required": True},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "elf": {"type": "path", "aliases": ["program"]},
            "elf_path": {"type": "str"},
            "rootfs": {"type": "path"},
            "packages": {"type": "list", "elements": "str"},
            "base": {"type": "str"},
            "entrypoint": {"type": "list", "elements": "str"},
            "cmd": {"type": "list", "elements": "str"},
            "env": {"type": "dict"},
            "workdir": {"type": "str"},
            "user": {"type": "str"},
            "exposed_ports": {"type": "list", "elements": "str"},
            "volumes": {"type": "list", "elements": "str"},
            "stop_signal": {"type": "str"},
            "labels": {"type": "dict"},
            "memory": {"type": "str"},
            "cpus": {"type": "int"},
            "size": {"type": "str"},
            "kernel": {"type": "path"},
            "kernel_range": {"type": "str"},
            "update_kernel": {"type": "bool", "default": False},
            "force": {"type": "bool", "default": False},
        },
        work,
        required_if=[("state", "present", ("elf", "rootfs", "packages", "base"), True)],
    )


if __name__ == "__main__":
    main()
