# SPDX-License-Identifier: GPL-3.0-or-later
"""Stacks as module, command line and daemon use them."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.uni.engine.plugins.module_utils.engine.errors import NotFoundError, UsageError
from ansible_collections.uni.engine.plugins.module_utils.engine.plan import Action, Plan
from ansible_collections.uni.engine.plugins.module_utils.engine.records import lock
from ansible_collections.uni.engine.plugins.module_utils.engine.root import Root
from ansible_collections.uni.engine.plugins.module_utils.engine.stacks.model import StackSpec
from ansible_collections.uni.engine.plugins.module_utils.engine.stacks.plan import (
    NUMBER,
    SERVICE,
    STACK,
    Host,
    Present,
    StackPlan,
    plan_down,
    plan_up,
)

# A second `up` of the same stack waits for the first one this long, in seconds.
LOCK_SECONDS = 600.0


@dataclass(frozen=True)
class StackResult:
    """What was (or, in check mode, would be) done."""

    name: str
    plan: Plan
    warnings: tuple[str, ...] = ()
    services: list[dict[str, Any]] = field(default_factory=list)

    @property
    def changed(self) -> bool:
        """Whether anything changed, or would."""
        return self.plan.changed


def up(root: Root, stack: StackSpec, *, check: bool = False, services: Collection[str] = (),
       scale: Mapping[str, int] | None = None, remove_orphans: bool = False, recreate: str = "auto",
       timeout: float | None = None, progress: Any = None, early: bool = False) -> StackResult:
    """Bring a stack up, or say what that would take. What runs as it should is left alone.

    :param early: with ``check``: an image that is not here yet is a warning: a task before may be about to make it
    :raises NotFoundError: code ``image.not_found``
    :raises UsageError: an unknown service is named
    :raises UniError: a service failed; what does not depend on it is up, and the next call goes on
    """
    for name in (*services, *(scale or {})):
        if name not in stack.services:
            raise UsageError(f"the stack {stack.name} has no service {name!r}", code="stack.unknown_service",
                             hint=f"services: {', '.join(stack.services)}")
    if check:
        absent = _absent_images(root, stack) if early else {}
        planned = _plan(root, stack, services, scale, remove_orphans, recreate, absent)
        return StackResult(stack.name, planned.plan, (*_warnings(stack, planned), *absent.values()))
    with _locked(root, stack.name):
        planned = _plan(root, stack, services, scale, remove_orphans, recreate)
        _sweep(root)
        if planned.plan.changed:
            _apply(root, stack, planned, timeout, progress or (lambda _text: None))
    return StackResult(stack.name, planned.plan, _warnings(stack, planned), ps(root, stack.name))


def down(root: Root, name: str, *, check: bool = False, volumes: bool = False, timeout: float | None = None,
         progress: Any = None) -> StackResult:
    """Stop and remove the stack's VMs, dependents first, then its networks; volumes only when asked for.

    Needs no stack file: what belongs to the stack says so itself.
    """
    with _locked(root, name):
        plan, waves = plan_down(_present(root, name))
        owned = [v.name for v in volume_api().list_volumes(root, {STACK: name})] if volumes else []
        plan += Plan(tuple(Action("remove", f"volume/{volume}", f"remove volume {volume}", {"status": "present"},
                                  {"status": "absent"}) for volume in owned))
        nets = [n["name"] for n in network_api().list_networks(root, {STACK: name})] if _bridges() else []
        plan += Plan(tuple(Action("remove", f"network/{net}", f"remove network {net}", {"status": "present"},
                                  {"status": "absent"}) for net in nets))
        if plan.changed and not check:
            from ansible_collections.uni.engine.plugins.module_utils.engine.stacks import apply

            apply.take_down(root, waves, timeout=timeout, progress=progress or (lambda _text: None))
            _sweep(root)
            for net in nets:
                network_api().ensure_absent(root, net)
            for volume in owned:
                volume_api().ensure_absent(root, volume)
    return StackResult(name, plan)


def ps(root: Root, name: str) -> list[dict[str, Any]]:
    """The stack's VMs: name, service, status, health, ports, exit."""
    from ansible_collections.uni.engine.plugins.module_utils.engine.vms import api

    rows = []
    for present in _present(root, name):
        data = api.info(api.resolve_vm(root, present.name))
        rows.append({"service": present.service, "instance": present.number,
                     **{key: data[key] for key in ("name", "id", "status", "health", "image", "ports", "exit")}})
    return sorted(rows, key=lambda row: (row["service"], row["instance"]))


def restart(root: Root, name: str, services: Collection[str] = (), *, timeout: float | None = None) -> list[str]:
    """Restart the VMs of a stack, dependencies first. Returns their names."""
    from ansible_collections.uni.engine.plugins.module_utils.engine.vms import api

    present = _required(root, name, services)
    _plan_unused, waves = plan_down(present)
    done = []
    with _locked(root, name):
        for wave in reversed(waves):
            for vm in wave:
                api.restart(root, vm, grace=timeout)
                done.append(vm)
    return done


def names(root: Root, stack: str, services: Collection[str] = ()) -> list[str]:
    """Names of a stack's VMs, in the order of services. :raises NotFoundError: there are none"""
    return [vm.name for vm in sorted(_required(root, stack, services), key=lambda vm: (vm.service, vm.number))]


def stacks(root: Root) -> list[dict[str, Any]]:
    """All stacks on the host, with numbers of VMs that are there and that run."""
    from ansible_collections.uni.engine.plugins.module_utils.engine.vms import api

    found: dict[str, dict[str, Any]] = {}
    for vm in api.list_vms(root, everything=True, filters={"label": STACK}):
        entry = found.setdefault(vm["labels"][STACK], {"name": vm["labels"][STACK], "vms": 0, "running": 0})
        entry["vms"] += 1
        entry["running"] += vm["status"] in ("running", "starting", "paused")
    return [found[name] for name in sorted(found)]


