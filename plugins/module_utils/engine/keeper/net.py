# SPDX-License-Identifier: GPL-3.0-or-later
"""TAP interfaces: made by the keeper, handed to QEMU as a descriptor, gone with the last descriptor.

Kernel interface: Documentation/networking/tuntap.rst, <linux/if_tun.h>, <linux/sockios.h>.
"""

from __future__ import annotations

import errno
import fcntl
import os
import struct
from _socket import AF_INET, AF_NETLINK, SOCK_CLOEXEC, SOCK_DGRAM, SOCK_RAW
from _socket import socket as Socket

TUNSETIFF, TUNSETOFFLOAD = 0x400454CA, 0x400454D0
IFF_TAP, IFF_NO_PI, IFF_VNET_HDR = 0x0002, 0x1000, 0x4000
SIOCGIFFLAGS, SIOCSIFFLAGS, SIOCSIFMTU, SIOCGIFINDEX, SIOCBRADDIF = 0x8913, 0x8914, 0x8922, 0x8933, 0x89A2
IFF_UP = 1
REFUSED = {errno.EBUSY: "is in use by another program or VM", errno.EPERM: "belongs to another user",
           errno.EINVAL: "is not a TAP interface with one queue"}


def _request(name: str, value: bytes) -> bytes:
    """A struct ifreq: 16 bytes of name, 24 bytes of union."""
    return struct.pack("16s24s", name.encode(), value)


def open_tap(text: str) -> int:
    """Open ``INTERFACE:BRIDGE:ISOLATED:MTU`` and return its descriptor.

    With an empty BRIDGE the interface is the user's own: it is opened, and nothing about it is changed.
    """
    interface, bridge, isolated, mtu = text.split(":")
    tun = os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        try:
            fcntl.ioctl(tun, TUNSETIFF, _request(interface, struct.pack("H", IFF_TAP | IFF_NO_PI | IFF_VNET_HDR)))
        except OSError as error:
            raise ValueError(f"the interface {interface} {REFUSED.get(error.errno or 0, error)}") from error
        if bridge:
            _join(interface, bridge, isolated == "1", int(mtu or 0))
    except BaseException:
        os.close(tun)
        raise
    return tun


def _isolate(index: int) -> None:
    """Keep a bridge port from reaching other isolated ports (rtnetlink(7); sysfs may show another namespace).

    RTM_SETLINK for AF_BRIDGE with IFLA_PROTINFO { IFLA_BRPORT_ISOLATED = 1 }: <linux/rtnetlink.h>, <linux/if_link.h>.
    """
    flag = struct.pack("HHB3x", 5, 33, 1)
    attribute = struct.pack("HH", 4 + len(flag), 12 | 0x8000) + flag
    body = struct.pack("BxHiII", 7, 0, index, 0, 0) + attribute
    sock = Socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, 0)
    try:
        sock.send(struct.pack("IHHII", 16 + len(body), 19, 5, 1, 0) + body)
        answer = sock.recv(4096)
        error = -struct.unpack_from("i", answer, 16)[0]  # NLMSG_ERROR carries 0 as the acknowledgment
        if error:
            raise OSError(error, os.strerror(error))
    finally:
        sock.close()


def _join(interface: str, bridge: str, isolated: bool, mtu: int) -> None:
    """Put the interface on the bridge and bring it up, without an address of its own (IPv6 included)."""
    settings = f"/proc/sys/net/ipv6/conf/{interface}/disable_ipv6"
    if os.path.exists(settings):
        with open(settings, "w", encoding="ascii") as file:
            file.write("1")
    sock = Socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC)
    try:
        index = struct.unpack("16si20x", fcntl.ioctl(sock.fileno(), SIOCGIFINDEX, _request(interface, b"")))[1]
        fcntl.ioctl(sock.fileno(), SIOCBRADDIF, _request(bridge, struct.pack("i", index)))
        if mtu:
            fcntl.ioctl(sock.fileno(), SIOCSIFMTU, _request(interface, struct.pack("i", mtu)))
        if isolated:
            _isolate(index)
        flags = struct.unpack("16sH22x", fcntl.ioctl(sock.fileno(), SIOCGIFFLAGS, _request(interface, b"")))[1]
        fcntl.ioctl(sock.fileno(), SIOCSIFFLAGS, _request(interface, struct.pack("H", flags | IFF_UP)))
    finally:
        sock.close()
