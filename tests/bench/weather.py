# SPDX-License-Identifier: GPL-3.0-or-later
"""TCP in bad weather: throughput of Uni against Debian's cloud Linux as the guest, on a wire that loses, reorders and delays.

    tests/bench/weather.py [--seconds N] [--rounds N] [--only WORD] [--kernel ELF ...]

Each kernel given is a column of its own. The wire is tests/net/wire.py; the server in the guest tests/bench/net/epoll_server.c; bytes are
checked. Linux runs on q35. Needs root, QEMU, musl-gcc, e2fsprogs.
"""

from __future__ import annotations

import argparse
import contextlib
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent / "kernel"), str(HERE.parent / "net")]

import wire
from oracle import linux_guest
from wire import GUEST, HOST, Weather, tether

TOP = HERE.parents[1]
BUILD = TOP / ".build" / "bench-weather"
KERNEL = TOP / "kernel" / "build" / "uni.elf"
MICROVM = "microvm,acpi=off,rtc=on,pit=off,pic=off,isa-serial=on,auto-kernel-cmdline=on,x-option-roms=off"
HTTP, SINK, SOURCE = 8080, 8081, 8082

SKIES = {
    "fair": Weather(),
    "loss 0.1%": Weather(loss=0.001),
    "loss 1%": Weather(loss=0.01),
    "loss 5%": Weather(loss=0.05),
    "reordering 10%": Weather(reorder=0.1),
    "duplication 5%": Weather(repeat=0.05),
    "100 ms": Weather(delay=0.05),
    "20 ms, loss 1%": Weather(delay=0.01, loss=0.01),
    "20 ms, loss 0.1%": Weather(delay=0.01, loss=0.001),
    "2 MB/s, 40 ms, short queue": Weather(rate=2e6, delay=0.02, queue=1 << 16),
}


def build_disk() -> Path:
    """A disk with the server."""
    with tempfile.TemporaryDirectory(dir=BUILD) as name:
        for folder in ("bin", "dev", "proc", "sys", "tmp"):
            (Path(name) / folder).mkdir()
        subprocess.run(["musl-gcc", "-O2", "-static", "-o", Path(name) / "bin/epoll_server", HERE / "net/epoll_server.c"], check=True)
        (BUILD / "disk").unlink(missing_ok=True)
        subprocess.run(["/sbin/mke2fs", "-q", "-t", "ext2", "-d", name, BUILD / "disk", "16M"], check=True)
    return BUILD / "disk"


@contextlib.contextmanager
def guest(line: wire.Wire, kernel: str, disk: Path) -> Iterator[None]:
    """Boot the server on a kernel ("linux" or a file) and wait for its first answer."""
    pairs = ["init=/bin/epoll_server", f"ip={GUEST}::{HOST}:255.255.255.0::eth0:off", "uni.tty=0"]
    (BUILD / "config").write_bytes(b"".join(pair.encode() + b"\0" for pair in pairs))
    linux = kernel == "linux"
    bus = "pci" if linux else "device"
    words = ["qemu-system-x86_64", "-M", "q35" if linux else MICROVM, "-global", "virtio-mmio.force-legacy=false", "-accel", "tcg",
             "-cpu", "max", "-m", "256M", "-smp", "1", "-nodefaults", "-no-user-config", "-no-reboot", "-display", "none",
             "-serial", f"file:{BUILD}/console", "-fw_cfg", f"name=opt/uni/config,file={BUILD}/config",
             "-drive", f"file={disk},format=raw,if=none,id=d0,snapshot=on", "-device", f"virtio-blk-{bus},drive=d0", *line.qemu(bus)]
    if linux:
        words += ["-serial", f"file:{BUILD}/control", "-kernel", str(linux_guest.kernel_image()), "-append", linux_guest.APPEND,
                  "-initrd", str(linux_guest.prepare())]
    else:
        words += ["-kernel", kernel, "-append", "console=ttyS0 root=/dev/vda rw quiet"]
    process = subprocess.Popen(tether(words), stdin=subprocess.DEVNULL)
    end = time.monotonic() + 90
    try:
        while True:
            try:
                requests(0.1)
                break
            except OSError as error:
                if process.poll() is not None or time.monotonic() > end:
                    raise SystemExit(f"{kernel}: no answer") from error
                time.sleep(0.1)
        yield
    finally:
        process.kill()
        process.wait()


def requests(seconds: float) -> float:
    """Requests a second, one after the other, each on a new connection."""
    begun, count = time.monotonic(), 0
    while time.monotonic() - begun < seconds:
        with socket.create_connection((GUEST, HTTP), 30) as peer:
            peer.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            if not peer.recv(4096):
                raise OSError("the connection ended")
        count += 1
    return count / (time.monotonic() - begun)


def download(seconds: float) -> float:
    """Megabytes a second from the guest, every byte checked."""
    pattern, at = bytes(range(256)) * 1025, 0
    with socket.create_connection((GUEST, SOURCE), 60) as peer:
        begun = time.monotonic()
        while time.monotonic() - begun < seconds:
            piece = peer.recv(262144)
            if not piece or piece != pattern[at % 256:at % 256 + len(piece)]:
                raise SystemExit(f"wrong bytes near {at}")
            at += len(piece)
        return at / (time.monotonic() - begun) / 1e6


def upload(seconds: float) -> float:
    """Megabytes a second to the guest, as far as the guest has acknowledged them."""
    with socket.create_connection((GUEST, SINK), 60) as peer:
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 262144)
        begun, total = time.monotonic(), 0
        while time.monotonic() - begun < seconds:
            total += peer.send(bytes(65536))
        return total / (time.monotonic() - begun) / 1e6


ROWS = {"download MB/s": download, "upload MB/s": upload, "requests/s": requests}


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=float, default=4)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--only", default="")
    parser.add_argument("--rows", default="", help="only the rows whose names contain this")
    parser.add_argument("--kernel", action="append", default=[], help="a kernel's file, or linux; default: this tree's, linux")
    options = parser.parse_args()
    kernels = options.kernel or [str(KERNEL), "linux"]
    BUILD.mkdir(parents=True, exist_ok=True)
    disk = build_disk()
    wire.enter_namespace()
    line = wire.Wire()
    figures: dict[tuple[str, str, str], list[float]] = {}
    for _round in range(options.rounds):
        for kernel in kernels:
            line.weather = Weather()
            with guest(line, kernel, disk):
                for sky, weather in SKIES.items():
                    if options.only not in sky:
                        continue
                    for row, measure in ROWS.items():
                        if options.rows not in row:
                            continue
                        line.weather = weather
                        figures.setdefault((sky, row, kernel), []).append(measure(options.seconds))
                        line.weather = Weather()
    print(f"{'':44}" + "".join(f"{Path(kernel).name:>14}" for kernel in kernels))
    for sky, row in dict.fromkeys(key[:2] for key in figures):
        values = [statistics.median(figures[sky, row, kernel]) for kernel in kernels]
        print(f"{sky + ', ' + row:44}" + "".join(f"{value:14.2f}" for value in values) + f"{values[0] / max(values[-1], 1e-9):8.2f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
