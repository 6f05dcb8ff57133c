# SPDX-License-Identifier: GPL-3.0-or-later
"""Packet rules: rendered as a whole from what runs, in chains of our own, applied in one transaction each.

The built-in chains get one jump each, at their top, so that a FORWARD policy of DROP and the rules of Docker, ufw or
firewalld stay as they are. A rule of a VM is one line of text: what its keeper removes when the VM ends is exactly
what was added when it started. Syntax: iptables-restore(8), ebtables(8).
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ansible_collections.uni.engine.plugins.module_utils.engine.errors import HostError
from ansible_collections.uni.engine.plugins.module_utils.engine.monitors.qemu import find_program
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


def vm_rules(item: Attachment) -> Iterator[Rule]:
    """Publish a VM's ports: destination NAT, and leave to be forwarded."""
    for port in item.ports:
        if ":" in port.bind:
            continue  # IPv6 is routed, not translated
        bind = "" if port.bind == "0.0.0.0" else f"-d {port.bind}/32 "
        yield ("nat", "DNAT", f"{bind}-p {port.proto} -m {port.proto} --dport {port.host} -j DNAT"
                              f" --to-destination {item.address}:{port.guest}")
        yield ("filter", "PORTS", f"-d {item.address}/32 -o {item.bridge} -p {port.proto} -m {port.proto}"
                                  f" --dport {port.guest} -m conntrack --ctstate DNAT -j ACCEPT")


def network_rules(network: Network, others: Sequence[Network], prefix: str) -> Iterator[Rule]:
    """A network's own rules: translation, isolation, what guests may ask of the host."""
    bridge = network.bridge
    # Hairpin: a guest that reaches a published port of this network, and the host's own 127.0.0.1.
    yield "nat", "POST", f"-s {network.subnet} -o {bridge} -m conntrack --ctstate DNAT -j MASQUERADE"
    yield "nat", "POST", f"-s 127.0.0.0/8 -o {bridge} -m conntrack --ctstate DNAT -j MASQUERADE"
    if not network.get("internal"):
        yield "nat", "POST", f"-s {network.subnet} ! -o {bridge} -j MASQUERADE"
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
    yield "filter", "IN", f"-i {bridge} -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT"
    # route_localnet is on for publishing on 127.0.0.1: a guest must not reach loopback services through it.
    yield "filter", "IN", f"-i {bridge} -d 127.0.0.0/8 -j DROP"
    if not network.get("host_access"):
        yield "filter", "IN", f"-i {bridge} -d {network.gateway}/32 -p icmp -j ACCEPT"
        if network.get("dns"):
            yield "filter", "IN", f"-i {bridge} -p udp -m udp --dport 53 -j ACCEPT"
            yield "filter", "IN", f"-i {bridge} -p tcp -m tcp --dport 53 -j ACCEPT"
            yield "filter", "IN", f"-i {bridge} -p udp -m udp --dport 67 -j ACCEPT"
        yield "filter", "IN", f"-i {bridge} -j DROP"


def render(prefix: str, networks: Sequence[Network], items: Sequence[Attachment], jumps: Sequence[Rule]) -> str:
    """The input of ``iptables-restore --noflush``: our chains emptied and filled again. Pure.

    :param jumps: the jumps that the built-in chains lack
    """
    rules = [rule for item in items for rule in vm_rules(item)]
    rules += [rule for network in networks for rule in network_rules(network, networks, prefix)]
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


def render_down(prefix: str, items: Sequence[Attachment]) -> str:
    """What the keeper applies when the VM has ended: its rules deleted one by one."""
    lines = []
    for table in CHAINS:
        rules = [rule for item in items for rule in vm_rules(item) if rule[0] == table]
        if rules:
            lines += [f"*{table}", *(f"-D {prefix}-{chain} {text}" for _table, chain, text in rules), "COMMIT"]
    return "\n".join(lines) + "\n" if lines else ""


def spoof_rules(item: Attachment) -> Iterator[str]:
    """A guest uses its own MAC and IP addresses only (ebtables); no other protocols, no VLAN tags."""
    tap = f"-i {item.tap}"
    yield f"{tap} -s ! {item.mac} -j DROP"
    yield f"{tap} -p ARP --arp-mac-src ! {item.mac} -j DROP"
    yield f"{tap} -p ARP --arp-ip-src ! {item.address} -j DROP"
    yield f"{tap} -p ARP -j RETURN"
    yield f"{tap} -p IPv4 --ip-src 0.0.0.0 --ip-proto udp --ip-dport 67 -j RETURN"
    yield f"{tap} -p IPv4 --ip-src ! {item.address} -j DROP"
    yield f"{tap} -p IPv4 -j RETURN"
    if item.address6:
        yield f"{tap} -p IPv6 --ip6-src {item.address6} -j RETURN"
    yield f"{tap} -j DROP"


def render_bridge(prefix: str, items: Sequence[Attachment], missing: Sequence[str]) -> str:
    """The input of ``ebtables-restore --noflush`` for the anti-spoofing chain."""
    lines = ["*filter", f":{prefix}-SPOOF RETURN"]
    lines += [f"-A {chain} -j {prefix}-SPOOF" for chain in missing]
    lines += [f"-A {prefix}-SPOOF {rule}" for item in items for rule in spoof_rules(item)]
    return "\n".join(lines) + "\n"


def run(name: str, *arguments: str, text: str = "") -> str:
    """Run a rule tool; its output.

    :raises HostError: code ``network.tool`` or ``network.rules``
    """
    program = find_program(name)
    if not program:
        raise HostError(f"{name} is not installed", code="network.tool", hint="install it: apt install iptables")
    done = subprocess.run([program, *arguments], input=text, capture_output=True, text=True, timeout=60, check=False)
    if done.returncode:
        raise HostError(f"{name} refused the network rules: {done.stderr.strip()[:400]}", code="network.rules",
                        hint="bridge networks need root and the kernel's nf_tables or x_tables")
    return done.stdout


def present_jumps(prefix: str) -> list[Rule]:
    """Our jumps that stand in the built-in chains now."""
    found = []
    for table in CHAINS:
        lines = run("iptables-save", "-t", table).splitlines()
        found += [(where, chain, text) for where, chain, text in JUMPS
                  if where == table and f"-A {chain} {text.format(prefix)}" in lines]
    return found


def apply(prefix: str, networks: Sequence[Network], items: Sequence[Attachment]) -> None:
    """Make the rules what ``networks`` and ``items`` need; with no network left, nothing of ours stays."""
    present = present_jumps(prefix)
    if not networks:
        if present:
            run("iptables-restore", "--noflush", "-w", "10", text=render_removal(prefix, present))
        _remove_bridge(prefix)
        return
    missing = [jump for jump in JUMPS if jump not in present]
    run("iptables-restore", "--noflush", "-w", "10", text=render(prefix, networks, items, missing))
    saved = run("ebtables-save")
    lacking = [chain for chain in ("INPUT", "FORWARD") if f"-A {chain} -j {prefix}-SPOOF" not in saved]
    run("ebtables-restore", "--noflush", text=render_bridge(prefix, items, lacking))


def _remove_bridge(prefix: str) -> None:
    saved = run("ebtables-save") if find_program("ebtables-save") else ""
    if f"{prefix}-SPOOF" in saved:
        for chain in ("INPUT", "FORWARD"):
            if f"-A {chain} -j {prefix}-SPOOF" in saved:
                run("ebtables", "-D", chain, "-j", f"{prefix}-SPOOF")
        run("ebtables", "-F", f"{prefix}-SPOOF")
        run("ebtables", "-X", f"{prefix}-SPOOF")
