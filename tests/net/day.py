# SPDX-License-Identifier: GPL-3.0-or-later
"""A day of uptime in a minute: QEMU's virtual clock jumps whenever the guest is idle (``-icount sleep=off``).

    tests/net/day.py [--hours N]

A lease of two hours is renewed over and over (dnsmasq), a connection that is idle all day still answers, one whose client vanished is
ended by TCP's keepalive, ARP entries and TIME_WAIT expire, clocks and an hourly timer agree, sockets and memory do not grow. Needs root,
QEMU, dnsmasq, musl-gcc, e2fsprogs and kernel/build/uni.elf.
"""

from __future__ import annotations

import argparse
import os
import re
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import wire
from control import Control
from wire import MICROVM, Weather, tether

HERE = Path(__file__).resolve().parent
TOP = HERE.parents[1]
KERNEL = TOP / "kernel" / "build" / "uni.elf"
BUILD = TOP / ".build" / "net-day"
GUEST, PORT, LEASE_HOURS = "10.9.0.50", 8080, 2


def build_disk() -> Path:
    """A disk with the guest's program."""
    with tempfile.TemporaryDirectory(dir=BUILD) as name:
        (Path(name) / "bin").mkdir()
        subprocess.run(["musl-gcc", "-O2", "-static", "-o", Path(name) / "bin/day", HERE / "guest/day.c"], check=True)
        (BUILD / "disk").unlink(missing_ok=True)
        subprocess.run(["/sbin/mke2fs", "-q", "-t", "ext2", "-d", name, BUILD / "disk", "8M"], check=True)
    return BUILD / "disk"


def dhcp_server() -> subprocess.Popen[bytes]:
    """dnsmasq with one address to give; its log is .build/net-day/dhcp."""
    for stale in ("dhcp", "leases"):
        (BUILD / stale).unlink(missing_ok=True)
    return subprocess.Popen(
        tether(["dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--port=0", "--interface=tap0", "--bind-interfaces", "--user=root",
         f"--dhcp-range={GUEST},{GUEST},{LEASE_HOURS}h", f"--dhcp-leasefile={BUILD / 'leases'}", f"--log-facility={BUILD / 'dhcp'}",
         "--pid-file", "--dhcp-authoritative"]), stdin=subprocess.DEVNULL)


def boot(line: wire.Wire, disk: Path) -> subprocess.Popen[bytes]:
    (BUILD / "config").write_bytes(b"init=/bin/day\0ip=dhcp\0uni.tty=0\0")
    return subprocess.Popen(
        tether(["qemu-system-x86_64", "-M", MICROVM, "-global", "virtio-mmio.force-legacy=false", "-accel", "tcg",
         "-icount", "shift=auto,sleep=off", "-rtc", "clock=vm", "-cpu", "max", "-m", "32M", "-smp", "1", "-nodefaults",
         "-no-user-config", "-no-reboot", "-display", "none", "-serial", f"file:{BUILD / 'console'}",
         "-chardev", f"socket,id=ctl,path={BUILD / 'control'},server=on,wait=off", "-device",
         "isa-serial,chardev=ctl,iobase=0x2f8,irq=3", "-device", "isa-debug-exit,iobase=0x501,iosize=2",
         "-kernel", KERNEL, "-append", "console=ttyS0 root=/dev/vda rw quiet", "-fw_cfg", f"name=opt/uni/config,file={BUILD / 'config'}",
         "-drive", f"file={disk},format=raw,if=none,id=d0,snapshot=on", "-device", "virtio-blk-device,drive=d0", *line.qemu("device")]),
        stdin=subprocess.DEVNULL)


def connect() -> socket.socket:
    peer = socket.create_connection((GUEST, PORT), 60)
    peer.settimeout(60)
    return peer


def ask(peer: socket.socket) -> tuple[int, int, int, int]:
    """The guest's clocks (seconds), its hourly timer's count, its dead connections."""
    peer.sendall(b"?")
    text = b""
    while not text.endswith(b"\n"):
        piece = peer.recv(256)
        assert piece, "the connection ended"
        text += piece
    mono, real, hours, dead = (int(word) for word in text.split())
    return mono, real, hours, dead


def wait_ready(process: subprocess.Popen[bytes]) -> socket.socket:
    end = time.monotonic() + 90
    while True:
        try:
            return connect()
        except OSError as error:
            if process.poll() is not None or time.monotonic() > end:
                raise AssertionError(f"no answer: {(BUILD / 'console').read_text(errors='replace')}") from error
            time.sleep(0.2)


def day(line: wire.Wire, process: subprocess.Popen[bytes], hours: int) -> str:
    idle = wait_ready(process)
    control = Control(BUILD / "control")
    begin = ask(idle)
    gone = connect()
    ask(gone)
    line.weather = Weather(mute_port=gone.getsockname()[1])
    before = control.stats()
    fetched = stalled = 0
    while True:
        try:
            with connect() as peer:
                now = ask(peer)
        except ConnectionResetError:          # a tenth of a second's pause of this machine is more than a minute to the guest: it has
            stalled += 1                      # given up the handshake (as it should after tcp_synack_retries)
            continue
        fetched += 1
        if now[0] - begin[0] >= hours * 3600:
            break
        time.sleep(0.5)
    end = ask(idle)
    after = control.stats()
    assert stalled <= 1 + fetched // 20, f"{stalled} of {fetched} connections were reset"
    elapsed = end[0] - begin[0]
    drift = elapsed - (end[1] - begin[1])
    assert abs(drift) <= 2, f"the wall clock and the monotonic clock differ by {drift} s after {elapsed} s"
    assert abs((end[2] - begin[2]) - elapsed // 3600) <= 1, f"{end[2] - begin[2]} ticks of an hourly timer in {elapsed} s"
    assert end[3] == 1, f"{end[3]} connections died of keepalive instead of the one whose client vanished"
    acks = len(re.findall(r"DHCPACK", (BUILD / "dhcp").read_text()))
    assert acks >= elapsed // 3600 // LEASE_HOURS, f"{acks} leases and renewals in {elapsed // 3600} hours"
    assert after["sockets"] <= before["sockets"], f"sockets {before['sockets']} -> {after['sockets']}"
    grown = before["mem_free"] + before["mem_cache"] - after["mem_free"] - after["mem_cache"]
    assert grown < 1 << 20, f"{grown} bytes more in use"
    return f"{elapsed // 3600} hours, {acks} leases and renewals, {fetched} connections, drift {drift} s, memory {grown:+d}"


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--hours", type=int, default=24)
    options = parser.parse_args()
    if os.geteuid() != 0:
        raise SystemExit("tests/net/day.py needs root for its network namespace")
    BUILD.mkdir(parents=True, exist_ok=True)
    (BUILD / "control").unlink(missing_ok=True)
    disk = build_disk()
    wire.enter_namespace()
    line = wire.Wire()
    server = dhcp_server()
    process = boot(line, disk)
    try:
        print(f"ok   day ({day(line, process, options.hours)})\n1 passed, 0 failed")
        return 0
    except (AssertionError, OSError) as error:
        print(f"FAIL day: {type(error).__name__}: {error}\n0 passed, 1 failed")
        return 1
    finally:
        for child in (process, server):
            child.kill()
            child.wait()


if __name__ == "__main__":
    sys.exit(main())
