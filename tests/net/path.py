# SPDX-License-Identifier: GPL-3.0-or-later
"""Sizes of packets and several interfaces: MTU 9000 and 1280, a narrow path behind a router, two network cards in one guest.

    tests/net/path.py [--machine microvm|q35] [names...]

The narrow path: the guest's router forwards into a veth pair whose MTU is smaller than the TAP device's, so it answers what is too long with
ICMP "fragmentation needed" (RFC 1191) or "packet too big" (RFC 8201). Needs root, QEMU, musl-gcc, e2fsprogs and kernel/build/uni.elf.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import servers
import wire
from wire import GUEST, HOST, MICROVM, tether

BUILD = servers.TOP / ".build" / "net-path"
SINK, SOURCE, HTTP, STREAM = 8081, 8082, 8080, 8080
FAR, FAR_ROUTER = "10.9.1.2", "10.9.1.1"
GUEST6, HOST6, FAR6, FAR_ROUTER6 = "fd09:0:0:2::2", "fd09:0:0:2::1", "fd09:0:0:3::2", "fd09:0:0:3::1"
STATIC = f"ip={GUEST}::{HOST}:255.255.255.0::eth0:off"


def ip(words: str) -> None:
    servers.run("ip", *words.split())


def setns(namespace: int) -> None:
    """Move this process to another network namespace (Python has this from 3.12 on)."""
    if ctypes.CDLL(None, use_errno=True).setns(namespace, wire.CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "setns")


def build_disk() -> Path:
    """A disk with the server of the benchmarks, which listens to IPv4."""
    tree = BUILD / "tree"
    (tree / "bin").mkdir(parents=True, exist_ok=True)
    servers.run("musl-gcc", "-O2", "-static", "-o", str(tree / "bin/epoll_server"), str(servers.TOP / "tests/bench/net/epoll_server.c"))
    servers.run("musl-gcc", "-O2", "-static", "-o", str(tree / "bin/six"), str(servers.HERE / "guest/six.c"))
    servers.run("musl-gcc", "-O2", "-static", "-o", str(tree / "bin/route"), str(servers.HERE / "guest/route.c"))
    servers.run("/sbin/mke2fs", "-q", "-F", "-t", "ext2", "-d", str(tree), str(BUILD / "disk"), "16M")
    return BUILD / "disk"


def tap(name: str, address: str, mtu: int = 1500) -> None:
    ip(f"tuntap add {name} mode tap vnet_hdr")
    ip(f"addr add {address} dev {name}")
    ip(f"link set {name} mtu {mtu} up")


@contextlib.contextmanager
def guest(machine: str, program: str, pairs: tuple[str, ...], *cards: str) -> Iterator[None]:
    """Boot a program with a network card for each of `cards`: its device's further options. The n-th is on tapN."""
    micro = machine == "microvm"
    bus = "device" if micro else "pci"
    words = [f"init=/bin/{program}", "uni.tty=0", *pairs]
    (BUILD / "config").write_bytes(b"".join(word.encode() + b"\0" for word in words))
    line = ["qemu-system-x86_64", "-M", MICROVM if micro else machine, "-global", "virtio-mmio.force-legacy=false", "-accel", "tcg",
            "-cpu", "max", "-m", "64M", "-smp", "1", "-nodefaults", "-no-user-config", "-no-reboot", "-display", "none",
            "-serial", f"file:{BUILD / 'console'}", "-kernel", str(servers.KERNEL), "-append", "console=ttyS0 root=/dev/vda rw quiet",
            "-fw_cfg", f"name=opt/uni/config,file={BUILD / 'config'}",
            "-drive", f"file={BUILD / 'disk'},format=raw,if=none,id=d0,snapshot=on", "-device", f"virtio-blk-{bus},drive=d0"]
    for number, card in sorted(enumerate(cards), reverse=micro):      # microvm gives its slots from the last to the first
        line += ["-netdev", f"tap,id=n{number},ifname=tap{number},script=no,downscript=no",
                 "-device", f"virtio-net-{bus},netdev=n{number},mac=52:54:00:00:00:{number + 1:02x}{card}"]
    process = subprocess.Popen(tether(line), stdin=subprocess.DEVNULL)
    try:
        yield
    finally:
        process.kill()
        process.wait()


