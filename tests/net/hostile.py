# SPDX-License-Identifier: GPL-3.0-or-later
"""Frames that lie, sent at a guest that serves: afterwards it answers on every address, and its memory is what it was.

    tests/net/hostile.py [--frames N] [--seed N] [KIND ...]

Whole packets of each protocol with lengths, offsets, options, header chains and states that are wrong, most of them with checksums that
are right. Needs root, QEMU, musl-gcc, e2fsprogs and kernel/build/uni.elf.
"""

from __future__ import annotations

import argparse
import os
import random
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import six
import wire
from control import Control
from wire import GUEST, HOST, MICROVM, tether

KERNEL, BUILD = six.KERNEL, six.BUILD
GUEST_MAC, OUR_MAC = bytes.fromhex("525400123456"), bytes.fromhex("0200000000fe")
TCP, UDP, CLOSED = 8080, 8085, 9
TURN = 480              # frames until another connection is the victim
SLACK = 256 << 10       # bytes that may be held longer than the frames that asked for them: caches, spare buffers
LOCAL6 = socket.inet_pton(socket.AF_INET6, "fe80::fe")
GUEST6 = socket.inet_pton(socket.AF_INET6, six.LINK_LOCAL)
GROUP6 = socket.inet_pton(socket.AF_INET6, "ff02::1")


def checksum(data: bytes) -> int:
    """The Internet checksum (RFC 1071)."""
    total = sum(struct.unpack(f"!{(len(data) + 1) // 2}H", data + b"\0" * (len(data) % 2)))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


