# SPDX-License-Identifier: GPL-3.0-or-later
"""Uni's network under bad weather and bad clients: a TCP server in a guest, everything that it answers checked.

    tests/net/run.py [--machine microvm|q35] [words...]      only the tests whose names contain one of the words

UNI_TEST_MEMORY is the guest's memory, 32M where it is not set.

Needs root, QEMU, musl-gcc, e2fsprogs and kernel/build/uni.elf. The wire is wire.py; the server is tests/bench/net/epoll_server.c.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import resource
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import acks
import stamps
import wire
from stamps import checksum
from wire import GUEST, HOST, MICROVM, Weather, tether

HERE = Path(__file__).resolve().parent
TOP = HERE.parents[1]
KERNEL = TOP / "kernel" / "build" / "uni.elf"
BUILD = TOP / ".build" / "net"
HTTP, SINK, SOURCE, ECHO = 8080, 8081, 8082, 8084
ANSWER = b"hello, world\n"
MEMORY = os.environ.get("UNI_TEST_MEMORY", "32M")

TESTS: dict[str, Callable[[wire.Wire], None]] = {}


def test(function: Callable[[wire.Wire], None]) -> Callable[[wire.Wire], None]:
    """Register a test that runs against the server."""
    TESTS[function.__name__] = function
    return function


def run(*words: str | Path) -> None:
    subprocess.run([str(word) for word in words], check=True, capture_output=True)


def build_disk() -> Path:
    """A disk with the server and busybox."""
    BUILD.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=BUILD) as name:
        (Path(name) / "bin").mkdir()
        run("musl-gcc", "-O2", "-static", "-o", Path(name) / "bin/epoll_server", TOP / "tests/bench/net/epoll_server.c")
        if Path("/bin/busybox").exists():
            run("cp", "/bin/busybox", Path(name) / "bin/busybox")
        (BUILD / "disk").unlink(missing_ok=True)
        run("/sbin/mke2fs", "-q", "-t", "ext2", "-d", name, BUILD / "disk", "16M")
    return BUILD / "disk"


@contextlib.contextmanager
def guest(line: wire.Wire, machine: str, *argv: str) -> Iterator[subprocess.Popen[bytes]]:
    """Boot a program; its console is .build/net/console."""
    pairs = [f"init={argv[0]}", *(f"arg={word}" for word in argv[1:]), f"ip={GUEST}::{HOST}:255.255.255.0::eth0:off", "uni.tty=0",
             "uni.rlimit=nofile:20000:20000"]
    (BUILD / "config").write_bytes(b"".join(pair.encode() + b"\0" for pair in pairs))
    (BUILD / "console").unlink(missing_ok=True)
    bus = "device" if machine == "microvm" else "pci"
    process = subprocess.Popen(
        tether(["qemu-system-x86_64", "-M", MICROVM if machine == "microvm" else machine, "-global", "virtio-mmio.force-legacy=false",
         "-accel", "tcg", "-cpu", "max", "-m", MEMORY, "-smp", "1", "-nodefaults", "-no-user-config", "-no-reboot", "-display", "none",
         "-serial", f"file:{BUILD / 'console'}", "-device", "isa-debug-exit,iobase=0x501,iosize=2", "-kernel", KERNEL,
         "-append", "console=ttyS0 root=/dev/vda rw quiet", "-fw_cfg", f"name=opt/uni/config,file={BUILD / 'config'}",
         "-drive", f"file={BUILD / 'disk'},format=raw,if=none,id=d0,snapshot=on", "-device", f"virtio-blk-{bus},drive=d0",
         *line.qemu(bus)]), stdin=subprocess.DEVNULL)
    line.pid = process.pid
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def fetch(timeout: float = 60) -> None:
    """One HTTP request on a new connection, its answer checked."""
    with socket.create_connection((GUEST, HTTP), timeout) as peer:
        peer.settimeout(timeout)
        peer.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        data = b""
        while ANSWER not in data:
            piece = peer.recv(4096)
            assert piece, f"the connection ended after {data!r}"
            data += piece
        assert data.endswith(b"\r\n\r\n" + ANSWER), data


def download(size: int, timeout: float = 120) -> None:
    """The pattern from the source, every byte checked."""
    with socket.create_connection((GUEST, SOURCE), timeout) as peer:
        peer.settimeout(timeout)
        at = 0
        pattern = bytes(range(256)) * 257
        while at < size:
            piece = peer.recv(65536)
            assert piece and piece == pattern[at % 256:at % 256 + len(piece)], f"wrong bytes near {at}"
            at += len(piece)


def echo(size: int, timeout: float = 120) -> None:
    """Random bytes there and back, in lots small enough for the buffers on the way."""
    data = random.Random(size).randbytes(size)
    with socket.create_connection((GUEST, ECHO), timeout) as peer:
        peer.settimeout(timeout)
        for at in range(0, size, 8192):
            peer.sendall(data[at:at + 8192])
            back = b""
            while len(back) < min(8192, size - at):
                piece = peer.recv(65536)
                assert piece, f"the connection ended at {at}"
                back += piece
            assert back == data[at:at + 8192], f"wrong bytes near {at}"


def everything(requests: int, size: int) -> None:
    for _index in range(requests):
        fetch()
    download(size)
    echo(size)


@test
def fair_weather(line: wire.Wire) -> None:
    everything(200, 4 << 20)


@test
def loss(line: wire.Wire) -> None:
    line.weather = Weather(loss=0.03)
    everything(20, 512 << 10)


@test
def repetition(line: wire.Wire) -> None:
    line.weather = Weather(repeat=0.3)
    everything(50, 1 << 20)


@test
def reordering(line: wire.Wire) -> None:
    line.weather = Weather(reorder=0.2)
    everything(50, 512 << 10)


@test
def corruption(line: wire.Wire) -> None:
    line.weather = Weather(corrupt=0.02)
    everything(20, 512 << 10)


@test
def storm(line: wire.Wire) -> None:
    line.weather = Weather(loss=0.02, repeat=0.05, reorder=0.05, corrupt=0.005)
    everything(15, 256 << 10)


@test
def outage(line: wire.Wire) -> None:
    """The wire is cut in the middle of a download for longer than a dozen of the shortest time-outs; the connection survives."""
    pattern = bytes(range(256)) * 257
    with socket.create_connection((GUEST, SOURCE), 60) as peer:
        peer.settimeout(60)
        at = 0
        for cut in (3.0, 5.0):
            line.weather = Weather(loss=1.0)
            time.sleep(cut)
            line.weather = Weather()
            goal = at + (1 << 20)
            while at < goal:
                piece = peer.recv(65536)
                assert piece and piece == pattern[at % 256:at % 256 + len(piece)], f"wrong bytes near {at}"
                at += len(piece)


@test
def slow_reader(line: wire.Wire) -> None:
    """A client that takes a few bytes at a time does not hold up the others, and gets the right bytes."""
    with socket.socket() as slow:
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        slow.connect((GUEST, SOURCE))
        at = 0
        for _index in range(200):
            piece = slow.recv(100)
            assert piece == bytes((at + i) % 256 for i in range(len(piece)))
            at += len(piece)
            if at % 1000 == 0:
                fetch()


@test
def half_open(line: wire.Wire) -> None:
    """Many connections that say nothing, or half a request."""
    peers = [socket.create_connection((GUEST, HTTP), 20) for _index in range(300)]
    for peer in peers[::2]:
        peer.sendall(b"GET / HT")
    fetch()
    for peer in peers[::2]:
        peer.sendall(b"TP/1.1\r\n\r\n")
    for peer in peers[::2]:
        peer.settimeout(20)
        data = b""
        while ANSWER not in data:
            piece = peer.recv(4096)
            assert piece
            data += piece
    for peer in peers:
        peer.close()
    fetch()


@test
def vanishing_client(line: wire.Wire) -> None:
    """A client whose machine disappears in the middle of a download."""
    for _index in range(20):
        peer = socket.create_connection((GUEST, SOURCE), 60)
        peer.recv(1000)
        line.weather = Weather(mute_port=peer.getsockname()[1])
        peer.close()
        fetch()
    line.weather = Weather()
    fetch()


@test
def reset_storm(line: wire.Wire) -> None:
    """Clients that reset in the middle of everything."""
    for number in range(300):
        peer = socket.create_connection((GUEST, SOURCE if number % 2 else HTTP), 20)
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        if number % 3:
            peer.sendall(b"GET / HTTP/1.1\r\n\r\n")
        peer.close()
    fetch()


def syn(source: str, port: int, seq: int) -> bytes:
    """An IPv4 packet with a TCP SYN for the HTTP port."""
    addresses = socket.inet_aton(source) + socket.inet_aton(GUEST)
    tcp = struct.pack("!HHIIBBHHH", port, HTTP, seq, 0, 0x50, 2, 1024, 0, 0)
    tcp = tcp[:16] + struct.pack("!H", checksum(addresses + struct.pack("!HH", 6, len(tcp)) + tcp)) + tcp[18:]
    return struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(tcp), 0, 0, 64, 6, 0) + addresses + tcp


for body in (stamps.stamps_agreed, stamps.stamps_refused, stamps.old_duplicates, *acks.TESTS):
    test(body)


@test
def syn_flood(line: wire.Wire) -> None:
    """Connections are still made while others only ever start."""
    chance = random.Random(7)
    stop = threading.Event()

    def flood() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW) as raw:
            while not stop.is_set():
                for _index in range(20):
                    source = f"10.9.0.{chance.randrange(3, 250)}"
                    raw.sendto(syn(source, chance.randrange(1024, 65535), chance.getrandbits(32)), (GUEST, 0))
                time.sleep(0.02)
    thread = threading.Thread(target=flood)
    thread.start()
    try:
        time.sleep(1)
        for _index in range(10):
            fetch()
    finally:
        stop.set()
        thread.join()
    fetch()


@test
def many_connections(line: wire.Wire) -> None:
    """2,000 open connections at once, each answered."""
    peers = []
    for _index in range(2000):
        peer = socket.create_connection((GUEST, HTTP), 20)
        peer.settimeout(20)
        peers.append(peer)
    for start in range(0, len(peers), 50):      # more at once would overflow the wire's own queues
        for peer in peers[start:start + 50]:
            peer.sendall(b"GET / HTTP/1.1\r\n\r\n")
        for peer in peers[start:start + 50]:
            data = b""
            while ANSWER not in data:
                piece = peer.recv(4096)
                assert piece
                data += piece
    for peer in peers:
        peer.close()
    fetch()


def client(line: wire.Wire, machine: str) -> None:
    """The guest as client of a server on the host: busybox wget of a megabyte, its digest compared."""
    body = random.Random(3).randbytes(1 << 20)
    served = threading.Event()

    def serve(listener: socket.socket) -> None:
        peer, _address = listener.accept()
        peer.recv(4096)
        peer.sendall(b"HTTP/1.0 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        peer.close()
        served.set()
    with socket.create_server((HOST, 8000)) as listener:
        threading.Thread(target=serve, args=(listener,), daemon=True).start()
        with guest(line, machine, "/bin/busybox", "wget", "-q", "-O", "/got", f"http://{HOST}:8000/x") as process:
            code = process.wait(60)
    assert served.is_set() and code == 1, f"wget ended with QEMU status {code}: {(BUILD / 'console').read_text(errors='replace')}"


def wait_ready(process: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + 30
    while True:
        try:
            fetch(2)
            return
        except OSError as error:
            if process.poll() is not None or time.monotonic() > end:
                raise SystemExit(f"the server does not come up: {(BUILD / 'console').read_text(errors='replace')}") from error
            time.sleep(0.1)


def attempt(name: str, body: Callable[[], None]) -> bool:
    begun = time.monotonic()
    try:
        body()
    except (AssertionError, OSError, subprocess.SubprocessError) as error:
        print(f"FAIL {name}: {type(error).__name__}: {error}", flush=True)
        return False
    print(f"ok   {name} ({time.monotonic() - begun:.1f} s)", flush=True)
    return True


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("words", nargs="*")
    parser.add_argument("--machine", default="microvm", choices=("microvm", "q35", "pc"))
    options = parser.parse_args()
    if os.geteuid() != 0:
        raise SystemExit("tests/net/run.py needs root for its network namespace")
    # 2,000 connections need as many descriptors; many systems start programs with 1,024.
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(8192, hard), hard))
    build_disk()
    wire.enter_namespace()
    line = wire.Wire()
    chosen = [name for name in TESTS if not options.words or any(word in name for word in options.words)]
    passed = 0
    with guest(line, options.machine, "/bin/epoll_server") as process:
        wait_ready(process)
        for name in chosen:
            line.weather = Weather()
            passed += attempt(name, lambda name=name: TESTS[name](line))
            line.weather = Weather()
    if not options.words or "client" in options.words:
        chosen.append("client")
        passed += attempt("client", lambda: client(line, options.machine))
    print(f"{passed} passed, {len(chosen) - passed} failed")
    return passed != len(chosen)


if __name__ == "__main__":
    sys.exit(main())
