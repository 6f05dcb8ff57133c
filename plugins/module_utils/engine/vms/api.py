# SPDX-License-Identifier: GPL-3.0-or-later
"""VMs as modules, command line and daemon use them. Everything else in this package is behind this page."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from ansible_collections.uni.engine.plugins.module_utils.engine.errors import (
    ConflictError,
    DeadlineError,
    GuestError,
    StateError,
    UniError,
)
from ansible_collections.uni.engine.plugins.module_utils.engine.plan import Plan
from ansible_collections.uni.engine.plugins.module_utils.engine.root import Root
from ansible_collections.uni.engine.plugins.module_utils.engine.vms import record as records
from ansible_collections.uni.engine.plugins.module_utils.engine.vms.ensure import VmResult, ensure, plan_for, present
from ansible_collections.uni.engine.plugins.module_utils.engine.vms.record import RUNNING, Vm, status_of
from ansible_collections.uni.engine.plugins.module_utils.engine.vms.views import info, inspect, list_vms, observe

if TYPE_CHECKING:
    from ansible_collections.uni.engine.plugins.module_utils.engine.vms.spec import VmSpec

HEALTH_SECONDS = 120.0


def ensure_many(root: Root, specs: Sequence[VmSpec], state: str = "started", *, check: bool = False,
                timeout: float | None = None) -> list[VmResult]:
    """:func:`ensure` for many VMs in one go: new ones are started together, by one keeper."""
    from ansible_collections.uni.engine.plugins.module_utils.engine.vms import apply, carry

    simple = state in ("started", "present")
    plain = {spec.name for spec in specs if simple and records.find_name(root, spec.name) is None}
    results: dict[str, VmResult] = {}
    fresh: list[Vm] = []
    plans: dict[str, Plan] = {}
    for spec in specs:
        if spec.name not in plain or check:
            results[spec.name] = ensure(root, spec, state, check=check, timeout=timeout)

    def created() -> Iterator[Vm]:
        for spec in specs:
            if spec.name in plain:
                plans[spec.name], image = plan_for(root, spec, None, state, "auto", {})
                carry.make_volumes(root, plans[spec.name])
                vm = apply.create(root, spec, carry.with_disk(root, image), hold=stack)
                fresh.append(vm)
                yield vm

    if plain and not check:
        with ExitStack() as stack:
            if state == "started":
                apply.start(root, created(), timeout=timeout or apply.BOOT_SECONDS)
            else:
                records.settle(root, created())
    for vm in fresh:
        results[vm.name] = VmResult(True, plans[vm.name], info(present(vm)))
    return [results[spec.name] for spec in specs]


def run(root: Root, spec: VmSpec, *, timeout: float | None = None, start: bool = True) -> dict[str, Any]:
    """Create and start a VM that must not exist yet.

    :raises ConflictError: code ``vm.exists``
    """
    if records.find_name(root, spec.name) is not None:
        raise ConflictError(f"a VM named {spec.name} exists", code="vm.exists",
                            hint="choose another name, or remove it: uni rm NAME")
    from ansible_collections.uni.engine.plugins.module_utils.engine.vms import carry

    plan, image = plan_for(root, spec, None, "started" if start else "present", "auto", {})
    return info(carry.apply_new(root, spec, plan, image, timeout))


def _plan_state(vm: Vm, state: str) -> Plan:
    """The plan for a state, with the fields as they are."""
    from ansible_collections.uni.engine.plugins.module_utils.engine.vms.plan import Wanted, plan_vm
    from ansible_collections.uni.engine.plugins.module_utils.engine.vms.spec import VmSpec

    return plan_vm(VmSpec(vm.name), observe(vm), Wanted(state))


def resolve_vm(root: Root, reference: str) -> Vm:
    """The VM with this name, id or unambiguous id prefix."""
    return records.find(root, reference)


def start(root: Root, reference: str, *, timeout: float | None = None) -> VmResult:
    """Start a VM that exists; nothing happens when it runs."""
    from ansible_collections.uni.engine.plugins.module_utils.engine.vms import apply

    with records.locked(records.find(root, reference).directory) as vm:
        vm = apply.repair(root, vm)
        plan = _plan_state(vm, "started")
        for action in plan.actions:
            if action.kind == "unpause":
                apply.resume(root, vm)
            elif action.kind == "start":
                apply.start_saved(root, vm, timeout=timeout or apply.BOOT_SECONDS)
            elif action.kind == "stop":
                apply.stop(root, vm)
    return VmResult(plan.changed, plan, info(present(vm)))


def stop(root: Root, reference: str, *, grace: float | None = None, signal: int | None = None) -> VmResult:
    """Ask the program to end, kill after ``grace`` seconds (default: the VM's stop_timeout)."""
    from ansible_collections.uni.engine.plugins.module_utils.engine.vms import apply

    vm = records.find(root, reference)
    plan = _plan_state(vm, "stopped")
    after = apply.stop(root, vm, grace=grace, signo=signal)
    return VmResult(plan.changed, plan, info(after))


def kill(root: Root, reference: str, signal: int = 9) -> None:
    """SIGKILL ends QEMU at once; any other signal goes to the program.

    :raises StateError: code ``vm.not_running``
    """
    from ansible_collections.uni.engine.plugins.module_utils.engine.vms import apply

    vm = _running(root, reference)
    if signal == apply.SIGKILL:
        apply.end(vm, signal, 0)
    else:
        command(root, reference, {"cmd": "signal", "signo": signal})


def command(root: Root, reference: str, request: Mapping[str, Any]) -> dict[str, Any]:
    """Send a command over the control port (signal, stats, trace, sync, winsize); the guest's answer.

    :raises GuestError: code ``guest.command``: the guest refused, or did not answer
    """
    from ansible_collections.uni.engine.plugins.module_utils.engine import keepers

    vm = _running(root, reference)
    answer = keepers.ask(vm.directory, {"op": "command", "cmd": dict(request)}, timeout=30)
    if not answer.get("ok"):
        raise GuestError(f"VM {vm.name}: {answer.get('error') or 'the guest refused'}", code="guest.command")
    reply = answer.get("answer")
    return reply if isinstance(reply, dict) else {}


def _running(root: Root, reference: str) -> Vm:
    from ansible_collections.uni.engine.plugins.module_utils.engine.vms import apply

    vm = apply.repair(root, records.find(root, reference))
    if status_of(vm.state) not in (*RUNNING, "restarting"):
        raise StateError(f"VM {vm.name} is not running", code="vm.not_running", hint=f"start it: uni start {vm.name}")
    return vm


def restart(root: Root, reference: str, *, grace: float | None = None, timeout: float | None = None) -> dict[str, Any]:
    """Stop (when it runs) and start."""
    from ansible_collections.uni.engine.plugins.module_utils.engine.vms import apply

    with records.locked(records.find(root, reference).directory) as vm:
        vm = apply.stop(root, vm, grace=grace)
        apply.start(root, [vm], timeout=timeout or apply.BOOT_SECONDS)
    return info(present(vm))


def pause(root: Root, reference: str) -> None:
    """Stop the virtual CPUs."""
    from ansible_collections.uni.engine.plugins.module_utils.engine.vms import apply

    with records.locked(records.find(root, reference).directory) as vm:
        apply.pause(root, vm)


def unpause(root: Root, reference: str) -> None:
    """Let the virtual CPUs go on."""
    from ansible_collections.uni.engine.plugins.module_utils.engine.vms import apply

    with records.locked(records.find(root, reference).directory) as vm:  # not in the middle of saving it
        apply.resume(root, vm)


def remove(root: Root, reference: str, *, force: bool = False) -> Vm:
    """Remove a VM; what it was. Volumes stay.

    :param force: also one that runs, and one whose record is damaged
    :raises ConflictError: code ``vm.running``
    """
    from ansible_collections.uni.engine.plugins.module_utils.engine.vms import apply

    damaged = records.remains(root, reference) if force else None
    if damaged is not None:
        apply.remove_damaged(root, damaged)
        sweep(root)  # its uid: which one it had is not known
        return damaged
    with records.locked(records.find(root, reference).directory) as vm:
        apply.remove(root, vm, force=force)
        return vm


def rename(root: Root, reference: str, name: str) -> dict[str, Any]:
    """Give a VM another name, also while it runs."""
    from ansible_collections.uni.engine.plugins.module_utils.engine.units import check_name
    from ansible_collections.uni.engine.plugins.module_utils.engine.vms import apply

    check_name("VM", name)
    with records.locked(records.find(root, reference).directory) as vm:
        return info(apply.rename(root, vm, name).fresh())


def wait(root: Root, reference: str, *, timeout: float | None = None) -> dict[str, Any]:
    """Wait until the VM has ended; how it ended: ``code`` is what a shell would show.

    :raises DeadlineError: code ``vm.not_ended``
    :raises StateError: code ``vm.never_started``
    """
    vm = records.find(root, reference)
    try:
        answer = _wait(root, vm, "exit", timeout)
    except DeadlineError:
        raise DeadlineError(f"VM {vm.name} has not ended within {timeout or 0:g} s", code="vm.not_ended",
                            hint=f"it runs on; see `uni logs {vm.name}`, or end it: `uni stop {vm.name}`") from None
    verdict = answer.get("exit")
    return verdict if isinstance(verdict, dict) else {}


def wait_for(root: Root, reference: str, event: str, *, timeout: float | None = None) -> None:
    """Wait for ``running``, ``ready`` or ``healthy``.

    :raises GuestError: code ``vm.ended``: it ended first
    :raises DeadlineError: code ``vm.not_healthy``
    """
    vm = records.find(root, reference)
    seconds = HEALTH_SECONDS if timeout is None else timeout
    try:
        answer = _wait(root, vm, event, seconds)
    except DeadlineError:
        raise DeadlineError(f"VM {vm.name} was not {event} within {seconds:g} s", code="vm.not_healthy",
                            hint=f"see `uni logs {vm.name}` and `uni inspect {vm.name}`") from None
    if not answer.get("ok"):
        code = (answer.get("exit") or {}).get("code")
        raise GuestError(f"VM {vm.name} ended with status {code} before it was {event}", code="vm.ended",
                         hint=f"see `uni logs {vm.name}`")


def _wait(root: Root, vm: Vm, event: str, timeout: float | None) -> dict[str, Any]:
    from ansible_collections.uni.engine.plugins.module_utils.engine import keepers
    from ansible_collections.uni.engine.plugins.module_utils.engine.vms import apply

    vm = apply.repair(root, vm)
    if status_of(vm.state) in (*RUNNING, "restarting"):
        try:
            return keepers.ask(vm.directory, {"op": "wait", "event": event}, timeout=timeout)
        except StateError:
            vm = apply.repair(root, present(vm))
    verdict = vm.state.get("exit")
    if verdict is None:
        raise StateError(f"VM {vm.name} was never started", code="vm.never_started", hint=f"uni start {vm.name}")
    return {"ok": event == "exit", "exit": verdict}


def logs(root: Root, reference: str, **options: Any) -> Any:
    """The console log, see :func:`console.read`: an iterator of lines."""
    from ansible_collections.uni.engine.plugins.module_utils.engine import console

    return console.read(records.find(root, reference).directory, **options)


def attach(root: Root, reference: str, *, typing: bool = True, replay: bool = False) -> Any:
    """A console connection: a socket with the console's bytes, see :func:`console.attach`."""
    from ansible_collections.uni.engine.plugins.module_utils.engine import console

    return console.attach(_running(root, reference).directory, typing=typing, replay=replay)


def sweep(root: Root) -> list[str]:
    """Remove what callers that were killed left behind: directories without a record, names and uids without a VM.

    :return: the ids that were removed
    """
    import os

    gone = []
    for name in os.listdir(root.vms):
        directory = root.vms / name
        if len(name) == records.ID_LENGTH and records.abandoned(root, directory):
            gone.append(name)
    for link in records.names(root).iterdir():  # a directory is made before its name: this one is gone
        if not (root.vms / os.readlink(link).rpartition("/")[2]).is_dir():
            link.unlink(missing_ok=True)
    uids = root.run / "uids"
    for link in uids.iterdir() if uids.is_dir() else ():
        if not (root.vms / os.readlink(link)).is_dir():
            link.unlink(missing_ok=True)
    return gone


__all__ = ["UniError", "VmResult", "ensure", "ensure_many", "info", "inspect", "list_vms", "observe", "run"]
