# SPDX-License-Identifier: GPL-3.0-or-later
"""Bringing one VM into a state: what every call does. What is done where there is something to do is in carry.py, so
that a call that changes nothing, the usual one, need not read it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ansible_collections.uni.engine.plugins.module_utils.engine.errors import ConflictError, NotFoundError
from ansible_collections.uni.engine.plugins.module_utils.engine.plan import Plan
from ansible_collections.uni.engine.plugins.module_utils.engine.root import Root
from ansible_collections.uni.engine.plugins.module_utils.engine.vms import record as records
from ansible_collections.uni.engine.plugins.module_utils.engine.vms.record import RUNNING, Vm, status_of
from ansible_collections.uni.engine.plugins.module_utils.engine.vms.views import info, observe

if TYPE_CHECKING:
    from ansible_collections.uni.engine.plugins.module_utils.engine.vms.spec import VmSpec

_TRIES = 5  # a creation that loses against another one starts over from what it finds


@dataclass(frozen=True)
class VmResult:
    """What was (or, in check mode, would be) done, and the VM afterwards (None: there is none)."""

    changed: bool
    plan: Plan
    vm: dict[str, Any] | None = None


def ensure(root: Root, spec: VmSpec, state: str = "started", *, check: bool = False, recreate: str = "auto",
           comparisons: Mapping[str, str] | None = None, timeout: float | None = None) -> VmResult:
    """Bring the VM ``spec.name`` to ``state`` with the fields of ``spec``; do nothing where nothing is to be done.

    :param timeout: seconds for booting, and for getting healthy
    :raises UniError: see the modules behind; a failed step leaves a VM that the next call goes on with
    """
    for attempt in range(_TRIES):
        vm = records.find_name(root, spec.name)
        if vm is None or check:
            plan, image = plan_for(root, spec, vm, state, recreate, comparisons or {})
            if check or not plan.changed:
                return VmResult(plan.changed, plan, info(vm) if vm is not None else None)
            from ansible_collections.uni.engine.plugins.module_utils.engine.vms import carry

            try:
                vm = carry.apply_new(root, spec, plan, image, timeout)
                return VmResult(True, plan, info(settle(root, vm, state, timeout)))
            except ConflictError as error:
                if error.code != "vm.exists" or attempt == _TRIES - 1:
                    raise
                continue
        plan, image = plan_for(root, spec, vm, state, recreate, comparisons or {})
        if not plan.changed and not records.orphaned(vm) and vm.state.get("name", vm.name) == vm.name:
            return VmResult(False, plan, info(settle(root, vm, state, timeout)))
        from ansible_collections.uni.engine.plugins.module_utils.engine.vms import carry

        try:
            with records.locked(vm.directory) as held:
                plan, image = plan_for(root, spec, carry.repaired(root, held), state, recreate, comparisons or {})
                after = carry.apply_plan(root, spec, held.fresh(), plan, image, timeout)
        except NotFoundError:
            continue  # removed meanwhile: look again
        if after is not None and status_of(after.state) == "created" and any(a.kind == "start" for a in plan.actions):
            after = carry.start_new(root, after, timeout, then=[action.kind for action in plan.actions])
        return VmResult(plan.changed, plan, info(settle(root, after, state, timeout)) if after is not None else None)
    raise ConflictError(f"VM {spec.name} is changed by others all the time", code="vm.busy", hint="try again")


def plan_for(root: Root, spec: VmSpec, vm: Vm | None, state: str, recreate: str,
             comparisons: Mapping[str, str]) -> tuple[Plan, Mapping[str, Any] | None]:
    """Observe, then plan. The image is looked up only where its identity matters."""
    image: Mapping[str, Any] | None = None
    if spec.values.get("image") and state != "absent":
        from ansible_collections.uni.engine.plugins.module_utils.engine.vms import images

        known = vm.record.get("image") if vm is not None else None
        same = bool(known) and images.unchanged(root, spec.values["image"], known or {})
        image = known if same else images.resolve(root, spec.values["image"])
    from ansible_collections.uni.engine.plugins.module_utils.engine.vms.plan import Wanted, plan_vm

    wanted = Wanted(state, str((image or {}).get("id", "")), recreate, comparisons)
    plan = plan_vm(spec, observe(vm), wanted)
    return _new_volumes(root, spec, plan) + plan, image


def preview(root: Root, spec: VmSpec, state: str, *, image_id: str, recreate: str = "auto",
            comparisons: Mapping[str, str] | None = None) -> VmResult:
    """What :func:`ensure` would do with an image that is not here yet."""
    from ansible_collections.uni.engine.plugins.module_utils.engine.vms.plan import Wanted, plan_vm

    vm = records.find_name(root, spec.name)
    plan = plan_vm(spec, observe(vm), Wanted(state, image_id, recreate, comparisons or {}))
    return VmResult(plan.changed, _new_volumes(root, spec, plan) + plan, info(vm) if vm is not None else None)


def _new_volumes(root: Root, spec: VmSpec, plan: Plan) -> Plan:
    """The volumes that a VM is given and that do not exist: they are created with it, as Docker's named volumes are.

    Starting a VM whose volume has gone is another matter: that is an error, for its data are lost.
    """
    if not spec.values.get("volumes") or not {"create", "recreate", "update"} & {a.kind for a in plan.actions}:
        return Plan()
    from ansible_collections.uni.engine.plugins.module_utils.engine.volumes import api as volumes

    names = dict.fromkeys(entry.partition(":")[0] for entry in spec.values["volumes"] if not entry.startswith("/"))
    missing = [volumes.VolumeSpec(name) for name in names if volumes.find(root, name) is None]
    return Plan(tuple(action for volume in missing for action in volumes.plan_volume(volume, None).actions))


def present(vm: Vm) -> Vm:
    """The VM read again; one that ended and removed itself keeps its last record."""
    try:
        return vm.fresh()
    except NotFoundError:
        return Vm(vm.directory, vm.record, {**vm.state, "status": "exited"})


def settle(root: Root, vm: Vm, state: str, timeout: float | None) -> Vm:
    """For state healthy: wait until the VM is. For state saved: save it, now that its lock is free."""
    if state == "saved" and status_of(vm.state) in RUNNING:
        from ansible_collections.uni.engine.plugins.module_utils.engine.vms import ops

        ops.save(root, vm.id)
        return present(vm)
    if state == "healthy":
        from ansible_collections.uni.engine.plugins.module_utils.engine.vms import api

        api.wait_for(root, vm.id, "healthy" if vm.values.get("health_check") else "ready", timeout=timeout)
        return present(vm)
    return vm
