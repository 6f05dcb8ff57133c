# SPDX-License-Identifier: GPL-3.0-or-later
"""Bridges, addresses, names, published ports: Uni's own kernel and a small server, in a network namespace."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from ansible_collections.uni.engine.plugins.module_utils.engine.errors import ConflictError, UniError
from ansible_collections.uni.engine.plugins.module_utils.engine.guests import uni
from ansible_collections.uni.engine.plugins.module_utils.engine.keeper.net import open_tap
from ansible_collections.uni.engine.plugins.module_utils.engine.networks import api as networks
from ansible_collections.uni.engine.plugins.module_utils.engine.networks import link, model, shape
from ansible_collections.uni.engine.plugins.module_utils.engine.networks.model import NetworkSpec
from ansible_collections.uni.engine.plugins.module_utils.engine.vms import api

from .conftest import COLLECTIONS, Host
from .netguest import ask, from_guest, server, start, wait_for_namespace


def test_a_port_is_reached_from_everywhere(net: Host, disk: Path) -> None:
    assert networks.ensure_present(net.root, NetworkSpec.parse("front")).changed
    assert not networks.ensure_present(net.root, NetworkSpec.parse("front")).changed
    address = start(net, disk, "web", "front", ports=["8080:80", "127.0.0.1:8081:80"])
    gateway = networks.inspect(net.root, "front")["gateway"]
    assert ask(address, 80) == f"hello {gateway}"
    assert ask("127.0.0.1", 8080).startswith("hello") and ask("127.0.0.1", 8081).startswith("hello")
    assert ask(gateway, 8080).startswith("hello")
    code, text = from_guest(net, disk, address, 80, "front")
    assert code == 0 and text.startswith("hello 10.89.0.")
    assert from_guest(net, disk, gateway, 8080, "front")[0] == 0, "hairpin"
    assert from_guest(net, disk, gateway, 8081, "front")[0] == 1, "127.0.0.1 is not for others"
    with pytest.raises(ConflictError) as caught:
        api.run(net.root, server(disk, "second", networks=["front"], ports=["8080:80"]))
    assert caught.value.code == "port.in_use" and "web" in caught.value.message


def link_address(interface: str) -> str:
    shown = subprocess.run(["ip", "-json", "link", "show", interface], capture_output=True, text=True, check=True).stdout
    return str(json.loads(shown)[0]["address"])


def test_a_bridge_keeps_its_address(net: Host, disk: Path) -> None:
    """Without one of its own it takes the lowest of its ports': guests would send to that of a VM that is gone."""
    networks.ensure_present(net.root, NetworkSpec.parse("front", {"vxlan": {"id": 7, "local": "127.0.0.1"}}))
    bridge = networks.inspect(net.root, "front")["bridge"]
    first, seen = link_address(bridge), set()
    web = start(net, disk, "web", "front")
    for number in range(6):
        start(net, disk, f"other-{number}", "front")
        seen.add(link_address(bridge))
    assert ask(web, 80).startswith("hello")
    for number in range(6):
        api.remove(net.root, f"other-{number}", force=True)
        seen.add(link_address(bridge))
    assert seen == {first} and ask(web, 80).startswith("hello")


def test_a_bridge_that_was_half_made_is_finished(net: Host, disk: Path) -> None:
    """Its maker was killed, or was an earlier release, which left the address to the kernel."""
    networks.ensure_present(net.root, NetworkSpec.parse("front", {
        "subnet": "10.50.0.0/24", "ip_range": "10.50.0.64/26",
        "vxlan": {"id": 7, "local": "127.0.0.1", "remotes": ["127.0.0.2"]}}))
    front = model.load(net.root, "front")
    start(net, disk, "web", "front", ports=["127.0.0.1:8081:80"])
    gone = [f"link del {front.bridge}", f"link del {link.vxlan_name(front)}"]
    subprocess.run(["ip", "-batch", "-"], input="\n".join([*gone, *link.commands(front)]), text=True, check=True)
    (link.run_directory(net.root, front) / "made").unlink()
    (link.run_directory(net.root, front) / "link-address").unlink()
    networks.ensure_present(net.root, NetworkSpec.parse("front"))
    assert ask("127.0.0.1", 8081).startswith("hello")
    (link.run_directory(net.root, front) / "made").unlink()
    networks.ensure_present(net.root, NetworkSpec.parse("front"))  # a second time: nothing is there twice
    shown = subprocess.run(["bridge", "fdb", "show", "dev", link.vxlan_name(front)], capture_output=True, text=True, check=True).stdout
    assert shown.count("127.0.0.2") == 1
    first = link_address(front.bridge)
    low = ["ip", "link", "add", "low", "master", front.bridge, "address", "00:00:00:00:00:01", "type", "veth"]
    subprocess.run([*low, "peer", "name", "end"], check=True)
    assert link_address(front.bridge) == first != "00:00:00:00:00:01"
    subprocess.run(["ip", "link", "del", "low"], check=True)


