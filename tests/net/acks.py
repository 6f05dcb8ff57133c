# SPDX-License-Identifier: GPL-3.0-or-later
"""What a guest's server acknowledges, and how often: tests of run.py. Every acknowledgment costs the peer and the wire as much as a segment."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import struct
from collections.abc import Iterator

import wire
from stamps import Segment, Watch, forge, watched

SINK = 8081
SIZE, COUNT = 1000, 40              # of segments that come together; the window of a small guest holds them


def held(segment: Segment) -> list[tuple[int, int]]:
    """The blocks of a SACK option (RFC 2018)."""
    tcp = segment.frame[34:]
    head, at = (tcp[12] >> 4) * 4, 20
    while at < head and tcp[at]:
        if tcp[at] == 5:
            return [struct.unpack_from("!II", tcp, place) for place in range(at + 2, at + tcp[at + 1], 8)]
        at += 1 if tcp[at] == 1 else tcp[at + 1]
    return []


@contextlib.contextmanager
def paused(process: int) -> Iterator[None]:
    """What is sent to the guest meanwhile comes all at once."""
    os.kill(process, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(process, signal.SIGCONT)


def greeted(watch: Watch, peer: socket.socket) -> tuple[Segment, int]:
    """A segment of the host that the guest has acknowledged, and the number of the byte after it."""
    peer.sendall(b"first!")
    # The host never sends what is forged then: no way to an orderly end.
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    watch.wait(lambda s: any(s.ack == (out.seq + 6) & 0xFFFFFFFF for out in watch.mine(True) if out.payload), "an acknowledgment")
    like = next(segment for segment in watch.mine(True) if segment.payload)
    return like, like.seq + 6


def send(line: wire.Wire, watch: Watch, like: Segment, *starts: int) -> None:
    """Segments that begin there, as young as the last that the host has sent."""
    value = watch.mine(True)[-1].value or 0
    with paused(line.pid):
        for start in starts:
            line.send(True, forge(like, start, value, bytes(SIZE)))


def few_of_a_hole(line: wire.Wire) -> None:
    """Segments beyond a missing one: three are told of at once, or its peer would not know (RFC 5681), the rest with few words, but told;
    and what fills the hole is acknowledged."""
    with watched(line, SINK) as (watch, peer):
        like, after = greeted(watch, peer)
        before, end = len(watch.mine(False)), (after + (COUNT + 1) * SIZE) & 0xFFFFFFFF
        send(line, watch, like, *(after + number * SIZE for number in range(1, COUNT + 1)))
        watch.wait(lambda s: any(right == end for _left, right in held(s)), "word of the last segment")
        told = [segment for segment in watch.mine(False)[before:] if held(segment)]
        assert 4 <= len(told) <= COUNT // 2, f"{len(told)} acknowledgments of {COUNT} segments beyond a hole"
        assert [held(segment)[0][1] for segment in told[:3]] == [(after + n * SIZE) & 0xFFFFFFFF for n in (2, 3, 4)], "the first three"
        send(line, watch, like, after)
        watch.wait(lambda s: s.ack == end, "an acknowledgment of everything")


def every_hole(line: wire.Wire) -> None:
    """Each new hole is told of at once, however many there were: nothing of what came is forgotten."""
    with watched(line, SINK) as (watch, peer):
        like, after = greeted(watch, peer)
        send(line, watch, like, *(after + number * SIZE for number in range(1, COUNT, 2)))
        last = (after + COUNT * SIZE) & 0xFFFFFFFF
        watch.wait(lambda s: any(right == last for _left, right in held(s)), "word of the last segment")
        told = {block for segment in watch.mine(False) for block in held(segment)}
        missing = [n for n in range(1, COUNT, 2) if ((after + n * SIZE) & 0xFFFFFFFF, (after + (n + 1) * SIZE) & 0xFFFFFFFF) not in told]
        assert not missing, f"never told of: {missing}"


def the_rest_of_a_batch(line: wire.Wire) -> None:
    """What comes in order, after enough of it for acknowledgments to wait, is acknowledged although nothing follows."""
    with watched(line, SINK) as (watch, peer):
        peer.sendall(bytes(512 << 10))
        like, after = next((s, s.seq) for s in watch.mine(True) if s.payload)
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        watch.wait(lambda s: s.ack == (after + (512 << 10)) & 0xFFFFFFFF, "an acknowledgment of the upload")
        for lot in range(4):
            at = after + (512 << 10) + lot * 7 * SIZE
            send(line, watch, like, *range(at, at + 7 * SIZE, SIZE))
            end = (at + 7 * SIZE) & 0xFFFFFFFF
            watch.wait(lambda s, end=end: s.ack == end, f"an acknowledgment of lot {lot}")


TESTS = (few_of_a_hole, every_hole, the_rest_of_a_batch)