def connect(address: str, port: int) -> socket.socket:
    end = time.monotonic() + 60
    while True:
        try:
            peer = socket.create_connection((address, port), 5)
            peer.settimeout(60)
            return peer
        except OSError as error:
            if time.monotonic() > end:
                raise AssertionError(f"{address}: {error}\n{(BUILD / 'console').read_text(errors='replace')}") from error
            time.sleep(0.1)


def download(address: str, size: int) -> socket.socket:
    """The server's pattern, every byte checked; the connection."""
    pattern, at = bytes(range(256)) * 1025, 0
    peer = connect(address, SOURCE)
    while at < size:
        piece = peer.recv(262144)
        assert piece and piece == pattern[at % 256:at % 256 + len(piece)], f"wrong bytes near {at}"
        at += len(piece)
    return peer


def upload(address: str, size: int) -> None:
    with connect(address, SINK) as peer:
        for _at in range(0, size, 65536):
            peer.sendall(bytes(65536))
        peer.shutdown(socket.SHUT_WR)
        assert peer.recv(1) == b""            # the server closes when it has read everything


def segment(peer: socket.socket) -> int:
    """What the host believes the peer's segments to be at most: TCP_MAXSEG."""
    return peer.getsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG)


def of_size(machine: str, mtu: int, offers: str) -> None:
    tap("tap0", f"{HOST}/24", mtu)
    with guest(machine, "epoll_server", (STATIC,), f",host_mtu={mtu}{offers}"):
        with download(GUEST, 8 << 20) as peer:
            assert mtu - 80 < segment(peer) <= mtu - 40, f"segments of {segment(peer)} bytes"
        upload(GUEST, 4 << 20)


def jumbo(machine: str) -> None:
    """MTU 9000, with and without segmentation by the device."""
    of_size(machine, 9000, "")
    ip("link del tap0")
    of_size(machine, 9000, ",csum=off,gso=off,guest_csum=off")


def small(machine: str) -> None:
    """MTU 1280, with and without segmentation by the device."""
    of_size(machine, 1280, "")
    ip("link del tap0")
    of_size(machine, 1280, ",csum=off,gso=off,guest_csum=off")


def beyond_router(mtu: int) -> int:
    """A client's namespace behind a narrow path; this process stays the router. The descriptor of the client's namespace."""
    ours = os.open("/proc/self/ns/net", os.O_RDONLY)
    tap("tap0", f"{HOST}/24")
    ip(f"-6 addr add {HOST6}/64 dev tap0 nodad")
    ip("link add veth0 type veth peer name veth1")
    ip(f"addr add {FAR_ROUTER}/24 dev veth0")
    ip(f"-6 addr add {FAR_ROUTER6}/64 dev veth0 nodad")
    ip(f"link set veth0 mtu {mtu} up")
    for path in ("ipv4/ip_forward", "ipv6/conf/all/forwarding"):
        Path("/proc/sys/net", path).write_text("1")
    wire.enter_namespace()
    theirs = os.open("/proc/self/ns/net", os.O_RDONLY)
    holder = os.getpid()
    setns(ours)
    servers.run("ip", "link", "set", "veth1", "netns", f"/proc/{holder}/fd/{theirs}")
    setns(theirs)
    ip(f"addr add {FAR}/24 dev veth1")
    ip(f"-6 addr add {FAR6}/64 dev veth1 nodad")
    ip("link set veth1 up")
    # The client keeps to the path's size, since veth0 takes nothing longer in, but says that it takes full segments.
    ip(f"route add default via {FAR_ROUTER} mtu lock {mtu} advmss 1460")
    ip(f"-6 route add default via {FAR_ROUTER6} mtu lock {max(mtu, 1280)} advmss 1440")
    setns(ours)
    os.close(ours)
    return theirs


