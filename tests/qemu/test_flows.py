# SPDX-License-Identifier: GPL-3.0-or-later
"""UDP senders that never pause: what the host has translated for them once stays so, unless somebody tells it to forget."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.uni.engine.plugins.module_utils.engine.networks import api as networks
from ansible_collections.uni.engine.plugins.module_utils.engine.networks.model import NetworkSpec
from ansible_collections.uni.engine.plugins.module_utils.engine.vms import api

from .conftest import Host
from .netguest import Outside, server, start

# One sender, always from the same port, as a log shipper or a resolver behind a firewall: ADDRESS PORT.
SENDER = """
import socket, sys
where = socket.getaddrinfo(sys.argv[1], int(sys.argv[2]), type=socket.SOCK_DGRAM)[0]
sock = socket.socket(where[0], where[1])
sock.bind(("::" if where[0] == socket.AF_INET6 else "0.0.0.0", 40000))
sock.settimeout(0.3)
for _try in range(10):
    sock.sendto(b"?", where[4])
    try:
        print(sock.recv(100).decode())
        break
    except OSError:
        pass
"""


@pytest.mark.parametrize(("address", "bind"), [("192.0.2.1", ""), ("2001:db8::1", "[::]:")])
def test_a_sender_reaches_whoever_is_published_now(net: Host, disk: Path, outside: Outside, address: str, bind: str) -> None:
    def ask() -> str:
        return outside.run("python3", "-c", SENDER, address, "8053").stdout.strip()

    networks.ensure_present(net.root, NetworkSpec.parse("front", {"subnet": "10.6.0.0/24", "subnet6": "fd06::/64"}))
    assert ask() == "", "nobody yet, and the host remembers that"
    start(net, disk, "one", "front", ports=[f"{bind}8053:80/udp"])
    assert ask().startswith("hello")
    start(net, disk, "two", "front", ports=[f"{bind}8054:80/udp"])
    api.remove(net.root, "one", force=True)
    assert ask() == "", "gone"
    api.ensure(net.root, server(disk, "two", networks=["front"], ports=[f"{bind}8053:80/udp"]))
    assert ask().startswith("hello"), "another VM took the port"
    api.ensure(net.root, server(disk, "two", networks=["front"], ports=[f"{bind}8054:80/udp"]))
    assert ask() == "", "not published any more"
    api.ensure(net.root, server(disk, "two", networks=["front"], ports=[f"{bind}8053:80/udp"]))
    assert ask().startswith("hello")
    api.stop(net.root, "two")
    start(net, disk, "three", "front", ports=[f"{bind}8053:80/udp"])
    assert ask().startswith("hello")
