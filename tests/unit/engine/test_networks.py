# SPDX-License-Identifier: GPL-3.0-or-later
"""Networks: specification, plan, addresses and rules as pure functions; leases under concurrency."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import pytest
from ansible_collections.uni.engine.plugins.module_utils.engine.errors import ConflictError, NotFoundError, UsageError
from ansible_collections.uni.engine.plugins.module_utils.engine.networks import (
    antispoof,
    firewall,
    ipam,
    link,
    model,
    shape,
)
from ansible_collections.uni.engine.plugins.module_utils.engine.networks.firewall import Attachment
from ansible_collections.uni.engine.plugins.module_utils.engine.networks.model import Network, NetworkSpec
from ansible_collections.uni.engine.plugins.module_utils.engine.root import Root
from ansible_collections.uni.engine.plugins.module_utils.engine.units import parse_port

NET = Network("front", "ub1", "10.1.0.0/29", "10.1.0.1")
WEB = Attachment("front", "ub1", "ut1", "52:54:00:00:00:01", "10.1.0.2", parse_port("127.0.0.1:8080:80"))


@pytest.mark.parametrize("options", [
    {"subnet": "10.0.0.1/24"}, {"subnet": "10.0.0.0/31"}, {"subnet": "fd00::/64"}, {"subnet": "x"}, {"mtu": 100},
    {"ip_range": "10.0.0.0/28"}, {"subnet": "10.0.0.0/24", "ip_range": "10.0.1.0/28"}, {"internal": "yes"},
    {"gateway": "g"}, {"colour": 1},
    {"vxlan": {"id": 0}}, {"vxlan": {"id": 1, "x": 2}}, {"vxlan": {"id": 1, "remotes": ["x"]}},
    {"subnet6": "10.0.0.0/24"}, {"subnet6": "fe80::/64"}, {"subnet6": "fd00::/124"}, {"gateway6": "10.0.0.1"},
])
def test_bad_options(options: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        NetworkSpec.parse("front", options)


@pytest.mark.parametrize("name", ["user", "none", "host", "tap", "Front", "a/b", ""])
def test_bad_names(name: str) -> None:
    with pytest.raises(UsageError):
        NetworkSpec.parse(name)


def test_plan() -> None:
    spec = NetworkSpec.parse("front", {"subnet": "10.1.0.0/29"})
    assert [a.kind for a in model.plan_network(spec, None, []).actions] == ["create"]
    assert not model.plan_network(spec, NET, ["web"]).changed
    assert not model.plan_network(NetworkSpec.parse("front", {"internal": False, "mtu": 1500}), NET, ["web"]).changed
    live = model.plan_network(NetworkSpec.parse("front", {"internal": True}), NET, ["web"])
    assert [a.kind for a in live.actions] == ["update"] and live.actions[0].live
    move = NetworkSpec.parse("front", {"subnet": "10.2.0.0/24"})
    assert [a.kind for a in model.plan_network(move, NET, []).actions] == ["recreate"]
    with pytest.raises(ConflictError) as caught:
        model.plan_network(move, NET, ["web"])
    assert "web" in caught.value.message


def test_subnets_do_not_overlap() -> None:
    assert model.choose_subnet([]) == "10.89.0.0/24"
    assert model.choose_subnet(["10.89.0.0/23", "10.89.2.7"]) == "10.89.3.0/24"
    with pytest.raises(ConflictError):
        model.choose_subnet(["10.0.0.0/8"])


def test_addresses() -> None:
    taken = {ipam.number("10.1.0.2")}
    assert ipam.choose(NET, set()) == "10.1.0.2" and ipam.choose(NET, taken) == "10.1.0.3"
    assert ipam.choose(NET, taken, before="10.1.0.5") == "10.1.0.5"
    assert ipam.choose(NET, taken, before="10.1.0.2") == "10.1.0.3"
    assert ipam.choose(NET, taken, wanted="10.1.0.6/29") == "10.1.0.6"
    with pytest.raises(ConflictError):
        ipam.choose(NET, taken, wanted="10.1.0.2")
    for outside in ("10.1.0.1", "10.1.0.0", "10.1.0.7", "10.2.0.2"):
        with pytest.raises(UsageError):
            ipam.choose(NET, set(), wanted=outside)
    with pytest.raises(ConflictError):
        ipam.choose(NET, {ipam.number(f"10.1.0.{n}") for n in range(2, 7)})
    narrow = Network("front", "ub1", "10.1.0.0/24", "10.1.0.1", {"ip_range": "10.1.0.128/30"})
    assert ipam.choose(narrow, set()) == "10.1.0.128"


def test_no_address_is_handed_out_twice_and_freed_ones_are_reused(tmp_path: Path) -> None:
    root = Root(tmp_path)
    network = Network("big", "ub1", "10.1.0.0/16", "10.1.0.1")
    model.directory(root, "big").mkdir(parents=True)
    ids = [f"{number:012x}" for number in range(120)]
    for vm_id in ids:
        (root.vms / vm_id).mkdir()
    found: list[str] = []

    def take(mine: list[str]) -> None:
        found.extend(ipam.acquire(root, network, f"{vm_id}/0", {"mac": "m"})["address"] for vm_id in mine)

    threads = [threading.Thread(target=take, args=(ids[start::6],)) for start in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(found)) == 120 and max(map(ipam.number, found)) == ipam.number("10.1.0.121")
    again = ipam.acquire(root, network, f"{ids[7]}/0", {"mac": "m"})["address"]
    assert again in found, "a restarted VM keeps its address"
    ipam.release(root, "big", ids[7])
    (root.vms / "f").mkdir()
    assert ipam.acquire(root, network, "f/0", {"mac": "m"})["address"] == again
    (root.vms / ids[9]).rmdir()  # removed by --rm: nobody released its lease
    lost = ipam.leases(root, "big")[f"{ids[9]}/0"]["address"]
    (root.vms / "e").mkdir()
    assert ipam.acquire(root, network, "e/0", {"mac": "m"})["address"] == lost


TAKER = """
import sys
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from ansible_collections.uni.engine.plugins.module_utils.engine.networks import ipam
from ansible_collections.uni.engine.plugins.module_utils.engine.networks.model import Network
from ansible_collections.uni.engine.plugins.module_utils.engine.root import Root
network = Network("big", "ub1", "10.1.0.0/24", "10.1.0.1", {"subnet6": "fd01::/64"})
for vm_id in sys.argv[3:]:
    lease = ipam.acquire(Root(Path(sys.argv[2])), network, f"{vm_id}/0", {})
    print(lease["address"], lease["address6"], flush=True)
