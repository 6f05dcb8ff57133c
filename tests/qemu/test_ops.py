# SPDX-License-Identifier: GPL-3.0-or-later
"""Statistics, memory image, debugger, saved state, health: Uni's own kernel where the guest has to answer."""

from __future__ import annotations

import os
import socket
import struct
import subprocess
from pathlib import Path

import pytest
from ansible_collections.uni.engine.plugins.module_utils.engine import accel, cgroup
from ansible_collections.uni.engine.plugins.module_utils.engine.errors import DeadlineError, HostError, UsageError
from ansible_collections.uni.engine.plugins.module_utils.engine.monitors.qemu import find_program
from ansible_collections.uni.engine.plugins.module_utils.engine.vms import api, ops, saved, usage
from ansible_collections.uni.engine.plugins.module_utils.engine.vms.spec import VmSpec

from .conftest import TOP, Host

KERNEL = TOP / "kernel" / "build" / "uni.elf"
TICKS = r"""
#include <signal.h>
#include <stdio.h>
#include <time.h>
static void note(int signo) { printf("signal %d\n", signo); fflush(stdout); }
static void clocks(int signo)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    printf("clock %ld.%09ld\n", now.tv_sec, now.tv_nsec);
    fflush(stdout);
}
int main(void)
{
    signal(SIGHUP, note);
    signal(SIGUSR1, clocks);
    for (int tick = 0;; tick++) {
        struct timespec wait = { .tv_nsec = 50000000 };
        printf("tick %d\n", tick);
        fflush(stdout);
        nanosleep(&wait, 0);
    }
}
"""


@pytest.fixture(scope="module")
def ticks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A disk with a program that counts and names the signals it gets."""
    home = tmp_path_factory.mktemp("ticks")
    (home / "tree" / "bin").mkdir(parents=True)
    (home / "ticks.c").write_text(TICKS)
    subprocess.run(["gcc", "-O2", "-static", "-o", home / "tree/bin/ticks", home / "ticks.c"], check=True)
    image = home / "disk.ext2"
    subprocess.run(["/sbin/mke2fs", "-q", "-F", "-t", "ext2", "-d", home / "tree", image, "4M"], check=True)
    return image


def counting(disk: Path, name: str, **options: object) -> VmSpec:
    base = {"kernel": str(KERNEL), "volumes": [f"{disk}:/unused:ro"], "memory": "32M", "command": ["/bin/ticks"],
            "kernel_args": "root=/dev/vda ro", "stop_timeout": 1, "health_check": {"test": "log:tick 2"}}
    return VmSpec.parse(name, {**base, **options})


def shown(host: Host, name: str) -> str:
    return b"".join(line.raw() for line in api.logs(host.root, name)).decode()


def follow(host: Host, name: str, text: str) -> None:
    """Wait until the console shows ``text``."""
    with api.attach(host.root, name, typing=False, replay=True) as stream:
        stream.settimeout(60)
        seen = b""
        while text.encode() not in seen:
            data = stream.recv(4096)
            assert data, seen
            seen += data


def test_signal_reaches_the_program(host: Host, ticks: Path) -> None:
    api.ensure(host.root, counting(ticks, "web"), "healthy", timeout=60)
    api.kill(host.root, "web", signal=1)
    follow(host, "web", "signal 1")


def test_stats_from_both_sides(host: Host, ticks: Path) -> None:
    api.ensure(host.root, counting(ticks, "web"), "healthy", timeout=60)
    found = ops.stats(host.root, "web")
    assert found["host"]["rss"] > 1 << 20 and found["host"]["cpu_us"] > 0
    assert found["guest"]["mem_total"] <= 32 << 20 and found["guest"]["threads"] >= 1
    assert found["disks"][0]["rd_bytes"] > 0


def test_both_sides_in_one_reading(host: Host, ticks: Path) -> None:
    api.ensure(host.root, counting(ticks, "web"), "healthy", timeout=60)
    before = usage.readings(host.root)
    follow(host, "web", "tick 20")
    after = usage.rates(before, usage.readings(host.root, ["web"]))
    assert [row["name"] for row in after] == ["web"]
    assert after[0]["host"]["cpu_us"] > before[0]["host"]["cpu_us"] and after[0]["host"]["rss"] > 1 << 20
    assert after[0]["guest"]["uptime_ms"] > before[0]["guest"]["uptime_ms"]
    assert after[0]["rates"]["host_cpu_percent"] > 0 and "guest_cpu_percent" in after[0]["rates"]
    api.pause(host.root, "web")
    assert usage.readings(host.root)[0]["guest"] is None, "a paused guest cannot answer, and is not waited for"


def test_saved_and_back(host: Host, ticks: Path) -> None:
    api.ensure(host.root, counting(ticks, "web"), "healthy", timeout=60)
    first = api.ensure(host.root, VmSpec.parse("web"), "saved")
    assert first.changed and first.vm["status"] == "saved"
    assert not api.ensure(host.root, VmSpec.parse("web"), "saved").changed
    last = max(int(line.split()[1]) for line in shown(host, "web").splitlines() if line.startswith("tick"))
    back = api.ensure(host.root, VmSpec.parse("web"), "started")
    assert [action.kind for action in back.plan.actions] == ["start"] and back.vm["status"] == "running"
    follow(host, "web", f"tick {last + 5}")
    assert shown(host, "web").count("tick 0\n") == 1, "it went on, it did not begin again"
    assert not (Path(str(back.vm["directory"])) / saved.SAVED).exists()


def test_a_changed_vm_does_not_come_back_from_its_old_state(host: Host, ticks: Path) -> None:
    api.ensure(host.root, counting(ticks, "web"), "healthy", timeout=60)
    api.ensure(host.root, VmSpec.parse("web"), "saved")
    api.ensure(host.root, counting(ticks, "web", memory="48M"), "healthy", timeout=60)
    assert shown(host, "web").count("tick 0\n") == 2


def test_dump_is_an_elf_core(host: Host, ticks: Path, tmp_path: Path) -> None:
    api.ensure(host.root, counting(ticks, "web"), "healthy", timeout=60)
    size = ops.dump(host.root, "web", tmp_path / "core")["size"]
    head = (tmp_path / "core").read_bytes()[:20]
    assert size > 32 << 20 and head[:4] == b"\x7fELF" and struct.unpack_from("<H", head, 16)[0] == 4
    with pytest.raises(HostError):
        ops.dump(host.root, "web", tmp_path / "core")
    assert api.list_vms(host.root)[0]["status"] == "running"


def test_debugger_stub_answers(host: Host, ticks: Path) -> None:
    api.ensure(host.root, counting(ticks, "web"), "healthy", timeout=60)
    where = ops.debug(host.root, "web")
    assert ops.debug(host.root, "web") == where and "target remote" in where["command"]
    assert Path(where["symbols"]).read_bytes()[:4] == b"\x7fELF" and where["argv"][1] == where["symbols"]
    assert where["program"] == "", "this one has no image to take the program from"
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(30)
        sock.connect(where["socket"])
        sock.sendall(b"+$?#3f")
        answer = b""
        while b"#" not in answer:
            answer += sock.recv(100)
    assert answer.lstrip(b"+").startswith((b"$T", b"$S")), answer  # why the guest is stopped


def test_unhealthy_is_said_and_restarted(host: Host, ticks: Path) -> None:
    """The guest's kernel refuses the port: QEMU's user networking accepted the connection, and closes it again."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    check = {"test": "tcp:80", "interval": "100ms", "timeout": "1s", "start_period": 0, "retries": 2,
             "on_failure": "restart"}
    spec = counting(ticks, "web", ports=[f"127.0.0.1:{port}:80"], restart_policy="always", health_check=check)
    api.ensure(host.root, spec)
    with pytest.raises(DeadlineError):
        api.wait_for(host.root, "web", "healthy", timeout=1.0)
    vm = api.resolve_vm(host.root, "web")
    for _attempt in range(600):
        if int(vm.fresh().state.get("restarts") or 0) >= 1:
            break
        api.wait(host.root, "web", timeout=60)
    assert int(vm.fresh().state["restarts"]) >= 1


