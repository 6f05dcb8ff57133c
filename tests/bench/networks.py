# SPDX-License-Identifier: GPL-3.0-or-later
"""Addresses, plans and rules for 1,000 VMs, per VM, against the same for 100: linear work has the ratio 1.

    python3 tests/bench/networks.py

Nothing here starts a VM or touches the host's network.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

from common import COLLECTIONS, measure, report

sys.path.insert(0, str(COLLECTIONS))

from ansible_collections.uni.engine.plugins.module_utils.engine.networks import antispoof, firewall, ipam, model
from ansible_collections.uni.engine.plugins.module_utils.engine.networks.firewall import Attachment
from ansible_collections.uni.engine.plugins.module_utils.engine.networks.model import Network
from ansible_collections.uni.engine.plugins.module_utils.engine.root import Root
from ansible_collections.uni.engine.plugins.module_utils.engine.units import PortForward
from ansible_collections.uni.engine.plugins.module_utils.engine.vms import plan
from ansible_collections.uni.engine.plugins.module_utils.engine.vms.spec import VmSpec

SMALL, LARGE = 100, 1000
NETWORK = Network("big", "ub0123456789", "10.1.0.0/16", "10.1.0.1", {"subnet6": "fd01::/64"})


def addresses(count: int) -> float:
    """Seconds per VM for leases of `count` VMs, one after the other as they start, each durable."""
    with tempfile.TemporaryDirectory(prefix="uni-bench-") as name:
        root = Root(Path(name))
        model.directory(root, NETWORK.name).mkdir(parents=True)
        ids = [f"{number:012x}" for number in range(count)]
        for vm_id in ids:
            (root.vms / vm_id).mkdir()
        begun = time.perf_counter()
        for vm_id in ids:
            ipam.acquire(root, NETWORK, f"{vm_id}/0", {"mac": "52:54:00:00:00:01", "tap": f"ut{vm_id[:11]}0", "ports": []})
        return (time.perf_counter() - begun) / count


def plans(count: int) -> float:
    """Seconds per VM for parsing and planning `count` VMs that do not exist yet."""
    begun = time.perf_counter()
    for number in range(count):
        spec = VmSpec.parse(f"web-{number}", {"image": "shop/web:1", "memory": "64M", "networks": ["big"],
                                              "ports": [f"{10000 + number}:80"], "env": {"A": "1", "B": "2"}})
        plan.plan_vm(spec, None, plan.Wanted())
    return (time.perf_counter() - begun) / count


def rules(count: int) -> float:
    """Seconds per VM for rendering the rules of `count` VMs, all families."""
    items = [Attachment("big", NETWORK.bridge, f"ut{number:x}", f"52:54:00:00:{number >> 8:02x}:{number & 255:02x}",
                        f"10.1.{number >> 8}.{number & 255}", (PortForward("0.0.0.0", 10000 + number, 80),),
                        f"fd01::{number:x}") for number in range(count)]
    begun = time.perf_counter()
    for six in (False, True):
        firewall.render("UNI-x", firewall.all_rules("UNI-x", [NETWORK], items, six=six), firewall.JUMPS)
    antispoof.render("UNI-x", items, [])
    antispoof.render_neighbors("UNI-x", items)
    return (time.perf_counter() - begun) / count


def main() -> None:
    for title, function in (("Leases", addresses), ("Plans", plans), ("Rules", rules)):
        large, small = f"{LARGE} VMs, per VM", f"{SMALL} VMs, per VM"
        times = measure({large: lambda run=function: run(LARGE), small: lambda run=function: run(SMALL)},  # type: ignore[misc]
                        rounds=3)
        report(f"{title}, {LARGE} against {SMALL}", times, large, small, "linear is 1")


if __name__ == "__main__":
    main()
