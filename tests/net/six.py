# SPDX-License-Identifier: GPL-3.0-or-later
"""IPv6 and multicast against the host's stack: a static address, one by router advertisement, DHCP beside it, groups, ICMPv6.

    tests/net/six.py [words...]

The guest's program is guest/six.c, with musl and with glibc. Needs root, QEMU, dnsmasq, musl-gcc, gcc, e2fsprogs and
kernel/build/uni.elf.
"""

from __future__ import annotations

import contextlib
import os
import random
import socket
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import wire
from wire import HOST, MICROVM, Weather, tether

HERE = Path(__file__).resolve().parent
TOP = HERE.parents[1]
KERNEL = TOP / "kernel" / "build" / "uni.elf"
BUILD = TOP / ".build" / "net-six"
TCP, UDP = 8080, 8085
PREFIX, STATIC = "fd09:1:2:3", "fd09:0:0:2::7"
# QEMU's first card is 52:54:00:12:34:56; RFC 4291, appendix A makes its interface identifier.
IDENTIFIER = "5054:ff:fe12:3456"
LINK_LOCAL, ADVERTISED = f"fe80::{IDENTIFIER}", f"{PREFIX}:{IDENTIFIER}"


def build_disk(compiler: str) -> Path:
    """A disk with the guest's program."""
    with tempfile.TemporaryDirectory(dir=BUILD) as name:
        (Path(name) / "bin").mkdir()
        subprocess.run([compiler, "-O2", "-static", "-o", Path(name) / "bin/six", HERE / "guest/six.c"], check=True)
        (BUILD / "disk").unlink(missing_ok=True)
        subprocess.run(["/sbin/mke2fs", "-q", "-F", "-t", "ext2", "-d", name, BUILD / "disk", "8M"], check=True)
    return BUILD / "disk"


@contextlib.contextmanager
def guest(line: wire.Wire, compiler: str, *ip: str) -> Iterator[None]:
    """Boot the program with the addresses given."""
    pairs = ["init=/bin/six", "uni.tty=0", *(f"ip={word}" for word in ip)]
    (BUILD / "config").write_bytes(b"".join(pair.encode() + b"\0" for pair in pairs))
    process = subprocess.Popen(
        tether(["qemu-system-x86_64", "-M", MICROVM, "-global", "virtio-mmio.force-legacy=false", "-accel", "tcg", "-cpu", "max", "-m", "32M",
         "-smp", "1", "-nodefaults", "-no-user-config", "-no-reboot", "-display", "none", "-serial", f"file:{BUILD / 'console'}",
         "-device", "isa-debug-exit,iobase=0x501,iosize=2", "-kernel", KERNEL, "-append", "console=ttyS0 root=/dev/vda rw quiet",
         "-fw_cfg", f"name=opt/uni/config,file={BUILD / 'config'}", "-drive",
         f"file={build_disk(compiler)},format=raw,if=none,id=d0,snapshot=on", "-device", "virtio-blk-device,drive=d0",
         *line.qemu("device")]), stdin=subprocess.DEVNULL)
    try:
        yield
    finally:
        process.kill()
        process.wait()


@contextlib.contextmanager
def router() -> Iterator[None]:
    """dnsmasq as router and as DHCP server for IPv4."""
    prefix = [f"{PREFIX}::1/64", "dev", "tap0", "nodad"]
    Path("/proc/sys/net/ipv6/conf/tap0/accept_ra").write_text("0")      # it shall not configure the host as well
    subprocess.run(["ip", "-6", "addr", "add", *prefix], check=True)
    process = subprocess.Popen(
        tether(["dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--port=0", "--interface=tap0", "--bind-interfaces", "--user=root",
         "--dhcp-range=10.9.0.60,10.9.0.60,1h", f"--dhcp-range={PREFIX}::,ra-only,64,1h", "--enable-ra", "--ra-param=tap0,4,600",
         f"--dhcp-leasefile={BUILD / 'leases'}", "--pid-file", "--dhcp-authoritative"]), stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield
    finally:
        process.kill()
        process.wait()
        # Or the host would send from this address in later tests, to guests that have no route back to it.
        subprocess.run(["ip", "-6", "addr", "del", *prefix[:3]], check=True)


def connect(address: str) -> socket.socket:
    """A connection as soon as there can be one."""
    end = time.monotonic() + 60
    where = socket.getaddrinfo(address, TCP, type=socket.SOCK_STREAM)[0]
    while True:
        peer = socket.socket(where[0], where[1])
        peer.settimeout(5)
        try:
            peer.connect(where[4])
            peer.settimeout(60)
            return peer
        except OSError as error:
            peer.close()
            if time.monotonic() > end:
                raise AssertionError(f"{address}: {error}\n{(BUILD / 'console').read_text(errors='replace')}") from error
            time.sleep(0.2)


def addresses(peer: socket.socket) -> set[str]:
    """What getifaddrs() says in the guest: "eth0 ADDRESS"."""
    peer.sendall(b"A")
    text = b""
    while not text.endswith(b".\n"):
        piece = peer.recv(4096)
        assert piece, "the connection ended"
        text += piece
    return set(text.decode().splitlines()[:-1])


def stream(address: str, size: int) -> None:
    """Random bytes there and back."""
    data = random.Random(size).randbytes(size)
    with connect(address) as peer:
        for at in range(0, size, 8192):
            peer.sendall(data[at:at + 8192])
            back = b""
            while len(back) < len(data[at:at + 8192]):
                piece = peer.recv(65536)
                assert piece, f"the connection ended at {at}"
                back += piece
            assert back == data[at:at + 8192], f"wrong bytes near {at}"


def datagrams(address: str, sizes: tuple[int, ...] = (0, 1, 1000, 1400, 5000)) -> None:
    """Each comes back whole; the longest in fragments."""
    where = socket.getaddrinfo(address, UDP, type=socket.SOCK_DGRAM)[0]
    with socket.socket(where[0], where[1]) as peer:
        peer.settimeout(2)
        if where[0] == socket.AF_INET:
            peer.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(HOST))
        else:
            peer.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, struct.pack("i", socket.if_nametoindex("tap0")))
        for size in sizes:
            data = random.Random(size).randbytes(size)
            for _attempt in range(10):
                peer.sendto(data, where[4])
                try:
                    assert peer.recv(65536) == data, f"{size} bytes: not what was sent"
                    break
                except TimeoutError:
                    continue
            else:
                raise AssertionError(f"{address}: {size} bytes do not come back")


