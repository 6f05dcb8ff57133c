# SPDX-License-Identifier: GPL-3.0-or-later
"""Networks on hosts that are set otherwise: strict reverse paths, bridged packets through iptables, other MTUs; and
VMs on two networks, ports by ranges, over UDP and IPv6.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from ansible_collections.uni.engine.plugins.module_utils.engine.networks import api as networks
from ansible_collections.uni.engine.plugins.module_utils.engine.networks.model import NetworkSpec
from ansible_collections.uni.engine.plugins.module_utils.engine.vms import api

from .conftest import Host
from .netguest import Outside, ask, from_guest, run_guest, server, start

BRIDGED = "net/bridge/bridge-nf-call-iptables"  # there where the module br_netfilter is, as Docker loads it
SETTINGS = {"strict": {"net/ipv4/conf/all/rp_filter": "1", "net/ipv4/conf/default/rp_filter": "1"},
            "loose": {"net/ipv4/conf/all/rp_filter": "2", "net/ipv4/conf/default/rp_filter": "2"},
            **({"bridged": {BRIDGED: "1"}, "not bridged": {BRIDGED: "0"}} if Path(f"/proc/sys/{BRIDGED}").exists() else {})}


@pytest.mark.parametrize("setting", SETTINGS)
def test_everything_reaches_everything(net: Host, disk: Path, outside: Outside, setting: str) -> None:
    """From outside, from the host and its 127.0.0.1, from a neighbor, and from the guest itself through its port."""
    for name, value in SETTINGS[setting].items():
        Path(f"/proc/sys/{name}").write_text(value)
    networks.ensure_present(net.root, NetworkSpec.parse("front"))
    networks.ensure_present(net.root, NetworkSpec.parse("back"))
    address = start(net, disk, "web", "front", ports=["8080:80", "127.0.0.1:8081:80", "8080:80/udp"])
    assert outside.ask("192.0.2.1", "8080") == "hello 192.0.2.2"
    assert outside.ask("udp", "192.0.2.1", "8080") == "hello 192.0.2.2"
    assert outside.ask("192.0.2.1", "8081") == ""
    for target, port in ((address, 80), ("127.0.0.1", 8080), ("127.0.0.1", 8081), ("192.0.2.1", 8080)):
        assert ask(target, port).startswith("hello"), (target, port)
    assert from_guest(net, disk, "web", 80, "front")[0] == 0
    assert from_guest(net, disk, "192.0.2.1", 8080, "front")[0] == 0, "hairpin: a neighbor through the published port"
    assert from_guest(net, disk, "192.0.2.1", 8080, "back")[0] == 0, "another network through the published port"
    assert from_guest(net, disk, address, 80, "back")[0] != 0, "and only through it"
    assert from_guest(net, disk, "192.0.2.2", 80, "front")[1].startswith("hello 192.0.2.1"), "out, as the host"


# What a guest with a kernel of its own can do: send what is for 127.0.0.1 to its gateway. GATEWAY ADDRESS INTERFACE.
HOSTILE = """
ip address flush dev lo
ip link set $3 up
ip address add $2/24 dev $3
echo 1 >/proc/sys/net/ipv4/conf/all/route_localnet
ip route add 127.0.0.1 via $1 src $2
"""


@pytest.mark.parametrize("where", ["front", "back"])
def test_nobody_else_comes_in_by_127_0_0_1(net: Host, disk: Path, outside: Outside, where: str) -> None:
    """The bridge routes 127.0.0.1, for the host's own sake: what is published there is still for the host alone."""
    networks.ensure_present(net.root, NetworkSpec.parse("front", {"isolated": True}))
    networks.ensure_present(net.root, NetworkSpec.parse("back"))
    start(net, disk, "web", "front", ports=["127.0.0.1:8081:80", "127.0.0.1:8081:80/udp", "8080:80"])
    network = networks.inspect(net.root, where)
    own = network["gateway"].rpartition(".")[0] + ".99"
    subprocess.run(["ip", "link", "add", "evil", "master", network["bridge"], "type", "veth", "peer", "name", "live"], check=True)
    subprocess.run(["ip", "link", "set", "evil", "up"], check=True)
    subprocess.run(["ip", "link", "set", "live", "netns", str(outside.holder.pid)], check=True)
    outside.run("sh", "-ec", HOSTILE, "sh", network["gateway"], own, "live")
    assert outside.ask(network["gateway"], "8080").startswith("hello"), "it gets as far as the host"
    assert outside.ask("127.0.0.1", "8081") == "" and outside.ask("udp", "127.0.0.1", "8081") == ""
    assert ask("127.0.0.1", 8081).startswith("hello")


