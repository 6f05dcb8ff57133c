# SPDX-License-Identifier: GPL-3.0-or-later
"""VMs as they are shown: lists, details, what the plan sees. Nothing here changes anything."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ansible_collections.uni.engine.plugins.module_utils.engine.root import Root
from ansible_collections.uni.engine.plugins.module_utils.engine.vms import record as records
from ansible_collections.uni.engine.plugins.module_utils.engine.vms import summaries
from ansible_collections.uni.engine.plugins.module_utils.engine.vms.record import RUNNING, Vm, seen, status_of

if TYPE_CHECKING:
    from ansible_collections.uni.engine.plugins.module_utils.engine.vms.plan import Observed


def observe(vm: Vm | None) -> Observed | None:
    """A VM as the plan sees it."""
    from ansible_collections.uni.engine.plugins.module_utils.engine.vms.plan import Observed

    if vm is None:
        return None
    return Observed(vm.id, status_of(vm.state), vm.values, str(vm.image.get("id", "")),
                    pending(vm), str(vm.state.get("health") or ""))


def pending(vm: Vm) -> tuple[str, ...]:
    """The fields of a running VM that count only from its next start."""
    return changed_since_start(vm) if status_of(vm.state) in (*RUNNING, "restarting") else ()


def changed_since_start(vm: Vm) -> tuple[str, ...]:
    """The fields that are not what its last start was given, and that a running guest cannot be given."""
    from ansible_collections.uni.engine.plugins.module_utils.engine.vms.fields import DEFAULTS, FIELDS, RESTART

    before = vm.runtime.get("values")
    if not isinstance(before, dict):
        return ()
    return tuple(sorted(name for name in {*before, *vm.values} if name in FIELDS and FIELDS[name].change == RESTART
                        and before.get(name, DEFAULTS.get(name)) != vm.values.get(name, DEFAULTS.get(name))))


def list_vms(root: Root, *, everything: bool = False,
             filters: Mapping[str, str | list[str]] | None = None) -> list[dict[str, Any]]:
    """VMs, the newest first: running ones, or all; see :func:`summaries.listing`."""
    return summaries.listing(str(root.path), everything=everything, filters=filters)


def info(vm: Vm) -> dict[str, Any]:
    """A VM as plain data: identity, fields (secrets hidden), status, how it ended."""
    from ansible_collections.uni.engine.plugins.module_utils.engine.vms.fields import DEFAULTS
    from ansible_collections.uni.engine.plugins.module_utils.engine.vms.plan import shown

    vm = seen(vm)
    status = status_of(vm.state)
    image = vm.image
    running = status in RUNNING
    return {
        "id": vm.id, "name": vm.name, "status": "exited" if status == "lost" else status,
        "image": vm.values.get("image", ""), "image_id": image.get("id", ""), "created": vm.record.get("created"),
        "started_at": vm.state.get("started_at"), "finished_at": vm.state.get("finished_at"),
        "pid": vm.state.get("pid") if running else None, "ready": bool(vm.state.get("ready")) and running,
        "boot_seconds": vm.state.get("boot_seconds"),
        "health": vm.state.get("health") if running else None, "restarts": int(vm.state.get("restarts") or 0),
        "exit": vm.state.get("exit") or ({"reason": "lost", "code": 125} if status == "lost" else None),
        "ports": vm.runtime.get("ports", []), "addresses": vm.runtime.get("addresses", []),
        "memory": vm.values.get("memory") or image.get("memory") or DEFAULTS["memory"],
        "cpus": vm.values.get("cpus") or image.get("cpus") or DEFAULTS["cpus"],
        "options": shown(vm.values), "pending_restart": list(pending(vm)),
        "directory": str(vm.directory), "uid": vm.uid,
    }


def inspect(root: Root, reference: str) -> dict[str, Any]:
    """Everything about a VM, with the hardening that is really in force."""
    from ansible_collections.uni.engine.plugins.module_utils.engine import cgroup, hardening

    vm = records.find(root, reference)
    group = cgroup.directory(vm.id)
    result = info(vm)
    result["boot"] = vm.runtime.get("boot") or {}
    accel = result["boot"].get("accel")
    result["isolation"] = "emulation (TCG): not a security boundary" if accel == "tcg" else accel
    report = [] if result["pid"] is None else hardening.report(result["pid"], cgroup=str(group or ""))
    result["limits"] = cgroup.in_force(vm.id) if result["pid"] is not None else {}
    result["hardening"] = [{"name": item.name, "in_force": item.in_force, "detail": item.detail} for item in report]
    return result