def narrow(machine: str) -> None:
    """A path that takes 1,000 bytes behind an interface that takes 1,500: with and without segmentation by the device."""
    client = beyond_router(1000)
    for offers in ("", ",csum=off,gso=off,guest_csum=off"):
        with guest(machine, "epoll_server", (STATIC,), offers):
            connect(GUEST, HTTP).close()
            router = os.open("/proc/self/ns/net", os.O_RDONLY)
            setns(client)
            try:
                download(GUEST, 4 << 20).close()
                upload(GUEST, 1 << 20)
            finally:
                setns(router)
                os.close(router)
    said = subprocess.run(["nstat", "-asz", "IcmpOutDestUnreachs"], stdout=subprocess.PIPE, text=True, check=True).stdout
    assert int(said.split()[-2]) >= 2, f"the router never said what is too long:\n{said}"


def narrow6(machine: str) -> None:
    """The same with IPv6 and 1,280 bytes."""
    client = beyond_router(1280)
    static6 = f"ip=[{GUEST6}]::[{HOST6}]:64::eth0:off"
    with guest(machine, "six", (STATIC, static6), ""):
        connect(GUEST6, STREAM).close()
        setns(client)
        data = os.urandom(1 << 20)
        with connect(GUEST6, STREAM) as peer:
            for at in range(0, len(data), 8192):
                peer.sendall(data[at:at + 8192])
                back = b""
                while len(back) < 8192:
                    piece = peer.recv(65536)
                    assert piece, f"the connection ended at {at}"
                    back += piece
                assert back == data[at:at + 8192], f"wrong bytes near {at}"


def static_route(machine: str) -> None:
    """A guest without a default route that sets one to the far network, and serves it."""
    client = beyond_router(1500)
    words = ("arg=10.9.1.0", "arg=255.255.255.0", f"arg={HOST}", "arg=/bin/epoll_server")
    with guest(machine, "route", (STATIC.replace(f"::{HOST}:", ":::"), *words), ""):
        setns(client)
        download(GUEST, 1 << 20).close()
        upload(GUEST, 1 << 20)


def two_cards(machine: str) -> None:
    """Two interfaces on two networks; each answers on its own, both at once."""
    tap("tap0", f"{HOST}/24")
    tap("tap1", "10.10.0.1/24")
    with guest(machine, "epoll_server", (STATIC, "ip=10.10.0.2:::255.255.255.0::eth1:off"), "", ""):
        peers = [connect(address, HTTP) for address in (GUEST, "10.10.0.2")]
        for _turn in range(100):
            for peer in peers:
                peer.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            for peer in peers:
                assert peer.recv(4096).endswith(b"hello, world\n")
        for address in (GUEST, "10.10.0.2"):
            download(address, 2 << 20).close()
            upload(address, 1 << 20)


TESTS: dict[str, Callable[[str], None]] = {"jumbo": jumbo, "small": small, "narrow": narrow, "narrow6": narrow6, "static_route": static_route, "two_cards": two_cards}


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--machine", default="microvm", choices=("microvm", "q35", "pc"))
    parser.add_argument("names", nargs="*")
    options = parser.parse_args()
    if os.geteuid() != 0:
        raise SystemExit("tests/net/path.py needs root for its network namespaces")
    BUILD.mkdir(parents=True, exist_ok=True)
    build_disk()
    passed = failed = 0
    for name, body in TESTS.items():
        if options.names and not any(word in name for word in options.names):
            continue
        wire.enter_namespace()                # each has its own
        try:
            body(options.machine)
            passed += 1
            print(f"ok   {name}", flush=True)
        except (AssertionError, OSError, subprocess.SubprocessError) as error:
            failed += 1
            print(f"FAIL {name}: {type(error).__name__}: {error}", flush=True)
    print(f"{passed} passed, {failed} failed")
    return failed > 0


if __name__ == "__main__":
    sys.exit(main())
