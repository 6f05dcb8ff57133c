# SPDX-License-Identifier: GPL-3.0-or-later
"""Answers other hosts' questions for the names of this host's VMs in one network; a program of its own.

It runs from a copy beside the names (see :mod:`.peers`), under ``python3 -I -S``, and imports nothing of the engine:
``responder.py ADDRESS PORT DIRECTORY UID``. One UDP datagram, one question, one answer (RFC 1035, section 4; AAAA:
RFC 3596). A name that no file in DIRECTORY has is refused (RFC 2136 names the code), so that who asks goes on to the
next host; dnsmasq would refuse the addresses that a name lacks too, and a resolver takes that for the whole answer.
"""

from __future__ import annotations

import os
import struct
import sys
from _socket import AF_INET, AF_INET6, SOCK_DGRAM, inet_pton
from _socket import socket as Socket

A, AAAA, IN = 1, 28, 1
REFUSED = 5
TTL = 5             # seconds, as the guests' own name server says
MAX_ANSWERS = 12    # that many fit into 512 bytes (RFC 1035, section 4.2.1) behind any name without a dot

Names = dict[bytes, dict[int, list[bytes]]]


def read_names(directory: str) -> Names:
    """The names in the files of a directory, lines ``ADDRESS NAME...``, with their packed addresses by type."""
    names: Names = {}
    for file_name in sorted(os.listdir(directory)):
        if file_name.startswith("."):
            continue
        try:
            with open(f"{directory}/{file_name}", encoding="ascii") as file:
                lines = [line.split() for line in file]
        except (OSError, ValueError):
            continue  # it went away
        for words in lines:
            try:
                kind = AAAA if ":" in words[0] else A
                packed = inet_pton(AF_INET6 if kind == AAAA else AF_INET, words[0])
            except (IndexError, OSError):
                continue
            for word in words[1:]:
                names.setdefault(word.lower().encode(), {A: [], AAAA: []})[kind].append(packed)
    return names


def question(packet: bytes) -> tuple[bytes, int, int]:
    """The name in a query, its type, and where the question ends.

    :raises ValueError: it is no plain question for one name without a dot
    """
    if len(packet) < 12:
        raise ValueError("short")
    flags, count = struct.unpack_from("!HH", packet, 2)
    length = packet[12] if len(packet) > 12 else 0
    end = 13 + length
    if flags & 0xF800 or count != 1 or not 0 < length < 64 or len(packet) < end + 5 or packet[end]:
        raise ValueError("not a question for one name without a dot")
    kind, family = struct.unpack_from("!HH", packet, end + 1)
    if family != IN:
        raise ValueError("not the Internet")
    return packet[13:end].lower(), kind, end + 5


def answer(packet: bytes, names: Names) -> bytes:
    """The answer to a query.

    :raises ValueError: it deserves none
    """
    name, kind, end = question(packet)
    known = names.get(name)
    found = known.get(kind, [])[:MAX_ANSWERS] if known is not None else []
    flags = 0x8000 | (struct.unpack_from("!H", packet, 2)[0] & 0x0100) | (0 if known is not None else REFUSED)
    records = b"".join(struct.pack("!HHHIH", 0xC00C, kind, IN, TTL, len(packed)) + packed for packed in found)
    return packet[:2] + struct.pack("!HHHHH", flags, 1, len(found), 0, 0) + packet[12:end] + records


def serve(sock: Socket, directory: str) -> None:
    """Answer for ever; the names are read again when the directory has changed."""
    names: Names = {}
    seen = -1
    while True:
        packet, peer = sock.recvfrom(4096)
        try:
            changed = os.stat(directory).st_mtime_ns
            if changed != seen:
                names, seen = read_names(directory), changed
            sock.sendto(answer(packet, names), peer)
        except ValueError:
            continue  # noise
        except FileNotFoundError:
            return    # the network is gone
        except OSError:
            continue  # nobody there to be answered


def main(address: str, port: str, directory: str, uid: str) -> None:
    """Bind, leave the terminal and the rights behind, say the number of the process, serve."""
    sock = Socket(AF_INET, SOCK_DGRAM)
    sock.bind((address, int(port)))
    pid = os.fork()
    if pid:
        os.write(1, b"%d\n" % pid)
        os._exit(0)
    os.setsid()
    null = os.open("/dev/null", os.O_RDWR)
    for target in (0, 1, 2):
        os.dup2(null, target)
    if int(uid):
        os.setgroups([])
        os.setgid(int(uid))
        os.setuid(int(uid))
    serve(sock, directory)


if __name__ == "__main__":
    main(*sys.argv[1:])
