# SPDX-License-Identifier: GPL-3.0-or-later
"""Packet rules: rendered as a whole from what runs, in chains of our own, applied in one transaction each.

The built-in chains get one jump each, at their top, so that a FORWARD policy of DROP and the rules of Docker, ufw or
firewalld stay as they are. A rule of a VM is one line of text: what its keeper removes when the VM ends is exactly
what was added when it started. IPv6 has the same chains in ip6tables, where a network has IPv6. What ebtables and nft
forbid the guests themselves is in antispoof.py. Syntax: iptables-restore(8).
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ansible_collections.uni.engine.plugins.module_utils.engine.errors import HostError
from ansible_collections.uni.engine.plugins.module_utils.engine.monitors.qemu import find_program
from ansible_collections.uni.engine.plugins.module_utils.engine.networks import peers
from ansible_collections.uni.engine.plugins.module_utils.engine.networks.model import Network
from ansible_collections.uni.engine.plugins.module_utils.engine.units import PortForward

Rule = tuple[str, str, str]  # table, chain (without the root's prefix), what follows


@dataclass(frozen=True)
class Attachment:
    """A running VM's interface on a managed network."""

    network: str
    bridge: str
    tap: str
    mac: str
    address: str
    ports: tuple[PortForward, ...] = ()
    address6: str = ""


JUMPS: tuple[Rule, ...] = (
    ("nat", "PREROUTING", "-m addrtype --dst-type LOCAL -j {}-DNAT"),
    ("nat", "OUTPUT", "-m addrtype --dst-type LOCAL -j {}-DNAT"),
    ("nat", "POSTROUTING", "-j {}-POST"),
    ("filter", "FORWARD", "-j {}-FWD"),
    ("filter", "INPUT", "-j {}-IN"),
)
CHAINS = {"nat": ("DNAT", "POST"), "filter": ("PORTS", "FWD", "IN")}


def vm_rules(item: Attachment, *, six: bool = False) -> Iterator[Rule]:
    """Publish a VM's ports in one family: destination NAT, and leave to be forwarded."""
    address, length, anywhere = (item.address6, 128, "::") if six else (item.address, 32, "0.0.0.0")
    for port in item.ports:
        if (":" in port.bind) != six or not address:
            continue
        bind = "" if port.bind == anywhere else f"-d {port.bind}/{length} "
        target = f"[{address}]:{port.guest}" if six else f"{address}:{port.guest}"
        # The bridges route 127.0.0.1 (route_localnet), and a guest may send there: only what the host sends counts.
        bind += "-m addrtype --src-type LOCAL " if port.bind.startswith("127.") else ""
        yield ("nat", "DNAT", f"{bind}-p {port.proto} -m {port.proto} --dport {port.host} -j DNAT"
                              f" --to-destination {target}")
        yield ("filter", "PORTS", f"-d {address}/{length} -o {item.bridge} -p {port.proto} -m {port.proto}"
                                  f" --dport {port.guest} -m conntrack --ctstate DNAT -j ACCEPT")


def network_rules(network: Network, others: Sequence[Network], prefix: str, *, six: bool = False) -> Iterator[Rule]:
    """A network's own rules in one family: translation, isolation, what guests may ask of the host."""
    bridge = network.bridge
    subnet = network.get("subnet6") if six else network.subnet
    # Hairpin: a guest that reaches a published port of this network, and the host's own 127.0.0.1.
    yield "nat", "POST", f"-s {subnet} -o {bridge} -m conntrack --ctstate DNAT -j MASQUERADE"
    if not six:
        yield "nat", "POST", f"-s 127.0.0.0/8 -o {bridge} -m conntrack --ctstate DNAT -j MASQUERADE"
    if not network.get("internal") and (not six or network.get("masquerade6")):
        yield "nat", "POST", f"-s {subnet} ! -o {bridge} -j MASQUERADE"
    yield "filter", "FWD", f"-o {bridge} -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT"
    yield "filter", "FWD", f"-o {bridge} -j {prefix}-PORTS"
    if not network.get("isolated"):
        yield "filter", "FWD", f"-i {bridge} -o {bridge} -j ACCEPT"
    for other in others:
        if other.bridge != bridge:
            yield "filter", "FWD", f"-i {bridge} -o {other.bridge} -m conntrack ! --ctstate DNAT -j DROP"
    if not network.get("internal"):
        yield "filter", "FWD", f"-i {bridge} ! -o {bridge} -j ACCEPT"
    else:
        yield "filter", "FWD", f"-i {bridge} -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT"
        yield "filter", "FWD", f"-i {bridge} -j DROP"
    yield "filter", "FWD", f"-o {bridge} -j DROP"
    yield from _input_rules(network, six)


def _input_rules(network: Network, six: bool) -> Iterator[Rule]:
    """What guests may ask of the host."""
    bridge = network.bridge
    if six:  # neighbor discovery is not tracked: without it nothing else works (RFC 4890, section 4.4.1)
        for kind in (135, 136):
            yield "filter", "IN", f"-i {bridge} -p ipv6-icmp -m icmp6 --icmpv6-type {kind} -j ACCEPT"
    yield "filter", "IN", f"-i {bridge} -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT"
    if not six:  # route_localnet is on for publishing on 127.0.0.1: a guest must not reach loopback services through it
        yield "filter", "IN", f"-i {bridge} -d 127.0.0.0/8 -j DROP"
    if not network.get("host_access"):
        if six:
            yield "filter", "IN", (f"-i {bridge} -d {network.gateway6}/128 -p ipv6-icmp -m icmp6 --icmpv6-type 128"
                                   " -j ACCEPT")
        else:
            yield "filter", "IN", f"-i {bridge} -d {network.gateway}/32 -p icmp -j ACCEPT"
        if network.get("dns"):
            yield "filter", "IN", f"-i {bridge} -p udp -m udp --dport 53 -j ACCEPT"
            yield "filter", "IN", f"-i {bridge} -p tcp -m tcp --dport 53 -j ACCEPT"
            if peers.wanted(network) and not six:
                yield "filter", "IN", f"-i {bridge} -p udp -m udp --dport {peers.PORT} -j ACCEPT"
            if not six:
                yield "filter", "IN", f"-i {bridge} -p udp -m udp --dport 67 -j ACCEPT"
        yield "filter", "IN", f"-i {bridge} -j DROP"