class Fuzzer:
    """Makes frames from one seed. ``seen``: source port, sequence and acknowledgment of the victim, a connection of ours."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.seen: tuple[int, int, int] | None = None

    def pick(self, *values: int) -> int:
        """One of some values, or now and then any."""
        return self.random.choice(values) if self.random.random() < 0.9 else self.random.randrange(65536)

    def byte(self, *values: int) -> int:
        """The same for a field of one byte."""
        return self.pick(*values) & 255

    def some(self, most: int) -> bytes:
        """Random bytes."""
        return self.random.randbytes(self.random.randrange(most + 1))

    def ether(self, kind: int, payload: bytes, group: bool = False) -> bytes:
        """A frame; now and then cut off, too long, with a VLAN tag or another type."""
        chance = self.random.random()
        to = b"\xff" * 6 if group and chance < 0.5 else b"\x33\x33\0\0\0\1" if group else GUEST_MAC
        tag = b"\x81\0\0\1" if chance > 0.98 else b""
        frame = to + OUR_MAC + tag + struct.pack("!H", kind if chance > 0.01 else self.pick(0, 46, 0x8100, 0xFFFF, 0x86DD)) + payload
        if self.random.random() < 0.1:
            frame = frame[:self.random.randrange(1, len(frame) + 1)]     # an empty one would be the end of the wire to QEMU
        return (frame + b"\0" * self.random.choice((0, 0, 0, 10, 2000)))[:60000]

    def ipv4(self, protocol: int, payload: bytes) -> bytes:
        """IPv4 around ``payload``."""
        options = self.options4() if self.random.random() < 0.2 else b""
        header = 5 + len(options) // 4
        total = len(payload) + 4 * header
        fragment = self.pick(0, 0, 0, 0x4000) if self.random.random() < 0.7 else self.pick(0x2000, 0x2001, 0x3FFF, 0x1FFF, 0x1FFE, 0x2010, 1, 100)
        length = total if self.random.random() < 0.85 else self.pick(0, 19, 20, total - 1, total + 1, 65535)
        source = socket.inet_aton(HOST) if self.random.random() < 0.8 else self.random.choice(
            (b"\0" * 4, b"\xff" * 4, b"\x7f\0\0\1", b"\xe0\0\0\1", socket.inet_aton(GUEST), self.random.randbytes(4)))
        to = socket.inet_aton(GUEST) if self.random.random() < 0.85 else self.random.choice((b"\xff" * 4, b"\xe0\0\0\1", b"\n\x09\0\xff", b"\x7f\0\0\1"))
        first = 0x40 | (header if self.random.random() < 0.95 else self.pick(0, 1, 4, 6, 15)) & 15
        head = struct.pack("!BBHHHBBH4s4s", first, self.byte(0, 255), length & 0xFFFF, self.pick(1, 2, 3), fragment & 0xFFFF, self.byte(64, 0, 1), protocol,
                           0, source, to) + options
        sum_ = checksum(head) if self.random.random() < 0.95 else 0
        return self.ether(0x0800, head[:10] + struct.pack("!H", sum_) + head[12:] + payload)

    def options4(self) -> bytes:
        """IPv4 options, most of them wrong: record route, timestamp, source routes, lengths of 0 and beyond the header."""
        kinds = (0, 1, 7, 68, 131, 137, 148, 130)
        text = b"".join(bytes([self.random.choice(kinds), self.byte(0, 1, 2, 3, 4, 11, 39, 40, 255), self.byte(0, 4, 5, 255)])
                        for _ in range(self.random.randrange(1, 12)))[:40]
        return text + b"\0" * (-len(text) % 4)

    def pseudo(self, six_: bool, protocol: int, length: int) -> bytes:
        """What the checksum of TCP, UDP and ICMPv6 covers besides."""
        if six_:
            return LOCAL6 + GUEST6 + struct.pack("!II", length, protocol)
        return socket.inet_aton(HOST) + socket.inet_aton(GUEST) + struct.pack("!BBH", 0, protocol, length)

    def summed(self, six_: bool, protocol: int, segment: bytes, at: int) -> bytes:
        """``segment`` with its checksum; wrong now and then."""
        if len(segment) < at + 2 or self.random.random() < 0.05:
            return segment
        segment = segment[:at] + b"\0\0" + segment[at + 2:]
        return segment[:at] + struct.pack("!H", checksum(self.pseudo(six_, protocol, len(segment)) + segment)) + segment[at + 2:]

    def tcp(self, six_: bool = False) -> bytes:
        """A segment: for the listener, for the victim, for nobody."""
        port, seq, ack = self.seen if self.seen and not six_ and self.random.random() < 0.6 else (self.random.randrange(1024, 65536), 0, 0)
        seq += self.pick(0, 0, 0, 1, -1, 1000, -1000, 65535, 1 << 20, 1 << 31)
        ack += self.pick(0, 0, 0, 1, -1, 1000, -70000, 1 << 31)
        flags = self.pick(0x02, 0x10, 0x18, 0x12, 0x11, 0x04, 0x14, 0, 0x3F, 0x29, 0x22, 0xC2) & 0xFF
        options = b"".join(self.tcp_option() for _ in range(self.random.randrange(5)))[:40]
        options += b"\0" * (-len(options) % 4)
        offset = 5 + len(options) // 4 if self.random.random() < 0.9 else self.pick(0, 4, 5, 15)
        body = self.some(1400) if self.random.random() < 0.4 else b""
        segment = struct.pack("!HHIIBBHHH", port, TCP if self.random.random() < 0.9 else CLOSED, seq & 0xFFFFFFFF, ack & 0xFFFFFFFF, (offset & 15) << 4, flags,
                              self.pick(0, 1, 1000, 65535), 0, self.pick(0, 1, 65535)) + options + body
        return self.summed(six_, 6, segment, 16)

    def tcp_option(self) -> bytes:
        """One option of TCP with a length that may lie."""
        kind = self.random.choice((0, 1, 2, 3, 4, 5, 8, 19, 28, 30, 34, 254))
        right = {2: 4, 3: 3, 4: 2, 5: self.random.choice((10, 18, 26, 34)), 8: 10}.get(kind, 4)
        length = right if self.random.random() < 0.7 else self.pick(0, 1, 2, 3, 39, 40, 255)
        return bytes([kind]) if kind < 2 else bytes([kind, length & 255]) + self.random.choice((b"\0" * 32, b"\xff" * 32, self.random.randbytes(32)))[:max(0, right - 2)]

    def udp(self, six_: bool = False) -> bytes:
        """A datagram, for somebody or nobody, also as an answer of DHCP or DNS that nobody asked for."""
        body = self.dhcp() if self.random.random() < 0.3 else self.some(1400)
        length = 8 + len(body) if self.random.random() < 0.8 else self.pick(0, 7, 8, 9, 65535)
        ports = self.random.choice(((5000, UDP), (5000, CLOSED), (67, 68), (53, 50000), (547, 546), (0, 0), (1900, 1900)))
        return self.summed(six_, 17, struct.pack("!HHHH", *ports, length & 0xFFFF, 0) + body, 6)

    def dhcp(self) -> bytes:
        """A reply with options whose lengths lie."""
        options = b"".join(bytes([self.random.choice((1, 3, 6, 12, 15, 26, 51, 52, 53, 54, 58, 119, 121, 255, 0)), self.byte(0, 1, 3, 4, 5, 64, 255)])
                           + self.some(8) for _ in range(self.random.randrange(12)))
        return (struct.pack("!BBBBIHH", 2, 1, self.byte(6, 0, 16, 255), 0, self.random.randrange(1 << 32), 0, 0) + self.random.randbytes(16) + GUEST_MAC
                + b"\0" * 202 + b"\x63\x82\x53\x63" + options)

    def icmp(self) -> bytes:
        """ICMP: errors about connections that exist and that do not, echo, time stamps, redirects."""
        port, seq, _ack = self.seen or (5000, 0, 0)
        inner = struct.pack("!BBHHHBBH4s4s", 0x45, 0, self.pick(0, 40, 65535), 1, 0, 64, self.byte(6, 17, 1), 0, socket.inet_aton(GUEST), socket.inet_aton(HOST))
        inner += struct.pack("!HHI", TCP, port, seq & 0xFFFFFFFF)
        text = struct.pack("!BBHHH", self.byte(0, 3, 3, 3, 5, 8, 8, 11, 12, 13, 17), self.byte(0, 1, 2, 3, 4, 13, 255), 0, self.pick(0, 1),
                           self.pick(0, 1, 67, 68, 576, 1500, 65535))
        text += self.random.choice((inner, inner[:self.random.randrange(len(inner))], self.some(1400)))
        return text[:2] + struct.pack("!H", checksum(text)) + text[4:]

    def icmp6(self) -> bytes:
        """ICMPv6: errors, echo, neighbor discovery with options that lie, router advertisements, groups."""
        kind = self.byte(1, 2, 2, 3, 4, 128, 129, 130, 131, 132, 133, 134, 134, 135, 135, 136, 137, 143)
        body = b"\0" * 4 + self.random.choice((GUEST6, LOCAL6, GROUP6, self.random.randbytes(16))) if kind in (135, 136) else self.random.randbytes(
            self.random.choice((0, 4, 12, 20, 36)))
        if kind == 2:
            body = struct.pack("!I", self.pick(0, 1, 68, 1279, 1280, 1500) | self.random.choice((0, 0, 1 << 31))) + struct.pack(
                "!IHBB", 0x60000000, 40, 6, 64) + GUEST6 + LOCAL6 + self.some(40)
        # The source of these frames is LOCAL6: nothing here takes over the addresses of the one who asks.
        options = b"".join(bytes([self.random.choice((1, 2, 3, 4, 5, 24, 25, 31, 200)), self.byte(0, 1, 1, 1, 2, 4, 255)]) + self.random.randbytes(
            self.random.choice((0, 6, 6, 14, 30))) for _ in range(self.random.randrange(4)))
        return self.summed(True, 58, struct.pack("!BBH", kind, self.byte(0, 0, 0, 1, 255), 0) + body + options, 2)

    def ipv6(self, protocol: int, payload: bytes) -> bytes:
        """IPv6 with a chain of extension headers that may lie or go round."""
        chain = b""
        kinds = [self.random.choice((0, 43, 44, 60, 51, 135, 59, 255)) for _ in range(self.random.choice((0, 0, 0, 1, 2, 3, 9)))]
        for index, kind in enumerate(kinds):
            following = kinds[index + 1] if index + 1 < len(kinds) else protocol
            if kind == 44:
                chain += struct.pack("!BBHI", following, 0, self.pick(0, 1, 8, 9, 0xFFF8, 0xFFF9), self.pick(1, 2))
            else:
                chain += bytes([following, self.byte(0, 0, 0, 1, 2, 255), self.byte(0, 1, 5, 0xC2, 0x80), self.byte(0, 1, 4, 255)]) + self.random.randbytes(4)
        length = len(chain) + len(payload)
        said = length if self.random.random() < 0.9 else self.pick(0, 1, length - 1, length + 1, 65535)
        group = self.random.random() < 0.2
        source = LOCAL6 if self.random.random() < 0.9 else self.random.choice((b"\0" * 16, b"\0" * 15 + b"\1", GROUP6, GUEST6, self.random.randbytes(16)))
        head = struct.pack("!IHBB", 0x60000000 if self.random.random() < 0.98 else 0, said & 0xFFFF, kinds[0] if kinds else protocol, self.byte(255, 255, 64, 0))
        return self.ether(0x86DD, head + source + (GROUP6 if group else GUEST6) + chain + payload, group)

    def arp(self) -> bytes:
        """Requests and answers about anybody but us, of odd sizes."""
        sender = self.random.choice((b"\0" * 4, b"\n\x09\0\x63", b"\xff" * 4, socket.inet_aton(GUEST)))
        return self.ether(0x0806, struct.pack("!HHBBH6s4s6s4s", self.pick(1, 0), self.pick(0x800, 0x86DD), self.byte(6, 0, 255), self.byte(4, 0, 255),
                                              self.pick(1, 2, 0, 8), OUR_MAC, sender, GUEST_MAC, socket.inet_aton(GUEST)), self.random.random() < 0.5)


KINDS: dict[str, Callable[[Fuzzer], bytes]] = {
    "tcp": lambda f: f.ipv4(6, f.tcp()), "udp": lambda f: f.ipv4(17, f.udp()), "icmp": lambda f: f.ipv4(1, f.icmp()),
    "other": lambda f: f.ipv4(f.byte(0, 2, 2, 4, 41, 47, 255), f.some(1400)), "arp": Fuzzer.arp,
    "tcp6": lambda f: f.ipv6(6, f.tcp(True)), "udp6": lambda f: f.ipv6(17, f.udp(True)), "icmp6": lambda f: f.ipv6(58, f.icmp6()),
    "noise": lambda f: f.ether(f.pick(0x800, 0x806, 0x86DD), f.some(200)),
}


class Watched(wire.Wire):
    """The wire, which also reads where the victim stands."""

    def __init__(self, fuzzer: Fuzzer) -> None:
        super().__init__()
        self.fuzzer, self.victim = fuzzer, 0

    def carry(self, to_guest: bool, frame: bytes) -> None:
        """See Wire."""
        if to_guest and len(frame) >= 54 and frame[12:14] == b"\x08\x00" and frame[23] == 6:
            source, to, seq, ack = struct.unpack_from("!HHII", frame, 14 + (frame[14] & 15) * 4)
            if source == self.victim and to == TCP:
                self.fuzzer.seen = source, seq, ack
        super().carry(to_guest, frame)


@contextmanager
def guest(line: wire.Wire) -> Iterator[subprocess.Popen[bytes]]:
    """Boot the program of six.py."""
    (BUILD / "config").write_bytes(f"init=/bin/six\0uni.tty=0\0ip={GUEST}::{HOST}:255.255.255.0:uni:eth0:off\0".encode())
    (BUILD / "control").unlink(missing_ok=True)
    process = subprocess.Popen(
        tether(["qemu-system-x86_64", "-M", MICROVM, "-global", "virtio-mmio.force-legacy=false", "-accel", "tcg", "-cpu", "max", "-m", "32M",
         "-smp", "1", "-nodefaults", "-no-user-config", "-no-reboot", "-display", "none", "-serial", f"file:{BUILD / 'console'}",
         "-chardev", f"socket,id=ctl,path={BUILD / 'control'},server=on,wait=off", "-device", "isa-serial,chardev=ctl,iobase=0x2f8,irq=3",
         "-device", "isa-debug-exit,iobase=0x501,iosize=2", "-kernel", KERNEL, "-append", "console=ttyS0 root=/dev/vda rw quiet",
         "-fw_cfg", f"name=opt/uni/config,file={BUILD / 'config'}", "-drive",
         f"file={six.build_disk('musl-gcc')},format=raw,if=none,id=d0,snapshot=on", "-device", "virtio-blk-device,drive=d0",
         *line.qemu("device")]), stdin=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def alive() -> None:
    """It answers on both versions, TCP and UDP."""
    for address in (GUEST, f"{six.LINK_LOCAL}%tap0"):
        six.stream(address, 50000)
        six.datagrams(address, (1, 1400))


def attack(line: Watched, fuzzer: Fuzzer, kinds: list[str], frames: int) -> None:
    """Send; after every few a connection of ours says whether the guest is still there."""
    witness, victim = six.connect(GUEST), six.connect(GUEST)
    line.victim = victim.getsockname()[1]
    for number in range(frames):
        line.send(True, KINDS[fuzzer.random.choice(kinds)](fuzzer))
        if number % 48 == 47:
            witness.sendall(b"x")
            assert witness.recv(1) == b"x", f"the connection ended after frame {number}"
            with suppress(OSError):     # the victim may be reset by what it was sent: that is what such segments are for
                victim.settimeout(0.05)
                victim.sendall(b"v")
                victim.recv(100)
            if number % TURN == TURN - 1:
                victim.close()
                victim = six.connect(GUEST)
                line.victim = victim.getsockname()[1]
    victim.close()
    witness.close()


def attempt(kinds: list[str], seed: int, frames: int) -> str:
    """Why the guest has not survived; nothing where it has."""
    fuzzer = Fuzzer(seed)
    line = Watched(fuzzer)
    with guest(line) as process:
        before = 0
        try:
            alive()
            control = Control(BUILD / "control")
            attack(line, fuzzer, kinds, frames)             # caches and buffers come to their size
            alive()
            before, sockets = settled(control, 0, 0)
            attack(line, fuzzer, kinds, frames)
            alive()
            # What was written into a victim's stream leaves it out of step: then the guest never hears of its end, nor would Linux.
            sockets += 1 + frames // TURN
            after, left = settled(control, before - SLACK, sockets)
            assert after >= before - SLACK, f"{before - after} bytes less than before"
            assert left <= sockets, f"{left} sockets, {sockets} at most expected"
        except (AssertionError, OSError) as error:
            console = (BUILD / "console").read_text(errors="replace")[-600:]
            free = f"free before {before}, " if before else ""
            return f"{free}{type(error).__name__}: {error}; QEMU {'runs' if process.poll() is None else 'has ended'}\n{console}"
    return ""


def settled(control: Control, enough: int, sockets: int) -> tuple[int, int]:
    """Bytes that are free or could be, and sockets, as soon as it is enough: fragments and half-open connections wait for up to a minute and a half for the rest."""
    end = time.monotonic() + (90 if enough else 5)
    while True:
        stats = control.stats()
        free, open_ = stats["mem_free"] + stats["mem_cache"], stats["sockets"]
        if time.monotonic() > end or (enough and free >= enough and open_ <= sockets):
            return free, open_
        time.sleep(0.5)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("kinds", nargs="*", metavar="KIND", help=f"{', '.join(KINDS)} (default: all together)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--frames", type=int, default=1500)
    options = parser.parse_args()
    if os.geteuid() != 0:
        raise SystemExit("tests/net/hostile.py needs root for its network namespace")
    BUILD.mkdir(parents=True, exist_ok=True)
    wire.enter_namespace()
    wrong = attempt(options.kinds or list(KINDS), options.seed, options.frames)
    print(f"FAIL hostile frames, seed {options.seed}: {wrong}" if wrong else f"ok   {options.frames} hostile frames, seed {options.seed}")
    print(f"{int(not wrong)} passed, {int(bool(wrong))} failed")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
