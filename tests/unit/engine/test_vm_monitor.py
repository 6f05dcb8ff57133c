# SPDX-License-Identifier: GPL-3.0-or-later
"""Command lines, guest configuration, overlays, console log, control lines: what crosses a border, byte by byte."""

from __future__ import annotations

import os
import subprocess
import threading
from pathlib import Path

import pytest
from ansible_collections.uni.engine.plugins.module_utils.engine import accel, cgroup, console, kernels, probe_guest
from ansible_collections.uni.engine.plugins.module_utils.engine.errors import HostError, UsageError
from ansible_collections.uni.engine.plugins.module_utils.engine.guests.base import File, GuestSpec, Interface
from ansible_collections.uni.engine.plugins.module_utils.engine.guests.base import get as guest
from ansible_collections.uni.engine.plugins.module_utils.engine.keeper.control import code_of, flat
from ansible_collections.uni.engine.plugins.module_utils.engine.keeper.log import CHUNK, Log
from ansible_collections.uni.engine.plugins.module_utils.engine.monitors.base import Disk, LaunchSpec, Nic, get
from ansible_collections.uni.engine.plugins.module_utils.engine.overlay import create_overlay, overlay_header
from ansible_collections.uni.engine.plugins.module_utils.engine.process import Identity
from ansible_collections.uni.engine.plugins.module_utils.engine.root import Root
from ansible_collections.uni.engine.plugins.module_utils.engine.units import parse_port
from ansible_collections.uni.engine.plugins.module_utils.engine.vms import apply
from ansible_collections.uni.engine.plugins.module_utils.engine.vms.launch import mac_address
from ansible_collections.uni.engine.plugins.module_utils.engine.vms.record import Vm, status_of

SPEC = LaunchSpec("web", "microvm", "tcg", 64 << 20, 2, Path("/k/uni.elf"), "console=ttyS0 quiet", config=Path("/c"),
                  disks=(Disk(Path("/o.qcow2"), Path("/base.ext2")), Disk(Path("/v.ext2"), read_only=True)),
                  nics=(Nic("52:54:00:00:00:01", ports=parse_port("127.0.0.1:8080:80")),))


def test_command_line_has_the_floor_and_no_paths() -> None:
    command = get("qemu").command("/usr/bin/qemu", SPEC)
    text = " ".join(command.argv)
    for part in ("-nodefaults", "-no-user-config", "-no-reboot", "obsolete=deny", "elevateprivileges=deny",
                 "spawn=deny", "resourcecontrol=deny", "hostfwd=tcp:127.0.0.1:8080-:80", "size=65536k", "-smp 2"):
        assert part in text
    assert "-daemonize" not in text and "/base.ext2" not in text and "/o.qcow2" not in text
    assert set(command.files) == {"kernel:r:/k/uni.elf", "config:r:/c", "disk0:rw:/o.qcow2", "base0:r:/base.ext2",
                                  "disk1:r:/v.ext2"}
    assert set(command.sockets) == {"console", "control", "qmp"}
    assert [word.split("bus=")[1].split(",")[0] for word in command.argv if "bus=" in word] == [
        f"virtio-mmio-bus.{number}" for number in range(4)]


def test_too_many_devices_and_unknown_names() -> None:
    nics = tuple(Nic("52:54:00:00:00:01") for _index in range(9))
    with pytest.raises(UsageError):
        get("qemu").command("qemu", LaunchSpec("w", "microvm", "tcg", 1 << 20, 1, Path("/k"), "", nics=nics))
    for lookup in (get, guest):
        with pytest.raises(UsageError):
            lookup("nothing")


def test_guest_records() -> None:
    start = guest("uni").start(GuestSpec(
        init="/bin/app", args=("-v", "a b"), env={"A": "1=2"}, cwd="/srv", user="7:8", hostname="web",
        interfaces=(Interface("10.0.2.15", 24, "10.0.2.2", "10.0.2.3"), Interface(dhcp=True)),
        mounts=("/dev/vdb:/d:ro",),
        files=(File("/run/secrets/k", b"\0s", 0o400, 1, 2),), dns=("9.9.9.9",), hosts={"db": "10.0.0.9"}))
    assert start.append == "console=ttyS0 root=/dev/vda rw quiet" and start.control and start.config is not None
    assert start.config.decode().split("\0") == [
        "init=/bin/app", "cwd=/srv", "user=7:8", "hostname=web", "arg=-v", "arg=a b", "env=A=1=2",
        "ip=10.0.2.15::10.0.2.2:255.255.255.0:web:eth0:off:10.0.2.3", "ip=:::::eth1:dhcp", "dns=9.9.9.9",
        "host=db=10.0.0.9", "uni.mount=/dev/vdb:/d:ro", "uni.file=/run/secrets/k:400:1:2:AHM=", "uni.tty=0", ""]
    with pytest.raises(UsageError):
        guest("uni").start(GuestSpec(env={"A": "x\0y"}))
    with pytest.raises(UsageError):
        guest("uni").start(GuestSpec(args=("x" * (1 << 20),)))


