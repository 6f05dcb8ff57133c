# SPDX-License-Identifier: GPL-3.0-or-later
"""Carrying out actions on VMs. Every function leaves a state from which the next caller can go on."""

from __future__ import annotations

import os
import secrets as random
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ansible_collections.uni.engine.plugins.module_utils.engine import keepers
from ansible_collections.uni.engine.plugins.module_utils.engine.errors import (
    ConflictError,
    DeadlineError,
    GuestError,
    HostError,
    StateError,
    UniError,
)
from ansible_collections.uni.engine.plugins.module_utils.engine.records import host_error, lock, write_json
from ansible_collections.uni.engine.plugins.module_utils.engine.root import Root
from ansible_collections.uni.engine.plugins.module_utils.engine.vms import disklimits
from ansible_collections.uni.engine.plugins.module_utils.engine.vms import record as records
from ansible_collections.uni.engine.plugins.module_utils.engine.vms.record import (
    RUNNING,
    SAVED,
    SAVING,
    Vm,
    orphaned,
    seen,
    status_of,
)
from ansible_collections.uni.engine.plugins.module_utils.engine.vms.secrets import split
from ansible_collections.uni.engine.plugins.module_utils.engine.vms.spec import VmSpec, effective

if TYPE_CHECKING:
    from ansible_collections.uni.engine.plugins.module_utils.engine.vms.saved import Incoming

BOOT_SECONDS = 60.0      # for the first sign of life of a guest, also under emulation on a busy host
KILL_SECONDS = 30.0      # for the end of a QEMU that was killed
SIGTERM, SIGKILL = 15, 9


