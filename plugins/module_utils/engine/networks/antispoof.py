# SPDX-License-Identifier: GPL-3.0-or-later
"""A guest uses its own MAC and IP addresses only, and plays no router, DHCP server or neighbor that it is not.

ebtables(8) checks the senders of frames. What a neighbor advertisement claims is inside the message (RFC 4861, section
4.4), where ebtables does not look: nft(8) does, in a table of our own in the bridge family, one chain a VM.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Sequence

from ansible_collections.uni.engine.plugins.module_utils.engine.monitors.qemu import find_program
from ansible_collections.uni.engine.plugins.module_utils.engine.networks.firewall import Attachment, run


def link_local(mac: str) -> str:
    """The IPv6 address that an interface gives itself: RFC 4291, appendix A."""
    octets = [int(part, 16) for part in mac.split(":")]
    octets[0] ^= 2
    number = int.from_bytes(bytes([*octets[:3], 0xFF, 0xFE, *octets[3:]]), "big")
    return str(ipaddress.IPv6Address((0xFE80 << 112) | number))


def spoof_rules(item: Attachment) -> Iterator[str]:
    """What a guest may send; no other protocols, no VLAN tags. Pure."""
    tap = f"-i {item.tap}"
    yield f"{tap} -s ! {item.mac} -j DROP"
    yield f"{tap} -p ARP --arp-mac-src ! {item.mac} -j DROP"
    yield f"{tap} -p ARP --arp-ip-src ! {item.address} -j DROP"
    yield f"{tap} -p ARP -j RETURN"
    yield f"{tap} -p IPv4 --ip-proto udp --ip-sport 67 -j DROP"
    yield f"{tap} -p IPv4 --ip-src 0.0.0.0 --ip-proto udp --ip-dport 67 -j RETURN"
    yield f"{tap} -p IPv4 --ip-src ! {item.address} -j DROP"
    yield f"{tap} -p IPv4 -j RETURN"
    if item.address6:
        for kind in ("router-advertisement", "redirect"):
            yield f"{tap} -p IPv6 --ip6-proto ipv6-icmp --ip6-icmp-type {kind} -j DROP"
        yield f"{tap} -p IPv6 --ip6-proto udp --ip6-sport 547 -j DROP"
        # Duplicate address detection asks from the unspecified address (RFC 4862, section 5.4.2).
        yield f"{tap} -p IPv6 --ip6-src :: --ip6-proto ipv6-icmp --ip6-icmp-type neighbour-solicitation -j RETURN"
        for address in (item.address6, link_local(item.mac)):
            yield f"{tap} -p IPv6 --ip6-src {address} -j RETURN"
    yield f"{tap} -j DROP"


def render(prefix: str, items: Sequence[Attachment], missing: Sequence[str]) -> str:
    """The input of ``ebtables-restore --noflush``. Pure.

    :param missing: the built-in chains that lack the jump
    """
    lines = ["*filter", f":{prefix}-SPOOF RETURN"]
    lines += [f"-A {chain} -j {prefix}-SPOOF" for chain in missing]
    lines += [f"-A {prefix}-SPOOF {rule}" for item in items for rule in spoof_rules(item)]
    return "\n".join(lines) + "\n"


def render_down(prefix: str, items: Sequence[Attachment]) -> str:
    """What ebtables-restore takes away when a VM has ended. Pure."""
    return "\n".join(["*filter", *(f"-D {prefix}-SPOOF {rule}" for item in items for rule in spoof_rules(item))]) + "\n"


def table(prefix: str) -> str:
    """The name of our nft table."""
    return prefix.lower().replace("-", "_")


def render_neighbors(prefix: str, items: Sequence[Attachment]) -> str:
    """The input of ``nft -f``: our table made anew in one transaction; without items it is only removed. Pure."""
    name = table(prefix)
    lines = [f"table bridge {name}", f"delete table bridge {name}"]
    if items:
        lines += [f"table bridge {name} {{", "  map taps { type ifname : verdict; }"]
        lines += ["  chain guests { type filter hook prerouting priority -300; policy accept;",
                  "    ether type ip6 icmpv6 type nd-neighbor-advert iifname vmap @taps; }", "}"]
    for item in items:
        lines.append(f"add chain bridge {name} {item.tap}")
        for address in (item.address6, link_local(item.mac)):
            number = int(ipaddress.IPv6Address(address))
            lines.append(f"add rule bridge {name} {item.tap} @th,64,128 {number:#034x} return")
        lines += [f"add rule bridge {name} {item.tap} drop",
                  f'add element bridge {name} taps {{ "{item.tap}" : jump {item.tap} }}']
    return "\n".join(lines) + "\n"


def render_neighbors_down(prefix: str, items: Sequence[Attachment]) -> str:
    """What ``nft -f`` takes away when a VM has ended; empty when it has no IPv6. Pure."""
    name = table(prefix)
    lines = [line for item in items if item.address6 for line in (
        f'delete element bridge {name} taps {{ "{item.tap}" }}', f"delete chain bridge {name} {item.tap}")]
    return "\n".join(lines) + "\n" if lines else ""


def apply(prefix: str, items: Sequence[Attachment], *, wanted: bool, six: bool) -> None:
    """Make the bridge rules what ``items`` need.

    :param wanted: false: there is no network left, nothing of ours stays
    :param six: whether there is, or was, a network with IPv6
    :raises HostError: code ``network.tool`` or ``network.rules``
    """
    if six:
        run("nft", "-f", "-", text=render_neighbors(prefix, [item for item in items if item.address6]))
    if wanted:
        saved = run("ebtables-save")
        lacking = [chain for chain in ("INPUT", "FORWARD") if f"-A {chain} -j {prefix}-SPOOF" not in saved]
        run("ebtables-restore", "--noflush", text=render(prefix, items, lacking))
        return
    saved = run("ebtables-save") if find_program("ebtables-save") else ""
    if f"{prefix}-SPOOF" in saved:
        for chain in ("INPUT", "FORWARD"):
            if f"-A {chain} -j {prefix}-SPOOF" in saved:
                run("ebtables", "-D", chain, "-j", f"{prefix}-SPOOF")
        run("ebtables", "-F", f"{prefix}-SPOOF")
        run("ebtables", "-X", f"{prefix}-SPOOF")


def complete(prefix: str, items: Sequence[Attachment], saved: str) -> bool:
    """Whether both jumps and as many rules as there should be are in what ebtables-save printed. Pure."""
    lines = saved.splitlines()
    found = sum(line.startswith(f"-A {prefix}-SPOOF ") for line in lines)
    return found == sum(1 for item in items for rule in spoof_rules(item) if rule) and all(
        f"-A {chain} -j {prefix}-SPOOF" in lines for chain in ("INPUT", "FORWARD"))
