# SPDX-License-Identifier: GPL-3.0-or-later
"""IPv6 on managed networks: addresses, names, published ports, ways out, isolation."""

from __future__ import annotations

import socket
import subprocess
import time
from pathlib import Path

import pytest
from ansible_collections.uni.engine.plugins.module_utils.engine.errors import ConflictError, UniError
from ansible_collections.uni.engine.plugins.module_utils.engine.networks import api as networks
from ansible_collections.uni.engine.plugins.module_utils.engine.networks.model import NetworkSpec
from ansible_collections.uni.engine.plugins.module_utils.engine.vms import api

from .conftest import Host
from .netguest import Outside, ask, run_guest, server, start

SIX = {"subnet": "10.6.0.0/24", "subnet6": "fd06::/64"}
WEB6 = "fd06::a06:2"


def test_addresses_names_and_ports(net: Host, disk: Path, outside: Outside) -> None:
    assert networks.ensure_present(net.root, NetworkSpec.parse("front", SIX)).changed
    assert not networks.ensure_present(net.root, NetworkSpec.parse("front", {**SIX, "gateway6": "fd06::1"})).changed
    start(net, disk, "web", "front", ports=["[::]:8080:80", "[2001:db8::1]:8081:80/udp"])
    info = api.info(api.resolve_vm(net.root, "web"))["addresses"][0]
    assert info["address"] == "10.6.0.2" and info["address6"] == WEB6
    assert ask(WEB6, 80) == "hello fd06::1"
    assert run_guest(net, disk, "resolve", "web")[1].split() == ["10.6.0.2", WEB6]
    assert run_guest(net, disk, WEB6, "80") == (0, "hello fd06::a06:3")
    assert outside.ask("2001:db8::1", "8080") == "hello 2001:db8::2", "published, with the client's own address"
    assert outside.ask("udp", "2001:db8::1", "8081") == "hello 2001:db8::2"
    assert ask("2001:db8::1", 8080).startswith("hello "), "the host itself"
    assert run_guest(net, disk, "2001:db8::1", "8080") == (0, "hello fd06::1"), "hairpin"
    assert outside.ask("192.0.2.1", "8080") == "", "an IPv6 publication is none for IPv4"
    after = api.ensure(net.root, server(disk, "web", networks=["front"], ports=["[::]:9090:80"])).vm
    assert outside.ask("2001:db8::1", "9090").startswith("hello") and outside.ask("2001:db8::1", "8080") == ""
    assert after["addresses"][0]["address6"] == WEB6
    with pytest.raises(ConflictError) as caught:
        api.run(net.root, server(disk, "second", networks=["front"], ports=["[::]:9090:80"]))
    assert caught.value.code == "port.in_use"


def test_the_host_keeps_its_own_router(net: Host, outside: Outside) -> None:
    """Linux does not listen to router advertisements where it forwards, unless told to: the host's way out would expire."""
    def learned() -> bool:
        routes = subprocess.run(["ip", "-6", "route", "show", "default", "dev", "wire"], capture_output=True, text=True, check=True)
        return "proto ra" in routes.stdout

    words = ["dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--port=0", "--interface=eriw", "--bind-interfaces",
             "--user=root", "--dhcp-range=2001:db8::,ra-only,64,1h", "--enable-ra", "--ra-param=eriw,4,600", "--pid-file",
             f"--dhcp-leasefile={net.path / 'leases'}"]
    networks.ensure_present(net.root, NetworkSpec.parse("front", SIX))
    router = subprocess.Popen([*outside.enter, *words], stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 60
        while not learned():
            assert time.monotonic() < deadline, "no route from the router's advertisements"
            time.sleep(0.1)
    finally:
        router.kill()
        router.wait()


def test_ways_out(net: Host, disk: Path, outside: Outside) -> None:
    networks.ensure_present(net.root, NetworkSpec.parse("front", SIX))
    assert run_guest(net, disk, "2001:db8::2", "80")[0] == 1, "routed: nobody knows the way back"
    outside.run("ip", "-6", "route", "add", "fd06::/64", "via", "2001:db8::1")
    assert run_guest(net, disk, "2001:db8::2", "80") == (0, f"hello {WEB6}")
    outside.run("ip", "-6", "route", "del", "fd06::/64")
    networks.ensure_present(net.root, NetworkSpec.parse("front", {"masquerade6": True}))
    assert run_guest(net, disk, "2001:db8::2", "80") == (0, "hello 2001:db8::1")
    assert run_guest(net, disk, "192.0.2.2", "80") == (0, "hello 192.0.2.1")
    networks.ensure_present(net.root, NetworkSpec.parse("front", {"internal": True}))
    assert run_guest(net, disk, "2001:db8::2", "80")[0] == 1
    assert run_guest(net, disk, "192.0.2.2", "80")[0] == 1


def test_isolation(net: Host, disk: Path, outside: Outside) -> None:
    networks.ensure_present(net.root, NetworkSpec.parse("front", SIX))
    networks.ensure_present(net.root, NetworkSpec.parse("back", {"subnet6": "fd07::/64"}))
    start(net, disk, "web", "front")
    assert run_guest(net, disk, WEB6, "80", networks=["back"])[0] == 1
    outside.run("ip", "-6", "route", "add", "fd06::/64", "via", "2001:db8::1")
    assert outside.ask(WEB6, "80") == "", "nobody comes in but through published ports"
    assert run_guest(net, disk, "fd06::1", "80")[0] == 1, "nor to the host"
    networks.ensure_present(net.root, NetworkSpec.parse("front", {"isolated": True}))
    assert run_guest(net, disk, WEB6, "80")[0] == 1


def test_an_address_moves_to_another_vm(net: Host, disk: Path) -> None:
    """Whoever has talked to the one before would go on sending to its link address for up to half a minute."""
    networks.ensure_present(net.root, NetworkSpec.parse("front", SIX))
    for number in range(3):
        name = f"web-{number}"
        start(net, disk, name, {"name": "front", "ip": "10.6.0.77", "ip6": "fd06::77"})  # type: ignore[arg-type]
        for address in ("fd06::77", "10.6.0.77"):
            with socket.create_connection((address, 80), timeout=3) as sock:
                assert sock.recv(100).startswith(b"hello")
        api.remove(net.root, name, force=True)


def test_static_addresses(net: Host, disk: Path) -> None:
    networks.ensure_present(net.root, NetworkSpec.parse("front", SIX))
    start(net, disk, "web", {"name": "front", "ip6": "fd06::77"})  # type: ignore[arg-type]
    assert ask("fd06::77", 80) == "hello fd06::1"
    for wanted, code in (("fd06::77", "ipam.taken"), ("fd06::1", "ipam.outside"), ("fd09::1", "ipam.outside")):
        with pytest.raises(UniError) as caught:
            api.run(net.root, server(disk, "thief", networks=[{"name": "front", "ip6": wanted}]))
        assert caught.value.code == code
    networks.ensure_present(net.root, NetworkSpec.parse("old"))
    with pytest.raises(UniError):
        api.run(net.root, server(disk, "thief", networks=[{"name": "old", "ip6": "fd06::78"}]))
    for subnet6 in ("fd06::/48", "fd06::/64"):
        with pytest.raises(ConflictError):
            networks.ensure_present(net.root, NetworkSpec.parse("other", {"subnet6": subnet6}))
