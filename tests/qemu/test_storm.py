# SPDX-License-Identifier: GPL-3.0-or-later
"""Many VMs made, started, stopped and removed in parallel, and callers killed at any step, leave nothing behind.

STORM_VMS=200 in the environment is the long form; without it there are 20.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from ansible_collections.uni.engine.plugins.module_utils.engine.networks import api as networks
from ansible_collections.uni.engine.plugins.module_utils.engine.networks.model import NetworkSpec
from ansible_collections.uni.engine.plugins.module_utils.engine.vms import api

from .conftest import COLLECTIONS, Host, processes

COUNT = int(os.environ.get("STORM_VMS", "20"))
PARALLEL = 8


def tool(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def snapshot(net: Host) -> dict[str, object]:
    """What a VM could leave on the host."""
    rules = [line for name in ("iptables-save", "ip6tables-save", "ebtables-save") for line in tool(name).splitlines()
             if not line.startswith(("#", ":"))]
    files = {str(path.relative_to(net.root.path)) for path in net.root.path.rglob("*")}
    inodes = {str(path.lstat().st_ino) for path in net.root.path.rglob("*")}
    locks = [line for line in Path("/proc/locks").read_text().splitlines() if line.split()[-3].split(":")[-1] in inodes]
    return {
        "links": sorted(item["ifname"] for item in json.loads(tool("ip", "-j", "link"))),
        "addresses": [lease["address"] for name in ("front", "six") for lease in networks.inspect(net.root, name)["leases"]],
        "rules": sorted(rules), "locks": locks,
        "nft": [line for line in tool("nft", "list", "chains", "bridge").splitlines() if "chain ut" in line],
        "processes": len(processes(str(net.root.path))),
        "files": sorted(file for file in files if not file.startswith("log/") and file != "cache/states.index"),
        "cgroups": sorted(path.name for path in Path("/sys/fs/cgroup").glob("uni*/*") if path.is_dir()),
    }


def settled(net: Host, before: dict[str, object]) -> dict[str, object]:
    """A snapshot, when the last keepers have gone; at most half a minute later."""
    for _attempt in range(150):
        after = snapshot(net)
        if after == before:
            break
        time.sleep(0.2)
    return after


def compare(after: dict[str, object], before: dict[str, object]) -> None:
    for key, value in before.items():
        if isinstance(value, list):
            assert isinstance(after[key], list)
            assert [item for item in after[key] if item not in value] == [], f"{key}: left behind"
            assert [item for item in value if item not in after[key]] == [], f"{key}: lost"
        assert after[key] == value, key


def options(number: int) -> dict[str, object]:
    """Networks, ports and limits of the VM with a number."""
    return {"networks": ["front", "six"] if number % 3 == 0 else [("front", "six")[number % 2]], "memory": "8M",
            "ports": [f"{20000 + number}:80", f"[::]:{20000 + number}:80/udp"],
            **({"net_out_bps": "1M"} if number % 4 == 0 else {})}


def prepare(net: Host) -> dict[str, object]:
    networks.ensure_present(net.root, NetworkSpec.parse("front"))
    networks.ensure_present(net.root, NetworkSpec.parse("six", {"subnet6": "fd06::/64"}))
    net.guest("idle")
    net.run("first", "idle", **options(0))
    api.remove(net.root, "first", force=True)
    return snapshot(net)


def test_many_vms_leave_nothing(net: Host) -> None:
    before = prepare(net)

    def life(number: int) -> list[str]:
        name = f"vm{number}"
        vm = net.run(name, "idle", **options(number))
        found = [str(item["address"]) for item in vm["addresses"]]  # type: ignore[attr-defined]
        if number % 2:
            api.stop(net.root, name)
        return found

    with ThreadPoolExecutor(PARALLEL) as pool:
        addresses = [address for found in pool.map(life, range(COUNT)) for address in found]
        assert len(set(addresses)) == len(addresses), "an address was handed out twice"
        list(pool.map(lambda number: api.remove(net.root, f"vm{number}", force=True), range(COUNT)))
    compare(settled(net, before), before)


WORKER = """
import sys
sys.path.insert(0, {collections!r})
from pathlib import Path
from ansible_collections.uni.engine.plugins.module_utils.engine.root import Root
from ansible_collections.uni.engine.plugins.module_utils.engine.vms import api
from ansible_collections.uni.engine.plugins.module_utils.engine.vms.spec import VmSpec
root = Root(Path({root!r}))
spec = VmSpec.parse(sys.argv[1], {options!r})
api.run(root, spec)
api.stop(root, sys.argv[1])
api.start(root, sys.argv[1])
api.remove(root, sys.argv[1], force=True)
"""


def test_killed_callers_leave_nothing(net: Host) -> None:
    """kill -9 for callers, keepers and QEMU at random moments; then everything that is left is removed."""
    before = prepare(net)
    chance = random.Random(COUNT)
    base = {"kernel": net.guest("idle"), "rng": False, "stop_timeout": "200ms"}

    def life(number: int) -> None:
        script = net.path / f"worker{number}.py"
        script.write_text(WORKER.format(collections=str(COLLECTIONS), root=str(net.root.path),
                                        options={**base, **options(number)}))
        with open(net.path / f"worker{number}.log", "w", encoding="utf-8") as log:
            caller = subprocess.Popen([sys.executable, str(script), f"vm{number}"], stderr=log)
            time.sleep(chance.uniform(0.2, 2))
            if number % 3 == 0:  # its keeper or QEMU first
                for pid in processes(str(net.root.path / "vms"))[:1]:
                    os.kill(pid, 9)
            caller.kill()
            caller.wait()

    with ThreadPoolExecutor(PARALLEL) as pool:
        list(pool.map(life, range(COUNT)))
        names = [str(state["id"]) for state in api.list_vms(net.root, everything=True)]
        list(pool.map(lambda vm: api.remove(net.root, vm, force=True), names))
    api.sweep(net.root)                                            # what the daemon does
    networks.ensure_present(net.root, NetworkSpec.parse("front"))  # the next command puts right what is left
    compare(settled(net, before), before)
