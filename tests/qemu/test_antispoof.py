# SPDX-License-Identifier: GPL-3.0-or-later
"""A hostile guest: frames written into a TAP interface on the bridge, as its QEMU could write them."""

from __future__ import annotations

import ipaddress
import os
import select
import struct
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from ansible_collections.uni.engine.plugins.module_utils.engine.keeper.net import open_tap
from ansible_collections.uni.engine.plugins.module_utils.engine.networks import antispoof, attachment, firewall, model
from ansible_collections.uni.engine.plugins.module_utils.engine.networks import api as networks
from ansible_collections.uni.engine.plugins.module_utils.engine.networks.firewall import Attachment
from ansible_collections.uni.engine.plugins.module_utils.engine.networks.model import NetworkSpec

from .conftest import Host

ALL = b"\xff" * 6
EVIL, GOOD = "52:54:00:00:00:02", "52:54:00:00:00:03"
EVIL4, GOOD4, EVIL6, GOOD6 = "10.6.0.2", "10.6.0.3", "fd06::2", "fd06::3"
MARK = b"the-mark-of-this-test"


def mac(text: str) -> bytes:
    return bytes(int(part, 16) for part in text.split(":"))


def ip(text: str) -> bytes:
    return ipaddress.ip_address(text).packed


def checksum(data: bytes) -> int:
    """RFC 1071."""
    total = sum(struct.unpack(f"!{len(data + bytes(len(data) % 2)) // 2}H", data + bytes(len(data) % 2)))
    total = (total & 0xFFFF) + (total >> 16)
    return ~(total + (total >> 16)) & 0xFFFF


def arp(source: str, sender_mac: str, sender: str, *, reply: bool = True) -> bytes:
    body = struct.pack("!HHBBH", 1, 0x800, 6, 4, 2 if reply else 1) + mac(sender_mac) + ip(sender) + ALL + ip(GOOD4)
    return ALL + mac(source) + b"\x08\x06" + body + MARK


def udp4(source: str, sender: str, sport: int, dport: int) -> bytes:
    payload = struct.pack("!HHHH", sport, dport, 8 + len(MARK), 0) + MARK
    head = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(payload), 0, 0, 64, 17, 0, ip(sender), b"\xff" * 4)
    head = head[:10] + struct.pack("!H", checksum(head)) + head[12:]
    return ALL + mac(source) + b"\x08\x00" + head + payload


def packet6(source: str, sender: str, protocol: int, payload: bytes, target: str = "ff02::1") -> bytes:
    pseudo = ip(sender) + ip(target) + struct.pack("!II", len(payload), protocol)
    at = 2 if protocol == 58 else 6
    payload = payload[:at] + struct.pack("!H", checksum(pseudo + payload)) + payload[at + 2:]
    head = struct.pack("!IHBB", 6 << 28, len(payload), protocol, 255) + ip(sender) + ip(target)
    return b"\x33\x33\x00\x00\x00\x01" + mac(source) + b"\x86\xdd" + head + payload


def icmp6(kind: int, body: bytes) -> bytes:
    return struct.pack("!BBH", kind, 0, 0) + body + MARK.ljust(24, b"\0")


def advertise(claimed: str) -> bytes:
    """A neighbor advertisement for an address (RFC 4861, section 4.4)."""
    return icmp6(136, struct.pack("!I", 0x20000000) + ip(claimed) + b"\x02\x01" + mac(EVIL))


def udp6(sport: int, dport: int) -> bytes:
    return struct.pack("!HHHH", sport, dport, 8 + len(MARK), 0) + MARK