@pytest.mark.parametrize("mtu", [1280, 1500, 9000])
def test_mtu_end_to_end(net: Host, disk: Path, mtu: int) -> None:
    """Bridge, TAP interface and guest have it, and a lot of data passes in both directions of the bridge."""
    networks.ensure_present(net.root, NetworkSpec.parse("front", {"mtu": mtu}))
    assert f"eth0.mtu={mtu} " in run_guest(net, disk, "addresses")[1]
    spec = server(disk, "sink", "sink", networks=["front"], health_check={"test": "log:listening"})
    api.ensure(net.root, spec, "healthy", timeout=60)
    record = api.resolve_vm(net.root, "sink").runtime["addresses"][0]
    for interface in (record["interface"], record["bridge"]):
        shown = subprocess.run(["ip", "link", "show", interface], capture_output=True, text=True, check=True).stdout
        assert f"mtu {mtu} " in shown
    assert run_guest(net, disk, "send", "sink", "80", "3000000") == (0, "sent")
    api.stop(net.root, "sink")


def test_two_networks_in_one_vm(net: Host, disk: Path, outside: Outside) -> None:
    """Each with its address and name; the way out is the first one's; the second is reached without a way out."""
    networks.ensure_present(net.root, NetworkSpec.parse("front"))
    networks.ensure_present(net.root, NetworkSpec.parse("back", {"internal": True}))
    spec = server(disk, "web", networks=["front", {"name": "back", "aliases": ["db"]}], ports=["8080:80"],
                  health_check={"test": "log:listening"})
    vm = api.ensure(net.root, spec, "healthy", timeout=60).vm
    front, back = (item["address"] for item in vm["addresses"])
    assert not api.ensure(net.root, spec).changed
    assert ask(front, 80).startswith("hello") and ask(back, 80).startswith("hello")
    assert outside.ask("192.0.2.1", "8080") == "hello 192.0.2.2"
    assert from_guest(net, disk, "web", 80, "front")[0] == 0 and from_guest(net, disk, "db", 80, "back")[0] == 0
    shown = run_guest(net, disk, "addresses", networks=["front", "back"])[1]
    assert "eth0=10.89.0." in shown and "eth1=10.89.1." in shown, shown
    both = run_guest(net, disk, "192.0.2.2", "80", networks=["front", "back"])
    assert both[0] == 0 and both[1].startswith("hello 192.0.2.1"), "the first network leads out"
    turned = run_guest(net, disk, "192.0.2.2", "80", networks=["back", "front"])
    assert turned[0] != 0, "the first network has no way out"


def test_ranges_of_ports(net: Host, disk: Path, outside: Outside) -> None:
    networks.ensure_present(net.root, NetworkSpec.parse("front"))
    spec = server(disk, "web", networks=["front"], ports=["8078-8082:78-82", "192.0.2.1:9000-9001:79-80/udp"],
                  health_check={"test": "log:listening"})
    vm = api.ensure(net.root, spec, "healthy", timeout=60).vm
    assert len(vm["ports"]) == 7 and not api.ensure(net.root, spec).changed
    assert outside.ask("192.0.2.1", "8080") == "hello 192.0.2.2" and outside.ask("192.0.2.1", "8079") == ""
    assert outside.ask("udp", "192.0.2.1", "9001") == "hello 192.0.2.2"
    with pytest.raises(Exception) as caught:
        api.run(net.root, server(disk, "other", networks=["front"], ports=["8082-8083:82-83"]))
    assert getattr(caught.value, "code", "") == "port.in_use"


def test_published_on_ipv6_and_ipv4(net: Host, disk: Path, outside: Outside) -> None:
    networks.ensure_present(net.root, NetworkSpec.parse("front", {"subnet6": "fd00:89::/64"}))
    start(net, disk, "web", "front", ports=["[::]:8080:80", "0.0.0.0:8080:80", "[2001:db8::1]:9090:80/udp"])
    assert outside.ask("192.0.2.1", "8080") == "hello 192.0.2.2"
    assert outside.ask("2001:db8::1", "8080") == "hello 2001:db8::2"
    assert outside.ask("udp", "2001:db8::1", "9090") == "hello 2001:db8::2"
    assert os.path.exists("/proc/net/if_inet6")