def all_rules(prefix: str, networks: Sequence[Network], items: Sequence[Attachment], *,
              six: bool = False) -> list[Rule]:
    """Every rule of ours in one family; a network without IPv6 has none there. Pure."""
    mine = [network for network in networks if not six or network.get("subnet6")]
    rules = [rule for item in items for rule in vm_rules(item, six=six)]
    return rules + [rule for network in mine for rule in network_rules(network, mine, prefix, six=six)]


def render(prefix: str, rules: Sequence[Rule], jumps: Sequence[Rule]) -> str:
    """The input of ``iptables-restore --noflush``: our chains emptied and filled again. Pure.

    :param jumps: the jumps that the built-in chains lack
    """
    lines = []
    for table, chains in CHAINS.items():
        lines.append(f"*{table}")
        lines += [f":{prefix}-{chain} - [0:0]" for chain in chains]
        lines += [f"-I {chain} 1 {text.format(prefix)}" for where, chain, text in jumps if where == table]
        lines += [f"-A {prefix}-{chain} {text}" for where, chain, text in rules if where == table]
        lines.append("COMMIT")
    return "\n".join(lines) + "\n"


def render_removal(prefix: str, present: Sequence[Rule]) -> str:
    """Everything of ours removed, jumps first."""
    lines = []
    for table, chains in CHAINS.items():
        lines.append(f"*{table}")
        lines += [f":{prefix}-{chain} - [0:0]" for chain in chains]
        lines += [f"-D {chain} {text.format(prefix)}" for where, chain, text in present if where == table]
        lines += [f"-X {prefix}-{chain}" for chain in reversed(chains)]
        lines.append("COMMIT")
    return "\n".join(lines) + "\n"


def render_down(prefix: str, items: Sequence[Attachment], *, six: bool = False) -> str:
    """What the keeper applies when the VM has ended: its rules deleted one by one."""
    lines = []
    for table in CHAINS:
        rules = [rule for item in items for rule in vm_rules(item, six=six) if rule[0] == table]
        if rules:
            lines += [f"*{table}", *(f"-D {prefix}-{chain} {text}" for _table, chain, text in rules), "COMMIT"]
    return "\n".join(lines) + "\n" if lines else ""


def run(name: str, *arguments: str, text: str = "", fine: int = 0) -> str:
    """Run a rule tool; its output. ``fine``: another exit status than 0 that is no failure.

    :raises HostError: code ``network.tool`` or ``network.rules``
    """
    program = name if "/" in name else find_program(name)
    if not program:
        package = "nftables" if name == "nft" else "iptables"
        raise HostError(f"{name} is not installed", code="network.tool", hint=f"install it: apt install {package}")
    done = subprocess.run([program, *arguments], input=text, capture_output=True, text=True, timeout=60, check=False)
    if done.returncode not in (0, fine):
        raise HostError(f"{name} refused the network rules: {done.stderr.strip()[:400]}", code="network.rules",
                        hint="bridge networks need root and the kernel's nf_tables or x_tables")
    return done.stdout


def present_jumps(prefix: str, saved: str) -> list[Rule]:
    """Our jumps in what iptables-save printed, among the built-in chains' rules."""
    lines = set(saved.splitlines())
    return [jump for jump in JUMPS if f"-A {jump[1]} {jump[2].format(prefix)}" in lines]


def complete(prefix: str, rules: Sequence[Rule], saved: str) -> bool:
    """Whether every jump and as many rules as there should be are in what iptables-save printed. Pure.

    Docker, ufw and firewalld write their own chains; what a flush or a reload takes away is whole chains.
    """
    counts: dict[str, int] = {}
    for line in saved.splitlines():
        if line.startswith(f"-A {prefix}-"):
            chain = line.split(" ", 2)[1]
            counts[chain] = counts.get(chain, 0) + 1
    wanted: dict[str, int] = {}
    for rule in rules:
        wanted[f"{prefix}-{rule[1]}"] = wanted.get(f"{prefix}-{rule[1]}", 0) + 1
    return counts == wanted and len(present_jumps(prefix, saved)) == len(JUMPS)


def apply(prefix: str, networks: Sequence[Network], items: Sequence[Attachment], *, six: bool = False) -> None:
    """Make one family's rules what ``networks`` and ``items`` need; with no network left, nothing of ours stays."""
    tool = "ip6tables" if six else "iptables"
    saved = run(f"{tool}-save")
    present = present_jumps(prefix, saved)
    if any(not six or network.get("subnet6") for network in networks):
        missing = [jump for jump in JUMPS if jump not in present]
        text = render(prefix, all_rules(prefix, networks, items, six=six), missing)
    elif f":{prefix}-" in saved:
        text = render_removal(prefix, present)
    else:
        return
    run(f"{tool}-restore", "--noflush", "-w", "10", text=text)