def create(root: Root, spec: VmSpec, image: Mapping[str, Any] | None, *, hold: ExitStack | None = None) -> Vm:
    """Make a VM that is not started. Undone as a whole when a step fails; durable after records.settle.

    :param image: what the image resolved to (see images.unpack); None for a VM without a disk
    :param hold: keeps the VM's lock when given
    :raises ConflictError: code ``vm.exists``
    """
    vm_id = random.token_hex(records.ID_LENGTH // 2)
    while not any(char in "abcdef" for char in vm_id):
        vm_id = random.token_hex(records.ID_LENGTH // 2)  # an id of digits only could be taken for a number
    record: dict[str, Any] = {"version": 1, "id": vm_id, "name": spec.name, "created": records.now(), "uid": None,
                              "image": dict(image or {})}
    with ExitStack() as own:
        directory = (hold or own).enter_context(records.claimed(root, spec.name, record))
        try:
            if os.geteuid() == 0:
                from ansible_collections.uni.engine.plugins.module_utils.engine import hardening

                record["uid"] = hardening.claim_uid(root, vm_id)
            return _fill(directory, record, spec)
        except BaseException:
            _erase(root, Vm(directory, record))
            raise


def _fill(directory: Path, record: dict[str, Any], spec: VmSpec) -> Vm:
    from ansible_collections.uni.engine.plugins.module_utils.engine.overlay import create_overlay
    from ansible_collections.uni.engine.plugins.module_utils.engine.vms.launch import OVERLAY, facts

    record["values"], hidden = split(spec.values, record["id"])
    if hidden is not None:
        write_json(directory / "secrets.json", hidden)
    disk = record["image"].get("disk")
    if disk:
        create_overlay(directory / OVERLAY, Path(disk), 0, uid=record["uid"])
    vm = Vm(directory, record, {"status": "created"})
    records.save_state(directory, {**facts(vm), "status": "created"})
    records.save_new(vm)
    return vm


def _erase(root: Root, vm: Vm) -> None:
    from ansible_collections.uni.engine.plugins.module_utils.engine import cgroup, hardening

    if vm.values.get("net_out_bps"):
        from ansible_collections.uni.engine.plugins.module_utils.engine.networks import attachment

        attachment.forget_limits(vm)
    records.erase(root, vm.directory, vm.name)
    hardening.release_uid(root, vm.uid)
    cgroup.remove(vm.id)
    if vm.runtime.get("addresses"):
        from ansible_collections.uni.engine.plugins.module_utils.engine.networks import ipam

        for item in vm.runtime["addresses"]:
            ipam.release(root, item["network"], vm.id)


def start(root: Root, vms: Iterable[Vm], *, timeout: float = BOOT_SECONDS, incoming: Incoming | None = None) -> None:
    """Start VMs (their locks are held) together, with one keeper, and wait until each shows a sign of life.

    The keeper starts the first ones while the next are still being prepared (``vms`` may make them on the way).
    A VM that boots forgets the memory that it was saved with.

    :raises UniError: the first failure; the others run
    """
    from ansible_collections.uni.engine.plugins.module_utils.engine.vms import launch

    begun: list[Vm] = []
    errors: list[UniError] = []
    with ExitStack() as stack:
        keeper: keepers.Started | None = None
        for vm in vms:
            try:
                forget_memory(vm, whole=incoming is None)
                ports = launch.choose_ports(root, vm)
                vm.runtime.clear()
                vm.runtime.update(ports=ports, values=vm.record["values"])
                vm.runtime["boot"] = launch.prepare(root, vm, incoming=incoming)
                records.save_runtime(vm)
                keeper = keeper or stack.enter_context(keepers.started(root))
                keeper.add(vm.directory)
                begun.append(vm)
            except UniError as error:
                errors.append(error)
        records.settle(root, begun)
        results = keeper.wait(("running",), timeout) if keeper is not None else {}
    for vm in begun:
        try:
            _check_start(root, vm, results.get(vm.id), timeout)
        except UniError as error:
            errors.append(error)
    if errors:
        raise errors[0]


def start_saved(root: Root, vm: Vm, *, timeout: float = BOOT_SECONDS) -> None:
    """Start a VM (its lock is held) from the state that it was saved in; from its disk when there is none, or when
    the machine would be another one.

    :raises StateError: code ``vm.saved_elsewhere``: this host cannot go on with it
    """
    from ansible_collections.uni.engine.plugins.module_utils.engine.vms import saved
    from ansible_collections.uni.engine.plugins.module_utils.engine.vms.views import changed_since_start

    if not (vm.directory / SAVED).exists() or changed_since_start(vm):
        start(root, [vm], timeout=timeout)
        return
    start(root, [vm], timeout=timeout, incoming=saved.incoming(root, vm))
    saved.resume(vm)
    with suppress(UniError):  # the time, for the guest; one that has ended already needs none
        keepers.ask(vm.directory, {"op": "note", "status": "running"}, timeout=10)


def _check_start(root: Root, vm: Vm, result: dict[str, Any] | None, timeout: float) -> None:
    """What became of a start; a VM that is not as it should be does not stay up."""
    if result is None:
        end(vm, SIGKILL, 0)
        raise DeadlineError(f"VM {vm.name} did not boot within {timeout:g} s", code="vm.boot_timeout",
                            hint=f"see `uni logs {vm.name}`; more memory or another kernel may help")
    if result["event"] == "taken":
        result = _await_other(vm, timeout)
    error = _start_error(root, vm, result)
    if error is None and effective(vm.values, "hardening") == "required":
        error = _require_hardening(vm)
    if error is not None:
        raise error


def _await_other(vm: Vm, timeout: float) -> dict[str, Any]:
    """The VM is being started already, by the keeper of a caller that was killed: wait for that one."""
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        try:
            answer = keepers.ask(vm.directory, {"op": "wait", "event": "running"}, timeout=timeout)
        except (StateError, DeadlineError):
            time.sleep(0.02)
            continue
        return {"event": "running" if answer.get("ok") else "exited", "exit": answer.get("exit")}
    return {"event": "failed"}


def _start_error(root: Root, vm: Vm, result: dict[str, Any]) -> UniError | None:
    """The error behind a start that did not get as far as a running guest."""
    if result["event"] == "running":
        return None
    if result["event"] == "failed":
        return HostError(f"VM {vm.name} could not be started: its keeper failed", code="keeper.failed",
                         hint=f"see {root.log / 'keeper.log'}")
    verdict = result.get("exit") or {}
    reason, message = verdict.get("reason"), str(verdict.get("message") or "")
    if "host forwarding rule" in message:
        from ansible_collections.uni.engine.plugins.module_utils.engine.vms import launch

        for port in launch.resolved_ports(vm):
            if f"{port.proto}:{port.bind}:{port.host}-" in message:
                return launch.port_in_use(root, vm, port)
    if reason == "start" and "/dev/net/tun" in message:
        return HostError(f"VM {vm.name} did not start: its network needs /dev/net/tun, which does not open: {message}",
                         code="host.tun", hint="modprobe tun; a container has to be given the device")
    if reason == "exit" or (reason == "poweroff" and not message):
        return None
    hints = {"monitor": "QEMU refused to start", "start": "QEMU could not be started",
             "boot": "the guest's kernel ended at once; too little memory is the usual reason",
             "panic": f"the guest's kernel panicked; see `uni logs {vm.name}`"}
    return GuestError(f"VM {vm.name} did not start: {message or reason}", code=f"vm.start_{reason}",
                      hint=hints.get(str(reason), f"see `uni logs {vm.name}`"))


def _require_hardening(vm: Vm) -> UniError | None:
    """``hardening: required`` fails closed: a VM with less than the floor does not stay up."""
    from ansible_collections.uni.engine.plugins.module_utils.engine import cgroup, hardening

    qemu = vm.fresh().qemu()
    group = cgroup.directory(vm.id) if effective(vm.values, "limits") else None
    report = hardening.report(qemu.pid, cgroup=str(group or "")) if qemu is not None and qemu.alive() else []
    missing = [measure.name for measure in report if not measure.in_force]
    if not missing:
        return None
    end(vm, SIGKILL, 0)
    return HostError(f"VM {vm.name} was stopped: hardening is required, and missing: {', '.join(missing)}",
                     code="vm.hardening", hint="run as root, or use hardening: default")


def repair(root: Root, vm: Vm) -> Vm:
    """Bring record and reality together: adopt a VM without a keeper, finish one that ended unseen."""
    _finish_rename(root, vm)
    vm = seen(vm)
    status = status_of(vm.state)
    if status != "lost" and not orphaned(vm):
        return vm
    with keepers.started(root, adopt=True) as keeper:
        keeper.add(vm.directory)
        keeper.wait(("adopted", "running", "started"), BOOT_SECONDS)
    try:
        return vm.fresh()
    except UniError:
        if status == "lost" and effective(vm.values, "auto_remove"):
            return Vm(vm.directory, vm.record, {"status": "exited"})
        raise


def end(vm: Vm, signo: int, grace: float) -> dict[str, Any] | None:
    """Ask the VM's keeper to end it and wait until it has; how it ended (None: it was not running).

    :raises GuestError: code ``vm.unkillable``
    """
    try:
        answer = keepers.ask(vm.directory, {"op": "stop", "signo": signo, "grace": grace}, timeout=grace + KILL_SECONDS)
    except StateError:
        return None
    except DeadlineError:
        raise GuestError(f"VM {vm.name} is still there {KILL_SECONDS:g} s after it was killed", code="vm.unkillable",
                         hint="its process may hang in the host's kernel: see `uni inspect`") from None
    verdict = answer.get("exit")
    return verdict if isinstance(verdict, dict) else None


def stop(root: Root, vm: Vm, *, grace: float | None = None, signo: int | None = None) -> Vm:
    """Stop with grace; a paused VM is resumed first, a guest without a control port gets ACPI's power button."""
    vm = repair(root, vm)
    status = status_of(vm.state)
    if status not in (*RUNNING, "restarting"):
        return vm
    wait = float(effective(vm.values, "stop_timeout")) if grace is None else grace
    signal = stop_signal(vm) if signo is None else signo
    if wait and signal != SIGKILL and status == "paused":
        resume(root, vm)
    end(vm, signal, wait)
    return _after_end(vm)


def stop_signal(vm: Vm) -> int:
    """The VM's stop signal, else its image's, else SIGTERM."""
    from ansible_collections.uni.engine.plugins.module_utils.engine.vms.fields import parse_signal

    image = vm.record.get("image") or {}
    if "stop_signal" in vm.values:
        return int(vm.values["stop_signal"])
    return parse_signal(image.get("stop_signal") or SIGTERM)


def _after_end(vm: Vm) -> Vm:
    """The VM's record after it ended; one with auto_remove is gone."""
    try:
        return vm.fresh()
    except UniError:
        return Vm(vm.directory, vm.record, {"status": "exited"})


def pause(root: Root, vm: Vm) -> None:
    """Stop the virtual CPUs (QMP stop)."""
    _monitor(root, vm, "stop", "paused", ("running", "starting"))


def resume(root: Root, vm: Vm) -> None:
    """Let the virtual CPUs go on (QMP cont), also those of a VM whose saving was cut off."""
    _monitor(root, vm, "cont", "running", ("paused",), before=lambda: forget_memory(vm))


def forget_memory(vm: Vm, *, whole: bool = True) -> None:
    """Remove what a caller that was killed has saved in part, and what was saved (``whole``). The VM's lock is held."""
    (vm.directory / SAVING).unlink(missing_ok=True)
    if whole:
        (vm.directory / SAVED).unlink(missing_ok=True)


def _monitor(root: Root, vm: Vm, command: str, after: str, allowed: tuple[str, ...], *,
             before: Callable[[], None] | None = None) -> None:
    from ansible_collections.uni.engine.plugins.module_utils.engine.qmp import Qmp

    vm = repair(root, vm)
    status = status_of(vm.state)
    if status == after:
        return
    if status not in allowed:
        raise StateError(f"VM {vm.name} is {status}", code="vm.not_running", hint=f"start it: uni start {vm.name}")
    with Qmp(vm.directory) as qmp:
        if before is not None:
            before()
        qmp.call(command)
    keepers.ask(vm.directory, {"op": "note", "status": after}, timeout=10)


def remove(root: Root, vm: Vm, *, force: bool = False) -> None:
    """Remove a VM (its lock is held). Volumes stay.

    :raises ConflictError: code ``vm.running``: it runs, and ``force`` is not set
    """
    vm = repair(root, vm)
    if status_of(vm.state) in (*RUNNING, "restarting"):
        if not force:
            raise ConflictError(f"VM {vm.name} is running", code="vm.running", hint="stop it first, or use force")
        end(vm, SIGKILL, 0)
    _erase(root, vm)


def remove_damaged(root: Root, vm: Vm) -> None:
    """Remove what there is of a VM whose record is damaged (:func:`records.remains`), and end it first."""
    with lock(vm.directory / "lock", timeout=records.LOCK_SECONDS):
        if status_of(vm.state) in (*RUNNING, "restarting"):
            end(vm, SIGKILL, 0)
            qemu = vm.qemu()
            if qemu is not None and qemu.alive():  # its keeper was killed
                qemu.kill(SIGKILL)
                qemu.wait(KILL_SECONDS)
        _erase(root, vm)


def update(root: Root, vm: Vm, values: Mapping[str, Any], names: Sequence[str]) -> Vm:
    """Store changed fields; apply at once what can be applied to a running VM."""
    stored, hidden = split(values, vm.id)
    running = status_of(vm.state) in (*RUNNING, "restarting")
    new = Vm(vm.directory, {**vm.record, "values": stored}, vm.state, vm.runtime)
    if running and "ports" in names:
        from ansible_collections.uni.engine.plugins.module_utils.engine.vms import ports

        ports.change(root, vm, new)
    if running and disklimits.OPTIONS.keys() & set(names):
        from ansible_collections.uni.engine.plugins.module_utils.engine.vms import launch

        disklimits.change(new, launch.disk_count(new))
    if hidden is not None:
        write_json(vm.directory / "secrets.json", hidden)
    records.save(new)
    if running:
        records.save_runtime(new)
    if running and {"net_in_bps", "net_out_bps"} & set(names):
        from ansible_collections.uni.engine.plugins.module_utils.engine.networks import attachment

        attachment.limit(new)
    _publish(root, new, running)
    if running and "limits" in names:
        from ansible_collections.uni.engine.plugins.module_utils.engine import cgroup

        cgroup.apply(vm.id, effective(stored, "limits"), vm.directory)
        cgroup.enter(vm.id, int(vm.state.get("pid") or 0))
    return new.fresh()


def _publish(root: Root, vm: Vm, running: bool) -> None:
    """Bring a changed record to where it is read: the keeper's launch file, or the state record."""
    from ansible_collections.uni.engine.plugins.module_utils.engine.vms import launch

    if (vm.directory / "launch").exists():
        launch.rewrite_policies(root, vm)
    if running:
        keepers.ask(vm.directory, {"op": "reload"}, timeout=10)
    else:
        records.save_state(vm.directory, {**vm.state, **launch.facts(vm)})


def rename(root: Root, vm: Vm, name: str) -> Vm:
    """Give a VM (its lock is held) another name.

    :raises ConflictError: code ``vm.exists``
    """
    _finish_rename(root, vm)
    if name == vm.name:
        return vm
    link = records.names(root) / name
    try:
        records.take_name(root, link, vm.directory)
    except OSError as error:
        raise host_error(error, link) from error
    old = records.names(root) / vm.name
    new = Vm(vm.directory, {**vm.record, "name": name}, vm.state, vm.runtime)
    records.save(new)
    _publish(root, new, status_of(vm.state) in (*RUNNING, "restarting"))
    old.unlink(missing_ok=True)  # now that nobody is shown it any more
    return new


def _finish_rename(root: Root, vm: Vm) -> None:
    """What a killed rename has left to do: the name that is shown, and the claim of the old one."""
    shown = str(vm.state.get("name") or vm.name)
    if shown == vm.name:
        return
    old = records.names(root) / shown
    _publish(root, vm, status_of(vm.state) in (*RUNNING, "restarting") and not orphaned(vm))
    if os.path.islink(old) and os.readlink(old).endswith(vm.id):
        old.unlink(missing_ok=True)
