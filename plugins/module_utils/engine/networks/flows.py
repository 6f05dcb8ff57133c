# SPDX-License-Identifier: GPL-3.0-or-later
"""Flows of UDP whose translation is out of date.

The host decides where a flow goes when its first packet comes, and keeps to that while packets come: a sender that does
not pause would never reach a port that was published since, or go on reaching one that is not any more. TCP needs none
of this: its connections end. The tool is conntrack(8); where it is not installed, such senders have to pause for thirty
seconds, which ``uni doctor`` says.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import Any, NamedTuple

from ansible_collections.uni.engine.plugins.module_utils.engine.errors import HostError
from ansible_collections.uni.engine.plugins.module_utils.engine.monitors.qemu import find_program
from ansible_collections.uni.engine.plugins.module_utils.engine.networks import firewall
from ansible_collections.uni.engine.plugins.module_utils.engine.networks.firewall import Attachment
from ansible_collections.uni.engine.plugins.module_utils.engine.units import PortForward

# Addresses and ports as the sender has them, then as answers come: what conntrack -L prints.
_LINE = re.compile(r"udp\s.*?src=(\S+) dst=(\S+) sport=\d+ dport=(\d+) .*?src=(\S+) dst=(\S+) sport=")
_NONE_DELETED = 1  # conntrack's exit status


class Flow(NamedTuple):
    """Who sends to whom, and between whom the answers go."""

    source: str
    destination: str
    port: int
    answerer: str
    answered: str


def parse(text: str) -> Iterator[Flow]:
    """What ``conntrack -L -p udp`` prints. Pure."""
    for line in text.splitlines():
        match = _LINE.match(line)
        if match:
            source, destination, port, answerer, answered = match.groups()
            yield Flow(source, destination, int(port), answerer, answered)


def published(item: Attachment, *, six: bool) -> list[PortForward]:
    """The UDP ports of a VM in one family."""
    address = item.address6 if six else item.address
    return [port for port in item.ports if port.proto == "udp" and (":" in port.bind) == six and address]


def stale(flow: Flow, item: Attachment, *, six: bool) -> bool:
    """Whether the flow goes to the VM without being published, or the other way round. Pure."""
    address, anywhere = (item.address6, "::") if six else (item.address, "0.0.0.0")
    wanted = any(port.host == flow.port and port.bind in (anywhere, flow.destination)
                 for port in published(item, six=six))
    if flow.answerer == address != flow.destination:
        return not wanted
    leaves = flow.answerer == flow.destination and flow.answered != flow.source  # masqueraded: a guest's, to elsewhere
    return wanted and not leaves


def forget(items: Iterable[Attachment], before: Iterable[Attachment] = ()) -> None:
    """Make the host decide anew about flows that are stale for one of ``items``; ``before``: with their earlier ports.

    What cannot be had here (no conntrack, or a kernel without its interface) does not keep a VM from starting.
    """
    items = list(items)
    program = find_program("conntrack")
    for six in (False, True) if program else ():
        if not any(published(item, six=six) for item in (*items, *before)):
            continue
        family = ("-f", "ipv6" if six else "ipv4", "-p", "udp")
        with suppress(HostError):
            found = parse(firewall.run(program, "-L", *family))
            for destination, port in {(flow.destination, flow.port) for flow in found
                                      if any(stale(flow, item, six=six) for item in items)}:
                firewall.run(program, "-D", *family, "--orig-dst", destination, "--orig-port-dst", str(port),
                             fine=_NONE_DELETED)


def cleanup(item: Attachment) -> list[dict[str, Any]]:
    """The keeper's commands for a VM that has ended: nothing may go on reaching its address, which others get."""
    program = find_program("conntrack")
    return [{"argv": [program, "-D", "-f", family, "-p", "udp", "--reply-src", address], "fine": _NONE_DELETED}
            for family, address, six in (("ipv4", item.address, False), ("ipv6", item.address6, True))
            if program and published(item, six=six)]