def test_names_come_and_go(net: Host, disk: Path) -> None:
    networks.ensure_present(net.root, NetworkSpec.parse("front"))
    spec = server(disk, "web", networks=[{"name": "front", "ip": "10.89.0.77", "aliases": ["shop"]}])
    assert api.run(net.root, spec)["addresses"][0]["address"] == "10.89.0.77"

    def lookup(name: str) -> bool:
        done = subprocess.run(["busybox", "nslookup", name, "10.89.0.1"], capture_output=True, text=True, check=False)
        return "10.89.0.77" in done.stdout

    assert lookup("web") and lookup("shop") and not lookup("nobody")
    api.stop(net.root, "web")
    assert not lookup("web")
    assert api.start(net.root, "web").vm["addresses"][0]["address"] == "10.89.0.77" and lookup("web")
    with pytest.raises(ConflictError):
        api.run(net.root, server(disk, "thief", networks=[{"name": "front", "ip": "10.89.0.77"}]))


def test_networks_are_isolated_from_each_other(net: Host, disk: Path) -> None:
    for name in ("front", "back"):
        networks.ensure_present(net.root, NetworkSpec.parse(name))
    networks.ensure_present(net.root, NetworkSpec.parse("quiet", {"isolated": True}))
    address = start(net, disk, "web", "front")
    assert from_guest(net, disk, address, 80, "back")[0] == 1
    assert from_guest(net, disk, address, 80, "front")[0] == 0
    with pytest.raises(ConflictError):
        networks.ensure_absent(net.root, "front")


def test_changes_reach_running_vms(net: Host, disk: Path) -> None:
    networks.ensure_present(net.root, NetworkSpec.parse("front"))
    address = start(net, disk, "web", "front")
    assert from_guest(net, disk, address, 80, "front")[0] == 0
    networks.ensure_present(net.root, NetworkSpec.parse("front", {"isolated": True}))
    assert from_guest(net, disk, address, 80, "front")[0] == 1
    networks.ensure_present(net.root, NetworkSpec.parse("front", {"isolated": False, "dns": False}))
    code, text = from_guest(net, disk, address, 80, "front")
    assert code == 0, text
    assert ask(address, 80).startswith("hello")
    assert not networks.inspect(net.root, "front")["dns_running"]
    networks.ensure_present(net.root, NetworkSpec.parse("front", {"dns": True, "internal": True}))
    assert networks.inspect(net.root, "front")["dns_running"] and ask(address, 80).startswith("hello")


def test_a_guest_does_not_reach_the_host(net: Host, disk: Path) -> None:
    networks.ensure_present(net.root, NetworkSpec.parse("front"))
    with socket.create_server(("0.0.0.0", 7777)):
        assert from_guest(net, disk, "10.89.0.1", 7777, "front")[0] == 1
        networks.ensure_present(net.root, NetworkSpec.parse("front", {"host_access": True}))
        assert from_guest(net, disk, "10.89.0.1", 7777, "front")[0] == 2  # connected, nobody answers


