# SPDX-License-Identifier: GPL-3.0-or-later
"""TCP timestamps (RFC 7323) on the wire between a guest's server and the host's Linux: tests of run.py."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import wire
from wire import GUEST

SOURCE, ECHO = 8082, 8084
FIN, SYN, RST, ACK = 1, 2, 4, 16
STAMPS = b"\x01\x01\x08\x0a"            # as everybody lays them out: RFC 7323, appendix A
SYSCTL = Path("/proc/sys/net/ipv4/tcp_timestamps")
TCPI_OPT_TIMESTAMPS = 1                 # linux/tcp.h, byte 5 of struct tcp_info


def checksum(data: bytes) -> int:
    """RFC 1071, of an even number of bytes."""
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


@dataclass(frozen=True)
class Segment:
    """A TCP segment over IPv4; ``value`` and ``echo`` are its timestamps, None where it has none."""

    to_guest: bool
    frame: bytes
    port: int                           # of the host's end
    seq: int
    ack: int
    flags: int
    value: int | None
    echo: int | None
    payload: bytes


def parse(to_guest: bool, frame: bytes) -> Segment | None:
    """What a frame holds; None: no TCP."""
    if frame[12:14] != b"\x08\x00" or frame[23] != 6:
        return None
    tcp = frame[34:14 + struct.unpack_from("!H", frame, 16)[0]]
    source, target, seq, ack, size, flags = struct.unpack_from("!HHIIBB", tcp)
    head, at = (size >> 4) * 4, 20
    value = echo = None
    while at < head and tcp[at]:
        if tcp[at] == 8:
            value, echo = struct.unpack_from("!II", tcp, at + 2)
        at += 1 if tcp[at] == 1 else tcp[at + 1]
    return Segment(to_guest, frame, source if to_guest else target, seq, ack, flags, value, echo, tcp[head:])


def forge(like: Segment, seq: int, value: int, payload: bytes) -> bytes:
    """A frame from the host as `like` was, with another sequence number, timestamp and data (an even number of bytes)."""
    tcp = bytearray(like.frame[34:54])
    struct.pack_into("!I", tcp, 4, seq & 0xFFFFFFFF)
    tcp[12], tcp[16:18] = 8 << 4, b"\0\0"
    tcp += STAMPS + struct.pack("!II", value & 0xFFFFFFFF, like.echo or 0) + payload
    struct.pack_into("!H", tcp, 16, checksum(like.frame[26:34] + struct.pack("!HH", 6, len(tcp)) + tcp))
    ip = bytearray(like.frame[14:34])
    struct.pack_into("!H", ip, 2, 20 + len(tcp))
    ip[10:12] = b"\0\0"
    struct.pack_into("!H", ip, 10, checksum(bytes(ip)))
    return like.frame[:14] + bytes(ip) + bytes(tcp)


class Watch:
    """The segments of one connection, as they pass."""

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self.seen: list[Segment] = []
        self.port = 0

    def frame(self, to_guest: bool, frame: bytes) -> None:
        segment = parse(to_guest, frame)
        if segment:
            with self.changed:
                self.seen.append(segment)
                self.changed.notify_all()

    def mine(self, to_guest: bool) -> list[Segment]:
        """Of this connection so far, one way."""
        with self.changed:
            return [segment for segment in self.seen if segment.port == self.port and segment.to_guest == to_guest]

    def wait(self, wanted: Callable[[Segment], bool], what: str) -> None:
        """Until the guest has sent such a segment."""
        with self.changed:
            if not self.changed.wait_for(lambda: any(s.port == self.port and not s.to_guest and wanted(s) for s in self.seen), 60):
                raise AssertionError(f"the guest never sent {what}")


@contextlib.contextmanager
def watched(line: wire.Wire, port: int) -> Iterator[tuple[Watch, socket.socket]]:
    """A connection to the guest whose segments are kept."""
    watch = Watch()
    line.watch = watch.frame
    try:
        with socket.create_connection((GUEST, port), 60) as peer:
            peer.settimeout(60)
            watch.port = peer.getsockname()[1]
            yield watch, peer
    finally:
        line.watch = None


def take(peer: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        piece = peer.recv(size - len(data))
        assert piece, "the connection ended"
        data += piece
    return data


def stamps_agreed(line: wire.Wire) -> None:
    """Every segment has them, the guest's go up and answer the host's, and data fills packets up to the last byte."""
    with watched(line, SOURCE) as (watch, peer):
        take(peer, 256 << 10)
        assert peer.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 104)[5] & TCPI_OPT_TIMESTAMPS
    out, back = watch.mine(True), watch.mine(False)
    bare = [segment for segment in back if segment.value is None and not segment.flags & RST]
    assert back and not bare, f"{len(bare)} of {len(back)} segments without timestamps"
    values = [segment.value or 0 for segment in back if not segment.flags & RST]
    assert all((after - before) % (1 << 32) < 1 << 31 for before, after in zip(values, values[1:])), "timestamps go back"
    sent = {segment.value for segment in out}
    assert all(segment.echo in sent for segment in back if not segment.flags & RST), "an echo of what was never sent"
    assert back[0].flags == SYN | ACK and back[0].echo == out[0].value, "the SYN's timestamp is not answered"
    assert max(len(segment.payload) for segment in back) == 1448, "segments are not full, or too long"


def stamps_refused(line: wire.Wire) -> None:
    """A peer that does not want them gets none, and longer segments."""
    SYSCTL.write_text("0")
    try:
        with watched(line, SOURCE) as (watch, peer):
            take(peer, 64 << 10)
    finally:
        SYSCTL.write_text("1")
    back = watch.mine(False)
    assert back and all(segment.value is None for segment in back)
    assert max(len(segment.payload) for segment in back) == 1460


def old_duplicates(line: wire.Wire) -> None:
    """PAWS: data whose sequence number fits but whose timestamp is old is answered and dropped; with a new one it would be taken."""
    with watched(line, ECHO) as (watch, peer):
        peer.sendall(b"first!")
        assert take(peer, 6) == b"first!"
        like = [segment for segment in watch.mine(True) if segment.payload][-1]
        after = (like.seq + 6) & 0xFFFFFFFF
        assert like.value is not None
        line.send(True, forge(like, after, like.value - 5000, b"old!"))
        watch.wait(lambda s: s.ack == after and not s.payload, "an acknowledgment of the old duplicate")
        peer.sendall(b"good")
        assert take(peer, 4) == b"good"
        line.send(True, forge(like, after + 4, like.value + 100000, b"new!"))
        watch.wait(lambda s: s.payload == b"new!", "what was new")
        # The host never sent those bytes: no way to an orderly end.
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
