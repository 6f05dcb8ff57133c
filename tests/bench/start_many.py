# SPDX-License-Identifier: GPL-3.0-or-later
"""Creating and starting 50 VMs in one call, against starting 50 bare QEMU processes with the same devices.

Bare ones are sessions of their own, as VMs are: on a busy machine the host shares its CPUs out by session (sched(7),
autogroup), and one session with 50 processes would be starved. They are started one after the other, as many at a time
as there are CPUs, and all at once; the fastest counts. What both take of the CPUs, everybody included, is compared
besides: others on the machine do not change that much.
"""

from __future__ import annotations

import os
import selectors
import statistics
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
CPU: dict[str, list[float]] = {"uni": [], "bare": []}
BOOT = b'{"event":"boot","abi":1}\n'


def command(kernel: Path) -> list[str]:
    """What a VM of Uni is started with, without what keeps it in: sandbox, rights, sockets, limits."""
    return ["qemu-system-x86_64", "-M", MACHINES["microvm"], "-accel", "tcg", "-cpu", "max", "-m", "16M", "-smp", "1",
            "-nodefaults", "-no-user-config", "-no-reboot", "-display", "none", "-global",
            "virtio-mmio.force-legacy=false", "-kernel", str(kernel), "-chardev", "null,id=control",
            "-device", "isa-serial,chardev=control,iobase=0x2f8,irq=3", "-device", "isa-debug-exit,iobase=0x501,iosize=2",
            "-serial", "stdio", "-netdev", "user,id=net0,ipv6=off", "-device", "virtio-net-device,netdev=net0",
            "-object", "rng-builtin,id=rng0", "-device", "virtio-rng-device,rng=rng0"]


def used(*pids: int | None) -> float:
    """Seconds of CPU time that processes have used, and this one."""
    total = time.process_time()
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        total += (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return total


def bare(kernel: Path, width: int, count: int = COUNT) -> float:
    """Seconds until `count` QEMU processes have shown their guest's first line, of which `width` start at a time."""
    words = tether(command(kernel))
    before = used()
    begun = time.perf_counter()
    processes = []
    with selectors.DefaultSelector() as waiting:
        while len(processes) < count or waiting.get_map():
            while len(processes) < count and len(waiting.get_map()) < width:
                process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                           start_new_session=True)
                assert process.stdout is not None
                waiting.register(process.stdout, selectors.EVENT_READ)
                processes.append(process)
            for key, _events in waiting.select():
                waiting.unregister(key.fileobj)
    seconds = time.perf_counter() - begun
    CPU["bare"].append(used(*(process.pid for process in processes)) - before)
    for process in processes:
        process.kill()
        process.communicate()
    return seconds


def uni(root: Root, kernel: Path) -> float:
    """Seconds until 50 VMs are created and have booted."""
    specs = [VmSpec.parse(f"bench-{number}", {"kernel": str(kernel), "memory": "16M"}) for number in range(COUNT)]
    before = used()
    begun = time.perf_counter()
    api.ensure_many(root, specs)
    seconds = time.perf_counter() - begun
    vms = [api.resolve_vm(root, spec.name) for spec in specs]
    keepers = {keeper.pid for vm in vms if (keeper := vm.keeper()) is not None}
    CPU["uni"].append(used(*keepers, *(vm.state["pid"] for vm in vms)) - before)
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
        widths = (1, len(os.sched_getaffinity(0)), COUNT)
        bares = {f"50 bare QEMU, {width} at a time": width for width in widths}
        times = measure({"50 VMs": lambda: uni(root, kernel),
                         **{name: lambda width=width: bare(kernel, width)  # type: ignore[misc]
                            for name, width in bares.items()}}, rounds=5)
        best = min(bares, key=lambda name: statistics.median(times[name]))
        report("Create and start 50 VMs, against the fastest way to start bare ones", times, "50 VMs", best,
               "aim: at most 1.3")
        for name in bares:
            if name != best:
                report("...against the others", times, "50 VMs", name, "for comparison")
        report("CPU time of 50 VMs against bare ones", CPU, "uni", "bare", "for comparison")


if __name__ == "__main__":
    main()
