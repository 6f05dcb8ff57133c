# SPDX-License-Identifier: GPL-3.0-or-later
"""A VM whose image may still be in its registry: pull it first, where the policy says so."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ansible_collections.uni.engine.plugins.module_utils.engine.errors import NotFoundError, UsageError
from ansible_collections.uni.engine.plugins.module_utils.engine.plan import Plan
from ansible_collections.uni.engine.plugins.module_utils.engine.vms import ensure

if TYPE_CHECKING:
    from ansible_collections.uni.engine.plugins.module_utils.engine.root import Root
    from ansible_collections.uni.engine.plugins.module_utils.engine.vms.spec import VmSpec

POLICIES = ("missing", "always", "never")


def ensure_vm(root: Root, spec: VmSpec, state: str = "started", *, pull: str = "missing", check: bool = False,
              recreate: str = "auto", comparisons: Mapping[str, str] | None = None,
              timeout: float | None = None) -> ensure.VmResult:
    """:func:`ensure.ensure`, with the image pulled before: always, or when it is missing and names its registry."""
    options: dict[str, Any] = {"recreate": recreate, "comparisons": comparisons}
    image = spec.values.get("image")
    if pull == "always" and image and state != "absent":
        pulled = fetch(root, image, check=check)
        if check and pulled.changed:
            return _preview(root, spec, state, pulled, options)
        result = ensure.ensure(root, spec, state, check=check, timeout=timeout, **options)
        return replace(result, changed=result.changed or pulled.changed, plan=pulled + result.plan)
    try:
        return ensure.ensure(root, spec, state, check=check, timeout=timeout, **options)
    except NotFoundError as error:
        if pull != "missing" or not image or error.code != "image.not_found" or not names_registry(image):
            raise
    pulled = fetch(root, image, check=check)
    if check:
        return _preview(root, spec, state, pulled, options)
    result = ensure.ensure(root, spec, state, timeout=timeout, **options)
    return replace(result, changed=True, plan=pulled + result.plan)


def fetch(root: Root, image: str, *, check: bool = False) -> Plan:
    """Bring an image from its registry; the plan is empty when it is here and the same.

    :raises UniError: the registry's name, the way to it, the image: see registry/api.py
    """
    from ansible_collections.uni.engine.plugins.module_utils.engine.registry import api as registry

    return registry.pull(root, image, check=check).plan


def names_registry(image: str) -> bool:
    """Whether a missing image can be looked for: its name says where."""
    from ansible_collections.uni.engine.plugins.module_utils.engine.reference import parse_reference

    try:
        return bool(parse_reference(image).registry)
    except UsageError:
        return False


def _preview(root: Root, spec: VmSpec, state: str, pulled: Plan, options: Mapping[str, Any]) -> ensure.VmResult:
    """What would be done once the image is here. Its manifest's digest stands for its id, which only pulling shows:
    either way it is not the one that the VM has.
    """
    digest = str(pulled.actions[0].after.get("digest", ""))
    result = ensure.preview(root, spec, state, image_id=digest, **options)
    return replace(result, changed=True, plan=pulled + result.plan)
