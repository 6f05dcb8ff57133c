# SPDX-License-Identifier: GPL-3.0-or-later
"""Segmentation by the device (TSO) while packets are lost: long segments are parted, sent again, and every byte is right.

    tests/net/offload.py [SERVER...]

The TAP device takes segments of up to 64 KiB; the bridge behind it has a port that does not, so they are cut there as by a network card,
and iptables in a second namespace drops single packets. Needs root, QEMU, iptables, musl-gcc, e2fsprogs and kernel/build/uni.elf.
"""

from __future__ import annotations

import argparse
import ctypes
import fcntl
import os
import socket
import struct
import sys
import time
from collections.abc import Callable
from functools import partial

import servers
import wire
from servers import SERVERS, Guest
from wire import GUEST, HOST

SOURCE, SINK = 8082, 8081


def download(size: int) -> None:
    """The pattern of the guest's source, every byte checked."""
    pattern, at = bytes(range(256)) * 1025, 0
    with socket.create_connection((GUEST, SOURCE), 60) as peer:
        peer.settimeout(60)
        while at < size:
            piece = peer.recv(262144)
            assert piece and piece == pattern[at % 256:at % 256 + len(piece)], f"wrong bytes near {at}"
            at += len(piece)


def upload(size: int) -> None:
    with socket.create_connection((GUEST, SINK), 60) as peer:
        peer.settimeout(60)
        for _at in range(0, size, 65536):
            peer.sendall(bytes(65536))


SIOCETHTOOL, ETHTOOL_STSO, ETHTOOL_SGSO = 0x8946, 0x1F, 0x24       # linux/sockios.h, linux/ethtool.h


def no_offload(device: str) -> None:
    """Have the host cut segments before this device sends them."""
    with socket.socket() as probe:
        for command in (ETHTOOL_STSO, ETHTOOL_SGSO):
            value = ctypes.create_string_buffer(struct.pack("II", command, 0))
            fcntl.ioctl(probe, SIOCETHTOOL, struct.pack("16sP8x", device.encode(), ctypes.addressof(value)))


def bridge() -> None:
    """tap0 and veth0 on a bridge; veth1 is for the clients' namespace."""
    wire.enter_namespace()
    for words in ("ip tuntap add tap0 mode tap vnet_hdr", "ip link add br0 type bridge", "ip link add veth0 type veth peer name veth1",
                  "ip link set tap0 master br0 up", "ip link set veth0 master br0 up", "ip link set br0 up"):
        servers.run(*words.split())
    no_offload("veth0")


def clients(holder: int) -> None:
    """This process moves to a namespace of its own and takes veth1 along."""
    wire.enter_namespace()
    servers.run("nsenter", f"--net=/proc/{holder}/ns/net", "ip", "link", "set", "veth1", "netns", str(os.getpid()))
    servers.run("ip", "addr", "add", f"{HOST}/24", "dev", "veth1")
    servers.run("ip", "link", "set", "veth1", "up")


def lose(chain: str, device: str, probability: float) -> None:
    servers.run("iptables", "-A", chain, device, "veth1", "-m", "statistic", "--mode", "random", "--probability", str(probability), "-j", "DROP")


def measure(name: str, probability: float, work: Callable[[], None], guest: Guest) -> bool:
    servers.run("iptables", "-F")
    if probability:
        lose("INPUT", "-i", probability)
        lose("OUTPUT", "-o", probability)
    begun = time.monotonic()
    try:
        work()
    except (AssertionError, OSError) as error:
        print(f"FAIL {name}, loss of {probability:.0%}: {type(error).__name__}: {error}\n{guest.console()}", flush=True)
        return False
    print(f"ok   {name}, loss of {probability:.0%} ({time.monotonic() - begun:.1f} s)", flush=True)
    return True


def bulk() -> None:
    """At a stop of 200 ms for each few losses this alone would take minutes."""
    download(24 << 20)
    upload(4 << 20)


def ask_often(server: servers.Server) -> None:
    for _time in range(40):
        server.ask(server.port)


def attempt(name: str, machine: str) -> int:
    """One server and its clients, in namespaces of their own. The number of failures."""
    bridge()
    server = SERVERS[name]
    guest = Guest(server, machine)
    clients(guest.process.pid)
    try:
        servers.wait_ready(guest, server)
        if name == "epoll":
            return sum(not measure(name, probability, bulk, guest) for probability in (0.0, 0.01, 0.05))
        # Servers write while segments wait to be sent again, and close: what they write must not follow those.
        return int(not measure(name, 0.02, partial(ask_often, server), guest))
    finally:
        guest.stop()


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--machine", default="microvm", choices=("microvm", "q35", "pc"))
    parser.add_argument("server", nargs="*", default=["epoll", "nginx", "redis"])
    options = parser.parse_args()
    if os.geteuid() != 0:
        raise SystemExit("tests/net/offload.py needs root for its network namespace")
    servers.BUILD.mkdir(parents=True, exist_ok=True)
    failed = 0
    for name in options.server:
        child = os.fork()                     # a namespace is left by the process's end only
        if child == 0:
            os._exit(attempt(name, options.machine))
        failed += os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    print(f"{sum(3 if name == 'epoll' else 1 for name in options.server) - failed} passed, {failed} failed")
    return failed > 0


if __name__ == "__main__":
    sys.exit(main())
