# SPDX-License-Identifier: GPL-3.0-or-later
"""Pausing a VM to disk, and going on from there.

The file ``saved.state`` means: the guest has not gone on since. It appears by one rename, when it is whole and on disk,
and is taken away before the guest goes on, whoever lets it. So a caller that is killed at any step leaves
a VM that runs, one that is paused, or one that goes on from the file at its next start.
"""

from __future__ import annotations

import os
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from ansible_collections.uni.engine.plugins.module_utils.engine.errors import (
    DeadlineError,
    GuestError,
    StateError,
    UniError,
)
from ansible_collections.uni.engine.plugins.module_utils.engine.qmp import Qmp
from ansible_collections.uni.engine.plugins.module_utils.engine.records import host_error, sync_directory
from ansible_collections.uni.engine.plugins.module_utils.engine.root import Root
from ansible_collections.uni.engine.plugins.module_utils.engine.vms import record as records
from ansible_collections.uni.engine.plugins.module_utils.engine.vms.record import RUNNING, SAVED, SAVING, Vm, status_of

SAVE_SECONDS = 300.0
POLL = 0.02           # seconds between looks at a migration; QMP has no command that waits for it


@dataclass(frozen=True)
class Incoming:
    """What a VM goes on from: its memory, and the kernel that is in it, which QEMU wants to see again."""

    memory: Path
    kernel: Path


def incoming(root: Root, vm: Vm) -> Incoming:
    """The saved state, if this host's QEMU can go on with it. An upgrade of the kernel does not concern a guest that
    has booted long ago; one of QEMU does.

    :raises StateError: code ``vm.saved_elsewhere``
    """
    from ansible_collections.uni.engine.plugins.module_utils.engine import accel
    from ansible_collections.uni.engine.plugins.module_utils.engine.monitors import base
    from ansible_collections.uni.engine.plugins.module_utils.engine.vms.launch import kernel_mark
    from ansible_collections.uni.engine.plugins.module_utils.engine.vms.spec import effective

    boot = vm.runtime.get("boot") or {}
    kernel = Path(str(boot.get("kernel", "")))
    program, version = base.get(effective(vm.values, "monitor")).find(root)
    chosen = accel.choose(root, effective(vm.values, "accel"), program, version).name
    problem = ""
    if boot.get("qemu") != version:
        problem = f"it was saved by QEMU {boot.get('qemu')}, and this host has {version}"
    elif boot.get("accel") != chosen:
        problem = f"it ran with {boot.get('accel')}, and would run with {chosen}"
    elif not kernel.is_file():
        problem = f"its kernel {kernel} is gone"
    elif "kernel_mark" in boot and boot["kernel_mark"] != kernel_mark(kernel):
        problem = f"its kernel {kernel} is another one by now"
    if problem:
        raise StateError(f"VM {vm.name} cannot go on from where it was saved: {problem}", code="vm.saved_elsewhere",
                         hint=f"put that back, or boot it and give its memory up: uni restart {vm.name}")
    return Incoming(vm.directory / SAVED, kernel)


def save(root: Root, reference: str) -> None:
    """Pause the VM, write its state to disk and end QEMU; the next start goes on from there.

    :raises StateError: code ``vm.not_running``; ``vm.save``: it would remove itself
    :raises GuestError: code ``vm.save``: QEMU could not; the VM runs on
    """
    from ansible_collections.uni.engine.plugins.module_utils.engine.vms import apply
    from ansible_collections.uni.engine.plugins.module_utils.engine.vms.spec import effective

    with records.locked(records.find(root, reference).directory) as held:
        vm = apply.repair(root, held)
        if status_of(vm.state) not in RUNNING:
            raise StateError(f"VM {vm.name} is not running", code="vm.not_running",
                             hint=f"start it: uni start {vm.name}")
        if effective(vm.values, "auto_remove"):
            raise StateError(f"VM {vm.name} removes itself when it ends (auto_remove): it cannot be saved",
                             code="vm.save", hint="change auto_remove first")
        temp = vm.directory / SAVING
        paused = status_of(vm.state) == "paused"
        try:
            fd = os.open(temp, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise host_error(error, temp) from error
        try:
            apply.pause(root, vm)  # and it is on record that it is: whoever comes after a killed caller sees it
            _migrate(vm, fd)
            os.fsync(fd)
            temp.rename(vm.directory / SAVED)
            sync_directory(vm.directory)
        except BaseException:
            temp.unlink(missing_ok=True)
            with suppress(UniError):  # what went wrong first is what to say
                if not paused:
                    apply.resume(root, vm.fresh())
            raise
        finally:
            os.close(fd)
        apply.end(vm, apply.SIGKILL, 0)
        records.save_state(vm.directory, {**vm.fresh().state, "status": "saved"})


def _migrate(vm: Vm, fd: int) -> None:
    """QMP: migrate into the descriptor, wait for the end."""
    with Qmp(vm.directory) as qmp:
        qmp.pass_fd("state", fd)
        qmp.call("migrate", uri="fd:state")
        deadline = time.monotonic() + SAVE_SECONDS
        while True:
            progress = qmp.call("query-migrate")
            status = progress.get("status")
            if status == "completed":
                return
            if status in ("failed", "cancelled"):
                raise GuestError(f"VM {vm.name} could not be saved: {progress.get('error-desc', status)}",
                                 code="vm.save", hint="is there enough space on the disk?")
            if time.monotonic() > deadline:
                qmp.call("migrate_cancel")
                raise DeadlineError(f"VM {vm.name} was not saved within {SAVE_SECONDS:g} s", code="vm.save")
            time.sleep(POLL)


def resume(vm: Vm) -> None:
    """After a start from a saved state: wait until QEMU has read it, then let the guest go on."""
    deadline = time.monotonic() + SAVE_SECONDS
    with Qmp(vm.directory) as qmp:
        while qmp.call("query-status")["status"] == "inmigrate":
            if time.monotonic() > deadline:
                raise DeadlineError(f"VM {vm.name} did not come back within {SAVE_SECONDS:g} s", code="vm.restore")
            time.sleep(POLL)
        (vm.directory / SAVED).unlink(missing_ok=True)
        qmp.call("cont")
