# SPDX-License-Identifier: GPL-3.0-or-later
"""Carrying out a VM's plan, action by action."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ansible_collections.uni.engine.plugins.module_utils.engine.errors import NotFoundError, UniError
from ansible_collections.uni.engine.plugins.module_utils.engine.plan import Plan
from ansible_collections.uni.engine.plugins.module_utils.engine.root import Root
from ansible_collections.uni.engine.plugins.module_utils.engine.vms import apply
from ansible_collections.uni.engine.plugins.module_utils.engine.vms import record as records
from ansible_collections.uni.engine.plugins.module_utils.engine.vms.ensure import present
from ansible_collections.uni.engine.plugins.module_utils.engine.vms.record import Vm, status_of

if TYPE_CHECKING:
    from ansible_collections.uni.engine.plugins.module_utils.engine.vms.spec import VmSpec


def make_volumes(root: Root, plan: Plan) -> list[str]:
    """Create the volumes of a plan and give back the kinds of its other actions."""
    for action in plan.actions:
        kind, _slash, name = action.target.partition("/")
        if kind == "volume":
            from ansible_collections.uni.engine.plugins.module_utils.engine.volumes import api as volumes

            volumes.ensure_present(root, volumes.VolumeSpec(name))
    return [action.kind for action in plan.actions if not action.target.startswith("volume/")]


def apply_new(root: Root, spec: VmSpec, plan: Plan, image: Mapping[str, Any] | None, timeout: float | None) -> Vm:
    kinds = make_volumes(root, plan)
    vm = apply.create(root, spec, with_disk(root, image))
    records.settle(root, [] if "start" in kinds else [vm])
    if "start" not in kinds:
        return vm
    try:
        return start_new(root, vm, timeout, then=kinds)
    except UniError:
        _forget_unstarted(root, vm)
        raise


def _forget_unstarted(root: Root, vm: Vm) -> None:
    """Remove a new VM that could not even be launched: bad input leaves nothing behind. One that was launched stays,
    for its console says why it failed.
    """
    try:
        with records.locked(vm.directory) as held:
            if status_of(held.state) == "created":
                apply.remove(root, held, force=True)
    except NotFoundError:
        pass


def start_new(root: Root, vm: Vm, timeout: float | None, then: Sequence[str] = ()) -> Vm:
    with records.locked(vm.directory) as held:
        if status_of(held.state) == "created":
            apply.start(root, [held], timeout=timeout or apply.BOOT_SECONDS)
    after = present(held)
    if "pause" in then:
        apply.pause(root, after)
        after = present(after)
    return after


def with_disk(root: Root, image: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    if image is None:
        return None
    from ansible_collections.uni.engine.plugins.module_utils.engine.vms import images

    return images.unpack(root, image)


def repaired(root: Root, vm: Vm) -> Vm:
    return apply.repair(root, vm)


def apply_plan(root: Root, spec: VmSpec, vm: Vm, plan: Plan, image: Mapping[str, Any] | None,
               timeout: float | None) -> Vm | None:
    """Carry out a plan for an existing VM whose lock is held."""
    boot = timeout or apply.BOOT_SECONDS
    make_volumes(root, plan)
    for action in plan.actions:
        if action.target.startswith("volume/"):
            continue
        if action.kind == "remove":
            apply.remove(root, vm, force=True)
            return None
        if action.kind == "recreate":
            from ansible_collections.uni.engine.plugins.module_utils.engine.vms.spec import VmSpec

            merged = VmSpec(spec.name, spec.over({key: value for key, value in vm.values.items() if key != "secrets"}))
            unpacked = with_disk(root, image) if image is not None else vm.record.get("image")
            apply.stop(root, vm)
            apply.remove(root, vm.fresh(), force=True)
            new = apply.create(root, merged, unpacked)
            records.settle(root, [new])
            return new
        if action.kind == "update":
            vm = apply.update(root, vm, spec.over(vm.values), list(action.after))
        elif action.kind in ("stop", "restart"):
            vm = apply.stop(root, vm)
        elif action.kind == "pause":
            apply.pause(root, vm)
        elif action.kind == "unpause":
            apply.resume(root, vm)
        if action.kind == "start":
            apply.start_saved(root, vm, timeout=boot)
        elif action.kind == "restart":
            apply.start(root, [vm], timeout=boot)
        vm = present(vm)
    return vm