def ping(address: str, patience: float = 20) -> None:
    """ICMPv6 echo (RFC 4443, section 4), its answer compared, within ``patience`` seconds."""
    where = socket.getaddrinfo(address, None, type=socket.SOCK_RAW, proto=socket.IPPROTO_ICMPV6)[0]
    request = struct.pack("!BBHHH", 128, 0, 0, 77, 1) + random.Random(1).randbytes(1000)
    with socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6) as peer:
        peer.settimeout(patience)
        peer.sendto(request, where[4])
        while True:
            answer = peer.recv(4096)
            if answer[0] == 129 and answer[4:] == request[4:]:
                return


def static(line: wire.Wire) -> None:
    """A static IPv6 address and a static IPv4 one; link-local; what nobody listens to is refused."""
    with guest(line, "musl-gcc", f"[{STATIC}]:::64::eth0:off", "10.9.0.2::10.9.0.1:255.255.255.0::eth0:off"):
        with connect(STATIC) as peer:
            found = addresses(peer)
        want = {"lo 127.0.0.1", "lo ::1", f"eth0 {STATIC}", f"eth0 {LINK_LOCAL}", "eth0 10.9.0.2"}
        assert want <= found, f"getifaddrs has {sorted(found)}, not {sorted(want - found)}"
        for address in (STATIC, f"{LINK_LOCAL}%tap0", "10.9.0.2"):
            stream(address, 1 << 20)
            datagrams(address)
        ping(STATIC)
        ping(f"{LINK_LOCAL}%tap0")
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as peer:
            peer.settimeout(10)
            peer.connect((STATIC, 9))
            peer.send(b"nobody")
            try:
                peer.recv(1)
                raise AssertionError("an answer from nobody")
            except ConnectionRefusedError:
                pass
        line.weather = Weather(loss=0.02, reorder=0.05, repeat=0.05)
        stream(STATIC, 256 << 10)


def advertised(line: wire.Wire) -> None:
    """An address from a router's advertisement beside one from DHCP; a program linked with glibc."""
    with router(), guest(line, "gcc", "dhcp"):
        with connect(ADVERTISED) as peer:
            found = addresses(peer)
        want = {f"eth0 {ADVERTISED}", f"eth0 {LINK_LOCAL}", "eth0 10.9.0.60"}
        assert want <= found, f"getifaddrs has {sorted(found)}, not {sorted(want - found)}"
        for address in (ADVERTISED, "10.9.0.60"):
            stream(address, 1 << 20)
            datagrams(address)
        ping(ADVERTISED)


def moved(line: wire.Wire) -> None:
    """The host's link address changes, as a bridge's or a failed-over router's does: the guest answers to the new one at once."""
    with guest(line, "musl-gcc", f"[{STATIC}]:::64::eth0:off", "10.9.0.2::10.9.0.1:255.255.255.0::eth0:off"):
        for number in range(3):
            connect(STATIC).close()
            connect(f"{LINK_LOCAL}%tap0").close()
            subprocess.run(["ip", "link", "set", "tap0", "address", f"02:00:00:00:00:0{number}"], check=True)
            socket.create_connection(("10.9.0.2", TCP), timeout=4).close()
            for address in (STATIC, f"{LINK_LOCAL}%tap0"):
                ping(address, patience=4)  # an entry that nobody confirms is asked for again only after 35 seconds