def test_a_wrong_address_gets_nowhere(net: Host, disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A guest that gives itself another address than its lease: the bridge drops what it sends."""
    networks.ensure_present(net.root, NetworkSpec.parse("front"))
    address = start(net, disk, "web", "front")
    assert from_guest(net, disk, address, 80, "front")[0] == 0
    monkeypatch.setattr(uni, "_addresses", lambda number, interface, hostname: iter(
        [("ip", f"10.89.0.66::10.89.0.1:255.255.255.0:liar:eth{number}:off")]))
    code, text = from_guest(net, disk, address, 80, "front")
    assert code == 1 and "connect" in text


def test_rules_go_with_a_vm_that_dies(net: Host, disk: Path) -> None:
    networks.ensure_present(net.root, NetworkSpec.parse("front"))
    start(net, disk, "web", "front", ports=["8080:80"])
    vm = api.resolve_vm(net.root, "web")
    qemu = vm.qemu()
    assert qemu is not None and qemu.kill(9)
    api.wait(net.root, "web", timeout=60)
    keeper = vm.keeper()
    assert keeper is None or keeper.wait(30)
    saved = subprocess.run(["iptables-save"], capture_output=True, text=True, check=True).stdout
    assert "--dport 8080" not in saved          # the bridge's random name may hold the digits
    assert vm.id[:8] not in subprocess.run(["ebtables-save"], capture_output=True, text=True, check=True).stdout
    assert vm.id[:8] not in subprocess.run(["ip", "-br", "link"], capture_output=True, text=True, check=True).stdout


def test_ports_change_while_it_runs(net: Host, disk: Path) -> None:
    networks.ensure_present(net.root, NetworkSpec.parse("front"))
    start(net, disk, "web", "front", ports=["8080:80"])
    first = api.info(api.resolve_vm(net.root, "web"))
    after = api.ensure(net.root, server(disk, "web", networks=["front"], ports=["9090:80"])).vm
    assert after["pid"] == first["pid"] and ask("127.0.0.1", 9090).startswith("hello")
    with pytest.raises(OSError):
        ask("127.0.0.1", 8080)


def test_unknown_network_leaves_nothing(net: Host, disk: Path) -> None:
    with pytest.raises(UniError) as caught:
        api.run(net.root, server(disk, "web", networks=["nowhere"]))
    assert caught.value.code == "network.not_found" and api.list_vms(net.root, everything=True) == []


def test_many_at_once_leave_nothing(net: Host) -> None:
    """Made, started, stopped and removed in parallel; the fixture looks for what stayed."""
    networks.ensure_present(net.root, NetworkSpec.parse("front"))
    net.guest("idle")

    def life(number: int) -> str:
        name = f"vm{number}"
        vm = net.run(name, "idle", networks=["front"], ports=[f"{20000 + number}:80"])
        api.stop(net.root, name)
        address = str(vm["addresses"][0]["address"])  # type: ignore[index]
        api.remove(net.root, name)
        return address

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(life, range(24)))
    assert networks.inspect(net.root, "front")["leases"] == []
    assert "dport" not in subprocess.run(["iptables-save", "-t", "nat"], capture_output=True, text=True, check=True).stdout


def test_a_network_over_two_hosts(net: Host, disk: Path) -> None:
    """VXLAN: a server here; a client in another network namespace, with a root of its own, finds it by its name."""
    far = Host(net.path / "far")
    (net.path / "far").mkdir()
    script = net.path / "far.py"
    common = {"subnet": "10.50.0.0/24"}
    spec = {"id": 7, "port": 4789}
    subprocess.run(["ip", "link", "add", "wire", "type", "veth", "peer", "name", "eriw"], check=True)
    holder = subprocess.Popen(["unshare", "--net", "sleep", "600"])
    try:
        wait_for_namespace(holder.pid)
        subprocess.run(["ip", "link", "set", "eriw", "netns", str(holder.pid)], check=True)
        subprocess.run(["ip", "address", "add", "192.0.2.1/24", "dev", "wire"], check=True)
        subprocess.run(["ip", "link", "set", "wire", "up"], check=True)
        networks.ensure_present(net.root, NetworkSpec.parse("wide", {
            **common, "ip_range": "10.50.0.64/26",
            "vxlan": {**spec, "local": "192.0.2.1", "remotes": ["192.0.2.2"], "gateways": ["10.50.0.2"]}}))
        start(net, disk, "web", "wide")
        api.run(net.root, server(disk, "sink", "sink", networks=["wide"], health_check={"test": "log:listening"}))
        api.wait_for(net.root, "sink", "healthy", timeout=60)
        script.write_text(FAR.format(collections=str(COLLECTIONS), root=str(far.root.path), options={
            **common, "gateway": "10.50.0.2", "ip_range": "10.50.0.128/26",
            "vxlan": {**spec, "local": "192.0.2.2", "remotes": ["192.0.2.1"], "gateways": ["10.50.0.1"]}},
            asks=[dict(server(disk, "client", *words, networks=["wide"]).values)
                  for words in (("web", "80"), ("send", "sink", "80", "200000"), ("resolve", "nobody"))]))
        done = subprocess.run(["nsenter", f"--net=/proc/{holder.pid}/ns/net", sys.executable, script], text=True,
                              capture_output=True, timeout=120, check=False, env={**os.environ, "UNI_ACCEL": "tcg"})
        answer, moved, nobody = done.stdout.strip().splitlines()
        assert answer == "hello 10.50.0.128" and moved == "sent" and nobody == "no such name", done
    finally:
        holder.kill()
        holder.wait()
        subprocess.run(["ip", "link", "del", "wire"], check=False)


FAR = """
import subprocess, sys
sys.path.insert(0, {collections!r})
from pathlib import Path
from ansible_collections.uni.engine.plugins.module_utils.engine.networks import api as networks
from ansible_collections.uni.engine.plugins.module_utils.engine.networks.model import NetworkSpec
from ansible_collections.uni.engine.plugins.module_utils.engine.root import Root
from ansible_collections.uni.engine.plugins.module_utils.engine.vms import api
from ansible_collections.uni.engine.plugins.module_utils.engine.vms.spec import VmSpec
for command in ("link set lo up", "address add 192.0.2.2/24 dev eriw", "link set eriw up"):
    subprocess.run(["ip", *command.split()], check=True)
root = Root(Path({root!r}))
networks.ensure_present(root, NetworkSpec.parse("wide", {options!r}))
for values in {asks!r}:
    api.run(root, VmSpec("client", values))
    api.wait(root, "client", timeout=60)
    print(b"".join(line.raw() for line in api.logs(root, "client")).decode().strip().splitlines()[-1])
    api.remove(root, "client", force=True)
networks.ensure_absent(root, "wide")
"""


def test_bandwidth_is_limited(net: Host, disk: Path) -> None:
    """Both directions go through a token bucket from the first packet on, and nothing of that stays."""
    networks.ensure_present(net.root, NetworkSpec.parse("front", {"host_access": True}))
    with socket.create_server(("0.0.0.0", 7777)) as listener:
        listener.settimeout(30)
        api.run(net.root, server(disk, "sender", "send", "10.89.0.1", "7777", "300000", networks=["front"],
                                 net_in_bps=500_000, net_out_bps=700_000))
        connection, _peer = listener.accept()
        with connection:
            connection.settimeout(30)
            got = len(connection.recv(1))
            tap = str(api.resolve_vm(net.root, "sender").runtime["addresses"][0]["interface"])
            assert "rate 4Mbit" in shape.limits(tap) and "rate 5600Kbit" in shape.limits(tap)
            while data := connection.recv(65536):
                got += len(data)
    assert got == 300_000 and api.wait(net.root, "sender", timeout=60)["code"] == 0
    api.remove(net.root, "sender")
    assert not link.exists(shape.ifb_name(tap))


def test_bandwidth_changes_while_it_runs(net: Host, disk: Path) -> None:
    networks.ensure_present(net.root, NetworkSpec.parse("front"))
    address = start(net, disk, "web", "front")
    pid = api.info(api.resolve_vm(net.root, "web"))["pid"]
    tap = str(api.resolve_vm(net.root, "web").runtime["addresses"][0]["interface"])
    limited = api.ensure(net.root, server(disk, "web", networks=["front"], net_out_bps="1M", restart_policy="always")).vm
    assert limited["pid"] == pid and "rate 8388Kbit" in shape.limits(tap) and ask(address, 80).startswith("hello")
    api.resolve_vm(net.root, "web").qemu().kill(9)  # type: ignore[union-attr]
    while api.info(api.resolve_vm(net.root, "web"))["pid"] in (pid, None):
        time.sleep(0.05)
    api.wait_for(net.root, "web", "healthy", timeout=60)
    assert "rate 8388Kbit" in shape.limits(tap), "a restart by policy is limited too"
    api.ensure(net.root, server(disk, "web", networks=["front"], net_out_bps=0))
    assert "tbf" not in shape.limits(tap) and not link.exists(shape.ifb_name(tap))
    with pytest.raises(UniError) as caught:
        api.run(net.root, server(disk, "slow", networks=["user"], net_out_bps="1M"))
    assert caught.value.code == "vm.net_bps"


def test_limits_of_an_interface_come_and_go(net: Host) -> None:
    fd = open_tap("utlimited0::0:0")
    try:
        shape.apply("utlimited0", 1000, 2000)
        shape.apply("utlimited0", 3000, 2000)
        assert "rate 24Kbit" in shape.limits("utlimited0") and "rate 16Kbit" in shape.limits("utlimited0")
        shape.apply("utlimited0", 0, 2000)
        assert "rate 24Kbit" not in shape.limits("utlimited0") and "rate 16Kbit" in shape.limits("utlimited0")
        shape.apply("utlimited0", 0, 0)
        assert "tbf" not in shape.limits("utlimited0") and not link.exists("uilimited0")
    finally:
        os.close(fd)
