# SPDX-License-Identifier: GPL-3.0-or-later
"""Interfaces and the name server of a network. Everything here can be repeated: a reboot of the host loses it all.

Interfaces are made by one ``ip -batch`` (3 ms); importing pyroute2 alone would cost a hundred times that.
"""

from __future__ import annotations

import ipaddress
import os
import struct
import subprocess
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from ansible_collections.uni.engine.plugins.module_utils.engine.errors import HostError
from ansible_collections.uni.engine.plugins.module_utils.engine.monitors.qemu import find_program
from ansible_collections.uni.engine.plugins.module_utils.engine.networks import firewalld, peers
from ansible_collections.uni.engine.plugins.module_utils.engine.networks.model import Network
from ansible_collections.uni.engine.plugins.module_utils.engine.process import Identity
from ansible_collections.uni.engine.plugins.module_utils.engine.records import (
    read_json,
    sweep_temporary,
    write_bytes,
    write_json,
)
from ansible_collections.uni.engine.plugins.module_utils.engine.root import Root

SIGHUP, SIGTERM = 1, 15
NOBODY = 65534
SIOCGIFHWADDR, SIOCSIFHWADDR = 0x8927, 0x8924  # linux/sockios.h; a struct ifreq goes in and comes out
ARPHRD_ETHER = 1  # linux/if_arp.h


def is_up(network: Network) -> bool:
    """Whether the bridge exists (in this network namespace)."""
    return exists(network.bridge)


def exists(interface: str) -> bool:
    """Whether the interface exists, in the namespace of this process (a mounted /sys may show another one)."""
    import socket

    try:
        return socket.if_nametoindex(interface) > 0
    except OSError:
        return False


def commands(network: Network) -> Iterator[str]:
    """The ``ip`` commands that make the bridge. Pure."""
    bridge, mtu = network.bridge, network.get("mtu")
    yield f"link add {bridge} type bridge stp_state 0 forward_delay 0 mcast_snooping 0"
    yield f"link set dev {bridge} mtu {mtu}"
    yield f"link set dev {bridge} alias uni-{network.name}"
    yield f"address add {network.gateway}/{network.prefix} dev {bridge}"
    if network.get("subnet6"):
        subnet6 = ipaddress.ip_network(network.get("subnet6"))
        yield f"address add {network.gateway6}/{subnet6.prefixlen} dev {bridge} nodad"
    yield f"link set dev {bridge} up"
    vxlan = network.get("vxlan")
    if vxlan:
        local = f" local {vxlan['local']}" if vxlan["local"] else ""
        yield f"link add {vxlan_name(network)} type vxlan id {vxlan['id']} dstport {vxlan['port']}{local}"
        yield f"link set dev {vxlan_name(network)} mtu {mtu}"
        yield f"link set dev {vxlan_name(network)} master {bridge}"
        yield f"link set dev {vxlan_name(network)} up"


def vxlan_name(network: Network) -> str:
    """The interface name of a network's VXLAN port."""
    return "ux" + network.bridge[2:]


def up(root: Root, network: Network) -> None:
    """Make the bridge, its address, forwarding, the VXLAN port and the name server, where they are missing.

    :raises HostError: code ``network.permission``, ``network.ip``, ``network.dnsmasq``
    """
    made = _made(root, network)
    if not is_up(network):
        if os.geteuid() != 0:
            raise HostError("bridge networks need root", code="network.permission",
                            hint="use the network `user`, or sudo")
        made.unlink(missing_ok=True)
        if exists(vxlan_name(network)):  # the bridge alone was deleted
            _ip([f"link delete {vxlan_name(network)}"])
        _ip(list(commands(network)))
    if os.geteuid() == 0 and not made.exists():
        _finish(root, network)
        write_bytes(made, b"")
    firewalld.admit(network.bridge)
    _sysctl("net/ipv4/ip_forward", "1")  # each time: firewalls and sysctl files set it back
    if network.get("subnet6"):
        _forward6()
    if network.get("dns") and not server_running(root, network):
        _start_server(root, network)


def _made(root: Root, network: Network) -> Path:
    """The file that says that the bridge lacks nothing."""
    return run_directory(root, network) / "made"


def _forward6() -> None:
    """Forward IPv6, and go on listening to the host's own routers where it did.

    Where a host forwards, Linux takes ``accept_ra`` 1 for no and 2 for yes (Documentation/networking/ip-sysctl.rst):
    the host's own address and way out, if it learnt them, would expire.
    """
    for path in Path("/proc/sys/net/ipv6/conf").glob("*/accept_ra"):
        name = path.parent.name
        if name in ("all", "default") or name.startswith("ub"):
            continue
        with suppress(OSError):  # an interface that is gone by now
            if ((path.parent / "forwarding").read_text(), path.read_text()) == ("0\n", "1\n"):
                path.write_text("2")
    _sysctl("net/ipv6/conf/all/forwarding", "1")


