# SPDX-License-Identifier: GPL-3.0-or-later
"""From a stack's spec and the VMs that are there to one plan for all of them. Pure.

What a stack owns is found by labels on its VMs and volumes: there is no record of a stack that could be wrong.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.uni.engine.plugins.module_utils.engine.networks.model import (
    Network,
    NetworkSpec,
    plan_network,
)
from ansible_collections.uni.engine.plugins.module_utils.engine.plan import Action, Plan
from ansible_collections.uni.engine.plugins.module_utils.engine.stacks.model import COMPLETED, ServiceSpec, StackSpec
from ansible_collections.uni.engine.plugins.module_utils.engine.vms.plan import UP, Observed, Wanted, plan_vm
from ansible_collections.uni.engine.plugins.module_utils.engine.vms.spec import VmSpec

STACK, SERVICE, NUMBER, DEPENDS = "uni.stack", "uni.service", "uni.instance", "uni.depends"
NETWORKS = "uni.networks"


@dataclass(frozen=True)
class Present:
    """A VM of the stack as it is."""

    name: str
    service: str
    number: int
    observed: Observed
    exit_code: int | None = None


@dataclass(frozen=True)
class Host:
    """What the host has, as far as the stack cares: VMs and networks by name, ids of images, names of volumes."""

    vms: Mapping[str, Present] = field(default_factory=dict)
    images: Mapping[str, str] = field(default_factory=dict)
    volumes: Collection[str] = ()
    networks: Mapping[str, Network] = field(default_factory=dict)
    bridges: bool = True


@dataclass(frozen=True)
class Instance:
    """One VM of a service: what it shall be, and what has to be done for it."""

    service: str
    spec: VmSpec
    plan: Plan
    fresh: bool


@dataclass(frozen=True)
class StackPlan:
    """Everything `up` would do."""

    volumes: tuple[Action, ...] = ()
    networks: tuple[tuple[NetworkSpec, Plan], ...] = ()
    instances: tuple[Instance, ...] = ()
    removals: tuple[Action, ...] = ()
    orphans: tuple[str, ...] = ()

    @property
    def plan(self) -> Plan:
        """All actions, in an order in which they could be done one by one."""
        actions = [*self.removals, *self.volumes]
        for _spec, plan in self.networks:
            actions += plan.actions
        for instance in self.instances:
            actions += instance.plan.actions
        return Plan(tuple(actions))


def plan_up(stack: StackSpec, host: Host, *, services: Collection[str] = (), scale: Mapping[str, int] | None = None,
            remove_orphans: bool = False, recreate: str = "auto") -> StackPlan:
    """What brings the stack up.

    :param services: only these and what they depend on; empty: all
    :param scale: numbers of instances that override the file's
    """
    counts = {name: (scale or {}).get(name, service.scale) for name, service in stack.services.items()}
    chosen = _with_dependencies(stack, services) if services else tuple(stack.services)
    jobs = {d.service for s in stack.services.values() for d in s.depends_on if d.condition == COMPLETED}
    instances = []
    for name in in_order(stack):
        if name in chosen:
            for number in range(1, counts[name] + 1):
                spec = vm_spec(stack, stack.services[name], number, bridges=host.bridges)
                instances.append(_plan_instance(name, spec, host, recreate, job=name in jobs))
    removals: list[Action] = []
    orphans: list[str] = []
    for vm in host.vms.values():
        known = vm.service in stack.services
        if known and (vm.number <= counts[vm.service] or vm.service not in chosen):
            continue
        if known or remove_orphans:
            removals += plan_vm(VmSpec(vm.name), vm.observed, Wanted("absent")).actions
        else:
            orphans.append(vm.name)
    used = {n for i in instances for n in _volume_names(i.spec)}
    return StackPlan(
        tuple(_new_volumes(stack, used, host.volumes)), _plan_networks(stack, host),
        tuple(instances), tuple(removals), tuple(sorted(orphans)))


def plan_down(vms: Collection[Present]) -> tuple[Plan, tuple[tuple[str, ...], ...]]:
    """What takes a stack down, and the waves of VM names in which to do it: dependents before what they depend on."""
    actions: list[Action] = []
    for vm in vms:
        actions += plan_vm(VmSpec(vm.name), vm.observed, Wanted("absent")).actions
    depends = {vm.service: set(_depends(vm)) for vm in vms}
    waves: list[tuple[str, ...]] = []
    left = dict(depends)
    while left:
        needed = {service for after in left.values() for service in after}
        # Labels come from the disk: a cycle there must not hang `down`.
        wave = {service for service in left if service not in needed} or set(left)
        waves.append(tuple(vm.name for vm in vms if vm.service in wave))
        left = {service: after for service, after in left.items() if service not in wave}
    return Plan(tuple(actions)), tuple(waves)


def vm_spec(stack: StackSpec, service: ServiceSpec, number: int, *, bridges: bool = True) -> VmSpec:
    """The VM that instance ``number`` of a service shall be.

    On its networks it answers to the service's name. A service without networks is on the one called ``default`` when
    the stack has that, else it has user-mode networking.

    :param bridges: whether this host may have bridges; without them every VM has user-mode networking
    """
    options: dict[str, Any] = dict(service.options)
    options["volumes"] = [_host_volume(stack, entry) for entry in options.get("volumes", [])]
    entries = options.pop("networks", None) or ([{"name": "default"}] if "default" in stack.networks else [])
    networks = [{**entry, "name": stack.object_name(entry["name"], stack.networks[entry["name"]]),
                 "aliases": [service.name, *entry.get("aliases", [])]} for entry in entries]
    if networks and bridges:
        options["networks"] = networks
    options["labels"] = {
        **options.get("labels", {}), STACK: stack.name, SERVICE: service.name, NUMBER: str(number),
        DEPENDS: ",".join(sorted(d.service for d in service.depends_on)),
        NETWORKS: ",".join(network["name"] for network in networks),
    }
    return VmSpec.parse(stack.instance_name(service.name, number), options)


def in_order(stack: StackSpec) -> tuple[str, ...]:
    """The services, each after all that it depends on."""
    from ansible_collections.uni.engine.plugins.module_utils.engine.stacks.graph import order

    waves = order({name: [d.service for d in service.depends_on] for name, service in stack.services.items()})
    return tuple(name for wave in waves for name in wave)


def _plan_instance(service: str, spec: VmSpec, host: Host, recreate: str, *, job: bool) -> Instance:
    there = host.vms.get(spec.name)
    image_id = host.images.get(str(spec.values.get("image", "")), "")
    observed = there.observed if there else None
    # A job that ended well is done: to bring it to "started" would run it again at every `up`.
    done = job and there is not None and there.observed.status not in UP and there.exit_code == 0
    plan = plan_vm(spec, observed, Wanted("present" if done else "started", image_id, recreate))
    if done and any(action.kind == "recreate" for action in plan.actions):
        plan = plan_vm(spec, observed, Wanted("started", image_id, recreate))
    return Instance(service, spec, plan, there is None)


def _with_dependencies(stack: StackSpec, services: Collection[str]) -> set[str]:
    found: set[str] = set()
    todo = list(services)
    while todo:
        name = todo.pop()
        if name not in found:
            found.add(name)
            todo += [d.service for d in stack.services[name].depends_on]
    return found


def _depends(vm: Present) -> list[str]:
    labels = vm.observed.values.get("labels") or {}
    return [name for name in str(labels.get(DEPENDS, "")).split(",") if name]


def _host_volume(stack: StackSpec, entry: str) -> str:
    source, _colon, rest = entry.partition(":")
    if source.startswith("/"):
        return entry
    return f"{stack.object_name(source, stack.volumes[source])}:{rest}"


def _volume_names(spec: VmSpec) -> set[str]:
    return {str(entry).partition(":")[0] for entry in spec.values.get("volumes", ())}


def _plan_networks(stack: StackSpec, host: Host) -> tuple[tuple[NetworkSpec, Plan], ...]:
    """The stack's own networks, each with what has to be done for it."""
    if not host.bridges:
        return ()
    planned = []
    for key, options in stack.networks.items():
        if options.get("external"):
            continue
        name = stack.object_name(key, options)
        values = {k: v for k, v in options.items() if k not in ("name", "external", "driver")}
        values["labels"] = {**(values.get("labels") or {}), STACK: stack.name}
        spec = NetworkSpec.parse(name, values)
        users = [vm.name for vm in host.vms.values()]
        planned.append((spec, plan_network(spec, host.networks.get(name), users)))
    return tuple(planned)


def _new_volumes(stack: StackSpec, used: Collection[str], there: Collection[str]) -> list[Action]:
    actions = []
    for key, options in stack.volumes.items():
        name = stack.object_name(key, options)
        if name in used and name not in there and not options.get("external"):
            shown = {k: v for k, v in options.items() if k not in ("name", "external")}
            actions.append(Action("create", f"volume/{name}", f"create volume {name}", {"status": "absent"},
                                  {"status": "present", **shown}))
    return actions