@pytest.mark.parametrize("size", [512, 1 << 20, (512 << 20) + 512, 5 << 30, 3 << 40])
def test_overlay_is_what_qemu_img_expects(tmp_path: Path, size: int) -> None:
    base, overlay = tmp_path / "base.raw", tmp_path / "o.qcow2"
    with base.open("wb") as file:
        file.write(b"base")
        file.truncate(size)
    create_overlay(overlay, base, 0)
    checked = subprocess.run(["qemu-img", "check", overlay], capture_output=True, text=True, check=True)
    assert "No errors" in checked.stdout
    if size < 1 << 30:
        subprocess.run(["qemu-img", "compare", overlay, base], check=True, capture_output=True)
    assert overlay.stat().st_blocks * 512 < 65536 and overlay.stat().st_mode & 0o777 == 0o600
    with pytest.raises(HostError):
        create_overlay(overlay, base, 0)


def test_overlay_limits() -> None:
    with pytest.raises(UsageError):
        overlay_header(1 << 20, "/" + "x" * 1024)
    with pytest.raises(UsageError):
        overlay_header(1 << 61, "/base")


def test_console_log_is_lossless_and_capped(tmp_path: Path) -> None:
    log = Log(str(tmp_path / "console.log"), 1 << 20, 3)
    parts = [b"one\ntw", b"o\n\n", b"\xff\x00 three four", b"\n", b"end"]
    for part in parts:
        log.feed(part)
        log.flush()
    log.close()
    assert b"".join(line.raw() for line in console.read(tmp_path)) == b"".join(parts)
    small = Log(str(tmp_path / "console.log"), 4096, 3)
    for number in range(2000):
        small.feed(b"line %d\n" % number)
    small.close()
    sizes = [path.stat().st_size for path in tmp_path.glob("console.log*")]
    assert len(sizes) == 3 and max(sizes) <= 4096
    lines = [line.text for line in console.read(tmp_path)]
    assert lines[-1] == b"line 1999" and lines == sorted(lines, key=lambda text: int(text.split()[1]))
    assert [line.text for line in console.read(tmp_path, tail=2)] == [b"line 1998", b"line 1999"]


def test_a_log_that_rotates_is_read_without_a_gap(tmp_path: Path) -> None:
    """`uni logs` of a VM that floods: a file that was being renamed was missing, or came twice."""
    done = threading.Event()

    def flood() -> None:
        log, number = Log(str(tmp_path / "console.log"), 4096, 4), 0
        while not done.is_set():
            log.feed(b"line %d\n" % number)
            number += 1
        log.close()

    writer = threading.Thread(target=flood)
    writer.start()
    try:
        for _round in range(300):
            numbers = [int(line.text.split()[1]) for line in console.read(tmp_path)]
            assert numbers == list(range(numbers[0], numbers[0] + len(numbers))) if numbers else True
            assert not numbers or numbers[0] == 0 or len(numbers) > 3 * 64
    finally:
        done.set()
        writer.join()
    # A keeper that was killed between the two renames leaves one file under both names.
    os.link(tmp_path / "console.log", tmp_path / "console.log.5")
    (tmp_path / "console.log.fresh").touch()
    numbers = [int(line.text.split()[1]) for line in console.read(tmp_path)]
    assert len(numbers) == len(set(numbers))


def test_a_line_that_came_in_parts_is_one(tmp_path: Path) -> None:
    """A guest that was slow between two writes: `sha256sum` gave two lines, and the quickstart failed."""
    log = Log(str(tmp_path / "console.log"), 1 << 20, 3)
    for part in (b"digest", b"  /bin/busybox\nno end"):
        log.feed(part)
        log.flush()
    lines = list(console.read(tmp_path))
    assert [(line.text, line.whole) for line in lines] == [(b"digest  /bin/busybox", True), (b"no end", False)]
    assert [line.text for line in console.read(tmp_path, tail=2)] == [b"digest  /bin/busybox", b"no end"]
    log.begin()
    log.begin()
    log.feed(b"the next boot\n")
    log.close()
    assert [line.text for line in console.read(tmp_path)] == [b"digest  /bin/busybox", b"no end", b"the next boot"]
    assert log.boot_offset > 0


def test_a_line_without_end_is_bounded(tmp_path: Path) -> None:
    log = Log(str(tmp_path / "console.log"), 1 << 26, 3)
    for _number in range(40):
        log.feed(b"x" * (CHUNK + 1))
    log.close()
    lines = list(console.read(tmp_path))
    assert max(len(line.text) for line in lines) <= console.MAX_LINE + CHUNK + 1
    assert sum(len(line.text) for line in lines) == 40 * (CHUNK + 1)


