# SPDX-License-Identifier: GPL-3.0-or-later
"""`uni ps` against the smallest thing that Python can do: without VMs, with 500 that have ended, with 500 that run."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
import time
from pathlib import Path

from common import BUILD, TOP, measure, report, timed

COUNT = 500


def main() -> None:
    BUILD.mkdir(parents=True, exist_ok=True)
    # Stand-ins for QEMU: what `uni ps` asks of a process is when it started.
    sleepers = [subprocess.Popen(["sleep", "600"]) for _number in range(COUNT)]
    with tempfile.TemporaryDirectory(dir=BUILD) as directory:
        prefix = Path(directory)
        install(prefix)
        for name, pids in (("ended", None), ("running", [sleeper.pid for sleeper in sleepers])):
            records(prefix / name, pids)
        time.sleep(3)  # what was written a moment ago is not taken from the index
        uni = str(prefix / "bin" / "uni")
        try:
            times = measure({
                "no VM": timed([uni, "ps"], env={**os.environ, "UNI_ROOT": f"{directory}/root"}),
                "500 ended": timed([uni, "ps", "-a"], env={**os.environ, "UNI_ROOT": f"{directory}/ended"}),
                "500 running": timed([uni, "ps"], env={**os.environ, "UNI_ROOT": f"{directory}/running"}),
                "python3 -c pass": timed(["/usr/bin/python3", "-c", "pass"]),
            }, rounds=40)
        finally:
            for sleeper in sleepers:
                sleeper.kill()
                sleeper.wait()
    for name in ("no VM", "500 ended", "500 running"):
        report(f"uni ps, {name}", times, name, "python3 -c pass", "aim: at most 3")


def records(root: Path, pids: list[int] | None) -> None:
    """A root directory with the state records of 500 VMs as their keepers write them."""
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    for number in range(COUNT):
        vm_id = f"{number:012x}"
        state: dict[str, object] = {
            "id": vm_id, "name": f"web-{number}", "image": "web:latest", "image_id": "sha256:" + "5" * 64,
            "created": f"2026-01-01T12:00:00.{number:06d}Z", "ports": [f"0.0.0.0:{20000 + number}:80/tcp"],
            "labels": {"tier": "front"}, "memory": 64 << 20, "cpus": 1, "ready": "true", "booted": True, "boot": boot,
            "restarts": 0, "started_at": "2026-01-01T12:00:01.000000Z", "boot_seconds": 0.123, "health": "healthy"}
        if pids is None:
            state.update(status="exited", exit={"reason": "exit", "code": 0, "status": 0},
                         finished_at="2026-01-01T13:00:00.000000Z", pid=None)
        else:
            stat = Path(f"/proc/{pids[number]}/stat").read_text().rpartition(")")[2].split()
            state.update(status="running", pid=pids[number], start=int(stat[19]),
                         keeper={"pid": pids[0], "start": int(stat[19])})
        (root / "vms" / vm_id).mkdir(parents=True)
        (root / "vms" / vm_id / "vm.json").write_text("{}")
        (root / "vms" / vm_id / "state.json").write_text(json.dumps(state, separators=(",", ":")))


def install(prefix: Path) -> None:
    """Install the client of this checkout below `prefix`, as the role host does."""
    import sys

    from common import COLLECTIONS

    link = COLLECTIONS / "ansible_collections" / "uni" / "engine"
    if not link.exists():
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(TOP)
    sys.path.insert(0, str(COLLECTIONS))
    from ansible_collections.uni.engine.plugins.module_utils.engine import client

    client.install(prefix, *client.pack(TOP, "0.0.0"))


if __name__ == "__main__":
    main()
