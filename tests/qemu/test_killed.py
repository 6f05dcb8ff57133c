# SPDX-License-Identifier: GPL-3.0-or-later
"""Callers killed while they stop, remove, restart, rename or change a VM: the next one sees the truth and finishes it."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from ansible_collections.uni.engine.plugins.module_utils.cli.commands.ps import status_text
from ansible_collections.uni.engine.plugins.module_utils.engine.vms import api
from ansible_collections.uni.engine.plugins.module_utils.engine.vms.spec import VmSpec

from .conftest import Host, processes
from .dying import caller


def stopped(host: Host) -> None:
    vm = api.ensure(host.root, host.spec("web", "idle"), "stopped").vm
    assert vm["status"] == "exited" and vm["pid"] is None


def absent(host: Host) -> None:
    api.ensure(host.root, host.spec("web", "idle"), "absent")
    api.sweep(host.root)
    assert api.list_vms(host.root, everything=True) == []
    assert [name for name in os.listdir(host.root.vms) if name != ".names"] == []
    assert os.listdir(host.root.vms / ".names") == []


def running(host: Host) -> None:
    vm = api.ensure(host.root, host.spec("web", "idle")).vm
    assert vm["status"] == "running" and not vm["pending_restart"]


def changed(host: Host) -> None:
    vm = api.ensure(host.root, host.spec("web", "idle", labels={"a": "2"}, memory="20M")).vm
    assert vm["status"] == "running" and not vm["pending_restart"]
    assert vm["options"]["labels"] == {"a": "2"} and vm["memory"] == 20 << 20
    assert api.list_vms(host.root, filters={"label": "a=2"})[0]["memory"] == 20 << 20


def named(host: Host) -> None:
    """It has one of the two names, and the other one is free."""
    found = [vm["name"] for vm in api.list_vms(host.root)]
    assert found in (["web"], ["shop"])
    other = "shop" if found == ["web"] else "web"
    api.rename(host.root, found[0], other)  # by the name that is shown
    assert [vm["name"] for vm in api.list_vms(host.root)] == [other]
    api.rename(host.root, other, "web" if other == "shop" else "shop")
    if other == "web":
        api.rename(host.root, "shop", "web")
    running(host)


@pytest.mark.parametrize(("what", "options", "then"), [
    ("api.stop(root, 'web')", {}, stopped),
    ("api.ensure(root, spec, 'absent')", {}, absent),
    ("api.remove(root, 'web', force=True)", {}, absent),
    ("api.restart(root, 'web')", {}, running),
    ("api.ensure(root, spec)", {"labels": {"a": "2"}, "memory": "20M"}, changed),
    ("api.rename(root, 'web', 'shop')", {}, named),
    ("api.pause(root, 'web')", {}, running),
])
def test_killed_at_every_step(host: Host, what: str, options: dict[str, object], then: Callable[[Host], None]) -> None:
    step, reached = 1, False
    while not reached:
        if api.ensure(host.root, host.spec("web", "idle", labels={"a": "1"})).vm["status"] != "running":
            pytest.fail("it does not run")
        reached = caller(host, what, step, **options)
        then(host)
        assert len(processes(f"{host.root.path}/vms")) <= 1 and len(qemus(host)) <= 1, step
        step += max(3, step // 4)
        absent(host)
    assert step > 10


def qemus(host: Host) -> list[int]:
    """The QEMUs that have something of this host open."""
    found = []
    for pid in processes("qemu-system"):
        try:
            names = [os.readlink(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd")]
        except OSError:
            continue
        if any(name.startswith(f"{host.root.path}/") for name in names):
            found.append(pid)
    return found


def test_a_clock_that_jumps(host: Host) -> None:
    """Records from the future, or from long ago: what runs is known by other marks than the time of day."""
    api.ensure(host.root, host.spec("web", "idle"))
    vm = api.list_vms(host.root)[0]
    for moment in (0.0, 4e9):
        assert status_text(vm, moment).startswith("running")
    assert status_text(vm, 0.0) == "running 0 seconds"
    path = Path(str(api.resolve_vm(host.root, "web").directory)) / "state.json"
    for moment in (1, 4_000_000_000):
        os.utime(path, (moment, moment))
        assert api.list_vms(host.root)[0]["status"] == "running"
        assert not api.ensure(host.root, VmSpec.parse("web")).changed
    assert api.stop(host.root, "web").vm["status"] == "exited"