def test_since(tmp_path: Path) -> None:
    (tmp_path / "console.log").write_bytes(b"2026-01-01T00:00:00.000000Z stdout F old\ndamaged\n"
                                           b"2026-01-01T00:01:00.500000Z stdout F new\n")
    assert [line.text for line in console.read(tmp_path, since="2026-01-01T00:00:30Z")] == [b"new"]
    assert console.parse_since("10m", now=1000) == 400 and console.parse_since(None) == 0
    with pytest.raises(UsageError) as caught:
        console.parse_since("yesterday")
    assert "2026-01-31T" in caught.value.hint and "expected" not in caught.value.message
    with pytest.raises(UsageError):
        console.parse_since("2026-99-01T00:00:00Z")


@pytest.mark.parametrize("line", [b"", b"x", b"[1]", b"3", b'{"event":{"a":1}}', b'{"a":1.5}', b'{"a":[1]}',
                                  b"[" * 4000, b'{"a":null}', b"\xff\xfe"])
def test_hostile_control_lines(line: bytes) -> None:
    assert flat(line) is None


def test_exit_codes() -> None:
    assert (code_of({"status": 3}), code_of({"signal": 9}), code_of({}), code_of({"status": 0})) == (3, 137, 125, 0)


def test_status_believes_processes_not_numbers() -> None:
    me = Identity.of(__import__("os").getpid())
    alive = {"status": "running", "pid": me.pid, "start": me.start, "boot": me.boot}
    assert status_of(alive) == "running"
    assert status_of({**alive, "start": me.start + 1}) == "lost"
    assert status_of({**alive, "boot": "another"}) == "lost"
    assert status_of({**alive, "pid": 1}) == "lost" and status_of({**alive, "pid": "x"}) == "lost"
    assert status_of({"status": "exited"}) == "exited" and status_of({}) == "created"
    assert not Identity(me.pid, me.start + 1, me.boot).kill(0)


def test_probe_guest_is_an_elf_with_a_pvh_note() -> None:
    image = probe_guest.probe()
    assert image[:6] == b"\x7fELF\x02\x01" and b"Xen\0" in image and image == probe_guest.probe()


def test_accel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = Root(tmp_path)
    monkeypatch.delenv("UNI_ACCEL", raising=False)
    assert accel.choose(root, "tcg", "qemu", "7.2").name == "tcg"
    monkeypatch.setattr(accel, "DEVICE", str(tmp_path / "kvm"))
    chosen = accel.choose(root, "auto", "qemu", "7.2")
    assert chosen.name == "tcg" and "does not exist" in chosen.reason
    with pytest.raises(HostError):
        accel.choose(root, "kvm", "qemu", "7.2")
    (tmp_path / "kvm").touch()
    calls = []
    monkeypatch.setattr(accel, "probe", lambda *words: calls.append(words) or "it hung")
    assert accel.choose(root, "auto", "qemu", "7.2").reason == "it hung"
    assert accel.choose(root, "auto", "qemu", "7.2").name == "tcg" and len(calls) == 1
    monkeypatch.setattr(accel, "probe", lambda *words: "")
    assert accel.choose(root, "auto", "qemu", "8.0").name == "kvm"
    monkeypatch.setenv("UNI_ACCEL", "tcg")
    assert accel.choose(root, "auto", "qemu", "8.0").name == "tcg"
    with pytest.raises(UsageError):
        accel.choose(root, "hvf", "qemu", "8.0")


def test_cgroup_settings() -> None:
    limits = {"cpu": 0.5, "memory": 1 << 20, "pids": 9, "io_read_bps": 5, "io_write_iops": 6}
    assert list(cgroup.settings(limits, "8:0")) == [
        ("cpu", "cpu.max", "50000 100000"), ("memory", "memory.max", "1048576"), ("pids", "pids.max", "9"),
        ("io", "io.max", "8:0 rbps=5 wbps=max riops=max wiops=6")]


def test_mac_addresses_are_stable_and_local() -> None:
    assert mac_address("0123456789ab", 0) == "52:54:01:23:45:67"
    assert mac_address("0123456789ab", 1) == "52:54:01:23:45:66"


@pytest.mark.parametrize(("accepted", "fits"), [
    ("", True), (">=0.1.0,<2", True), (">0.9", True), ("<1", False), ("1.2", False), ("=1.2.3", True),
    (">=1.2.3-rc.1, <1.3", True), (">=2", False)])
def test_kernel_ranges(accepted: str, fits: bool) -> None:
    assert kernels.in_range("1.2.3", accepted) is fits


def test_bad_kernel_range() -> None:
    with pytest.raises(UsageError):
        kernels.in_range("1.2.3", "~> 1")


@pytest.mark.parametrize(("message", "code"), [
    ("[Errno 2] No such file or directory: '/dev/net/tun'", "host.tun"),
    ("[Errno 2] No such file or directory: '/usr/bin/qemu-system-x86_64'", "vm.start_start"),
])
def test_a_start_that_failed_names_its_remedy(tmp_path: Path, message: str, code: str) -> None:
    vm = Vm(tmp_path, {"id": "0a", "name": "web"}, {})
    error = apply._start_error(Root(tmp_path), vm, {"event": "exit", "exit": {"reason": "start", "message": message}})
    assert error is not None and error.code == code and message in error.message
    assert ("modprobe tun" in error.hint) == (code == "host.tun")
