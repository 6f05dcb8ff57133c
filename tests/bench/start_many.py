# SPDX-License-Identifier: GPL-3.0-or-later
"""Creating and starting 50 VMs in one call, against starting 50 bare QEMU processes of the same machine."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from common import COLLECTIONS, measure, report, tether

sys.path.insert(0, str(COLLECTIONS))
os.environ.setdefault("UNI_ACCEL", "tcg")

from ansible_collections.uni.engine.plugins.module_utils.engine import probe_guest
from ansible_collections.uni.engine.plugins.module_utils.engine.monitors.qemu import MACHINES
from ansible_collections.uni.engine.plugins.module_utils.engine.root import Root
from ansible_collections.uni.engine.plugins.module_utils.engine.vms import api
from ansible_collections.uni.engine.plugins.module_utils.engine.vms.spec import VmSpec

COUNT = 50
BOOT = b'{"event":"boot","abi":1}\n'


def bare(kernel: Path, count: int = COUNT) -> float:
    """Seconds until `count` QEMU processes have shown their guest's first line."""
    command = ["qemu-system-x86_64", "-M", MACHINES["microvm"], "-accel", "tcg", "-cpu", "max", "-m", "16M",
               "-nodefaults", "-no-user-config", "-no-reboot", "-display", "none", "-kernel", str(kernel),
               "-chardev", "null,id=control", "-device", "isa-serial,chardev=control,iobase=0x2f8,irq=3",
               "-serial", "stdio", "-netdev", "user,id=net0", "-device", "virtio-net-device,netdev=net0"]
    begun = time.perf_counter()
    processes = [subprocess.Popen(tether(command), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) for _index in range(count)]
    for process in processes:
        assert process.stdout is not None
        process.stdout.readline()
    seconds = time.perf_counter() - begun
    for process in processes:
        process.kill()
        process.communicate()
    return seconds


def uni(root: Root, kernel: Path) -> float:
    """Seconds until 50 VMs are created and have booted."""
    specs = [VmSpec.parse(f"bench-{number}", {"kernel": str(kernel), "memory": "16M"}) for number in range(COUNT)]
    begun = time.perf_counter()
    api.ensure_many(root, specs)
    seconds = time.perf_counter() - begun
    for spec in specs:
        api.remove(root, spec.name, force=True)
    return seconds


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="uni-bench-") as name:
        Path(name).chmod(0o755)
        kernel = Path(name) / "idle.elf"
        kernel.write_bytes(probe_guest.elf(
            probe_guest.out(probe_guest.COM2, BOOT) + probe_guest.out(probe_guest.COM1, b"idle\n")
            + probe_guest.halt()))
        root = Root(Path(name) / "root")
        times = measure({"50 VMs": lambda: uni(root, kernel), "50 bare QEMU": lambda: bare(kernel)}, rounds=7)
        report("Create and start 50 VMs", times, "50 VMs", "50 bare QEMU", "aim: at most 1.3")


if __name__ == "__main__":
    main()
