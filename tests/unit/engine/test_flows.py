# SPDX-License-Identifier: GPL-3.0-or-later
"""Which flows of UDP are out of date. The lines are what conntrack 1.4.7 printed."""

from __future__ import annotations

import pytest
from ansible_collections.uni.engine.plugins.module_utils.engine.networks import flows
from ansible_collections.uni.engine.plugins.module_utils.engine.networks.firewall import Attachment
from ansible_collections.uni.engine.plugins.module_utils.engine.units import parse_port

ITEM = Attachment("front", "ub1", "ut1", "02:00:00:00:00:01", "10.6.0.2",
                  tuple(port for text in ("8053:80/udp", "192.0.2.1:8054:80/udp", "8055:80", "[::]:8056:80/udp")
                        for port in parse_port(text)), "fd06::a06:2")


@pytest.mark.parametrize(("line", "six", "expected"), [
    ("src=192.0.2.2 dst=192.0.2.1 sport=40000 dport=8053 [UNREPLIED] src=192.0.2.1 dst=192.0.2.2 sport=8053 dport=40000 mark=0 use=1",
     False, True),    # began before the port was published
    ("src=192.0.2.2 dst=192.0.2.1 sport=40000 dport=8053 src=10.6.0.2 dst=192.0.2.2 sport=80 dport=40000 mark=0 use=1", False, False),
    ("src=192.0.2.2 dst=192.0.2.1 sport=40000 dport=8053 src=10.6.0.9 dst=192.0.2.2 sport=80 dport=40000 [ASSURED] mark=0 use=1",
     False, True),    # goes to the VM before
    ("src=10.6.0.3 dst=192.0.2.1 sport=40000 dport=8053 src=10.6.0.9 dst=10.6.0.1 sport=80 dport=40000 mark=0 use=1", False, True),
    ("src=192.0.2.2 dst=192.0.2.1 sport=40000 dport=9999 src=10.6.0.2 dst=192.0.2.2 sport=80 dport=40000 mark=0 use=1",
     False, True),    # not published any more, or by the owner of the address before
    ("src=192.0.2.2 dst=192.0.2.7 sport=40000 dport=8054 src=192.0.2.7 dst=192.0.2.2 sport=8054 dport=40000 mark=0 use=1",
     False, False),   # another address than the published one
    ("src=10.6.0.3 dst=198.51.100.1 sport=40000 dport=8053 src=198.51.100.1 dst=192.0.2.1 sport=8053 dport=40000 mark=0 use=1",
     False, False),   # a guest's own, to elsewhere
    ("src=10.6.0.1 dst=10.6.0.2 sport=40000 dport=80 src=10.6.0.2 dst=10.6.0.1 sport=80 dport=40000 mark=0 use=1", False, False),
    ("src=192.0.2.2 dst=192.0.2.1 sport=40000 dport=8055 src=192.0.2.1 dst=192.0.2.2 sport=8055 dport=40000 mark=0 use=1",
     False, False),   # published for TCP
    ("src=2001:db8::2 dst=2001:db8::1 sport=40000 dport=8056 [UNREPLIED] src=2001:db8::1 dst=2001:db8::2 sport=8056 dport=40000 mark=0",
     True, True),
    ("src=2001:db8::2 dst=2001:db8::1 sport=40000 dport=8056 src=fd06::a06:2 dst=2001:db8::2 sport=80 dport=40000 mark=0", True, False),
])
def test_what_is_stale(line: str, six: bool, expected: bool) -> None:
    (flow,) = flows.parse(f"udp      17 29 {line}\nunknown  2 500 src=1.1.1.1 dst=224.0.0.1 src=224.0.0.1 dst=1.1.1.1\n")
    assert flows.stale(flow, ITEM, six=six) is expected