def test_health_of_a_port_that_is_not_forwarded(host: Host) -> None:
    with pytest.raises(UsageError) as caught:
        host.run("web", "idle", health_check="tcp:80")
    assert caught.value.code == "vm.health_check" and "127.0.0.1:0:80" in caught.value.hint


def test_recover_after_a_reboot(host: Host) -> None:
    host.run("always", "idle", restart_policy="always")
    host.run("never", "idle")
    for name in ("always", "never"):
        vm = api.resolve_vm(host.root, name)
        for identity in (vm.keeper(), vm.qemu()):
            assert identity is not None and identity.kill(9) and identity.wait(30)
    found = {item["name"]: item for item in ops.recover(host.root)}
    assert found["never"]["after"] == "exited" and found["always"]["before"] == "lost"
    api.wait_for(host.root, "always", "running", timeout=60)
    assert ops.recover(host.root) == []


def test_the_probe_guest_proves_an_accelerator(tmp_path: Path) -> None:
    program = find_program("qemu-system-x86_64")
    assert accel.probe(program, "tcg", timeout=60) == ""
    assert "invalid accelerator" in accel.probe(program, "nothing", timeout=60)
    hangs = tmp_path / "qemu"
    hangs.write_text("#!/bin/sh\nexec sleep 60\n")
    hangs.chmod(0o755)
    assert "did not run" in accel.probe(str(hangs), "kvm", timeout=0.2)
    assert "does not start" in accel.probe(str(tmp_path / "none"), "kvm")


def test_required_hardening_fails_closed(host: Host) -> None:
    spec = host.spec("web", "idle", hardening="required")
    if os.geteuid() == 0:
        assert api.ensure(host.root, spec).vm["status"] == "running"
        return
    with pytest.raises(HostError) as caught:
        api.ensure(host.root, spec)
    assert caught.value.code == "vm.hardening" and api.list_vms(host.root) == []


def test_limits_are_in_the_cgroup_or_an_error(host: Host) -> None:
    spec = host.spec("web", "idle", limits={"memory": "256M", "cpu": 0.5})
    try:
        vm = api.ensure(host.root, spec).vm
    except HostError as error:
        assert error.code in ("cgroup.unavailable", "cgroup.controller") and api.list_vms(host.root) == []
        return
    group = cgroup.directory(str(vm["id"]))
    assert group is not None and str(vm["pid"]) in (group / "cgroup.procs").read_text().split()
    assert (group / "memory.max").read_text().strip() == str(256 << 20)