def _finish(root: Root, network: Network) -> None:
    """What a bridge that was just made lacks; it can be repeated, for whoever made it may have been killed.

    Where somebody deleted the bridge, what was on it comes back: running VMs, and the link address that they know.
    """
    from ansible_collections.uni.engine.plugins.module_utils.engine.networks import ipam

    for remote in (network.get("vxlan") or {}).get("remotes", []):
        _tool("bridge", "fdb", "append", "00:00:00:00:00:00", "dev", vxlan_name(network), "dst", remote)
    _keep_address(root, network)
    _sysctl(f"net/ipv4/conf/{network.bridge}/route_localnet", "1")  # for ports published on 127.0.0.1
    taps = [tap for lease in ipam.leases(root, network.name).values() if exists(tap := str(lease["tap"]))]
    if taps:
        _ip([f"link set dev {tap} master {network.bridge}" for tap in taps])
        isolate(taps, bool(network.get("isolated")))
        stop_server(root, network)  # what it listened on is gone


def _keep_address(root: Root, network: Network) -> None:
    """Make a bridge's link address its own, that of the bridge before if there was one since the host started.

    Until somebody sets it, the kernel gives a bridge the lowest address of its ports: as VMs came and went it would
    change, and the others would go on sending to the old one. Setting drops what the host knows of its neighbors there.

    :raises HostError: code ``network.ip``
    """
    import fcntl
    import socket

    memory = run_directory(root, network) / "link-address"
    memory.parent.mkdir(mode=0o755, exist_ok=True)
    name = network.bridge.encode()
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            known = memory.read_bytes() if memory.exists() else b""
            request = struct.pack("16sH6s16x", name, ARPHRD_ETHER, known) if len(known) == 6 \
                else fcntl.ioctl(sock, SIOCGIFHWADDR, struct.pack("16s24x", name))
            fcntl.ioctl(sock, SIOCSIFHWADDR, request)
        write_bytes(memory, request[18:24])
    except OSError as error:
        raise HostError(f"cannot set the link address of {network.bridge}: {error.strerror}",
                        code="network.ip") from error


def whole(root: Root, network: Network) -> bool:
    """Whether the bridge, forwarding and the name server are there."""
    if not is_up(network) or not _made(root, network).exists():
        return False
    if network.get("dns") and not server_running(root, network):
        return False
    forwards = Path("/proc/sys/net/ipv4/ip_forward").read_text().strip() == "1"
    return forwards and firewalld.admitted(network.bridge)


def down(root: Root, network: Network) -> None:
    """Remove everything that :func:`up` made."""
    import shutil

    stop_server(root, network)
    shutil.rmtree(run_directory(root, network), ignore_errors=True)
    firewalld.forget(network.bridge)
    lines = [f"link delete {name}" for name in (vxlan_name(network), network.bridge)
             if exists(name)]
    if lines:
        _ip(lines)


def stop_server(root: Root, network: Network) -> None:
    """End the name server; the names that it knows stay, for the next one."""
    server = _server(root, network)
    if server is not None and server.kill(SIGTERM):
        server.wait(10)
    (run_directory(root, network) / "server.json").unlink(missing_ok=True)
    peers.stop(run_directory(root, network))


def isolate(taps: Iterable[str], on: bool) -> None:
    """Let running VMs of a bridge reach each other, or not."""
    for tap in taps:
        if exists(tap):
            _tool("bridge", "link", "set", "dev", tap, "isolated", "on" if on else "off")


def run_directory(root: Root, network: Network) -> Path:
    """Files of the name server; its own user must reach them."""
    return root.run / f"net-{network.name}"


def server_running(root: Root, network: Network) -> bool:
    """Whether the name server runs, and the one for other hosts where there is one."""
    return _alive(root, network) and (not peers.wanted(network) or peers.running(run_directory(root, network)))


def _alive(root: Root, network: Network) -> bool:
    server = _server(root, network)
    return server is not None and server.alive()


def _server(root: Root, network: Network) -> Identity | None:
    return Identity.from_record(read_json(run_directory(root, network) / "server.json"))


def reload_server(root: Root, network: Network) -> Identity | None:
    """Make the name server forget names whose file is gone; who it is."""
    server = _server(root, network)
    if server is not None:
        server.kill(SIGHUP)
    return server


