# SPDX-License-Identifier: GPL-3.0-or-later
"""The options of a VM end to end (matrix.py), as root and as a plain user; limits of disks, which are measured."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from ansible_collections.uni.engine.plugins.module_utils.engine.errors import UsageError
from ansible_collections.uni.engine.plugins.module_utils.engine.vms import api
from ansible_collections.uni.engine.plugins.module_utils.engine.vms.fields import FIELDS
from ansible_collections.uni.engine.plugins.module_utils.engine.vms.spec import VmSpec

from . import matrix
from .conftest import TOP, Host

PLAIN = 65534
KERNEL = TOP / "kernel" / "build" / "uni.elf"
# What other tests look at: they need networks, cgroups, another image or another host.
ELSEWHERE = {"image", "net_in_bps", "net_out_bps", "limits", "hardening", "accel", "guest", "monitor"}


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """report.c as a static program."""
    path = tmp_path_factory.mktemp("report") / "report"
    subprocess.run(["musl-gcc", "-O2", "-static", "-o", path, Path(__file__).with_name("report.c")], check=True)
    return path


def build(home: Path) -> Path:
    """A kernel's build in a directory of its own."""
    home.mkdir(parents=True)
    shutil.copy(KERNEL, home)
    shutil.copy(TOP / "kernel" / "VERSION", home)
    return home / KERNEL.name


@pytest.fixture
def options(host: Host, program: Path) -> Iterator[matrix.Matrix]:
    yield matrix.Matrix(host.root, program, build(host.path / "kernel"))


def test_the_matrix_has_every_option(tmp_path: Path) -> None:
    assert {*(row.name for row in matrix.rows(build(tmp_path / "kernel"))), *ELSEWHERE} == set(FIELDS)


def test_every_option(options: matrix.Matrix) -> None:
    found = []
    for row in matrix.rows(options.kernel):
        try:
            options.check(row)
        except Exception as error:
            found.append(f"{row.name}: {type(error).__name__}: {error}")
    assert not found, "\n".join(found)


def test_every_option_of_a_plain_user(tmp_path: Path, program: Path) -> None:
    if os.geteuid() != 0:
        pytest.fail("the tests of networks and users need root")
    home = Path(f"/tmp/uni-plain-{os.getpid()}")
    try:
        shutil.copytree(TOP / "plugins", home / "ansible_collections/uni/engine/plugins",
                        ignore=shutil.ignore_patterns("__pycache__"))
        kernel = build(home / "kernel")
        for source in (program, Path(matrix.__file__)):
            shutil.copy(source, home / source.name)
        for path in (home, *home.rglob("*")):
            os.chown(path, PLAIN, PLAIN)
        words = ["setpriv", f"--reuid={PLAIN}", f"--regid={PLAIN}", "--clear-groups", "/usr/bin/python3",
                 str(home / "matrix.py"), str(home), str(home / "root"), str(home / program.name), str(kernel)]
        env = {"PATH": os.environ["PATH"], "UNI_ACCEL": "tcg", "HOME": str(home), "PYTHONDONTWRITEBYTECODE": "1"}
        done = subprocess.run(words, capture_output=True, text=True, timeout=550, check=False, env=env)
        assert (done.returncode, done.stdout) == (0, ""), done.stdout + done.stderr
    finally:
        shutil.rmtree(home, ignore_errors=True)


def moved(host: Host, name: str, seconds: float) -> float:
    """How many bytes a second the guest moves, over a while."""
    def count() -> int:
        found = re.findall(rb"moved=(\d+)", b"".join(line.raw() for line in api.logs(host.root, name, tail=3)))
        return int(found[-1]) if found else 0

    first, begun = count(), time.monotonic()
    time.sleep(seconds)
    return (count() - first) / (time.monotonic() - begun)


@pytest.mark.parametrize(("way", "limit", "tight", "loose"), [
    ("read", "disk_bps", "256K", 0), ("write", "disk_write_bps", "256K", 0), ("write", "disk_iops", 4, 0),
    ("read", "disk_read_iops", 4, 0)])