"""


def test_processes_do_not_get_one_address_twice(tmp_path: Path) -> None:
    """Five processes at once, one of them killed on its way."""
    root = Root(tmp_path)
    model.directory(root, "big").mkdir(parents=True)
    ids = [f"{number:012x}" for number in range(100)]
    for vm_id in ids:
        (root.vms / vm_id).mkdir()
    collections = next(path for path in sys.path if (Path(path) / "ansible_collections/uni/engine").exists())
    takers = [subprocess.Popen([sys.executable, "-c", TAKER, collections, str(tmp_path), *ids[start::5]],
                               stdout=subprocess.PIPE, text=True) for start in range(5)]
    assert takers[0].stdout is not None and takers[0].stdout.readline()
    takers[0].kill()
    given = [line for taker in takers[1:] for line in taker.communicate()[0].splitlines()]
    takers[0].communicate()
    assert len(given) == 80 == len(set(given))
    leases = ipam.leases(root, "big")
    assert len({lease["address"] for lease in leases.values()}) == len({lease["address6"] for lease in leases.values()}) \
        == len(leases) >= 81
    ipam.sweep(root, "big")
    assert not list(model.directory(root, "big").glob(".tmp-*"))


def test_rules_publish_isolate_and_come_off_again() -> None:
    other = Network("back", "ub2", "10.2.0.0/24", "10.2.0.1", {"internal": True, "isolated": True})
    rules = firewall.all_rules("UNI-x", [NET, other], [WEB])
    text = firewall.render("UNI-x", rules, firewall.JUMPS)
    assert text.count("COMMIT") == 2 and "-I FORWARD 1 -j UNI-x-FWD" in text
    assert "-A UNI-x-DNAT -d 127.0.0.1/32 -m addrtype --src-type LOCAL -p tcp -m tcp --dport 8080 -j DNAT --to-destination 10.1.0.2:80" in text
    assert "-A UNI-x-FWD -i ub1 -o ub2 -m conntrack ! --ctstate DNAT -j DROP" in text
    assert "-A UNI-x-FWD -i ub2 -j DROP" in text and "-A UNI-x-FWD -i ub2 -o ub2 -j ACCEPT" not in text
    assert "-A UNI-x-POST -s 10.2.0.0/24 ! -o ub2 -j MASQUERADE" not in text
    assert "-I FORWARD" not in firewall.render("UNI-x", rules, [])
    added = {line[3:] for line in text.splitlines() if line.startswith("-A")}
    removed = {line[3:] for line in firewall.render_down("UNI-x", [WEB]).splitlines() if line.startswith("-D")}
    assert removed and removed <= added
    assert firewall.render_down("UNI-x", []) == ""
    gone = firewall.render_removal("UNI-x", firewall.JUMPS).splitlines()
    assert gone.index("-D FORWARD -j UNI-x-FWD") < gone.index("-X UNI-x-FWD")


def test_spoofing_is_dropped_before_anything_is_allowed() -> None:
    rules = list(antispoof.spoof_rules(WEB))
    assert rules[0] == "-i ut1 -s ! 52:54:00:00:00:01 -j DROP" and rules[-1] == "-i ut1 -j DROP"
    assert rules.index("-i ut1 -p IPv4 --ip-src ! 10.1.0.2 -j DROP") < rules.index("-i ut1 -p IPv4 -j RETURN")


def test_interface_names_fit_and_differ(tmp_path: Path) -> None:
    names = {model.bridge_name(Root(tmp_path / str(n)), "a-network-with-a-rather-long-name") for n in range(50)}
    assert len(names) == 50 and all(len(name) <= 15 for name in names)
    options = {"vxlan": {"id": 7, "remotes": [], "local": "", "port": 4789}}
    vxlan = Network("v", "ub0123456789", "10.1.0.0/24", "10.1.0.1", options)
    assert len(link.vxlan_name(vxlan)) <= 15
    assert any("type vxlan id 7 dstport 4789" in line for line in link.commands(vxlan))


SIX = Network("six", "ub6", "10.6.0.0/24", "10.6.0.1", {"subnet6": "fd06::/64", "masquerade6": True})


def test_ipv6_addresses() -> None:
    assert SIX.gateway6 == "fd06::1" and ipam.choose6(NET, "10.1.0.2", set()) == ""
    assert ipam.choose6(SIX, "10.6.0.2", set()) == "fd06::a06:2"
    assert ipam.choose6(SIX, "10.6.0.2", {"fd06::a06:2"}) == "fd06::a06:3"
    assert ipam.choose6(SIX, "10.6.0.2", set(), before="fd06::77") == "fd06::77"
    assert ipam.choose6(SIX, "10.6.0.2", set(), wanted="fd06::9/64") == "fd06::9"
    small = Network("s", "ub6", "10.6.0.0/24", "10.6.0.254", {"subnet6": "fd06::/120"})
    assert ipam.choose6(small, "10.6.0.1", set()) == "fd06::2", "the gateway's own address is not handed out"
    with pytest.raises(ConflictError):
        ipam.choose6(SIX, "10.6.0.2", {"fd06::9"}, wanted="fd06::9")
    for outside in ("fd06::1", "fd06::", "fd07::2"):
        with pytest.raises(UsageError):
            ipam.choose6(SIX, "10.6.0.2", set(), wanted=outside)
    with pytest.raises(UsageError):
        ipam.choose6(NET, "10.1.0.2", set(), wanted="fd06::9")
    with pytest.raises(ConflictError):
        ipam.choose6(small, "10.6.0.3", {f"fd06::{n:x}" for n in range(2, 256)})


def test_ipv6_rules() -> None:
    web = Attachment("six", "ub6", "ut6", "52:54:00:00:00:06", "10.6.0.2", parse_port("[::]:8080:80"), "fd06::a06:2")
    rules = firewall.all_rules("UNI-x", [NET, SIX], [WEB, web], six=True)
    text = firewall.render("UNI-x", rules, firewall.JUMPS)
    assert "-A UNI-x-DNAT -p tcp -m tcp --dport 8080 -j DNAT --to-destination [fd06::a06:2]:80" in text
    assert "-s fd06::/64 ! -o ub6 -j MASQUERADE" in text and "ub1" not in text and "127.0.0" not in text
    assert text.index("icmpv6-type 135 -j ACCEPT") < text.index("-A UNI-x-IN -i ub6 -j DROP")
    routed = Network("six", "ub6", "10.6.0.0/24", "10.6.0.1", {"subnet6": "fd06::/64"})
    assert "! -o ub6 -j MASQUERADE" not in firewall.render("UNI-x", firewall.all_rules("UNI-x", [routed], [], six=True), [])
    saved = text.replace("-I FORWARD 1", "-A FORWARD").replace("-I INPUT 1", "-A INPUT").replace(
        "-I PREROUTING 1", "-A PREROUTING").replace("-I OUTPUT 1", "-A OUTPUT").replace("-I POSTROUTING 1", "-A POSTROUTING")
    assert firewall.complete("UNI-x", rules, saved)
    for gone in ("-A FORWARD -j UNI-x-FWD\n", "-A UNI-x-IN -i ub6 -j DROP\n"):
        assert not firewall.complete("UNI-x", rules, saved.replace(gone, ""))


def test_neighbors_are_who_they_say() -> None:
    assert antispoof.link_local("52:54:00:12:34:56") == "fe80::5054:ff:fe12:3456"
    web = Attachment("six", "ub6", "ut6", "52:54:00:00:00:06", "10.6.0.2", (), "fd06::a06:2")
    text = antispoof.render_neighbors("UNI-x", [web])
    assert "@th,64,128 0xfd06000000000000000000000a060002 return" in text and 'taps { "ut6" : jump ut6 }' in text
    assert antispoof.render_neighbors("UNI-x", []).splitlines() == ["table bridge uni_x", "delete table bridge uni_x"]
    assert antispoof.render_neighbors_down("UNI-x", [WEB]) == ""
    rules = list(antispoof.spoof_rules(web))
    own = rules.index("-i ut6 -p IPv6 --ip6-src fd06::a06:2 -j RETURN")
    assert any("router-advertisement -j DROP" in rule for rule in rules[:own])


def test_unknown_network(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError):
        model.load(Root(tmp_path), "nowhere")


def test_bandwidth_commands() -> None:
    assert list(shape.commands("utabc0", 0, 0)) == []
    receive = list(shape.commands("utabc0", 1_000_000, 0))
    assert receive == ["qdisc replace dev utabc0 root handle 1: tbf rate 1000000bps burst 65536 latency 200ms"]
    send = list(shape.commands("utabc0", 0, 100_000_000))
    assert send[0].startswith("qdisc replace dev uiabc0 root") and "burst 1000000" in send[0]
    assert "dev utabc0 ingress" in send[1] and send[2].endswith("redirect dev uiabc0")
