# SPDX-License-Identifier: GPL-3.0-or-later
"""A wire between QEMU and a TAP device that loses, repeats, reorders and corrupts frames, in a network namespace of its own.

The kernel of the test machine need not have netem: QEMU sends its frames as UDP datagrams (``-netdev socket,udp=``), a thread
passes them on. Everything is decided by a seeded generator.
"""

from __future__ import annotations

import ctypes
import fcntl
import heapq
import os
import random
import select
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1] / "kernel"))

from oracle.guest import MICROVM
from oracle.tether import tether

CLONE_NEWNET = 0x40000000
TUNSETIFF = 0x400454CA          # linux/if_tun.h
IFF_TAP, IFF_NO_PI = 0x0002, 0x1000
HOST, GUEST = "10.9.0.1", "10.9.0.2"
QEMU_PORT, OUR_PORT = 7002, 7001
__all__ = ["GUEST", "HOST", "MICROVM", "Weather", "Wire", "enter_namespace", "tether"]


@dataclass
class Weather:
    """What happens to frames: probabilities of each, both ways. ``mute_port`` drops what concerns one TCP port of the client.

    ``delay`` is in seconds each way; ``rate`` in bytes a second each way (0: no limit), with room for ``queue`` bytes.
    """

    loss: float = 0.0
    repeat: float = 0.0
    reorder: float = 0.0
    corrupt: float = 0.0
    mute_port: int = 0
    delay: float = 0.0
    rate: float = 0.0
    queue: int = 1 << 17


def enter_namespace() -> None:
    """Put this process into a new network namespace with loopback up. Needs root."""
    if ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "unshare(CLONE_NEWNET)")
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)


class Wire:
    """The TAP device and the thread."""

    def __init__(self, seed: int = 1) -> None:
        self.weather = Weather()
        self.pid = 0                    # of the QEMU at its end, where a test wants to know
        self.random = random.Random(seed)
        self.tap = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
        fcntl.ioctl(self.tap, TUNSETIFF, struct.pack("16sH14x", b"tap0", IFF_TAP | IFF_NO_PI))
        subprocess.run(["ip", "addr", "add", f"{HOST}/24", "dev", "tap0"], check=True)
        subprocess.run(["ip", "link", "set", "tap0", "up"], check=True)
        self.udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.udp.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        self.udp.bind(("127.0.0.1", OUR_PORT))
        self.udp.setblocking(False)
        self.late: list[tuple[float, int, bool, bytes]] = []
        self.count = 0
        self.watch: Callable[[bool, bytes], None] | None = None       # is shown what comes in, whatever happens to it
        self.busy_until = [0.0, 0.0]
        threading.Thread(target=self.run, daemon=True).start()

    def qemu(self, bus: str) -> list[str]:
        """QEMU's options for a network card on this wire."""
        return ["-netdev", f"socket,id=n0,udp=127.0.0.1:{OUR_PORT},localaddr=127.0.0.1:{QEMU_PORT}",
                "-device", f"virtio-net-{bus},netdev=n0"]

    def send(self, to_guest: bool, frame: bytes) -> None:
        try:
            if to_guest:
                self.udp.sendto(frame, ("127.0.0.1", QEMU_PORT))
            else:
                os.write(self.tap, frame)
        except OSError:
            pass                # a full queue, or QEMU is gone: a frame lost more

    def muted(self, frame: bytes) -> bool:
        port = self.weather.mute_port
        if not port or len(frame) < 54 or frame[12:14] != b"\x08\x00" or frame[23] != 6:
            return False
        at = 14 + (frame[14] & 15) * 4
        return port in struct.unpack_from("!HH", frame, at)

    def carry(self, to_guest: bool, frame: bytes) -> None:
        weather, watch = self.weather, self.watch
        if watch:
            watch(to_guest, frame)
        if self.random.random() < weather.loss or self.muted(frame):
            return
        if self.random.random() < weather.corrupt and len(frame) > 60:
            at = self.random.randrange(34, len(frame))
            frame = frame[:at] + bytes([frame[at] ^ (1 << self.random.randrange(8))]) + frame[at + 1:]
        for _index in range(2 if self.random.random() < weather.repeat else 1):
            wait = self.bottleneck(to_guest, len(frame)) + weather.delay
            if wait < 0:
                continue
            if self.random.random() < weather.reorder:
                wait += self.random.uniform(0.001, 0.02)
            if wait:
                self.count += 1
                heapq.heappush(self.late, (time.monotonic() + wait, self.count, to_guest, frame))
            else:
                self.send(to_guest, frame)

    def bottleneck(self, to_guest: bool, size: int) -> float:
        """Seconds that a frame waits for those before it where the wire is slow; far below zero where the queue is full."""
        weather, now = self.weather, time.monotonic()
        if not weather.rate:
            return 0.0
        free = max(now, self.busy_until[to_guest])
        if (free - now) * weather.rate + size > weather.queue:
            return -1e9
        self.busy_until[to_guest] = free + size / weather.rate
        return self.busy_until[to_guest] - now

    def run(self) -> None:
        while True:
            wait = max(0.0, self.late[0][0] - time.monotonic()) if self.late else 1.0
            ready, _writable, _failed = select.select([self.tap, self.udp], [], [], wait)
            while self.late and self.late[0][0] <= time.monotonic():
                _due, _number, to_guest, frame = heapq.heappop(self.late)
                self.send(to_guest, frame)
            for source in ready:
                try:
                    for _index in range(64):
                        frame = os.read(self.tap, 65536) if source == self.tap else self.udp.recv(65536)
                        self.carry(source == self.tap, frame)
                except BlockingIOError:
                    pass
                except OSError:
                    pass