def test_disks_are_limited(options: matrix.Matrix, host: Host, way: str, limit: str, tight: object, loose: object) -> None:
    """The same guest, limited and not, within one run: the difference is large, and what it was does not matter."""
    disk = host.path / "raw"
    disk.write_bytes(b"\0" * (8 << 20))
    target = "/dev/vdb" if way == "read" else "/data/file"
    volume = [f"{disk}:/unused"] if way == "read" else ["data:/data"]
    base = {"image": "report", "memory": "24M", "args": [way, target], "volumes": volume, "stop_timeout": "1s"}
    assert options is not None

    def with_limit(value: object) -> VmSpec:
        return VmSpec.parse("mover", {**base, limit: value})

    pid = api.ensure(host.root, with_limit(tight)).vm["pid"]
    api.wait_for(host.root, "mover", "ready", timeout=60)
    time.sleep(1)  # the bucket is full at first
    slow = moved(host, "mover", 3)
    changed = api.ensure(host.root, with_limit(loose))
    assert changed.vm["pid"] == pid and [action.kind for action in changed.plan.actions] == ["update"]
    time.sleep(0.5)
    fast = moved(host, "mover", 2)
    api.ensure(host.root, with_limit(tight))
    time.sleep(1)
    again = moved(host, "mover", 3)
    assert fast > 3 * max(slow, again), (slow, fast, again)
    api.remove(host.root, "mover", force=True)


def test_a_label_does_not_make_a_vm_less_healthy(options: matrix.Matrix, host: Host) -> None:
    base = {"image": "report", "memory": "24M", "health_check": "log:^reported"}
    assert options is not None
    api.ensure(host.root, VmSpec.parse("web", base), "healthy", timeout=60)
    for turn in range(3):
        vm = api.ensure(host.root, VmSpec.parse("web", {**base, "labels": {"turn": str(turn)}})).vm
        assert vm["health"] == "healthy"
    lines = (host.root.log / "events.jsonl").read_text().splitlines()
    assert sum('"event": "health"' in line for line in lines) == 1, "nothing about its health has happened"
    api.remove(host.root, "web", force=True)


def test_totals_exclude_ways(host: Host) -> None:
    with pytest.raises(UsageError) as caught:
        host.run("web", "idle", disk_bps="1M", disk_read_bps="1M")
    assert caught.value.code == "vm.disk_limits" and api.list_vms(host.root, everything=True) == []


def test_what_was_changed_live_outlives_a_restart_by_policy(options: matrix.Matrix, host: Host) -> None:
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as two:
        ports = [one.getsockname()[1], two.getsockname()[1]]
    base = {"image": "report", "memory": "24M", "restart_policy": "always", "volumes": ["data:/data"]}
    assert options is not None
    api.ensure(host.root, VmSpec.parse("web", {**base, "ports": [f"127.0.0.1:{ports[0]}:80"]}))
    api.ensure(host.root, VmSpec.parse("web", {**base, "ports": [f"127.0.0.1:{ports[1]}:80"], "disk_iops": 500}))
    vm = api.resolve_vm(host.root, "web")
    before = vm.qemu()
    assert before is not None and before.kill(9) and before.wait(30)
    deadline = time.monotonic() + 60
    while (now := api.resolve_vm(host.root, "web").qemu()) in (None, before) or not now.alive():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    api.wait_for(host.root, "web", "ready", timeout=60)
    words = matrix.argv(api.inspect(host.root, "web"))
    assert any(f"127.0.0.1:{ports[1]}-:80" in word for word in words)
    assert not any(f":{ports[0]}-" in word for word in words)
    assert sum("x-iops-total=500" in word for word in words) == 2
    api.remove(host.root, "web", force=True)


def test_saved_memory_outlives_what_changes_live(options: matrix.Matrix, host: Host) -> None:
    base = {"image": "report", "memory": "24M"}
    assert options is not None
    api.ensure(host.root, VmSpec.parse("web", base))
    api.wait_for(host.root, "web", "ready", timeout=60)
    options.report("web", 1)
    api.ensure(host.root, VmSpec.parse("web"), "saved")
    api.ensure(host.root, VmSpec.parse("web", {**base, "labels": {"a": "1"}}), "present")
    plan = api.ensure(host.root, VmSpec.parse("web", {**base, "memory": "48M"}), "started", check=True).plan
    assert "saved memory is given up for memory" in plan.actions[0].summary
    api.ensure(host.root, VmSpec.parse("web", {**base, "labels": {"a": "2"}}), "started")
    api.stop(host.root, "web")
    text = b"".join(line.raw() for line in api.logs(host.root, "web")).decode()
    assert text.count("reported") == 1 and text.strip().endswith("signal=15"), "it went on"
    api.remove(host.root, "web", force=True)