def config(stack: StackSpec) -> dict[str, Any]:
    """The stack as it was understood: every value normalised, names resolved. Secrets hidden."""
    from ansible_collections.uni.engine.plugins.module_utils.engine.stacks.plan import in_order, vm_spec
    from ansible_collections.uni.engine.plugins.module_utils.engine.vms.plan import shown

    return {
        "name": stack.name,
        "services": {name: {
            "scale": stack.services[name].scale,
            "depends_on": {d.service: d.condition for d in stack.services[name].depends_on},
            "vm": shown(vm_spec(stack, stack.services[name], 1).values),
        } for name in in_order(stack)},
        "volumes": {stack.object_name(k, v): dict(v) for k, v in stack.volumes.items()},
        "networks": {stack.object_name(k, v): dict(v) for k, v in stack.networks.items()},
    }


def _sweep(root: Root) -> None:
    """What callers that were killed left behind goes, also where no daemon sees to it."""
    from ansible_collections.uni.engine.plugins.module_utils.engine.vms import api as vms

    vms.sweep(root)


def volume_api() -> Any:
    """The volumes package, imported when the first volume is met."""
    from ansible_collections.uni.engine.plugins.module_utils.engine.volumes import api

    return api


def network_api() -> Any:
    """The networks package, imported when the first network is met."""
    from ansible_collections.uni.engine.plugins.module_utils.engine.networks import api

    return api


def _networks(root: Root) -> dict[str, Any]:
    from ansible_collections.uni.engine.plugins.module_utils.engine.networks import model

    return {network.name: network for network in model.load_all(root)}


def _bridges() -> bool:
    """Whether this user may make bridges and TAP interfaces."""
    import os

    return os.geteuid() == 0


def _locked(root: Root, name: str) -> AbstractContextManager[None]:
    return lock(root.locks / f"stack-{name}.lock", timeout=LOCK_SECONDS)


def _required(root: Root, name: str, services: Collection[str]) -> list[Present]:
    present = [vm for vm in _present(root, name) if not services or vm.service in services]
    if not present:
        raise NotFoundError(f"there is no stack {name!r} here" if not services else
                            f"the stack {name!r} has no VM of {', '.join(sorted(services))}",
                            code="stack.not_found", hint="bring it up: uni compose up FILE")
    return present


def _present(root: Root, name: str) -> list[Present]:
    """The VMs that carry the stack's label."""
    from ansible_collections.uni.engine.plugins.module_utils.engine.vms import api

    result = []
    for state in api.list_vms(root, everything=True, filters={"label": f"{STACK}={name}"}):
        vm = api.resolve_vm(root, state["id"])
        labels = vm.values.get("labels") or {}
        observed = api.observe(vm)
        if observed is not None and labels.get(STACK) == name:
            code = (vm.state.get("exit") or {}).get("code")
            number = str(labels.get(NUMBER, "1"))
            result.append(Present(vm.name, str(labels.get(SERVICE, "")), int(number) if number.isdigit() else 1,
                                  observed, code))
    return result


def _plan(root: Root, stack: StackSpec, services: Collection[str], scale: Mapping[str, int] | None,
          remove_orphans: bool, recreate: str, absent: Collection[str] = ()) -> StackPlan:
    from ansible_collections.uni.engine.plugins.module_utils.engine.vms import images

    wanted = _image_names(stack) - set(absent)
    host = Host(
        {vm.name: vm for vm in _present(root, stack.name)},
        {image: str(images.resolve(root, image)["id"]) for image in sorted(wanted)},
        [v.name for v in volume_api().list_volumes(root)] if stack.volumes else (),
        _networks(root) if stack.networks else {}, _bridges())
    return plan_up(stack, host, services=services, scale=scale, remove_orphans=remove_orphans, recreate=recreate)


def _image_names(stack: StackSpec) -> set[str]:
    return {str(service.options["image"]) for service in stack.services.values()}


def _absent_images(root: Root, stack: StackSpec) -> dict[str, str]:
    """The images of a stack that are not on this host, each with what is to be said about it."""
    from ansible_collections.uni.engine.plugins.module_utils.engine.vms import images

    absent = {}
    for image in sorted(_image_names(stack)):
        try:
            images.resolve(root, image)
        except NotFoundError as error:
            absent[image] = f"{error}: this is what would be done with one that is made before"
    return absent


def _apply(root: Root, stack: StackSpec, planned: StackPlan, timeout: float | None, progress: Any) -> None:
    from ansible_collections.uni.engine.plugins.module_utils.engine.stacks import apply

    apply.take_down(root, [[action.target.partition("/")[2] for action in planned.removals
                            if action.kind == "remove"]], progress=progress)
    for spec, plan in planned.networks:
        if plan.changed:
            network_api().ensure_present(root, spec)
    wanted = {stack.object_name(key, options): options for key, options in stack.volumes.items()}
    for action in planned.volumes:
        name = action.target.partition("/")[2]
        api = volume_api()
        labels = {**wanted[name].get("labels", {}), STACK: stack.name}
        api.ensure_present(root, api.VolumeSpec.parse(name, wanted[name].get("size"), labels))
    apply.Ascent(root, stack, planned.instances, timeout=timeout, progress=progress).run()


def _warnings(stack: StackSpec, planned: StackPlan) -> tuple[str, ...]:
    orphans = tuple(f"{name} belongs to the stack, but its file no longer names its service; "
                    f"remove it with --remove-orphans" for name in planned.orphans)
    if stack.networks and not _bridges():
        return (*orphans, "networks need root: the stack's VMs have user-mode networking and reach each other through"
                          " published ports only")
    return orphans