def neighbor(address: str) -> str:
    """The link address that the host knows for it."""
    shown = subprocess.run(["ip", "neigh", "show", address, "dev", "tap0"], capture_output=True, text=True, check=True).stdout.split()
    return shown[shown.index("lladdr") + 1] if "lladdr" in shown else ""


def announced(line: wire.Wire) -> None:
    """A host that knows the guest's addresses by another link address, of a guest before it, hears of the new one without asking;
    a frame to the other one is not for this guest (the host's own stack drops such, too)."""
    known = ["02:00:00:00:00:99", "dev", "tap0", "nud"]
    for address in (STATIC, "10.9.0.2"):
        subprocess.run(["ip", "neigh", "replace", address, "lladdr", *known, "stale"], check=True)
    with guest(line, "musl-gcc", f"[{STATIC}]:::64::eth0:off", "10.9.0.2::10.9.0.1:255.255.255.0::eth0:off"):
        end = time.monotonic() + 60
        while not all(neighbor(address).startswith("52:54") for address in (STATIC, "10.9.0.2")):
            assert time.monotonic() < end, f"not announced: {STATIC} {neighbor(STATIC)}, 10.9.0.2 {neighbor('10.9.0.2')}"
            time.sleep(0.1)
        for address in (STATIC, "10.9.0.2"):
            subprocess.run(["ip", "neigh", "replace", address, "lladdr", *known, "permanent"], check=True)
            try:
                socket.create_connection((address, TCP), timeout=2).close()
                raise AssertionError(f"{address} answers to what is for another host")
            except TimeoutError:
                pass
            subprocess.run(["ip", "neigh", "del", address, "dev", "tap0"], check=True)
            connect(address).close()


def neighbors(line: wire.Wire) -> None:
    """More neighbors than the guest's tables hold, each with a connection, in turn: all are answered."""
    count = 300
    sources = {"10.9.0.2": [f"10.9.{1 + number // 200}.{1 + number % 200}" for number in range(count)],
               STATIC: [f"fd09:0:0:2::{number:x}:1" for number in range(1, count + 1)]}
    batch = "".join(f"address {{}} {source}/{length} dev tap0{nodad}\n" for address, length, nodad in (("10.9.0.2", 16, ""), (STATIC, 64, " nodad"))
                    for source in sources[address])
    subprocess.run(["ip", "-batch", "-"], input=batch.replace("{}", "add"), text=True, check=True)
    try:
        with guest(line, "musl-gcc", f"[{STATIC}]:::64::eth0:off", "10.9.0.2::10.9.0.1:255.255.0.0::eth0:off"), contextlib.ExitStack() as stack:
            connect(STATIC).close()
            peers = [stack.enter_context(socket.create_connection((address, TCP), 20, (source, 0)))
                     for address in sources for source in sources[address]]
            for turn in range(3):
                for number, peer in enumerate(peers):
                    text = f"{turn}:{number:04}".encode()
                    peer.sendall(text)
                    assert peer.recv(100) == text
    finally:
        # The first of a subnet takes the others with it.
        subprocess.run(["ip", "-force", "-batch", "-"], input=batch.replace("{}", "del"), text=True, check=False, stderr=subprocess.DEVNULL)


def groups(line: wire.Wire) -> None:
    """Datagrams to multicast groups that the guest joined are answered; to others they are not."""
    with guest(line, "musl-gcc", f"[{STATIC}]:::64::eth0:off", "10.9.0.2::10.9.0.1:255.255.255.0::eth0:off"):
        connect(STATIC).close()
        datagrams("239.9.9.9", (1, 1000))
        datagrams("ff15::99", (1, 1000))
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer:
            peer.settimeout(1)
            peer.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(HOST))
            peer.sendto(b"other", ("239.9.9.10", UDP))
            try:
                raise AssertionError(f"an answer from a group that the guest is not in: {peer.recv(64)!r}")
            except TimeoutError:
                pass


TESTS: dict[str, Callable[[wire.Wire], None]] = {"static": static, "advertised": advertised, "moved": moved, "announced": announced, "neighbors": neighbors,
                                                 "groups": groups}


def main() -> int:
    if os.geteuid() != 0:
        raise SystemExit("tests/net/six.py needs root for its network namespace")
    BUILD.mkdir(parents=True, exist_ok=True)
    wire.enter_namespace()
    line = wire.Wire()
    subprocess.run(["ip", "-6", "addr", "add", "fd09:0:0:2::1/64", "dev", "tap0", "nodad"], check=True)
    passed = failed = 0
    for name, body in TESTS.items():
        if sys.argv[1:] and not any(word in name for word in sys.argv[1:]):
            continue
        line.weather = Weather()
        try:
            body(line)
            passed += 1
            print(f"ok   {name}", flush=True)
        except (AssertionError, OSError, subprocess.SubprocessError) as error:
            failed += 1
            print(f"FAIL {name}: {type(error).__name__}: {error}", flush=True)
        line.weather = Weather()
    print(f"{passed} passed, {failed} failed")
    return failed > 0


if __name__ == "__main__":
    sys.exit(main())