OWN = antispoof.link_local(EVIL)
FORGED = {
    "mac": udp4(GOOD, EVIL4, 1000, 2000), "address": udp4(EVIL, GOOD4, 1000, 2000), "gateway": udp4(EVIL, "10.6.0.1", 1, 2),
    "dhcp server": udp4(EVIL, EVIL4, 67, 68), "no address": udp4(EVIL, "0.0.0.0", 1000, 2000),
    "arp mac": arp(EVIL, GOOD, EVIL4), "arp address": arp(EVIL, EVIL, GOOD4), "arp gateway": arp(EVIL, EVIL, "10.6.0.1"),
    "vlan": ALL + mac(EVIL) + b"\x81\x00\x00\x01\x08\x00" + udp4(EVIL, EVIL4, 1, 2)[14:],
    "other protocol": ALL + mac(EVIL) + b"\x88\xcc" + MARK,
    "address6": packet6(EVIL, GOOD6, 17, udp6(1000, 2000)), "gateway6": packet6(EVIL, "fd06::1", 17, udp6(1, 2)),
    "link-local": packet6(EVIL, antispoof.link_local(GOOD), 17, udp6(1, 2)), "any": packet6(EVIL, "::", 17, udp6(1, 2)),
    "router": packet6(EVIL, OWN, 58, icmp6(134, bytes(12))), "redirect": packet6(EVIL, OWN, 58, icmp6(137, bytes(36))),
    "dhcpv6 server": packet6(EVIL, OWN, 17, udp6(547, 546)),
    "neighbor": packet6(EVIL, EVIL6, 58, advertise(GOOD6)), "neighbor gateway": packet6(EVIL, OWN, 58, advertise("fd06::1")),
}
HONEST = {
    "udp": udp4(EVIL, EVIL4, 1000, 2000), "arp": arp(EVIL, EVIL, EVIL4), "arp request": arp(EVIL, EVIL, EVIL4, reply=False),
    "udp6": packet6(EVIL, EVIL6, 17, udp6(1000, 2000)), "neighbor": packet6(EVIL, EVIL6, 58, advertise(EVIL6)),
    "neighbor link-local": packet6(EVIL, OWN, 58, advertise(OWN)), "dhcp client": udp4(EVIL, "0.0.0.0", 68, 67),
    "duplicate address detection": packet6(EVIL, "::", 58, icmp6(135, bytes(4) + ip(EVIL6))),
}


@dataclass
class Wire:
    """The ends of two TAP interfaces on one bridge: a hostile guest's and a victim's."""

    evil: int
    good: int

    def arrives(self, frame: bytes) -> bool:
        """Whether the victim sees a frame that the hostile guest sends; an honest one after it says when to stop."""
        os.write(self.evil, bytes(10) + frame)
        os.write(self.evil, bytes(10) + HONEST["udp"].replace(MARK, MARK[::-1]))
        seen = False
        while select.select([self.good], [], [], 10)[0]:
            data = os.read(self.good, 4096)
            seen = seen or MARK in data
            if MARK[::-1] in data:
                return seen
        raise AssertionError("the honest frame did not arrive")


@pytest.fixture
def wire(net: Host) -> Iterator[Wire]:
    """A network with IPv6 and two guests that run, as far as its rules know."""
    networks.ensure_present(net.root, NetworkSpec.parse("six", {"subnet": "10.6.0.0/24", "subnet6": "fd06::/64"}))
    network = model.load(net.root, "six")
    ends = [open_tap(f"{name}:{network.bridge}:0:1500") for name in ("utevil", "utgood")]
    items = [Attachment("six", network.bridge, "utevil", EVIL, EVIL4, (), EVIL6),
             Attachment("six", network.bridge, "utgood", GOOD, GOOD4, (), GOOD6)]
    prefix = attachment.prefix(net.root)
    for six in (False, True):
        firewall.apply(prefix, [network], items, six=six)
    antispoof.apply(prefix, items, wanted=True, six=True)
    yield Wire(*ends)
    for end in ends:
        os.close(end)
    networks.ensure_absent(net.root, "six")


def test_honest_frames_pass_and_forged_ones_do_not(wire: Wire) -> None:
    assert [name for name, frame in HONEST.items() if not wire.arrives(frame)] == []
    assert [name for name, frame in FORGED.items() if wire.arrives(frame)] == []
