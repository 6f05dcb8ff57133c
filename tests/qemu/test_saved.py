# SPDX-License-Identifier: GPL-3.0-or-later
"""Pausing to disk and going on: with networks and volumes, callers killed at each step, full disks, other hosts."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import time
from pathlib import Path

import pytest
from ansible_collections.uni.engine.plugins.module_utils.engine.errors import StateError, UniError
from ansible_collections.uni.engine.plugins.module_utils.engine.networks import api as networks
from ansible_collections.uni.engine.plugins.module_utils.engine.networks.model import NetworkSpec
from ansible_collections.uni.engine.plugins.module_utils.engine.root import Root
from ansible_collections.uni.engine.plugins.module_utils.engine.vms import api, saved
from ansible_collections.uni.engine.plugins.module_utils.engine.vms import record as records
from ansible_collections.uni.engine.plugins.module_utils.engine.vms.spec import VmSpec
from ansible_collections.uni.engine.plugins.module_utils.engine.volumes import api as volumes

from .conftest import Host
from .dying import caller
from .netguest import ask, run_guest, server
from .test_ops import counting, follow, shown, ticks

__all__ = ["ticks"]


def save(host: Host, name: str = "web") -> None:
    assert api.ensure(host.root, VmSpec.parse(name), "saved").vm["status"] == "saved"


def test_networks_and_volumes(net: Host, disk: Path) -> None:
    """Address, names, ports and a mounted volume are there again; what was written before is on the disk."""
    networks.ensure_present(net.root, NetworkSpec.parse("front"))
    volumes.ensure_present(net.root, volumes.VolumeSpec("data", size=4 << 20))
    spec = server(disk, "web", networks=["front"], ports=["0.0.0.0:8080:80"], volumes=[f"{disk}:/unused:ro", "data:/data"],
                  health_check={"test": "log:listening"})
    api.ensure(net.root, spec, "healthy", timeout=60)
    address = str(api.info(api.resolve_vm(net.root, "web"))["addresses"][0]["address"])
    assert ask(address, 80).startswith("hello")
    save(net)
    assert "dport" not in subprocess.run(["iptables-save", "-t", "nat"], capture_output=True, text=True, check=True).stdout
    with pytest.raises(UniError) as caught:
        api.run(net.root, server(disk, "other", volumes=["data:/data"]))
    assert caught.value.code == "volume.two_writers", "a saved VM has its volumes mounted"
    back = api.ensure(net.root, spec).vm
    assert back["status"] == "running" and back["addresses"][0]["address"] == address
    assert ask(address, 80).startswith("hello") and ask("127.0.0.1", 8080).startswith("hello")
    assert run_guest(net, disk, "web", "80")[1].startswith("hello")
    assert b"".join(line.raw() for line in api.logs(net.root, "web")).count(b"listening") == 1


def test_restarted_is_booted_anew(host: Host, ticks: Path) -> None:
    api.ensure(host.root, counting(ticks, "web"), "healthy", timeout=60)
    save(host)
    assert [action.kind for action in api.ensure(host.root, VmSpec.parse("web"), "restarted").plan.actions] == ["restart"]
    api.wait_for(host.root, "web", "healthy", timeout=60)
    assert shown(host, "web").count("tick 0\n") == 2
    assert not (api.resolve_vm(host.root, "web").directory / saved.SAVED).exists()


def test_one_that_removes_itself_is_not_saved(host: Host, ticks: Path) -> None:
    api.ensure(host.root, counting(ticks, "web", auto_remove=True), "healthy", timeout=60)
    with pytest.raises(StateError) as caught:
        saved.save(host.root, "web")
    assert caught.value.code == "vm.save" and api.list_vms(host.root)[0]["status"] == "running"


def test_a_paused_vm(host: Host, ticks: Path) -> None:
    api.ensure(host.root, counting(ticks, "web"), "healthy", timeout=60)
    api.pause(host.root, "web")
    save(host)
    last = shown(host, "web").count("tick")
    api.start(host.root, "web")
    follow(host, "web", f"tick {last + 3}")


def test_another_kernel_another_qemu(host: Host, ticks: Path) -> None:
    """An upgrade of the default kernel is nothing to a guest that has booted; what it cannot survive is said."""
    kernel = host.path / "kernel.elf"
    shutil.copy(counting(ticks, "x").values["kernel"], kernel)
    spec = counting(ticks, "web", kernel=str(kernel))
    api.ensure(host.root, spec, "healthy", timeout=60)
    save(host)
    vm = api.resolve_vm(host.root, "web")
    start = json.loads((vm.directory / "start.json").read_text())

    def refused(**boot: object) -> str:
        (vm.directory / "start.json").write_text(json.dumps({**start, "boot": {**start["boot"], **boot}}))
        with pytest.raises(StateError) as caught:
            api.start(host.root, "web")
        assert caught.value.code == "vm.saved_elsewhere" and "uni restart web" in caught.value.hint
        assert api.list_vms(host.root, everything=True)[0]["status"] == "saved"
        return caught.value.message

    assert "QEMU 1.0" in refused(qemu="1.0")
    assert "with kvm" in refused(accel="kvm")
    assert "gone" in refused(kernel="/nowhere")
    os.utime(kernel)
    assert "another one" in refused()
    os.utime(kernel, ns=(start["boot"]["kernel_mark"][1],) * 2)
    (vm.directory / "start.json").write_text(json.dumps(start))
    last = shown(host, "web").count("tick")
    api.start(host.root, "web")
    follow(host, "web", f"tick {last + 3}")


def test_disk_full_in_the_middle(host: Host, ticks: Path) -> None:
    if os.geteuid() != 0:
        pytest.fail("this mounts a small file system: it needs root")
    small = host.path / "small"
    small.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8M,mode=755", "none", small], check=True)
    tiny = Host(host.path)
    tiny.root = Root(small)
    try:
        api.ensure(tiny.root, counting(ticks, "web"), "healthy", timeout=60)
        with pytest.raises(OSError), (small / "filler").open("wb", buffering=0) as file:
            while True:
                file.write(b"x" * 4096)
        with (small / "filler").open("r+b") as file:
            file.truncate(os.fstat(file.fileno()).st_size - (128 << 10))
        with pytest.raises(UniError) as caught:
            saved.save(tiny.root, "web")
        assert caught.value.code in ("vm.save", "host.disk_full"), caught.value
        (small / "filler").unlink()
        vm = api.resolve_vm(tiny.root, "web")
        assert api.list_vms(tiny.root)[0]["status"] == "running" and not list(vm.directory.glob("*.state"))
        follow(tiny, "web", f"tick {shown(tiny, 'web').count('tick') + 3}")
        save(tiny)
        api.remove(tiny.root, "web")
    finally:
        subprocess.run(["umount", "--lazy", small], check=True)


@pytest.mark.parametrize("what", ["saved.save(root, 'web')", "api.start(root, 'web')"], ids=["save", "start"])
def test_killed_at_every_step(host: Host, ticks: Path, what: str) -> None:
    """A caller killed anywhere while it saves, or brings back: the guest goes on where it was, once."""
    api.ensure(host.root, counting(ticks, "web"), "healthy", timeout=60)
    if "start" in what:
        save(host)
    steps = [1, *(2 + turn * 9 + turn * turn for turn in range(14))]
    for step in steps:
        caller(host, what, step, every=True)
        vm = api.resolve_vm(host.root, "web")
        status = records.status_of(vm.state)
        assert status in ("running", "paused", "saved", "exited", "starting"), status
        back = api.ensure(host.root, VmSpec.parse("web"), "started").vm
        assert back["status"] == "running", (step, status)
        assert not list(vm.directory.glob("*saved.state")), "neither the memory nor a part of it"
        moves_on(host)
        if "start" in what:
            save(host)
    assert shown(host, "web").count("tick 0\n") == 1, "it never began again"


def clock_is_right(host: Host) -> None:
    """The guest's wall clock lies between the host's before and after the question; a hundredth is for rates that differ."""
    count = shown(host, "web").count("clock")
    before = time.time()
    api.kill(host.root, "web", signal=10)
    deadline = time.monotonic() + 60
    while len(found := re.findall(r"^clock (\S+)\n", shown(host, "web"), re.M)) == count:
        assert time.monotonic() < deadline, "no answer"
        time.sleep(0.01)
    assert before - 0.01 <= float(found[-1]) <= time.time() + 0.01


def test_the_wall_clock_does_not_stand_still(host: Host, ticks: Path) -> None:
    api.ensure(host.root, counting(ticks, "web"), "healthy", timeout=60)
    api.pause(host.root, "web")
    time.sleep(1.5)
    api.unpause(host.root, "web")
    clock_is_right(host)
    save(host)
    time.sleep(1.5)
    api.ensure(host.root, VmSpec.parse("web"), "started")
    clock_is_right(host)


def moves_on(host: Host) -> None:
    """The guest counts on, and leaves no number out."""
    mark = shown(host, "web").count("tick")
    deadline = time.monotonic() + 60
    while shown(host, "web").count("tick") < mark + 2:
        assert time.monotonic() < deadline, "the guest stands still"
        time.sleep(0.02)
    numbers = [int(number) for number in re.findall(r"^tick (\d+)$", shown(host, "web"), re.M)]
    assert numbers == list(range(len(numbers)))