def sweep_names(root: Root, network: Network) -> None:
    """Remove the files of VMs that are gone, whose caller was killed between a name and its launch."""
    gone = False
    for directory in (run_directory(root, network) / "hosts", run_directory(root, network) / "dhcp"):
        sweep_temporary(directory)
        for path in directory.iterdir() if directory.is_dir() else ():
            if path.name != "gateway" and not path.name.startswith(".") and not (root.vms / path.name).is_dir():
                path.unlink(missing_ok=True)
                gone = True
    if gone:
        reload_server(root, network)


def server_identity(root: Root, network: Network) -> Identity | None:
    """Who the name server is."""
    return _server(root, network)


def server_arguments(root: Root, network: Network) -> list[str]:
    """dnsmasq's command line: names from one file per VM, everything else from the host's own resolver. Pure."""
    home = run_directory(root, network)
    subnet = ipaddress.ip_network(network.subnet)
    six = [f"--listen-address={network.gateway6}"] if network.gateway6 else []
    words = [*six, *peers.questions(network), "--conf-file=/dev/null", "--no-hosts", "--bind-interfaces",
             f"--listen-address={network.gateway}",
             "--except-interface=lo", f"--pid-file={home}/pid", f"--hostsdir={home}/hosts",
             f"--dhcp-hostsdir={home}/dhcp", f"--dhcp-range={subnet.network_address},static,{subnet.netmask},12h",
             f"--dhcp-option=option:router,{network.gateway}", f"--dhcp-option=option:dns-server,{network.gateway}",
             "--leasefile-ro", "--bogus-priv", "--no-ping", "--cache-size=1000", "--local-ttl=5",
             f"--dhcp-option=option:mtu,{network.get('mtu')}", f"--user={_user(home)}"]
    return [*words, "--no-resolv"] if network.get("internal") else words


def _user(home: Path) -> str:
    """Who dnsmasq becomes: where another user could not reach the files, it has to stay root to read them."""
    return "root" if any(not parent.stat().st_mode & 0o001 for parent in home.parents) else "nobody"


def _start_server(root: Root, network: Network) -> None:
    program = find_program("dnsmasq")
    if not program:
        raise HostError("dnsmasq is not installed", code="network.dnsmasq",
                        hint="install it: apt install dnsmasq-base, or create the network with dns: false")
    home = run_directory(root, network)
    for path in (home, home / "hosts", home / "dhcp"):
        path.mkdir(mode=0o755, exist_ok=True)
        path.chmod(0o755)
    names = f"gateway.{network.name} host.uni.internal\n"
    lines = [f"{address} {names}" for address in (network.gateway, network.gateway6) if address]
    write_bytes(home / "hosts" / "gateway", "".join(lines).encode(), mode=0o644)
    if not _alive(root, network):
        done = subprocess.run([program, *server_arguments(root, network)], capture_output=True, text=True, timeout=30,
                              check=False)
        if done.returncode:
            raise HostError(f"the name server of network {network.name} did not start: {done.stderr.strip()[:300]}",
                            code="network.dnsmasq", hint="create the network with dns: false to do without")
        server = Identity.of(int((home / "pid").read_text()))
        write_json(home / "server.json", {"pid": server.pid, "start": server.start, "boot": server.boot})
    if peers.wanted(network):
        peers.start(network, home, 0 if _user(home) == "root" else NOBODY)


def _ip(lines: list[str]) -> None:
    _tool("ip", "-batch", "-", text="\n".join(lines) + "\n")


def _tool(name: str, *arguments: str, text: str = "") -> None:
    program = find_program(name)
    if not program:
        raise HostError(f"{name} is not installed", code="network.ip", hint="install it: apt install iproute2")
    done = subprocess.run([program, *arguments], input=text, capture_output=True, text=True, timeout=60, check=False)
    if done.returncode:
        raise HostError(f"{name} could not set up the network: {done.stderr.strip()[:300]}", code="network.ip")


def _sysctl(name: str, value: str) -> None:
    path = Path("/proc/sys") / name
    try:
        if path.read_text().strip() != value:
            path.write_text(value)
    except OSError as error:
        raise HostError(f"cannot set {path}: {error.strerror}", code="network.sysctl") from error


def host_subnets(*, six: bool = False) -> list[tuple[str, str]]:
    """The subnets that this host has routes for, and the interface of each; not the default route."""
    program = find_program("ip")
    if not program:
        return []
    done = subprocess.run([program, "-6" if six else "-4", "route", "show", "table", "main"], capture_output=True,
                          text=True, timeout=30, check=False)
    found = []
    for words in (line.split() for line in done.stdout.splitlines()):
        words = words[1:] if words[:1] in (["unreachable"], ["blackhole"], ["prohibit"]) else words
        device = words[words.index("dev") + 1] if "dev" in words[:-1] else ""
        if words and words[0] != "default" and words[0][0] in "0123456789abcdef":
            found.append((words[0], device))
    return found
