# SPDX-License-Identifier: GPL-3.0-or-later
"""From what is wanted and what is there to actions. Pure: no file, no process, no clock."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.uni.engine.plugins.module_utils.engine.errors import ConflictError, UsageError
from ansible_collections.uni.engine.plugins.module_utils.engine.plan import Action, Plan, Tracker
from ansible_collections.uni.engine.plugins.module_utils.engine.vms.fields import DEFAULTS, FIELDS, LIVE, RECREATE
from ansible_collections.uni.engine.plugins.module_utils.engine.vms.spec import STATES, VmSpec

UP = ("starting", "running", "paused", "stopping", "restarting")
COMPARISONS = ("strict", "allow_more", "allow_more_present", "ignore")  # the third as in community.docker


@dataclass(frozen=True)
class Observed:
    """A VM as it is: status (see record.status_of), the fields of its record, what its image resolved to."""

    id: str
    status: str
    values: Mapping[str, Any] = field(default_factory=dict)
    image_id: str = ""
    pending: tuple[str, ...] = ()
    health: str = ""


@dataclass(frozen=True)
class Wanted:
    """How far the plan may go."""

    state: str = "started"
    image_id: str = ""
    recreate: str = "auto"
    comparisons: Mapping[str, str] = field(default_factory=dict)


def plan_vm(spec: VmSpec, observed: Observed | None, wanted: Wanted) -> Plan:
    """The actions that bring the VM to ``wanted.state`` with the fields of ``spec``.

    :raises UsageError: unknown state or comparison, no image for a VM that does not exist
    :raises ConflictError: a re-creation would be needed and ``recreate`` is never
    """
    if wanted.state not in STATES:
        raise UsageError(f"{wanted.state!r} is not a state", code="vm.state", hint=f"use {', '.join(STATES)}")
    if wanted.recreate not in ("auto", "always", "never"):
        raise UsageError(f"{wanted.recreate!r} is not a way to recreate", code="vm.recreate",
                         hint="use auto, always or never")
    target = f"vm/{spec.name}"
    if wanted.state == "absent":
        return _absent(target, observed)
    if observed is None:
        return _create(target, spec, wanted)
    tracker = compare(spec, observed, wanted)
    actions = []
    if wanted.recreate == "always" or any(FIELDS[name].change == RECREATE for name in tracker.names):
        actions.append(_recreate(target, spec, observed, wanted, tracker))
        actions += _reach(target, "created", wanted.state, fresh=True)
        return Plan(tuple(actions))
    status = observed.status
    live = [name for name in tracker.names if FIELDS[name].change == LIVE]
    later = [name for name in tracker.names if FIELDS[name].change != LIVE]
    if tracker:
        forcing = f"; a restart for {', '.join(later)}" if later and status in UP else ""
        after = dict(tracker.after)
        if later and status == "saved":
            forcing = f"; its saved memory is given up for {', '.join(later)}"
            after["saved memory"] = f"given up for {', '.join(later)}"
        actions.append(Action("update", target, f"change {', '.join(tracker.names)}{forcing}",
                              tracker.before, after, live=not later or status not in UP))
    needs_restart = bool(later or (set(observed.pending) - set(live)))
    if needs_restart and status in UP and wanted.state in ("started", "healthy", "restarted"):
        why = ", ".join(later or observed.pending)
        reason = f"{why} cannot change while it runs"
        actions.append(Action("restart", target, f"restart: {reason}", {"status": status},
                              {"status": "running", "restart": reason}))
        status = "running"
        if wanted.state == "restarted":
            return Plan(tuple(actions))
    return Plan(tuple(actions + _reach(target, status, wanted.state)))


def compare(spec: VmSpec, observed: Observed, wanted: Wanted) -> Tracker:
    """The fields that the user set and that differ from the record."""
    _check_comparisons(wanted.comparisons)
    tracker = Tracker()
    for name, value in spec.values.items():
        how = wanted.comparisons.get(name, wanted.comparisons.get("*", "strict"))
        if how == "ignore":
            continue
        before = observed.values.get(name, DEFAULTS.get(name))
        if name == "image":
            if wanted.image_id and observed.image_id:
                if wanted.image_id != observed.image_id:
                    tracker.compare("image", f"{value} ({short(wanted.image_id)})",
                                    f"{before} ({short(observed.image_id)})")
                continue
            tracker.compare(name, value, before)
        elif FIELDS[name].secret:
            from ansible_collections.uni.engine.plugins.module_utils.engine.vms.secrets import redact

            hidden = [redact(item, observed.id) for item in value]
            tracker.compare_secret(name, hidden, before)
        elif how.startswith("allow_more") and _covers(before, value):
            continue
        else:
            tracker.compare(name, value, before)
    return tracker


def _check_comparisons(comparisons: Mapping[str, str]) -> None:
    """A misspelt name or way must not silently compare otherwise than its writer believes."""
    for name, how in comparisons.items():
        if name != "*" and name not in FIELDS:
            raise UsageError(f"comparisons: {name!r} is not an option of a VM", code="vm.comparisons",
                             hint="use the name of an option, or * for all")
        if how not in COMPARISONS:
            raise UsageError(f"comparisons: {how!r} is not a comparison", code="vm.comparisons",
                             hint=f"use {', '.join(COMPARISONS)}")


def short(digest: str) -> str:
    """A digest as people read it."""
    return digest.rpartition(":")[2][:12]


def _covers(before: Any, value: Any) -> bool:
    """Whether everything wanted is there already, and perhaps more."""
    if isinstance(value, dict) and isinstance(before, dict):
        return all(before.get(key) == item for key, item in value.items())
    if isinstance(value, list) and isinstance(before, list):
        return all(item in before for item in value)
    return bool(value == before)


def shown(values: Mapping[str, Any]) -> dict[str, Any]:
    """Fields as a diff may show them. One that only a newer release knows might be a secret."""
    return {key: "********" if value and (key not in FIELDS or FIELDS[key].secret) else value
            for key, value in values.items()}


def _create(target: str, spec: VmSpec, wanted: Wanted) -> Plan:
    if not spec.values.get("image") and not spec.values.get("kernel"):
        raise UsageError(f"VM {spec.name} does not exist, and no image is given to create it from", code="vm.no_image",
                         hint="name an image")
    after = shown(spec.values)
    if wanted.image_id:
        after["image"] = f"{spec.values.get('image')} ({short(wanted.image_id)})"
    actions = [Action("create", target, f"create VM {spec.name}", {"status": "absent"}, {"status": "created", **after})]
    return Plan(tuple(actions + _reach(target, "created", wanted.state, fresh=True)))


def _recreate(target: str, spec: VmSpec, observed: Observed, wanted: Wanted, tracker: Tracker) -> Action:
    names = [name for name in tracker.names if FIELDS[name].change == RECREATE]
    reason = f"{', '.join(names)} cannot change otherwise" if names else "asked for"
    if wanted.recreate == "never":
        raise ConflictError(f"VM {spec.name} would have to be re-created: {reason}", code="vm.recreate_never",
                            hint="allow it with recreate: auto; its instance disk is lost, volumes stay")
    return Action("recreate", target, f"re-create VM {spec.name}: {reason}",
                  {"status": observed.status, **tracker.before},
                  {"status": "created", **tracker.after, "re-creation": f"{reason}; its instance disk is lost"})


def _absent(target: str, observed: Observed | None) -> Plan:
    if observed is None:
        return Plan()
    actions = []
    if observed.status in UP:
        actions.append(Action("stop", target, "stop", {"status": observed.status}, {"status": "exited"}))
    actions.append(Action("remove", target, "remove", {"status": observed.status}, {"status": "absent"}))
    return Plan(tuple(actions))


def _reach(target: str, status: str, state: str, *, fresh: bool = False) -> list[Action]:
    """The actions from a status to a state."""
    def action(kind: str, after: str) -> Action:
        return Action(kind, target, kind, {"status": status}, {"status": after}, live=kind in ("pause", "unpause"))

    if state == "present" or (state == "stopped" and fresh):
        return []
    if state == "stopped":
        return [action("stop", "exited")] if status in (*UP, "lost") else []
    if state == "saved":
        first = [] if status in UP else [action("start", "running")]
        return [] if status == "saved" else [*first, action("save", "saved")]
    if state == "paused":
        if status == "paused":
            return []
        return [action("start", "running")] * (status not in ("running", "starting")) + [action("pause", "paused")]
    if state == "restarted" and not fresh:
        return [action("restart" if status in (*UP, "saved") else "start", "running")]
    if status == "paused":
        return [action("unpause", "running")]
    if status in ("running", "starting", "restarting"):
        return []
    if status == "stopping":
        return [action("stop", "exited"), action("start", "running")]
    return [action("start", "running")]
